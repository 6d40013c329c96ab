//! What a decision sees. It is what people replay a decision from, so its JSON is part of the interface: names are HPA v2's
//! and Kubernetes' where there are some, quantities are written as Kubernetes writes them. Nothing is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trimtab_crds::{AutoscalerSpec, Milli, ScaleHistory};

/// Everything that a decision about one workload sees, but for the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleSnapshot {
    /// What is asked for.
    pub spec: AutoscalerSpec,
    /// The target's scale.
    pub target: TargetView,
    /// The pods that the target's selector fits.
    #[serde(default)]
    pub pods: Vec<Arc<PodView>>,
    /// What was measured, in the order of the metrics in the spec.
    #[serde(default)]
    pub observations: Vec<Observation>,
    /// What the decisions before left.
    #[serde(default)]
    pub history: ScaleHistory,
    /// What holds for the whole cluster.
    #[serde(default)]
    pub options: Options,
    /// When the decision before this one was made: what lasted until then was recommended then. Now, if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Timestamp>,
    /// What is expected of the metric that the spec's forecast names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastView>,
    /// The release of the target that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseView>,
    /// What else sets the size of the target, as people call it: `HorizontalPodAutoscaler web`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The size that the decision before this one wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
    /// What the metrics asked for when the autoscaler set the size, if nothing was measured since: they ask for it until something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<i32>,
    /// The field manager that set the size last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// What is expected of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastView {
    /// The largest value within the horizon; none if the forecast is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
    /// A stable code: `ForecastActive`, or why it is off.
    pub reason: String,
    /// A sentence.
    #[serde(default)]
    pub message: String,
}

/// A release of the target that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    /// The release.
    pub name: String,
    /// Where it stands: `Progressing`, `Promoting`, `TakingBack`, as its plan says.
    pub phase: String,
}

/// The target's scale subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    /// The size that was asked for: `spec.replicas`.
    pub replicas: i32,
    /// The pods that there are: `status.replicas`.
    pub status_replicas: i32,
    /// Whether it says which pods are its own: a scale without a selector does not.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub selects: bool,
}

/// A pod as autoscaling sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its phase.
    #[serde(default)]
    pub phase: Phase,
    /// Whether it is being deleted.
    #[serde(default)]
    pub deleting: bool,
    /// When the kubelet took it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Its condition `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// Whether the target owns it; a canary's pods may fit the target's selector and not be its own.
    #[serde(default = "yes")]
    pub owned: bool,
    /// Whether it is a canary of a release: it is never scaled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canary: bool,
    /// Its containers, and the init containers that run beside them.
    #[serde(default)]
    pub containers: Arc<[ContainerView]>,
    /// What the whole pod requests, overhead included, if requests are set for the pod itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Arc<BTreeMap<String, Milli>>>,
}

fn yes() -> bool {
    true
}

/// A container and what it requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// What it requests, by resource.
    #[serde(default)]
    pub requests: BTreeMap<String, Milli>,
}

/// A pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// It runs.
    #[default]
    Running,
    /// All containers have ended well.
    Succeeded,
    /// A container has failed for good.
    Failed,
    /// Its node does not answer.
    Unknown,
}

/// A pod's condition `Ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it is ready; nothing if that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<bool>,
    /// Since when.
    pub since: Timestamp,
}

/// What was measured for one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observation {
    /// A sample for each pod that has one: Resource, ContainerResource and Pods metrics.
    Pods(BTreeMap<String, PodSample>),
    /// One or several values that count together: Object, External and Prometheus metrics.
    Total {
        /// The values.
        values: Vec<Milli>,
        /// When they were measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
    /// Nothing.
    Missing {
        /// Why.
        why: Missing,
        /// What was found, in words.
        #[serde(default)]
        message: String,
    },
}

/// A sample of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSample {
    /// The value.
    pub value: Milli,
    /// The end of the time over which it was measured.
    pub at: Timestamp,
    /// The length of that time.
    #[serde(default)]
    pub window_seconds: u32,
}

/// Why nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// It was not asked for yet.
    NotAsked,
    /// The server does not answer, or not in time.
    Unreachable,
    /// The server answered with an error.
    ServerError,
    /// The answer is empty.
    NoMetrics,
    /// The answer is not a number that can be counted.
    NotANumber,
    /// The answer has several series where one was asked for.
    ManySeries,
    /// What is known is too old.
    Stale,
}

impl Missing {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAsked => "NotAsked",
            Self::Unreachable => "Unreachable",
            Self::ServerError => "ServerError",
            Self::NoMetrics => "NoMetrics",
            Self::NotANumber => "NotANumber",
            Self::ManySeries => "ManySeries",
            Self::Stale => "StaleMetric",
        }
    }
}

/// What holds for the whole cluster: the HPA controller's flags, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// How far a metric may be from its target without a change.
    pub tolerance: f64,
    /// For how long past recommendations keep a workload from becoming smaller.
    pub downscale_stabilization_seconds: u32,
    /// After its start a pod's CPU counts only while it is ready and was so for a whole sample.
    pub cpu_initialization_seconds: u32,
    /// A pod that became unready within this time from its start was never ready.
    pub initial_readiness_delay_seconds: u32,
    /// How often is decided if the spec does not say it.
    pub interval_seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            downscale_stabilization_seconds: 300,
            cpu_initialization_seconds: 300,
            initial_readiness_delay_seconds: 30,
            interval_seconds: 15,
        }
    }
}
