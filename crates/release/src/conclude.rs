//! The status that is written after the writes: the decision's where they succeeded, else the old one with what failed.

use jiff::Timestamp;
use trimtab_crds::{Phase, ReleasePlanStatus, names};
use trimtab_plan::{Class, Condition, Outcome, Plan, StatusWrite, Write};

use crate::{
    Snapshot,
    record::is_record,
    report::{self, SUMMARY},
    request,
    views::PlanView,
};

/// The one status write of a reconcile; `None` where nothing changes.
pub fn conclude(
    now: Timestamp,
    seen: &Snapshot,
    plan: &Plan<Option<ReleasePlanStatus>>,
    outcome: &Outcome,
) -> Option<StatusWrite> {
    let decided = plan.status.as_ref()?;
    let first = *seen.plans_by_age().first()?;
    let status = match &outcome.failed {
        None => decided.clone(),
        // All that the decision rests on is done: a record is the last thing that is written.
        Some(failure) if failure.class == Class::Blocked && plan.writes.get(failure.index).is_some_and(is_record) => {
            decided.clone()
        }
        Some(failure) => after_failure(now, first, decided, failure, plan.writes.get(failure.index))?,
    };
    if first.status.as_ref() == Some(&status) {
        return None;
    }
    let same = first.status.as_ref().is_some_and(|old| what_counts(old) == what_counts(&status));
    let release = |status: &ReleasePlanStatus| status.release.as_ref().map(|release| release.name.clone());
    let same_release = first.status.as_ref().is_some_and(|old| release(old) == release(&status));
    let mut written = serde_json::to_value(&status).ok()?;
    // What belongs to a release goes with it.
    first.newer.keep_in(&mut written, if same_release { &[] } else { &["release"] });
    Some(StatusWrite {
        target: first.metadata.object(names::RELEASE_PLAN),
        uid: first.metadata.uid.clone(),
        status: written,
        lazy: same && outcome.failed.is_none(),
    })
}

/// The part of a status that decisions rest on. How many pods have become available so far is not in it: what is
/// forgotten of that is seen again.
fn what_counts(status: &ReleasePlanStatus) -> ReleasePlanStatus {
    let mut status = ReleasePlanStatus {
        observed_generation: None,
        phase: Phase::default(),
        message: String::new(),
        step: None,
        weight: None,
        pods: None,
        first_rollout: None,
        conditions: vec![],
        ..status.clone()
    };
    if let Some(progress) = &mut status.release {
        (progress.most_available, progress.unavailable_since) = (0, None);
    }
    status
}

/// Since when pods are lacking is seen, and rests on no write: deadlines count also while writes are refused.
fn observe(status: &mut ReleasePlanStatus, decided: &ReleasePlanStatus) {
    status.first_rollout.clone_from(&decided.first_rollout);
    let (Some(old), Some(new)) = (&mut status.release, &decided.release) else { return };
    if (&old.name, old.stage, old.step) == (&new.name, new.stage, new.step) {
        (old.unavailable_since, old.most_available) = (new.unavailable_since, new.most_available);
        (old.short_since, old.reached) = (new.short_since, new.reached);
    }
}

/// The conditions as they were decided, but for those that say how it went: they change only where that changes, or each
/// try would be news.
fn other_conditions(old: &[Condition], decided: &[Condition]) -> Vec<Condition> {
    let kept = |one: &Condition| old.iter().find(|old| old.type_ == one.type_ && SUMMARY.contains(&&*old.type_));
    decided.iter().map(|one| kept(one).unwrap_or(one).clone()).collect()
}

/// Progress rests on writes that succeeded: after a failure the old progress stays, and people read what failed. A
/// conflict with somebody else's write is no news while it does not last: the next decision sees it.
fn after_failure(
    now: Timestamp,
    plan: &PlanView,
    decided: &ReleasePlanStatus,
    failure: &trimtab_plan::Failure,
    write: Option<&Write>,
) -> Option<ReleasePlanStatus> {
    let passing = ["Conflict", "Precondition", "Fenced"].contains(&failure.reason.as_str());
    if (passing && !failure.lasting) || failure.class == Class::Fatal {
        return None;
    }
    let mut status = plan.status.clone().unwrap_or_default();
    observe(&mut status, decided);
    status.conditions = other_conditions(&status.conditions, &decided.conditions);
    // From now on the plan counts as looked at.
    status.handled_request = request::made_with(plan, &status).or(status.handled_request);
    status.message = failure.message.clone();
    if let Some(Write { target, why, .. }) = write.filter(|_| failure.lasting) {
        status.message = format!("{}: {why} ({target}): {}", failure.how(), failure.message);
    }
    // What we make bears names of our own: something else is there, or it was made a moment ago and is not seen yet.
    let taken = failure.reason == "AlreadyExists";
    if taken && let Some(write) = write {
        status.message = format!(
            "{} exists already and was not made for this: whoever made it has to delete or rename it ({})",
            write.target, write.why
        );
    }
    if failure.class == Class::Blocked || taken {
        status.phase = Phase::Blocked;
        if let Some(Write { target, why, .. }) = write.filter(|_| !taken) {
            status.message =
                format!("refused: {why} ({target}): {}; whoever refuses it has to allow it", failure.message);
        }
    }
    if failure.lasting && status.phase == Phase::Stable && decided.phase != Phase::Stable {
        // Nothing has come of it yet, and whoever waits for the plan waits for this.
        status.phase = Phase::Waiting;
    }
    let asked = request::unanswered(plan, &status).and_then(|(_, verb)| verb).filter(|_| status.release.is_none());
    // An abort is answered by the next decision.
    if let Some(verb) = asked.filter(|verb| *verb != request::Verb::Abort) {
        status.message = format!("{}; asked meanwhile: {}", status.message, verb.name());
    }
    let reason = match failure.class {
        _ if taken => report::NAME_TAKEN,
        Class::Blocked => report::WRITE_REFUSED,
        _ if failure.lasting => report::WRITE_KEEPS_FAILING,
        _ => "WriteFailed",
    };
    report::summarise(now, plan, &mut status, reason);
    Some(status)
}
