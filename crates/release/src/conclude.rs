//! The status that is written after the writes: the decision's where they succeeded, else the old one with what failed.

use jiff::Timestamp;
use trimtab_crds::{Phase, ReleasePlanStatus, names};
use trimtab_plan::{Class, Outcome, Plan, StatusWrite, Write};

use crate::{Snapshot, report, views::PlanView};

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
        conditions: vec![],
        ..status.clone()
    };
    if let Some(progress) = &mut status.release {
        (progress.most_available, progress.unavailable_since) = (0, None);
    }
    status
}

/// Progress rests on writes that succeeded: after a failure the old progress stays, and people read what failed. A
/// conflict with somebody else's write is no news: the next decision sees it.
fn after_failure(
    now: Timestamp,
    plan: &PlanView,
    decided: &ReleasePlanStatus,
    failure: &trimtab_plan::Failure,
    write: Option<&Write>,
) -> Option<ReleasePlanStatus> {
    let passing = ["Conflict", "Precondition", "Fenced"].contains(&failure.reason.as_str());
    if passing || failure.class == Class::Fatal {
        return None;
    }
    let mut status = plan.status.clone().unwrap_or_default();
    status.conditions.clone_from(&decided.conditions);
    status.message = failure.message.clone();
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
    }
    let reason = match failure.class {
        _ if taken => "NameTaken",
        Class::Blocked => "WriteRefused",
        _ => "WriteFailed",
    };
    report::summarise(now, plan, &mut status, reason);
    Some(status)
}
