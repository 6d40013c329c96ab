//! The steps of a release, on a canary at the side. The Deployment is held and knows nothing of it.

use jiff::Timestamp;
use trimtab_crds::{CanaryProgress, OnFailure, Phase, Stage, StepRecord, Verdict};
use trimtab_plan::Severity;

use crate::{
    adoption, asleep, canary, configuration, deadline,
    draft::Draft,
    idle::{NO_STEPS, millis},
    promoting,
    request::Verb,
    steps::{self, Asks},
    undo::carry_out_undo,
    views::ReplicaSetView,
    world::{Held, failure},
};

/// How many steps of a release are on record: twice as many as a plan can have.
const MOST_RECORDS: usize = 100;

pub(crate) fn decide(draft: &mut Draft<'_>) {
    if draft.request().is_some() {
        // The later word counts.
        draft.status.undo = None;
    }
    // Whoever goes a step on means the steps as they are now.
    let goes_on = matches!(draft.request(), Some((_, Some(Verb::Promote))));
    let ends = ends_by_itself(draft) || (goes_on && steps_were_edited(draft));
    if ends || handle_request(draft) || steps_were_edited(draft) {
        return;
    }
    // While the old template is being brought back, the canary is still judged, and nothing else changes the template.
    let undoing = draft.status.undo.is_some() && carry_out_undo(draft);
    if undoing && !draft.plan.writes.is_empty() {
        return;
    }
    if !undoing {
        configuration::decide(draft);
    }
    asleep::keep_stable_first(draft);
    let Some(rs) = canary_in_hand(draft) else { return };
    let Some(progress) = draft.progress().cloned() else { return };
    let world = draft.world;
    if world.replicas == 0 && !asleep::holds(&world) {
        return promote_untried(draft);
    }
    let all_steps = &world.plan.spec.strategy.canary.steps;
    let index = usize::try_from(progress.step).unwrap_or(0);
    let size = match (steps::none_before_promotion(all_steps), &progress.canary) {
        // Every step was taken out while it waits: what it has stays.
        (true, Some(canary)) => canary.replicas.min(world.replicas),
        _ => steps::canary_size(all_steps, index, world.replicas),
    };
    if let Some(canary) = draft.status.release.as_mut().and_then(|p| p.canary.as_mut()) {
        canary.replicas = size;
    }
    let step = all_steps.get(index).map(steps::words).unwrap_or_default();
    if rs.spec.replicas != size {
        draft.write(canary::scale(
            rs,
            size,
            format!("{step}: {size} canary pods beside {} stable ones", world.replicas),
        ));
    }
    if asleep::holds(&world) {
        wait_for_replicas(draft, index);
        // Changed and changed back at once, it may have been asked for replicas meanwhile.
        asleep::wake(draft);
        return;
    }
    let available = rs.status.available_replicas;
    let settled =
        rs.spec.replicas == size && rs.status.observed_generation >= rs.metadata.generation && available >= size;
    if !keeps_up(draft, rs, settled, available, size) {
        return;
    }
    if undoing {
        return draft.say(Phase::Releasing, "Undoing", "the stable template is being read, to bring it back");
    }
    if draft.progress().is_some_and(|p| p.paused) {
        let (reason, message) = match draft.progress().and_then(|p| p.verdict.clone()) {
            Some(verdict) => ("FailedAndPaused", format!("{}; promote, retry or abort it", verdict.message)),
            None => (
                "PausedByRequest",
                format!("paused by request in step {}: kubectl trimtab resume, promote or abort", index + 1),
            ),
        };
        return draft.say(Phase::Paused, reason, message);
    }
    if !settled {
        let message =
            format!("step {}/{}, {step}: {available} of {size} canary pods are available", index + 1, all_steps.len());
        let message = match pod_trouble(rs) {
            Some(trouble) => format!("{message}; {trouble}"),
            None => message,
        };
        return draft.say(Phase::Releasing, "WaitingForCanary", message);
    }
    match all_steps.get(index).and_then(steps::asks) {
        Some(Asks::PauseFor(duration)) => pause(draft, index, Some(duration)),
        Some(Asks::PauseUntilPromoted) => pause(draft, index, None),
        Some(Asks::Promote) | None => promote(draft, "all steps are done"),
        Some(Asks::Size) => go_to(draft, index + 1),
    }
}

/// No pods, no judgement: what the step waits for begins anew once the Deployment has replicas again.
fn wait_for_replicas(draft: &mut Draft<'_>, index: usize) {
    if let Some(progress) = &mut draft.status.release {
        (progress.pause_started_at, progress.unavailable_since, progress.most_available) = (None, None, 0);
    }
    let total = draft.world.plan.spec.strategy.canary.steps.len();
    let name = &draft.world.plan.metadata.name;
    let message = format!(
        "step {}/{total}: the Deployment has no replicas; it goes on once it has; to end it before: kubectl trimtab promote \
         --full {name}, or abort",
        index + 1
    );
    draft.say(Phase::Paused, "ScaledToZero", message);
}

/// The plan asks for it.
fn promote_untried(draft: &mut Draft<'_>) {
    let why = "the Deployment has no replicas (whileScaledToZero: Promote)";
    if let Some(progress) = &mut draft.status.release {
        progress.skips_steps = Some(why.to_owned());
    }
    promote(draft, why);
}

/// Why pods of the canary are not even created: quota, admission.
fn pod_trouble(rs: &ReplicaSetView) -> Option<String> {
    let condition = rs.status.conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let message: String = condition.message.chars().take(300).collect();
    Some(format!("pods cannot be created: {message}"))
}

/// A change to the change ends the release: back to stable, to something else, or let go by a person.
fn ends_by_itself(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    let Some(progress) = draft.progress() else { return true };
    if world.stable_digest(&draft.status) == Some(world.digest) {
        draft.take_back("ChangedBack", "the change was changed back to what is stable");
        return true;
    }
    if progress.digest != world.digest && promoting::was_bypassed(draft) {
        return true;
    }
    if draft.progress().is_some_and(|progress| progress.digest != world.digest) {
        draft.take_back("Superseded", "another change came: starting over from what is stable");
        return true;
    }
    if !matches!(world.held(), Held::By { .. }) && !world.deployment.spec.paused {
        draft.enter(Stage::Bypassed);
        let message = "a person released the change past the plan; Trimtab follows and records it";
        draft.say(Phase::Promoting, "Bypassed", message);
        draft.tell(Severity::Warning, "Bypassed", "Follow", message);
        return true;
    }
    false
}

fn handle_request(draft: &mut Draft<'_>) -> bool {
    let Some((text, verb)) = draft.request() else { return false };
    let now = draft.world.now;
    let Some(progress) = draft.status.release.clone() else { return false };
    match verb {
        Some(Verb::Promote) => {
            draft.consume(&text);
            forgive(draft);
            let index = usize::try_from(progress.step).unwrap_or(0);
            if !progress.paused {
                go_to(draft, index + 1);
            } else {
                draft.say(Phase::Releasing, "Resumed", "going on, by request");
            }
        }
        Some(Verb::PromoteFull) => {
            draft.consume(&text);
            forgive(draft);
            promote(draft, "promoted in full by request");
        }
        Some(Verb::Abort) => {
            draft.consume(&text);
            draft.take_back("Aborted", "aborted by request");
        }
        Some(Verb::Undo) => {
            draft.consume(&text);
            let digest = draft.world.stable_digest(&draft.status).unwrap_or_default().to_owned();
            draft.undo_to(digest, progress.name);
            draft.say(Phase::Releasing, "Undoing", "bringing the stable template back, by request");
        }
        Some(Verb::Pause) => {
            draft.consume(&text);
            if let Some(progress) = &mut draft.status.release {
                progress.paused = true;
            }
            draft.say(Phase::Paused, "PausedByRequest", "paused by request: kubectl trimtab resume, promote or abort");
        }
        Some(Verb::Resume | Verb::Retry) => {
            draft.consume(&text);
            forgive(draft);
            if let Some(progress) = &mut draft.status.release {
                // A pause that was interrupted begins anew.
                progress.pause_started_at = progress.pause_started_at.map(|_| millis(now));
            }
            draft.say(Phase::Releasing, "Resumed", "going on, by request");
        }
        Some(Verb::Restart) => {
            draft.refuse(&text, "a release is under way; it restarts the pods when it is promoted");
            return false;
        }
        None => {
            let known = crate::request::REQUESTS.join(", ");
            draft.refuse(&text, &format!("it is none of {known}"));
            return false;
        }
    }
    true
}

/// A person has decided to go on: what failed before no longer counts, and deadlines begin anew.
pub(crate) fn forgive(draft: &mut Draft<'_>) {
    let now = millis(draft.world.now);
    if let Some(progress) = &mut draft.status.release {
        progress.paused = false;
        progress.verdict = None;
        progress.unavailable_since = Some(now);
        progress.most_available = 0;
    }
}

/// Goes on by the steps as they are now. What waits for a person or for replicas goes on waiting.
fn steps_were_edited(draft: &mut Draft<'_>) -> bool {
    let all_steps = &draft.world.plan.spec.strategy.canary.steps;
    let digest = steps::steps_digest(all_steps);
    let asleep = asleep::holds(&draft.world);
    let Some(progress) = draft.status.release.as_mut().filter(|progress| progress.steps_digest != digest) else {
        return false;
    };
    let untried = steps::none_before_promotion(all_steps);
    if untried && (progress.paused || asleep) {
        return false;
    }
    progress.steps_digest = digest;
    // One that no step has judged is promoted as by a plan that never had any.
    let judged = progress.steps.len() > 1 || progress.pause_started_at.is_some();
    if !judged {
        // What follows is the first step still, however often that is edited.
        progress.steps.clear();
    }
    if untried && !judged {
        progress.skips_steps = Some(NO_STEPS.to_owned());
    }
    let index = steps::resume_at(all_steps, progress.weight);
    let note = match untried {
        true => "the steps were edited: none is left".to_owned(),
        false => format!("the steps were edited: going on at step {}", index + 1),
    };
    match untried {
        true => promote(draft, "the plan has no steps before promotion any more"),
        false => go_to(draft, index),
    }
    draft.tell(Severity::Normal, "StepsEdited", "Continue", note);
    true
}

/// The canary's ReplicaSet, if it is there, ours, and what the Deployment asks for.
fn canary_in_hand<'a>(draft: &mut Draft<'a>) -> Option<&'a ReplicaSetView> {
    let world = draft.world;
    let progress = draft.progress().cloned()?;
    let Some(rs) = world.canary_set(&progress).or_else(|| another_canary(draft)) else {
        // Not yet seen after it was made, or deleted by somebody.
        draft.write(canary::create(&world));
        note_canary(draft, canary::set_name(&world.deployment.metadata.name, world.digest), false);
        draft.say(Phase::Releasing, "CanaryMissing", "the canary's ReplicaSet is gone: making it again");
        return None;
    };
    if rs.metadata.deletion_timestamp.is_some() {
        draft.say(Phase::Releasing, "CleaningUp", canary::waiting_to_go(&rs.metadata.name));
        return None;
    }
    if adoption::reclaim(draft, rs) {
        return None;
    }
    if !world.owned_by_plan(rs) {
        if world.owned_by_deployment(rs) && rs.spec.replicas == 0 {
            draft.write(canary::take_from_history(&world, rs));
            draft.say(
                Phase::Releasing,
                "TakingFromHistory",
                "taking the ReplicaSet of this revision from the Deployment's history",
            );
        } else {
            draft.take_back(
                "CanaryLost",
                format!("ReplicaSet {} is no longer the plan's: somebody changed its owner", rs.metadata.name),
            );
        }
        return None;
    }
    if rs.spec.template.digest != progress.digest {
        let message = format!(
            "ReplicaSet {} was stored with another template than the Deployment asks for: an admission webhook or policy \
             changes ReplicaSets; make it change Deployments too, or exclude them",
            rs.metadata.name
        );
        draft.take_back("TemplateChanged", message);
        return None;
    }
    Some(rs)
}

/// The plan's other ReplicaSet of this revision: one that was made again after its own was deleted.
fn another_canary<'a>(draft: &mut Draft<'a>) -> Option<&'a ReplicaSetView> {
    let digest = &draft.progress()?.digest;
    let rs = draft.world.replica_sets_of_plan().find(|rs| rs.spec.template.digest == *digest)?;
    note_canary(draft, rs.metadata.name.clone(), canary::was_the_deployments(rs));
    Some(rs)
}

fn note_canary(draft: &mut Draft<'_>, replica_set: String, from_history: bool) {
    let Some(progress) = draft.status.release.as_mut() else { return };
    let replicas = progress.canary.as_ref().map_or(0, |canary| canary.replicas);
    progress.canary = Some(CanaryProgress { replica_set, from_history, replicas });
}

/// Whether the canary is fine or may still become so. Keeps the deadline; takes the release back, or pauses it, where
/// there is no hope.
fn keeps_up(draft: &mut Draft<'_>, rs: &ReplicaSetView, settled: bool, available: i32, size: i32) -> bool {
    let world = draft.world;
    if draft.progress().is_some_and(|p| p.paused && p.verdict.is_some()) {
        return true;
    }
    if let Some(why) = failure(world.pods_of(rs)) {
        return fail(draft, "CanaryFailed", format!("the canary failed: {why}"));
    }
    let wait = &world.plan.spec.progress_deadline;
    let Some(progress) = draft.status.release.as_mut() else { return false };
    if settled {
        progress.unavailable_since = None;
        progress.most_available = available;
        return true;
    }
    let Some(end) = deadline::end(progress, deadline::count(rs), world.now, wait) else { return true };
    if world.now >= end {
        let message =
            format!("{available} of {size} canary pods became available within progressDeadline ({})", wait.0);
        return fail(draft, "DeadlineExceeded", message);
    }
    draft.plan.wake_by(end);
    true
}

fn fail(draft: &mut Draft<'_>, reason: &'static str, message: String) -> bool {
    match draft.world.plan.spec.on_failure {
        OnFailure::Rollback => draft.take_back(reason, message),
        OnFailure::Pause => {
            let verdict = Verdict { reason: reason.to_owned(), message: message.clone() };
            draft.write_nothing();
            if let Some(progress) = &mut draft.status.release {
                progress.paused = true;
                progress.verdict = Some(verdict);
            }
            draft.say(Phase::Paused, "FailedAndPaused", format!("{message}; promote, retry or abort it"));
            draft.tell(Severity::Warning, reason, "Pause", message);
        }
    }
    false
}

fn pause(draft: &mut Draft<'_>, index: usize, duration: Option<std::time::Duration>) {
    let now = millis(draft.world.now);
    let total = draft.world.plan.spec.strategy.canary.steps.len();
    let place = format!("step {}/{total}", index + 1);
    let name = &draft.world.plan.metadata.name;
    let Some(progress) = draft.status.release.as_mut() else { return };
    let since = *progress.pause_started_at.get_or_insert(now);
    let Some(duration) = duration else {
        let message = format!("{place}: waiting for a person: kubectl trimtab promote {name}, or abort");
        return draft.say(Phase::Paused, "WaitingForPromotion", message);
    };
    let end = since.checked_add(duration).unwrap_or(Timestamp::MAX);
    if draft.world.now >= end {
        return go_to(draft, index + 1);
    }
    draft.plan.wake_by(end);
    let until = end.strftime("%H:%M:%SZ");
    draft.say(Phase::Paused, "PauseStep", format!("{place}: pausing until {until}"));
}

/// Goes on to a step, or to promotion behind the last. Only the status says so: the next decision acts on it.
fn go_to(draft: &mut Draft<'_>, index: usize) {
    let all_steps = &draft.world.plan.spec.strategy.canary.steps;
    let Some(step) = all_steps.get(index).filter(|step| steps::asks(step) != Some(Asks::Promote)) else {
        return promote(draft, "all steps are done");
    };
    let now = millis(draft.world.now);
    let words = steps::words(step);
    let message = format!("step {}/{}: {words}", index + 1, all_steps.len());
    if let Some(progress) = draft.status.release.as_mut() {
        finish_step(&mut progress.steps, now);
        progress.step = i32::try_from(index).unwrap_or(i32::MAX);
        progress.step_started_at = now;
        progress.pause_started_at = None;
        progress.unavailable_since = Some(now);
        progress.most_available = 0;
        progress.weight = steps::weight_at(all_steps, index);
        // Steps may be edited again and again in mid-release: the last ones tell how it goes.
        progress.steps.drain(..progress.steps.len().saturating_sub(MOST_RECORDS - 1));
        progress.steps.push(StepRecord { step: words, started_at: now, finished_at: None });
    }
    draft.say(Phase::Releasing, "NextStep", message.clone());
    draft.tell(Severity::Normal, "NextStep", "Step", message);
}

fn finish_step(records: &mut [StepRecord], now: Timestamp) {
    if let Some(last) = records.last_mut() {
        last.finished_at.get_or_insert(now);
    }
}

fn promote(draft: &mut Draft<'_>, why: &str) {
    let now = millis(draft.world.now);
    if let Some(progress) = draft.status.release.as_mut() {
        finish_step(&mut progress.steps, now);
    }
    draft.enter(Stage::Promoting);
    let message = format!("promoting: {why}");
    draft.say(Phase::Promoting, "Promoting", message.clone());
    draft.tell(Severity::Normal, "Promoting", "Promote", message);
}
