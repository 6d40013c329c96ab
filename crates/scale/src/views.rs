//! What is read of objects on the API server for autoscaling: targets, pods and whom they belong to, what else scales, and
//! releases. As little of each as decisions use. Nothing is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use trimtab_crds::{Milli, Quantity, names};
use trimtab_plan::{Kind, Meta, TextMap, Watched};

use crate::{ContainerView, Phase, PodView, Readiness};

/// Something with a scale subresource.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaled {
    /// Metadata.
    pub metadata: Meta,
    /// The size that was asked for.
    pub replicas: i32,
    /// The pods that there are.
    pub status_replicas: i32,
    /// Which pods are its own: labels, and what else holds of them.
    pub selector: trimtab_crds::MetricSelector,
    /// Who set the size last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

impl Scaled {
    /// Reads the whole object.
    ///
    /// # Errors
    ///
    /// If its metadata or its selector are not what they are by the API.
    pub fn read(object: &Value) -> Result<Self, serde_json::Error> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let selector = if spec["selector"].is_object() { &spec["selector"] } else { &Value::Null };
        Ok(Self {
            metadata: Meta::deserialize(&object["metadata"])?,
            replicas: int(&spec["replicas"]).unwrap_or(1),
            status_replicas: int(&status["replicas"]).unwrap_or(0),
            selector: Option::<trimtab_crds::MetricSelector>::deserialize(selector)?.unwrap_or_default(),
            writer: writer(&object["metadata"]["managedFields"]),
        })
    }
}

fn int(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|value| i32::try_from(value).ok())
}

/// Who set the size last: of those who own the field, the one who wrote last.
fn writer(managed: &Value) -> Option<String> {
    let owns = |entry: &&Value| entry["fieldsV1"]["f:spec"]["f:replicas"].is_object();
    let entries = managed.as_array()?.iter().filter(owns);
    let last = entries.max_by(|a, b| a["time"].as_str().cmp(&b["time"].as_str()))?;
    Some(last["manager"].as_str()?.to_owned())
}

macro_rules! scaled {
    ($($(#[$doc:meta])* $view:ident, $kind:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Serialize)]
            #[serde(transparent)]
            pub struct $view(pub Arc<Scaled>);

            impl Watched for $view {
                const KIND: Kind = $kind;

                fn meta(&self) -> &Meta {
                    &self.0.metadata
                }
            }

            impl AsRef<Arc<Scaled>> for $view {
                fn as_ref(&self) -> &Arc<Scaled> {
                    &self.0
                }
            }

            impl<'de> Deserialize<'de> for $view {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let object = Value::deserialize(deserializer)?;
                    Scaled::read(&object).map(|scaled| Self(Arc::new(scaled))).map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

scaled! {
    /// A Deployment as something that is scaled.
    ScaledDeployment, names::DEPLOYMENT;
    /// A StatefulSet as something that is scaled.
    ScaledStatefulSet, names::STATEFUL_SET;
}

/// A ReplicaSet: whom it stands between.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "RawSet")]
pub struct OwnerView {
    /// Metadata.
    pub metadata: Meta,
    /// The Deployment that it is a canary of.
    pub canary_of: Option<String>,
}

#[derive(Deserialize)]
struct RawSet {
    metadata: Meta,
}

impl From<RawSet> for OwnerView {
    fn from(RawSet { mut metadata }: RawSet) -> Self {
        let canary_of = metadata.annotation(names::CANARY_OF).map(str::to_owned);
        (metadata.annotations, metadata.labels) = (TextMap::default(), TextMap::default());
        Self { metadata, canary_of }
    }
}

impl Watched for OwnerView {
    const KIND: Kind = names::REPLICA_SET;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A pod, with what finds its target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "RawPod")]
pub struct ScalePod {
    /// Metadata.
    pub metadata: Meta,
    /// As decisions see it; whose it is has to be found out.
    pub view: Arc<PodView>,
}

impl Watched for ScalePod {
    const KIND: Kind = names::POD;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Deserialize)]
struct RawPod {
    metadata: Meta,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
    resources: Option<RawResources>,
    overhead: BTreeMap<String, Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    name: String,
    resources: RawResources,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawResources {
    requests: BTreeMap<String, Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: Option<Phase>,
    start_time: Option<Timestamp>,
    conditions: Vec<RawCondition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    last_transition_time: Option<Timestamp>,
}

impl RawResources {
    fn milli(&self) -> BTreeMap<String, Milli> {
        self.requests.iter().filter_map(|(name, quantity)| Some((name.clone(), quantity.milli()?))).collect()
    }
}

impl RawContainer {
    /// Whether it is an init container that runs beside the others.
    fn stays(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

type Requests = BTreeMap<String, Milli>;

fn add(to: &mut Requests, more: &Requests) {
    for (name, more) in more {
        let sum = to.entry(name.clone()).or_insert(Milli(0));
        sum.0 = sum.0.saturating_add(more.0);
    }
}

/// What a pod requests for which requests are set as a whole: Kubernetes' own sum, by resource. What its containers request
/// together, or one of its init containers with those before it that stay, whichever is more; in place of it what the pod
/// names itself; and the overhead.
fn whole_pod(spec: &RawSpec) -> Option<Requests> {
    let is_whole = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let mut own = spec.resources.as_ref().map(RawResources::milli).unwrap_or_default();
    own.retain(|name, _| is_whole(name));
    if own.is_empty() {
        return None;
    }
    let (mut sum, mut staying, mut most) = (Requests::new(), Requests::new(), Requests::new());
    spec.containers.iter().for_each(|container| add(&mut sum, &container.resources.milli()));
    for container in &spec.init_containers {
        let requests = container.resources.milli();
        let mut meanwhile = staying.clone();
        add(&mut meanwhile, &requests);
        if container.stays() {
            add(&mut sum, &requests);
            staying = meanwhile.clone();
        }
        for (name, milli) in meanwhile {
            let known = most.entry(name).or_insert(Milli(0));
            known.0 = known.0.max(milli.0);
        }
    }
    for (name, milli) in most {
        let known = sum.entry(name).or_insert(Milli(0));
        known.0 = known.0.max(milli.0);
    }
    sum.extend(own);
    let overhead = spec.overhead.iter().filter_map(|(name, more)| Some((name.clone(), more.milli()?)));
    add(&mut sum, &overhead.collect());
    Some(sum)
}

impl From<RawPod> for ScalePod {
    fn from(RawPod { mut metadata, spec, status }: RawPod) -> Self {
        metadata.annotations = TextMap::default();
        let containers = spec.init_containers.iter().filter(|c| c.stays()).chain(&spec.containers);
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let view = PodView {
            name: metadata.name.clone(),
            phase: status.phase.unwrap_or(Phase::Unknown),
            deleting: metadata.deletion_timestamp.is_some(),
            started_at: status.start_time,
            ready: ready.map(|condition| Readiness {
                is: match condition.status.as_str() {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => None,
                },
                since: condition.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH),
            }),
            owned: true,
            canary: false,
            containers: containers
                .map(|container| ContainerView { name: container.name.clone(), requests: container.resources.milli() })
                .collect(),
            requests: whole_pod(&spec).map(Arc::new),
        };
        Self { metadata, view: Arc::new(view) }
    }
}

/// A HorizontalPodAutoscaler: what it scales.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HpaView {
    /// Metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: HpaSpec,
}

/// What a HorizontalPodAutoscaler scales.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HpaSpec {
    /// The target.
    pub scale_target_ref: trimtab_crds::ScaleTargetRef,
}

impl HpaView {
    /// What people call it; KEDA makes HorizontalPodAutoscalers for its own objects.
    pub fn called(&self) -> String {
        let name = &self.metadata.name;
        match self.metadata.controller() {
            Some(owner) => format!("{} {} (by HorizontalPodAutoscaler {name})", owner.kind, owner.name),
            None => format!("HorizontalPodAutoscaler {name}"),
        }
    }
}

impl Watched for HpaView {
    const KIND: Kind = Kind::namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A ReleasePlan: whether a release of its target is under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuardView {
    /// Metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: GuardSpec,
    /// Its status.
    #[serde(default)]
    pub status: GuardStatus,
}

/// What a ReleasePlan is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardSpec {
    /// The Deployment.
    pub target_ref: GuardTarget,
}

/// The Deployment of a ReleasePlan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuardTarget {
    /// Its name.
    pub name: String,
}

/// How a ReleasePlan stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GuardStatus {
    /// The release that is under way.
    pub release: Option<GuardRelease>,
    /// Where it stands.
    pub phase: Option<String>,
}

/// A release that is under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuardRelease {
    /// Its name.
    pub name: String,
}

impl Watched for GuardView {
    const KIND: Kind = names::RELEASE_PLAN;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Whether labels are those of a selector.
pub fn selects(selector: &trimtab_crds::MetricSelector, labels: &TextMap) -> bool {
    let has = |name: &String, values: &[String]| labels.get(name).is_some_and(|v| values.iter().any(|one| one == v));
    selector.match_labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        && selector.match_expressions.iter().all(|one| match one.operator.as_str() {
            "In" => has(&one.key, &one.values),
            "NotIn" => !has(&one.key, &one.values),
            "Exists" => labels.contains_key(&one.key),
            "DoesNotExist" => !labels.contains_key(&one.key),
            _ => false,
        })
}

/// A selector as the API server's queries take it: `app=web,tier in (a,b)`.
pub fn query_of(selector: &trimtab_crds::MetricSelector) -> String {
    let labels = selector.match_labels.iter().map(|(name, value)| format!("{name}={value}"));
    let expressions = selector.match_expressions.iter().map(|one| {
        let values = one.values.join(",");
        match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} notin ({values})", one.key),
            "DoesNotExist" => format!("!{}", one.key),
            _ => one.key.clone(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_s_requests_are_those_of_what_stays() {
        let pod: ScalePod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {
                "initContainers": [
                    {"name": "setup", "resources": {"requests": {"cpu": "2"}}},
                    {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}}],
                "containers": [{"name": "web", "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}]}
        }))
        .unwrap();
        let names: Vec<_> = pod.view.containers.iter().map(|c| (c.name.as_str(), c.requests["cpu"].0)).collect();
        assert_eq!(names, [("proxy", 50), ("web", 250)]);
        assert_eq!(pod.view.ready.unwrap().is, Some(true));
    }

    /// What a pod requests of CPU and memory, by Kubernetes' own rule for pods with requests of their own.
    fn check_whole(spec: Value, expected: Option<(i64, i64)>) {
        let pod: ScalePod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap();
        let milli = |requests: &BTreeMap<String, Milli>, name: &str| requests.get(name).map_or(0, |milli| milli.0);
        let found = pod.view.requests.as_deref().map(|all| (milli(all, "cpu"), milli(all, "memory") / 1000));
        assert_eq!(found, expected, "{spec}");
    }

    #[test]
    fn a_pod_with_requests_of_its_own_requests_what_kubernetes_says() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let memory = json!({"requests": {"memory": "1k"}});
        let proxy = json!({"name": "proxy", "restartPolicy": "Always", "resources": cpu("50m")});
        let setup = json!({"name": "setup", "resources": cpu("400m")});
        let web = json!({"name": "web", "resources": cpu("100m")});
        let pod = |init: Value, own: &Value, overhead: Value| json!({"initContainers": init, "containers": [web], "resources": own, "overhead": overhead});
        check_whole(pod(json!([proxy]), &Value::Null, json!({"cpu": "1"})), None);
        check_whole(pod(json!([proxy]), &json!({"limits": {"cpu": "1"}}), json!({})), None);
        check_whole(pod(json!([proxy]), &json!({"requests": {"example.com/x": "1"}}), json!({})), None);
        check_whole(pod(json!([proxy]), &memory, json!({})), Some((150, 1000)));
        check_whole(pod(json!([proxy, setup]), &memory, json!({})), Some((450, 1000)));
        check_whole(pod(json!([setup, proxy]), &memory, json!({})), Some((400, 1000)));
        check_whole(pod(json!([proxy, setup]), &cpu("200m"), json!({})), Some((200, 0)));
        check_whole(pod(json!([proxy]), &memory, json!({"cpu": "10m", "memory": "1k"})), Some((160, 2000)));
        check_whole(pod(json!([]), &memory, json!({"cpu": "10m"})), Some((110, 1000)));
    }

    #[test]
    fn who_set_the_size_last_is_told() {
        let object = json!({"metadata": {"name": "web", "managedFields": [
            {"manager": "argocd-controller", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "trimtab-scale", "subresource": "scale", "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "kcm", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:status": {}}}
        ]}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}}});
        let scaled = Scaled::read(&object).unwrap();
        assert_eq!((scaled.writer.as_deref(), scaled.replicas), (Some("argocd-controller"), 3));
        assert!(selects(&scaled.selector, &TextMap::from([("app", "web"), ("x", "y")])));
        assert_eq!(query_of(&scaled.selector), "app=web");
    }
}
