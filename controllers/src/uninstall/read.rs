//! Reads all that the way out is decided on. Kinds that the cluster does not know, or that may not be read, are no hindrance:
//! the latter are noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, Result};
use kube::{Client, api::ListParams};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use trimtab_config::{Pins, SourceKind, claimed_source};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, ObjectRef};
use trimtab_release::{DeploymentView, ReplicaSetView, writes::is_adrift};
use trimtab_uninstall::{Copy, KeptJob, Other, PlanFacts, Scaled, Snapshot};

use super::scope::Scope;
use crate::digest_key;

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// All that the way out is decided on.
#[derive(Default)]
pub(super) struct Seen {
    /// Deployments that Trimtab has to do with.
    pub(super) deployments: Vec<Snapshot>,
    /// What else it looks after.
    pub(super) others: Vec<Other>,
    /// What could not be read, for people.
    pub(super) notes: Vec<String>,
}

/// What is read of one namespace, or of all.
struct Reader<'c> {
    client: &'c Client,
    namespace: &'c str,
    /// The manager's namespace, where it is known.
    manager: Option<&'c str>,
    notes: Vec<String>,
}

/// Reads these namespaces; all where none is named.
pub(super) async fn read(client: &Client, scope: &Scope) -> Result<Seen> {
    let mut seen = Seen::default();
    let all = [String::new()];
    for namespace in if scope.namespaces.is_empty() { all.as_slice() } else { &scope.namespaces } {
        let mut reader = Reader { client, namespace, manager: scope.manager_namespace(), notes: vec![] };
        reader.read(&mut seen).await?;
        seen.notes.append(&mut reader.notes);
    }
    Ok(seen)
}

/// Lists objects page by page, and keeps of each what `keep` makes of it: a cluster's objects as they are stored would not fit
/// into the memory of a hook. An empty namespace stands for all.
pub(super) async fn list<T>(
    client: &Client,
    what: &What<'_>,
    mut keep: impl FnMut(Value) -> Option<T>,
) -> Result<Vec<T>, kube::Error> {
    let What { kind, namespace, labels, metadata_only } = *what;
    let base = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let request = kube::core::Request::new(format!("{base}/{}{place}/{}", kind.version, kind.plural));
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    let mut found = vec![];
    loop {
        let page = if metadata_only { request.list_metadata(&params) } else { request.list(&params) };
        let mut page: Value = client.request(page.map_err(kube::Error::BuildRequest)?).await?;
        if let Some(items) = page.get_mut("items").and_then(Value::as_array_mut) {
            found.extend(items.drain(..).filter_map(&mut keep));
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(next) if !next.is_empty() => params = params.continue_token(next),
            _ => return Ok(found),
        }
    }
}

/// What is listed.
#[derive(Clone, Copy)]
pub(super) struct What<'a> {
    pub(super) kind: Kind,
    /// All where it is empty.
    pub(super) namespace: &'a str,
    pub(super) labels: &'a str,
    pub(super) metadata_only: bool,
}

impl What<'_> {
    pub(super) fn all(kind: Kind) -> Self {
        Self { kind, namespace: "", labels: "", metadata_only: false }
    }
}

/// What is read of a StatefulSet or DaemonSet.
struct Plain {
    object: ObjectRef,
    replicas: Option<i32>,
    pins: Pins,
}

impl Reader<'_> {
    fn what(&self, kind: Kind) -> What<'_> {
        What { namespace: self.namespace, ..What::all(kind) }
    }

    /// Objects that must be read.
    async fn need<T: DeserializeOwned>(&mut self, kind: Kind) -> Result<Vec<T>> {
        let mut unread = vec![];
        let decode = |value: Value| {
            let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let decoded = serde_json::from_value(value);
            decoded.map_err(|error| unread.push(format!("{} {name} cannot be read: {error}", kind.kind))).ok()
        };
        let place = if self.namespace.is_empty() { "all namespaces".to_owned() } else { self.namespace.to_owned() };
        let found = list(self.client, &self.what(kind), decode)
            .await
            .with_context(|| format!("cannot list {} of {place}", kind.plural))?;
        self.notes.append(&mut unread);
        Ok(found)
    }

    /// Objects that may be missing: their CRD is gone, or they may not be read.
    async fn maybe<T>(&mut self, what: What<'_>, keep: impl FnMut(Value) -> Option<T>) -> Result<Vec<T>> {
        match list(self.client, &what, keep).await {
            Ok(found) => Ok(found),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(vec![]),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.notes.push(format!("{} cannot be looked at: {}", what.kind.plural, status.message.trim()));
                Ok(vec![])
            }
            Err(error) => Err(error).with_context(|| format!("cannot list {}", what.kind.plural)),
        }
    }

    async fn read(&mut self, seen: &mut Seen) -> Result<()> {
        let namespace = self.namespace;
        let what = |kind: Kind| What { namespace, ..What::all(kind) };
        let deployments: Vec<DeploymentView> = self.need(names::DEPLOYMENT).await?;
        let sets: Vec<ReplicaSetView> = self.need(names::REPLICA_SET).await?;
        let plans = self.maybe(what(names::RELEASE_PLAN), Some).await?;
        let mut others = vec![];
        for kind in [names::STATEFUL_SET, names::DAEMON_SET] {
            others.append(&mut self.maybe(what(kind), |workload| plain(kind, &workload)).await?);
        }
        let size = |kind: &str, namespace: &str, name: &str| {
            let deployment =
                || deployments.iter().find(|d| d.metadata.namespace == namespace && d.metadata.name == name);
            let is = |o: &ObjectRef| o.kind.kind == kind && o.namespace == namespace && o.name == name;
            match kind {
                "Deployment" => deployment().map(|d| d.spec.replicas),
                _ => others.iter().find(|other| is(&other.object)).and_then(|other| other.replicas),
            }
        };
        let scaled = |autoscaler: Value| {
            let text = |pointer: &str| autoscaler.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let replicas =
                size(text("/spec/targetRef/kind"), text("/metadata/namespace"), text("/spec/targetRef/name"));
            Scaled::read(&autoscaler, replicas).map(Other::Scaled)
        };
        let mut found_others = self.maybe(what(names::AUTOSCALER), scaled).await?;
        seen.others.append(&mut found_others);
        let frozen = others.into_iter().filter(|other| !other.pins.is_empty());
        seen.others.extend(frozen.map(|other| Other::Frozen(other.object, other.pins.to_string())));
        self.jobs(seen).await?;
        let mut found = snapshots(deployments, of_workload(sets), &plans);
        self.copies(&mut found).await?;
        seen.deployments.append(&mut found);
        Ok(())
    }

    /// The frozen copies, where a Deployment reads some: metadata only, no value of a Secret comes here.
    async fn copies(&mut self, found: &mut [Snapshot]) -> Result<()> {
        let namespace = self.namespace;
        let labels = format!("{}=true", names::COPY_LABEL);
        for kind in [SourceKind::ConfigMap, SourceKind::Secret] {
            let reads = |snapshot: &Snapshot| {
                let pins = snapshot.deployment.as_ref().map(|d| &d.spec.template.config);
                pins.is_some_and(|pins| pins.0.keys().any(|source| source.kind == kind))
            };
            if !found.iter().any(reads) {
                continue;
            }
            let what = What { kind: kind.kind(), namespace, labels: &labels, metadata_only: true };
            let metadata = |mut value: Value| {
                let metadata = serde_json::from_value::<Meta>(value["metadata"].take()).ok();
                // One that only looks like a copy is somebody's own, and gets no owner.
                metadata.filter(|metadata| claimed_source(kind, metadata).is_some())
            };
            for metadata in self.maybe(what, metadata).await? {
                for snapshot in found.iter_mut().filter(|s| s.namespace == metadata.namespace && reads(s)) {
                    snapshot.copies.push(Copy { kind, metadata: metadata.clone() });
                }
            }
        }
        Ok(())
    }

    async fn jobs(&mut self, seen: &mut Seen) -> Result<()> {
        let namespace = self.namespace;
        let kept = What { labels: names::RELOADED_JOB, namespace, ..What::all(names::CONTROLLER_REVISION) };
        let kept = self.maybe(kept, Some).await?;
        if kept.is_empty() {
            return Ok(());
        }
        let jobs = What { metadata_only: true, namespace, ..What::all(names::JOB) };
        let name = |value: Value| {
            let text = |name: &str| value["metadata"][name].as_str().map(str::to_owned);
            Some((text("namespace")?, text("name")?))
        };
        let there: BTreeSet<(String, String)> = self.maybe(jobs, name).await?.into_iter().collect();
        let signed_with = match self.manager {
            Some(namespace) => digest_key::existing(self.client, namespace).await,
            None => None,
        };
        for revision in &kept {
            let Ok(metadata) = serde_json::from_value::<Meta>(revision["metadata"].clone()) else { continue };
            let job = trimtab_reload::KeptJob::job_of(&metadata.name).to_owned();
            let there = there.contains(&key(&metadata.namespace, &job));
            let read = trimtab_reload::KeptJob::deserialize(revision);
            let proven = signed_with.as_ref().is_some_and(|key| read.is_ok_and(|kept| kept.is_ours(key)));
            seen.others.push(Other::Job(KeptJob { metadata, job, body: revision["data"].clone(), there, proven }));
        }
        Ok(())
    }
}

/// The Deployments that Trimtab has to do with, each with what belongs to it.
fn snapshots(deployments: Vec<DeploymentView>, mut sets: Sets, plans: &[Value]) -> Vec<Snapshot> {
    let mut found: Vec<Snapshot> = vec![];
    for deployment in deployments {
        let key = key(&deployment.metadata.namespace, &deployment.metadata.name);
        let replica_sets = sets.remove(&key).unwrap_or_default();
        if concerns_us(&deployment, &replica_sets) {
            found.push(Snapshot {
                namespace: deployment.metadata.namespace.clone(),
                name: deployment.metadata.name.clone(),
                plan: plan_of(plans, &deployment.metadata),
                deployment: Some(Arc::new(deployment)),
                replica_sets,
                copies: vec![],
            });
        }
    }
    // What is left belongs to Deployments that are gone.
    let left = sets.into_iter();
    found.extend(left.map(|((namespace, name), replica_sets)| Snapshot {
        namespace,
        name,
        replica_sets,
        ..Snapshot::default()
    }));
    found
}

fn plain(kind: Kind, workload: &Value) -> Option<Plain> {
    let text = |name: &str| workload["metadata"][name].as_str();
    let annotations = workload.pointer("/spec/template/metadata/annotations");
    let pins = Pins::in_template(annotations.and_then(|annotations| annotations.get(names::CONFIG)?.as_str()));
    let replicas = workload.pointer("/spec/replicas").and_then(Value::as_i64).and_then(|n| n.try_into().ok());
    Some(Plain { object: kind.object(text("namespace")?, text("name")?), replicas, pins })
}

type Sets = BTreeMap<(String, String), Vec<Arc<ReplicaSetView>>>;

fn key(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

/// ReplicaSets by the Deployment that owns them, or whose canary they are.
fn of_workload(sets: Vec<ReplicaSetView>) -> Sets {
    let mut found = Sets::new();
    for rs in sets {
        let canary_of = || rs.metadata.annotation(names::CANARY_OF).map(str::to_owned);
        let workload = match rs.metadata.controller() {
            Some(owner) if owner.is(&names::DEPLOYMENT) => Some(owner.name.clone()),
            Some(owner) if owner.is(&names::RELEASE_PLAN) => canary_of(),
            Some(_) => None,
            None => canary_of().filter(|name| is_adrift(name, &rs)),
        };
        if let Some(workload) = workload {
            found.entry((rs.metadata.namespace.clone(), workload)).or_default().push(Arc::new(rs));
        }
    }
    found
}

/// Whether Trimtab has, or had, anything to do with a Deployment.
fn concerns_us(deployment: &DeploymentView, sets: &[Arc<ReplicaSetView>]) -> bool {
    let marks = [names::PLAN, names::HELD];
    let marked = |meta: &Meta| marks.iter().any(|mark| meta.annotations.contains_key(mark));
    let paused = trimtab_uninstall::is_paused_for_reload(deployment);
    marked(&deployment.metadata)
        || paused
        || !deployment.spec.template.config.is_empty()
        || sets
            .iter()
            .any(|rs| marked(&rs.metadata) || rs.metadata.controller().is_none_or(|o| o.is(&names::RELEASE_PLAN)))
}

/// The plan of a Deployment: the one that guards it, else the oldest that targets it.
fn plan_of(plans: &[Value], deployment: &Meta) -> Option<PlanFacts> {
    let mine = |plan: &&Value| plan["metadata"]["namespace"].as_str() == Some(deployment.namespace.as_str());
    let age = |plan: &&Value| plan["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<&Value> = plans.iter().filter(mine).collect();
    found.sort_by_key(age);
    let facts = || found.iter().filter_map(|plan| PlanFacts::read(plan)).filter(|plan| plan.target == deployment.name);
    let guard = deployment.annotation(names::PLAN);
    facts().find(|plan| Some(plan.name.as_str()) == guard).or_else(|| facts().next())
}
