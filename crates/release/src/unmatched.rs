//! What belongs together and is not: a plan without its Deployment, a guarded Deployment whose plan is gone, and a second plan for one
//! Deployment.

use jiff::Timestamp;
use serde_json::json;
use trimtab_crds::{Phase, ReleasePlanStatus, names};
use trimtab_plan::{Notice, PatchOp, Plan, Severity, Subresource, Verb, Write, set_condition};

use crate::{
    Snapshot, adoption, asleep, canary, record, report, request, unreadable,
    views::PlanView,
    world::{Held, held},
};

/// How long after a plan its Deployment is expected to come by itself.
const TOGETHER: std::time::Duration = std::time::Duration::from_secs(10);

pub(crate) fn without_target(now: Timestamp, seen: &Snapshot, plan: &PlanView) -> Plan<Option<ReleasePlanStatus>> {
    let mut decided: Plan<Option<ReleasePlanStatus>> = Plan::new(None);
    let mut status = plan.status.clone().unwrap_or_default();
    // A canary goes when its Deployment goes.
    for rs in seen.replica_sets.iter().filter(|rs| rs.metadata.deletion_timestamp.is_none()) {
        let ours = rs.metadata.controller().is_some_and(|owner| owner.uid == plan.metadata.uid);
        if ours || adoption::is_adrift(&seen.name, rs) {
            decided.tidy(canary::delete(rs), plan.metadata.object(names::RELEASE_PLAN), &plan.metadata.uid);
        }
    }
    if let Some(progress) = status.release.take() {
        record::close_lost(now, seen, progress, &mut decided);
    }
    status = ReleasePlanStatus {
        sequence: status.sequence,
        handled_request: status.handled_request,
        conditions: status.conditions,
        ..ReleasePlanStatus::default()
    };
    let message = format!(
        "there is no Deployment {} in namespace {}: create it, or correct targetRef in a new plan",
        seen.name, seen.namespace
    );
    status.message.clone_from(&message);
    let mut tell = |reason, action, note| {
        let about = plan.metadata.object(names::RELEASE_PLAN);
        let uid = plan.metadata.uid.clone();
        decided.notices.push(Notice { about, uid, severity: Severity::Warning, reason, action, note });
    };
    // Plan and Deployment are often applied together, the plan first.
    let expected = plan.metadata.creation_timestamp.and_then(|at| at.checked_add(TOGETHER).ok()).filter(|at| now < *at);
    let reason = if expected.is_some() { "TargetExpected" } else { "TargetNotFound" };
    if expected.is_none() {
        tell("TargetNotFound", "Wait", message.clone());
    }
    if let Some((text, why)) = answer(plan, &status, expected.is_none().then_some(&*message)) {
        tell("RequestRefused", "Refuse", request::refusal(&text, why));
        status.handled_request = Some(text);
    }
    decided.because(reason, message);
    if let Some(at) = expected {
        decided.wake_by(at);
    }
    report::summarise(now, plan, &mut status, reason);
    decided.status = Some(status);
    decided
}

/// The request that is to be answered by doing nothing, and why: one that the plan was made with, or whatever is asked while this
/// stands in the way.
fn answer<'w>(plan: &PlanView, status: &ReleasePlanStatus, obstacle: Option<&'w str>) -> Option<(String, &'w str)> {
    let asked = |why: &'w str| Some((request::unanswered(plan, status)?.0, why));
    request::made_with(plan, status).map(|text| (text, request::MADE_WITH)).or_else(|| asked(obstacle?))
}

/// A Deployment whose plan is gone: nothing stays held without a word, and nothing rolls by surprise.
pub(crate) fn without_plan(seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
    let mut decided = Plan::new(None);
    let Some(deployment) = seen.deployment.as_deref().filter(|d| d.metadata.deletion_timestamp.is_none()) else {
        return decided;
    };
    let Some(plan) = deployment.metadata.annotation(names::PLAN) else { return decided };
    if unreadable::guards(seen, deployment) {
        return decided;
    }
    let name = &deployment.metadata.name;
    let is_held = matches!(held(deployment), Held::By { .. }) && deployment.spec.paused;
    match (plan.is_empty(), is_held) {
        (false, true) => {
            let left = seen.replica_sets.iter().find(|rs| adoption::is_adrift(name, rs));
            let left = left.map_or_else(String::new, |rs| {
                format!(". Its canary is left: kubectl delete replicaset {}", rs.metadata.name)
            });
            let note = format!(
                "a change of Deployment {name} is held, but its ReleasePlan {plan:?} is gone. To let it roll: kubectl \
                 annotate deployment {name} trimtab.dev/plan= --overwrite && kubectl rollout resume deployment {name}. To \
                 take it back: create a ReleasePlan for it, then kubectl trimtab undo{}{left}",
                asleep::asked_for(deployment)
            );
            decided.because("HeldWithoutPlan", note.clone());
            decided.notices.push(Notice {
                about: deployment.metadata.object(names::DEPLOYMENT),
                uid: deployment.metadata.uid.clone(),
                severity: Severity::Warning,
                reason: "HeldWithoutPlan",
                action: "Wait",
                note,
            });
        }
        // The policy puts a dropped annotation back; an empty one opts out, and can be dropped afterwards.
        (false, false) => {
            decided.writes.push(canary::let_go(deployment, "let go of the Deployment: the plan is gone"));
        }
        // Somebody has opted out and has yet to resume it; the mark tells what for.
        (true, true) => {}
        (true, false) => {
            let none = serde_json::Value::Null;
            let why = "leave no trace: the plan is gone";
            decided.writes.push(canary::annotate(deployment, json!({names::PLAN: none, names::HELD: none}), why));
        }
    }
    decided
}

/// The older of two plans counts; the other says so.
pub(crate) fn refuse_second_plan(
    now: Timestamp,
    first: &PlanView,
    other: &PlanView,
    plan: &mut Plan<Option<ReleasePlanStatus>>,
) {
    let mut status = other.status.clone().unwrap_or_default();
    let message = format!(
        "ReleasePlan {} already releases Deployment {}: delete one of the two plans",
        first.metadata.name, first.spec.target_ref.name
    );
    status.phase = Phase::Blocked;
    status.message.clone_from(&message);
    status.release = None;
    status.stable = None;
    let target = other.metadata.object(names::RELEASE_PLAN);
    let mut tell = |reason, action, note| {
        let (about, uid) = (target.clone(), other.metadata.uid.clone());
        plan.notices.push(Notice { about, uid, severity: Severity::Warning, reason, action, note });
    };
    if let Some((text, why)) = answer(other, &status, Some(&message)) {
        tell("RequestRefused", "Refuse", request::refusal(&text, why));
        status.handled_request = Some(text);
    }
    let before = other.status.as_ref();
    report::summarise(now, other, &mut status, "SecondPlan");
    set_condition(&mut status.conditions, report::condition(now, other, "Guarded", false, "SecondPlan", &message));
    if before == Some(&status) {
        return;
    }
    let ops = vec![
        PatchOp::test("/metadata/uid", other.metadata.uid.clone()),
        PatchOp::add("/status", serde_json::to_value(&status).unwrap_or_default()),
    ];
    tell("SecondPlan", "Check", message);
    let verb = Verb::Patch { ops, subresource: Some(Subresource::Status) };
    let write = Write { target: target.clone(), verb, why: "tell the second plan of this Deployment".to_owned() };
    plan.tidy(write, target, &other.metadata.uid);
}
