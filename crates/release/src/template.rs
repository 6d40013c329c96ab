//! A pod template as the API server stores it: its text, its identity, and the few facts that decisions read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};
use trimtab_crds::{Change, names};

use crate::digest::template_digest;

/// A pod template, kept as text so that fields unknown to this program survive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Template {
    /// The template's JSON.
    #[serde(skip)]
    text: Box<str>,
    /// Its identity.
    pub digest: String,
    /// Whether every container has a preStop hook, and so drains before it stops.
    pub drains: bool,
    /// The request that restarted it last.
    pub restarted: Option<String>,
    /// Images by container name.
    pub images: BTreeMap<String, String>,
}

impl Template {
    /// The template as a value.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Whether the text is there: see [`Self::forget_text`].
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// Drops the text, where only the facts are needed.
    pub fn forget_text(&mut self) {
        self.text = Box::default();
    }

    /// A template from its value.
    pub fn from_value(value: &Value) -> Self {
        Self::of(value, value.to_string())
    }

    fn of(value: &Value, text: String) -> Self {
        let containers = value.pointer("/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
        let restarted = value.pointer("/metadata/annotations").and_then(|a| a.get(names::RESTARTED));
        Self {
            text: text.into_boxed_str(),
            digest: template_digest(value),
            drains: !containers.is_empty() && containers.iter().all(|c| c.pointer("/lifecycle/preStop").is_some()),
            restarted: restarted.and_then(Value::as_str).map(str::to_owned),
            images: containers.iter().filter_map(named_image).collect(),
        }
    }
}

fn named_image(container: &Value) -> Option<(String, String)> {
    Some((container.get("name")?.as_str()?.to_owned(), container.get("image")?.as_str()?.to_owned()))
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let value: Value = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self::of(&value, raw.get().to_owned()))
    }
}

/// What differs between two templates: at most `limit` paths. Values are given for images only, others may be secret.
pub fn changes(old: &Value, new: &Value, limit: usize) -> Vec<Change> {
    let mut found = vec![];
    compare(Some(old), Some(new), String::new(), &mut found);
    found.retain(|change: &Change| !change.path.ends_with(names::POD_TEMPLATE_HASH));
    found.truncate(limit);
    found
}

fn compare(old: Option<&Value>, new: Option<&Value>, path: String, found: &mut Vec<Change>) {
    match (old, new) {
        (a, b) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(a.get(key), b.get(key), path, found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            // Lists of named things (containers, env, volumes) are compared by name, others by place.
            let labels: std::collections::BTreeSet<String> =
                a.iter().enumerate().chain(b.iter().enumerate()).map(|(i, v)| label(i, v)).collect();
            for key in labels {
                let find =
                    |list: &[Value]| list.iter().enumerate().find(|(i, v)| label(*i, v) == key).map(|(_, v)| v.clone());
                compare(find(a).as_ref(), find(b).as_ref(), format!("{path}[{key}]"), found);
            }
        }
        (a, b) => {
            let shown =
                |v: Option<&Value>| v.and_then(Value::as_str).filter(|_| path.ends_with(".image")).map(str::to_owned);
            found.push(Change { from: shown(a), to: shown(b), path });
        }
    }
}

fn label(index: usize, value: &Value) -> String {
    value.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned)
}

/// What changed, in a few words.
pub fn summary(changes: &[Change]) -> String {
    let image = changes.iter().find_map(|c| c.to.as_ref().map(|to| format!("image {to}")));
    let restart = changes.iter().any(|c| c.path.ends_with(names::RESTARTED) || c.path.ends_with("restartedAt"));
    let first =
        image.or_else(|| restart.then(|| "restart".to_owned())).or_else(|| changes.first().map(|c| c.path.clone()));
    match (first, changes.len()) {
        (None, _) => "nothing visible".to_owned(),
        (Some(first), 0 | 1) => first,
        (Some(first), more) => format!("{first} and {} more", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_for_images_only() {
        let old =
            json!({"spec": {"containers": [{"name": "web", "image": "a:1", "env": [{"name": "K", "value": "old"}]}]}});
        let new =
            json!({"spec": {"containers": [{"name": "web", "image": "a:2", "env": [{"name": "K", "value": "new"}]}]}});
        let changes = changes(&old, &new, 20);
        let paths: Vec<_> = changes.iter().map(|c| c.path.as_str()).collect();
        assert_eq!(paths, ["spec.containers[web].env[K].value", "spec.containers[web].image"]);
        assert!(changes[0].to.is_none());
        assert_eq!(changes[1].to.as_deref(), Some("a:2"));
        assert_eq!(summary(&changes), "image a:2 and 1 more");
    }
}
