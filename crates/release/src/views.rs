//! What the release engine reads of the objects that it watches.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trimtab_crds::{ReleasePlanSpec, ReleasePlanStatus, ReleaseStatus, names};
use trimtab_plan::{Kind, Meta, Watched};

use crate::template::Template;

macro_rules! watched {
    ($view:ty, $kind:expr) => {
        impl Watched for $view {
            const KIND: Kind = $kind;

            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
    };
}

/// A `Deployment`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: DeploymentSpec,
    /// Status.
    #[serde(default)]
    pub status: DeploymentStatus,
}
watched!(DeploymentView, names::DEPLOYMENT);

/// What is read of a Deployment's spec.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// Size.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Whether its controller leaves the template alone.
    #[serde(default)]
    pub paused: bool,
    /// Seconds that a pod must be ready to count as available.
    #[serde(default)]
    pub min_ready_seconds: i32,
    /// How it rolls.
    #[serde(default)]
    pub strategy: DeploymentStrategy,
    /// Which pods it selects.
    #[serde(default)]
    pub selector: Value,
    /// The template.
    pub template: Template,
}

fn one() -> i32 {
    1
}

/// How a Deployment rolls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStrategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(default, rename = "type")]
    pub type_: String,
    /// Limits.
    #[serde(default)]
    pub rolling_update: Option<RollingUpdate>,
}

/// Limits of a rolling update: numbers or percentages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// Pods above the size.
    #[serde(default)]
    pub max_surge: Value,
    /// Pods that may be unavailable.
    #[serde(default)]
    pub max_unavailable: Value,
}

/// What is read of a Deployment's status.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation that its controller has seen.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
}

/// A `ReplicaSet`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplicaSetView {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: ReplicaSetSpec,
    /// Status.
    #[serde(default)]
    pub status: ReplicaSetStatus,
}
watched!(ReplicaSetView, names::REPLICA_SET);

/// What is read of a ReplicaSet's spec.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSetSpec {
    /// Size.
    #[serde(default = "one")]
    pub replicas: i32,
    /// The template.
    #[serde(default)]
    pub template: Template,
}

/// What is read of a ReplicaSet's status.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// The generation that its controller has seen.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Conditions: `ReplicaFailure` where pods cannot be created.
    pub conditions: Vec<ReplicaSetCondition>,
}

/// A condition of a ReplicaSet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaSetCondition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Status.
    pub status: String,
    /// Message.
    pub message: String,
}

/// A `Pod`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodView {
    /// Metadata.
    pub metadata: Meta,
    /// Status.
    #[serde(default)]
    pub status: PodStatus,
}
watched!(PodView, names::POD);

/// What is read of a pod's status.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: String,
    /// Init containers.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Containers.
    pub container_statuses: Vec<ContainerStatus>,
}

/// What is read of a container's status.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// Restarts.
    pub restart_count: i32,
    /// State.
    pub state: ContainerState,
    /// The state before the last restart.
    pub last_state: ContainerState,
}

/// A container's state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It waits.
    pub waiting: Option<Waiting>,
    /// It ended.
    pub terminated: Option<Terminated>,
}

/// Why a container waits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// A code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i32,
    /// A code.
    pub reason: String,
}

/// A `ReleasePlan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanView {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: ReleasePlanSpec,
    /// Status.
    #[serde(default)]
    pub status: Option<ReleasePlanStatus>,
}
watched!(PlanView, names::RELEASE_PLAN);

/// A `Release`, without the template that it keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: ReleaseFacts,
    /// Status.
    #[serde(default)]
    pub status: Option<ReleaseStatus>,
}
watched!(ReleaseView, names::RELEASE);

/// What is read of a Release's spec.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseFacts {
    /// The plan.
    pub plan: String,
    /// The workload.
    pub target: String,
    /// The number.
    pub sequence: i64,
    /// Digest of the new template.
    pub digest: String,
}
