//! The manager that works, as its lease tells: it would guard again what is freed, so it has to end first. And ending it,
//! where it is a Deployment.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, coordination::v1::Lease, core::v1::Pod};
use kube::{
    Client,
    api::{Api, ListParams},
};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};
use trimtab::Writer;
use trimtab_crds::names;
use trimtab_plan::{Verb, Write};

use crate::excerpts::{self, Deployment};

/// How often the lease is looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// A lease that was not renewed for so many of its durations, by this machine's clock, is nobody's.
const STALE: i64 = 4;
/// What a manager's Deployment has while it is ended: the size that it had.
const STOPPED_FROM: &str = "trimtab.dev/stopped-from";
/// The largest size that is believed of a manager.
const MOST: i32 = 100;

/// The manager that works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// Namespace of its lease.
    pub namespace: String,
    /// Name of its lease.
    pub lease: String,
    /// Who it is.
    pub holder: String,
    /// The Deployment that it is a pod of, if it is one: `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

/// The manager that works, if one does. A lease that is still held is watched until it is renewed or has lapsed.
///
/// # Errors
///
/// If leases may not be read.
pub async fn leader(client: &Client, lease: &str, namespace: Option<&str>) -> Result<Option<Leader>> {
    let leases = leases(client, namespace);
    let named = ListParams::default().fields(&format!("metadata.name={lease}"));
    let read = async || leases.list(&named).await.context("cannot look whether a manager works: leases cannot be read");
    let first = read().await?.items;
    let mut held: Vec<&Lease> = first.iter().filter(|lease| is_held(lease)).collect();
    let longest = held.iter().map(|lease| seconds(lease)).max().unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(u64::try_from(longest).unwrap_or(0) + 1);
    while !held.is_empty() && Instant::now() < until {
        sleep(PERIOD).await;
        let now = read().await?.items;
        let same = |old: &Lease| now.iter().find(|new| new.metadata.namespace == old.metadata.namespace).cloned();
        held.retain(|old| same(old).is_some_and(|new| is_held(&new)));
        for old in &held {
            let Some(new) = same(old) else { continue };
            if renewed(&new) != renewed(old) {
                return Ok(Some(known(client, &new).await));
            }
        }
    }
    Ok(None)
}

fn leases(client: &Client, namespace: Option<&str>) -> Api<Lease> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn seconds(lease: &Lease) -> i64 {
    lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(15).into()
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

fn is_held(lease: &Lease) -> bool {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let age = renewed(lease).map_or(i64::MAX, |at| Timestamp::now().duration_since(at).as_secs());
    !holder.is_empty() && age < seconds(lease).saturating_mul(STALE)
}

/// A holder by its lease, with its Deployment where that can be found out.
async fn known(client: &Client, lease: &Lease) -> Leader {
    let namespace = lease.metadata.namespace.clone().unwrap_or_default();
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let pod = holder.rsplit_once('_').map_or(holder.as_str(), |(pod, _)| pod);
    let deployment = deployment_of(client, &namespace, pod).await.map(|name| format!("{namespace}/{name}"));
    Leader { lease: lease.metadata.name.clone().unwrap_or_default(), namespace, holder, deployment }
}

async fn deployment_of(client: &Client, namespace: &str, pod: &str) -> Option<String> {
    let pod = excerpts::objects::<Pod>(client, namespace).get_metadata_opt(pod).await.ok()??;
    let set = pod.metadata.owner_references?.into_iter().find(|owner| owner.kind == "ReplicaSet")?.name;
    let set = excerpts::objects::<ReplicaSet>(client, namespace).get_metadata_opt(&set).await.ok()??;
    Some(set.metadata.owner_references?.into_iter().find(|owner| owner.kind == "Deployment")?.name)
}

/// A manager's Deployment, with the size that it had.
pub(super) struct Stopped {
    namespace: String,
    name: String,
    uid: String,
    replicas: i32,
}

/// Ends a manager: its Deployment is scaled to zero, and its pods are waited for. It starts again where that fails.
pub(super) async fn stop(client: &Client, writer: &Writer, manager: &str, until: Instant) -> Result<Stopped> {
    let (namespace, name) =
        manager.split_once('/').with_context(|| format!("{manager:?} names no Deployment: write NAMESPACE/NAME"))?;
    let api = excerpts::deployments(client, namespace);
    let deployment =
        api.get_opt(name).await?.with_context(|| format!("there is no Deployment {name} in namespace {namespace}"))?;
    let stopped = Stopped {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: deployment.metadata.uid.clone().unwrap_or_default(),
        replicas: size_before(&deployment),
    };
    set_size(writer, &stopped, 0, Some(stopped.replicas)).await?;
    let mut failed = String::new();
    while Instant::now() < until {
        match api.get_opt(name).await {
            Ok(Some(deployment)) if !has_ended(&deployment) => failed.clear(),
            // One that is gone has ended too.
            Ok(_) => return Ok(stopped),
            // One read that fails says nothing of its pods.
            Err(error) => failed = format!(" ({error})"),
        }
        sleep(PERIOD).await;
    }
    start(writer, &stopped).await?;
    bail!("the manager's pods do not end{failed}: see kubectl get pods -n {namespace}")
}

/// The size that a manager had: one that is ended already, by a process that was ended itself, has it noted.
fn size_before(deployment: &Deployment) -> i32 {
    let noted = deployment.metadata.annotations.as_ref().and_then(|all| all.get(STOPPED_FROM));
    let noted = noted.and_then(|text| text.parse().ok()).filter(|size| (1..=MOST).contains(size));
    match deployment.spec.replicas.unwrap_or(1) {
        0 => noted.unwrap_or(0),
        // Somebody has started it since.
        size => size,
    }
}

/// Whether a Deployment that was scaled to zero has no pods any more. Those that are ending count: a manager works until its
/// last moment, and its lease is its own until then.
fn has_ended(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let seen = status.observed_generation >= deployment.metadata.generation;
    seen && status.replicas.unwrap_or(0) == 0 && status.terminating_replicas.unwrap_or(0) == 0
}

/// Starts a manager again that was ended.
pub(super) async fn start(writer: &Writer, stopped: &Stopped) -> Result<()> {
    set_size(writer, stopped, stopped.replicas, None).await
}

/// Sets the size of a manager, and in the same write notes the one that it had: whoever comes after a process that is ended in between
/// reads it there.
async fn set_size(writer: &Writer, manager: &Stopped, replicas: i32, before: Option<i32>) -> Result<()> {
    let Stopped { namespace, name, uid, .. } = manager;
    let noted = before.map(|size| size.to_string());
    let body = json!({"metadata": {"uid": uid, "annotations": {STOPPED_FROM: noted}}, "spec": {"replicas": replicas}});
    let target = names::DEPLOYMENT.object(namespace, name);
    let verb = Verb::Merge { body, subresource: None };
    let write = Write { target, verb, why: "nothing is to be guarded again".to_owned() };
    match writer.apply(&[write], Duration::from_secs(30)).await.failed {
        None => Ok(()),
        Some(failure) => bail!("Deployment {name} of the manager cannot be scaled: {}", failure.message),
    }
}

#[cfg(test)]
mod tests {
    use crate::excerpts::{DeploymentSpec, DeploymentStatus};

    use super::*;

    #[test]
    fn a_manager_has_ended_when_its_last_pod_is_gone() {
        let status = |observed, replicas, terminating_replicas| DeploymentStatus {
            observed_generation: Some(observed),
            replicas,
            terminating_replicas,
        };
        let resource = kube::api::ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        let mut deployment = Deployment::new("trimtab", &resource, DeploymentSpec { replicas: None });
        deployment.metadata.generation = Some(3);
        assert!(!has_ended(&deployment));
        for (found, ended) in [
            (status(2, None, None), false),
            (status(3, Some(2), None), false),
            (status(3, None, Some(1)), false),
            (status(3, None, Some(0)), true),
            (status(4, Some(0), None), true),
        ] {
            deployment.status = Some(found.clone());
            assert_eq!(has_ended(&deployment), ended, "{found:?}");
        }
    }

    #[test]
    fn a_manager_that_was_ended_before_starts_again_with_the_size_that_it_had_then() {
        let resource = kube::api::ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        for (size, noted, before) in [
            (Some(2), None, 2),
            (None, None, 1),
            (Some(0), Some("2"), 2),
            // Nobody ended it but a person.
            (Some(0), None, 0),
            (Some(3), Some("2"), 3),
            (Some(0), Some("-1"), 0),
            (Some(0), Some("a great many"), 0),
        ] {
            let mut deployment = Deployment::new("trimtab", &resource, DeploymentSpec { replicas: size });
            let noted = noted.map(|text| [(STOPPED_FROM.to_owned(), text.to_owned())].into());
            deployment.metadata.annotations = noted;
            assert_eq!(size_before(&deployment), before, "{size:?}, {:?}", deployment.metadata.annotations);
        }
    }
}
