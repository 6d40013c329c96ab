//! What an `Autoscaler` measures: HPA v2's metrics, and Prometheus asked directly. Only their shape; who asks the servers is
//! the controller, and what follows from the answers is decided in `trimtab-scale`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api_version::{API_VERSION, KIND, SEGMENT};
use crate::{DurationText, Quantity};

/// One metric; exactly the field that its type names is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.resource), has(self.containerResource), has(self.pods), has(self.object), has(self.external), \
     has(self.prometheus)].filter(x, x).size() == 1"
).message("a metric has exactly one source: write each as an item of its own"))]
#[x_kube(validation = Rule::new(
    "self.type == 'Resource' ? has(self.resource) : self.type == 'ContainerResource' ? has(self.containerResource) : \
     self.type == 'Pods' ? has(self.pods) : self.type == 'Object' ? has(self.object) : \
     self.type == 'External' ? has(self.external) : has(self.prometheus)"
).message("the source of a metric is the field that its type names: type Resource has resource, type Pods has pods"))]
#[x_kube(validation = Rule::new(
    "!has(self.resource) || has(self.resource.target.averageUtilization) != has(self.resource.target.averageValue)"
).message("the target of a Resource metric is either averageUtilization or averageValue"))]
#[x_kube(validation = Rule::new(
    "!has(self.containerResource) || \
     has(self.containerResource.target.averageUtilization) != has(self.containerResource.target.averageValue)"
).message("the target of a ContainerResource metric is either averageUtilization or averageValue"))]
#[x_kube(validation = Rule::new("!has(self.pods) || has(self.pods.target.averageValue)").message(
    "the target of a Pods metric is an averageValue"
))]
#[x_kube(validation = Rule::new(
    "!has(self.object) || has(self.object.target.value) != has(self.object.target.averageValue)"
).message("the target of an Object metric is either a value or an averageValue"))]
#[x_kube(validation = Rule::new(
    "!has(self.external) || has(self.external.target.value) != has(self.external.target.averageValue)"
).message("the target of an External metric is either a value or an averageValue"))]
#[x_kube(validation = Rule::new(
    "!has(self.prometheus) || has(self.prometheus.target.value) != has(self.prometheus.target.averageValue)"
).message("the target of a Prometheus metric is either a value or an averageValue"))]
pub struct MetricSpec {
    /// Where it comes from.
    #[serde(rename = "type")]
    pub type_: MetricType,
    /// What the target's pods use of a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceMetric>,
    /// What one container of the target's pods uses of a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_resource: Option<ContainerResourceMetric>,
    /// A metric of the target's pods, from the custom metrics API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsMetric>,
    /// A metric of one object, from the custom metrics API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectMetric>,
    /// A metric of nothing in the cluster, from the external metrics API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalMetric>,
    /// A query to a Prometheus server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusMetric>,
    /// What it is called in a formula and where it is explained. If left out: the resource, `container/resource`, or the
    /// metric's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// The workload is active while the value is above this; 0 if left out. Where minReplicas is 0, a workload of which no
    /// metric is active goes to sleep. For Object, External and Prometheus metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Quantity>,
    /// A sample that is older counts as missing. As old as the source gives it if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<DurationText>,
}

/// Where a metric comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum MetricType {
    /// What pods use of a resource.
    #[default]
    Resource,
    /// What one container of pods uses of a resource.
    ContainerResource,
    /// A metric of pods.
    Pods,
    /// A metric of one object.
    Object,
    /// A metric of nothing in the cluster.
    External,
    /// A query to a Prometheus server.
    Prometheus,
}

/// What the target's pods use of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceMetric {
    /// The resource: `cpu`, `memory`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What it should be.
    pub target: MetricTarget,
}

/// What one container of the target's pods uses of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerResourceMetric {
    /// The resource: `cpu`, `memory`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The container.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
    /// What it should be.
    pub target: MetricTarget,
}

/// A metric of the target's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodsMetric {
    /// Which.
    pub metric: MetricIdentifier,
    /// What it should be.
    pub target: MetricTarget,
}

/// A metric of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetric {
    /// The object.
    pub described_object: DescribedObject,
    /// Which.
    pub metric: MetricIdentifier,
    /// What it should be.
    pub target: MetricTarget,
}

/// A metric of nothing in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalMetric {
    /// Which.
    pub metric: MetricIdentifier,
    /// What it should be.
    pub target: MetricTarget,
}

/// A query to a Prometheus server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrometheusMetric {
    /// What the metric is called where it is explained.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The server: `http://prometheus.monitoring:9090`.
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^https?://.+"))]
    pub address: String,
    /// The query, in PromQL. It gives one series, or a scalar.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// What it should be.
    pub target: MetricTarget,
}

/// An object of the autoscaler's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DescribedObject {
    /// Its API version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317), regex(pattern = API_VERSION))]
    pub api_version: Option<String>,
    /// Its kind.
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SEGMENT))]
    pub name: String,
}

/// A metric's name, and which of its series are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricIdentifier {
    /// The name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SEGMENT))]
    pub name: String,
    /// Labels of its series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<MetricSelector>,
}

/// A label selector as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricSelector {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub match_labels: BTreeMap<String, String>,
    /// What else holds of the labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub match_expressions: Vec<MetricSelectorRequirement>,
}

/// What holds of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSelectorRequirement {
    /// The label.
    #[schemars(length(max = 317))]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 253)))]
    pub values: Vec<String>,
}

/// What a metric should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.type == 'Utilization' ? has(self.averageUtilization) : self.type == 'Value' ? has(self.value) : has(self.averageValue)"
).message("a target has the field that its type names: Utilization has averageUtilization, Value has value, AverageValue has \
     averageValue"))]
#[x_kube(validation = Rule::new("!has(self.value) || quantity(string(self.value)).isGreaterThan(quantity('0'))").message(
    "a target is above 0"
))]
#[x_kube(validation = Rule::new(
    "!has(self.averageValue) || quantity(string(self.averageValue)).isGreaterThan(quantity('0'))"
).message("a target is above 0"))]
pub struct MetricTarget {
    /// Which of the fields it is.
    #[serde(rename = "type")]
    pub type_: TargetType,
    /// Percent of what the pods request, on average over the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub average_utilization: Option<i32>,
    /// A number for each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// A number for all pods together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
}

/// How a target is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TargetType {
    /// Percent of what the pods request.
    #[default]
    Utilization,
    /// A number for all pods together.
    Value,
    /// A number for each pod.
    AverageValue,
}

impl MetricSpec {
    /// What an autoscaler without metrics measures: 80 % of the CPU that the pods request.
    pub fn default_cpu() -> Self {
        let target = MetricTarget { average_utilization: Some(80), ..MetricTarget::default() };
        let resource = Some(ResourceMetric { name: "cpu".to_owned(), target });
        Self { resource, ..Self::default() }
    }

    /// Whether it tells of a workload without pods whether it is needed.
    pub fn can_wake(&self) -> bool {
        matches!(self.type_, MetricType::Object | MetricType::External | MetricType::Prometheus)
    }

    /// Whether it is measured by pod.
    pub fn is_of_pods(&self) -> bool {
        self.resource.is_some() || self.container_resource.is_some() || self.pods.is_some()
    }

    /// What it is called where it is explained: its own name, or `cpu`, `c/cpu`, or the metric's name.
    pub fn name(&self) -> String {
        let named = || self.resource.as_ref().map(|source| source.name.clone());
        let own = self.name.clone();
        own.or_else(named)
            .or_else(|| self.container_resource.as_ref().map(|source| format!("{}/{}", source.container, source.name)))
            .or_else(|| self.pods.as_ref().map(|source| source.metric.name.clone()))
            .or_else(|| self.object.as_ref().map(|source| source.metric.name.clone()))
            .or_else(|| self.external.as_ref().map(|source| source.metric.name.clone()))
            .or_else(|| self.prometheus.as_ref().map(|source| source.name.clone()))
            .unwrap_or_default()
    }
}
