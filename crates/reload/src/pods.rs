//! Pods as reloads see them: whose they are, when they were made, and whether they can be asked to read their files anew.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, OwnerRef, TextMap, Watched};

use crate::{Change, Is};

/// A pod, without what no decision here reads.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// Metadata; of labels and annotations those that count here.
    pub metadata: Meta,
    /// Its address, once it has one.
    pub ip: Box<str>,
    /// Whether its containers run and are ready.
    pub ready: bool,
    /// Whether it has ended for good, as one that was evicted.
    pub ended: bool,
    /// Why a container does not start, if one does not: `CrashLoopBackOff`.
    pub stuck: Option<Box<str>>,
}

/// How long after a change the watch of pods may be behind. Times of writes are of whole seconds, rounded down.
const BEHIND: Duration = Duration::from_secs(6);

/// Labels by which controllers tell the revisions of their pods apart.
const REVISIONS: [&str; 3] = [names::POD_TEMPLATE_HASH, "controller-revision-hash", ROLLOUT_HASH];
const ROLLOUT_HASH: &str = "rollouts-pod-template-hash";
/// States of a waiting container that do not pass by themselves.
const STUCK: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

impl PodView {
    /// The workload that a pod belongs to.
    pub fn workload(&self) -> Option<(Kind, &str)> {
        let owner = self.metadata.controller()?;
        let stem = |label| owner.name.strip_suffix(self.metadata.labels.get(label)?)?.strip_suffix('-');
        if owner.is(&names::REPLICA_SET) {
            let rollout = stem(ROLLOUT_HASH).map(|name| (names::ROLLOUT, name));
            return rollout.or_else(|| stem(names::POD_TEMPLATE_HASH).map(|name| (names::DEPLOYMENT, name)));
        }
        let kinds = [names::STATEFUL_SET, names::DAEMON_SET];
        kinds.into_iter().find(|kind| owner.is(kind)).map(|kind| (kind, owner.name.as_str()))
    }

    /// Whether it is there to stay. One that has ended reads nothing, and says nothing of what the others have.
    pub fn stays(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && !self.ended
    }

    /// Whether it can be told to read its files anew.
    pub(crate) fn hears(&self) -> bool {
        self.ready && !self.ip.is_empty()
    }

    /// Whether it was certainly made after a change, and so started on the new data: told by the versions at which the two
    /// came about, if they are known, else by times. These are of whole seconds: in a tie it may have been made before.
    pub fn is_after(&self, change: &Change, made: Option<u64>) -> bool {
        if let (Some(made), Some(data)) = (made, change.version.filter(|_| change.is != Is::Deleted)) {
            return made > data;
        }
        let (Some(born), Some(written)) = (self.metadata.creation_timestamp, change.written()) else { return false };
        change.dated && born.as_second() > written.as_second()
    }

    /// Which template it was made of, as its controller tells.
    pub(crate) fn revision(&self) -> Option<&str> {
        REVISIONS.iter().find_map(|label| self.metadata.labels.get(label))
    }
}

/// What pods say of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Every pod started after the changes.
    All,
    /// The newest revision's did; those of older ones are still there.
    Newest,
    /// Some did not.
    No,
    /// There is none that stays.
    NoPods,
}

/// Whether a workload's pods started after its changes.
pub(crate) fn freshness<P: AsRef<PodView>>(pods: &[P], changes: &[Change], made: &BTreeMap<String, u64>) -> Fresh {
    let pods: Vec<&PodView> = pods.iter().map(AsRef::as_ref).filter(|pod| pod.stays()).collect();
    let fresh = |pod: &&PodView| {
        let made = made.get(&pod.metadata.uid).copied();
        changes.iter().all(|change| pod.is_after(change, made))
    };
    if pods.is_empty() {
        return Fresh::NoPods;
    }
    if pods.iter().all(fresh) {
        return Fresh::All;
    }
    let age = |pod: &PodView| pod.metadata.creation_timestamp.unwrap_or(Timestamp::MIN);
    let newest = pods.iter().max_by_key(|pod| age(pod)).and_then(|pod| pod.revision());
    let of_newest = pods.iter().filter(|pod| newest.is_some() && pod.revision() == newest);
    if of_newest.clone().all(fresh) && newest.is_some() { Fresh::Newest } else { Fresh::No }
}

/// Until when what the watch of pods has not shown is waited for, if it may be behind: there is no pod, or one of which it is not known
/// whether it came before or after a change of the same second. Watches are each as fast as they can be.
pub(crate) fn behind_until<P: AsRef<PodView>>(
    now: Timestamp,
    pods: &[P],
    changes: &[Change],
    made: &BTreeMap<String, u64>,
) -> Option<Timestamp> {
    let until = changes.iter().filter_map(Change::written).max()?.checked_add(BEHIND).ok()?;
    // A server whose clock is ahead must not hold up anything.
    if now >= until || until > now.checked_add(2 * BEHIND).ok()? {
        return None;
    }
    let mut staying = pods.iter().map(AsRef::as_ref).filter(|pod| pod.stays()).peekable();
    let none = staying.peek().is_none();
    let second = |time: Option<Timestamp>| time.map(Timestamp::as_second);
    let is_open = |pod: &PodView| {
        let born = second(pod.metadata.creation_timestamp);
        !made.contains_key(&pod.metadata.uid) && changes.iter().any(|change| second(change.written()) == born)
    };
    (none || staying.any(is_open)).then_some(until)
}

#[derive(Deserialize)]
struct Raw {
    metadata: RawMeta,
    #[serde(default)]
    status: RawStatus,
}

/// [`Meta`] as far as it is kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: TextMap,
    #[serde(default)]
    annotations: TextMap,
    #[serde(default)]
    owner_references: Option<Vec<OwnerRef>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: Option<Box<str>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Box<str>>,
    conditions: Option<Vec<RawCondition>>,
    container_statuses: Option<Vec<RawContainer>>,
    init_container_statuses: Option<Vec<RawContainer>>,
}

#[derive(Deserialize)]
struct RawCondition {
    #[serde(rename = "type")]
    type_: Box<str>,
    status: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawContainer {
    state: RawState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawState {
    waiting: Option<RawWaiting>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawWaiting {
    reason: Box<str>,
}

impl From<Raw> for PodView {
    fn from(Raw { metadata: meta, status }: Raw) -> Self {
        let ready = |c: &RawCondition| &*c.type_ == "Ready" && &*c.status == "True";
        let containers = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
        let mut reasons = containers.filter_map(|container| container.state.waiting).map(|waiting| waiting.reason);
        let kept =
            |all: TextMap, keep: &[&str]| -> TextMap { all.iter().filter(|(name, _)| keep.contains(name)).collect() };
        Self {
            ended: matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")),
            ip: status.pod_ip.unwrap_or_default(),
            ready: status.conditions.iter().flatten().any(ready),
            stuck: reasons.find(|reason| STUCK.contains(&&**reason)),
            metadata: Meta {
                name: meta.name,
                namespace: meta.namespace,
                uid: meta.uid,
                resource_version: meta.resource_version,
                generation: 0,
                creation_timestamp: meta.creation_timestamp,
                deletion_timestamp: meta.deletion_timestamp,
                labels: kept(meta.labels, &REVISIONS),
                annotations: kept(meta.annotations, &[names::RELOADED]),
                owner_references: meta.owner_references.unwrap_or_default(),
            },
        }
    }
}

impl Watched for PodView {
    const KIND: Kind = names::POD;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl<'de> Deserialize<'de> for PodView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trimtab_config::{Pin, Source};

    use super::*;
    use crate::How;
    use crate::record::Applied;

    fn pod(value: Value) -> PodView {
        serde_json::from_value(value).unwrap()
    }

    fn owned(owner: Value, labels: Value) -> PodView {
        pod(json!({"metadata": {"name": "p", "labels": labels, "ownerReferences": [owner]}}))
    }

    #[test]
    fn a_pod_s_workload_is_found() {
        let set = |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true});
        let web = owned(set("ReplicaSet", "web-7d4"), json!({"pod-template-hash": "7d4", "app": "x"}));
        assert_eq!(web.workload(), Some((names::DEPLOYMENT, "web")));
        assert_eq!(web.metadata.labels.len(), 1);
        let rollout = owned(set("ReplicaSet", "web-7d4"), json!({"rollouts-pod-template-hash": "7d4"}));
        assert_eq!(rollout.workload(), Some((names::ROLLOUT, "web")));
        assert_eq!(owned(set("DaemonSet", "log"), json!({})).workload(), Some((names::DAEMON_SET, "log")));
        assert_eq!(owned(set("ReplicaSet", "own"), json!({})).workload(), None);
    }

    fn made(at: &str, revision: &str) -> PodView {
        let labels = json!({"pod-template-hash": revision});
        pod(json!({"metadata": {"name": "p", "creationTimestamp": at, "labels": labels}}))
    }

    fn change(written: &str) -> Change {
        Change {
            source: Source::config_map("a"),
            how: How::Native,
            is: Is::Changed,
            to: Applied { pin: Pin::Absent, written: written.parse().ok() },
            by: None,
            begun: false,
            dated: true,
            version: None,
            trigger: None,
        }
    }

    #[test]
    fn pods_that_started_after_a_change_are_told_from_those_before() {
        let changed = [change("2026-01-01T00:00:10Z")];
        let of = |pods: &[(&str, &str)], changed: &[Change]| {
            let pods: Vec<_> =
                pods.iter().map(|(s, r)| std::sync::Arc::new(made(&format!("2026-01-01T00:00:{s}Z"), r))).collect();
            freshness(&pods, changed, &BTreeMap::new())
        };
        assert_eq!(of(&[("11", "a"), ("12", "a")], &changed), Fresh::All);
        assert_eq!(of(&[("10", "a"), ("12", "a")], &changed), Fresh::No);
        assert_eq!(of(&[("05", "a"), ("12", "b")], &changed), Fresh::Newest);
        assert_eq!(of(&[("05", "a")], &changed), Fresh::No);
        assert_eq!(of(&[], &changed), Fresh::NoPods);
        // The time of a change that nobody dated is that of the one before.
        assert_eq!(of(&[("12", "a")], &[Change { dated: false, ..change("2026-01-01T00:00:10Z") }]), Fresh::No);
    }

    #[test]
    fn what_the_watch_of_pods_may_not_have_shown_is_waited_for() {
        let changed = [change("2026-01-01T00:00:10Z")];
        let check = |now: &str, born: Option<&str>, made: Option<u64>, expected: bool| {
            let at = |second: &str| format!("2026-01-01T00:00:{second}Z");
            let pods: Vec<_> = born.map(|born| std::sync::Arc::new(self::made(&at(born), "a"))).into_iter().collect();
            let made = made.map(|made| (String::new(), made)).into_iter().collect();
            let until = behind_until(at(now).parse().unwrap(), &pods, &changed, &made);
            assert_eq!(until.map(Timestamp::as_second), expected.then_some(1_767_225_616), "{now} {born:?}");
        };
        check("11", None, None, true);
        check("15", None, None, true);
        check("16", None, None, false);
        // Of the same second: it comes to what the versions say.
        check("11", Some("10"), None, true);
        check("11", Some("10"), Some(7), false);
        check("16", Some("10"), None, false);
        check("11", Some("09"), None, false);
        check("11", Some("11"), None, false);
        // The clock of the server is ahead.
        check("04", None, None, true);
        check("03", None, None, false);
    }

    #[test]
    fn a_pod_that_has_ended_says_nothing_of_the_others() {
        let changed = [change("2026-01-01T00:00:10Z")];
        let ended = |phase: &str| {
            let labels = json!({"pod-template-hash": "a"});
            let metadata = json!({"name": "p", "creationTimestamp": "2026-01-01T00:00:01Z", "labels": labels});
            std::sync::Arc::new(pod(json!({"metadata": metadata, "status": {"phase": phase, "reason": "Evicted"}})))
        };
        let fresh = std::sync::Arc::new(made("2026-01-01T00:00:11Z", "a"));
        for (phase, expected) in [("Failed", Fresh::All), ("Succeeded", Fresh::All), ("Running", Fresh::No)] {
            assert_eq!(freshness(&[ended(phase), fresh.clone()], &changed, &BTreeMap::new()), expected, "{phase}");
        }
        assert_eq!(freshness(&[ended("Failed")], &changed, &BTreeMap::new()), Fresh::NoPods);
    }

    #[test]
    fn readiness_and_stuck_containers_are_read() {
        let seen = pod(json!({"metadata": {"name": "p"}, "status": {"podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}, {"state": {"running": {}}}]}}));
        assert!(seen.ready && seen.stuck.as_deref() == Some("CrashLoopBackOff") && &*seen.ip == "10.0.0.1");
        let starting = pod(json!({"metadata": {"name": "p"}, "status": {
            "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}}));
        assert!(!starting.ready && starting.stuck.is_none());
    }
}
