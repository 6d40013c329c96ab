//! What people do to the workload: with kubectl, with GitOps, and through a plan's request annotation.

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_crds::names;

use super::deployment::{NOT_COPIED, without_hash};
use super::policy::Request;
use super::server::{Cluster, DEPLOYMENTS, PLANS, REPLICA_SETS, int, owner, text};
use super::{WEB, patch};

const ALICE: &str = "alice";

/// Whoever made a plan owns what was in its manifest.
pub fn note_manifest(plan: &mut Value) {
    let none = serde_json::Map::new();
    let given = plan.pointer("/metadata/annotations").and_then(Value::as_object).unwrap_or(&none);
    let annotations: serde_json::Map<String, Value> =
        given.keys().map(|name| (format!("f:{name}"), json!({}))).collect();
    let fields = json!({"f:metadata": {"f:annotations": annotations}, "f:spec": {"f:targetRef": {}}});
    let at = text(plan, "/metadata/creationTimestamp").to_owned();
    note_owner(plan, &at, &fields);
}

/// The last writer of a request owns it alone.
fn note_owner(plan: &mut Value, at: &str, fields: &Value) {
    let request = format!("f:{}", names::REQUEST);
    if !plan["metadata"]["managedFields"].is_array() {
        plan["metadata"]["managedFields"] = json!([]);
    }
    let Some(entries) = plan["metadata"]["managedFields"].as_array_mut() else { return };
    for entry in entries.iter_mut() {
        _ = entry["fieldsV1"]["f:metadata"]["f:annotations"].as_object_mut().map(|owned| owned.remove(&request));
    }
    entries.push(json!({"manager": "somebody", "operation": "Update", "time": at, "fieldsV1": fields}));
}

impl Cluster {
    /// Creates the Deployment. `limits` are maxSurge and maxUnavailable.
    pub fn deploy(&mut self, replicas: i32, limits: (Value, Value), image: &str) {
        let (surge, unavailable) = limits;
        self.create(
            DEPLOYMENTS,
            WEB,
            json!({
                "metadata": {"annotations": {"team": "shop"}},
                "spec": {
                    "replicas": replicas, "minReadySeconds": 0, "revisionHistoryLimit": 10,
                    "selector": {"matchLabels": {"app": WEB}},
                    "strategy": {"type": "RollingUpdate",
                                 "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
                    "template": {
                        "metadata": {"creationTimestamp": null, "labels": {"app": WEB}},
                        "spec": {"containers": [{"name": "web", "image": image}]}
                    }
                }
            }),
        );
    }

    /// Creates a plan; `spec` is merged into one that targets the workload.
    pub fn plan(&mut self, name: &str, mut spec: Value) {
        spec["targetRef"] = json!({"kind": "Deployment", "name": WEB});
        self.create(PLANS, name, json!({"metadata": {}, "spec": spec}));
    }

    /// Changes the Deployment as a person does.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        self.update(DEPLOYMENTS, WEB, ALICE, change);
    }

    pub fn set_image(&mut self, image: &str) {
        self.edit(|d| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
    }

    /// Through the scale subresource: no policy runs. Kubernetes' own scaling in mid-rollout looks at no availability,
    /// so nothing is promised until things are calm again.
    pub fn scale(&mut self, replicas: i32) {
        let image = self.image().to_owned();
        let rolling = !self.paused() && self.pods.iter().any(|pod| pod.image != image);
        if self.active_sets() > 1 || rolling {
            self.watch.floor = 0;
        }
        let policy = std::mem::replace(&mut self.policy, false);
        self.edit(|d| d["spec"]["replicas"] = json!(replicas));
        self.policy = policy;
        self.watch.smallest = self.watch.smallest.min(replicas);
        if let Some(promise) = self.promise() {
            self.watch.floor = self.watch.floor.min(promise);
        }
    }

    /// Asks something of the plan.
    pub fn request(&mut self, text: &str) {
        let Some(name) = self.plan_name() else { return };
        let at = self.second();
        self.update(PLANS, &name, ALICE, |plan| {
            plan["metadata"]["annotations"][names::REQUEST] = json!(text);
            note_owner(plan, &at, &json!({"f:metadata": {"f:annotations": {format!("f:{}", names::REQUEST): {}}}}));
        });
    }

    /// `kubectl get releaseplan -o yaml | kubectl replace --force -f -`, or a restore; some rounds pass between its two writes.
    pub fn make_plan_again(&mut self, rounds: u8) {
        let Some(name) = self.plan_name() else { return };
        let Some(mut manifest) = self.get(PLANS, &name).cloned() else { return };
        _ = manifest["metadata"].as_object_mut().map(|meta| meta.remove("managedFields"));
        self.delete(PLANS, &name);
        self.raise_floor();
        for _ in 0..rounds {
            self.advance(1);
            self.round();
        }
        self.create(PLANS, &name, manifest);
    }

    fn second(&self) -> String {
        Timestamp::from_second(self.now.as_second()).unwrap().to_string()
    }

    /// The first plan of the workload.
    pub fn plan_of_web(&self) -> Option<&Value> {
        self.list(PLANS).find(|plan| text(plan, "/spec/targetRef/name") == WEB)
    }

    pub fn plan_name(&self) -> Option<String> {
        self.plan_of_web().map(|plan| text(plan, "/metadata/name").to_owned())
    }

    pub fn edit_plan(&mut self, change: impl FnOnce(&mut Value)) {
        let Some(name) = self.plan_name() else { return };
        self.update(PLANS, &name, ALICE, change);
    }

    /// The emergency release: one write past the plan.
    pub fn release_by_hand(&mut self) {
        self.edit(|d| {
            d["metadata"]["annotations"][names::HELD] = json!(names::RELEASED);
            d["spec"]["paused"] = json!(false);
        });
    }

    /// `kubectl get -o yaml`: what is stored now, to be written again some day.
    pub fn export(&self) -> Option<Value> {
        let mut manifest = self.deployment()?.clone();
        manifest.as_object_mut()?.remove("status");
        Some(manifest)
    }

    /// `kubectl replace -f`, by whoever has the manifest.
    pub fn replace_by_manifest(&mut self, manifest: &Value) {
        let request = Request { user: "ci", keeps_releases: false, applied: false };
        self.replace(DEPLOYMENTS, WEB, request, manifest.clone());
    }

    /// `kubectl apply -f`, on the server's side or the client's: what the manifest says, and nothing else, changes.
    pub fn apply_manifest(&mut self, manifest: &Value) {
        let Some(mut new) = self.deployment().cloned() else { return };
        let mut manifest = manifest.clone();
        let meta = json!({"annotations": manifest["metadata"]["annotations"]});
        manifest["metadata"] = meta;
        patch::merge(&mut new, &manifest);
        let request = Request { user: "gitops", keeps_releases: true, applied: true };
        self.replace(DEPLOYMENTS, WEB, request, new);
    }

    /// `kubectl rollout pause` and `resume`.
    pub fn pause(&mut self, paused: bool) {
        self.edit(|d| d["spec"]["paused"] = json!(paused));
    }

    pub fn opt_out(&mut self) {
        self.edit(|d| d["metadata"]["annotations"][names::PLAN] = json!(""));
    }

    /// `kubectl rollout restart`, which refuses a paused Deployment.
    pub fn restart(&mut self, at: &str) {
        if !self.paused() {
            self.edit(|d| {
                d["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!(at);
            });
        }
    }

    pub fn paused(&self) -> bool {
        self.deployment().and_then(|d| d.pointer("/spec/paused")).and_then(Value::as_bool).unwrap_or(false)
    }

    /// `kubectl rollout undo`: template and annotations of the revision before; refuses a paused Deployment.
    pub fn kubectl_undo(&mut self) {
        let Some(deployment) = self.deployment() else { return };
        if self.paused() {
            return;
        }
        let uid = text(deployment, "/metadata/uid");
        let revision = |rs: &Value| {
            let annotations = rs.pointer("/metadata/annotations").cloned().unwrap_or_default();
            annotations[names::REVISION].as_str().and_then(|r| r.parse::<i64>().ok()).unwrap_or(0)
        };
        let mut sets: Vec<Value> = self.list(REPLICA_SETS).filter(|rs| owner(rs) == Some(uid)).cloned().collect();
        sets.sort_by_key(revision);
        let Some(rs) = sets.len().checked_sub(2).map(|i| sets[i].clone()) else { return };
        self.edit(|d| {
            d["spec"]["template"] = without_hash(&rs["spec"]["template"]);
            let annotations = d["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.retain(|name, _| NOT_COPIED.contains(&name.as_str()));
            for (name, value) in rs["metadata"]["annotations"].as_object().unwrap() {
                if !NOT_COPIED.contains(&name.as_str()) {
                    annotations.insert(name.clone(), value.clone());
                }
            }
        });
    }

    /// Deletes the Deployment; what it owns goes with the garbage collector.
    pub fn delete_deployment(&mut self) {
        self.delete(DEPLOYMENTS, WEB);
        self.watch.floor = 0;
    }

    pub fn replicas(&self) -> i32 {
        self.deployment().map_or(0, |d| int(d, "/spec/replicas"))
    }

    pub fn image(&self) -> &str {
        self.deployment().map(|d| text(d, "/spec/template/spec/containers/0/image")).unwrap_or_default()
    }
}
