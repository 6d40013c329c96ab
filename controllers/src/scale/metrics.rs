//! Kubernetes' three APIs of metrics: resources, custom and external. How they are asked and how their answers are read; what
//! follows from the numbers is decided elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use trimtab::Reader;
use trimtab_crds::{MetricIdentifier, MetricSpec, Milli, ObjectMetric, Quantity};
use trimtab_plan::Answer;
use trimtab_scale::questions::MetricQuestion;
use trimtab_scale::{Missing, Observation, PodSample};

use super::discovery::{Discovery, Served};
use super::grant::Grant;

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";

pub(super) fn missing(why: Missing, message: impl Into<String>) -> Observation {
    Observation::Missing { why, message: message.into() }
}

/// The path at which the resources of a question's pods are read.
pub(super) fn resource_path(question: &MetricQuestion) -> String {
    let all = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", Reader::encoded(&question.namespace));
    match question.wide || question.selector.is_empty() {
        true => all,
        false => format!("{all}?labelSelector={}", Reader::encoded(&question.selector)),
    }
}

/// What pods use of a resource, from a list of `PodMetrics`; only those that the selector fits, where all were asked for.
pub(super) fn resource(list: &Answer, metric: &MetricSpec, fits: impl Fn(&Value) -> bool) -> Observation {
    let list = match list {
        Answer::Object(list) => list,
        Answer::NotFound => {
            let message = "nobody serves metrics.k8s.io: install metrics-server";
            return missing(Missing::ServerError, message);
        }
        Answer::Failed(why) => return missing(Missing::Unreachable, why.clone()),
    };
    let (resource, container) = match (&metric.resource, &metric.container_resource) {
        (Some(source), _) => (source.name.as_str(), None),
        (_, Some(source)) => (source.name.as_str(), Some(source.container.as_str())),
        _ => return missing(Missing::ServerError, "the metric names no resource"),
    };
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let samples: BTreeMap<String, PodSample> = items
        .iter()
        .filter(|item| fits(&item["metadata"]["labels"]))
        .filter_map(|item| Some((item["metadata"]["name"].as_str()?.to_owned(), sample(item, resource, container)?)))
        .collect();
    if samples.is_empty() {
        return missing(Missing::NoMetrics, format!("there is no sample of {resource} of any of the pods yet"));
    }
    Observation::Pods(samples)
}

/// A pod's sample: the sum over its containers, or one container's. A container without the resource spoils the pod's.
fn sample(item: &Value, resource: &str, container: Option<&str>) -> Option<PodSample> {
    let containers = item["containers"].as_array()?;
    let usage = |one: &Value| Quantity(text(&one["usage"][resource])?).milli();
    let value = match container {
        Some(name) => usage(containers.iter().find(|one| one["name"] == name)?)?,
        None => containers.iter().try_fold(Milli(0), |sum, one| Some(Milli(sum.0.saturating_add(usage(one)?.0))))?,
    };
    Some(PodSample { value, at: time(&item["timestamp"])?, window_seconds: seconds(&item["window"]) })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.is_number().then(|| value.to_string()))
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn seconds(window: &Value) -> u32 {
    let length = window.as_str().and_then(trimtab_crds::parse_duration);
    length.and_then(|length| u32::try_from(length.as_secs()).ok()).unwrap_or(60)
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
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |item: &Value| {
        let value = Quantity(text(&item["value"])?).milli()?;
        let window_seconds = item["windowSeconds"].as_u64().and_then(|window| u32::try_from(window).ok()).unwrap_or(60);
        let sample = PodSample { value, at: time(&item["timestamp"])?, window_seconds };
        Some((item["describedObject"]["name"].as_str()?.to_owned(), sample))
    };
    let samples: BTreeMap<String, PodSample> = items.iter().filter_map(one).collect();
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

async fn read(reader: &Reader, path: &str, name: &str, grant: &Grant<'_>) -> Result<Value, Observation> {
    match reader.get_path(path).await {
        Answer::Object(list) => Ok(list),
        Answer::NotFound => Err(missing(Missing::NoMetrics, format!("nobody serves a metric {name} here"))),
        Answer::Failed(why) => Err(missing(Missing::Unreachable, grant.explain(why))),
    }
}

/// The values of a list that count together.
fn total(list: &Result<Value, Observation>) -> Observation {
    let list = match list {
        Ok(list) => list,
        Err(missing) => return missing.clone(),
    };
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return missing(Missing::NoMetrics, "the answer is empty");
    }
    let values: Option<Vec<Milli>> = items.iter().map(|item| Quantity(text(&item["value"])?).milli()).collect();
    let at = items.iter().filter_map(|item| time(&item["timestamp"])).min();
    match values {
        Some(values) => Observation::Total { values, at },
        None => missing(Missing::NotANumber, "a value of the answer is no quantity"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_use_together() {
        let list = Answer::Object(json!({"items": [
            {"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15.2s", "containers": [
                {"name": "web", "usage": {"cpu": "250m", "memory": "1Gi"}}, {"name": "x", "usage": {"cpu": "1500u"}}]},
            {"metadata": {"name": "b"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15s", "containers": [
                {"name": "web", "usage": {"memory": "1Gi"}}]}
        ]}));
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
        assert!(matches!(resource(&Answer::NotFound, &whole, |_| true), Observation::Missing { .. }));
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
}
