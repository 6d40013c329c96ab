//! Frozen configuration without steps: StatefulSets and DaemonSets that opt in. Their own rolling updates carry the pins,
//! so each revision of them has its configuration. What is pinned is the same rule as for releases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, Notice, Plan, Severity, Verb, Watched, Write};

use crate::want::{SECRETS_NOT_READ, unread_words};
use crate::{DigestKey, Known, Pin, Pins, Reads, Situation, Source, SourceView, Want, reads, want};

/// What is read of a workload that may be tracked. Of one that has not opted in, only its metadata.
#[derive(Debug, Clone, Serialize)]
pub struct Tracked {
    /// Metadata.
    pub metadata: Meta,
    /// What its template reads.
    #[serde(skip)]
    pub reads: Reads,
    /// The pins of its template.
    pub pins: Pins,
}

impl Tracked {
    /// Whether it has opted in.
    pub fn opted_in(&self) -> bool {
        self.metadata.annotation(names::CONFIG_TRACK) == Some("Referenced")
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: Meta,
    #[serde(default)]
    spec: Value,
}

impl From<Raw> for Tracked {
    fn from(raw: Raw) -> Self {
        let template = &raw.spec["template"];
        let mut tracked = Self { metadata: raw.metadata, reads: Reads::default(), pins: pins(template) };
        if tracked.opted_in() {
            tracked.reads = reads(template);
        }
        tracked
    }
}

fn pins(template: &Value) -> Pins {
    Pins::of(template.pointer("/metadata/annotations").and_then(|annotations| annotations.get(names::CONFIG)?.as_str()))
}

macro_rules! tracked {
    ($(#[$doc:meta])* $view:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        #[serde(transparent)]
        pub struct $view(pub Arc<Tracked>);

        impl Watched for $view {
            const KIND: Kind = $kind;

            fn meta(&self) -> &Meta {
                &self.0.metadata
            }
        }

        impl<'de> Deserialize<'de> for $view {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self(Arc::new(Raw::deserialize(deserializer)?.into())))
            }
        }
    };
}

tracked!(
    /// A StatefulSet.
    StatefulSetView,
    names::STATEFUL_SET
);
tracked!(
    /// A DaemonSet.
    DaemonSetView,
    names::DAEMON_SET
);

/// A revision of a StatefulSet or DaemonSet, as Kubernetes keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "RawRevision")]
pub struct RevisionView {
    /// Metadata.
    pub metadata: Meta,
    /// The pins of its template.
    pub pins: Pins,
}

#[derive(Deserialize)]
struct RawRevision {
    metadata: Meta,
    #[serde(default)]
    data: Value,
}

impl From<RawRevision> for RevisionView {
    fn from(raw: RawRevision) -> Self {
        Self { metadata: raw.metadata, pins: pins(&raw.data["spec"]["template"]) }
    }
}

impl Watched for RevisionView {
    const KIND: Kind = names::CONTROLLER_REVISION;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Everything that a decision about one workload sees.
#[derive(Debug, Clone, Serialize)]
pub struct TrackedSnapshot {
    /// Its kind.
    pub kind: Kind,
    /// The workload.
    pub workload: Arc<Tracked>,
    /// Its revisions.
    pub revisions: Vec<Arc<RevisionView>>,
    /// The ConfigMaps and Secrets that it reads, with their copies.
    pub sources: BTreeMap<Source, Known<SourceView>>,
    /// How long nothing must have changed before pins are written.
    #[serde(skip)]
    pub quiet_period: Duration,
    /// The key under which digests of Secrets are made.
    #[serde(skip)]
    pub digest_key: DigestKey,
}

/// Decides about one workload: whether its template gets new pins, and whom the copies belong to.
pub fn decide(now: Timestamp, seen: &TrackedSnapshot) -> Plan<()> {
    let mut plan = Plan::new(());
    let considered = Pins::of(seen.workload.metadata.annotation(names::CONFIG_CONSIDERED));
    let want = wanted(seen, &considered);
    match want.problems.first() {
        Some(problem) => warn(seen, problem.reason(), problem.to_string(), &mut plan),
        None => pin(now, seen, &want, &considered, &mut plan),
    }
    if !want.unread.is_empty() {
        warn(seen, SECRETS_NOT_READ, unread_words(&want.unread), &mut plan);
    }
    keep_owners(seen, &want, &mut plan);
    plan
}

/// Says what a person has to do something about.
fn warn(seen: &TrackedSnapshot, reason: &'static str, note: String, plan: &mut Plan<()>) {
    plan.because(reason, note.clone());
    plan.notices.push(Notice {
        about: seen.workload.metadata.object(seen.kind),
        uid: seen.workload.metadata.uid.clone(),
        severity: Severity::Warning,
        reason,
        action: "Wait",
        note,
    });
}

fn wanted(seen: &TrackedSnapshot, considered: &Pins) -> Want {
    let none = Pins::default();
    let situation = Situation {
        reads: &seen.workload.reads,
        known: &seen.sources,
        template: &seen.workload.pins,
        stable: &none,
        considered: &considered.0,
        overrides: &none,
        joins: false,
        key: seen.digest_key.bytes(),
    };
    want(&situation, |_| None)
}

/// Writes the pins, with what was taken into account, in one patch.
fn pin(now: Timestamp, seen: &TrackedSnapshot, want: &Want, considered: &Pins, plan: &mut Plan<()>) {
    let workload = &seen.workload;
    let changed: Vec<&Source> =
        want.pins.0.iter().filter(|(source, pin)| workload.pins.get(source) != Some(*pin)).map(|(s, _)| s).collect();
    // What was pinned by an earlier template, after an undo, is no less taken into account.
    let taken: Pins = Pins(want.live.clone());
    if changed.is_empty() && taken == *considered {
        plan.because("Frozen", "each revision reads its own configuration");
        return;
    }
    let last =
        changed.iter().filter_map(|source| seen.sources.get(source)?.live.as_ref()?.as_ref().author.as_ref()?.at);
    let quiet_until = last.max().and_then(|at| at.checked_add(seen.quiet_period).ok());
    if let Some(until) = quiet_until.filter(|until| now < *until) {
        plan.wake_by(until);
        plan.because("QuietPeriod", "a change was seen; it is rolled out once nothing has followed it for a moment");
        return;
    }
    for source in &changed {
        let (Some(known), Some(pin)) = (seen.sources.get(*source), want.pins.get(source)) else { continue };
        let owner = owner(&seen.kind, &workload.metadata);
        plan.writes.extend(crate::copy(source, pin, known, &workload.metadata.namespace, owner, &seen.digest_key));
    }
    let meta = &workload.metadata;
    let mut body = json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version,
        "annotations": {names::CONFIG_CONSIDERED: taken.to_string()},
    }});
    let why = if changed.is_empty() {
        "note which configuration is live"
    } else {
        body["spec"] = json!({"template": {"metadata": {"annotations": {names::CONFIG: want.pins.to_string()}}}});
        "name the revisions of its configuration in the pod template"
    };
    plan.because(if changed.is_empty() { "Frozen" } else { "PinningConfig" }, why);
    let verb = Verb::Merge { body, subresource: None };
    plan.writes.push(Write { target: meta.object(seen.kind), verb, why: why.to_owned() });
}

fn owner(kind: &Kind, meta: &Meta) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": meta.name, "uid": meta.uid})
}

/// Lets each copy be owned by the revisions that name it.
fn keep_owners(seen: &TrackedSnapshot, want: &Want, plan: &mut Plan<()>) {
    let workload = &seen.workload;
    let ours: Vec<&str> = seen
        .revisions
        .iter()
        .map(|revision| &revision.metadata)
        .chain([&workload.metadata])
        .map(|m| m.uid.as_str())
        .collect();
    for (source, known) in &seen.sources {
        for copy in known.copies.iter().map(AsRef::as_ref) {
            if copy.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let named =
                |pins: &Pins| pins.get(source).is_some_and(|pin: &Pin| pin.copy_name(source) == copy.metadata.name);
            let own = (named(&want.pins) || named(&workload.pins)).then(|| owner(&seen.kind, &workload.metadata));
            let revisions = seen.revisions.iter().filter(|revision| named(&revision.pins));
            let owners = own.into_iter().chain(revisions.map(|r| owner(&names::CONTROLLER_REVISION, &r.metadata)));
            plan.writes.extend(crate::own(copy, source, owners.collect(), &ours));
        }
    }
}
