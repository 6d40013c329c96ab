//! Everything that a decision about one workload sees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use trimtab_config::{DigestKey, Known, Source, SourceView};
use trimtab_crds::names;
use trimtab_plan::{Answers, ObjectRef};

use crate::guard::Proof;
use crate::unreadable::UnreadablePlan;
use crate::views::{ConfigPolicyView, DeploymentView, PlanView, PodView, ReleaseView, ReplicaSetView};
use crate::{canary, idle, record};

/// Everything that a decision about one workload sees: nothing else decides.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// Namespace of the workload.
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
    /// The Deployment.
    pub deployment: Option<Arc<DeploymentView>>,
    /// The plans that target it.
    pub plans: Vec<Arc<PlanView>>,
    /// Plans that cannot be read: the one that guards it, and the one of its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadablePlan>,
    /// The ReplicaSets that it owns, and its canaries.
    pub replica_sets: Vec<Arc<ReplicaSetView>>,
    /// The pods of its canaries.
    pub canary_pods: Vec<Arc<PodView>>,
    /// The records of its releases.
    pub releases: Vec<Arc<ReleaseView>>,
    /// The ConfigMaps and Secrets that it reads, with their copies.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<Source, Known<SourceView>>,
    /// The ConfigPolicies of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Arc<ConfigPolicyView>>,
    /// Those of them that cannot be read, and why: whom they are about is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable_policies: Vec<String>,
    /// How the canary fares, as the autoscaler of the workload measures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_load: Option<trimtab_crds::CanaryLoad>,
    /// How long nothing must have changed before a release with configuration begins.
    #[serde(skip)]
    pub quiet_period: Duration,
    /// How long the API server's word on the hold is believed. `None`: it is not asked, and the hold is taken to be in force.
    #[serde(skip)]
    pub proof: Option<Proof>,
    /// The key under which digests of Secrets are made.
    #[serde(skip)]
    pub digest_key: DigestKey,
    /// Answers to what the last plan asked.
    pub answers: Answers,
}

impl Snapshot {
    /// The plans of the workload, the one that counts first: the oldest, and of those of one second the one that guards
    /// it already.
    pub(crate) fn plans_by_age(&self) -> Vec<&PlanView> {
        let guard = self.deployment.as_ref().and_then(|deployment| deployment.metadata.annotation(names::PLAN));
        let mut plans: Vec<&PlanView> = self.plans.iter().map(AsRef::as_ref).collect();
        plans.retain(|plan| plan.metadata.deletion_timestamp.is_none());
        plans.sort_by_key(|plan| {
            let meta = &plan.metadata;
            (meta.creation_timestamp, guard != Some(meta.name.as_str()), meta.name.as_str())
        });
        plans
    }
}

/// The objects that the next release of a workload would make, by name: whatever bears such a name is to be seen, whoever
/// made it.
pub(crate) fn names_to_make(deployment: &DeploymentView, plans: &[Arc<PlanView>]) -> Vec<ObjectRef> {
    let namespace = &deployment.metadata.namespace;
    let set = canary::set_name(&deployment.metadata.name, &deployment.spec.template.digest);
    let mut names = vec![names::REPLICA_SET.object(namespace, &set)];
    for plan in plans {
        let last = plan.status.as_ref().map_or(0, |status| status.sequence);
        let ahead = last + 1..=last + idle::RECORDS_AHEAD;
        names.extend(ahead.map(|n| names::RELEASE.object(namespace, &record::name(&plan.metadata.name, n))));
    }
    names
}
