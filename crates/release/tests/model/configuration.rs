//! Configuration in the model: a ConfigMap that the workload reads, the policy that gives each pod its revision, and what
//! is seen of it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use trimtab_config::{ConfigMapView, Known, Pins, Source, SourceView, Validate, reads};
use trimtab_crds::names;
use trimtab_plan::Answer;

use super::WEB;
use super::server::{CONFIG_MAPS, Cluster, text};

/// The one key of the ConfigMap.
const KEY: &str = "app.conf";

fn view(object: &Value) -> SourceView {
    let view: ConfigMapView = serde_json::from_str(&object.to_string()).unwrap();
    SourceView::ConfigMap(Arc::new(view))
}

impl Cluster {
    /// Lets the workload read ConfigMap `web`, which holds this.
    pub fn configure(&mut self, value: &str) {
        self.create(CONFIG_MAPS, WEB, json!({"metadata": {}, "data": {KEY: value}}));
        self.edit(|d| {
            let volume = json!({"name": "c", "configMap": {"name": WEB, "items": [{"key": KEY, "path": KEY}]}});
            d["spec"]["template"]["spec"]["volumes"] = json!([volume]);
        });
    }

    /// From now on a policy refuses the value `refused`.
    pub fn refuse(&mut self) {
        let policy = json!({
            "metadata": {"name": "strict", "namespace": super::NAMESPACE, "uid": "policy", "resourceVersion": "1"},
            "spec": {"selector": {}, "rules": [{"name": "sane", "pattern": "a|b|c"}]},
        });
        self.policies.push(Arc::new(serde_json::from_value(policy).unwrap()));
    }

    /// Answers as the program that looks at bodies does.
    pub(super) fn judge(&self, input: &Value) -> Answer {
        let asked: Validate = serde_json::from_value(input.clone()).unwrap();
        let Some(live) = self.get(CONFIG_MAPS, WEB) else { return Answer::NotFound };
        if text(live, "/metadata/resourceVersion") != asked.resource_version {
            return Answer::Object(json!({"changed": true}));
        }
        let finding = json!({"policy": "strict", "key": KEY, "line": 1, "rule": "sane", "message": "it is odd"});
        let findings = if text(live, &format!("/data/{KEY}")) == "refused" { vec![finding] } else { vec![] };
        Answer::Object(json!({"findings": findings}))
    }

    /// Changes what the live ConfigMap holds.
    pub fn set_config(&mut self, value: &str) {
        self.update(CONFIG_MAPS, WEB, "alice", |map| map["data"] = json!({KEY: value}));
    }

    /// Changes the live ConfigMap in any way.
    pub fn edit_config(&mut self, change: impl FnOnce(&mut Value)) {
        self.update(CONFIG_MAPS, WEB, "alice", change);
    }

    /// What a pod of this template reads: the policy rewrites the reference as the pins say.
    pub(super) fn config_of(&mut self, template: &Value) -> Option<String> {
        let source = Source::config_map(WEB);
        if !reads(template).sources.contains_key(&source) {
            return None;
        }
        let pins =
            Pins::in_template(template.pointer("/metadata/annotations").and_then(|a| a.get(names::CONFIG)?.as_str()));
        let name = pins.get(&source).map_or_else(|| WEB.to_owned(), |pin| pin.copy_name(&source));
        let Some(object) = self.get(CONFIG_MAPS, &name) else {
            self.fault(format!("a pod is to read ConfigMap {name}, which is not there"));
            return None;
        };
        Some(object["data"][KEY].as_str().unwrap_or_default().to_owned())
    }

    /// What the pods read, with how many do.
    pub fn configs(&self) -> BTreeMap<String, usize> {
        self.pods.iter().filter_map(|pod| pod.config.clone()).fold(BTreeMap::new(), |mut counts, config| {
            *counts.entry(config).or_default() += 1;
            counts
        })
    }

    /// The copies of the ConfigMap, by what they hold.
    pub fn copies(&self) -> Vec<String> {
        let is_copy = |map: &&Value| map.pointer("/metadata/annotations").is_some_and(|a| !a[names::COPY_OF].is_null());
        let mut copies: Vec<String> =
            self.list(CONFIG_MAPS).filter(is_copy).map(|map| text(map, &format!("/data/{KEY}")).to_owned()).collect();
        copies.sort();
        copies
    }

    /// What is known of the sources, as the controller gathers it.
    pub(super) fn sources(&self) -> BTreeMap<Source, Known<SourceView>> {
        let source = Source::config_map(WEB);
        let reads = self.deployment().is_some_and(|d| reads(&d["spec"]["template"]).sources.contains_key(&source));
        let copies: Vec<SourceView> =
            self.list(CONFIG_MAPS).map(view).filter(|map| map.as_ref().copy_of().as_ref() == Some(&source)).collect();
        if !reads && copies.is_empty() {
            return BTreeMap::new();
        }
        let live = self.get(CONFIG_MAPS, WEB).map(view);
        let is_copy = |name: &str| copies.iter().any(|copy| copy.as_ref().metadata.name == name);
        let maps = self.list(CONFIG_MAPS).map(|map| text(map, "/metadata/name").to_owned());
        let strangers = maps.filter(|name| name != WEB && !is_copy(name)).collect();
        [(source, Known { live, copies, strangers })].into()
    }
}
