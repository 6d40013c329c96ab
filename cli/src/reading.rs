//! What was read of a namespace: where the gather of a decision finds its objects, as the manager's finds them in its stores. What
//! it looks for and was not read yet is noted, read, and it gathers again. Reads only, and no value of a source is kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use trimtab_config::{ConfigMapView, SecretView, Source, SourceKind, SourceLookup, SourceView};
use trimtab_crds::{CanaryLoad, names};
use trimtab_plan::{Answers, Kind, ObjectRef, Watched};
use trimtab_release::{
    ConfigPolicyView, DeploymentView, Lookup, PlanView, PodView, ReleaseView, ReplicaSetView, Settings, Snapshot,
    UnreadablePlan, gather, targets, workloads,
};
use trimtab_scale::AutoscalerView;

use crate::connect::{Connection, Final};
use crate::situation::{object_text, objects};

/// So often what a gather looks for is read: the sources, then their copies.
const ROUNDS: usize = 4;
/// The type of the Secrets in which Helm keeps its releases, which the manager does not read.
const HELM: &str = "helm.sh/release.v1";

/// What was read.
#[derive(Default)]
pub struct Reading {
    deployment: Option<Arc<DeploymentView>>,
    plans: Vec<Arc<PlanView>>,
    unreadable_plans: Vec<trimtab::Unreadable>,
    replica_sets: Vec<Arc<ReplicaSetView>>,
    releases: Vec<Arc<ReleaseView>>,
    pods: Vec<Arc<PodView>>,
    policies: Vec<Arc<ConfigPolicyView>>,
    unreadable_policies: Vec<trimtab::Unreadable>,
    autoscalers: Vec<Arc<AutoscalerView>>,
    copies: Vec<SourceView>,
    /// Secrets may not be read: they are left alone.
    without_secrets: bool,
    sources: BTreeMap<Source, Found>,
    missed: RefCell<BTreeSet<Source>>,
}

/// What there is in the place of a source.
enum Found {
    Object(SourceView),
    /// A Secret of a type that is not read.
    Unread,
    Nothing,
}

/// Objects as watches read them, and those that cannot be read.
fn read<T: Watched>(objects: &[Box<RawValue>]) -> (Vec<Arc<T>>, Vec<trimtab::Unreadable>) {
    let (mut read, mut unreadable) = (vec![], vec![]);
    for object in objects {
        match trimtab::read_object::<T>(object.get().as_bytes()) {
            Ok(object) => read.push(Arc::new(object)),
            Err(unread) => unreadable.extend(unread.map(|unread| *unread)),
        }
    }
    (read, unreadable)
}

/// The same of kinds that are not everywhere, or that not everybody may list: none then.
async fn if_there(to: &Connection, kind: Kind) -> Result<Vec<Box<RawValue>>> {
    match objects(to, kind, "").await {
        Err(error) if error.is::<Final>() => Ok(vec![]),
        found => found,
    }
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type", default)]
    type_: String,
}

fn found(kind: SourceKind, object: &RawValue) -> Found {
    let bytes = object.get().as_bytes();
    let view = match kind {
        SourceKind::ConfigMap => {
            trimtab::read_object::<ConfigMapView>(bytes).ok().map(|map| SourceView::ConfigMap(Arc::new(map)))
        }
        SourceKind::Secret => {
            let is_helms = serde_json::from_slice::<Typed>(bytes).is_ok_and(|typed| typed.type_ == HELM);
            let view = trimtab::read_object::<SecretView>(bytes).ok().filter(|_| !is_helms);
            view.map(|secret| SourceView::Secret(Arc::new(secret)))
        }
    };
    view.map_or(Found::Unread, Found::Object)
}

impl Reading {
    /// Reads what concerns a workload, but its sources; the pods that it selects and the Releases are given too, as they came.
    pub async fn of(to: &Connection, target: &str) -> Result<(Self, [Vec<Box<RawValue>>; 2])> {
        let (deployment, sets, plans, releases, policies, autoscalers) = tokio::try_join!(
            object_text(to, names::DEPLOYMENT, target),
            objects(to, names::REPLICA_SET, ""),
            objects(to, names::RELEASE_PLAN, ""),
            objects(to, names::RELEASE, ""),
            if_there(to, names::CONFIG_POLICY),
            if_there(to, names::AUTOSCALER),
        )?;
        let pods = match deployment.as_deref().and_then(selector) {
            Some(labels) => objects(to, names::POD, &labels).await?,
            None => vec![],
        };
        let mut reading = Self::from(deployment.as_deref(), &sets, &plans, &pods)?;
        reading.releases = read(&releases).0;
        (reading.policies, reading.unreadable_policies) = read(&policies);
        reading.autoscalers = read(&autoscalers).0;
        Ok((reading, [pods, releases]))
    }

    /// The same of what was read already.
    pub fn from(
        deployment: Option<&RawValue>,
        sets: &[Box<RawValue>],
        plans: &[Box<RawValue>],
        pods: &[Box<RawValue>],
    ) -> Result<Self> {
        let deployment = deployment.map(|text| trimtab::read_object::<DeploymentView>(text.get().as_bytes()));
        let deployment = deployment.transpose().ok().context("the Deployment cannot be read")?.map(Arc::new);
        let (plans, unreadable_plans) = read(plans);
        let (replica_sets, pods) = (read(sets).0, read(pods).0);
        Ok(Self { deployment, plans, unreadable_plans, replica_sets, pods, ..Self::default() })
    }

    /// What a decision sees, with the sources that it looks for.
    pub async fn gather(&mut self, to: &Connection, workload: &ObjectRef) -> Result<Option<Snapshot>> {
        let mut copies_of = BTreeSet::new();
        for _ in 0..ROUNDS {
            let seen = self.seen(workload);
            let missed = std::mem::take(self.missed.get_mut());
            if missed.is_empty() {
                return Ok(seen);
            }
            for source in missed {
                if copies_of.insert(source.kind) {
                    self.read_copies(to, source.kind).await?;
                }
                self.read_source(to, source).await?;
            }
        }
        Ok(self.seen(workload))
    }

    /// What a decision sees by what was read so far.
    pub fn seen(&self, workload: &ObjectRef) -> Option<Snapshot> {
        // How long the manager waits for further changes, and its key for digests of Secrets, are the manager's alone. Equal contents
        // are found to be equal without the key.
        gather(workload, self, &Settings::default(), &Answers::new())
    }

    async fn read_copies(&mut self, to: &Connection, kind: SourceKind) -> Result<()> {
        match objects(to, kind.kind(), names::COPY_LABEL).await {
            Ok(copies) => {
                let views = copies.iter().filter_map(|copy| match found(kind, copy) {
                    Found::Object(view) => Some(view),
                    _ => None,
                });
                self.copies.extend(views);
            }
            Err(error) => self.leave_alone(kind, error)?,
        }
        Ok(())
    }

    async fn read_source(&mut self, to: &Connection, source: Source) -> Result<()> {
        let object = match object_text(to, source.kind.kind(), &source.name).await {
            Ok(object) => object,
            Err(error) => return self.leave_alone(source.kind, error),
        };
        let found = object.as_deref().map_or(Found::Nothing, |object| found(source.kind, object));
        self.sources.insert(source, found);
        Ok(())
    }

    /// Secrets that the caller may not read are left alone.
    fn leave_alone(&mut self, kind: SourceKind, error: anyhow::Error) -> Result<()> {
        if kind != SourceKind::Secret || !error.is::<Final>() {
            return Err(error);
        }
        self.without_secrets = true;
        Ok(())
    }

    fn at(&self, kind: SourceKind, name: &str) -> Option<&Found> {
        let source = Source { kind, name: name.to_owned() };
        let found = self.sources.get(&source);
        if found.is_none() {
            self.missed.borrow_mut().insert(source);
        }
        found
    }
}

/// The labels that every pod of a Deployment has.
fn selector(deployment: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        selector: Selector,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Selector {
        match_labels: BTreeMap<String, String>,
    }
    let labels = serde_json::from_str::<Object>(deployment.get()).ok()?.spec.selector.match_labels;
    Some(labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
}

impl SourceLookup for Reading {
    fn looks_at(&self, kind: SourceKind) -> bool {
        kind != SourceKind::Secret || !self.without_secrets
    }

    fn source(&self, kind: SourceKind, _: &str, name: &str) -> Option<SourceView> {
        match self.at(kind, name)? {
            Found::Object(view) => Some(view.clone()),
            _ => None,
        }
    }

    fn copies(&self, _: &str, source: &Source) -> Vec<SourceView> {
        self.copies.iter().filter(|copy| copy.as_ref().copy_of().as_ref() == Some(source)).cloned().collect()
    }

    fn is_unread(&self, kind: SourceKind, _: &str, name: &str) -> bool {
        matches!(self.at(kind, name), Some(Found::Unread))
    }
}

impl Lookup for Reading {
    fn deployment(&self, _: &ObjectRef) -> Option<Arc<DeploymentView>> {
        self.deployment.clone()
    }

    fn plans_of(&self, workload: &ObjectRef) -> Vec<Arc<PlanView>> {
        self.plans.iter().filter(|plan| targets(plan) == *workload).cloned().collect()
    }

    fn unreadable_plan(&self, _: &str, name: &str) -> Option<UnreadablePlan> {
        let plan = self.unreadable_plans.iter().find(|plan| plan.meta.name == name)?;
        let trimtab::Unreadable { meta, error, conditions } = plan;
        Some(UnreadablePlan { metadata: meta.clone(), error: error.clone(), conditions: conditions.clone() })
    }

    fn replica_sets_of(&self, workload: &ObjectRef) -> Vec<Arc<ReplicaSetView>> {
        self.replica_sets.iter().filter(|rs| workloads(rs).contains(workload)).cloned().collect()
    }

    fn replica_set(&self, _: &str, name: &str) -> Option<Arc<ReplicaSetView>> {
        self.replica_sets.iter().find(|rs| rs.metadata.name == name).cloned()
    }

    fn pods_of(&self, replica_set: &ReplicaSetView) -> Vec<Arc<PodView>> {
        let own =
            |pod: &&Arc<PodView>| pod.metadata.controller().is_some_and(|owner| owner.uid == replica_set.metadata.uid);
        self.pods.iter().filter(own).cloned().collect()
    }

    fn releases_of(&self, workload: &ObjectRef) -> Vec<Arc<ReleaseView>> {
        self.releases.iter().filter(|release| release.spec.target == workload.name).cloned().collect()
    }

    fn release(&self, _: &str, name: &str) -> Option<Arc<ReleaseView>> {
        self.releases.iter().find(|release| release.metadata.name == name).cloned()
    }

    fn policies(&self, _: &str) -> Vec<Arc<ConfigPolicyView>> {
        self.policies.clone()
    }

    fn unreadable_policies(&self, _: &str) -> Vec<String> {
        let told = |policy: &trimtab::Unreadable| format!("{} cannot be read: {}", policy.meta.name, policy.error);
        self.unreadable_policies.iter().map(told).collect()
    }

    fn canary_load(&self, workload: &ObjectRef) -> Option<CanaryLoad> {
        let own = |one: &&Arc<AutoscalerView>| one.deployment().as_ref() == Some(workload);
        self.autoscalers.iter().filter(own).find_map(|one| one.canary_load().cloned())
    }
}
