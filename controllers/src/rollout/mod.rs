//! The release controller: wakes workloads, gathers their snapshots, and leaves every decision to `trimtab-release`.

mod key;
mod proofs;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use trimtab::{Controller, Key, Permission, Selector, Store, Unreadable, Watches};
use trimtab_config::{DigestKey, Source, SourceKind, SourceLookup, SourceView};
use trimtab_crds::{CanaryLoad, ReleasePlanStatus, names};
use trimtab_plan::{Answers, Meta, ObjectRef, Outcome, Plan, StatusWrite};
use trimtab_release::{
    ConfigPolicyView, DeploymentView, Held, Lookup, PlanView, PodView, ReleaseView, ReplicaSetView, Settings, Snapshot,
    UnreadablePlan, gather, held, pod_failure,
};
use trimtab_scale::AutoscalerView;

pub use key::Workload;

use crate::sources::{self, Sources};
use proofs::Proofs;

/// The release controller.
#[derive(Debug)]
pub struct Rollout {
    plans: Store<PlanView>,
    deployments: Store<DeploymentView>,
    replica_sets: Store<ReplicaSetView>,
    pods: Store<PodView>,
    releases: Store<ReleaseView>,
    policies: Store<ConfigPolicyView>,
    autoscalers: Store<AutoscalerView>,
    sources: Sources,
    proofs: Proofs,
    options: Options,
}

/// How the release controller is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long nothing must have changed before a release with configuration begins.
    pub quiet_period: Duration,
    /// The key under which digests of Secrets are made.
    pub digest_key: DigestKey,
    /// Whether Secrets are read and copied.
    pub secrets: bool,
}

impl Rollout {
    /// Declares what is watched.
    pub fn new(watches: &mut Watches<Workload>, options: Options) -> Self {
        let (proofs, waker) = (Proofs::default(), watches.waker());
        let answered = proofs.clone();
        let plans = watches
            .watch::<PlanView>(Selector::default())
            .hears(move |heard| answered.heard(heard, &waker))
            .index("target", |plan| vec![Workload::of_plan(plan).to_string()])
            .wakes(|plan| vec![Workload::of_plan(plan)])
            // Of a plan that cannot be read the target is not known, but some key has to tell it.
            .wakes_unreadable(|plan| vec![Workload::new(&plan.namespace, &plan.name)])
            .store();
        proofs.of(&plans);
        let deployments = watches
            .watch::<DeploymentView>(Selector::default())
            .urgent_when(begins_a_release)
            // The text of an unguarded Deployment's template is not kept: nothing is found in it.
            .index("source", |d| sources::ids(&d.metadata.namespace, &d.spec.template.reads))
            .wakes(|deployment| vec![Workload::new(&deployment.metadata.namespace, &deployment.metadata.name)])
            .store();
        let replica_sets = watches
            .watch::<ReplicaSetView>(Selector::default())
            .index("workload", |rs| workloads(rs).iter().map(ToString::to_string).collect())
            .wakes(workloads)
            .store();
        let sets = replica_sets.clone();
        let pods = watches
            .watch::<PodView>(Selector::labels(names::POD_TEMPLATE_HASH))
            .index("owner", |pod| pod.metadata.controller().map(|owner| owner.uid.clone()).into_iter().collect())
            .wakes(move |pod| workloads_of_pod(&sets, pod))
            .store();
        let releases = watches
            .watch::<ReleaseView>(Selector::default())
            .index("workload", |release| vec![Workload::of_release(release).to_string()])
            .wakes(|release| vec![Workload::of_release(release)])
            .store();
        let readers = deployments.clone();
        let sources = Sources::new(watches, options.secrets, move |source| {
            let found = readers.by_index("source", source);
            found.iter().map(|d| Workload::new(&d.metadata.namespace, &d.metadata.name)).collect()
        });
        let guarded = plans.clone();
        let beside = move |policy: &Meta| {
            let plans = guarded.list_namespace(&policy.namespace);
            plans.iter().map(|plan| Workload::of_plan(plan)).collect::<Vec<Workload>>()
        };
        let beside_unreadable = beside.clone();
        let policies = watches
            .watch::<ConfigPolicyView>(Selector::default())
            .wakes(move |policy| beside(&policy.metadata))
            .wakes_unreadable(beside_unreadable)
            .store();
        let autoscalers = watches
            .watch::<AutoscalerView>(Selector::default())
            .index("deployment", |autoscaler| scaled(autoscaler).iter().map(ToString::to_string).collect())
            .wakes(|autoscaler| if autoscaler.canary_load().is_some() { scaled(autoscaler) } else { vec![] })
            .store();
        Self { plans, deployments, replica_sets, pods, releases, policies, autoscalers, sources, proofs, options }
    }
}

/// The workload that an autoscaler scales.
fn scaled(autoscaler: &AutoscalerView) -> Vec<Workload> {
    let of = autoscaler.deployment();
    of.iter().map(|of| Workload::new(&of.namespace, &of.name)).collect()
}

/// Whether a change is the first of a release: its canary goes before the later steps of others.
fn begins_a_release(old: Option<&DeploymentView>, new: &DeploymentView) -> bool {
    let held = matches!(held(new), Held::By { .. });
    held && old.is_none_or(|old| old.spec.template.digest != new.spec.template.digest)
}

/// The workloads that a ReplicaSet belongs to.
fn workloads(rs: &ReplicaSetView) -> Vec<Workload> {
    trimtab_release::workloads(rs).iter().map(|of| Workload::new(&of.namespace, &of.name)).collect()
}

/// A pod matters where it is a canary's, or in trouble: availability is read from the ReplicaSets. One that has stopped serving says why
/// there are fewer available, which its ReplicaSet may have told before it.
fn workloads_of_pod(sets: &Store<ReplicaSetView>, pod: &PodView) -> Vec<Workload> {
    let Some(owner) = pod.metadata.controller().filter(|owner| owner.is(&names::REPLICA_SET)) else { return vec![] };
    let Some(rs) = sets.get(&pod.metadata.namespace, &owner.name) else { return vec![] };
    let canary = rs.metadata.annotations.contains_key(names::CANARY_OF);
    let in_trouble = pod_failure(pod).is_some() || pod.status.has_stopped_serving();
    if canary || in_trouble { workloads(&rs) } else { vec![] }
}

/// A workload, as indexes have it.
fn id(workload: &ObjectRef) -> String {
    Workload::new(&workload.namespace, &workload.name).to_string()
}

impl SourceLookup for Rollout {
    fn looks_at(&self, kind: SourceKind) -> bool {
        self.sources.looks_at(kind)
    }

    fn source(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<SourceView> {
        self.sources.source(kind, namespace, name)
    }

    fn copies(&self, namespace: &str, source: &Source) -> Vec<SourceView> {
        self.sources.copies(namespace, source)
    }

    fn is_unread(&self, kind: SourceKind, namespace: &str, name: &str) -> bool {
        self.sources.is_unread(kind, namespace, name)
    }
}

impl Lookup for Rollout {
    fn deployment(&self, workload: &ObjectRef) -> Option<Arc<DeploymentView>> {
        self.deployments.get(&workload.namespace, &workload.name)
    }

    fn plans_of(&self, workload: &ObjectRef) -> Vec<Arc<PlanView>> {
        self.plans.by_index("target", &id(workload))
    }

    fn unreadable_plan(&self, namespace: &str, name: &str) -> Option<UnreadablePlan> {
        let plan = self.plans.unreadable(namespace, name)?;
        let Unreadable { meta, error, conditions } = &*plan;
        Some(UnreadablePlan { metadata: meta.clone(), error: error.clone(), conditions: conditions.clone() })
    }

    fn replica_sets_of(&self, workload: &ObjectRef) -> Vec<Arc<ReplicaSetView>> {
        self.replica_sets.by_index("workload", &id(workload))
    }

    fn replica_set(&self, namespace: &str, name: &str) -> Option<Arc<ReplicaSetView>> {
        self.replica_sets.get(namespace, name)
    }

    fn pods_of(&self, replica_set: &ReplicaSetView) -> Vec<Arc<PodView>> {
        self.pods.by_index("owner", &replica_set.metadata.uid)
    }

    fn releases_of(&self, workload: &ObjectRef) -> Vec<Arc<ReleaseView>> {
        self.releases.by_index("workload", &id(workload))
    }

    fn release(&self, namespace: &str, name: &str) -> Option<Arc<ReleaseView>> {
        self.releases.get(namespace, name)
    }

    fn policies(&self, namespace: &str) -> Vec<Arc<ConfigPolicyView>> {
        self.policies.list_namespace(namespace)
    }

    fn unreadable_policies(&self, namespace: &str) -> Vec<String> {
        let found = self.policies.unreadable_in(namespace);
        found.iter().map(|policy| format!("{} cannot be read: {}", policy.meta.name, policy.error)).collect()
    }

    fn canary_load(&self, workload: &ObjectRef) -> Option<CanaryLoad> {
        self.autoscalers.by_index("deployment", &id(workload)).iter().find_map(|one| one.canary_load().cloned())
    }
}

impl Controller for Rollout {
    const NAME: &'static str = "release";
    type Key = Workload;
    type Snapshot = Snapshot;
    type Status = Option<ReleasePlanStatus>;

    fn permissions(&self) -> Vec<Permission> {
        let mut needed = vec![
            Permission { group: "apps", resource: "deployments", verbs: &["patch"] },
            Permission { group: "apps", resource: "replicasets", verbs: &["create", "patch", "delete"] },
            // Never more than asked about: what would become of a pod tells whether configuration is frozen.
            Permission { group: "", resource: "pods", verbs: &["create"] },
            // An undo asks for the template that a record keeps.
            Permission { group: names::GROUP, resource: "releases", verbs: &["get", "create", "delete"] },
            Permission { group: names::GROUP, resource: "releases/status", verbs: &["patch"] },
            Permission { group: names::GROUP, resource: "releaseplans/status", verbs: &["patch"] },
            // To set blockOwnerDeletion on what a plan or a Deployment owns.
            Permission { group: names::GROUP, resource: "releaseplans/finalizers", verbs: &["update"] },
            Permission { group: "apps", resource: "deployments/finalizers", verbs: &["update"] },
        ];
        needed.extend(sources::copying(self.options.secrets));
        needed
    }

    fn gather(&self, key: &Workload, answers: &Answers) -> Option<Snapshot> {
        let settings = Settings {
            quiet_period: self.options.quiet_period,
            digest_key: self.options.digest_key.clone(),
            proof: Some(self.proofs.now()),
        };
        gather(&key.object(), self, &settings, answers)
    }

    fn concerns(seen: &Snapshot) -> Vec<ObjectRef> {
        let plans = seen.plans.iter().map(|plan| &plan.metadata);
        let unreadable = seen.unreadable.iter().map(|plan| &plan.metadata);
        plans.chain(unreadable).map(|plan| plan.object(names::RELEASE_PLAN)).collect()
    }

    fn decide(now: Timestamp, seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
        trimtab_release::decide(now, seen)
    }

    fn conclude(
        now: Timestamp,
        seen: &Snapshot,
        plan: &Plan<Option<ReleasePlanStatus>>,
        outcome: &Outcome,
    ) -> Option<StatusWrite> {
        trimtab_release::conclude(now, seen, plan, outcome)
    }
}
