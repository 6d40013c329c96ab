//! What a snapshot means: who owns what, what is held, which revision is which. Facts only; no decision is taken here.

use jiff::Timestamp;
use trimtab_crds::{
    Progress, ReleasePlanStatus,
    mark::{self, Mark},
    names,
};
use trimtab_plan::{ObjectRef, OwnerRef};

use crate::{
    Snapshot, Template,
    arithmetic::limits,
    views::{DeploymentView, PlanView, PodView, ReplicaSetView, Terminated},
};

/// The largest size that a Deployment is woken to.
const MOST: i32 = 1_000_000;

/// Whether a Deployment's change is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Nothing is held.
    No,
    /// The last change was released.
    Released,
    /// A change is held.
    By {
        /// Who made it.
        who: String,
        /// Whether a person had paused the Deployment before.
        person_paused: bool,
    },
}

/// One workload with its plan, as a decision reads it.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) now: Timestamp,
    pub(crate) seen: &'a Snapshot,
    pub(crate) deployment: &'a DeploymentView,
    pub(crate) plan: &'a PlanView,
    /// Digest of the Deployment's template.
    pub(crate) digest: &'a str,
    /// The Deployment's size.
    pub(crate) replicas: i32,
    pub(crate) max_unavailable: i32,
}

impl<'a> World<'a> {
    pub(crate) fn new(now: Timestamp, seen: &'a Snapshot, deployment: &'a DeploymentView, plan: &'a PlanView) -> Self {
        let replicas = deployment.spec.replicas.max(0);
        let (_, max_unavailable) = rolling_limits(deployment);
        let digest = deployment.spec.template.digest.as_str();
        Self { now, seen, deployment, plan, digest, replicas, max_unavailable }
    }

    pub(crate) fn deployment_ref(&self) -> ObjectRef {
        self.deployment.metadata.object(names::DEPLOYMENT)
    }

    pub(crate) fn plan_ref(&self) -> ObjectRef {
        self.plan.metadata.object(names::RELEASE_PLAN)
    }

    pub(crate) fn held(&self) -> Held {
        held(self.deployment)
    }

    /// Whether a change is held, and no person's pause is the reason.
    pub(crate) fn holds_a_change(&self) -> bool {
        matches!(self.held(), Held::By { person_paused: false, .. })
    }

    /// Whether a change is held and the Deployment is paused for it, whoever had paused it before.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.held(), Held::By { .. }) && self.deployment.spec.paused
    }

    /// How many replicas the write asked for that changed the template of what sleeps. A note is believed only where a change is held: it
    /// is of that.
    pub(crate) fn wish(&self) -> Option<i32> {
        let size = noted_size(self.deployment).filter(|_| self.is_stopped());
        size.filter(|size| self.replicas == 0 && (1..=MOST).contains(size))
    }

    /// Whether changes of the Deployment are held: it names a plan, and has not opted out.
    pub(crate) fn is_guarded(&self) -> bool {
        self.deployment.metadata.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty())
    }

    /// Whether the Deployment's controller has seen its latest spec.
    pub(crate) fn observed(&self) -> bool {
        self.deployment.status.observed_generation >= self.deployment.metadata.generation
    }

    /// Whether the Deployment runs nothing but available pods of its template.
    pub(crate) fn complete(&self) -> bool {
        let status = &self.deployment.status;
        self.observed()
            && status.updated_replicas == self.replicas
            && status.replicas == self.replicas
            && status.available_replicas == self.replicas
    }

    /// Whether the Deployment's rollout is over: it runs nothing but pods of its template, and all of them were available once.
    pub(crate) fn rolled_out(&self) -> bool {
        let alone = || self.owned().all(|rs| rs.spec.template.digest == self.digest || rs.spec.replicas == 0);
        self.complete() || (self.deployment.is_rolled_out() && alone())
    }

    pub(crate) fn replica_set(&self, name: &str) -> Option<&'a ReplicaSetView> {
        self.seen.replica_sets.iter().map(AsRef::as_ref).find(|rs| rs.metadata.name == name)
    }

    pub(crate) fn owned_by_deployment(&self, rs: &ReplicaSetView) -> bool {
        rs.metadata.controller().is_some_and(|owner| owner.uid == self.deployment.metadata.uid)
    }

    pub(crate) fn owned_by_plan(&self, rs: &ReplicaSetView) -> bool {
        rs.metadata.controller().is_some_and(|owner| owner.uid == self.plan.metadata.uid)
    }

    /// The ReplicaSets of the plan: canaries.
    pub(crate) fn replica_sets_of_plan(&self) -> impl Iterator<Item = &'a ReplicaSetView> + '_ {
        self.seen.replica_sets.iter().map(AsRef::as_ref).filter(|rs| self.owned_by_plan(rs))
    }

    /// The ReplicaSets of the Deployment.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &'a ReplicaSetView> + '_ {
        self.seen.replica_sets.iter().map(AsRef::as_ref).filter(|rs| self.owned_by_deployment(rs))
    }

    /// Whether the numbers of all the Deployment's ReplicaSets are current, with no pod still to be removed. Its
    /// controller trusts them: it must not roll while pods are counted that are going.
    pub(crate) fn calm(&self) -> bool {
        self.owned()
            .all(|rs| rs.status.observed_generation >= rs.metadata.generation && rs.status.replicas <= rs.spec.replicas)
    }

    /// Whether the Deployment runs nothing but this ReplicaSet, and all pods that it asks for are available.
    pub(crate) fn is_all_that_runs(&self, rs: &ReplicaSetView) -> bool {
        let alone = self.owned().all(|other| other.metadata.uid == rs.metadata.uid || other.spec.replicas == 0);
        let seen = rs.status.observed_generation >= rs.metadata.generation;
        alone && seen && rs.spec.replicas.min(rs.status.available_replicas) >= self.replicas
    }

    /// The Deployment's own ReplicaSet for a template; the oldest of equals, as its controller picks.
    pub(crate) fn owned_with(&self, digest: &str) -> Option<&'a ReplicaSetView> {
        self.owned()
            .filter(|rs| rs.spec.template.digest == digest && rs.metadata.deletion_timestamp.is_none())
            .min_by_key(|rs| (rs.metadata.creation_timestamp, rs.metadata.name.as_str()))
    }

    /// Digest of the stable revision, as the plan's status has it. A ReplicaSet is anybody's to change who may change
    /// Deployments: a held change is compared with what was recorded.
    ///
    /// An upgraded API server may fill in new defaults, in the Deployment and in the ReplicaSet alike, and that is no
    /// change: where nothing is held, a template that both have is what is stable.
    pub(crate) fn stable_digest(&self, status: &'a ReleasePlanStatus) -> Option<&'a str> {
        let stable = status.stable.as_ref()?;
        let held = matches!(self.held(), Held::By { .. });
        let as_stored = !held && self.stable_set(status).is_some_and(|rs| rs.spec.template.digest == self.digest);
        Some(if as_stored { self.digest } else { &stable.digest })
    }

    /// The stable ReplicaSet, where it does not hold what was recorded as stable, and the held change is what it holds.
    pub(crate) fn changed_alike(&self, status: &ReleasePlanStatus) -> Option<&'a ReplicaSetView> {
        let recorded = status.stable.as_ref()?.digest.as_str();
        self.stable_set(status).filter(|rs| recorded != self.digest && rs.spec.template.digest == self.digest)
    }

    pub(crate) fn stable_set(&self, status: &ReleasePlanStatus) -> Option<&'a ReplicaSetView> {
        status.stable.as_ref().and_then(|stable| self.replica_set(&stable.replica_set))
    }

    pub(crate) fn canary_set(&self, progress: &Progress) -> Option<&'a ReplicaSetView> {
        progress.canary.as_ref().and_then(|canary| self.replica_set(&canary.replica_set))
    }

    /// The ReplicaSet of the new revision, wherever it stands: the canary, or what the Deployment made by itself, also
    /// after it was taken back from the Deployment.
    pub(crate) fn new_set(&self, progress: &Progress) -> Option<&'a ReplicaSetView> {
        let taken = || self.replica_sets_of_plan().find(|rs| rs.spec.template.digest == progress.digest);
        self.canary_set(progress).or_else(|| self.owned_with(&progress.digest)).or_else(taken)
    }

    pub(crate) fn pods_of<'b>(&'b self, rs: &'b ReplicaSetView) -> impl Iterator<Item = &'a PodView> + 'b {
        self.seen.canary_pods.iter().map(AsRef::as_ref).filter(move |pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.metadata.controller().is_some_and(|owner| owner.uid == rs.metadata.uid)
        })
    }

    /// The change in a person's words: its images, or its digest where they say nothing.
    pub(crate) fn digest_words(&self) -> String {
        words(&self.deployment.spec.template)
    }

    /// The reference by which the plan owns a canary.
    pub(crate) fn plan_owner(&self) -> OwnerRef {
        let meta = &self.plan.metadata;
        owner(&names::RELEASE_PLAN, &meta.name, &meta.uid)
    }
}

/// The size that is noted on a Deployment.
fn noted_size(deployment: &DeploymentView) -> Option<i32> {
    deployment.metadata.annotation(names::WAKE_TO).and_then(mark::noted_size)
}

/// The reference by which a Deployment owns a ReplicaSet.
pub(crate) fn deployment_owner(deployment: &DeploymentView) -> OwnerRef {
    owner(&names::DEPLOYMENT, &deployment.metadata.name, &deployment.metadata.uid)
}

/// How many pods a Deployment may have above its size while it rolls, and how many fewer available ones.
pub fn rolling_limits(deployment: &DeploymentView) -> (i32, i32) {
    limits_at(deployment, deployment.spec.replicas.max(0))
}

/// The same of a Deployment of another size.
pub(crate) fn limits_at(deployment: &DeploymentView, size: i32) -> (i32, i32) {
    let rolling = deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
    limits(size, &rolling.max_surge, &rolling.max_unavailable)
}

/// A revision in a person's words: its images, or its digest where they say nothing.
pub fn words(template: &Template) -> String {
    template.words()
}

fn owner(kind: &trimtab_plan::Kind, name: &str, uid: &str) -> OwnerRef {
    OwnerRef {
        group: kind.group.to_owned(),
        kind: kind.kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: true,
    }
}

/// Whether a Deployment's change is held.
pub fn held(deployment: &DeploymentView) -> Held {
    match Mark::read(deployment.metadata.annotation(names::HELD), deployment.spec.paused) {
        None => Held::No,
        Some(Mark::Released { .. }) => Held::Released,
        Some(Mark::Held { who, person_paused }) => Held::By { who: who.chars().take(200).collect(), person_paused },
    }
}

/// Why the pods of a revision cannot become available by waiting, if so: `container: reason`.
pub(crate) fn failure(pods: impl Iterator<Item = impl AsRef<PodView>>) -> Option<String> {
    pods.into_iter().find_map(|pod| pod_failure(pod.as_ref()))
}

/// Why a pod cannot become available by waiting, if so. What its node or the cluster did to it says nothing about what runs
/// in it: another pod takes its place, or its container is started again.
pub fn pod_failure(pod: &PodView) -> Option<String> {
    const HOPELESS: [&str; 8] = [
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "StartError",
    ];
    let name = &pod.metadata.name;
    // Drained, evicted, preempted, its node shut down or gone.
    if pod.status.conditions.disrupted {
        return None;
    }
    if pod.status.phase == "Failed" {
        // A node that refuses a pod (no room any more, another architecture) starts nothing of it.
        let refused = pod.status.container_statuses.is_empty() && !pod.status.reason.is_empty();
        let why = if pod.status.reason.is_empty() { "for no reason given" } else { &pod.status.reason };
        return (!refused).then(|| format!("pod {name} failed: {why}"));
    }
    pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses).find_map(|container| {
        let ended = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
        if let Some(waiting) = &container.state.waiting
            && HOPELESS.contains(&waiting.reason.as_str())
        {
            return Some(format!("container {} of pod {name} is in {}", container.name, waiting.reason));
        }
        // After a node was restarted nobody knows how its containers ended.
        let known = |end: &&Terminated| !["Unknown", "ContainerStatusUnknown"].contains(&end.reason.as_str());
        let crashed = ended.filter(|end| end.exit_code != 0 && container.restart_count > 0).filter(known)?;
        Some(format!(
            "container {} of pod {name} ended with exit code {} and was restarted {}",
            container.name,
            crashed.exit_code,
            match container.restart_count {
                1 => "once".to_owned(),
                more => format!("{more} times"),
            }
        ))
    })
}

impl AsRef<PodView> for PodView {
    fn as_ref(&self) -> &PodView {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failure_of(status: Value) -> Option<String> {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "status": status });
        pod_failure(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn what_a_node_does_to_a_pod_is_no_failure_of_its_version() {
        let disrupted =
            json!([{ "type": "Ready", "status": "False" }, { "type": "DisruptionTarget", "status": "True" }]);
        let ran = json!([{ "name": "c", "restartCount": 0, "state": { "terminated": { "exitCode": 137, "reason": "Error" } } }]);
        let crash = json!([{ "name": "c", "restartCount": 1, "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } } }]);
        let restarted = json!([{ "name": "c", "restartCount": 1, "lastState": { "terminated": { "exitCode": 255, "reason": "Unknown" } } }]);
        let cases = [
            (
                json!({ "phase": "Failed", "reason": "Evicted", "conditions": disrupted, "containerStatuses": ran }),
                None,
            ),
            (json!({ "phase": "Running", "conditions": disrupted, "containerStatuses": crash }), None),
            (json!({ "phase": "Failed", "reason": "OutOfcpu" }), None),
            (json!({ "phase": "Running", "containerStatuses": restarted }), None),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "containerStatuses": ran }),
                Some("pod p failed: Evicted"),
            ),
            (json!({ "phase": "Failed", "containerStatuses": ran }), Some("pod p failed: for no reason given")),
            (
                json!({ "phase": "Running", "conditions": null, "containerStatuses": crash }),
                Some("container c of pod p ended with exit code 1 and was restarted once"),
            ),
        ];
        for (status, failure) in cases {
            assert_eq!(failure_of(status.clone()).as_deref(), failure, "{status}");
        }
    }

    #[test]
    fn a_pod_is_read_as_it_was_written_down() {
        for conditions in [json!([{ "type": "DisruptionTarget", "status": "True" }]), json!([])] {
            let pod =
                json!({ "metadata": { "name": "p" }, "status": { "phase": "Running", "conditions": conditions } });
            let read: PodView = serde_json::from_value(pod).unwrap();
            let again: PodView = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
            assert_eq!(again.status.conditions, read.status.conditions);
            assert_eq!(read.status.conditions.disrupted, conditions != json!([]));
        }
    }

    #[test]
    fn a_pod_has_stopped_serving_where_its_node_says_so_after_it_was_ready() {
        let check = |ready: Value, expected: bool| {
            let status = json!({ "phase": "Running", "startTime": "2026-01-01T00:00:10Z", "conditions": [ready] });
            let pod: PodView =
                serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap();
            let again: PodView = serde_json::from_value(serde_json::to_value(&pod).unwrap()).unwrap();
            for pod in [pod, again] {
                assert_eq!(pod.status.has_stopped_serving(), expected, "{ready}");
            }
        };
        let ready = |status: &str, reason: &str, at: u32| json!({ "type": "Ready", "status": status, "reason": reason, "lastTransitionTime": format!("2026-01-01T00:00:{at}Z") });
        check(ready("False", "ContainersNotReady", 12), true);
        check(ready("False", "ReadinessGatesNotReady", 40), true);
        check(ready("False", "ContainersNotReady", 11), false);
        check(ready("True", "", 12), false);
        // What a node controller writes that has lost its node.
        check(ready("False", "", 12), false);
    }
}
