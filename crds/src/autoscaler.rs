//! `Autoscaler`: how many pods a workload has, by what is measured. Its spec: HPA v2's words wherever there are some. What
//! the numbers make of it is decided in `trimtab-scale`; how the last decision went is in `autoscaler_status.rs`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use trimtab_schedule::ScheduleWindow;

use crate::api_version::{API_VERSION, KIND, SEGMENT};
use crate::{AutoscalerStatus, DurationText, MetricSpec, Quantity};

/// How many pods a workload has, by what is measured.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[expect(clippy::duplicated_attributes, reason = "each column is an attribute of its own and has a type")]
#[kube(
    group = "trimtab.dev",
    version = "v1alpha1",
    kind = "Autoscaler",
    plural = "autoscalers",
    shortname = "as",
    category = "trimtab",
    namespaced,
    status = "AutoscalerStatus",
    derive = "PartialEq",
    doc = "How many pods a workload has, by what is measured; every decision is explained in its status.",
    printcolumn(json_path = ".spec.targetRef.name", name = "Target", type_ = "string"),
    printcolumn(json_path = ".spec.minReplicas", name = "Min", type_ = "integer"),
    printcolumn(json_path = ".spec.maxReplicas", name = "Max", type_ = "integer"),
    printcolumn(json_path = ".status.currentReplicas", name = "Replicas", type_ = "integer"),
    printcolumn(json_path = ".status.desiredReplicas", name = "Desired", type_ = "integer"),
    printcolumn(json_path = ".spec.mode", name = "Mode", type_ = "string"),
    printcolumn(json_path = ".status.message", name = "Message", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas").message(
    "minReplicas is above maxReplicas: lower minReplicas or raise maxReplicas"
))]
#[x_kube(validation = Rule::new("!has(self.fallback) || self.fallback.replicas <= self.maxReplicas").message(
    "fallback.replicas is above maxReplicas: lower it, or raise maxReplicas"
))]
pub struct AutoscalerSpec {
    /// What is scaled, in the autoscaler's own namespace: anything with a scale subresource.
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "the target of an autoscaler does not change: delete this one and create another one for the other workload"
    ))]
    pub target_ref: ScaleTargetRef,
    /// The fewest pods.
    #[serde(default = "default_min")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_replicas: i32,
    /// The most pods.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_replicas: i32,
    /// What is measured. Each metric asks for a number of pods, and the largest counts. 80 % of the CPU that pods request if
    /// there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub metrics: Vec<MetricSpec>,
    /// What the metrics ask for together, as a CEL expression that gives a number of pods; without it the largest number
    /// counts. `metrics.<name>` has what is known of each: `value` (all pods together), `average` (for each pod),
    /// `utilization` (percent of requests), `ratio` (measured by target) and `replicas` (what it asks for by itself);
    /// `replicas` is the size now. What is not known is not there, so that `has` tells it; of a workload without pods what is
    /// measured by pod is 0. `metrics.queue.value / 20.0 + (has(metrics.cpu.replicas) ? metrics.cpu.replicas : 0.0)`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub formula: Option<String>,
    /// Times in which other sizes hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub schedules: Vec<ScheduleWindow>,
    /// A look ahead that can raise the size before the load comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastSpec>,
    /// For how long nothing must have been active before the size becomes 0, where minReplicas allows that; five minutes if
    /// left out. Only Object, External and Prometheus metrics tell whether something is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<DurationText>,
    /// How fast the size changes, as HPA v2 says it. Without it the HPA's rule from before `behavior` applies: at most double,
    /// or 4, in one step; down after five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
    /// Whether the size is set, only recommended, or left alone.
    #[serde(default)]
    pub mode: ScaleMode,
    /// How often is decided if nothing happens before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationText>,
    /// From when on the CPU of a new pod counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Startup>,
    /// What happens when metrics stay unknown. Without it the size stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whose arithmetic is followed.
    #[serde(default)]
    pub compat: Compat,
    /// Where the arithmetic deliberately differs from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub improvements: Vec<Improvement>,
}

/// A look ahead at one metric: what it was at the same time of other days and weeks tells what it will be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastSpec {
    /// The name of a Prometheus metric with an averageValue: its history is asked for there.
    #[schemars(length(min = 1, max = 63))]
    pub metric: String,
    /// The lengths of what repeats: `24h`, `168h`; both if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub seasons: Vec<DurationText>,
    /// How far ahead is looked. If left out, as long as nine of ten pods take to become ready, and an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<DurationText>,
    /// Which share of what may come is provided for, in percent.
    #[serde(default = "default_percentile")]
    #[schemars(range(min = 50, max = 99))]
    pub percentile: i32,
}

fn default_percentile() -> i32 {
    90
}

fn default_min() -> i32 {
    1
}

/// Something with a scale subresource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its API version: `apps/v1`.
    #[serde(default = "default_api_version")]
    #[schemars(length(min = 1, max = 317), regex(pattern = API_VERSION))]
    pub api_version: String,
    /// Its kind.
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SEGMENT))]
    pub name: String,
}

fn default_api_version() -> String {
    "apps/v1".to_owned()
}

/// Whether the size is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ScaleMode {
    /// It is set.
    #[default]
    Auto,
    /// Nothing but status and metrics is written: what would be set.
    Recommend,
    /// The size stays as it is, and the status goes on saying what would be set.
    Paused,
}

/// Whose arithmetic is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Compat {
    /// That of Kubernetes' HorizontalPodAutoscaler, to the integer.
    #[default]
    #[serde(rename = "hpa-v2")]
    HpaV2,
}

/// A deliberate difference from the HPA's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Improvement {
    /// Only pods that the target itself owns count. The HPA counts all that its selector fits, so canary pods and other
    /// workloads' pods move it (argo-rollouts#4847).
    OwnedPods,
    /// An Object, External or Prometheus metric with an average target is divided by the size that was asked for, and leaves
    /// that size as it is while it is within tolerance. The HPA uses the size that was found, surge pods included, so a
    /// rolling update ratchets it up (kubernetes#72775).
    HoldInTolerance,
    /// Pods that are being deleted do not count as ready for an Object, External or Prometheus metric with a Value target. The
    /// HPA counts them, and asks for too many pods right after it has scaled down.
    SkipDeleting,
}

/// How fast the size changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Behavior {
    /// Upwards. What is left out: at once, by at most 4 pods or 100 % in 15 seconds, whichever is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// Downwards. What is left out: after five minutes, by any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// How fast the size changes in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tolerance) || quantity(string(self.tolerance)).compareTo(quantity('0')) >= 0").message(
    "a tolerance is not negative: write 0 to act on every difference"
))]
pub struct ScalingRules {
    /// For how long past recommendations are taken into account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<i32>,
    /// Which of the policies counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// By how much the size may change in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub policies: Option<Vec<ScalingPolicy>>,
    /// How far a metric may be from its target without a change, `0.1` for 10 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// By how much the size may change in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What is counted.
    #[serde(rename = "type")]
    pub type_: PolicyType,
    /// How many.
    #[schemars(range(min = 1))]
    pub value: i32,
    /// In how long.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
}

/// What a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyType {
    /// Pods.
    Pods,
    /// Percent of the pods that there were at the beginning of the time.
    Percent,
}

/// From when on the CPU of a new pod counts. The HPA has these for the whole cluster only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Startup {
    /// After its start a pod's CPU counts only while it is ready and was so for a whole sample; five minutes if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_initialization_period: Option<DurationText>,
    /// A pod that became unready within this time from its start was never ready; 30 seconds if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_readiness_delay: Option<DurationText>,
}

/// What happens when metrics stay unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// For how long a metric must have been unknown.
    pub after: DurationText,
    /// The number of pods that an unknown metric then asks for. It never asks for fewer than there are.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub replicas: i32,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;

    #[test]
    fn an_hpa_spec_is_read_as_it_is() {
        let spec: AutoscalerSpec = serde_json::from_value(serde_json::json!({
            "targetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5,
            "behavior": {"scaleUp": {"tolerance": 0.05, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}},
        }))
        .unwrap();
        assert_eq!((spec.min_replicas, spec.mode, spec.compat), (1, ScaleMode::Auto, Compat::HpaV2));
        assert_eq!(spec.behavior.unwrap().scale_up.unwrap().tolerance, Some(Quantity::from("0.05")));
    }

    #[test]
    fn the_crd_has_its_rules_and_columns() {
        let crd = serde_json::to_value(Autoscaler::crd()).unwrap();
        let version = &crd["spec"]["versions"][0];
        assert_eq!(crd["spec"]["names"]["shortNames"][0], "as");
        assert_eq!(version["additionalPrinterColumns"].as_array().map(Vec::len), Some(8));
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_eq!(spec["x-kubernetes-validations"].as_array().map(Vec::len), Some(2));
        let metric = &spec["properties"]["metrics"]["items"];
        assert!(metric["x-kubernetes-validations"].as_array().is_some_and(|rules| rules.len() >= 2), "{metric}");
    }
}
