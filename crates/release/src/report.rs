//! What people and tools read of a plan: columns and conditions, in the shape that kstatus understands (`Ready`;
//! `Stalled` when taken back or blocked). Derived from the decision; nothing is decided here.

use jiff::Timestamp;
use trimtab_crds::{Phase, ReleasePlanStatus, Stage, Track, Weight};
use trimtab_plan::{Condition, Plan, set_condition};

use crate::{
    arithmetic::share,
    draft::Draft,
    guard,
    protection::protection,
    record,
    steps::{Asks, asks},
    views::PlanView,
    world::World,
};

/// Completes the status of a draft.
pub(crate) fn finish(mut draft: Draft<'_>) -> Plan<Option<ReleasePlanStatus>> {
    let guarded = guard::hold(&mut draft);
    let protection = protection(&draft).map(|protected| guard::freeze(&mut draft, protected));
    let looked_at = draft.config.is_some();
    let Draft { world, mut status, mut plan, reason, .. } = draft;
    columns(&world, &mut status);
    if let Some(write) = status.release.as_ref().and_then(|now| record::follow(&world, now, &status.message)) {
        plan.tidy(write, world.plan_ref(), &world.plan.metadata.uid);
    }
    // Nothing rests on the records: they come last, so that one that is refused keeps nothing from being done.
    plan.writes.sort_by_key(record::is_record);
    summarise(world.now, world.plan, &mut status, reason);
    set_condition(&mut status.conditions, guarded);
    if let Some((value, why, text)) = protection {
        set_condition(&mut status.conditions, condition(world.now, world.plan, "ConfigProtected", value, why, &text));
    } else if looked_at || world.plan.spec.config.track == Track::None {
        status.conditions.retain(|condition| condition.type_ != "ConfigProtected");
    }
    set_condition(&mut status.conditions, drains(&world));
    set_condition(&mut status.conditions, weights_exact(&world));
    let Plan { writes, housekeeping, asks, wake, because, notices, .. } = plan;
    Plan { writes, housekeeping, asks, status: Some(status), wake, because, notices }
}

fn drains(world: &World<'_>) -> Condition {
    let drains = world.deployment.spec.template.drains;
    let (why, text) = if drains {
        ("PreStop", "every container has a preStop hook")
    } else {
        (
            "NoPreStop",
            "a container has no preStop hook, so requests may fail when its pods stop: add lifecycle.preStop, for example \
             sleep: {seconds: 3}",
        )
    };
    condition(world.now, world.plan, "Drains", drains, why, text)
}

fn weights_exact(world: &World<'_>) -> Condition {
    let largest = world.plan.spec.strategy.canary.steps.iter().filter_map(|s| s.set_weight).filter(|w| *w < 100).max();
    let exact = largest.unwrap_or(0) <= 50;
    let (why, text) = if exact {
        ("WithinReach", "shares made of pods can be as asked, up to rounding")
    } else {
        (
            "AboveHalf",
            "without a traffic router a share above 50% cannot be exact: the canary is never larger than stable",
        )
    };
    condition(world.now, world.plan, "WeightsExact", exact, why, text)
}

/// Whether it stays like that until a person acts, although no release failed.
pub(crate) fn lasts(phase: Phase, reason: &str) -> bool {
    phase == Phase::Waiting
        && ["OptedOut", "TargetNotFound", "PausedByPerson", "ScaledToZero", "FirstRolloutStalled"].contains(&reason)
}

/// Whether a release waits for a person, for however long that takes: nothing goes on meanwhile, and nothing is amiss unless it
/// failed.
fn waits_for_a_person(phase: Phase, reason: &str) -> bool {
    phase == Phase::Paused && ["WaitingForPromotion", "PausedByRequest", "ScaledToZero"].contains(&reason)
}

/// Why a plan is blocked whose write is refused.
pub(crate) const WRITE_REFUSED: &str = "WriteRefused";
/// Why a plan waits whose write should pass by itself and has not for long.
pub(crate) const WRITE_KEEPS_FAILING: &str = "WriteKeepsFailing";
/// Why a plan is blocked whose object's name is another's.
pub(crate) const NAME_TAKEN: &str = "NameTaken";

/// The conditions that say how it goes as a whole.
pub(crate) const SUMMARY: [&str; 3] = ["Ready", "Reconciling", "Stalled"];

/// Ready, Reconciling and Stalled, from phase, reason and message.
pub(crate) fn summarise(now: Timestamp, plan: &PlanView, status: &mut ReleasePlanStatus, reason: &str) {
    status.observed_generation = Some(plan.metadata.generation);
    let (ready, reconciling, stalled) = match status.phase {
        Phase::Stable => (true, false, false),
        Phase::TakenBack | Phase::Blocked => (false, false, true),
        // Nothing is amiss: there are no pods, as is asked for, and what was changed is due with the first ones.
        Phase::Waiting if reason == "ScaledToZero" => (true, false, false),
        // Whoever waits for it would wait for ever.
        Phase::Waiting if lasts(status.phase, reason) => (false, false, true),
        Phase::Paused if reason == "FailedAndPaused" => (false, false, true),
        phase if waits_for_a_person(phase, reason) => (false, false, false),
        Phase::Waiting | Phase::Releasing | Phase::Paused | Phase::Promoting | Phase::TakingBack => {
            (false, true, false)
        }
    };
    let message = status.message.clone();
    for (type_, value) in SUMMARY.into_iter().zip([ready, reconciling, stalled]) {
        set_condition(&mut status.conditions, condition(now, plan, type_, value, reason, &message));
    }
}

/// A condition of a plan.
pub(crate) fn condition(
    now: Timestamp,
    plan: &PlanView,
    type_: &str,
    value: bool,
    reason: &str,
    message: &str,
) -> Condition {
    condition_of(now, plan.metadata.generation, type_, value, reason, message)
}

/// A condition of an object at this generation.
pub(crate) fn condition_of(
    now: Timestamp,
    generation: i64,
    type_: &str,
    value: bool,
    reason: &str,
    message: &str,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if value { "True" } else { "False" }.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: whole_seconds(now),
        reason: reason.to_owned(),
        message: message.chars().take(1024).collect(),
    }
}

/// `metav1.Time` has no fractions.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn columns(world: &World<'_>, status: &mut ReleasePlanStatus) {
    let stable = world.stable_set(status).map_or(0, |rs| rs.status.available_replicas);
    let Some(progress) = &status.release else {
        status.step = None;
        status.weight = None;
        status.pods = Some(format!("{stable} stable"));
        return;
    };
    let new = world.new_set(progress).map_or(0, |rs| rs.status.available_replicas);
    let steps = &world.plan.spec.strategy.canary.steps;
    let index = usize::try_from(progress.step).unwrap_or(0);
    status.step = (progress.skips_steps.is_none() && !steps.is_empty())
        .then(|| format!("{}/{}", (index + 1).min(steps.len()), steps.len()));
    let asked = match progress.stage {
        Stage::Steps if steps.get(index).and_then(asks) == Some(Asks::Promote) => 100,
        Stage::Steps => progress.weight,
        Stage::Promoting | Stage::Bypassed => 100,
        Stage::TakingBack => 0,
    };
    let actual = share(new, stable);
    let text = if asked == actual { format!("{actual}%") } else { format!("{actual}% (asked {asked}%)") };
    status.weight = Some(Weight { asked, actual, text });
    status.pods = Some(format!("{stable} stable + {new} canary"));
}
