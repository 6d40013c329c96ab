//! One workload as the API server has it now, and what the engine decides about it: the very function that the manager
//! calls. Reads only.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::api::ListParams;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use trimtab_config::{Known, Source, SourceView};
use trimtab_crds::{Release, ReleasePlan, ReleasePlanStatus};
use trimtab_plan::{Kind, Plan};
use trimtab_release::{PlanView, PodView, ReleaseView, ReplicaSetView, Snapshot, decide};

use crate::{args::Reference, connect::Connection, sources};

/// One workload, and what is decided about it.
pub struct Situation {
    /// When it was seen.
    pub now: Timestamp,
    /// The plan that is asked about.
    pub plan: ReleasePlan,
    /// What the decision sees.
    pub seen: Snapshot,
    /// What it decides.
    pub decided: Plan<Option<ReleasePlanStatus>>,
    /// The pods of all revisions, as they are stored.
    pub pods: Vec<Value>,
    /// The records of its releases, the newest first.
    pub releases: Vec<Release>,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

/// Reads a plan and its workload.
pub async fn read(to: &Connection, reference: &Reference) -> Result<Situation> {
    let plan = to.find(reference).await?;
    let target = plan.spec.target_ref.name.clone();
    let (deployment, sets, plans, releases) = tokio::try_join!(
        get(to, trimtab_crds::names::DEPLOYMENT, &target),
        list::<ReplicaSetView>(to, trimtab_crds::names::REPLICA_SET, ""),
        list::<PlanView>(to, trimtab_crds::names::RELEASE_PLAN, ""),
        list::<Value>(to, trimtab_crds::names::RELEASE, ""),
    )?;
    let pods = match deployment.as_ref().and_then(selector) {
        Some(labels) => list::<Value>(to, trimtab_crds::names::POD, &labels).await?,
        None => vec![],
    };
    let sources = match &deployment {
        Some(deployment) => sources::read(to, deployment).await?,
        None => BTreeMap::new(),
    };
    Parts { plan, deployment, sets, plans, releases, pods, sources }.assemble(Timestamp::now(), &to.namespace)
}

/// The labels that every pod of a Deployment has.
fn selector(deployment: &Value) -> Option<String> {
    let labels = deployment.pointer("/spec/selector/matchLabels")?.as_object()?;
    Some(labels.iter().filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?))).collect::<Vec<_>>().join(","))
}

fn url(namespace: &str, kind: Kind) -> String {
    let base = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    format!("{base}/{}/namespaces/{namespace}/{}", kind.version, kind.plural)
}

pub(crate) async fn get(to: &Connection, kind: Kind, name: &str) -> Result<Option<Value>> {
    let request = kube::core::Request::new(url(&to.namespace, kind)).get(name, &kube::api::GetParams::default())?;
    match to.client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(to.explain(error)),
    }
}

pub(crate) async fn list<T: DeserializeOwned>(to: &Connection, kind: Kind, labels: &str) -> Result<Vec<T>> {
    let request = kube::core::Request::new(url(&to.namespace, kind)).list(&ListParams::default().labels(labels))?;
    let found: List<T> = to.client.request(request).await.map_err(|e| to.explain(e))?;
    Ok(found.items)
}

/// What was read, not yet sorted out.
pub struct Parts {
    /// The plan that is asked about.
    pub plan: ReleasePlan,
    /// The Deployment.
    pub deployment: Option<Value>,
    /// ReplicaSets of the namespace.
    pub sets: Vec<ReplicaSetView>,
    /// Plans of the namespace.
    pub plans: Vec<PlanView>,
    /// Releases of the namespace.
    pub releases: Vec<Value>,
    /// Pods of the workload.
    pub pods: Vec<Value>,
    /// The ConfigMaps and Secrets that it reads.
    pub sources: BTreeMap<Source, Known<SourceView>>,
}

impl Parts {
    /// Sorts out what belongs to the workload, and decides.
    pub fn assemble(self, now: Timestamp, namespace: &str) -> Result<Situation> {
        let target = &self.plan.spec.target_ref.name;
        let uid = self.deployment.as_ref().and_then(|d| d.pointer("/metadata/uid")).and_then(Value::as_str);
        let replica_sets = self.sets.into_iter().filter(|rs| {
            let owner = rs.metadata.controller();
            let owned = owner.is_some_and(|o| o.is(&trimtab_crds::names::DEPLOYMENT) && Some(o.uid.as_str()) == uid);
            owned || rs.metadata.annotation(trimtab_crds::names::CANARY_OF) == Some(target)
        });
        let mine = |release: &&Value| release.pointer("/spec/target").and_then(Value::as_str) == Some(target);
        let mut records: Vec<Release> =
            self.releases.iter().filter(mine).filter_map(|r| serde_json::from_value(r.clone()).ok()).collect();
        records.sort_by_key(|release| std::cmp::Reverse(release.spec.sequence));
        let deployment = self.deployment.clone().map(serde_json::from_value).transpose();
        let seen = Snapshot {
            namespace: namespace.to_owned(),
            name: target.clone(),
            deployment: deployment.context("the Deployment cannot be read")?.map(Arc::new),
            plans: self.plans.into_iter().filter(|p| p.spec.target_ref.name == *target).map(Arc::new).collect(),
            unreadable: vec![],
            replica_sets: replica_sets.map(Arc::new).collect(),
            canary_pods: self
                .pods
                .iter()
                .filter_map(|p| serde_json::from_value::<PodView>(p.clone()).ok())
                .map(Arc::new)
                .collect(),
            releases: self
                .releases
                .iter()
                .filter(mine)
                .filter_map(|r| serde_json::from_value::<ReleaseView>(r.clone()).ok())
                .map(Arc::new)
                .collect(),
            sources: self.sources,
            ..Snapshot::default()
        };
        let decided = decide(now, &seen);
        Ok(Situation { now, plan: self.plan, seen, decided, pods: self.pods, releases: records })
    }
}

impl Situation {
    /// The plan's status as it is stored.
    pub fn status(&self) -> Option<&ReleasePlanStatus> {
        self.plan.status.as_ref()
    }

    /// Name of the plan.
    pub fn name(&self) -> &str {
        self.plan.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether a stored condition is true, and would be if the manager decided now: a status may be a moment old.
    pub fn is(&self, condition: &str) -> bool {
        let holds = |status: Option<&ReleasePlanStatus>| {
            status.is_some_and(|s| s.conditions.iter().any(|c| c.type_ == condition && c.status == "True"))
        };
        holds(self.status()) && (self.decided.status.is_none() || holds(self.decided.status.as_ref()))
    }

    /// What the decision would be after a request.
    pub fn if_asked(&self, request: &str) -> Plan<Option<ReleasePlanStatus>> {
        let mut seen = self.seen.clone();
        for plan in &mut seen.plans {
            if plan.metadata.name == self.name() {
                let mut asked = PlanView::clone(plan);
                asked.metadata.annotations = asked.metadata.annotations.with(trimtab_crds::names::REQUEST, request);
                *plan = Arc::new(asked);
            }
        }
        decide(self.now, &seen)
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({"now": self.now, "seen": self.seen, "decided": self.decided})
    }
}
