//! What the sources of a hot reload hold now. Not what pods read of it. Nothing here is kept or told.

use std::collections::BTreeMap;

use bytes::Bytes;
use trimtab::Reader;
use trimtab_config::{Source, SourceKind};
use trimtab_plan::Answer;
use trimtab_validate::SourceData;

use super::{End, Files, HotReload, Job, ONE_REQUEST, Verify};
use crate::validation;

/// A file of a container, and what it is to hold.
pub(super) struct File<'a> {
    pub(super) source: &'a Source,
    pub(super) container: &'a str,
    pub(super) path: String,
    pub(super) wanted: &'a Bytes,
}

/// The data of every source that is mounted, if it is that of the versions that were asked about.
pub(super) async fn read(reader: &Reader, asked: &HotReload) -> Result<BTreeMap<Source, SourceData>, End> {
    let mut all: BTreeMap<Source, (String, SourceData)> = BTreeMap::new();
    for Files { source, resource_version, .. } in &asked.mounts {
        if !all.contains_key(source) {
            let answer = tokio::time::timeout(ONE_REQUEST, reader.get(&source.object(&asked.namespace))).await;
            let object = match answer {
                Ok(Answer::Object(object)) => object,
                Ok(Answer::NotFound) => return Err(End::Changed),
                Ok(Answer::Failed(why)) => return Err(End::Failed(why)),
                Err(_) => {
                    return Err(End::Failed(format!("{source} could not be read within {ONE_REQUEST:?}: try again")));
                }
            };
            let unreadable = || End::Failed(format!("{source} is unreadable: its data is not what the API promises"));
            let body = validation::body(source, object).ok_or_else(unreadable)?;
            all.insert(source.clone(), (body.version, body.data));
        }
        if all.get(source).is_none_or(|(version, _)| version != resource_version) {
            return Err(End::Changed);
        }
    }
    Ok(all.into_iter().map(|(source, (_, data))| (source, data)).collect())
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
        let mut add = |file: &str, wanted| {
            files.push(File { source, container, path: format!("{folder}/{file}"), wanted });
        };
        match items {
            None => held.data.iter().for_each(|(key, wanted)| add(key, wanted)),
            Some(items) => {
                for (key, file) in items {
                    let wanted = held.data.get(key).ok_or_else(|| no_key(source, key))?;
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
    let value = held.data.get(key).ok_or_else(|| no_key(source, key))?;
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
    let body = String::from_utf8_lossy(body);
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    body.contains(text) || inside.is_some_and(|inside| body.contains(inside))
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
    }
}
