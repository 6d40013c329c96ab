//! Kubernetes' three APIs of metrics: resources, custom and external. How they are asked and how their answers are read; what
//! follows from the numbers is decided elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use trimtab::{Apart, Reader, Unanswered};
use trimtab_crds::{MetricIdentifier, MetricSpec, Milli, ObjectMetric, Quantity};
use trimtab_plan::TextMap;
use trimtab_scale::questions::MetricQuestion;
use trimtab_scale::{Missing, Observation, PodSample};

use super::discovery::{Discovery, Served};
use super::grant::Grant;
use super::shared::LISTS;

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";

/// The most bytes of a list of metrics: of some thousand pods.
pub(super) const LIST: usize = 8 << 20;
/// The most series of an external metric, or of one of an object, that are added up.
pub(super) const SUMMANDS: usize = 1000;

/// A list of more bytes is looked at apart from the threads of the runtime.
const AT_ONCE: usize = 256 << 10;
/// Lists that are looked at at a time, of one namespace half of them.
pub(super) const APART: usize = 4;
/// The most bytes of what is told of a failure: a server may say as much as it likes.
pub(super) const TOLD: usize = 1 << 10;

pub(super) fn missing(why: Missing, message: impl Into<String>) -> Observation {
    Observation::Missing { why, message: told(message.into()) }
}

/// As much of a text as is told.
fn told(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TOLD));
    text.shrink_to_fit();
    text
}

/// How many bytes what is known of a metric takes.
pub(super) fn taken(found: &Observation) -> usize {
    match found {
        Observation::Pods(samples) => {
            samples.keys().map(|name| size_of::<(String, PodSample)>() * 2 + name.len()).sum()
        }
        Observation::Total { values, .. } => size_of_val(&**values),
        Observation::Missing { message, .. } => message.len(),
    }
}

/// The path at which the resources of a question's pods are read, or those of all pods of the namespace.
pub(super) fn resource_path(question: &MetricQuestion, wide: bool) -> String {
    let all = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", Reader::encoded(&question.namespace));
    match wide || question.selector.is_empty() {
        true => all,
        false => format!("{all}?labelSelector={}", Reader::encoded(&question.selector)),
    }
}

/// What all pods of a path use, as metrics-server tells it; their labels only where it has to be told which pods are whose.
#[derive(Debug, Default)]
pub(super) struct Used(Vec<UsedByPod<TextMap>>);

/// What pods use, with their labels or without.
#[derive(Debug, Deserialize)]
#[serde(bound = "L: Default + Deserialize<'de>")]
struct ListOf<L> {
    #[serde(default)]
    items: Vec<UsedByPod<L>>,
}

impl Used {
    /// Reads what the pods of a path use. Of what takes more than may be remembered of a namespace it is said that it is too much. What is
    /// long is looked at apart.
    pub(super) async fn read(
        reader: &Reader,
        path: &str,
        wide: bool,
        (apart, namespace): (&Apart, &str),
    ) -> Result<Self, Unanswered> {
        let text = reader.get_path::<Box<RawValue>>(path, LIST).await.map_err(|unanswered| match unanswered {
            Unanswered::Failed(why) => Unanswered::Failed(told(why)),
            Unanswered::TooLong(why) => Unanswered::TooLong(told(why)),
            Unanswered::NotFound => Unanswered::NotFound,
        })?;
        let is_long = text.get().len() > AT_ONCE;
        let parse = move || match wide {
            true => serde_json::from_str(text.get()).map(Self::with_labels),
            false => serde_json::from_str(text.get()).map(Self::without_labels),
        };
        let list = match is_long {
            true => {
                apart.slot(namespace).await.run(parse).await.map_err(|lost| Unanswered::Failed(lost.to_string()))?
            }
            false => parse(),
        };
        // What serde says of it may quote it.
        let list = list.map_err(|error| {
            Unanswered::Failed(format!("{path} could not be read: line {}: it is not as expected", error.line()))
        })?;
        let most = LISTS.of_a_namespace;
        if list.weight() > most {
            let message =
                format!("what pods use takes more than {} MiB: select fewer pods, or sum by Prometheus", most >> 20);
            return Err(Unanswered::TooLong(message));
        }
        Ok(list)
    }

    fn with_labels(list: ListOf<TextMap>) -> Self {
        Self(list.items)
    }

    fn without_labels(list: ListOf<IgnoredAny>) -> Self {
        Self(list.items.into_iter().map(UsedByPod::without_labels).collect())
    }

    /// How many bytes it takes.
    fn weight(&self) -> usize {
        self.0.iter().map(UsedByPod::weight).sum()
    }

    /// How many bytes an answer takes.
    pub(super) fn taken(found: &Result<Self, Unanswered>) -> usize {
        match found {
            Ok(used) => used.weight(),
            Err(Unanswered::Failed(why) | Unanswered::TooLong(why)) => why.len(),
            Err(Unanswered::NotFound) => 0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(bound = "L: Default + Deserialize<'de>")]
struct UsedByPod<L> {
    metadata: Name<L>,
    #[serde(default, deserialize_with = "moment")]
    timestamp: Option<Timestamp>,
    #[serde(default = "window_unknown", rename = "window", deserialize_with = "window")]
    window_seconds: u32,
    #[serde(default)]
    containers: Box<[UsedByContainer]>,
}

impl UsedByPod<IgnoredAny> {
    fn without_labels(self) -> UsedByPod<TextMap> {
        let Self { metadata, timestamp, window_seconds, containers } = self;
        let metadata = Name { name: metadata.name, labels: TextMap::default() };
        UsedByPod { metadata, timestamp, window_seconds, containers }
    }
}

impl UsedByPod<TextMap> {
    fn weight(&self) -> usize {
        let labels: usize = self.metadata.labels.iter().map(|(name, text)| name.len() + text.len() + 8).sum();
        let containers: usize = self.containers.iter().map(UsedByContainer::weight).sum();
        size_of::<Self>() + self.metadata.name.len() + labels + containers
    }
}

#[derive(Debug, Deserialize)]
#[serde(bound = "L: Default + Deserialize<'de>")]
struct Name<L> {
    name: Box<str>,
    #[serde(default)]
    labels: L,
}

#[derive(Debug, Deserialize)]
struct UsedByContainer {
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    usage: Usage,
}

impl UsedByContainer {
    fn weight(&self) -> usize {
        let usage = self.usage.0.iter().map(|one| size_of_val(one) + one.0.len());
        size_of::<Self>() + self.name.len() + usage.sum::<usize>()
    }
}

/// How much is used of each resource; nothing of what is no quantity. A map takes several times as much, for each container.
#[derive(Debug, Default)]
struct Usage(Box<[(Box<str>, Option<Milli>)]>);

impl Usage {
    fn of(&self, resource: &str) -> Option<Milli> {
        self.0.iter().find(|(name, _)| **name == *resource)?.1
    }
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<Box<str>, Quantity>::deserialize(deserializer)?;
        Ok(Self(all.into_iter().map(|(name, quantity)| (name, quantity.milli())).collect()))
    }
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(String::deserialize(deserializer)?.parse().ok())
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(seconds(&String::deserialize(deserializer)?))
}

fn window_unknown() -> u32 {
    seconds("")
}

/// What pods use of a resource; only those that the selector fits, where all were asked for.
pub(super) fn resource(
    list: &Result<Used, Unanswered>,
    metric: &MetricSpec,
    fits: impl Fn(&TextMap) -> bool,
) -> Observation {
    let list = match list {
        Ok(list) => list,
        Err(Unanswered::NotFound) => {
            let message = "nobody serves metrics.k8s.io: install metrics-server";
            return missing(Missing::ServerError, message);
        }
        Err(Unanswered::Failed(why) | Unanswered::TooLong(why)) => return missing(Missing::Unreachable, why.clone()),
    };
    let (resource, container) = match (&metric.resource, &metric.container_resource) {
        (Some(source), _) => (source.name.as_str(), None),
        (_, Some(source)) => (source.name.as_str(), Some(source.container.as_str())),
        _ => return missing(Missing::ServerError, "the metric names no resource"),
    };
    let fitting = list.0.iter().filter(|item| fits(&item.metadata.labels));
    let samples: BTreeMap<String, PodSample> =
        fitting.filter_map(|item| Some((item.metadata.name.to_string(), sample(item, resource, container)?))).collect();
    if samples.is_empty() {
        return missing(Missing::NoMetrics, format!("there is no sample of {resource} of any of the pods yet"));
    }
    Observation::Pods(samples)
}

/// A pod's sample: the sum over its containers, or one container's. A container without the resource spoils the pod's.
fn sample(item: &UsedByPod<TextMap>, resource: &str, container: Option<&str>) -> Option<PodSample> {
    let usage = |one: &UsedByContainer| one.usage.of(resource);
    let value = match container {
        Some(name) => usage(item.containers.iter().find(|one| *one.name == *name)?)?,
        None => {
            let add = |sum: Milli, one| Some(Milli(sum.0.saturating_add(usage(one)?.0)));
            item.containers.iter().try_fold(Milli(0), add)?
        }
    };
    Some(PodSample { value, at: item.timestamp?, window_seconds: item.window_seconds })
}

fn seconds(window: &str) -> u32 {
    let length = trimtab_crds::parse_duration(window);
    length.and_then(|length| u32::try_from(length.as_secs()).ok()).unwrap_or(60)
}

/// Values of custom or external metrics.
#[derive(Debug, Default, Deserialize)]
struct Values {
    #[serde(default)]
    items: Vec<OneValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneValue {
    #[serde(default)]
    described_object: Option<Described>,
    #[serde(default)]
    value: Quantity,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    window_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Described {
    #[serde(default)]
    name: String,
}

impl OneValue {
    fn at(&self) -> Option<Timestamp> {
        self.timestamp.as_ref()?.parse().ok()
    }
}

/// Asks the API of custom metrics about the pods of a target.
pub(super) async fn of_pods(
    reader: &Reader,
    discovery: &Discovery,
    question: &MetricQuestion,
    metric: &MetricIdentifier,
) -> Observation {
    let base = match custom_base(reader, discovery).await {
        Ok(base) => base,
        Err(missing) => return missing,
    };
    let namespace = Reader::encoded(&question.namespace);
    let mut path = format!("{base}/namespaces/{namespace}/pods/*/{}", Reader::encoded(&metric.name));
    path += &format!("?labelSelector={}", Reader::encoded(&question.selector));
    if let Some(selector) = metric.selector.as_ref().map(trimtab_scale::query_of).filter(|text| !text.is_empty()) {
        path += &format!("&metricLabelSelector={}", Reader::encoded(&selector));
    }
    let grant = Grant::custom(CUSTOM, format!("pods/{}", metric.name));
    let list = match read(reader, &path, &metric.name, &grant).await {
        Ok(list) => list,
        Err(missing) => return missing,
    };
    let one = |item: &OneValue| {
        let window_seconds = item.window_seconds.unwrap_or(60);
        let sample = PodSample { value: item.value.milli()?, at: item.at()?, window_seconds };
        Some((item.described_object.as_ref()?.name.clone(), sample))
    };
    let samples: BTreeMap<String, PodSample> = list.items.iter().filter_map(one).collect();
    if samples.is_empty() { missing(Missing::NoMetrics, "the answer is empty") } else { Observation::Pods(samples) }
}

/// Asks the API of custom metrics about one object.
pub(super) async fn of_object(
    reader: &Reader,
    discovery: &Discovery,
    namespace: &str,
    source: &ObjectMetric,
) -> Observation {
    let base = match custom_base(reader, discovery).await {
        Ok(base) => base,
        Err(missing) => return missing,
    };
    let described = &source.described_object;
    let api_version = described.api_version.as_deref().unwrap_or("v1");
    let served = match discovery.kind(reader, api_version, &described.kind).await {
        Ok(served) => served,
        Err(why) => return missing(Missing::ServerError, why),
    };
    let place = match place(&served, &described.name, namespace) {
        Ok(place) => place,
        Err(why) => return missing(Missing::ServerError, why),
    };
    let mut path =
        format!("{base}/namespaces/{}/{place}/{}", Reader::encoded(namespace), Reader::encoded(&source.metric.name));
    let selector = source.metric.selector.as_ref().map(trimtab_scale::query_of).filter(|text| !text.is_empty());
    if let Some(selector) = selector {
        path += &format!("?metricLabelSelector={}", Reader::encoded(&selector));
    }
    let granted = match place.split_once('/') {
        Some((resource, _)) => format!("{resource}/{}", source.metric.name),
        // The API server takes it for an object `metrics` of the namespace.
        None => place,
    };
    total(&read(reader, &path, &source.metric.name, &Grant::custom(CUSTOM, granted)).await)
}

/// Where an object's metrics are, below its namespace: `services/web`, or `metrics` for the namespace itself. As the HPA has
/// it, nobody reads metrics of another namespace or of the cluster through an autoscaler.
fn place(served: &Served, name: &str, namespace: &str) -> Result<String, String> {
    if served.group.is_empty() && served.plural == "namespaces" {
        return match name == namespace {
            true => Ok("metrics".to_owned()),
            false => Err(format!(
                "Namespace {name} is not the autoscaler's own: an Object metric is of an object in {namespace}, or of {namespace} \
                 itself"
            )),
        };
    }
    let resource =
        if served.group.is_empty() { served.plural.clone() } else { format!("{}.{}", served.plural, served.group) };
    if !served.namespaced {
        return Err(format!(
            "{resource} are of the whole cluster: an Object metric is of an object in {namespace}; use External or Prometheus"
        ));
    }
    Ok(format!("{resource}/{}", Reader::encoded(name)))
}

/// Asks the API of external metrics.
pub(super) async fn external(
    reader: &Reader,
    discovery: &Discovery,
    namespace: &str,
    metric: &MetricIdentifier,
) -> Observation {
    let version = match discovery.version(reader, EXTERNAL).await {
        Ok(Some(version)) => version,
        Ok(None) => {
            let message = "nobody serves external.metrics.k8s.io: install an adapter, or use type: Prometheus";
            return missing(Missing::ServerError, message);
        }
        Err(why) => return missing(Missing::Unreachable, why),
    };
    let (namespace, name) = (Reader::encoded(namespace), Reader::encoded(&metric.name));
    let mut path = format!("/apis/{EXTERNAL}/{version}/namespaces/{namespace}/{name}");
    let selector = metric.selector.as_ref().map(trimtab_scale::query_of).filter(|text| !text.is_empty());
    if let Some(selector) = selector {
        path += &format!("?labelSelector={}", Reader::encoded(&selector));
    }
    total(&read(reader, &path, &metric.name, &Grant::external(EXTERNAL, &metric.name)).await)
}

async fn custom_base(reader: &Reader, discovery: &Discovery) -> Result<String, Observation> {
    match discovery.version(reader, CUSTOM).await {
        Ok(Some(version)) => Ok(format!("/apis/{CUSTOM}/{version}")),
        Ok(None) => {
            let message = "nobody serves custom.metrics.k8s.io: install an adapter, or use type: Prometheus";
            Err(missing(Missing::ServerError, message))
        }
        Err(why) => Err(missing(Missing::Unreachable, why)),
    }
}

async fn read(reader: &Reader, path: &str, name: &str, grant: &Grant<'_>) -> Result<Values, Observation> {
    match reader.get_path(path, LIST).await {
        Ok(list) => Ok(list),
        Err(Unanswered::NotFound) => Err(missing(Missing::NoMetrics, format!("nobody serves a metric {name} here"))),
        Err(Unanswered::Failed(why) | Unanswered::TooLong(why)) => {
            Err(missing(Missing::Unreachable, grant.explain(why)))
        }
    }
}

/// The values of a list that count together.
fn total(list: &Result<Values, Observation>) -> Observation {
    let list = match list {
        Ok(list) => list,
        Err(missing) => return missing.clone(),
    };
    if list.items.is_empty() {
        return missing(Missing::NoMetrics, "the answer is empty");
    }
    if list.items.len() > SUMMANDS {
        let message = format!("the metric has more than {SUMMANDS} series: select fewer");
        return missing(Missing::ManySeries, message);
    }
    let values: Option<Vec<Milli>> = list.items.iter().map(|item| item.value.milli()).collect();
    let at = list.items.iter().filter_map(OneValue::at).min();
    match values {
        Some(values) => Observation::Total { values, at },
        None => missing(Missing::NotANumber, "a value of the answer is no quantity"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_use_together() {
        let list = Ok(Used::with_labels(serde_json::from_value(json!({"items": [
            {"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15.2s", "containers": [
                {"name": "web", "usage": {"cpu": "250m", "memory": "1Gi"}}, {"name": "x", "usage": {"cpu": "1500u"}}]},
            {"metadata": {"name": "b"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15s", "containers": [
                {"name": "web", "usage": {"memory": "1Gi"}}]}
        ]}))
        .unwrap()));
        let spec = |value: Value| serde_json::from_value::<MetricSpec>(value).unwrap();
        let target = json!({"type": "AverageValue", "averageValue": "1"});
        let whole = spec(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        let Observation::Pods(found) = resource(&list, &whole, |_| true) else { panic!("no samples") };
        assert_eq!(
            found.iter().map(|(n, s)| (n.as_str(), s.value.0, s.window_seconds)).collect::<Vec<_>>(),
            [("a", 252, 15)]
        );
        let one = spec(json!({"type": "ContainerResource",
            "containerResource": {"name": "cpu", "container": "web", "target": target}}));
        let Observation::Pods(found) = resource(&list, &one, |_| true) else { panic!("no samples") };
        assert_eq!(found["a"].value.0, 250);
        assert!(matches!(resource(&Err(Unanswered::NotFound), &whole, |_| true), Observation::Missing { .. }));
    }

    #[test]
    fn labels_are_kept_only_where_they_tell_whose_pods_are() {
        let labels: BTreeMap<String, String> =
            (0..5_000).map(|number| (format!("label-{number}"), "x".repeat(60))).collect();
        let text = json!({"items": [{"metadata": {"name": "a", "labels": labels}, "timestamp": "2026-01-01T00:00:00Z",
            "window": "15s", "containers": [{"name": "web", "usage": {"cpu": "1"}}]}]})
        .to_string();
        let narrow = Used::without_labels(serde_json::from_str(&text).unwrap());
        assert!(narrow.weight() < 300, "{}", narrow.weight());
        let wide = Used::with_labels(serde_json::from_str(&text).unwrap());
        assert!(wide.weight() > 5_000 * 60, "{}", wide.weight());
        assert_eq!(wide.0[0].metadata.labels.len(), 5_000);
    }

    #[test]
    fn of_a_failure_no_more_is_told_than_helps() {
        let long = missing(Missing::Unreachable, "ä".repeat(40_000));
        assert!(taken(&long) <= TOLD && taken(&long) > TOLD - 2);
        assert_eq!(taken(&missing(Missing::Unreachable, "short")), 5);
    }

    #[test]
    fn metrics_of_objects_stay_in_the_namespace() {
        let check = |group: &str, plural: &str, namespaced, name: &str, expected: Result<&str, &str>| {
            let served = Served {
                group: group.to_owned(),
                version: "v1".to_owned(),
                plural: plural.to_owned(),
                namespaced,
                has_scale: false,
            };
            match (place(&served, name, "shop"), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, _) => panic!("{plural} {name}: {found:?}"),
            }
        };
        check("", "services", true, "web", Ok("services/web"));
        check("networking.k8s.io", "ingresses", true, "web", Ok("ingresses.networking.k8s.io/web"));
        check("", "namespaces", false, "shop", Ok("metrics"));
        check("", "namespaces", false, "kube-system", Err("is not the autoscaler's own"));
        check("", "nodes", false, "n1", Err("nodes are of the whole cluster"));
        check("storage.k8s.io", "storageclasses", false, "x", Err("storageclasses.storage.k8s.io are of the whole"));
        // A kind of somebody's that is only called so.
        check("example.com", "namespaces", true, "shop", Ok("namespaces.example.com/shop"));
        check("example.com", "namespaces", false, "shop", Err("namespaces.example.com are of the whole"));
    }

    #[test]
    fn many_series_are_not_added_up() {
        let values = |count: usize| {
            let items: Vec<Value> = (0..count).map(|_| json!({"metricName": "x", "value": "1"})).collect();
            Ok(serde_json::from_value::<Values>(json!({ "items": items })).unwrap())
        };
        assert!(matches!(total(&values(SUMMANDS)), Observation::Total { values, .. } if values.len() == SUMMANDS));
        assert!(matches!(total(&values(SUMMANDS + 1)), Observation::Missing { why: Missing::ManySeries, .. }));
    }
}
