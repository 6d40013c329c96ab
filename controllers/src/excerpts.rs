//! Excerpts of Kubernetes' own kinds: the fields that this crate reads of an object that it gets whole. To read all of a Pod takes
//! a megabyte of code, for volumes of thirty kinds among others. Not what is watched: a watch has views of its own.

use k8s_openapi::api::{apps, core};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::Object;
use kube::{Client, Resource};
use serde::Deserialize;

/// A pod.
pub(crate) type Pod = Object<PodSpec, PodStatus>;
/// A Deployment.
pub(crate) type Deployment = Object<DeploymentSpec, DeploymentStatus>;

/// The pods of a namespace.
pub(crate) fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<core::v1::Pod>(&()))
}

/// The Deployments of a namespace.
pub(crate) fn deployments(client: &Client, namespace: &str) -> Api<Deployment> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<apps::v1::Deployment>(&()))
}

/// The objects of a kind in a namespace, of which only the metadata has a type.
pub(crate) fn objects<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) containers: Option<Vec<Container>>,
    pub(crate) init_containers: Option<Vec<Container>>,
    #[serde(rename = "hostPID")]
    pub(crate) host_pid: Option<bool>,
    pub(crate) share_process_namespace: Option<bool>,
}

/// A container, as it is asked for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) env: Option<Vec<Variable>>,
}

/// A variable of its environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variable {
    pub(crate) value_from: Option<ValueFrom>,
}

/// Where its value comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValueFrom {
    pub(crate) config_map_key_ref: Option<Named>,
}

/// A reference to an object by its name.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Named {
    #[serde(default)]
    pub(crate) name: String,
}

/// What a kubelet tells of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) conditions: Option<Vec<Condition>>,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub(crate) pod_ips: Option<Vec<Address>>,
    pub(crate) container_statuses: Option<Vec<ContainerStatus>>,
    pub(crate) init_container_statuses: Option<Vec<ContainerStatus>>,
}

impl PodStatus {
    /// Whether it gets requests.
    pub(crate) fn is_ready(&self) -> bool {
        self.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    }
}

/// A condition.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
}

/// One of a pod's addresses.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Address {
    #[serde(default)]
    pub(crate) ip: String,
}

/// A container, as it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) restart_count: i32,
    pub(crate) state: Option<ContainerState>,
}

/// What a container does now.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ContainerState {
    pub(crate) running: Option<serde::de::IgnoredAny>,
}

/// What is asked of a Deployment.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DeploymentSpec {
    pub(crate) replicas: Option<i32>,
}

/// What Kubernetes tells of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeploymentStatus {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) replicas: Option<i32>,
    pub(crate) terminating_replicas: Option<i32>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_whole_types_read_excerpts_read_too() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "uid": "1"},
            "spec": {"containers": [{"name": "web", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "a"}}}]}],
                     "initContainers": null, "hostPID": true, "shareProcessNamespace": true, "volumes": [{"name": "data"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
                       "containerStatuses": [{"name": "web", "restartCount": 2, "state": {"running": {"startedAt": "now"}}},
                                             {"name": "old", "restartCount": 0, "state": {"terminated": {"exitCode": 1}}}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let (spec, status) = (pod.spec, pod.status.unwrap());
        let container = &spec.containers.unwrap()[0];
        let source =
            container.env.as_ref().unwrap()[0].value_from.as_ref().unwrap().config_map_key_ref.as_ref().unwrap();
        assert_eq!((container.name.as_str(), source.name.as_str()), ("web", "app"));
        assert_eq!((spec.host_pid, spec.share_process_namespace), (Some(true), Some(true)));
        assert!(spec.init_containers.is_none() && status.is_ready());
        assert_eq!((status.pod_ip.as_deref(), status.pod_ips.unwrap()[0].ip.as_str()), (Some("10.0.0.1"), "10.0.0.1"));
        let runs: Vec<_> = status
            .container_statuses
            .unwrap()
            .into_iter()
            .map(|c| (c.restart_count, c.state.unwrap().running.is_some()))
            .collect();
        assert_eq!(runs, [(2, true), (0, false)]);
    }
}
