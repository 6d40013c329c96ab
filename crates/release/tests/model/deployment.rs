//! The Deployment controller, function by function as `pkg/controller/deployment` has it: `sync.go`, `rolling.go`,
//! `recreate.go` and `util/deployment_util.go`.

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_crds::names::{DESIRED_REPLICAS, MAX_REPLICAS, POD_TEMPLATE_HASH, REVISION};

use super::server::{Cluster, DEPLOYMENTS, REPLICA_SETS, int, owner, text};
use super::{NAMESPACE, WEB};

const USER: &str = "system:serviceaccount:kube-system:deployment-controller";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const LATE: &str = "ProgressDeadlineExceeded";
/// Annotations that are not copied between a Deployment and its ReplicaSets.
pub const NOT_COPIED: [&str; 5] = [LAST_APPLIED, REVISION, HISTORY, DESIRED_REPLICAS, MAX_REPLICAS];

/// maxSurge and maxUnavailable in pods (`ResolveFenceposts`), written anew so that it can disagree with ours.
pub fn limits(deployment: &Value) -> (i32, i32) {
    let replicas = int(deployment, "/spec/replicas");
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        return (0, 0);
    }
    let scaled = |path: &str, up: bool| {
        let value = deployment.pointer(path).cloned().unwrap_or(json!("25%"));
        let Some(percent) = value.as_str().map(|s| s.trim_end_matches('%').parse::<f64>().unwrap()) else {
            return i32::try_from(value.as_i64().unwrap()).unwrap();
        };
        let exact = f64::from(replicas) * percent / 100.0;
        (if up { exact.ceil() } else { exact.floor() }) as i32
    };
    let surge = scaled("/spec/strategy/rollingUpdate/maxSurge", true);
    let mut unavailable = scaled("/spec/strategy/rollingUpdate/maxUnavailable", false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    (surge, if replicas == 0 { 0 } else { unavailable.min(replicas) })
}

pub fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(POD_TEMPLATE_HASH);
    }
    template
}

fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    object.pointer("/metadata/annotations").and_then(|a| a.get(name)).and_then(Value::as_str).unwrap_or_default()
}

fn revision(rs: &Value) -> i64 {
    annotation(rs, REVISION).parse().unwrap_or(0)
}

impl Cluster {
    fn d(&self) -> &Value {
        self.deployment().unwrap()
    }

    fn rs(&self, name: &str) -> &Value {
        self.get(REPLICA_SETS, name).unwrap()
    }

    fn size(&self, name: &str) -> i32 {
        int(self.rs(name), "/spec/replicas")
    }

    fn sum(&self, names: &[String], path: &str) -> i32 {
        names.iter().map(|name| int(self.rs(name), path)).sum()
    }

    /// Names by creation, then by name.
    fn by_creation(&self, names: &mut [String]) {
        names.sort_by_key(|name| (text(self.rs(name), "/metadata/creationTimestamp").to_owned(), name.clone()));
    }

    fn active(&self, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| self.size(name) > 0).cloned().collect()
    }

    /// One sync of the Deployment. True if anything changed.
    pub fn tick_deployment(&mut self) -> bool {
        let before = self.version();
        if self.deployment().is_some() {
            self.sync_deployment();
        }
        before != self.version()
    }

    fn version(&self) -> Vec<String> {
        let sets = self.list(REPLICA_SETS).chain(self.list(DEPLOYMENTS));
        sets.map(|object| text(object, "/metadata/resourceVersion").to_owned()).collect()
    }

    fn sync_deployment(&mut self) {
        let uid = text(self.d(), "/metadata/uid").to_owned();
        let misfit = self
            .list(REPLICA_SETS)
            .find(|rs| owner(rs) == Some(uid.as_str()) && text(rs, "/metadata/labels/app") != WEB);
        assert!(misfit.is_none(), "the Deployment lets go of what its selector does not fit: {misfit:?}");
        self.adopt_orphans(&uid);
        let mut sets: Vec<String> = self
            .list(REPLICA_SETS)
            .filter(|rs| owner(rs) == Some(uid.as_str()))
            .map(|rs| text(rs, "/metadata/name").to_owned())
            .collect();
        self.by_creation(&mut sets);
        if self.d().pointer("/spec/paused") == Some(&json!(true)) || self.is_scaling_event(&sets) {
            return self.sync(&sets);
        }
        match text(self.d(), "/spec/strategy/type") {
            "Recreate" => self.rollout_recreate(&sets),
            _ => self.rollout_rolling(&sets),
        }
    }

    /// `ClaimReplicaSets`: those without a controller that the selector fits.
    fn adopt_orphans(&mut self, uid: &str) {
        let alone = self.list(REPLICA_SETS).filter(|rs| owner(rs).is_none()).cloned();
        for rs in alone.collect::<Vec<_>>() {
            let by_a_person = self.watch.orphans;
            assert!(by_a_person, "a ReplicaSet without a controller may be adopted by somebody else: {rs}");
            if text(&rs, "/metadata/labels/app") == WEB {
                let reference = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": WEB, "uid": uid,
                    "controller": true, "blockOwnerDeletion": true}]);
                self.update(REPLICA_SETS, text(&rs, "/metadata/name"), USER, |rs| {
                    rs["metadata"]["ownerReferences"] = reference;
                });
            }
        }
    }

    fn is_scaling_event(&mut self, sets: &[String]) -> bool {
        let (new, old) = self.sync_revision(sets, false);
        let replicas = int(self.d(), "/spec/replicas");
        let all: Vec<String> = old.into_iter().chain(new).collect();
        self.active(&all).iter().any(|name| {
            annotation(self.rs(name), DESIRED_REPLICAS).parse::<i32>().is_ok_and(|desired| desired != replicas)
        })
    }

    /// `sync`: for paused Deployments and for scaling.
    fn sync(&mut self, sets: &[String]) {
        let (new, old) = self.sync_revision(sets, false);
        self.scale_all(new.as_ref(), &old);
        if self.d().pointer("/spec/paused") == Some(&json!(true)) {
            self.cleanup(&old);
        }
        self.sync_status(new.as_ref(), &old);
    }

    /// `getAllReplicaSetsAndSyncRevision` with `getNewReplicaSet`.
    fn sync_revision(&mut self, sets: &[String], create: bool) -> (Option<String>, Vec<String>) {
        let template = without_hash(&self.d()["spec"]["template"]);
        let new = sets.iter().find(|name| without_hash(&self.rs(name)["spec"]["template"]) == template).cloned();
        let old: Vec<String> = sets.iter().filter(|name| Some(*name) != new.as_ref()).cloned().collect();
        let next = old.iter().map(|name| revision(self.rs(name))).max().unwrap_or(0) + 1;
        match new {
            Some(new) => {
                if !self.set_annotations(&new, next) {
                    let current = annotation(self.rs(&new), REVISION).to_owned();
                    self.set_revision(&current);
                }
                (Some(new), old)
            }
            None if create => (self.make_set(&template, next, &old), old),
            None => (None, old),
        }
    }

    fn set_revision(&mut self, revision: &str) {
        self.update_status(DEPLOYMENTS, WEB, |d| d["metadata"]["annotations"][REVISION] = json!(revision));
    }

    /// `SetNewReplicaSetAnnotations`. True if something was updated.
    fn set_annotations(&mut self, name: &str, next: i64) -> bool {
        let before = text(self.rs(name), "/metadata/resourceVersion").to_owned();
        let deployment = self.d().clone();
        self.update(REPLICA_SETS, name, USER, |rs| {
            annotate_set(rs, &deployment, next);
            rs["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"].clone();
        });
        before != text(self.rs(name), "/metadata/resourceVersion")
    }

    fn make_set(&mut self, template: &Value, next: i64, old: &[String]) -> Option<String> {
        let deployment = self.d().clone();
        let collisions = int(&deployment, "/status/collisionCount");
        let digest = trimtab_release::template_digest(template);
        let hash = format!("{}{}", &digest[3..12], if collisions > 0 { collisions.to_string() } else { String::new() });
        let name = format!("{WEB}-{hash}");
        if self.get(REPLICA_SETS, &name).is_some() {
            self.update_status(DEPLOYMENTS, WEB, |d| d["status"]["collisionCount"] = json!(collisions + 1));
            return None;
        }
        let mut template = template.clone();
        template["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"][POD_TEMPLATE_HASH] = json!(hash);
        let (surge, _) = limits(&deployment);
        let replicas = int(&deployment, "/spec/replicas");
        let room = replicas + surge - self.sum(old, "/spec/replicas");
        let size =
            if text(&deployment, "/spec/strategy/type") == "Recreate" { replicas } else { room.clamp(0, replicas) };
        let mut body = json!({
            "metadata": {"labels": template["metadata"]["labels"], "annotations": {
                DESIRED_REPLICAS: replicas.to_string(), MAX_REPLICAS: (replicas + surge).to_string()
            }, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": WEB, "uid": deployment["metadata"]["uid"],
                "controller": true, "blockOwnerDeletion": true
            }]},
            "spec": {"replicas": size, "minReadySeconds": deployment["spec"]["minReadySeconds"],
                     "selector": selector, "template": template}
        });
        annotate_set(&mut body, &deployment, next);
        assert!(self.create(REPLICA_SETS, &name, body), "{NAMESPACE}");
        // `NewReplicaSetCreated`: from now on the rollout before this is not what counts as complete.
        let begun = json!([{"type": "Progressing", "reason": "ReplicaSetUpdated", "message": "created", "lastUpdateTime": self.now.to_string()}]);
        self.update_status(DEPLOYMENTS, WEB, |d| d["status"]["conditions"] = begun);
        self.set_revision(&next.to_string());
        Some(name)
    }

    /// `scaleReplicaSet`
    fn scale_set(&mut self, name: &str, size: i32, force: bool) -> bool {
        let resized = self.size(name) != size;
        if !force && !resized {
            return false;
        }
        let replicas = int(self.d(), "/spec/replicas");
        let (surge, _) = limits(self.d());
        self.update(REPLICA_SETS, name, USER, |rs| {
            rs["spec"]["replicas"] = json!(size);
            rs["metadata"]["annotations"][DESIRED_REPLICAS] = json!(replicas.to_string());
            rs["metadata"]["annotations"][MAX_REPLICAS] = json!((replicas + surge).to_string());
        });
        resized
    }

    /// `scale`: in proportion, without looking at availability.
    fn scale_all(&mut self, new: Option<&String>, old: &[String]) {
        let replicas = int(self.d(), "/spec/replicas");
        let all: Vec<String> = old.iter().cloned().chain(new.cloned()).collect();
        let active = self.active(&all);
        match active.as_slice() {
            [] => {
                // `FindActiveOrLatest`: the new one, or the newest-created old one.
                if let Some(latest) = new.or(old.last()).cloned() {
                    self.scale_set(&latest, replicas, false);
                }
                return;
            }
            [only] => {
                self.scale_set(&only.clone(), replicas, false);
                return;
            }
            _ => {}
        }
        if new.is_some_and(|new| self.is_saturated(new)) {
            for name in self.active(old) {
                self.scale_set(&name, 0, false);
            }
            return;
        }
        if text(self.d(), "/spec/strategy/type") != "Recreate" {
            self.scale_in_proportion(active);
        }
    }

    fn scale_in_proportion(&mut self, mut active: Vec<String>) {
        let replicas = int(self.d(), "/spec/replicas");
        let (surge, _) = limits(self.d());
        let allowed = if replicas > 0 { replicas + surge } else { 0 };
        let to_add = allowed - self.sum(&active, "/spec/replicas");
        self.by_creation(&mut active);
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|name| std::cmp::Reverse(self.size(name)));
        let mut added = 0;
        let mut sizes = vec![];
        for name in &active {
            let proportion = if to_add == 0 { 0 } else { self.proportion(name, replicas, surge, to_add, added) };
            sizes.push(self.size(name) + proportion);
            added += proportion;
        }
        if to_add != 0 {
            sizes[0] = (sizes[0] + to_add - added).max(0);
        }
        for (name, size) in active.iter().zip(sizes) {
            self.scale_set(name, size, true);
        }
    }

    /// `GetReplicaSetProportion` with `getReplicaSetFraction`.
    fn proportion(&self, name: &str, replicas: i32, surge: i32, to_add: i32, added: i32) -> i32 {
        let size = self.size(name);
        if size == 0 || to_add == added {
            return 0;
        }
        let fraction = if replicas == 0 {
            -size
        } else {
            let before = annotation(self.rs(name), MAX_REPLICAS).parse::<i32>().ok().filter(|max| *max > 0);
            match before.unwrap_or(int(self.d(), "/status/replicas")) {
                0 => 0,
                before => (f64::from(size * (replicas + surge)) / f64::from(before)).round() as i32 - size,
            }
        };
        let left = to_add - added;
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    fn is_saturated(&self, name: &str) -> bool {
        let (rs, replicas) = (self.rs(name), int(self.d(), "/spec/replicas"));
        self.size(name) == replicas
            && annotation(rs, DESIRED_REPLICAS).parse() == Ok(replicas)
            && int(rs, "/status/availableReplicas") == replicas
    }

    /// `rolloutRolling`
    fn rollout_rolling(&mut self, sets: &[String]) {
        let (new, old) = self.sync_revision(sets, true);
        let Some(new) = new else { return };
        if !self.grow_new(&new, &old) && !self.shrink_old(&new, &old) && self.complete() {
            self.cleanup(&old);
        }
        self.sync_status(Some(&new), &old);
    }

    /// `reconcileNewReplicaSet` with `NewRSNewReplicas`.
    fn grow_new(&mut self, new: &str, old: &[String]) -> bool {
        let replicas = int(self.d(), "/spec/replicas");
        let size = self.size(new);
        if size >= replicas {
            return size > replicas && self.scale_set(new, replicas, false);
        }
        let (surge, _) = limits(self.d());
        let room = replicas + surge - self.sum(old, "/spec/replicas") - size;
        room > 0 && self.scale_set(new, size + room.min(replicas - size), false)
    }

    /// `reconcileOldReplicaSets` with `cleanupUnhealthyReplicas` and `scaleDownOldReplicaSetsForRollingUpdate`.
    fn shrink_old(&mut self, new: &str, old: &[String]) -> bool {
        let mut old = self.active(old);
        if old.is_empty() {
            return false;
        }
        let (_, unavailable) = limits(self.d());
        let least = int(self.d(), "/spec/replicas") - unavailable;
        let available = |this: &Self, name: &str| int(this.rs(name), "/status/availableReplicas");
        let pods = self.sum(&old, "/spec/replicas") + self.size(new);
        let most = pods - least - (self.size(new) - available(self, new));
        if most <= 0 {
            return false;
        }
        self.by_creation(&mut old);
        let mut cleaned = 0;
        for name in &old {
            let unhealthy = self.size(name) - available(self, name);
            let count = unhealthy.min(most - cleaned);
            if cleaned < most && self.size(name) > 0 && unhealthy != 0 {
                // More available than asked for is an error there: the sync ends.
                if count < 0 {
                    return false;
                }
                self.scale_set(name, self.size(name) - count, false);
                cleaned += count;
            }
        }
        let spare = self.sum(&old, "/status/availableReplicas") + available(self, new) - least;
        let mut removed = 0;
        for name in &old {
            let count = self.size(name).min(spare - removed);
            if count > 0 {
                self.scale_set(name, self.size(name) - count, false);
                removed += count;
            }
        }
        cleaned + removed > 0
    }

    /// `rolloutRecreate`
    fn rollout_recreate(&mut self, sets: &[String]) {
        let (mut new, mut old) = self.sync_revision(sets, false);
        let active = self.active(&old);
        for name in &active {
            self.scale_set(name, 0, false);
        }
        if active.is_empty() && self.sum(&old, "/status/replicas") == 0 {
            if new.is_none() {
                (new, old) = self.sync_revision(sets, true);
            }
            let replicas = int(self.d(), "/spec/replicas");
            if let Some(new) = &new {
                self.scale_set(new, replicas, false);
            }
        }
        self.sync_status(new.as_ref(), &old);
    }

    fn complete(&self) -> bool {
        let d = self.d();
        let replicas = int(d, "/spec/replicas");
        ["updatedReplicas", "replicas", "availableReplicas"]
            .iter()
            .all(|field| int(d, &format!("/status/{field}")) == replicas)
            && int(d, "/status/observedGeneration") >= int(d, "/metadata/generation")
    }

    /// `cleanupDeployment`: the history limit.
    fn cleanup(&mut self, old: &[String]) {
        let limit = usize::try_from(int(self.d(), "/spec/revisionHistoryLimit")).unwrap();
        let mut old = old.to_vec();
        self.by_creation(&mut old);
        old.sort_by_key(|name| revision(self.rs(name)));
        let surplus = old.len().saturating_sub(limit);
        for name in old.iter().take(surplus) {
            let rs = self.rs(name);
            let seen = int(rs, "/metadata/generation") <= int(rs, "/status/observedGeneration");
            if int(rs, "/status/replicas") == 0 && int(rs, "/spec/replicas") == 0 && seen {
                self.delete(REPLICA_SETS, name);
            }
        }
    }

    /// `syncRolloutStatus`, `DeploymentProgressing` and `DeploymentTimedOut`, with the condition that a pause leaves.
    fn progressing(&self, d: &Value, status: &Value) -> Value {
        let old = d.pointer("/status/conditions/0").cloned().unwrap_or_default();
        let condition = |reason: &str, since: String| json!({"type": "Progressing", "reason": reason, "message": reason, "lastUpdateTime": since});
        let count = |status: &Value, field: &str| status[field].as_i64().unwrap_or(0);
        let (now, last) = (self.now.to_string(), &d["status"]);
        let surplus = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
        let grown = |field| count(status, field) > count(last, field);
        let moves = grown("updatedReplicas") || grown("availableReplicas") || surplus(status) < surplus(last);
        let wanted = i64::from(int(d, "/spec/replicas"));
        let all =
            ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| count(status, field) == wanted);
        let reason = old["reason"].as_str().unwrap_or_default();
        let anew = last["observedGeneration"] != d["metadata"]["generation"];
        if all || (reason == "NewReplicaSetAvailable" && surplus(status) == 0) {
            return condition("NewReplicaSetAvailable", old["lastUpdateTime"].as_str().unwrap_or(&now).to_owned());
        }
        let paused = d.pointer("/spec/paused") == Some(&json!(true));
        if moves || anew || paused || !["ReplicaSetUpdated", LATE].contains(&reason) {
            let reason = if paused { "DeploymentPaused" } else { "ReplicaSetUpdated" };
            let same = old["reason"] == reason && !moves && !anew;
            let since = old["lastUpdateTime"].as_str().filter(|_| same).map_or(now, str::to_owned);
            return condition(reason, since);
        }
        if self.late_at().is_some_and(|at| at <= self.now) { condition(LATE, now) } else { old }
    }

    /// `HasProgressDeadline`: without one, the condition is removed.
    fn deadline(&self) -> Option<i32> {
        let seconds =
            self.deployment()?.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_i64).unwrap_or(600);
        i32::try_from(seconds).ok().filter(|seconds| *seconds != i32::MAX)
    }

    /// When the rollout that is under way exceeds its deadline, unless it gets on.
    pub fn late_at(&self) -> Option<Timestamp> {
        let condition = self.deployment()?.pointer("/status/conditions/0")?;
        let since: Timestamp = condition["lastUpdateTime"].as_str()?.parse().ok()?;
        let wait = jiff::SignedDuration::from_secs(i64::from(self.deadline()?));
        (condition["reason"] == "ReplicaSetUpdated").then(|| since + wait)
    }

    /// `syncDeploymentStatus` with `calculateStatus`.
    fn sync_status(&mut self, new: Option<&String>, old: &[String]) {
        let alive = |names: Vec<String>| -> Vec<String> {
            names.into_iter().filter(|name| self.get(REPLICA_SETS, name).is_some()).collect()
        };
        let all = alive(old.iter().cloned().chain(new.cloned()).collect());
        let news = alive(new.cloned().into_iter().collect());
        let d = self.d();
        let mut status = json!({
            "observedGeneration": d["metadata"]["generation"],
            "replicas": self.sum(&all, "/status/replicas"),
            "updatedReplicas": self.sum(&news, "/status/replicas"),
            "availableReplicas": self.sum(&all, "/status/availableReplicas"),
        });
        if let Some(collisions) = d.pointer("/status/collisionCount") {
            status["collisionCount"] = collisions.clone();
        }
        let progressing = self.deadline().map(|_| self.progressing(d, &status));
        status["conditions"] = progressing.into_iter().collect();
        self.update_status(DEPLOYMENTS, WEB, |d| d["status"] = status);
    }
}

/// Copies the Deployment's annotations, and raises the revision.
fn annotate_set(rs: &mut Value, deployment: &Value, next: i64) {
    let none = serde_json::Map::new();
    let copied = deployment.pointer("/metadata/annotations").and_then(Value::as_object).unwrap_or(&none);
    for (name, value) in copied.iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())) {
        rs["metadata"]["annotations"][name] = value.clone();
    }
    let old = annotation(rs, REVISION).to_owned();
    if revision(rs) < next {
        if !old.is_empty() {
            let history = annotation(rs, HISTORY);
            let history = if history.is_empty() { old } else { format!("{history},{old}") };
            rs["metadata"]["annotations"][HISTORY] = json!(history);
        }
        rs["metadata"]["annotations"][REVISION] = json!(next.to_string());
    }
}
