//! Everything that the way out of one Deployment is decided on, and what that means. Facts only.

use std::sync::Arc;

use trimtab_config::{Pins, SourceKind};
use trimtab_crds::names;
use trimtab_plan::Meta;
use trimtab_release::{DeploymentView, Held, ReplicaSetView, held, writes};

use crate::facts::PlanFacts;

/// Everything that the way out of one Deployment is decided on.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Deployment; nothing where only a canary of it is left.
    pub deployment: Option<Arc<DeploymentView>>,
    /// The plan that targets it.
    pub plan: Option<PlanFacts>,
    /// The ReplicaSets that it owns, and its canaries.
    pub replica_sets: Vec<Arc<ReplicaSetView>>,
    /// The frozen copies of its namespace.
    pub copies: Vec<Copy>,
}

/// A frozen copy of a ConfigMap or a Secret, without what it holds.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Of which kind.
    pub kind: SourceKind,
    /// Its metadata.
    pub metadata: Meta,
}

/// On a Deployment: since when it is paused after a change of its configuration. Reloader's annotation, kept by its name.
pub(crate) const PAUSED_AT: &str = "deployment.reloader.stakater.com/paused-at";

/// A Deployment with all that belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) deployment: &'a DeploymentView,
    pub(crate) seen: &'a Snapshot,
}

impl Snapshot {
    /// The Deployment with what belongs to it, if it is there and stays.
    pub(crate) fn scene(&self) -> Option<Scene<'_>> {
        let deployment = self.deployment.as_deref().filter(|d| d.metadata.deletion_timestamp.is_none())?;
        Some(Scene { deployment, seen: self })
    }

    /// The ReplicaSets that stand at the side: a plan is their controller, or was, and nobody is.
    pub(crate) fn canaries(&self) -> impl Iterator<Item = &ReplicaSetView> {
        self.replica_sets.iter().map(AsRef::as_ref).filter(|rs| {
            rs.metadata.deletion_timestamp.is_none()
                && match rs.metadata.controller() {
                    Some(owner) => owner.is(&names::RELEASE_PLAN),
                    None => rs.metadata.annotation(names::CANARY_OF).is_some_and(|name| writes::is_adrift(name, rs)),
                }
        })
    }
}

impl<'a> Scene<'a> {
    /// The plan that holds its changes; empty where it has opted out.
    pub(crate) fn guard(&self) -> Option<&'a str> {
        self.deployment.metadata.annotation(names::PLAN)
    }

    pub(crate) fn guarded(&self) -> bool {
        self.guard().is_some_and(|plan| !plan.is_empty())
    }

    /// Who made the change that is held, and whether a person had paused the Deployment before.
    pub(crate) fn held(&self) -> Option<(String, bool)> {
        match held(self.deployment) {
            Held::By { who, person_paused } if self.deployment.spec.paused => Some((who, person_paused)),
            _ => None,
        }
    }

    pub(crate) fn digest(&self) -> &'a str {
        &self.deployment.spec.template.digest
    }

    pub(crate) fn replicas(&self) -> i32 {
        self.deployment.spec.replicas.max(0)
    }

    /// The ReplicaSets of the Deployment itself.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &'a ReplicaSetView> + use<'a> {
        let uid = self.deployment.metadata.uid.as_str();
        let sets = self.seen.replica_sets.iter().map(AsRef::as_ref);
        sets.filter(move |rs| rs.metadata.controller().is_some_and(|owner| owner.uid == uid))
    }

    /// The Deployment's own ReplicaSet for what it asks for; the oldest of equals, as its controller picks.
    pub(crate) fn asked_for(&self) -> Option<&'a ReplicaSetView> {
        let digest = self.digest();
        self.owned()
            .filter(|rs| rs.spec.template.digest == digest && rs.metadata.deletion_timestamp.is_none())
            .min_by_key(|rs| (rs.metadata.creation_timestamp, rs.metadata.name.as_str()))
    }

    /// The stable ReplicaSet: the one that the plan names, else the only one that has pods of something else than what is
    /// asked for, or, where the Deployment sleeps, the last that it had before.
    pub(crate) fn stable(&self) -> Option<&'a ReplicaSetView> {
        let named = self.seen.plan.as_ref().and_then(|plan| plan.stable.as_deref());
        if let Some(rs) = named.and_then(|name| self.owned().find(|rs| rs.metadata.name == name)) {
            return Some(rs);
        }
        let digest = self.digest();
        let others = || self.owned().filter(|rs| rs.spec.template.digest != digest);
        let mut with_pods = others().filter(|rs| rs.spec.replicas > 0);
        match (with_pods.next(), with_pods.next()) {
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) => None,
            (None, _) if self.owned().any(|rs| rs.spec.replicas > 0) => None,
            (None, _) => {
                let revision = |rs: &&ReplicaSetView| rs.metadata.annotation(names::REVISION)?.parse::<i64>().ok();
                others().max_by_key(revision)
            }
        }
    }

    /// Why what the Deployment asks for was found bad, if it was.
    pub(crate) fn found_bad(&self) -> Option<&'a str> {
        let plan = self.seen.plan.as_ref()?;
        let digest = self.digest();
        let rejected = plan.rejected.as_ref().filter(|(bad, _)| bad == digest).map(|(_, why)| why.as_str());
        rejected.or_else(|| self.being_taken_back())
    }

    /// Why what the Deployment asks for is being taken back, if it is.
    pub(crate) fn being_taken_back(&self) -> Option<&'a str> {
        let release = self.seen.plan.as_ref()?.release.as_ref()?;
        release.taken_back.as_deref().filter(|_| release.digest == self.digest())
    }

    /// Whether the Deployment is to go back although nothing is held: its release was being taken back, and it had not been stopped
    /// for that yet, at whatever point of its rollout.
    pub(crate) fn is_to_go_back(&self) -> bool {
        self.guard().is_some() && self.being_taken_back().is_some()
    }

    /// Whether the Deployment's controller has seen its latest spec.
    pub(crate) fn observed(&self) -> bool {
        self.deployment.status.observed_generation >= self.deployment.metadata.generation
    }

    /// Whether the numbers of all its ReplicaSets are current, with no pod still to be removed: its controller trusts them.
    pub(crate) fn calm(&self) -> bool {
        self.owned()
            .all(|rs| rs.status.observed_generation >= rs.metadata.generation && rs.status.replicas <= rs.spec.replicas)
    }

    /// Whether the Deployment runs nothing but available pods of what it asks for.
    pub(crate) fn complete(&self) -> bool {
        let status = &self.deployment.status;
        let all = self.replicas();
        self.observed() && (status.updated_replicas, status.replicas, status.available_replicas) == (all, all, all)
    }

    /// The frozen revisions that its template names.
    pub(crate) fn pins(&self) -> &'a Pins {
        &self.deployment.spec.template.config
    }
}

/// Whether pins name a copy.
pub(crate) fn names_copy(pins: &Pins, copy: &Copy) -> bool {
    pins.0.iter().any(|(source, pin)| source.kind == copy.kind && pin.copy_name(source) == copy.metadata.name)
}

/// Whether a Deployment is paused for a time after a change of its configuration.
pub fn is_paused_for_reload(deployment: &DeploymentView) -> bool {
    deployment.spec.paused && deployment.metadata.annotation(PAUSED_AT).is_some()
}
