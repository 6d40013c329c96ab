//! What an `Autoscaler` says of itself: the last decision stage by stage, what it waits for, and the memory that the next
//! decision needs. The memory is here and nowhere else, so a manager that starts anew decides as the one before it would.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_plan::Condition;

use crate::{MetricType, Milli};

/// How the last decision went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// One writer writes it whole: the API server need not note the owner of each field.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct AutoscalerStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The size that was found.
    #[serde(default)]
    pub current_replicas: i32,
    /// The size that is wanted.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Where things stand, in one sentence.
    #[serde(default)]
    pub message: String,
    /// When the size was last set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Timestamp>,
    /// The last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ScaleDecision>,
    /// What the next decision must know of those before it.
    #[serde(default)]
    pub history: ScaleHistory,
    /// `Ready`, `AbleToScale`, `ScalingActive`, `ScalingLimited`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One decision, stage by stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDecision {
    /// When it was made.
    pub at: Timestamp,
    /// The size that was found.
    pub from: i32,
    /// The size that is wanted.
    pub to: i32,
    /// What each metric asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStage>,
    /// What each stage made of the number, in the order in which they act.
    pub stages: Vec<ScaleStage>,
    /// The next moment at which the size can change although everything measured stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextChange>,
    /// How a canary of the target fares beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryLoad>,
}

/// How a canary fares beside the pods that are scaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryLoad {
    /// The release.
    pub release: String,
    /// Its ready pods.
    pub pods: i32,
    /// The metric by which it is loaded most, by what it should be: a number, as text. None if no metric is measured by pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,
    /// That metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Whether it is loaded beyond tolerance.
    #[serde(default)]
    pub saturated: bool,
}

/// A stage of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScaleStageName {
    /// What the metrics ask for together.
    Combined,
    /// After the forecast, which can only raise it.
    Forecast,
    /// After what keeps a workload from sleep or wakes it.
    Activation,
    /// The sizes between which it is by the schedules; the number stays.
    Schedule,
    /// What is left of it after recent recommendations.
    Stabilised,
    /// What is left of it after the limits of speed.
    RateLimited,
    /// What is left of it between the smallest and the largest size.
    Bounded,
    /// What a release under way leaves of it.
    Release,
}

/// What one stage made of the number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleStage {
    /// The stage.
    pub stage: ScaleStageName,
    /// The number after it.
    pub replicas: i32,
    /// A stable code: the HPA's, where it has one.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What one metric asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStage {
    /// What it is called.
    pub name: String,
    /// Where it comes from.
    #[serde(rename = "type")]
    pub type_: MetricType,
    /// The number of pods that it asks for; none if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// A stable code: how the number came about, or why there is none.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// What is measured, in percent of what the pods request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_utilization: Option<i32>,
    /// What is measured for each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Milli>,
    /// What is measured for all pods together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Milli>,
    /// What is measured, by what it should be: a number, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,
    /// The same after pods without a usable sample were counted with an assumed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled_ratio: Option<String>,
    /// The pods by how they count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// Pods whose own sample does not count, and why: the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutPod>,
}

/// Pods by how they count for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// Their samples count.
    pub ready: i32,
    /// They are not ready yet, or too young.
    pub unready: i32,
    /// They have no sample.
    pub missing: i32,
    /// They are being deleted or have failed.
    pub ignored: i32,
    /// Samples of pods that are not among the target's.
    #[serde(default)]
    pub stray: i32,
}

/// A pod whose own sample does not count for a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutPod {
    /// The pod.
    pub pod: String,
    /// Why.
    pub reason: LeftOut,
    /// The value that it was counted with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Milli>,
}

/// Why a pod's own sample does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LeftOut {
    /// It is being deleted.
    Deleting,
    /// It has failed.
    Failed,
    /// It has not started.
    Pending,
    /// There is no sample of it.
    NoSample,
    /// Its sample is too old.
    StaleSample,
    /// It is not known whether it is ready, or when it started.
    ReadinessUnknown,
    /// It is starting and not ready.
    Starting,
    /// It is starting, and its sample began before it was ready.
    SampleBeforeReady,
    /// It was never ready.
    NeverReady,
}

/// The next moment at which the size can change although everything measured stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextChange {
    /// When.
    pub at: Timestamp,
    /// A stable code: what ends then.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What the next decision must know of those before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleHistory {
    /// What was recommended before it was stabilised; the oldest first, without those that no window can come to need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recommendations: Vec<Recommendation>,
    /// Changes of size upwards, as policies count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ups: Vec<ScaleEvent>,
    /// Changes of size downwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downs: Vec<ScaleEvent>,
    /// A change of size that was about to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingScale>,
    /// Since when nothing is active; nothing while something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_since: Option<Timestamp>,
    /// Whether the size is 0 as it was to be, whoever made it so. Another 0 is somebody's, who wants no pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asleep: bool,
    /// Since when each metric is unknown, by its place in the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownSince>,
}

/// A size that was recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// When last; of one that still is recommended, since when.
    pub at: Timestamp,
    /// The size.
    pub replicas: i32,
    /// Whether it was still recommended by the last decision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
}

/// A change of size that was about to be written. It was made if the size is the new one afterwards, so that a process that
/// was ended right behind the change is not a change forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingScale {
    /// When.
    pub at: Timestamp,
    /// From this size.
    pub from: i32,
    /// To this size.
    pub to: i32,
}

/// A change of size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleEvent {
    /// When.
    pub at: Timestamp,
    /// By how many pods.
    pub change: i32,
}

/// Since when a metric is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownSince {
    /// What it is called.
    pub name: String,
    /// Its place among the metrics.
    pub index: i32,
    /// Since when.
    pub since: Timestamp,
}
