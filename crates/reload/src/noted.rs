//! What Reloader, or we in its place, noted in a pod template: digests of sources, in variables or in an annotation. Read once
//! for all sources of a workload. Not what follows from it.

use std::collections::BTreeMap;

use serde_json::Value;
use trimtab_config::{Source, SourceKind};

use crate::options::LAST_RELOADED_FROM;
use crate::template::{Template, trigger_variable};

/// The longest annotation that is read: Reloader's is of some hundred letters.
const LONGEST: usize = 4 << 10;

/// The variables of sources, and which of them two sources would share.
pub(crate) struct Variables(BTreeMap<String, usize>);

impl Variables {
    /// Those of all that a template reads.
    pub(crate) fn of(template: &Template) -> Self {
        let mut all = BTreeMap::new();
        template.uses.keys().for_each(|source| *all.entry(trigger_variable(source)).or_default() += 1);
        Self(all)
    }

    /// Whether the variable of a source is that of another one too: then its value is of either.
    pub(crate) fn is_shared(&self, template: &Template, source: &Source, variable: &str) -> bool {
        let own = usize::from(template.uses.contains_key(source));
        self.0.get(variable).is_some_and(|count| *count > own)
    }
}

/// What is noted in a template.
pub(crate) struct Noted<'t> {
    template: &'t Template,
    variables: Variables,
    values: BTreeMap<&'t str, &'t str>,
    /// The source that it was last reloaded for: kind, name, digest.
    last: Option<(SourceKind, String, String)>,
}

impl<'t> Noted<'t> {
    /// What is noted in this one.
    pub(crate) fn of(template: &'t Template) -> Self {
        let mut values = BTreeMap::new();
        for (name, value) in template.containers.iter().flat_map(|container| &container.triggers) {
            values.entry(&**name).or_insert(&**value);
        }
        let last = template.annotations.get(LAST_RELOADED_FROM).filter(|text| text.len() <= LONGEST);
        let last = last.and_then(|text| serde_json::from_str(text).ok()).and_then(|note: Value| {
            let kind = note["type"].as_str().or(note["kind"].as_str())?;
            let kinds = [("configmap", SourceKind::ConfigMap), ("secret", SourceKind::Secret)];
            let kind = kinds.into_iter().find(|(name, _)| kind.eq_ignore_ascii_case(name))?.1;
            Some((kind, note["name"].as_str()?.to_owned(), note["hash"].as_str()?.to_owned()))
        });
        Self { template, variables: Variables::of(template), values, last }
    }

    /// The digest of a source.
    pub(crate) fn digest(&self, source: &Source) -> Option<&str> {
        let variable = trigger_variable(source);
        if let Some(value) = self.values.get(variable.as_str())
            && !self.variables.is_shared(self.template, source, &variable)
        {
            return Some(value);
        }
        let (.., hash) = self.last.as_ref().filter(|(kind, name, _)| (*kind, name) == (source.kind, &source.name))?;
        Some(hash)
    }
}
