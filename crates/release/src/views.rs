//! What the release engine reads of the objects that it watches.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use trimtab_crds::{ConfigPolicySpec, ReleasePlanSpec, ReleasePlanStatus, ReleaseStatus, names};
use trimtab_plan::{Kind, Meta, Newer, Watched, read_with_rest};

use crate::{origin::came_with_manifest, template::Template};

/// The most bytes of one ConfigPolicy: a schema of the largest size, and as much again.
pub(crate) const POLICY: usize = 128 << 10;

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

/// A `Deployment`. The text of its template is kept only while a plan guards it: nothing else reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "AnyDeployment")]
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

#[derive(Deserialize)]
struct AnyDeployment {
    metadata: Meta,
    spec: DeploymentSpec,
    #[serde(default)]
    status: DeploymentStatus,
}

impl From<AnyDeployment> for DeploymentView {
    fn from(any: AnyDeployment) -> Self {
        let AnyDeployment { metadata, mut spec, status } = any;
        if !metadata.annotations.contains_key(names::PLAN) {
            spec.template.forget_text();
        }
        Self { metadata, spec, status }
    }
}

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
    /// Of the conditions, the one that says that its rollout is over, or has exceeded `progressDeadlineSeconds`.
    #[serde(deserialize_with = "progressing::deserialize")]
    pub conditions: Vec<progressing::Condition>,
}

impl DeploymentView {
    /// What its controller says of a rollout that has got nowhere for `progressDeadlineSeconds`. It goes on trying.
    pub fn late(&self) -> Option<&str> {
        self.progressing(progressing::LATE).map(|condition| &*condition.message)
    }

    /// Whether its controller counts its last rollout as over, so that it never calls it late: also where pods of it have become
    /// unavailable since.
    pub fn is_rolled_out(&self) -> bool {
        let status = &self.status;
        self.progressing(progressing::OVER).is_some() && status.updated_replicas == status.replicas
    }

    fn progressing(&self, reason: &str) -> Option<&progressing::Condition> {
        let seen = self.status.observed_generation >= self.metadata.generation;
        self.status.conditions.first().filter(|condition| seen && &*condition.reason == reason)
    }
}

/// A `ReplicaSet`. The text of its template is kept while it has pods or belongs to a guarded Deployment (which copies
/// its annotations to it): a cluster holds ten dead ReplicaSets for each that lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "AnyReplicaSet")]
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

#[derive(Deserialize)]
struct AnyReplicaSet {
    metadata: Meta,
    spec: ReplicaSetSpec,
    #[serde(default)]
    status: ReplicaSetStatus,
}

impl From<AnyReplicaSet> for ReplicaSetView {
    fn from(any: AnyReplicaSet) -> Self {
        let AnyReplicaSet { metadata, mut spec, status } = any;
        let guarded = [names::PLAN, names::CANARY_OF].iter().any(|name| metadata.annotations.contains_key(name));
        if spec.replicas == 0 && !guarded {
            spec.template.forget_text();
        }
        Self { metadata, spec, status }
    }
}

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
    /// A code that says why the phase is `Failed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When its node first heard of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Of its conditions, what they say about it.
    #[serde(with = "pod_conditions", skip_serializing_if = "PodConditions::is_empty")]
    pub conditions: PodConditions,
    /// Init containers.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Containers.
    pub container_statuses: Vec<ContainerStatus>,
}

/// What a pod's conditions say, as far as it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodConditions {
    /// The cluster takes it away: the condition `DisruptionTarget`.
    pub disrupted: bool,
    /// Since when it has not been ready, by its node's word. A node that is lost says nothing, and whoever says it in its place gives no
    /// reason.
    pub unready_since: Option<Timestamp>,
}

impl PodConditions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PodStatus {
    /// Whether it was ready once, and is not any more. A pod that starts is not ready from the moment at which its node hears of it.
    pub fn has_stopped_serving(&self) -> bool {
        // Times are told in whole seconds, each read by itself.
        const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);
        let started = self.start_time;
        started
            .zip(self.conditions.unready_since)
            .is_some_and(|(started, since)| since.duration_since(started) > AT_ONCE)
    }
}

/// Of a Deployment's conditions only one matters, and of that, whether the rollout is over or exceeds its deadline.
mod progressing {
    use serde::{Deserialize, Deserializer, Serialize};

    pub(super) const LATE: &str = "ProgressDeadlineExceeded";
    pub(super) const OVER: &str = "NewReplicaSetAvailable";

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Condition {
        #[serde(rename = "type")]
        type_: Box<str>,
        #[serde(default)]
        pub(super) reason: Box<str>,
        #[serde(default)]
        pub(super) message: Box<str>,
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Condition>, D::Error> {
        let mut all: Vec<Condition> = Option::deserialize(from)?.unwrap_or_default();
        all.retain(|c| &*c.type_ == "Progressing" && [LATE, OVER].contains(&&*c.reason));
        // Kept for every Deployment of the cluster, and told of a late one only.
        all.iter_mut().filter(|c| &*c.reason == OVER).for_each(|c| c.message = Box::default());
        all.shrink_to_fit();
        Ok(all)
    }
}

/// Of a pod's conditions only two matter: all of them would be most of what is kept of a pod.
mod pod_conditions {
    use std::borrow::Cow;

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::PodConditions;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Condition<'a> {
        #[serde(rename = "type", borrow)]
        type_: Cow<'a, str>,
        #[serde(borrow)]
        status: Cow<'a, str>,
        #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
        reason: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_transition_time: Option<Timestamp>,
    }

    const TARGET: &str = "DisruptionTarget";
    const READY: &str = "Ready";

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PodConditions, D::Error> {
        let all: Vec<Condition<'_>> = Option::deserialize(from)?.unwrap_or_default();
        let is = |one: &&Condition<'_>, type_: &str, status: &str| one.type_ == type_ && one.status == status;
        let unready = all.iter().find(|one| is(one, READY, "False") && !one.reason.is_empty());
        Ok(PodConditions {
            disrupted: all.iter().any(|one| is(&one, TARGET, "True")),
            unready_since: unready.and_then(|one| one.last_transition_time),
        })
    }

    pub(super) fn serialize<S: Serializer>(known: &PodConditions, to: S) -> Result<S::Ok, S::Error> {
        let condition = |type_: &'static str, status: &'static str, reason: &'static str, at| Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            last_transition_time: at,
        };
        let disrupted = known.disrupted.then(|| condition(TARGET, "True", "", None));
        let unready = known.unready_since.map(|at| condition(READY, "False", "ContainersNotReady", Some(at)));
        disrupted.into_iter().chain(unready).collect::<Vec<_>>().serialize(to)
    }
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
#[derive(Debug, Clone, Serialize)]
pub struct PlanView {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: ReleasePlanSpec,
    /// Status.
    pub status: Option<ReleasePlanStatus>,
    /// What another version of this program wrote into it.
    #[serde(skip)]
    pub newer: Newer,
    /// Whether its request came with the manifest that it was made of.
    #[serde(skip)]
    pub made_with_request: bool,
}
watched!(PlanView, names::RELEASE_PLAN);

#[derive(Deserialize)]
struct AnyPlan {
    metadata: Meta,
    spec: ReleasePlanSpec,
    #[serde(default)]
    status: Option<ReleasePlanStatus>,
}

impl<'de> Deserialize<'de> for PlanView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (AnyPlan { metadata, spec, status }, object) = read_with_rest(deserializer)?;
        let newer = Newer::of(&object, &spec, &status);
        let made_with_request = came_with_manifest(&object);
        Ok(Self { metadata, spec, status, newer, made_with_request })
    }
}

/// A `ConfigPolicy`.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigPolicyView {
    /// Metadata.
    pub metadata: Meta,
    /// Spec.
    pub spec: ConfigPolicySpec,
    /// What another version of this program wrote into it.
    #[serde(skip)]
    pub newer: Newer,
}

impl Watched for ConfigPolicyView {
    const KIND: Kind = names::CONFIG_POLICY;
    const LARGEST: usize = POLICY;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Deserialize)]
struct AnyConfigPolicy {
    metadata: Meta,
    spec: ConfigPolicySpec,
}

impl<'de> Deserialize<'de> for ConfigPolicyView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (AnyConfigPolicy { metadata, spec }, object) = read_with_rest(deserializer)?;
        let newer = Newer::of(&object, &spec, &());
        Ok(Self { metadata, spec, newer })
    }
}

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
    /// Digest of the stable template.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stable_digest: String,
    /// The pins of the stable template.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stable_config: String,
}
