//! Configuration in the model: a ConfigMap and a Secret that the workload may read, the policy that gives each pod its
//! revision, what ConfigPolicies refuse, and what is seen of it all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use trimtab_config::{ConfigMapView, Pin, Pins, SecretView, Source, SourceKind, SourceView, Validate, reads};
use trimtab_crds::{ConfigPolicySpec, names};
use trimtab_plan::Answer;
use trimtab_release::Snapshot;

use super::WEB;
use super::server::{CONFIG_MAPS, Cluster, REPLICA_SETS, SECRETS, text};

/// The one key of what the workload reads.
const KEY: &str = "app.conf";
/// The Secret that it may read.
const DB: &str = "db";
/// The type of Secrets in which Helm keeps its releases.
const HELM: &str = "helm.sh/release.v1";

/// A release that began, with what was refused then.
#[derive(Clone, Default)]
pub struct Begun {
    release: String,
    refused: BTreeSet<String>,
    /// What was live then, by source.
    live: BTreeMap<Source, String>,
}

/// What a workload can read.
fn all() -> [Source; 2] {
    [Source::config_map(WEB), Source::secret(DB)]
}

fn kind_of(source: &Source) -> &'static str {
    if source.kind == SourceKind::Secret { SECRETS } else { CONFIG_MAPS }
}

fn view(source: &Source, object: &Value) -> SourceView {
    let text = object.to_string();
    match source.kind {
        SourceKind::ConfigMap => SourceView::ConfigMap(Arc::new(serde_json::from_str::<ConfigMapView>(&text).unwrap())),
        SourceKind::Secret => SourceView::Secret(Arc::new(serde_json::from_str::<SecretView>(&text).unwrap())),
    }
}

/// What an object holds.
fn value(object: &Value) -> String {
    object["data"][KEY].as_str().unwrap_or_default().to_owned()
}

/// What a policy of this test refuses.
fn refused_by(policy: &ConfigPolicySpec) -> BTreeSet<String> {
    let texts = policy.rules.iter().filter_map(|rule| rule.pattern.clone());
    texts.flat_map(|text| text.split('|').map(str::to_owned).collect::<Vec<_>>()).collect()
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

    /// Lets the workload read Secret `db` beside it. What it holds is in base64.
    pub fn configure_secret(&mut self, value: &str) {
        self.create(SECRETS, DB, json!({"metadata": {}, "type": "Opaque", "data": {KEY: value}}));
        self.edit(|d| {
            let volume = json!({"name": "s", "secret": {"secretName": DB, "items": [{"key": KEY, "path": KEY}]}});
            d["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap().push(volume);
        });
    }

    /// From now on a policy refuses the value `refused`.
    pub fn refuse(&mut self) {
        self.refuse_all(&["refused"]);
    }

    /// From now on a policy refuses these values, and no others.
    pub fn refuse_all(&mut self, values: &[&str]) {
        self.policies.clear();
        if values.is_empty() {
            return;
        }
        let version = self.next().to_string();
        // The pattern lists here what is refused: nothing of it is evaluated.
        let policy = json!({
            "metadata": {"name": "strict", "namespace": super::NAMESPACE, "uid": "policy", "resourceVersion": version},
            "spec": {"selector": {"kinds": ["ConfigMap", "Secret"], "names": [WEB, DB]},
                     "rules": [{"name": "sane", "pattern": values.join("|")}]},
        });
        self.policies.push(Arc::new(serde_json::from_value(policy).unwrap()));
    }

    /// Answers as the program that looks at bodies does.
    pub(super) fn judge(&self, input: &Value) -> Answer {
        let asked: Validate = serde_json::from_value(input.clone()).unwrap();
        let name = asked.copy.as_ref().unwrap_or(&asked.source.name);
        let Some(object) = self.get(kind_of(&asked.source), name) else { return Answer::NotFound };
        if text(object, "/metadata/resourceVersion") != asked.resource_version {
            return Answer::Object(json!({"changed": true}));
        }
        let finding = json!({"policy": "strict", "key": KEY, "line": 1, "rule": "sane", "message": "it is odd"});
        let refused = asked.policies.iter().any(|policy| refused_by(&policy.spec).contains(&value(object)));
        let findings = if refused { vec![finding] } else { vec![] };
        Answer::Object(json!({"findings": findings}))
    }

    /// Changes what the live ConfigMap holds.
    pub fn set_config(&mut self, value: &str) {
        self.update(CONFIG_MAPS, WEB, "alice", |map| map["data"] = json!({KEY: value}));
    }

    /// Changes what the live Secret holds.
    pub fn set_secret(&mut self, value: &str) {
        self.update(SECRETS, DB, "alice", |secret| secret["data"] = json!({KEY: value}));
    }

    /// Lets the Secret look like one that a program renews, or no longer.
    pub fn renew_secret(&mut self, renewed: bool) {
        self.update(SECRETS, DB, "mallory", |secret| {
            let annotations = if renewed { json!({"cert-manager.io/certificate-name": "x"}) } else { json!({}) };
            secret["metadata"]["annotations"] = annotations;
        });
    }

    /// Somebody makes the Secret anew, of another type.
    pub fn remake_secret(&mut self, type_: &str, value: &str) {
        self.delete(SECRETS, DB);
        self.create(SECRETS, DB, json!({"metadata": {}, "type": type_, "data": {KEY: value}}));
    }

    /// Changes the live ConfigMap in any way.
    pub fn edit_config(&mut self, change: impl FnOnce(&mut Value)) {
        self.update(CONFIG_MAPS, WEB, "alice", change);
    }

    /// Somebody makes an object that is in every way like a copy of ConfigMap `web` that Trimtab made, and holds this. Its pin.
    pub fn look_alike(&mut self, value: &str) -> String {
        let data = json!({KEY: value});
        let whole = json!({"metadata": {"name": WEB}, "data": data});
        let digest = view(&Source::config_map(WEB), &whole).as_ref().revision(&[0; 32]);
        let suffix: String = digest.chars().skip(3).take(10).collect();
        let meta = json!({"labels": {names::COPY_LABEL: "true"},
            "annotations": {names::COPY_OF: "cm/web", names::DIGEST: digest},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Somebody", "name": "else", "uid": super::strangers::STRANGER}]});
        self.create(
            CONFIG_MAPS,
            &format!("{WEB}-{suffix}"),
            json!({"metadata": meta, "immutable": true, "data": data}),
        );
        suffix
    }

    /// The pin of a copy of ConfigMap `web` that holds this, where one is kept.
    pub fn pin_of(&self, held: &str) -> Option<String> {
        let copies = self.list(CONFIG_MAPS).filter(|map| value(map) == held);
        let mut suffixes = copies.filter_map(|map| text(map, "/metadata/name").strip_prefix("web-"));
        suffixes.find(|suffix| Pin::is_suffix(suffix)).map(str::to_owned)
    }

    /// A person names a revision in the template.
    pub fn pin_in_template(&mut self, pin: &str) {
        self.edit(|d| d["spec"]["template"]["metadata"]["annotations"][names::CONFIG] = json!(format!("cm/web={pin}")));
    }

    /// A person pins a revision by the plan, or takes that off.
    pub fn pin_by_plan(&mut self, pin: Option<&str>) {
        let pin = pin.map(|pin| format!("cm/web={pin}"));
        self.edit_plan(|plan| match &pin {
            Some(pin) => plan["metadata"]["annotations"][names::CONFIG_PINNED] = json!(pin),
            None => _ = plan["metadata"]["annotations"].as_object_mut().map(|all| all.remove(names::CONFIG_PINNED)),
        });
    }

    /// The object that pods of a template read of a source, if they read it.
    fn name_read(template: &Value, source: &Source) -> Option<String> {
        if !reads(template).sources.contains_key(source) {
            return None;
        }
        let pins =
            Pins::in_template(template.pointer("/metadata/annotations").and_then(|a| a.get(names::CONFIG)?.as_str()));
        Some(pins.get(source).map_or_else(|| source.name.clone(), |pin| pin.copy_name(source)))
    }

    /// What a pod of this template reads: the policy rewrites the reference as the pins say.
    fn value_read(&mut self, template: &Value, source: &Source) -> Option<String> {
        let name = Self::name_read(template, source)?;
        let Some(object) = self.get(kind_of(source), &name) else {
            self.fault(format!("a pod is to read {source} from {name}, which is not there"));
            return None;
        };
        Some(value(object))
    }

    /// What a pod of this ReplicaSet reads of ConfigMap `web`. Nothing that was refused when its release began.
    pub(super) fn config_of(&mut self, rs: &Value) -> Option<String> {
        let template = &rs["spec"]["template"];
        let mut found = all().map(|source| (self.value_read(template, &source), source));
        for (held, source) in &found {
            if let Some(held) = held {
                self.guard_read(rs, source, held);
            }
        }
        found[0].0.take()
    }

    /// No pod that is made by a release reads what the policies refused when that began, save what stable pods read.
    fn guard_read(&mut self, rs: &Value, source: &Source, held: &str) {
        let Some(status) = self.plan_of_web().and_then(|plan| plan.get("status")).cloned() else { return };
        let begun = self.watch.begun.clone();
        let (stage, stable) = (text(&status, "/release/stage"), text(&status, "/stable/replicaSet"));
        let is_new = self.digest_of(text(rs, "/metadata/name")).as_deref() == Some(text(&status, "/release/digest"));
        let goes_on = matches!(stage, "Steps" | "Promoting") && text(&status, "/release/name") == begun.release;
        if !goes_on || !is_new || !begun.refused.contains(held) {
            return;
        }
        let name = Self::name_read(&rs["spec"]["template"], source);
        let live = name.as_deref() == Some(source.name.as_str());
        let of_stable = self.get(REPLICA_SETS, stable).and_then(|rs| Self::name_read(&rs["spec"]["template"], source));
        // What is read live may have changed since.
        let came_later = live && begun.live.get(source).is_none_or(|then| then != held);
        if came_later || (!live && of_stable == name) {
            return;
        }
        self.fault(format!("a pod of release {} reads {held} of {source}, which is refused", begun.release));
    }

    fn digest_of(&mut self, name: &str) -> Option<String> {
        let views = self.replica_set_views();
        views.iter().find(|rs| rs.metadata.name == name).map(|rs| rs.spec.template.digest.clone())
    }

    /// Notes what is refused where a decision begins a release.
    pub(super) fn note_begun(&mut self, seen: &Snapshot, release: &str) {
        let refused = seen.policies.iter().flat_map(|policy| refused_by(&policy.spec)).collect();
        let live = all().into_iter().filter_map(|source| {
            let held = value(self.get(kind_of(&source), &source.name)?);
            Some((source, held))
        });
        self.watch.begun = Begun { release: release.to_owned(), refused, live: live.collect() };
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
        let mut copies: Vec<String> = self.list(CONFIG_MAPS).filter(is_copy).map(value).collect();
        copies.sort();
        copies
    }

    /// As the manager watches them: of what Helm keeps it sees the names.
    pub(super) fn source(&self, kind: SourceKind, name: &str) -> Option<SourceView> {
        let source = Source { kind, name: name.to_owned() };
        let object = self.get(kind_of(&source), name).filter(|object| !is_helms(object))?;
        Some(view(&source, object))
    }

    pub(super) fn copies_of(&self, source: &Source) -> Vec<SourceView> {
        let views = self.list(kind_of(source)).filter(|object| !is_helms(object)).map(|object| view(source, object));
        views.filter(|object| object.as_ref().copy_of().as_ref() == Some(source)).collect()
    }

    pub(super) fn is_unread(&self, kind: SourceKind, name: &str) -> bool {
        self.get(kind_of(&Source { kind, name: name.to_owned() }), name).is_some_and(is_helms)
    }
}

fn is_helms(object: &Value) -> bool {
    text(object, "/type") == HELM
}
