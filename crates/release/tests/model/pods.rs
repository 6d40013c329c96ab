//! Pods: the ReplicaSet controller that makes and deletes them, and the kubelet that makes them ready.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_crds::{mark, names};

use super::server::{Cluster, DEPLOYMENTS, PLANS, REPLICA_SETS, int, owner, text};
use super::{NAMESPACE, WEB};

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// Uid of its ReplicaSet.
    pub owner: String,
    /// Name of its ReplicaSet.
    pub set: String,
    pub image: String,
    /// What it read from ConfigMap `web` when it started, if it reads it.
    pub config: Option<String>,
    pub made_at: Timestamp,
    pub ready_since: Option<Timestamp>,
    /// Whether it was ready once.
    pub served: bool,
    /// It fails its probe until it is healed.
    pub sick: bool,
    /// Its container crashes.
    pub crashing: bool,
    pub number: u64,
}

impl Pod {
    /// Whether it counts as available.
    pub fn available(&self, now: Timestamp, min_ready_seconds: i32) -> bool {
        let wait = jiff::SignedDuration::from_secs(i64::from(min_ready_seconds));
        self.ready_since.is_some_and(|since| since + wait <= now)
    }

    fn json(&self) -> Value {
        let state =
            if self.crashing { json!({"waiting": {"reason": "CrashLoopBackOff"}}) } else { json!({"running": {}}) };
        // One that has served for a moment is told from one that has yet to.
        let served_for = jiff::SignedDuration::from_secs(if self.served { 5 } else { 0 });
        let since = (self.made_at + served_for).to_string();
        let status = if self.ready_since.is_some() { "True" } else { "False" };
        json!({
            "metadata": {"name": self.name, "namespace": NAMESPACE, "uid": self.uid, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": self.set, "uid": self.owner, "controller": true
            }]},
            "status": {
                "phase": "Running", "startTime": self.made_at.to_string(),
                "conditions": [{
                    "type": "Ready", "status": status, "reason": "ContainersNotReady", "lastTransitionTime": since
                }],
                "containerStatuses": [{"name": "web", "restartCount": 0, "state": state}]
            }
        })
    }

    pub fn view(&self) -> trimtab_release::PodView {
        serde_json::from_value(self.json()).unwrap()
    }
}

/// What tests watch over while the model runs.
#[derive(Clone, Default)]
pub struct Watch {
    /// The number of available pods that must never be undercut by a deletion.
    pub floor: i32,
    /// The smallest size that was asked for since things were calm: pods above it may still be on their way out.
    pub smallest: i32,
    /// What went wrong.
    pub faults: Vec<String>,
    /// The most pods that there ever were at once.
    pub peak: usize,
    /// Writes of ours that the server refused.
    pub trace: Vec<String>,
    /// Whether ReplicaSets were left without an owner by a person.
    pub orphans: bool,
    /// The release that began last.
    pub begun: super::configuration::Begun,
}

impl Cluster {
    /// One sync of every ReplicaSet. True if anything changed.
    pub fn tick_replica_sets(&mut self) -> bool {
        let names: Vec<String> = self.list(REPLICA_SETS).map(|rs| text(rs, "/metadata/name").to_owned()).collect();
        names.iter().fold(false, |changed, name| self.tick_replica_set(name) | changed)
    }

    /// One sync of one ReplicaSet: status is computed from the pods before they are made or deleted, as Kubernetes does.
    pub fn tick_replica_set(&mut self, name: &str) -> bool {
        let Some(rs) = self.get(REPLICA_SETS, name).cloned() else { return false };
        let uid = text(&rs, "/metadata/uid");
        let wanted = usize::try_from(int(&rs, "/spec/replicas")).unwrap_or(0);
        let min_ready = int(&rs, "/spec/minReadySeconds");
        let mut mine: Vec<Pod> = self.pods.iter().filter(|pod| pod.owner == uid).cloned().collect();
        let available = mine.iter().filter(|pod| pod.available(self.now, min_ready)).count();
        let denied = mine.len() < wanted && self.denies(text(&rs, "/spec/template/spec/containers/0/image"));
        let mut status = json!({
            "replicas": mine.len(),
            "readyReplicas": mine.iter().filter(|pod| pod.ready_since.is_some()).count(),
            "availableReplicas": available,
            "observedGeneration": rs["metadata"]["generation"],
        });
        if denied {
            let message = "pods are forbidden: a policy of this test denies them";
            status["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "message": message}]);
        }
        let changed = rs.get("status") != Some(&status) || (mine.len() != wanted && !denied);
        for _ in mine.len()..if denied { 0 } else { wanted } {
            self.make_pod(&rs);
        }
        // Unready ones go first, then the youngest.
        mine.sort_by_key(|pod| (pod.ready_since.is_some(), std::cmp::Reverse(pod.number)));
        for pod in mine.iter().take(mine.len().saturating_sub(wanted)) {
            self.remove_pod(&pod.uid, "its ReplicaSet");
        }
        self.update_status(REPLICA_SETS, name, |rs| rs["status"] = status);
        changed
    }

    fn make_pod(&mut self, rs: &Value) {
        let number = self.next();
        let image = text(rs, "/spec/template/spec/containers/0/image").to_owned();
        *self.made.entry(image.clone()).or_default() += 1;
        let set = text(rs, "/metadata/name").to_owned();
        let uid = format!("pod-{number}");
        let name = format!("{set}-{number}");
        let owner = text(rs, "/metadata/uid").to_owned();
        let config = self.config_of(rs);
        let (made_at, ready_since, served, crashing) = (self.now, None, false, false);
        let sick = self.broken.as_deref() == Some(image.as_str());
        self.pods.push(Pod {
            name,
            uid,
            owner,
            set,
            image,
            config,
            made_at,
            ready_since,
            served,
            sick,
            crashing,
            number,
        });
    }

    /// Deletes a pod, and looks whether it was needed.
    pub fn remove_pod(&mut self, uid: &str, by: &str) {
        let Some(index) = self.pods.iter().position(|pod| pod.uid == uid) else { return };
        let pod = self.pods.remove(index);
        let was_available = pod.ready_since.is_some();
        let left = self.available();
        if was_available && left < self.watch.floor {
            let fault = format!(
                "{by} deleted available pod {} ({}); {left} are left, floor {}",
                pod.name, pod.image, self.watch.floor
            );
            self.fault(fault);
        }
        self.guard_stable(&pod, by);
    }

    pub fn fault(&mut self, fault: String) {
        self.watch.faults.push(fault);
    }

    /// Before promotion no stable pod goes, but for those above the Deployment's size.
    fn guard_stable(&mut self, pod: &Pod, by: &str) {
        let Some(status) = self.plan_of_web().and_then(|plan| plan.get("status")) else { return };
        let stage = text(status, "/release/stage");
        let stable = text(status, "/stable/replicaSet");
        if stable != pod.set || !matches!(stage, "Steps") {
            return;
        }
        // Not for sick ones that somebody replaces, and not after a person released the change.
        let Some(deployment) = self.deployment() else { return };
        if !deployment.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false) || pod.ready_since.is_none() {
            return;
        }
        let left = self.pods.iter().filter(|other| other.set == pod.set).count();
        let size = usize::try_from(int(deployment, "/spec/replicas").min(self.watch.smallest)).unwrap_or(0);
        if left < size {
            let fault = format!("{by} deleted stable pod {} in the steps: {left} of {size} left", pod.name);
            self.fault(fault);
        }
    }

    /// Pods that serve, of whatever revision.
    pub fn available(&self) -> i32 {
        i32::try_from(self.pods.iter().filter(|pod| pod.ready_since.is_some()).count()).unwrap()
    }

    /// The kubelet: pods start, unless their image is broken. True if anything changed.
    pub fn tick_pods(&mut self) -> bool {
        let now = self.now;
        let mut changed = false;
        for pod in &mut self.pods {
            if now.duration_since(pod.made_at).as_secs() < self.start_seconds {
                changed = true;
                continue;
            }
            let crash = pod.image.contains("crash") || pod.config.as_deref() == Some("crash");
            let hang = pod.image.contains("hang");
            if crash && !pod.crashing {
                pod.crashing = true;
                changed = true;
            }
            if !crash && !hang && !pod.sick && pod.ready_since.is_none() {
                (pod.ready_since, pod.served) = (Some(now), true);
                changed = true;
            }
        }
        changed
    }

    /// A pod fails its probe. The floor sinks by what nobody can avoid.
    pub fn sicken(&mut self, which: usize) {
        let ready: Vec<usize> = (0..self.pods.len()).filter(|i| self.pods[*i].ready_since.is_some()).collect();
        if ready.is_empty() {
            return;
        }
        let pod = &mut self.pods[ready[which % ready.len()]];
        pod.ready_since = None;
        pod.sick = true;
        self.watch.floor -= 1;
    }

    /// A pod is taken away: its node is drained, or somebody deletes it. The floor sinks by what nobody can avoid.
    pub fn evict(&mut self, which: usize) {
        if self.pods.is_empty() {
            return;
        }
        let pod = self.pods.remove(which % self.pods.len());
        self.watch.floor -= i32::from(pod.ready_since.is_some());
    }

    /// Somebody deletes the stable ReplicaSet, and its pods go with it.
    pub fn delete_stable(&mut self) {
        let Some(stable) = self.status().and_then(|status| status.stable) else { return };
        let serving = self.pods.iter().filter(|pod| pod.set == stable.replica_set && pod.ready_since.is_some()).count();
        self.delete(REPLICA_SETS, &stable.replica_set);
        self.pods.retain(|pod| pod.set != stable.replica_set);
        self.watch.floor -= i32::try_from(serving).unwrap();
    }

    /// From now on no pod of this image passes its probe, until it is healed.
    pub fn break_image(&mut self, image: &str) {
        self.broken = Some(image.to_owned());
        for pod in self.pods.iter_mut().filter(|pod| pod.image == image) {
            self.watch.floor -= i32::from(pod.ready_since.is_some());
            (pod.ready_since, pod.sick) = (None, true);
        }
    }

    pub fn heal(&mut self) {
        self.broken = None;
        for pod in &mut self.pods {
            pod.sick = false;
        }
    }

    /// Counts the pods that are asked for: old ones may end a little later than new ones are made.
    pub fn count(&mut self) {
        let asked = self.list(REPLICA_SETS).map(|rs| usize::try_from(int(rs, "/spec/replicas")).unwrap()).sum();
        self.watch.peak = self.watch.peak.max(asked);
    }

    /// The floor rises to what the Deployment promises, once there are as many pods and nothing is on its way.
    pub fn raise_floor(&mut self) {
        self.count();
        // What rolls without a plan, or past it, is Kubernetes' own.
        let guarded = self.plan_name().is_some() && self.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty());
        let recreates = self.deployment().is_some_and(|d| text(d, "/spec/strategy/type") == "Recreate");
        let Some(promise) = self.promise().filter(|_| guarded && !recreates) else {
            self.watch.floor = 0;
            return;
        };
        let calm = self.list(REPLICA_SETS).all(|rs| {
            let uid = text(rs, "/metadata/uid");
            let count = |pred: &dyn Fn(&Pod) -> bool| {
                i32::try_from(self.pods.iter().filter(|p| p.owner == uid && pred(p)).count()).unwrap()
            };
            int(rs, "/spec/replicas") == count(&|_| true)
                && int(rs, "/status/availableReplicas") == count(&|pod| pod.ready_since.is_some())
        });
        self.watch.smallest = if calm { self.replicas() } else { self.watch.smallest.min(self.replicas()) };
        // A canary goes with its plan: whoever deletes that takes its pods away, whatever else serves.
        let stays = |pod: &&Pod| pod.ready_since.is_some() && self.stays(pod);
        let staying = i32::try_from(self.pods.iter().filter(stays).count()).unwrap();
        if calm && staying >= promise {
            self.watch.floor = promise;
        }
        if staying < self.available() {
            self.watch.floor = self.watch.floor.min(staying);
        }
        self.watch.floor = self.watch.floor.min(promise);
    }

    /// Whether a pod outlives the next garbage collection: what owns its ReplicaSet is there.
    fn stays(&self, pod: &Pod) -> bool {
        let Some(rs) = self.get(REPLICA_SETS, &pod.set) else { return false };
        let is = |object: &Value| Some(text(object, "/metadata/uid")) == owner(rs);
        owner(rs) == Some(super::strangers::STRANGER) || self.list(PLANS).any(is) || self.list(DEPLOYMENTS).any(is)
    }

    /// N − maxUnavailable.
    pub fn promise(&self) -> Option<i32> {
        let deployment = self.deployment()?;
        let replicas = int(deployment, "/spec/replicas");
        let (_, unavailable) = super::deployment::limits(deployment);
        Some(replicas - unavailable)
    }

    /// How many of the Deployment's ReplicaSets are active.
    pub fn active_sets(&self) -> usize {
        let Some(uid) = self.get(DEPLOYMENTS, WEB).map(|d| text(d, "/metadata/uid")) else { return 0 };
        self.list(REPLICA_SETS).filter(|rs| owner(rs) == Some(uid) && int(rs, "/spec/replicas") > 0).count()
    }

    /// Pods by image.
    pub fn images(&self) -> BTreeMap<String, usize> {
        let mut images = BTreeMap::new();
        for pod in &self.pods {
            *images.entry(pod.image.clone()).or_default() += 1;
        }
        images
    }

    /// Names of the ReplicaSets that a plan controls.
    pub fn canaries(&self) -> Vec<String> {
        let plans: Vec<&str> = self.list(PLANS).map(|plan| text(plan, "/metadata/uid")).collect();
        let sets = self.list(REPLICA_SETS).filter(|rs| owner(rs).is_some_and(|uid| plans.contains(&uid)));
        sets.map(|rs| text(rs, "/metadata/name").to_owned()).collect()
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.deployment()?.pointer("/metadata/annotations")?.get(name)?.as_str()
    }

    pub fn held(&self) -> bool {
        self.paused() && self.annotation(names::HELD).is_some_and(|mark| !mark::is_released(mark))
    }
}
