//! Everything that a decision about one workload sees.

use std::sync::Arc;

use serde::Serialize;
use trimtab_plan::Answers;

use crate::unreadable::UnreadablePlan;
use crate::views::{DeploymentView, PlanView, PodView, ReleaseView, ReplicaSetView};

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
    /// Answers to what the last plan asked.
    pub answers: Answers,
}
