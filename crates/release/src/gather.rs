//! What a decision about a workload sees, gathered by one function whoever asks: the manager from its stores, a command from what
//! it has read, tests from a model. Not where objects are found, and not what follows from them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use trimtab_config::{DigestKey, SourceLookup, known_sources};
use trimtab_crds::{CanaryLoad, Track, names};
use trimtab_plan::{Answers, ObjectRef};

use crate::snapshot::names_to_make;
use crate::views::{ConfigPolicyView, DeploymentView, PlanView, PodView, ReleaseView, ReplicaSetView};
use crate::{Proof, Snapshot, UnreadablePlan};

/// Where the objects are found that decisions about workloads see. A workload is named by its Deployment, which need not be there.
pub trait Lookup: SourceLookup {
    /// The Deployment.
    fn deployment(&self, workload: &ObjectRef) -> Option<Arc<DeploymentView>>;

    /// The plans that target it: those of [`targets`].
    fn plans_of(&self, workload: &ObjectRef) -> Vec<Arc<PlanView>>;

    /// A plan that is there and cannot be read.
    fn unreadable_plan(&self, namespace: &str, name: &str) -> Option<UnreadablePlan>;

    /// The ReplicaSets of which [`workloads`] names it.
    fn replica_sets_of(&self, workload: &ObjectRef) -> Vec<Arc<ReplicaSetView>>;

    /// A ReplicaSet, whosever it is.
    fn replica_set(&self, namespace: &str, name: &str) -> Option<Arc<ReplicaSetView>>;

    /// The pods that a ReplicaSet controls.
    fn pods_of(&self, replica_set: &ReplicaSetView) -> Vec<Arc<PodView>>;

    /// The records of its releases: those whose `target` it is.
    fn releases_of(&self, workload: &ObjectRef) -> Vec<Arc<ReleaseView>>;

    /// A record, whosever it is.
    fn release(&self, namespace: &str, name: &str) -> Option<Arc<ReleaseView>>;

    /// The ConfigPolicies of a namespace.
    fn policies(&self, namespace: &str) -> Vec<Arc<ConfigPolicyView>>;

    /// Those that are there and cannot be read, with why.
    fn unreadable_policies(&self, namespace: &str) -> Vec<String>;

    /// How its canary fares, as its autoscaler measured it last.
    fn canary_load(&self, workload: &ObjectRef) -> Option<CanaryLoad>;
}

/// What is told to decisions beside what is there.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How long nothing must have changed before a release with configuration begins.
    pub quiet_period: Duration,
    /// The key under which digests of Secrets are made.
    pub digest_key: DigestKey,
    /// How long the API server's word on the hold is believed. `None`: it is not asked, and the hold is taken to be in force.
    pub proof: Option<Proof>,
}

/// The workload that a plan targets.
pub fn targets(plan: &PlanView) -> ObjectRef {
    names::DEPLOYMENT.object(&plan.metadata.namespace, &plan.spec.target_ref.name)
}

/// The workloads that a ReplicaSet belongs to: its Deployment, and the one that it is or was a canary of.
pub fn workloads(rs: &ReplicaSetView) -> Vec<ObjectRef> {
    let namespace = &rs.metadata.namespace;
    let owner = rs.metadata.controller().filter(|owner| owner.is(&names::DEPLOYMENT)).map(|owner| owner.name.as_str());
    let named = owner.into_iter().chain(rs.metadata.annotation(names::CANARY_OF));
    let mut found: Vec<ObjectRef> = named.map(|name| names::DEPLOYMENT.object(namespace, name)).collect();
    found.dedup();
    found
}

/// What a decision sees of a workload; `None` where there is nothing to decide: nothing targets or guards it.
pub fn gather(workload: &ObjectRef, from: &impl Lookup, settings: &Settings, answers: &Answers) -> Option<Snapshot> {
    let namespace = workload.namespace.as_str();
    let plans = from.plans_of(workload);
    let deployment = from.deployment(workload);
    let guard = deployment.as_ref().and_then(|deployment| deployment.metadata.annotation(names::PLAN));
    let unreadable = unreadable(workload, from, guard);
    if plans.is_empty() && guard.is_none() && unreadable.is_empty() {
        return None;
    }
    let mut replica_sets = from.replica_sets_of(workload);
    let mut releases = from.releases_of(workload);
    if let Some(deployment) = deployment.as_deref().filter(|_| guard.is_some()) {
        add_strangers(from, &names_to_make(deployment, &plans), &mut replica_sets, &mut releases);
    }
    let wanted = deployment.as_ref().map(|deployment| deployment.spec.template.digest.as_str());
    let canary_pods = pods(from, &plans, &replica_sets, wanted);
    let policies = from.policies(namespace);
    let unreadable_policies = from.unreadable_policies(namespace);
    let tracked = plans.iter().any(|plan| plan.spec.config.track != Track::None);
    // Policies are asked about what is read live as well.
    let looked_at = tracked || !policies.is_empty() || !unreadable_policies.is_empty();
    let sources = deployment.as_ref().filter(|_| looked_at).map(|deployment| {
        let template = &deployment.spec.template;
        let pins = replica_sets.iter().map(|rs| &rs.spec.template.config).chain([&template.config]);
        // What keeps stable pods from coming back is looked for in what they read, and in themselves.
        let stable = replica_sets.iter().find(|rs| is_stable_while_released(&plans, rs));
        let reads = [&template.reads].into_iter().chain(stable.map(|rs| &rs.spec.template.reads));
        known_sources(from, namespace, reads, pins, &settings.digest_key)
    });
    Some(Snapshot {
        namespace: namespace.to_owned(),
        name: workload.name.clone(),
        canary_load: from.canary_load(workload),
        sources: sources.unwrap_or_default(),
        quiet_period: settings.quiet_period,
        proof: settings.proof,
        digest_key: settings.digest_key.clone(),
        answers: answers.clone(),
        deployment,
        plans,
        unreadable,
        replica_sets,
        canary_pods,
        releases,
        policies,
        unreadable_policies,
    })
}

/// The plans that cannot be read: the one that guards the Deployment, and the one of its name.
fn unreadable(workload: &ObjectRef, from: &impl Lookup, guard: Option<&str>) -> Vec<UnreadablePlan> {
    let names: BTreeSet<&str> = guard.into_iter().chain([workload.name.as_str()]).collect();
    names.into_iter().filter_map(|name| from.unreadable_plan(&workload.namespace, name)).collect()
}

/// What bears a name that the next release would give, and is not the workload's.
fn add_strangers(
    from: &impl Lookup,
    wanted: &[ObjectRef],
    replica_sets: &mut Vec<Arc<ReplicaSetView>>,
    releases: &mut Vec<Arc<ReleaseView>>,
) {
    for ObjectRef { kind, namespace, name } in wanted {
        if *kind == names::REPLICA_SET {
            let found = from.replica_set(namespace, name);
            replica_sets
                .extend(found.filter(|rs| !replica_sets.iter().any(|own| own.metadata.name == rs.metadata.name)));
        } else {
            let found = from.release(namespace, name);
            releases.extend(found.filter(|one| !releases.iter().any(|own| own.metadata.name == one.metadata.name)));
        }
    }
}

/// Whether a ReplicaSet is the stable one of a release that is under way.
fn is_stable_while_released(plans: &[Arc<PlanView>], rs: &ReplicaSetView) -> bool {
    let stable = plans.iter().find_map(|plan| {
        let status = plan.status.as_ref()?;
        status.release.as_ref()?;
        status.stable.as_ref().map(|stable| stable.replica_set.as_str())
    });
    stable == Some(rs.metadata.name.as_str())
}

/// The pods that a release under way looks at: those of canaries, of what is wanted, and of stable, which may not come back.
fn pods(
    from: &impl Lookup,
    plans: &[Arc<PlanView>],
    replica_sets: &[Arc<ReplicaSetView>],
    wanted: Option<&str>,
) -> Vec<Arc<PodView>> {
    if !plans.iter().any(|plan| plan.status.as_ref().is_some_and(|status| status.release.is_some())) {
        return vec![];
    }
    let looked_at = replica_sets.iter().filter(|rs| {
        rs.metadata.annotations.contains_key(names::CANARY_OF)
            || Some(rs.spec.template.digest.as_str()) == wanted
            || is_stable_while_released(plans, rs)
    });
    looked_at.flat_map(|rs| from.pods_of(rs)).collect()
}
