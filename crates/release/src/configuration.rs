//! Configuration as a part of releases: which pins the template is to have, when they are written into it, and the copies
//! that pods read. What the pins are is `trimtab-config`'s rule; what a release does with the template is the stages'.
//!
//! A change of a ConfigMap or Secret becomes a change of the template, held like any other. Copies are made before the
//! template names them, so that no pod ever waits for one.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_config::{Mode, Pin, Pins, Problem, Reads, Situation, Source, SourceKind, Want, unread_words, want};
use trimtab_crds::{Adopt, ConfigKind, ConfigMode, ConfigStatus, PendingChange, Phase, SourceStatus, Track, names};
use trimtab_plan::Severity;

use crate::{
    canary,
    digest::value_digest,
    draft::Draft,
    idle::{is_new, millis},
    record,
    validation::{Validity, validate},
    views::ReplicaSetView,
    world::Held,
};

/// Whatever follows a change within so many quiet periods waits with it; then it is released however restless it is.
const MOST_PERIODS: u32 = 10;

/// How many authors of one change are named.
const MOST_AUTHORS: usize = 5;

/// What was last taken into account of a source that is read live: that it is. No pin is spelt so.
const LIVE: &str = "live";

/// Whether a release may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The pins are as they are to be.
    Open,
    /// Something comes first that comes by itself; the draft says what.
    Waiting,
    /// A person has to act first; the draft says who and what.
    Blocked,
}

/// Looks after the pins of the template, before a release begins and while it goes through its steps.
pub(crate) fn decide(draft: &mut Draft<'_>) -> Gate {
    let world = draft.world;
    let (template, tracks) = (&world.deployment.spec.template, world.plan.spec.config.track != Track::None);
    // Pods would read a copy for ever that the template still names.
    let before = draft.status.config.take().unwrap_or_default();
    if !template.has_text() || (!tracks && template.config.is_empty()) {
        draft.status.config = all_read_live(&template.reads, before);
        return if is_new(draft) { look_at(draft, &Want::default(), false) } else { Gate::Open };
    }
    let want = if tracks { wanted(draft, &before) } else { Want::all_live(&template.config) };
    let stamps = stamp_needed(draft, &before, &want);
    let status = ConfigStatus { sources: sources(draft, &before, &want), pending: None };
    let changing = (stamps && is_quiet(draft)) || is_new(draft);
    draft.status.config = (!status.sources.is_empty()).then_some(status);
    let gate = match want.problems.first() {
        Some(problem) if changing || draft.progress().is_none() => {
            blocked(draft, problem.reason(), problem.to_string())
        }
        _ if !changing => {
            copy(draft, &want);
            Gate::Open
        }
        _ if want.pins.is_empty() && !stamps => look_at(draft, &want, stamps),
        _ => settle(draft, before.pending, &want, stamps),
    };
    draft.config = Some(want);
    gate
}

/// Whether the Deployment is where its template can be changed: at rest on what is stable, or held. While it rolls, a
/// change would stop it half way.
fn is_quiet(draft: &Draft<'_>) -> bool {
    let world = draft.world;
    matches!(world.held(), Held::By { .. }) || world.stable_digest(&draft.status) == Some(world.digest)
}

fn wanted(draft: &Draft<'_>, before: &ConfigStatus) -> Want {
    let world = draft.world;
    let config = &world.plan.spec.config;
    let stable = world.stable_set(&draft.status).map(|rs| rs.spec.template.config.clone()).unwrap_or_default();
    let frozen = frozen_before(before, &stable);
    let considered = before.sources.iter().filter_map(|s| Some((s.source.parse().ok()?, s.considered.as_deref()?)));
    let considered = considered.filter(|(_, pin)| *pin != LIVE);
    let considered = considered.filter_map(|(source, pin)| Some((source, Pin::parse(pin)?))).collect();
    let situation = Situation {
        reads: &world.deployment.spec.template.reads,
        known: &world.seen.sources,
        template: &world.deployment.spec.template.config,
        stable: &stable,
        considered: &considered,
        overrides: &Pins::of(world.plan.metadata.annotation(names::CONFIG_PINNED)),
        joins: is_new(draft) || config.adopt == Adopt::Now,
        frozen: &frozen,
        key: world.seen.digest_key.bytes(),
    };
    want(&situation, |source| {
        let listed = config.sources.iter().find(|listed| is(listed.kind, &listed.name, source));
        match (listed.and_then(|listed| listed.mode), listed, config.track) {
            (Some(ConfigMode::Frozen), ..) => Some(Mode::Frozen),
            (Some(ConfigMode::Live), ..) | (None, None, Track::Listed) => Some(Mode::Live),
            _ => None,
        }
    })
}

/// The sources of which a revision was frozen under this plan. That something was not there yet says nothing of what it is.
fn frozen_before(before: &ConfigStatus, stable: &Pins) -> BTreeSet<Source> {
    let is_revision = |pin: &Option<String>| pin.as_deref().and_then(Pin::parse).is_some_and(|pin| pin != Pin::Absent);
    let known = |source: &Source| before.sources.iter().any(|status| status.source == source.to_string());
    let of_stable = stable.0.iter().filter(|(source, pin)| **pin != Pin::Absent && !known(source));
    let noted = before.sources.iter().filter(|status| {
        status.mode == ConfigMode::Frozen && (is_revision(&status.pinned) || is_revision(&status.considered))
    });
    let noted = noted.filter_map(|status| status.source.parse().ok());
    of_stable.map(|(source, _)| source.clone()).chain(noted).collect()
}

fn is(kind: ConfigKind, name: &str, source: &Source) -> bool {
    let same = matches!(
        (kind, source.kind),
        (ConfigKind::ConfigMap, SourceKind::ConfigMap) | (ConfigKind::Secret, SourceKind::Secret)
    );
    same && name == source.name
}

/// How the sources stand.
fn sources(draft: &Draft<'_>, before: &ConfigStatus, want: &Want) -> Vec<SourceStatus> {
    let template = &draft.world.deployment.spec.template.config;
    let old = |name: &str| before.sources.iter().find(|status| status.source == name);
    let frozen = want.live.keys().chain(want.pins.0.keys()).chain(want.problems.iter().map(Problem::source));
    let mut sources: Vec<&Source> = frozen.chain(want.unfrozen.keys()).chain(&want.unread).collect();
    sources.sort_unstable();
    sources.dedup();
    let status = |source: &Source| {
        let name = source.to_string();
        let nature = want.unfrozen.get(source);
        let pinned = template.get(source);
        let live = want.live.get(source);
        // What is live counts as taken into account once the template names it, or where there is nothing to name.
        let taken = live.is_some() && (pinned == live || !want.pins.0.contains_key(source));
        let known = old(&name).and_then(|status| status.considered.clone()).filter(|known| known != LIVE);
        let overridden = want.overridden.contains(source);
        let considered = match (overridden, taken) {
            (true, _) => None,
            (false, true) => live.map(ToString::to_string),
            (false, false) => known,
        };
        let read_live = pinned.is_none() || was_live(before, source);
        SourceStatus {
            mode: if nature.is_some() { ConfigMode::Live } else { ConfigMode::Frozen },
            pinned: pinned.map(ToString::to_string),
            considered: if nature.is_some() { read_live.then(|| LIVE.to_owned()) } else { considered },
            note: note(source, template, want, overridden),
            source: name,
        }
    };
    sources.into_iter().map(status).collect()
}

/// What is to be known about a source.
fn note(source: &Source, template: &Pins, want: &Want, overridden: bool) -> Option<String> {
    if let Some(problem) = want.problems.iter().find(|problem| problem.source() == source) {
        return Some(problem.to_string());
    }
    if want.unread.contains(source) {
        return Some(unread_words([source]));
    }
    if overridden {
        return Some("pinned by a person; the live object is not looked at until it is unpinned".to_owned());
    }
    if let Some(nature) = want.still_frozen.get(source) {
        return Some(format!(
            "frozen as before, though it looks by now like {nature}: mode Live in config.sources lets pods read it live"
        ));
    }
    if want.ahead.contains(source) {
        return Some("the live object is ahead of what is released".to_owned());
    }
    if want.unprotected.contains(source) {
        return Some("pods read the live object until the next release is over".to_owned());
    }
    let nature = *want.unfrozen.get(source)?;
    if template.get(source).is_some() {
        return Some("pods read their copy until the next release is over; then they read it live".to_owned());
    }
    nature.map(|nature| format!("read live: {nature}"))
}

/// Whether the template is to name other revisions than it does. What it names although it is to be read live, and did not name any
/// more before, an undo has brought back: that stays until the next change, as the revisions of what is frozen do.
fn stamp_needed(draft: &Draft<'_>, before: &ConfigStatus, want: &Want) -> bool {
    let world = draft.world;
    let template = &world.deployment.spec.template.config;
    let was_stable = draft.status.history.iter().any(|past| past.digest == world.digest);
    let next = is_new(draft) && !was_stable;
    let live = want.unfrozen.keys().any(|source| template.get(source).is_some() && (next || !was_live(before, source)));
    live || want.pins.0.iter().any(|(source, pin)| template.get(source) != Some(pin))
}

/// Whether it was taken into account that a source is read live: the template had no pin of it.
fn was_live(before: &ConfigStatus, source: &Source) -> bool {
    let name = source.to_string();
    before.sources.iter().any(|status| status.source == name && status.considered.as_deref() == Some(LIVE))
}

/// Nothing is tracked, and the template names nothing: that this was so of what was tracked before is remembered.
fn all_read_live(reads: &Reads, before: ConfigStatus) -> Option<ConfigStatus> {
    let is_read = |status: &SourceStatus| status.source.parse().is_ok_and(|source| reads.sources.contains_key(&source));
    let live = before.sources.into_iter().filter(is_read).map(|status| SourceStatus {
        mode: ConfigMode::Live,
        pinned: None,
        considered: Some(LIVE.to_owned()),
        note: None,
        ..status
    });
    let sources: Vec<SourceStatus> = live.collect();
    (!sources.is_empty()).then_some(ConfigStatus { sources, pending: None })
}

fn blocked(draft: &mut Draft<'_>, reason: &'static str, message: String) -> Gate {
    draft.tell(Severity::Warning, reason, "Wait", message.clone());
    // A canary that is judged goes on: it reads copies that are there.
    if draft.progress().is_none() {
        draft.say(Phase::Blocked, reason, message);
    }
    Gate::Blocked
}

/// Waits until nothing has changed for the quiet period, then writes the pins.
fn settle(draft: &mut Draft<'_>, before: Option<PendingChange>, want: &Want, stamps: bool) -> Gate {
    let world = draft.world;
    let now = millis(world.now);
    let digest = value_digest(&json!([world.deployment.spec.template.bare_digest(), want.pins.to_string()]));
    let pending = match before {
        Some(pending) if pending.digest == digest => pending,
        Some(pending) => PendingChange { digest, since: now, ..pending },
        None => PendingChange { digest, since: now, begun: now, by: author(draft, want) },
    };
    let end = settled_at(&pending, world.seen.quiet_period);
    if let Some(config) = &mut draft.status.config {
        config.pending = Some(pending);
    }
    if world.now < end {
        draft.plan.wake_by(end);
        if draft.progress().is_none() {
            let message = "a change was seen; it is released once nothing has followed it for a moment";
            draft.say(Phase::Waiting, "QuietPeriod", message);
        }
        return Gate::Waiting;
    }
    match look_at(draft, want, stamps) {
        Gate::Open => {}
        gate => return gate,
    }
    copy(draft, want);
    if !stamps {
        return Gate::Open;
    }
    draft.write(canary::pin(&world, &want.pins));
    if draft.progress().is_none() {
        let message = "naming the revisions of the configuration in the pod template";
        draft.say(Phase::Waiting, "PinningConfig", message);
    }
    Gate::Waiting
}

/// Has the policies look at what pods of the release would read.
fn look_at(draft: &mut Draft<'_>, want: &Want, stamps: bool) -> Gate {
    match validate(draft, want, stamps) {
        Validity::Allowed => Gate::Open,
        Validity::Refused { reason, message } => blocked(draft, reason, message),
        Validity::Asked => {
            if draft.progress().is_none() {
                let message = "the configuration is being looked at by its ConfigPolicies";
                draft.say(Phase::Waiting, "ValidatingConfig", message);
            }
            Gate::Waiting
        }
    }
}

fn settled_at(pending: &PendingChange, quiet: Duration) -> Timestamp {
    let at = |from: Timestamp, wait: Duration| from.checked_add(wait).unwrap_or(Timestamp::MAX);
    at(pending.since, quiet).min(at(pending.begun, quiet * MOST_PERIODS))
}

/// Who made the change, in words.
fn author(draft: &Draft<'_>, want: &Want) -> String {
    let world = draft.world;
    let template = &world.deployment.spec.template.config;
    let mut found: Vec<String> = vec![];
    if let Held::By { who, .. } = world.held() {
        found.push(who);
    }
    for (source, pin) in &want.pins.0 {
        let changed = template.get(source) != Some(pin) && want.live.get(source) == Some(pin);
        let live = world.seen.sources.get(source).and_then(|known| known.live.as_ref());
        let by = live.and_then(|object| object.as_ref().author.as_ref()).map(|author| author.manager.to_string());
        if let Some(by) = by.filter(|_| changed && template.get(source).is_some()) {
            found.push(format!("{by} ({source})"));
        }
    }
    let more = found.len().saturating_sub(MOST_AUTHORS);
    found.truncate(MOST_AUTHORS);
    match more {
        0 if found.is_empty() => "unknown".to_owned(),
        0 => found.join("; "),
        more => format!("{} and {more} more", found.join("; ")),
    }
}

/// Makes the copies that the pins name and that are not there yet.
fn copy(draft: &mut Draft<'_>, want: &Want) {
    let world = draft.world;
    let namespace = &world.deployment.metadata.namespace;
    for (source, pin) in &want.pins.0 {
        let Some(known) = world.seen.sources.get(source) else { continue };
        if want.live.get(source) == Some(pin) {
            let owner = owner("apps/v1", "Deployment", &world.deployment.metadata);
            let write = trimtab_config::copy(source, pin, known, namespace, owner, &world.seen.digest_key);
            write.into_iter().for_each(|write| draft.write(write));
        }
    }
}

fn owner(api_version: &str, kind: &str, meta: &trimtab_plan::Meta) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": meta.name, "uid": meta.uid})
}

/// Lets each copy be owned by whatever names it: when all that is gone, Kubernetes' garbage collection removes the copy,
/// with or without us.
pub(crate) fn keep_owners(draft: &mut Draft<'_>) {
    let world = draft.world;
    let wanted = draft.config.as_ref().map(|want| want.pins.clone()).unwrap_or_default();
    let sets = world.seen.replica_sets.iter().map(|rs| &rs.metadata);
    let releases = world.seen.releases.iter().map(|release| &release.metadata);
    let ours: Vec<&str> =
        sets.chain(releases).chain([&world.deployment.metadata]).map(|meta| meta.uid.as_str()).collect();
    let mut writes = vec![];
    for (source, known) in &world.seen.sources {
        for copy in known.copies.iter().map(AsRef::as_ref) {
            if copy.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let named = |pins: &Pins| pins.get(source).is_some_and(|pin| pin.copy_name(source) == copy.metadata.name);
            let owners = owners(draft, &named, named(&wanted));
            writes.extend(trimtab_config::own(copy, source, owners, &ours));
        }
    }
    writes.into_iter().for_each(|write| draft.tidy(write));
}

/// The objects of this workload that name a copy.
fn owners(draft: &Draft<'_>, named: &dyn Fn(&Pins) -> bool, wanted: bool) -> Vec<Value> {
    let world = draft.world;
    let template = &world.deployment.spec.template.config;
    let belongs = |rs: &ReplicaSetView| world.owned_by_deployment(rs) || world.owned_by_plan(rs);
    let sets = world.seen.replica_sets.iter().filter(|rs| belongs(rs) && named(&rs.spec.template.config));
    let records = world.seen.releases.iter().filter(|one| record::is_ours(&world, one));
    let releases = records.filter(|release| named(&Pins::parse(&release.spec.stable_config)));
    let deployment = (wanted || named(template)).then(|| owner("apps/v1", "Deployment", &world.deployment.metadata));
    deployment
        .into_iter()
        .chain(sets.map(|rs| owner("apps/v1", "ReplicaSet", &rs.metadata)))
        .chain(releases.map(|r| owner(&names::RELEASE.api_version(), "Release", &r.metadata)))
        .collect()
}
