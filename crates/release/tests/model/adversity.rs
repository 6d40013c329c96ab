//! What stands in the way: writes that the server refuses or whose answer is lost, reads that fail, and admissions that change
//! or deny what is written. Strangers' objects are in `strangers`.

use serde_json::{Value, json};
use trimtab_plan::{Class, Failure, PatchOp, Subresource, Verb, Write};

use super::server::Cluster;

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
    /// An admission adds an entry to the ConfigMaps that we create.
    pub marks_copies: bool,
    /// An admission lets no ReplicaSet that we write have more pods than this.
    pub caps_canaries: Option<i32>,
    /// A policy denies every write of ours that gives the Deployment more replicas than this.
    pub limits_replicas: Option<i32>,
    /// Pods of this image are denied: a quota, Pod Security, another policy.
    pub denies_pods_of: Option<&'static str>,
}

/// What becomes of a write of ours that is not simply carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A policy denies it.
    Denied,
    /// The server fails.
    Fails,
    /// It is carried out, and the answer is lost.
    Lost,
    /// Somebody else's write came first.
    Conflicts,
}

/// Writes of ours that are not simply carried out: of this kind, with this verb.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub kind: &'static str,
    pub verb: &'static str,
    pub fate: Fate,
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
    /// From now on this becomes of these writes of ours.
    pub fn refuse_writes(&mut self, kind: &'static str, verb: &'static str, fate: Fate, left: Option<u32>) {
        self.adversity.refusals.push(Refusal { kind, verb, fate, left });
    }

    /// Nothing stands in the way any more.
    pub fn allow_all(&mut self) {
        self.adversity = Adversity::default();
    }

    /// What is answered to a write, if it is not simply carried out, and what becomes of it.
    pub(super) fn refusal(&mut self, index: usize, write: &Write) -> Option<(Failure, Fate)> {
        let verb = verb(write);
        let fate = self.fate(write.target.kind.plural, verb);
        let fate = fate.or_else(|| self.is_too_large(write).then_some(Fate::Denied))?;
        let (class, reason) = match fate {
            Fate::Denied => (Class::Blocked, "Forbidden"),
            Fate::Fails | Fate::Lost => (Class::Transient, "InternalError"),
            Fate::Conflicts => (Class::Transient, "Conflict"),
        };
        let message = format!("{} cannot be written ({verb}): a policy of this test denies it", write.target);
        Some((Failure { index, class, reason: reason.to_owned(), message, lasting: false }, fate))
    }

    /// Whether a write gives the Deployment more replicas than it may have.
    fn is_too_large(&self, write: &Write) -> bool {
        let (Some(most), Verb::Patch { ops, .. }) = (self.adversity.limits_replicas, &write.verb) else { return false };
        let size = |op: &PatchOp| match op {
            PatchOp::Add { path, value } if path == "/spec/replicas" => value.as_i64(),
            _ => None,
        };
        write.target.kind.plural == super::server::DEPLOYMENTS && ops.iter().filter_map(size).any(|n| n > most.into())
    }

    /// What becomes of the next write of this kind, if it is not simply carried out.
    pub(super) fn fate(&mut self, kind: &str, verb: &str) -> Option<Fate> {
        let refusals = &mut self.adversity.refusals;
        let found = refusals.iter_mut().find(|one| one.kind == kind && one.verb == verb && one.left != Some(0))?;
        if let Some(left) = &mut found.left {
            *left -= 1;
        }
        Some(found.fate)
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

    /// What admissions make of a ReplicaSet that we write.
    pub(super) fn admit_size(&self, set: &mut Value) {
        let asked = set["spec"]["replicas"].as_i64();
        if let (Some(asked), Some(cap)) = (asked, self.adversity.caps_canaries) {
            set["spec"]["replicas"] = json!(asked.min(cap.into()));
        }
    }

    /// What admissions make of a ConfigMap that we create.
    pub(super) fn admit_copy(&self, copy: &mut Value) {
        if self.adversity.marks_copies {
            copy["data"]["stamp"] = json!("checked");
        }
    }

    /// Whether no pod of this image is made.
    pub(super) fn denies(&self, image: &str) -> bool {
        self.adversity.denies_pods_of == Some(image)
    }

    /// Whether a read of ours fails.
    pub(super) fn read_fails(&mut self) -> bool {
        let fails = self.adversity.failing_reads > 0;
        self.adversity.failing_reads = self.adversity.failing_reads.saturating_sub(1);
        fails
    }
}
