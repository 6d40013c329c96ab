//! Frozen configuration without steps: StatefulSets and DaemonSets that opt in. Their own rolling updates carry the pins,
//! so each revision of them has its configuration. What is pinned is the same rule as for releases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_plan::{Failure, Kind, Meta, Notice, Plan, Severity, Verb, Watched, Write};

use crate::unpinned::template_id;
use crate::want::{SECRETS_NOT_READ, is_intact, unread_words};
use crate::{DigestKey, Known, Pin, Pins, Reads, Situation, Source, SourceView, Unpinned, Want, reads, want};

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
    /// What tells its template from others.
    pub template: String,
}

impl Tracked {
    /// What the pods of its templates without pins read.
    pub fn unpinned(&self) -> Unpinned {
        Unpinned::parse(self.metadata.annotation(names::CONFIG_UNPINNED).unwrap_or_default())
    }

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
        let mut tracked =
            Self { metadata: raw.metadata, reads: Reads::default(), pins: pins(template), template: String::new() };
        if tracked.opted_in() {
            tracked.reads = reads(template);
            tracked.template = template_id(template);
        }
        tracked
    }
}

fn pins(template: &Value) -> Pins {
    Pins::in_template(
        template.pointer("/metadata/annotations").and_then(|annotations| annotations.get(names::CONFIG)?.as_str()),
    )
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
    /// What tells its template from others.
    pub template: String,
}

#[derive(Deserialize)]
struct RawRevision {
    metadata: Meta,
    #[serde(default)]
    data: Value,
}

impl From<RawRevision> for RevisionView {
    fn from(raw: RawRevision) -> Self {
        let template = &raw.data["spec"]["template"];
        Self { metadata: raw.metadata, pins: pins(template), template: template_id(template) }
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
    let mut want = wanted(seen, &considered);
    let brought_back = bring_back(seen, &considered, &mut want);
    let note = note(seen, &want, considered, &brought_back);
    match want.problems.first() {
        Some(problem) => warn(seen, problem.reason(), problem.to_string(), &mut plan),
        None => pin(now, seen, &want, &note, &brought_back, &mut plan),
    }
    if !want.unread.is_empty() {
        warn(seen, SECRETS_NOT_READ, unread_words(&want.unread), &mut plan);
    }
    keep_owners(seen, &want, &note.unpinned, &mut plan);
    plan
}

/// What the workload's annotations say, and what they are to say.
struct Note {
    before: (Pins, Unpinned),
    considered: Pins,
    unpinned: Unpinned,
}

impl Note {
    fn is_new(&self) -> bool {
        self.before.0 != self.considered || self.before.1 != self.unpinned
    }
}

/// Pins what the template's pods read when it was there before, where it came back by an undo: it has no pin, and what is
/// live was taken into account by a later template. Without this an undo would bring the template back and leave its pods
/// with the configuration that the undo is to get rid of.
fn bring_back(seen: &TrackedSnapshot, considered: &Pins, want: &mut Want) -> Vec<Source> {
    let noted = seen.workload.unpinned();
    let mut back = vec![];
    for source in std::mem::take(&mut want.unprotected) {
        let live = want.live.get(&source);
        let before = noted.get(&seen.workload.template, &source);
        let before = before.filter(|before| {
            live.is_some() && Some(*before) != live && considered.get(&source) == live && is_kept(seen, &source, before)
        });
        let Some(before) = before else {
            want.unprotected.push(source);
            continue;
        };
        want.pins.0.insert(source.clone(), before.clone());
        want.ahead.push(source.clone());
        back.push(source);
    }
    back
}

/// Whether what a pin names is there to be read.
fn is_kept(seen: &TrackedSnapshot, source: &Source, pin: &Pin) -> bool {
    let copies = seen.sources.get(source).into_iter().flat_map(|known| &known.copies).map(AsRef::as_ref);
    let name = pin.copy_name(source);
    *pin == Pin::Absent || copies.into_iter().any(|copy| copy.metadata.name == name && is_intact(copy, pin))
}

/// What is to be noted of what is live: that it was taken into account, and that pods without pins read it.
fn note(seen: &TrackedSnapshot, want: &Want, considered: Pins, brought_back: &[Source]) -> Note {
    let before = seen.workload.unpinned();
    let live = want.unprotected.iter().filter_map(|source| Some((source.clone(), want.live.get(source)?.clone())));
    let mut unpinned = before.clone();
    unpinned.note(&seen.workload.template, Pins(live.collect()), brought_back);
    if unpinned != before {
        let kept = seen.revisions.iter().map(|revision| revision.template.as_str());
        unpinned.keep(&kept.chain([seen.workload.template.as_str()]).collect());
    }
    // What was pinned by an earlier template, after an undo, is no less taken into account.
    Note { before: (considered, before), considered: Pins(want.live.clone()), unpinned }
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
    // No policy is asked about these, and no plan could say Live.
    let (none, frozen) = (Pins::default(), BTreeSet::new());
    let situation = Situation {
        reads: &seen.workload.reads,
        known: &seen.sources,
        template: &seen.workload.pins,
        stable: &none,
        considered: &considered.0,
        overrides: &none,
        joins: false,
        frozen: &frozen,
        key: seen.digest_key.bytes(),
    };
    want(&situation, |_| None)
}

/// Writes the pins, with what was taken into account, in one patch.
fn pin(now: Timestamp, seen: &TrackedSnapshot, want: &Want, note: &Note, brought_back: &[Source], plan: &mut Plan<()>) {
    let workload = &seen.workload;
    let repinned = want.pins.0.iter().filter(|(source, pin)| workload.pins.get(source) != Some(*pin)).map(|(s, _)| s);
    // What is read live by now is not to be named any more: pods would go on with their copy.
    let unpinned = want.unfrozen.keys().filter(|source| workload.pins.get(source).is_some());
    let changed: Vec<&Source> = repinned.chain(unpinned).collect();
    if changed.is_empty() && !note.is_new() {
        let (reason, message) = stands(want);
        plan.because(reason, message);
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
    let kept = want.unprotected.iter().filter_map(|source| Some((source, want.live.get(source)?)));
    let pinned = changed.iter().filter_map(|source| Some((*source, want.pins.get(source)?)));
    for (source, pin) in kept.chain(pinned) {
        let Some(known) = seen.sources.get(source) else { continue };
        let owner = owner(&seen.kind, &workload.metadata);
        plan.writes.extend(crate::copy(source, pin, known, &workload.metadata.namespace, owner, &seen.digest_key));
    }
    let meta = &workload.metadata;
    let mut annotations = json!({names::CONFIG_CONSIDERED: note.considered.to_string()});
    if note.unpinned != note.before.1 {
        // A null takes the annotation out.
        let text = Some(note.unpinned.to_string()).filter(|text| !text.is_empty());
        annotations[names::CONFIG_UNPINNED] = json!(text);
    }
    let mut body = json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "annotations": annotations,
    }});
    let why = if !changed.is_empty() {
        let pins = Some(want.pins.to_string()).filter(|pins| !pins.is_empty());
        body["spec"] = json!({"template": {"metadata": {"annotations": {names::CONFIG: pins}}}});
        "name the revisions of its configuration in the pod template"
    } else {
        "note which configuration is live"
    };
    if !brought_back.is_empty() {
        let message = format!("brought back {} with the template that read it", list(brought_back));
        tell(seen, "ConfigBroughtBack", "PinConfig", message, plan);
    }
    match changed.is_empty() {
        true if !want.unprotected.is_empty() => {
            let (reason, message) = stands(want);
            tell(seen, reason, "Keep", message.clone(), plan);
            plan.because(reason, message);
        }
        true => plan.because("Frozen", why),
        false => plan.because("PinningConfig", why),
    }
    let verb = Verb::Merge { body, subresource: None };
    plan.writes.push(Write { target: meta.object(seen.kind), verb, why: why.to_owned() });
}

/// How things stand where nothing changes.
fn stands(want: &Want) -> (&'static str, String) {
    if want.unprotected.is_empty() {
        return ("Frozen", "each revision reads its own configuration".to_owned());
    }
    let message = format!(
        "its template names no revision of {} yet: pods that start read the live object; the next change is rolled out as a \
         revision of its own, and a rollout undo then brings back, with the template, what is live now",
        list(&want.unprotected)
    );
    ("ConfigUnprotected", message)
}

fn list(sources: &[Source]) -> String {
    sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn tell(seen: &TrackedSnapshot, reason: &'static str, action: &'static str, note: String, plan: &mut Plan<()>) {
    plan.notices.push(Notice {
        about: seen.workload.metadata.object(seen.kind),
        uid: seen.workload.metadata.uid.clone(),
        severity: Severity::Normal,
        reason,
        action,
        note,
    });
}

/// What people are told where a write was refused: nothing else would say so.
pub fn refused(seen: &TrackedSnapshot, write: &Write, failure: &Failure) -> Vec<Notice> {
    let mut plan = Plan::new(());
    let note = format!("{}: {}: {}: {}", failure.how(), write.why, failure.reason, failure.message);
    warn(seen, "WriteRefused", note, &mut plan);
    plan.notices
}

fn owner(kind: &Kind, meta: &Meta) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": meta.name, "uid": meta.uid})
}

/// Lets each copy be owned by the revisions that name it.
fn keep_owners(seen: &TrackedSnapshot, want: &Want, unpinned: &Unpinned, plan: &mut Plan<()>) {
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
            let is_it = |pin: Option<&Pin>| pin.is_some_and(|pin| pin.copy_name(source) == copy.metadata.name);
            // What pods without a pin read is theirs as well.
            let named =
                |pins: &Pins, template: &str| is_it(pins.get(source).or_else(|| unpinned.get(template, source)));
            let own = is_it(want.pins.get(source)) || named(&workload.pins, &workload.template);
            let own = own.then(|| owner(&seen.kind, &workload.metadata));
            let revisions = seen.revisions.iter().filter(|revision| named(&revision.pins, &revision.template));
            let owners = own.into_iter().chain(revisions.map(|r| owner(&names::CONTROLLER_REVISION, &r.metadata)));
            if let Some(write) = crate::own(copy, source, owners.collect(), &ours) {
                plan.tidy(write, workload.metadata.object(seen.kind), &workload.metadata.uid);
            }
        }
    }
}
