//! A pod template as the API server stores it: its text, its identity, and the few facts that decisions read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};
use trimtab_config::{Pins, Reads, reads};
use trimtab_crds::{Change, names};

use crate::digest::{bare_digest, template_digest};

/// A pod template, kept as text so that fields unknown to this program survive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Template {
    /// The template's JSON.
    #[serde(skip)]
    text: Box<str>,
    /// What its pods read; nothing where the text is not there.
    #[serde(skip)]
    pub reads: Reads,
    /// Its identity.
    pub digest: String,
    /// Its identity without its pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    bare: Option<String>,
    /// Which revisions of their configuration its pods read.
    #[serde(skip_serializing_if = "Pins::is_empty")]
    pub config: Pins,
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

    /// Its identity without its pins.
    pub fn bare_digest(&self) -> &str {
        self.bare.as_deref().unwrap_or(&self.digest)
    }

    /// Whether the text is there: see [`Self::forget_text`].
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// Drops the text, where only the facts are needed.
    pub fn forget_text(&mut self) {
        self.text = Box::default();
        self.reads = Reads::default();
    }

    /// The revision in a person's words: its images, or its digest where they say nothing.
    pub fn words(&self) -> String {
        let images: Vec<&str> = self.images.values().map(String::as_str).collect();
        if images.is_empty() { self.digest.chars().take(13).collect() } else { cut(&images.join(" + ")) }
    }

    /// A template from its value.
    pub fn from_value(value: &Value) -> Self {
        Self::of(value, value.to_string())
    }

    fn of(value: &Value, text: String) -> Self {
        let containers = value.pointer("/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
        let annotation = |name| value.pointer("/metadata/annotations")?.get(name)?.as_str();
        let config = annotation(names::CONFIG).map(|text| Pins::in_template(Some(text)));
        Self {
            text: text.into_boxed_str(),
            reads: reads(value),
            digest: template_digest(value),
            bare: config.is_some().then(|| bare_digest(value)),
            config: config.unwrap_or_default(),
            drains: !containers.is_empty() && containers.iter().all(|c| c.pointer("/lifecycle/preStop").is_some()),
            restarted: annotation(names::RESTARTED).map(str::to_owned),
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
    let pins = |value: &Value| {
        Pins::in_template(value.pointer("/metadata/annotations").and_then(|a| a.get(names::CONFIG)?.as_str()))
    };
    let (old_pins, new_pins) = (pins(old), pins(new));
    if old_pins != new_pins {
        found.retain(|change| !change.path.starts_with("metadata.annotations") || !is_pins(change, old, new));
        found.extend(pin_changes(&old_pins, &new_pins));
    }
    found.truncate(limit);
    found
}

/// Whether a change is that of the pins: of their annotation, or of the annotations as a whole where it is the only one.
fn is_pins(change: &Change, old: &Value, new: &Value) -> bool {
    let only = |value: &Value| {
        let all = value.pointer("/metadata/annotations").and_then(Value::as_object);
        all.is_none_or(|all| all.keys().all(|name| name == names::CONFIG))
    };
    change.path.ends_with(names::CONFIG) || (change.path == "metadata.annotations" && only(old) && only(new))
}

/// The sources of which pods read another revision.
fn pin_changes(old: &Pins, new: &Pins) -> Vec<Change> {
    let sources: std::collections::BTreeSet<_> = old.0.keys().chain(new.0.keys()).collect();
    let differing = sources.into_iter().filter(|source| old.get(source) != new.get(source));
    let pin = |pins: &Pins, source| pins.get(source).map(ToString::to_string);
    differing
        .map(|source| Change { path: format!("config {source}"), from: pin(old, source), to: pin(new, source) })
        .collect()
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
            let (a, b) = (by_label(a), by_label(b));
            let labels: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in labels {
                compare(a.get(key).copied(), b.get(key).copied(), format!("{path}[{key}]"), found);
            }
        }
        (a, b) => {
            let shown = |v: Option<&Value>| v.and_then(Value::as_str).filter(|_| path.ends_with(".image")).map(cut);
            found.push(Change { from: shown(a), to: shown(b), path: cut(&path) });
        }
    }
}

/// The items of a list by what they are called; the first of equals.
fn by_label(list: &[Value]) -> BTreeMap<String, &Value> {
    let mut named = BTreeMap::new();
    for (index, item) in list.iter().enumerate() {
        named.entry(label(index, item)).or_insert(item);
    }
    named
}

/// As much of a text of somebody else's as people read, and a record can hold.
fn cut(text: &str) -> String {
    const MOST: usize = 300;
    text.chars().take(MOST).collect()
}

fn label(index: usize, value: &Value) -> String {
    value.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned)
}

/// What changed, in a few words.
pub fn summary(changes: &[Change]) -> String {
    let images = changes.iter().filter(|c| c.path.ends_with(".image"));
    let image = images.filter_map(|c| c.to.as_ref()).map(|to| format!("image {to}")).next();
    let config = changes.iter().find(|c| c.path.starts_with("config ")).map(|c| c.path.clone());
    let restart = changes.iter().any(|c| c.path.ends_with(names::RESTARTED) || c.path.ends_with("restartedAt"));
    let first = image
        .or(config)
        .or_else(|| restart.then(|| "restart".to_owned()))
        .or_else(|| changes.first().map(|c| c.path.clone()));
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
    fn a_template_of_any_size_is_compared_by_looking_at_each_item_once() {
        let env = |value: &str| -> Vec<Value> {
            (0..40_000).map(|n| json!({"name": format!("V{n}"), "value": value})).collect()
        };
        let template = |value: &str| json!({"spec": {"containers": [{"name": "web", "env": env(value)}]}});
        let found = changes(&template("a"), &template("b"), 20);
        assert_eq!((found.len(), found[0].path.as_str()), (20, "spec.containers[web].env[V0].value"));
        let long = json!({"spec": {"containers": [{"name": "web", "image": "a".repeat(5_000)}]}});
        let found = changes(&json!({"spec": {"containers": [{"name": "web", "image": "b"}]}}), &long, 20);
        assert_eq!(found[0].to.as_ref().map(String::len), Some(300));
        assert!(Template::from_value(&long).words().len() <= 300);
    }

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
