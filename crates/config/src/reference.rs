//! What a pod template reads: ConfigMaps and Secrets in volumes, projected volumes and variables, and the references that
//! cannot be frozen. Not what these objects hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::Source;

/// How a template reads a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reference {
    /// Whether pods start without the object: every place that reads it says so.
    pub optional: bool,
    /// The entries without which pods do not start.
    pub keys: BTreeSet<Box<str>>,
}

/// All that a template reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reads {
    /// By source.
    pub sources: BTreeMap<Source, Reference>,
    /// Places that read Secrets in ways that no copy can stand in for: `volume data (csi)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfreezable: Vec<String>,
}

impl Reads {
    fn note<'v>(&mut self, source: Option<Source>, place: &Value, keys: impl IntoIterator<Item = &'v str>) {
        let Some(source) = source else { return };
        let optional = place["optional"].as_bool().unwrap_or(false);
        let known = self.sources.entry(source).or_insert_with(|| Reference { optional: true, ..Reference::default() });
        known.optional &= optional;
        if !optional {
            known.keys.extend(keys.into_iter().map(Into::into));
        }
    }
}

/// Volumes whose drivers read Secrets by themselves.
const DRIVERS: [&str; 8] = ["csi", "azureFile", "cephfs", "cinder", "flexVolume", "iscsi", "rbd", "storageos"];

/// What a pod template reads: `{metadata, spec}` as it stands in a workload.
pub fn reads(template: &Value) -> Reads {
    let mut found = Reads::default();
    let spec = &template["spec"];
    for volume in items(&spec["volumes"]) {
        volume_reads(volume, &mut found);
    }
    for container in items(&spec["initContainers"]).chain(items(&spec["containers"])) {
        for from in items(&container["envFrom"]) {
            found.note(config_map(&from["configMapRef"]["name"]), &from["configMapRef"], []);
            found.note(secret(&from["secretRef"]["name"]), &from["secretRef"], []);
        }
        for variable in items(&container["env"]) {
            let from = &variable["valueFrom"];
            let (map, key) = (&from["configMapKeyRef"], &from["secretKeyRef"]);
            found.note(config_map(&map["name"]), map, map["key"].as_str());
            found.note(secret(&key["name"]), key, key["key"].as_str());
        }
    }
    found
}

fn volume_reads(volume: &Value, found: &mut Reads) {
    found.note(config_map(&volume["configMap"]["name"]), &volume["configMap"], item_keys(&volume["configMap"]));
    found.note(secret(&volume["secret"]["secretName"]), &volume["secret"], item_keys(&volume["secret"]));
    for part in items(&volume["projected"]["sources"]) {
        found.note(config_map(&part["configMap"]["name"]), &part["configMap"], item_keys(&part["configMap"]));
        found.note(secret(&part["secret"]["name"]), &part["secret"], item_keys(&part["secret"]));
    }
    let name = volume["name"].as_str().unwrap_or_default();
    for driver in DRIVERS {
        let options = &volume[driver];
        let names_secret =
            ["secretRef", "nodePublishSecretRef", "secretName"].iter().any(|key| !options[*key].is_null());
        if names_secret {
            found.unfreezable.push(format!("volume {name} ({driver})"));
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn item_keys(place: &Value) -> impl Iterator<Item = &str> {
    items(&place["items"]).filter_map(|item| item["key"].as_str())
}

fn config_map(name: &Value) -> Option<Source> {
    name.as_str().filter(|name| !name.is_empty()).map(Source::config_map)
}

fn secret(name: &Value) -> Option<Source> {
    name.as_str().filter(|name| !name.is_empty()).map(Source::secret)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: Value, expected: &[(&str, bool, &[&str])]) {
        let found = reads(&json!({"spec": spec}));
        let shown: Vec<(String, bool, Vec<&str>)> = found
            .sources
            .iter()
            .map(|(source, r)| (source.to_string(), r.optional, r.keys.iter().map(AsRef::as_ref).collect()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(s, o, k)| ((*s).to_owned(), *o, k.to_vec())).collect();
        assert_eq!(shown, expected, "{spec}");
    }

    #[test]
    fn every_place_is_seen() {
        check(
            json!({"volumes": [
                {"name": "a", "configMap": {"name": "vol", "items": [{"key": "k", "path": "p"}]}},
                {"name": "b", "secret": {"secretName": "sec", "optional": true}},
                {"name": "c", "projected": {"sources": [
                    {"configMap": {"name": "p1", "items": [{"key": "x", "path": "x"}]}}, {"secret": {"name": "p2"}},
                    {"serviceAccountToken": {"path": "token"}}, {"downwardAPI": {}}]}}
            ]}),
            &[
                ("cm/p1", false, &["x"]),
                ("cm/vol", false, &["k"]),
                ("secret/p2", false, &[]),
                ("secret/sec", true, &[]),
            ],
        );
        for list in ["containers", "initContainers"] {
            check(
                json!({list: [{
                    "envFrom": [{"configMapRef": {"name": "all"}}, {"secretRef": {"name": "some", "optional": true}}],
                    "env": [
                        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
                        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k", "optional": true}}},
                        {"name": "C", "value": "plain"}
                    ]
                }]}),
                &[
                    ("cm/all", false, &[]),
                    ("cm/one", false, &["k"]),
                    ("secret/some", true, &[]),
                    ("secret/two", true, &[]),
                ],
            );
        }
    }

    #[test]
    fn a_source_is_optional_where_every_place_says_so() {
        check(
            json!({"containers": [{"envFrom": [{"configMapRef": {"name": "a", "optional": true}}, {"configMapRef": {"name": "a"}}]}]}),
            &[("cm/a", false, &[])],
        );
    }

    #[test]
    fn what_no_copy_can_stand_in_for_is_named() {
        let volumes = json!([{"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "s"}}}, {"name": "e", "csi": {}}]);
        assert_eq!(reads(&json!({"spec": {"volumes": volumes}})).unfreezable, ["volume d (csi)"]);
    }

    #[test]
    fn nonsense_reads_nothing() {
        for spec in
            [json!(null), json!({"volumes": {}, "containers": "x"}), json!({"volumes": [1, null, {"configMap": 3}]})]
        {
            check(spec, &[]);
        }
    }
}
