//! The decision about one workload: which of its plans counts, whether it can be released at all, and which stage of a
//! release is next. Each stage has a file of its own.
//!
//! Rules that hold everywhere: progress is recorded in the plan's status before it is acted on, so that a process may
//! die before and after any write; what can be read from the cluster is not remembered; every write is idempotent.

use jiff::Timestamp;
use serde_json::json;
use trimtab_crds::{Phase, Progress, ReleasePlanStatus, ReleaseResult, Stage, names};
use trimtab_plan::{Because, Notice, PatchOp, Plan, Severity, Subresource, Verb, Write, set_condition};

use crate::{
    Snapshot, asleep, between, canary, configuration,
    draft::Draft,
    idle, promoting, record, report, request, stepping, steps, taking_back, unreadable,
    views::{DeploymentView, PlanView, ReplicaSetView},
    world::{Held, World, held},
};

/// How long after a plan its Deployment is expected to come by itself.
const TOGETHER: std::time::Duration = std::time::Duration::from_secs(10);

/// Decides about one workload. `None` as status: there is no plan to have one.
pub fn decide(now: Timestamp, seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
    let mut plan = decide_readable(now, seen);
    unreadable::tell(now, seen, &mut plan);
    plan
}

fn decide_readable(now: Timestamp, seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
    let plans = seen.plans_by_age();
    let Some((&first, others)) = plans.split_first() else { return without_plan(seen) };
    let mut plan = match seen.deployment.as_deref().filter(|d| d.metadata.deletion_timestamp.is_none()) {
        None => without_target(now, seen, first),
        Some(deployment) => with_target(World::new(now, seen, deployment, first)),
    };
    for other in others {
        refuse_second_plan(now, first, other, &mut plan);
    }
    plan
}

fn with_target(world: World<'_>) -> Plan<Option<ReleasePlanStatus>> {
    let mut status = world.plan.status.clone().unwrap_or_default();
    let uid = &world.deployment.metadata.uid;
    let another = status.target.as_ref().is_none_or(|target| target.uid != *uid);
    let lost = status.release.take_if(|_| another);
    if another {
        // Another workload of the same name: nothing that was known holds for it. Old records and requests stay known.
        status = ReleasePlanStatus {
            sequence: status.sequence,
            handled_request: status.handled_request,
            conditions: status.conditions,
            target: Some(trimtab_crds::TargetStatus { uid: uid.clone() }),
            ..ReleasePlanStatus::default()
        };
    }
    let mut draft = Draft::new(world, status);
    if let Some(progress) = lost {
        close_lost(world.now, world.seen, progress, &mut draft.plan);
    }
    advance(&mut draft);
    between::answer_what_waits(&mut draft);
    tell_load(&mut draft);
    remove_strays(&mut draft, another);
    configuration::keep_owners(&mut draft);
    let mut records = record::close_forgotten(&draft.world, &draft.status, &draft.plan.writes);
    records.extend(record::prune(&draft.world, &draft.status));
    records.into_iter().for_each(|write| draft.tidy(write));
    report::finish(draft)
}

/// Says so where the canary has more to do than it can: then its steps tell of too few pods, not of the new revision.
fn tell_load(draft: &mut Draft<'_>) {
    let Some(load) = draft.world.seen.canary_load.as_ref().filter(|load| load.saturated) else { return };
    let stepping = matches!(draft.status.phase, Phase::Releasing | Phase::Paused);
    if !stepping || draft.progress().is_none_or(|progress| progress.name != load.release) {
        return;
    }
    let (metric, ratio) = (load.metric.as_deref().unwrap_or("its load"), load.ratio.as_deref().unwrap_or("more"));
    let message = format!("the canary is saturated: {metric} is {ratio} times what it should be");
    draft.status.message = format!("{}; {message}", draft.status.message);
    // What the release waits for stays the last word.
    draft.plan.because.insert(0, Because { reason: "CanarySaturated", message });
}

/// Closes the record of a release whose Deployment is gone.
fn close_lost<S>(now: Timestamp, seen: &Snapshot, mut progress: Progress, plan: &mut Plan<S>) {
    progress.verdict = Some(trimtab_crds::Verdict {
        reason: "TargetDeleted".to_owned(),
        message: format!("Deployment {} was deleted", seen.name),
    });
    record::close(now, seen, &progress, ReleaseResult::Cancelled, plan);
}

/// ReplicaSets of the plan that no release needs: of a Deployment that was created again, or made by a process that
/// died before it could record them, for a change that has changed since.
fn remove_strays(draft: &mut Draft<'_>, another_deployment: bool) {
    let world = draft.world;
    let progress = draft.progress().cloned();
    if progress.as_ref().is_some_and(|progress| progress.stage == Stage::TakingBack) {
        return;
    }
    let needed = |rs: &ReplicaSetView| {
        let canary = |progress: &Progress| progress.canary.as_ref().is_some_and(|c| c.replica_set == rs.metadata.name);
        progress.as_ref().is_some_and(|progress| canary(progress) || rs.spec.template.digest == progress.digest)
    };
    for rs in world.replica_sets_of_plan().filter(|rs| rs.metadata.deletion_timestamp.is_none() && !needed(rs)) {
        let needed = asleep::still_needed(draft, rs);
        let earlier = rs.metadata.creation_timestamp < world.deployment.metadata.creation_timestamp;
        if another_deployment || earlier || !canary::was_the_deployments(rs) {
            draft.tidy(canary::delete(rs));
        } else if rs.spec.replicas > needed {
            draft.tidy(canary::scale(rs, needed, "no release needs this ReplicaSet"));
        } else if rs.spec.replicas == 0 && rs.status.replicas == 0 && !asleep::keeps_aside(draft) {
            draft.tidy(canary::return_to_history(world.deployment, rs));
        }
    }
}

fn advance(draft: &mut Draft<'_>) {
    let stage = draft.progress().map(|progress| progress.stage);
    if !draft.world.plan.newer.spec.is_empty() {
        return match taken_back_by_person(draft) {
            true if stage == Some(Stage::TakingBack) => taking_back::decide(draft),
            true => {}
            false => half_known(draft),
        };
    }
    let steps_count = matches!(stage, None | Some(Stage::Steps));
    if let Some(fault) = steps::fault(&draft.world.plan.spec.strategy.canary.steps).filter(|_| steps_count) {
        if taken_back_by_person(draft) {
            return;
        }
        draft.say(Phase::Blocked, "InvalidPlan", format!("{fault}; edit the plan"));
        draft.tell(Severity::Warning, "InvalidPlan", "Check", draft.status.message.clone());
        return;
    }
    if draft.world.deployment.spec.strategy.type_ == "Recreate" && end_for_recreate(draft) {
        return;
    }
    if !guarded(draft) {
        return;
    }
    match draft.progress().map(|progress| progress.stage) {
        None => idle::decide(draft),
        Some(Stage::Steps) => stepping::decide(draft),
        Some(Stage::Promoting) => promoting::decide(draft),
        Some(Stage::TakingBack) => taking_back::decide(draft),
        Some(Stage::Bypassed) => promoting::follow_bypass(draft),
    }
}

/// Whether a person has the release taken back: what stands in the way of its going on does not stand in the way of that.
fn taken_back_by_person(draft: &mut Draft<'_>) -> bool {
    let aborted = |progress: &Progress| progress.verdict.as_ref().is_some_and(|verdict| verdict.reason == "Aborted");
    match (draft.progress().cloned(), draft.request()) {
        (Some(progress), _) if progress.stage == Stage::TakingBack => aborted(&progress),
        (Some(_), Some((text, Some(request::Verb::Abort)))) => {
            draft.consume(&text);
            draft.take_back("Aborted", "aborted by request");
            true
        }
        _ => false,
    }
}

/// The Deployment has strategy Recreate. A canary at its side goes first; what it is rolling already, it rolls to the end.
/// True if that is all for now.
fn end_for_recreate(draft: &mut Draft<'_>) -> bool {
    let Some(progress) = draft.progress().cloned() else {
        unsupported(draft);
        return true;
    };
    let aside = draft.world.new_set(&progress).is_none_or(|rs| draft.world.owned_by_plan(rs));
    let ends = match progress.stage {
        Stage::Steps => true,
        Stage::Promoting => aside && draft.world.deployment.spec.paused,
        Stage::TakingBack | Stage::Bypassed => false,
    };
    if ends && !taken_back_by_person(draft) {
        let name = &draft.world.deployment.metadata.name;
        let message =
            format!("Deployment {name} has strategy Recreate now, which leaves no stable pods beside new ones");
        draft.take_back("UnsupportedStrategy", message);
    }
    ends
}

/// A plan that asks for more than this version knows: its changes are held, and nothing is released by half of it.
fn half_known(draft: &mut Draft<'_>) {
    if draft.world.deployment.spec.strategy.type_ == "Recreate" {
        return unsupported(draft);
    }
    if !guarded(draft) {
        return;
    }
    let paths: Vec<&str> = draft.world.plan.newer.spec.iter().map(String::as_str).collect();
    let message = format!(
        "this version of Trimtab does not know {}: changes are held, and nothing is released, or taken back but by abort, \
         until a version runs that does, or the plan does without",
        paths.join(", ")
    );
    draft.say(Phase::Blocked, "NewerPlan", message.clone());
    draft.tell(Severity::Warning, "NewerPlan", "Check", message);
}

/// A Deployment that recreates its pods has no pods to compare with: it is left alone.
fn unsupported(draft: &mut Draft<'_>) {
    let name = draft.world.deployment.metadata.name.clone();
    let guarded = draft.world.deployment.metadata.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty());
    if guarded && draft.world.held() != Held::Released && matches!(draft.world.held(), Held::By { .. }) {
        draft.say(
            Phase::Blocked,
            "UnsupportedStrategy",
            format!(
                "Deployment {name} has strategy Recreate and a change that is held: set its strategy to RollingUpdate, \
                 or release the change with: kubectl annotate deployment {name} trimtab.dev/plan= --overwrite && \
                 kubectl rollout resume deployment {name}"
            ),
        );
    } else {
        if guarded {
            let why = "leave a Deployment with strategy Recreate alone";
            draft.write(annotate(draft.world.deployment, json!({names::PLAN: ""}), why));
        }
        draft.say(
            Phase::Blocked,
            "UnsupportedStrategy",
            format!("Deployment {name} has strategy Recreate, which leaves no stable pods beside new ones: set its strategy to RollingUpdate"),
        );
    }
    draft.tell(Severity::Warning, "UnsupportedStrategy", "Check", draft.status.message.clone());
}

/// Whether the hold is in force: the Deployment names this plan.
fn guarded(draft: &mut Draft<'_>) -> bool {
    let deployment = draft.world.deployment;
    let plan = draft.world.plan.metadata.name.clone();
    match deployment.metadata.annotation(names::PLAN) {
        Some(name) if name == plan => true,
        Some("") => {
            if !leave_release(draft) {
                return false;
            }
            let name = &deployment.metadata.name;
            let resume = if deployment.spec.paused {
                format!(" (now it is paused: kubectl rollout resume deployment {name})")
            } else {
                String::new()
            };
            let message = format!(
                "Deployment {name} has opted out: its changes roll at once{resume}; to guard it again: \
                 kubectl annotate deployment {name} trimtab.dev/plan={plan} --overwrite"
            );
            draft.say(Phase::Waiting, "OptedOut", message);
            // What it rolls to from now on is not judged here: what is stable is learned again.
            draft.status.stable = None;
            false
        }
        _ => {
            let why = "guard the Deployment: from now on its changes are held";
            let guard = annotate(deployment, json!({names::PLAN: plan}), why);
            if draft.progress().is_some_and(|progress| progress.stage == Stage::TakingBack) {
                draft.tidy(guard);
                return true;
            }
            if taken_back_by_person(draft) {
                return false;
            }
            draft.write(guard);
            draft.say(
                Phase::Waiting,
                "NotGuardedYet",
                "the Deployment is being guarded; until then its changes roll at once",
            );
            false
        }
    }
}

/// Ends the release under way of a Deployment that has opted out: a canary at the side goes, what the Deployment has
/// taken over stays. True once there is none.
fn leave_release(draft: &mut Draft<'_>) -> bool {
    let Some(progress) = draft.progress().cloned() else { return true };
    let message = "the Deployment has opted out";
    if progress.stage == Stage::TakingBack {
        taking_back::decide(draft);
        return false;
    }
    if draft.world.new_set(&progress).is_some_and(|rs| draft.world.owned_by_plan(rs)) {
        draft.take_back("OptedOut", message);
        return false;
    }
    let verdict = trimtab_crds::Verdict { reason: "OptedOut".to_owned(), message: message.to_owned() };
    let progress = Progress { verdict: Some(verdict), ..progress };
    record::close(draft.world.now, draft.world.seen, &progress, ReleaseResult::Cancelled, &mut draft.plan);
    draft.status.release = None;
    true
}

fn annotate(deployment: &DeploymentView, annotations: serde_json::Value, why: &str) -> Write {
    // The uid in the patch is a precondition: it never goes to a recreated Deployment.
    let body = json!({"metadata": {"uid": deployment.metadata.uid, "annotations": annotations}});
    Write {
        target: deployment.metadata.object(names::DEPLOYMENT),
        verb: Verb::Merge { body, subresource: None },
        why: why.to_owned(),
    }
}

fn without_target(now: Timestamp, seen: &Snapshot, plan: &PlanView) -> Plan<Option<ReleasePlanStatus>> {
    let mut decided: Plan<Option<ReleasePlanStatus>> = Plan::new(None);
    let mut status = plan.status.clone().unwrap_or_default();
    // A canary goes when its Deployment goes.
    for rs in seen.replica_sets.iter().filter(|rs| rs.metadata.deletion_timestamp.is_none()) {
        if rs.metadata.controller().is_some_and(|owner| owner.uid == plan.metadata.uid) {
            decided.tidy(canary::delete(rs), plan.metadata.object(names::RELEASE_PLAN), &plan.metadata.uid);
        }
    }
    if let Some(progress) = status.release.take() {
        close_lost(now, seen, progress, &mut decided);
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
        if let Some((text, _)) = request::unanswered(plan, &status) {
            tell("RequestRefused", "Refuse", request::refusal(&text, &message));
            status.handled_request = Some(text);
        }
    }
    decided.because(reason, message);
    if let Some(at) = expected {
        decided.wake_by(at);
    }
    report::summarise(now, plan, &mut status, reason);
    decided.status = Some(status);
    decided
}

/// A Deployment whose plan is gone: nothing stays held without a word, and nothing rolls by surprise.
fn without_plan(seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
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
            let note = format!(
                "a change of Deployment {name} is held, but its ReleasePlan {plan:?} is gone. To let it roll: kubectl \
                 annotate deployment {name} trimtab.dev/plan= --overwrite && kubectl rollout resume deployment {name}. To \
                 take it back: create a ReleasePlan for it, then kubectl trimtab undo"
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
            decided.writes.push(annotate(
                deployment,
                json!({names::PLAN: ""}),
                "let go of the Deployment: the plan is gone",
            ));
        }
        // Somebody has opted out and has yet to resume it; the mark tells what for.
        (true, true) => {}
        (true, false) => {
            let none = serde_json::Value::Null;
            let why = "leave no trace: the plan is gone";
            decided.writes.push(annotate(deployment, json!({names::PLAN: none, names::HELD: none}), why));
        }
    }
    decided
}

/// The older of two plans counts; the other says so.
fn refuse_second_plan(now: Timestamp, first: &PlanView, other: &PlanView, plan: &mut Plan<Option<ReleasePlanStatus>>) {
    let mut status = other.status.clone().unwrap_or_default();
    let message = format!(
        "ReleasePlan {} already releases Deployment {}: delete one of the two plans",
        first.metadata.name, first.spec.target_ref.name
    );
    status.phase = Phase::Blocked;
    status.message.clone_from(&message);
    status.release = None;
    status.stable = None;
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
    let target = other.metadata.object(names::RELEASE_PLAN);
    plan.notices.push(Notice {
        about: target.clone(),
        uid: other.metadata.uid.clone(),
        severity: Severity::Warning,
        reason: "SecondPlan",
        action: "Check",
        note: message,
    });
    let verb = Verb::Patch { ops, subresource: Some(Subresource::Status) };
    let write = Write { target: target.clone(), verb, why: "tell the second plan of this Deployment".to_owned() };
    plan.tidy(write, target, &other.metadata.uid);
}
