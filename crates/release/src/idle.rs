//! No release is under way: learn what is stable, begin a release when a change is held. What people ask meanwhile is in
//! `between`.

use std::time::Duration;

use jiff::Timestamp;
use trimtab_config::Source;
use trimtab_crds::{CanaryProgress, FirstRollout, PastRevision, Phase, Progress, Revision, Stage, StepRecord, names};
use trimtab_plan::Severity;

use crate::{
    adoption, asleep, between, canary,
    configuration::{self, Gate},
    deadline,
    draft::Draft,
    record,
    report::NAME_TAKEN,
    steps,
    undo::carry_out_undo,
    views::ReplicaSetView,
    world::Held,
};

/// When something is looked at again whose going wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How many numbers of Releases are looked at for one that is free.
pub(crate) const RECORDS_AHEAD: i64 = 50;
/// Why a release has no steps where its plan has none: nothing judged the change before it was promoted.
pub(crate) const NO_STEPS: &str = "the plan has no steps before promotion";
/// Why a release has no steps where there is nothing to try it beside: nothing judged the change either.
pub(crate) const NOTHING_LEFT: &str =
    "nothing of the stable revision is left to compare with: it went from the Deployment's history";
/// Why a release has no steps where a person wants none.
pub(crate) const IN_FULL: &str = "promoted in full by request";

pub(crate) fn decide(draft: &mut Draft<'_>) {
    if draft.status.rejected.as_ref().is_some_and(|rejected| rejected.digest != draft.world.digest) {
        draft.status.rejected = None;
    }
    if draft.request().is_some() {
        // The later word counts.
        draft.status.undo = None;
    }
    if draft.status.undo.is_some() && carry_out_undo(draft) {
        return;
    }
    let rejected = between::reconsider(draft);
    go_on(draft);
    if rejected.is_some() && draft.status.release.is_none() {
        draft.status.rejected = rejected;
    }
}

fn go_on(draft: &mut Draft<'_>) {
    if learned_before_waking(draft) || learned_what_was_released(draft) {
        return;
    }
    // What a person asks of the change does not wait until it is woken: that may never be allowed.
    if draft.world.wish().is_none() || !between::asks_for_an_end(draft) {
        asleep::keep_stable_first(draft);
        if asleep::wake(draft) {
            return;
        }
    }
    // What was taken back waits for a change, and so do its pins.
    let gate = configuration::decide(draft);
    if between::handle(draft, gate) || gate != Gate::Open {
        return;
    }
    let rollout = draft.status.first_rollout.take();
    match draft.world.held() {
        Held::By { who, person_paused } => held(draft, &who, person_paused),
        Held::No | Held::Released => not_held(draft, rollout),
    }
}

/// Whether the Deployment asks for a template that nothing is known of yet.
pub(crate) fn is_new(draft: &Draft<'_>) -> bool {
    let world = draft.world;
    let held = matches!(world.held(), Held::By { .. });
    held && draft.status.rejected.is_none() && world.stable_digest(&draft.status) != Some(world.digest)
}

fn held(draft: &mut Draft<'_>, who: &str, person_paused: bool) {
    let digest = draft.world.digest;
    let name = draft.world.deployment.metadata.name.clone();
    if draft.world.stable_digest(&draft.status) == Some(digest) {
        return hold_nothing(draft, person_paused, &name);
    }
    if let Some(rejected) = draft.status.rejected.clone() {
        let message = format!(
            "taken back ({}); the Deployment still asks for it. Change it, or: kubectl trimtab retry | undo {}",
            rejected.verdict.message, draft.world.plan.metadata.name
        );
        draft.say(Phase::TakenBack, "TakenBack", message);
        return;
    }
    if person_paused {
        return person_paused_it(draft, &name);
    }
    // Where nothing is stable there is nothing to compare with: a person may let it roll all the same.
    if let Some(text) = between::promoted_in_full(draft) {
        draft.consume(&text);
        if draft.status.stable.is_none() {
            // Where one revision runs, that is what is taken back to.
            draft.status.stable = all_that_runs(draft).filter(|rs| rs.spec.template.digest != digest).map(revision_of);
        }
        return without_steps(draft, &author(draft, who), IN_FULL);
    }
    if let Some(rs) = draft.world.changed_alike(&draft.status) {
        let message = format!(
            "ReplicaSet {} does not hold what was stable any more, but what the Deployment asks for now: somebody changed \
             both, or the API server fills in new defaults. It is not tried by itself: kubectl trimtab promote --full {} \
             releases it as it is, another change of the Deployment is tried as usual",
            rs.metadata.name, draft.world.plan.metadata.name
        );
        draft.say(Phase::Blocked, "StableChanged", message.clone());
        return draft.tell(Severity::Warning, "StableChanged", "Check", message);
    }
    if draft.status.stable.is_none() && !find_stable(draft) {
        return;
    }
    if draft.world.stable_digest(&draft.status) == Some(digest) {
        // What runs is learned only now. A release of it would take it away from itself when it is taken back.
        return hold_nothing(draft, person_paused, &name);
    }
    if asleep::holds(&draft.world) {
        return asleep::wait(draft);
    }
    if asleep::is_waking(draft) {
        return draft.say(
            Phase::Waiting,
            "Waking",
            "the Deployment has replicas again: the stable revision comes up first",
        );
    }
    let stable = draft.status.stable.as_ref().map(|s| s.replica_set.clone()).unwrap_or_default();
    let mixed = draft.world.owned().any(|rs| rs.spec.replicas > 0 && rs.metadata.name != stable);
    if mixed {
        return mid_rollout(draft);
    }
    start(draft, &author(draft, who));
}

/// The Deployment asks for what is stable.
fn hold_nothing(draft: &mut Draft<'_>, person_paused: bool, name: &str) {
    if person_paused {
        return person_paused_it(draft, name);
    }
    let why = "the change was changed back to what is stable: nothing is to be held";
    draft.write(canary::release(&draft.world, why));
    draft.say(Phase::Stable, "Stable", "the change was changed back to what is stable");
}

/// Who made the change. Where pins were written, it was us who changed the template; who changed the configuration was
/// noted before.
fn author(draft: &Draft<'_>, who: &str) -> String {
    let pending = draft.status.config.as_ref().and_then(|config| config.pending.as_ref());
    pending.map_or_else(|| who.to_owned(), |pending| pending.by.clone())
}

/// Begins a release that goes on to promotion at once. A ReplicaSet of the plan that has the template already is what the
/// Deployment takes over: it would make a second one beside it.
fn without_steps(draft: &mut Draft<'_>, who: &str, why: &str) {
    let world = draft.world;
    let message = format!("promoting {} without steps: {why}", world.digest_words());
    let there = world
        .replica_sets_of_plan()
        .find(|rs| rs.spec.template.digest == world.digest && rs.metadata.deletion_timestamp.is_none());
    let canary = there.map(|rs| CanaryProgress {
        replica_set: rs.metadata.name.clone(),
        from_history: canary::was_the_deployments(rs),
        replicas: rs.spec.replicas,
    });
    begin(draft, who.to_owned(), canary, Some(why.to_owned()), Stage::Promoting);
    draft.say(Phase::Promoting, "Promoting", message.clone());
    draft.tell(Severity::Normal, "ReleaseStarted", "Start", message);
}

fn person_paused_it(draft: &mut Draft<'_>, name: &str) {
    let message = format!(
        "a person had paused Deployment {name} before it was changed: kubectl rollout resume deployment {name}"
    );
    draft.say(Phase::Waiting, "PausedByPerson", message.clone());
    draft.tell(Severity::Warning, "PausedByPerson", "Wait", message);
}

fn mid_rollout(draft: &mut Draft<'_>) {
    let plan = &draft.world.plan.metadata.name;
    let message = format!(
        "the Deployment was still rolling when it was changed, so no revision of it is stable: let the change roll with \
         kubectl trimtab promote --full {plan}, or change the Deployment back to what it was rolling to"
    );
    draft.say(Phase::Blocked, "MidRollout", message.clone());
    draft.tell(Severity::Warning, "MidRollout", "Wait", message);
}

/// The stable revision of a Deployment that was changed before it was ever seen complete: the only one that has pods.
fn find_stable(draft: &mut Draft<'_>) -> bool {
    let mut with_pods: Vec<&ReplicaSetView> = draft.world.owned().filter(|rs| rs.spec.replicas > 0).collect();
    if with_pods.is_empty() {
        with_pods.extend(newest_other(draft));
    }
    match with_pods.as_slice() {
        [only] => {
            draft.status.stable = Some(revision_of(only));
            true
        }
        [] => {
            draft.write(canary::release(
                &draft.world,
                "no revision of this Deployment ever had pods: there is nothing to compare with",
            ));
            draft.say(Phase::Waiting, "FirstRollout", "the first rollout begins");
            false
        }
        _ => {
            mid_rollout(draft);
            false
        }
    }
}

/// The newest revision of the Deployment that is not the held one.
fn newest_other<'a>(draft: &Draft<'a>) -> Option<&'a ReplicaSetView> {
    let world = draft.world;
    let revision = |rs: &&ReplicaSetView| rs.metadata.annotation(names::REVISION).and_then(|r| r.parse::<i64>().ok());
    world.owned().filter(|rs| rs.spec.template.digest != world.digest).max_by_key(revision)
}

/// Whether something is to be woken and it is not known yet what is to come up first: a plan that was made anew has yet to learn it.
fn learned_before_waking(draft: &mut Draft<'_>) -> bool {
    if draft.world.wish().is_none() || draft.status.stable.is_some() {
        return false;
    }
    let going = draft.world.owned().any(|rs| rs.spec.replicas > 0);
    if !going {
        let Some(rs) = newest_other(draft) else { return false };
        draft.status.stable = Some(revision_of(rs));
    }
    draft.say(Phase::Waiting, "Waking", "before the Deployment is woken: what was stable is being looked up");
    true
}

/// Whether somebody released a change past the plan while nobody looked, and another is held by now: that is compared with what runs.
fn learned_what_was_released(draft: &mut Draft<'_>) -> bool {
    let Some(rs) = asleep::released_meanwhile(draft) else { return false };
    let old = draft.status.stable.replace(revision_of(rs));
    if let Some(digest) = old.map(|old| old.digest) {
        let release = record::keeper_of(&draft.world, &digest).unwrap_or_default();
        draft.remember(PastRevision { digest, release });
    }
    let message = format!(
        "{} was released past the plan while Trimtab did not look, and is stable now: what is held is compared with it",
        crate::world::words(&rs.spec.template)
    );
    draft.say(Phase::Waiting, "ReleaseOver", message.clone());
    draft.tell(Severity::Warning, "Bypassed", "Follow", message);
    true
}

/// The one ReplicaSet of the Deployment that has pods.
fn all_that_runs<'a>(draft: &Draft<'a>) -> Option<&'a ReplicaSetView> {
    let world = draft.world;
    let mut with_pods = world.owned().filter(|rs| rs.spec.replicas > 0);
    with_pods.next().filter(|_| with_pods.next().is_none())
}

fn revision_of(rs: &ReplicaSetView) -> Revision {
    Revision { digest: rs.spec.template.digest.clone(), replica_set: rs.metadata.name.clone() }
}

fn not_held(draft: &mut Draft<'_>, rollout: Option<FirstRollout>) {
    let world = draft.world;
    let digest = world.digest;
    let paused = world.deployment.spec.paused;
    let known = world.stable_digest(&draft.status).map(str::to_owned);
    if known.as_deref() == Some(digest) || known.is_none() {
        if let Some(rs) = world.owned_with(digest).filter(|_| known.is_some() || world.rolled_out()) {
            draft.status.stable = Some(revision_of(rs));
        }
        let name = &world.deployment.metadata.name;
        if draft.status.stable.is_some() {
            let message = match paused {
                true => format!("a person paused Deployment {name}: kubectl rollout resume deployment {name}"),
                false => format!("{} is stable", world.digest_words()),
            };
            draft.say(Phase::Stable, if paused { "PausedByPerson" } else { "Stable" }, message);
        } else if paused {
            let message = format!(
                "a person paused Deployment {name} in its first rollout: kubectl rollout resume deployment {name}"
            );
            draft.say(Phase::Waiting, "PausedByPerson", message);
        } else {
            first_rollout(draft, rollout);
        }
        return;
    }
    // A template that is neither stable nor held: somebody released it past the plan, or no policy holds changes.
    let by = "unknown".to_owned();
    begin(draft, by, None, Some("released past the plan".to_owned()), Stage::Bypassed);
    let message = match world.held() {
        Held::Released => "a change rolls that was released past the plan; Trimtab follows and records it",
        _ => "a change rolls that was not held: is the policy trimtab-hold installed? Trimtab follows and records it",
    };
    draft.say(Phase::Promoting, "Bypassed", message);
    draft.tell(Severity::Warning, "Bypassed", "Follow", message);
}

/// Waits for the rollout that was under way when the plan came. Nothing of it is judged, but it is told when it gets nowhere: when no
/// further pod of what is rolled in becomes available. Those of all revisions are as many in the beginning as in the end.
fn first_rollout(draft: &mut Draft<'_>, before: Option<FirstRollout>) {
    let (world, status) = (draft.world, &draft.world.deployment.status);
    let count = world.owned_with(world.digest).map(deadline::count).unwrap_or_default();
    let fresh = FirstRollout { since: millis(world.now), most_available: count.available };
    let rollout = before.filter(|before| !count.is_news(before.most_available)).unwrap_or(fresh);
    let wait = &world.plan.spec.progress_deadline;
    let end = wait.get().and_then(|wait| rollout.since.checked_add(wait).ok());
    draft.status.first_rollout = Some(rollout);
    let counts = format!("{} of {} pods are available", status.available_replicas, world.replicas);
    let late = world.deployment.late().map(str::to_owned);
    let late = late.or_else(|| end.filter(|end| world.now >= *end).map(|_| deadline::over(wait)));
    if let Some(late) = late {
        let message = format!(
            "the first rollout gets nowhere ({late}): {counts}; mend what keeps the others, or change the Deployment"
        );
        return draft.say(Phase::Waiting, "FirstRolloutStalled", message);
    }
    if let Some(end) = end {
        draft.plan.wake_by(end);
    }
    let message = format!(
        "waiting for the rollout that was under way to end: {counts}; where that does not come, change the Deployment"
    );
    draft.say(Phase::Waiting, "FirstRollout", message);
}

/// Whether what stable reads from a copy is read live from now on: what that holds has never been stable, whatever the template is.
fn thaws(draft: &Draft<'_>) -> bool {
    let wanted = &draft.world.deployment.spec.template;
    let thawed = |source: &Source| !wanted.config.0.contains_key(source) && wanted.reads.sources.contains_key(source);
    let stable = draft.world.stable_set(&draft.status);
    stable.is_some_and(|stable| stable.spec.template.config.0.keys().any(thawed))
}

/// Begins a release of the held change.
fn start(draft: &mut Draft<'_>, who: &str) {
    let world = draft.world;
    let steps = &world.plan.spec.strategy.canary.steps;
    let window = usize::try_from(world.plan.spec.rollback_window).unwrap_or(0);
    let recent = draft.status.history.iter().take(window).any(|past| past.digest == world.digest);
    let recent = recent && !thaws(draft);
    let skips = if world.replicas == 0 {
        Some("the Deployment has no replicas (whileScaledToZero: Promote)".to_owned())
    } else if world.stable_set(&draft.status).is_none() && world.owned().all(|rs| rs.spec.replicas == 0) {
        Some(NOTHING_LEFT.to_owned())
    } else if recent {
        Some("it was stable a short while ago (rollbackWindow)".to_owned())
    } else if steps::none_before_promotion(steps) {
        Some(NO_STEPS.to_owned())
    } else {
        None
    };
    if let Some(why) = skips {
        return without_steps(draft, who, &why);
    }
    // One that is the plan's already was taken from the history by a process that died before it could record that.
    let taken = world
        .replica_sets_of_plan()
        .find(|rs| rs.spec.template.digest == world.digest && canary::was_the_deployments(rs));
    let (name, from_history) = match taken.or_else(|| world.owned_with(world.digest)) {
        Some(rs) => (rs.metadata.name.clone(), true),
        None => (canary::set_name(&world.deployment.metadata.name, world.digest), false),
    };
    let existing = world.replica_set(&name);
    if existing.is_some_and(|rs| rs.metadata.deletion_timestamp.is_some()) {
        draft.say(Phase::Releasing, "CleaningUp", canary::waiting_to_go(&name));
        return;
    }
    if existing.is_some_and(|rs| adoption::reclaim(draft, rs)) {
        return;
    }
    let write = match (from_history, existing) {
        (_, Some(rs)) if world.owned_by_plan(rs) => None,
        (true, Some(rs)) if rs.spec.replicas == 0 => Some(canary::take_from_history(&world, rs)),
        (true, _) => return mid_rollout(draft),
        (false, Some(_)) => {
            let message = format!("ReplicaSet {name} is in the way of the canary and is not ours: delete or rename it");
            draft.say(Phase::Blocked, NAME_TAKEN, message.clone());
            // Nothing tells when what is not ours goes.
            draft.plan.wake_by(world.now.checked_add(LOOK_AGAIN).unwrap_or(world.now));
            return draft.tell(Severity::Warning, NAME_TAKEN, "Wait", message);
        }
        // It comes alone: whoever changed the Deployment waits for it, and the record follows once it is seen. Its name
        // follows from the template, so that a process that dies in between makes no second one.
        (false, None) => {
            draft.write(canary::create(&world));
            let message = format!("making the canary of {}", draft.world.digest_words());
            return draft.say(Phase::Releasing, "MakingCanary", message);
        }
    };
    let replicas = steps::canary_size(steps, 0, world.replicas);
    let words = change_words(draft);
    begin(
        draft,
        who.to_owned(),
        Some(CanaryProgress { replica_set: name, from_history, replicas }),
        None,
        Stage::Steps,
    );
    draft.plan.writes.extend(write);
    draft.say(
        Phase::Releasing,
        "ReleaseStarted",
        format!("trying {words} on {replicas} of {} pods", draft.world.replicas),
    );
    draft.tell(Severity::Normal, "ReleaseStarted", "Start", draft.status.message.clone());
}

/// The change in a person's words: its images, or the configuration where that is all that changed.
fn change_words(draft: &Draft<'_>) -> String {
    let world = draft.world;
    let (new, stable) = (&world.deployment.spec.template, world.stable_set(&draft.status));
    match stable.map(|rs| &rs.spec.template) {
        Some(old) if old.images == new.images && old.config != new.config => {
            let changed = new.config.0.iter().filter(|(source, pin)| old.config.get(source) != Some(*pin));
            let changed: Vec<String> = changed.map(|(source, _)| source.to_string()).collect();
            format!("{} with new {}", world.digest_words(), changed.join(", "))
        }
        _ => world.digest_words(),
    }
}

fn begin(draft: &mut Draft<'_>, by: String, canary: Option<CanaryProgress>, skips_steps: Option<String>, stage: Stage) {
    let world = draft.world;
    let now = millis(world.now);
    // A number that something else bears is passed over. One of ours is that of a process which died after it had made it.
    let last = draft.status.sequence + RECORDS_AHEAD;
    let (mut sequence, mut is_made) = (draft.status.sequence + 1, false);
    while sequence < last {
        let name = record::name(&world.plan.metadata.name, sequence);
        match world.seen.releases.iter().find(|release| release.metadata.name == name) {
            None => break,
            Some(release) if record::is_of(&world, release) => {
                is_made = true;
                break;
            }
            Some(_) => sequence += 1,
        }
    }
    let name = record::name(&world.plan.metadata.name, sequence);
    if !is_made {
        let stable = world.stable_set(&draft.status);
        draft.plan.writes.push(record::create(&world, sequence, &by, stable));
    }
    let steps = &draft.world.plan.spec.strategy.canary.steps;
    let first = if skips_steps.is_some() { None } else { steps.first() };
    let progress = Progress {
        name,
        digest: draft.world.digest.to_owned(),
        by,
        started_at: now,
        stage,
        stage_started_at: now,
        step: 0,
        step_started_at: now,
        pause_started_at: None,
        unavailable_since: Some(now),
        most_available: 0,
        short_since: None,
        reached: None,
        steps: first
            .map(|step| StepRecord { step: steps::words(step), started_at: now, finished_at: None })
            .into_iter()
            .collect(),
        steps_digest: steps::steps_digest(steps),
        weight: steps::weight_at(steps, 0),
        canary,
        paused: false,
        kept: false,
        skips_steps,
        verdict: None,
    };
    draft.status.sequence = sequence;
    draft.status.rejected = None;
    draft.status.release = Some(progress);
}

/// Fractions below a millisecond tell nobody anything.
pub(crate) fn millis(now: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
