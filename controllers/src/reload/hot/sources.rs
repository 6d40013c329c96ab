//! What the sources of a hot reload hold now: by length and digest, since what they hold is large, and many pods are reloaded at once.
//! Only a value that pods show is kept as it is. Not what pods read of it. Nothing here is told.

use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem;
use sha2::{Digest as _, Sha256};
use trimtab::{Reader, Shares};
use trimtab_config::{Source, SourceKind};
use trimtab_plan::Answer;

use super::{End, Files, HotReload, Job, ONE_REQUEST, Verify};
use crate::validation;

/// The most files of a pod that are looked at: mounts times keys.
const FILES: usize = 10_000;

/// A file of a container, and what it is to hold.
pub(super) struct File<'a> {
    pub(super) source: &'a Source,
    pub(super) container: &'a str,
    folder: &'a str,
    name: &'a str,
    pub(super) wanted: &'a Wanted,
}

impl File<'_> {
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

/// What a file is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) length: usize,
    digest: [u8; 32],
}

impl Wanted {
    fn of(value: &[u8]) -> Self {
        Self { length: value.len(), digest: Sha256::digest(value).into() }
    }

    /// Whether a file holds it.
    pub(super) fn is(&self, held: &[u8]) -> bool {
        self.length == held.len() && *self == Self::of(held)
    }
}

/// What a source holds.
#[derive(Debug)]
pub(super) struct Held {
    version: String,
    values: BTreeMap<String, Wanted>,
    /// The value that a pod shows once it has read it.
    shown: Option<Bytes>,
}

/// What every source holds that is mounted, if it is that of the versions that were asked about.
pub(super) async fn read(reader: &Reader, asked: &HotReload, turns: &Shares) -> Result<BTreeMap<Source, Held>, End> {
    let mut all: BTreeMap<Source, Held> = BTreeMap::new();
    for Files { source, resource_version, .. } in &asked.mounts {
        if !all.contains_key(source) {
            all.insert(source.clone(), one(reader, asked, turns, source).await?);
        }
        if all.get(source).is_none_or(|held| held.version != *resource_version) {
            return Err(End::Changed);
        }
    }
    Ok(all)
}

/// A source, as it is now. The whole of it is held for as long as the turn lasts.
async fn one(reader: &Reader, asked: &HotReload, turns: &Shares, source: &Source) -> Result<Held, End> {
    let _turn = turns.turn(&asked.namespace).await;
    let answer = tokio::time::timeout(ONE_REQUEST, reader.get(&source.object(&asked.namespace))).await;
    let object = match answer {
        Ok(Answer::Object(object)) => object,
        Ok(Answer::NotFound) => return Err(End::Changed),
        Ok(Answer::Failed(why)) => return Err(End::Failed(why)),
        Err(_) => return Err(End::Failed(format!("{source} could not be read within {ONE_REQUEST:?}: try again"))),
    };
    let unreadable = || End::Failed(format!("{source} is unreadable: its data is not what the API promises"));
    let body = validation::body(source, object).ok_or_else(unreadable)?;
    let is_shown = |verify: &&Verify| verify.source == *source && source.kind == SourceKind::ConfigMap;
    let shown = asked.verify.as_ref().filter(is_shown).and_then(|verify| body.data.data.get(&verify.key)).cloned();
    let values = body.data.data.iter().map(|(key, value)| (key.clone(), Wanted::of(value))).collect();
    Ok(Held { version: body.version, values, shown })
}

/// The files that the mounts make.
pub(super) fn files<'a>(job: &'a Job<'_>) -> Result<Vec<File<'a>>, End> {
    let mut files = vec![];
    for Files { source, container, path, items, .. } in &job.asked.mounts {
        let Some(held) = job.sources.get(source) else { continue };
        let folder = path.trim_end_matches('/');
        if !folder.starts_with('/') {
            return Err(End::Failed(format!("{path:?} is no path of a mount: it begins with a slash")));
        }
        if files.len() + items.as_ref().map_or(held.values.len(), BTreeMap::len) > FILES {
            return Err(End::Failed(format!(
                "what changed is more than {FILES} files of the pod: mount fewer keys, or less often"
            )));
        }
        let mut add = |name: &'a str, wanted: &'a Wanted| {
            files.push(File { source, container, folder, name, wanted });
        };
        match items {
            None => held.values.iter().for_each(|(key, wanted)| add(key, wanted)),
            Some(items) => {
                for (key, file) in items {
                    let wanted = held.values.get(key).ok_or_else(|| no_key(source, key))?;
                    add(file, wanted);
                }
            }
        }
    }
    Ok(files)
}

fn no_key(source: &Source, key: &str) -> End {
    End::Failed(format!(
        "{source} has no key {key:?}, without which the kubelet does not renew the pod's files: add it"
    ))
}

/// The text that a pod shows once it has read a key.
pub(super) fn shown<'a>(job: &'a Job<'_>, verify: &Verify) -> Result<&'a str, End> {
    let Verify { source, key, .. } = verify;
    if source.kind == SourceKind::Secret {
        return Err(End::Failed(format!(
            "{source} is a Secret, which no pod should show: name a ConfigMap in trimtab.dev/reload-verify, or leave it out"
        )));
    }
    let Some(held) = job.sources.get(source) else {
        return Err(End::Failed(format!(
            "the pod mounts no {source}: name a ConfigMap that it mounts in trimtab.dev/reload-verify"
        )));
    };
    let value = held.shown.as_ref().ok_or_else(|| no_key(source, key))?;
    let text = std::str::from_utf8(value).map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err(End::Failed(format!(
            "key {key:?} of {source} holds no text that a pod could show: name another key in trimtab.dev/reload-verify, or \
             leave it out"
        )));
    }
    Ok(text)
}

/// Whether an answer holds the text somewhere, as it is or as part of a JSON string.
pub(super) fn contains(body: &[u8], text: &str) -> bool {
    let holds = |text: &str| memmem::find(body, text.as_bytes()).is_some();
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    holds(text) || inside.is_some_and(|inside| inside != text && holds(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_text_and_in_json() {
        let text = "a: \"1\"\nb: 2";
        assert!(contains(format!("# now\n{text}\n").as_bytes(), text));
        assert!(contains(serde_json::json!({"config": format!("{text}\n")}).to_string().as_bytes(), text));
        assert!(!contains(b"a: \"1\" b: 2", text) && !contains(&[255], text));
        // As bytes, whatever else is there.
        assert!(contains(b"\xff\xfea: \"1\"\nb: 2\xff", text));
    }

    #[test]
    fn a_file_is_known_by_its_digest() {
        let wanted = Wanted::of(b"workers 80");
        assert!(wanted.is(b"workers 80") && !wanted.is(b"workers 81") && !wanted.is(b"workers 8"));
        assert!(!format!("{wanted:?}").contains("workers"));
    }
}
