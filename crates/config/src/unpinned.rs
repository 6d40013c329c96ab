//! What the pods of templates without pins read: noted while it is live, so that an undo to such a template can bring it
//! back. Not when it is brought back.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::canonical::canonical;
use crate::{Pin, Pins, Source};

/// How many templates are remembered: as many as Kubernetes keeps revisions, if nobody says otherwise.
const MOST: usize = 10;
/// The latest are kept in any case: their revisions may not have been seen yet.
const LATEST: usize = 2;

/// By template, the revisions that its pods read of the sources that it has no pin for; the latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpinned(Vec<(String, Pins)>);

impl Unpinned {
    /// Reads the annotation: `0a1b:cm/web=4f7c19ab20;2c3d:cm/web=99aa01cd34`. What cannot be read is left out.
    pub fn parse(text: &str) -> Self {
        let entries = text.split(';').filter_map(|entry| entry.split_once(':'));
        let entries = entries.map(|(template, pins)| (template.trim().to_owned(), Pins::parse(pins)));
        Self(entries.filter(|(template, pins)| !template.is_empty() && !pins.is_empty()).collect())
    }

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a template's pods read of a source.
    pub fn get(&self, template: &str, source: &Source) -> Option<&Pin> {
        self.0.iter().find(|(other, _)| other == template)?.1.get(source)
    }

    /// All that is noted, template by template.
    pub fn pins(&self) -> impl Iterator<Item = &Pins> {
        self.0.iter().map(|(_, pins)| pins)
    }

    /// Notes what a template's pods read, and forgets what was brought back: a template that comes again after that is
    /// wanted as it is.
    pub(crate) fn note(&mut self, template: &str, read: Pins, brought_back: &[Source]) {
        let old = self.0.iter().position(|(other, _)| other == template);
        let mut pins = old.map(|index| self.0.remove(index).1).unwrap_or_default();
        pins.0.retain(|source, _| !brought_back.contains(source));
        pins.0.extend(read.0);
        match old {
            _ if pins.is_empty() => {}
            Some(index) => self.0.insert(index, (template.to_owned(), pins)),
            None => self.0.push((template.to_owned(), pins)),
        }
    }

    /// Forgets templates that nobody can go back to.
    pub(crate) fn keep(&mut self, templates: &BTreeSet<&str>) {
        let latest = self.0.len().saturating_sub(LATEST);
        let mut index = 0;
        self.0.retain(|(template, _)| {
            index += 1;
            index > latest || templates.contains(template.as_str())
        });
        self.0.drain(..self.0.len().saturating_sub(MOST));
    }
}

impl fmt::Display for Unpinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (template, pins)) in self.0.iter().enumerate() {
            let semicolon = if index == 0 { "" } else { ";" };
            write!(f, "{semicolon}{template}:{pins}")?;
        }
        Ok(())
    }
}

/// A name for a pod template: the same for a workload's and for that in the revision which Kubernetes keeps of it. Nulls
/// and the directive of the patch that the revision is do not count.
pub(crate) fn template_id(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    let digest = Sha256::digest(canonical(&template).as_bytes());
    digest.iter().take(8).fold(String::new(), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "0a:cm/web=4f7c19ab20,secret/x=absent;2c:cm/web=99aa01cd34";
        assert_eq!(Unpinned::parse(text).to_string(), text);
        for nonsense in ["", ";", ":", "a:", ":cm/web=1", "a:cm/web", "a;b"] {
            assert!(Unpinned::parse(nonsense).is_empty(), "{nonsense}");
        }
    }

    #[test]
    fn what_was_brought_back_and_what_nobody_can_go_back_to_is_forgotten() {
        let web = Source::config_map("web");
        let mut all = Unpinned::parse("a:cm/web=1;b:cm/web=2;c:cm/web=3,cm/x=4");
        all.note("c", Pins::default(), std::slice::from_ref(&web));
        assert_eq!(all.to_string(), "a:cm/web=1;b:cm/web=2;c:cm/x=4");
        all.note("a", Pins::parse("cm/x=9"), &[]);
        all.note("d", Pins::parse("cm/web=5"), &[]);
        all.keep(&BTreeSet::from(["a"]));
        assert_eq!(all.to_string(), "a:cm/web=1,cm/x=9;c:cm/x=4;d:cm/web=5");
    }

    #[test]
    fn a_template_and_what_kubernetes_keeps_of_it_have_one_name() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"x": [1, {"y": "z"}]}});
        let kept = json!({"$patch": "replace", "spec": {"x": [1, {"y": "z"}]},
            "metadata": {"creationTimestamp": null, "labels": {"a": "b"}}});
        assert_eq!(template_id(&template), template_id(&kept));
        for other in [json!({}), json!({"metadata": {"labels": {"a": "b"}}, "spec": {"x": [{"y": "z"}, 1]}})] {
            assert_ne!(template_id(&template), template_id(&other));
        }
    }
}
