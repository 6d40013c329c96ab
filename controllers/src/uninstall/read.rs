//! Reads all that the way out is decided on. Kinds that the cluster does not know, or that may not be read, are no hindrance:
//! the latter are noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, Result};
use kube::{Client, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use trimtab_config::{Pins, SourceKind};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta};
use trimtab_release::{DeploymentView, ReplicaSetView};
use trimtab_uninstall::{Copy, KeptJob, Other, PlanFacts, Scaled, Snapshot};

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
    notes: Vec<String>,
}

/// Reads these namespaces; all where none is named.
pub(super) async fn read(client: &Client, namespaces: &[String]) -> Result<Seen> {
    let mut seen = Seen::default();
    let all = [String::new()];
    for namespace in if namespaces.is_empty() { all.as_slice() } else { namespaces } {
        let mut reader = Reader { client, namespace, notes: vec![] };
        reader.read(&mut seen).await?;
        seen.notes.append(&mut reader.notes);
    }
    Ok(seen)
}

/// Lists objects page by page; an empty namespace stands for all.
pub(super) async fn list(
    client: &Client,
    kind: Kind,
    namespace: &str,
    labels: &str,
    metadata_only: bool,
) -> Result<Vec<Value>, kube::Error> {
    let base = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let request = kube::core::Request::new(format!("{base}/{}{place}/{}", kind.version, kind.plural));
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    let mut found = vec![];
    loop {
        let page = if metadata_only { request.list_metadata(&params) } else { request.list(&params) };
        let mut page: Value = client.request(page.map_err(kube::Error::BuildRequest)?).await?;
        if let Some(items) = page.get_mut("items").and_then(Value::as_array_mut) {
            found.append(items);
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(next) if !next.is_empty() => params = params.continue_token(next),
            _ => return Ok(found),
        }
    }
}

impl Reader<'_> {
    /// Objects that must be read.
    async fn need(&self, kind: Kind) -> Result<Vec<Value>> {
        let place = if self.namespace.is_empty() { "all namespaces".to_owned() } else { self.namespace.to_owned() };
        list(self.client, kind, self.namespace, "", false)
            .await
            .with_context(|| format!("cannot list {} of {place}", kind.plural))
    }

    /// Objects that may be missing: their CRD is gone, or they may not be read.
    async fn maybe(&mut self, kind: Kind, labels: &str, metadata_only: bool) -> Result<Vec<Value>> {
        match list(self.client, kind, self.namespace, labels, metadata_only).await {
            Ok(found) => Ok(found),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(vec![]),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.notes.push(format!("{} cannot be looked at: {}", kind.plural, status.message.trim()));
                Ok(vec![])
            }
            Err(error) => Err(error).with_context(|| format!("cannot list {}", kind.plural)),
        }
    }

    fn decoded<T: DeserializeOwned>(&mut self, kind: Kind, values: Vec<Value>) -> Vec<T> {
        let mut found = vec![];
        for value in values {
            let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            match serde_json::from_value(value) {
                Ok(object) => found.push(object),
                Err(error) => self.notes.push(format!("{} {name} cannot be read: {error}", kind.kind)),
            }
        }
        found
    }

    async fn read(&mut self, seen: &mut Seen) -> Result<()> {
        let deployments = self.need(names::DEPLOYMENT).await?;
        let deployments: Vec<DeploymentView> = self.decoded(names::DEPLOYMENT, deployments);
        let sets = self.need(names::REPLICA_SET).await?;
        let sets: Vec<ReplicaSetView> = self.decoded(names::REPLICA_SET, sets);
        let plans = self.maybe(names::RELEASE_PLAN, "", false).await?;
        let stateful = self.need(names::STATEFUL_SET).await?;
        let daemons = self.maybe(names::DAEMON_SET, "", false).await?;
        self.scaled(&deployments, &stateful, seen).await?;
        self.jobs(seen).await?;
        for (kind, workloads) in [(names::STATEFUL_SET, &stateful), (names::DAEMON_SET, &daemons)] {
            seen.others.extend(workloads.iter().filter_map(|workload| frozen(kind, workload)));
        }
        let mut of_workload = of_workload(sets);
        let mut found: Vec<Snapshot> = vec![];
        for deployment in deployments {
            let key = key(&deployment.metadata.namespace, &deployment.metadata.name);
            let replica_sets = of_workload.remove(&key).unwrap_or_default();
            if concerns_us(&deployment, &replica_sets) {
                found.push(Snapshot {
                    namespace: deployment.metadata.namespace.clone(),
                    name: deployment.metadata.name.clone(),
                    plan: plan_of(&plans, &deployment.metadata),
                    deployment: Some(Arc::new(deployment)),
                    replica_sets,
                    copies: vec![],
                });
            }
        }
        // What is left belongs to Deployments that are gone.
        for ((namespace, name), replica_sets) in of_workload {
            let snapshot = Snapshot { namespace, name, replica_sets, ..Snapshot::default() };
            found.push(snapshot);
        }
        self.copies(&mut found).await?;
        seen.deployments.append(&mut found);
        Ok(())
    }

    /// The frozen copies, where a Deployment reads some: metadata only, no value of a Secret comes here.
    async fn copies(&mut self, found: &mut [Snapshot]) -> Result<()> {
        let pins = |snapshot: &Snapshot| {
            snapshot.deployment.as_ref().map(|d| d.spec.template.config.clone()).unwrap_or_default()
        };
        for kind in [SourceKind::ConfigMap, SourceKind::Secret] {
            let reads = |snapshot: &Snapshot| pins(snapshot).0.keys().any(|source| source.kind == kind);
            if !found.iter().any(reads) {
                continue;
            }
            let labels = format!("{}=true", names::COPY_LABEL);
            for value in self.maybe(kind.kind(), &labels, true).await? {
                let Some(metadata) = value.get("metadata") else { continue };
                let Ok(metadata) = serde_json::from_value::<Meta>(metadata.clone()) else { continue };
                for snapshot in found.iter_mut().filter(|s| s.namespace == metadata.namespace && reads(s)) {
                    snapshot.copies.push(Copy { kind, metadata: metadata.clone() });
                }
            }
        }
        Ok(())
    }

    async fn scaled(&mut self, deployments: &[DeploymentView], stateful: &[Value], seen: &mut Seen) -> Result<()> {
        for autoscaler in self.maybe(names::AUTOSCALER, "", false).await? {
            let text = |pointer: &str| autoscaler.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (namespace, name) = (text("/metadata/namespace"), text("/spec/targetRef/name"));
            let replicas = match text("/spec/targetRef/kind") {
                "Deployment" => deployments
                    .iter()
                    .find(|d| d.metadata.namespace == namespace && d.metadata.name == name)
                    .map(|d| d.spec.replicas),
                "StatefulSet" => stateful
                    .iter()
                    .find(|s| s["metadata"]["namespace"] == namespace && s["metadata"]["name"] == name)
                    .and_then(|s| s.pointer("/spec/replicas")?.as_i64()?.try_into().ok()),
                _ => None,
            };
            seen.others.extend(Scaled::read(&autoscaler, replicas).map(Other::Scaled));
        }
        Ok(())
    }

    async fn jobs(&mut self, seen: &mut Seen) -> Result<()> {
        let kept = self.maybe(names::CONTROLLER_REVISION, names::RELOADED_JOB, false).await?;
        if kept.is_empty() {
            return Ok(());
        }
        let jobs = self.maybe(names::JOB, "", true).await?;
        let there: BTreeSet<(&str, &str)> = jobs
            .iter()
            .filter_map(|job| Some((job["metadata"]["namespace"].as_str()?, job["metadata"]["name"].as_str()?)))
            .collect();
        for revision in &kept {
            let Ok(metadata) = serde_json::from_value::<Meta>(revision["metadata"].clone()) else { continue };
            let job = trimtab_reload::KeptJob { metadata: metadata.clone() }.job().to_owned();
            let there = there.contains(&(metadata.namespace.as_str(), job.as_str()));
            seen.others.push(Other::Job(KeptJob { metadata, job, body: revision["data"].clone(), there }));
        }
        Ok(())
    }
}

type Sets = BTreeMap<(String, String), Vec<Arc<ReplicaSetView>>>;

fn key(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

/// ReplicaSets by the Deployment that owns them, or whose canary they are.
fn of_workload(sets: Vec<ReplicaSetView>) -> Sets {
    let mut found = Sets::new();
    for rs in sets {
        let Some(owner) = rs.metadata.controller() else { continue };
        let workload = if owner.is(&names::DEPLOYMENT) {
            Some(owner.name.clone())
        } else if owner.is(&names::RELEASE_PLAN) {
            rs.metadata.annotation(names::CANARY_OF).map(str::to_owned)
        } else {
            None
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
            .any(|rs| marked(&rs.metadata) || rs.metadata.controller().is_some_and(|o| o.is(&names::RELEASE_PLAN)))
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

fn frozen(kind: Kind, workload: &Value) -> Option<Other> {
    let annotations = workload.pointer("/spec/template/metadata/annotations")?;
    let pins = Pins::of(annotations.get(names::CONFIG)?.as_str());
    let text = |name: &str| workload["metadata"][name].as_str();
    let object = kind.object(text("namespace")?, text("name")?);
    (!pins.is_empty()).then(|| Other::Frozen(object, pins.to_string()))
}
