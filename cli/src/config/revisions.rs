//! The revisions of one ConfigMap or Secret: its copies, and the live object where it is none of these.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use trimtab_config::{ConfigMapView, SecretView, Source, SourceKind};
use trimtab_crds::names;

use super::unknown;
use crate::{
    connect::Connection,
    situation::{get, list},
};

/// What one key holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry(Vec<u8>);

impl Entry {
    /// An entry of these bytes.
    #[cfg(test)]
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What it holds, if that is text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// One revision.
pub struct Revision {
    /// Its number; none where the live object is kept nowhere.
    pub number: Option<u64>,
    /// The end of its copy's name.
    pub suffix: Option<String>,
    /// The name of the object that holds it.
    pub name: String,
    /// When it was copied.
    pub at: Option<Timestamp>,
    /// Who wrote it.
    pub author: String,
    /// Whether it is what the live object holds.
    pub live: bool,
    /// What it holds.
    pub entries: BTreeMap<String, Entry>,
}

/// What an object is a copy of.
fn copy_of(kind: SourceKind, object: &Value) -> Option<Source> {
    match kind {
        SourceKind::ConfigMap => ConfigMapView::deserialize(object).ok()?.0.copy_of(),
        SourceKind::Secret => SecretView::deserialize(object).ok()?.0.copy_of(),
    }
}

/// All revisions of a source, the oldest first.
pub struct Revisions {
    source: Source,
    all: Vec<Revision>,
}

impl Revisions {
    /// Reads them.
    pub async fn read(to: &Connection, source: &Source) -> Result<Self> {
        let kind = source.kind.kind();
        let live = get(to, kind, &source.name).await?;
        let copies = list::<Value>(to, kind, names::COPY_LABEL).await?;
        let copies: Vec<Value> =
            copies.into_iter().filter(|copy| copy_of(source.kind, copy).as_ref() == Some(source)).collect();
        if live.is_none() && copies.is_empty() {
            bail!("there is no {source} in namespace {}", to.namespace);
        }
        Ok(Self::of(source, live.as_ref(), &copies))
    }

    fn of(source: &Source, live: Option<&Value>, copies: &[Value]) -> Self {
        let held = live.map(|live| entries(source.kind, live));
        let mut all: Vec<Revision> = copies
            .iter()
            .map(|copy| {
                let name = text(copy, "/metadata/name");
                let annotation = |key: &str| copy["metadata"]["annotations"][key].as_str().map(str::to_owned);
                let entries = entries(source.kind, copy);
                Revision {
                    number: annotation(names::CONFIG_REVISION).and_then(|number| number.parse().ok()),
                    suffix: name.strip_prefix(&format!("{}-", source.name)).map(str::to_owned),
                    at: text(copy, "/metadata/creationTimestamp").parse().ok(),
                    author: annotation(names::CONFIG_AUTHOR).unwrap_or_default(),
                    live: held.as_ref() == Some(&entries),
                    entries,
                    name,
                }
            })
            .collect();
        all.sort_by_key(|revision| (revision.number, revision.at));
        if let (Some(live), Some(entries)) = (live, held)
            && !all.iter().any(|revision| revision.live)
        {
            let name = source.name.clone();
            let (at, author) = written(live);
            all.push(Revision { number: None, suffix: None, name, at, author, live: true, entries });
        }
        Self { source: source.clone(), all }
    }

    /// The newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Revision> {
        self.all.iter().rev()
    }

    /// Whether any revision is kept beside the live object.
    pub fn any_kept(&self) -> bool {
        self.all.iter().any(|revision| revision.number.is_some())
    }

    /// The revision of this number or hash; what is live without one.
    pub fn find(&self, wanted: Option<&str>) -> Result<&Revision> {
        let found = self.all.iter().find(|revision| match wanted {
            None | Some("live") => revision.live,
            Some(wanted) => {
                revision.number.is_some_and(|number| number.to_string() == wanted)
                    || revision.suffix.as_deref() == Some(wanted)
            }
        });
        found.ok_or_else(|| unknown(&self.source, wanted.unwrap_or("live"), &self.known()))
    }

    /// The newest kept revision before another one.
    pub fn before(&self, revision: &Revision) -> Result<&Revision> {
        let index = self.all.iter().position(|other| std::ptr::eq(other, revision)).unwrap_or(0);
        // The live object may hold an old revision again: then the newest other one is what it is compared with.
        let earlier = self.all.iter().take(index).rev().find(|other| other.number.is_some());
        let other = || self.all.iter().rev().find(|other| other.number.is_some() && !std::ptr::eq(*other, revision));
        match earlier.or_else(other) {
            Some(found) => Ok(found),
            None => bail!("no other revision of {} is kept to compare with", self.source),
        }
    }

    /// The numbers and hashes that are kept.
    pub fn known(&self) -> String {
        let one = |revision: &Revision| Some(format!("{} ({})", revision.number?, revision.suffix.as_ref()?));
        self.all.iter().filter_map(one).collect::<Vec<_>>().join(", ")
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// When and by whom data was written last.
fn written(object: &Value) -> (Option<Timestamp>, String) {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let data = |field: &&Value| !field["fieldsV1"]["f:data"].is_null() || !field["fieldsV1"]["f:binaryData"].is_null();
    let last = managers.into_iter().flatten().filter(data).max_by_key(|field| text(field, "/time"));
    last.map_or((None, String::new()), |field| (text(field, "/time").parse().ok(), text(field, "/manager")))
}

fn entries(kind: SourceKind, object: &Value) -> BTreeMap<String, Entry> {
    let part = |name: &str| object[name].as_object().into_iter().flatten();
    let decoded = |value: &Value| {
        let bytes: Result<k8s_openapi::ByteString, _> = serde_json::from_value(value.clone());
        Entry(bytes.map(|bytes| bytes.0).unwrap_or_default())
    };
    let plain = |value: &Value| Entry(value.as_str().unwrap_or_default().as_bytes().to_vec());
    match kind {
        SourceKind::Secret => part("data").map(|(key, value)| (key.clone(), decoded(value))).collect(),
        SourceKind::ConfigMap => part("data")
            .map(|(key, value)| (key.clone(), plain(value)))
            .chain(part("binaryData").map(|(key, value)| (key.clone(), decoded(value))))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn copy(number: u64, suffix: &str, value: &str) -> Value {
        json!({
            "metadata": {"name": format!("web-{suffix}"), "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {
                names::COPY_OF: "cm/web", names::CONFIG_REVISION: number.to_string(), names::CONFIG_AUTHOR: "helm"}},
            "data": {"a": value}
        })
    }

    fn revisions(live: &str) -> Revisions {
        let live = json!({"metadata": {"name": "web"}, "data": {"a": live}});
        let copies = [copy(2, "bbbb", "two"), copy(1, "aaaa", "one")];
        Revisions::of(&Source::config_map("web"), Some(&live), &copies)
    }

    #[test]
    fn the_live_object_is_a_revision_of_its_own_unless_it_is_kept() {
        let shown = |all: &Revisions| all.newest_first().map(|r| (r.number, r.live)).collect::<Vec<_>>();
        assert_eq!(shown(&revisions("two")), [(Some(2), true), (Some(1), false)]);
        assert_eq!(shown(&revisions("three")), [(None, true), (Some(2), false), (Some(1), false)]);
    }

    #[test]
    fn revisions_are_found_by_number_by_hash_and_by_being_live() {
        let all = revisions("three");
        assert_eq!(all.find(Some("1")).unwrap().name, "web-aaaa");
        assert_eq!(all.find(Some("bbbb")).unwrap().number, Some(2));
        assert_eq!(all.find(None).unwrap().number, None);
        assert_eq!(all.before(all.find(None).unwrap()).unwrap().number, Some(2));
        let error = all.find(Some("7")).err().unwrap().to_string();
        assert!(error.contains("kept are 1 (aaaa), 2 (bbbb)"), "{error}");
    }
}
