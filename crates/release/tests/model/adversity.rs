//! What stands in the way: writes that the server refuses, reads that fail, admissions that change what is written, and
//! strangers' objects under the names that we would use.

use serde_json::{Value, json};
use trimtab_plan::{Class, Failure, Subresource, Verb, Write};

use super::WEB;
use super::server::{CONFIG_MAPS, Cluster, RELEASES, REPLICA_SETS, text};

/// What stands in the way now.
#[derive(Clone, Debug, Default)]
pub struct Adversity {
    /// Writes of ours that are refused.
    pub refusals: Vec<Refusal>,
    /// So many of our reads fail.
    pub failing_reads: u32,
    /// An admission sets a field in every template of a Deployment that is written.
    pub marks_deployments: bool,
    /// An admission lets every Deployment that is written run this image.
    pub forces_image: Option<&'static str>,
    /// An admission sets a field in the templates of the ReplicaSets that we create.
    pub marks_canaries: bool,
}

/// Writes of ours that are refused: of this kind, with this verb.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub kind: &'static str,
    pub verb: &'static str,
    pub class: Class,
    /// So many more times; for ever where there is no number.
    pub left: Option<u32>,
}

fn verb(write: &Write) -> &'static str {
    let subresource = match &write.verb {
        Verb::Patch { subresource, .. } | Verb::Merge { subresource, .. } => *subresource,
        Verb::Create { .. } | Verb::CopyFrom { .. } => return "create",
        Verb::Delete { .. } => return "delete",
        _ => None,
    };
    if subresource == Some(Subresource::Status) { "status" } else { "patch" }
}

impl Cluster {
    /// From now on these writes of ours are refused.
    pub fn refuse_writes(&mut self, kind: &'static str, verb: &'static str, class: Class, left: Option<u32>) {
        self.adversity.refusals.push(Refusal { kind, verb, class, left });
    }

    /// Nothing stands in the way any more.
    pub fn allow_all(&mut self) {
        self.adversity = Adversity::default();
    }

    /// The server's refusal of a write, if it refuses it.
    pub(super) fn refusal(&mut self, index: usize, write: &Write) -> Option<Failure> {
        let verb = verb(write);
        let kind = write.target.kind.plural;
        let refusals = &mut self.adversity.refusals;
        let found = refusals.iter_mut().find(|one| one.kind == kind && one.verb == verb && one.left != Some(0))?;
        if let Some(left) = &mut found.left {
            *left -= 1;
        }
        let (class, reason) = match found.class {
            Class::Blocked => (Class::Blocked, "Forbidden"),
            other => (other, "InternalError"),
        };
        let message = format!("{} cannot be written ({verb}): a policy of this test denies it", write.target);
        Some(Failure { index, class, reason: reason.to_owned(), message })
    }

    /// What admissions make of a Deployment that is written.
    pub(super) fn admit_deployment(&self, deployment: &mut Value) {
        let spec = &mut deployment["spec"]["template"]["spec"];
        if self.adversity.marks_deployments {
            spec["priorityClassName"] = json!("gold");
        }
        if let Some(image) = self.adversity.forces_image {
            spec["containers"][0]["image"] = json!(image);
        }
    }

    /// What admissions make of a ReplicaSet that we create.
    pub(super) fn admit_canary(&self, set: &mut Value) {
        if self.adversity.marks_canaries {
            set["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        }
    }

    /// Whether a read of ours fails.
    pub(super) fn read_fails(&mut self) -> bool {
        let fails = self.adversity.failing_reads > 0;
        self.adversity.failing_reads = self.adversity.failing_reads.saturating_sub(1);
        fails
    }

    /// Somebody else's object takes the name of the ReplicaSet that would be the canary of the held change.
    pub fn take_canary_name(&mut self) {
        let seen = self.snapshot();
        let Some(deployment) = seen.deployment else { return };
        let name = format!("{WEB}-{}", trimtab_release::hash_label(&deployment.spec.template.digest));
        let owner =
            json!([{"apiVersion": "v1", "kind": "Somebody", "name": "else", "uid": "stranger", "controller": true}]);
        let meta = json!({"annotations": {trimtab_crds::names::CANARY_OF: WEB}, "ownerReferences": owner});
        let template = json!({"metadata": {"labels": {"app": "other"}}, "spec": {"containers": []}});
        self.create(REPLICA_SETS, &name, json!({"metadata": meta, "spec": {"replicas": 0, "template": template}}));
    }

    /// A copy is exported, renamed, and created again.
    pub fn clone_copy(&mut self) {
        let is_copy = |map: &&Value| text(map, "/metadata/name").starts_with("web-");
        let Some(mut copy) = self.list(CONFIG_MAPS).find(is_copy).cloned() else { return };
        if let Some(meta) = copy["metadata"].as_object_mut() {
            meta.remove("ownerReferences");
        }
        self.create(CONFIG_MAPS, "backup", copy);
    }

    /// The strangers' objects go.
    pub fn remove_strangers(&mut self) {
        self.delete(CONFIG_MAPS, "backup");
        let strange = |object: &&Value| object.pointer("/metadata/ownerReferences/0/uid") == Some(&json!("stranger"));
        let sets: Vec<String> =
            self.list(REPLICA_SETS).filter(strange).map(|rs| text(rs, "/metadata/name").to_owned()).collect();
        sets.iter().for_each(|name| self.delete(REPLICA_SETS, name));
        let other = |release: &&Value| text(release, "/spec/plan") == "other";
        let releases: Vec<String> =
            self.list(RELEASES).filter(other).map(|release| text(release, "/metadata/name").to_owned()).collect();
        releases.iter().for_each(|name| self.delete(RELEASES, name));
    }
}
