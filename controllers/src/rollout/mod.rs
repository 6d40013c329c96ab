//! The release controller: wakes workloads, gathers their snapshots, and leaves every decision to `trimtab-release`.

mod key;
mod proofs;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use trimtab::{Controller, Permission, Selector, Store, Unreadable, Watches};
use trimtab_config::DigestKey;
use trimtab_crds::{CanaryLoad, ReleasePlanStatus, Track, names};
use trimtab_plan::{Answers, Meta, ObjectRef, Outcome, Plan, StatusWrite};
use trimtab_release::{
    ConfigPolicyView, DeploymentView, Held, PlanView, PodView, ReleaseView, ReplicaSetView, Snapshot, UnreadablePlan,
    held, names_to_make, pod_failure,
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
            .wakes(|autoscaler| if load_of(autoscaler).is_some() { scaled(autoscaler) } else { vec![] })
            .store();
        Self { plans, deployments, replica_sets, pods, releases, policies, autoscalers, sources, proofs, options }
    }
}

/// The Deployment that an autoscaler scales.
fn scaled(autoscaler: &AutoscalerView) -> Vec<Workload> {
    let target = &autoscaler.spec.target_ref;
    let is = target.kind == names::DEPLOYMENT.kind && target.api_version.starts_with("apps/");
    is.then(|| Workload::new(&autoscaler.metadata.namespace, &target.name)).into_iter().collect()
}

/// How a canary fares, as an autoscaler measured it last.
fn load_of(autoscaler: &AutoscalerView) -> Option<&CanaryLoad> {
    autoscaler.status.as_ref()?.decision.as_ref()?.canary.as_ref()
}

/// Whether a change is the first of a release: its canary goes before the later steps of others.
fn begins_a_release(old: Option<&DeploymentView>, new: &DeploymentView) -> bool {
    let held = matches!(held(new), Held::By { .. });
    held && old.is_none_or(|old| old.spec.template.digest != new.spec.template.digest)
}

/// The workloads that a ReplicaSet belongs to: its Deployment, and the one that it is or was a canary of.
fn workloads(rs: &ReplicaSetView) -> Vec<Workload> {
    let namespace = &rs.metadata.namespace;
    let owner = rs.metadata.controller().filter(|owner| owner.is(&names::DEPLOYMENT)).map(|owner| owner.name.as_str());
    let mut found: Vec<Workload> = owner
        .into_iter()
        .chain(rs.metadata.annotation(names::CANARY_OF))
        .map(|name| Workload::new(namespace, name))
        .collect();
    found.dedup();
    found
}

/// Name of the stable ReplicaSet, while a release is under way.
fn stable_set_while_released(plan: &PlanView) -> Option<&str> {
    let status = plan.status.as_ref()?;
    status.release.as_ref()?;
    status.stable.as_ref().map(|stable| stable.replica_set.as_str())
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

impl Rollout {
    /// The plans that cannot be read: the one that guards the Deployment, and the one of its name.
    fn unreadable(&self, key: &Workload, deployment: Option<&DeploymentView>) -> Vec<UnreadablePlan> {
        let guard = deployment.and_then(|deployment| deployment.metadata.annotation(names::PLAN));
        let names: BTreeSet<&str> = guard.into_iter().chain([key.name.as_str()]).collect();
        let found = names.into_iter().filter_map(|name| self.plans.unreadable(&key.namespace, name));
        let told = |plan: Arc<Unreadable>| UnreadablePlan {
            metadata: plan.meta.clone(),
            error: plan.error.clone(),
            conditions: plan.conditions.clone(),
        };
        found.map(told).collect()
    }

    /// What bears a name that the next release would give, and is not the workload's.
    fn add_strangers(
        &self,
        deployment: &DeploymentView,
        plans: &[Arc<PlanView>],
        replica_sets: &mut Vec<Arc<ReplicaSetView>>,
        releases: &mut Vec<Arc<ReleaseView>>,
    ) {
        for wanted in names_to_make(deployment, plans) {
            let (namespace, name) = (&wanted.namespace, &wanted.name);
            if wanted.kind == names::REPLICA_SET {
                let found = self.replica_sets.get(namespace, name);
                replica_sets
                    .extend(found.filter(|rs| !replica_sets.iter().any(|own| own.metadata.name == rs.metadata.name)));
            } else {
                let found = self.releases.get(namespace, name);
                releases.extend(found.filter(|one| !releases.iter().any(|own| own.metadata.name == one.metadata.name)));
            }
        }
    }

    fn unreadable_policies(&self, namespace: &str) -> Vec<String> {
        let found = self.policies.unreadable_in(namespace);
        found.iter().map(|policy| format!("{} cannot be read: {}", policy.meta.name, policy.error)).collect()
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
        let id = key.to_string();
        let plans = self.plans.by_index("target", &id);
        let deployment = self.deployments.get(&key.namespace, &key.name);
        let guarded = deployment.as_ref().is_some_and(|d| d.metadata.annotations.contains_key(names::PLAN));
        let unreadable = self.unreadable(key, deployment.as_deref());
        if plans.is_empty() && !guarded && unreadable.is_empty() {
            return None;
        }
        let mut replica_sets = self.replica_sets.by_index("workload", &id);
        let mut releases = self.releases.by_index("workload", &id);
        if let Some(deployment) = deployment.as_deref().filter(|_| guarded) {
            self.add_strangers(deployment, &plans, &mut replica_sets, &mut releases);
        }
        let running = plans.iter().any(|plan| plan.status.as_ref().is_some_and(|status| status.release.is_some()));
        let wanted = deployment.as_ref().map(|d| d.spec.template.digest.as_str());
        // What keeps stable pods from coming back is looked for in what they read, and in themselves.
        let returning = plans.iter().find_map(|plan| stable_set_while_released(plan));
        let stable = replica_sets.iter().find(|rs| Some(rs.metadata.name.as_str()) == returning);
        let canary_pods = replica_sets
            .iter()
            .filter(|rs| {
                running
                    && (rs.metadata.annotations.contains_key(names::CANARY_OF)
                        || Some(rs.spec.template.digest.as_str()) == wanted
                        || Some(rs.metadata.name.as_str()) == returning)
            })
            .flat_map(|rs| self.pods.by_index("owner", &rs.metadata.uid))
            .collect();
        let policies = self.policies.list_namespace(&key.namespace);
        let unreadable_policies = self.unreadable_policies(&key.namespace);
        let tracked = plans.iter().any(|plan| plan.spec.config.track != Track::None);
        // Policies are asked about what is read live as well.
        let looked_at = tracked || !policies.is_empty() || !unreadable_policies.is_empty();
        let sources = deployment.as_ref().filter(|_| looked_at).map(|deployment| {
            let template = &deployment.spec.template;
            let pins = replica_sets.iter().map(|rs| &rs.spec.template.config).chain([&template.config]);
            let reads = [&template.reads].into_iter().chain(stable.map(|rs| &rs.spec.template.reads));
            self.sources.gather(&key.namespace, reads, pins, &self.options.digest_key)
        });
        Some(Snapshot {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            deployment,
            plans,
            unreadable,
            replica_sets,
            canary_pods,
            releases,
            policies,
            unreadable_policies,
            sources: sources.unwrap_or_default(),
            canary_load: self.autoscalers.by_index("deployment", &id).iter().find_map(|one| load_of(one)).cloned(),
            quiet_period: self.options.quiet_period,
            proof: Some(self.proofs.now()),
            digest_key: self.options.digest_key.clone(),
            answers: answers.clone(),
        })
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
