//! The decision about one workload: which of its plans counts, whether it can be released at all, and which stage of a
//! release is next. Each stage has a file of its own.
//!
//! Rules that hold everywhere: progress is recorded in the plan's status before it is acted on, so that a process may
//! die before and after any write; what can be read from the cluster is not remembered; every write is idempotent.

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_crds::{Phase, Progress, ReleasePlanStatus, ReleaseResult, Stage, mark, names};
use trimtab_plan::{Because, Plan, Severity};

use crate::{
    Snapshot, adoption, asleep, between, canary, configuration,
    draft::Draft,
    idle, promoting, record, report, request, stepping, steps, taking_back, unmatched, unreadable,
    views::ReplicaSetView,
    world::{Held, World},
};

/// Decides about one workload. `None` as status: there is no plan to have one.
pub fn decide(now: Timestamp, seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
    let mut plan = decide_readable(now, seen);
    unreadable::tell(now, seen, &mut plan);
    plan
}

fn decide_readable(now: Timestamp, seen: &Snapshot) -> Plan<Option<ReleasePlanStatus>> {
    let plans = seen.plans_by_age();
    let Some((&first, others)) = plans.split_first() else { return unmatched::without_plan(seen) };
    let mut plan = match seen.deployment.as_deref().filter(|d| d.metadata.deletion_timestamp.is_none()) {
        None => unmatched::without_target(now, seen, first),
        Some(deployment) => with_target(World::new(now, seen, deployment, first)),
    };
    for other in others {
        unmatched::refuse_second_plan(now, first, other, &mut plan);
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
        record::close_lost(world.now, world.seen, progress, &mut draft.plan);
    }
    if let Some(text) = request::made_with(world.plan, &draft.status) {
        draft.refuse(&text, request::MADE_WITH);
    }
    advance(&mut draft);
    // Before an answer puts a release off: what that has made already stays for when it begins.
    remove_strays(&mut draft, another);
    between::answer_what_waits(&mut draft);
    tell_wish(&mut draft);
    tell_stable_gone(&mut draft);
    tell_load(&mut draft);
    asleep::forget_wish(&mut draft);
    configuration::keep_owners(&mut draft);
    let mut records = record::close_forgotten(&draft.world, &draft.status, &draft.plan.writes);
    records.extend(record::prune(&draft.world, &draft.status));
    records.into_iter().for_each(|write| draft.tidy(write));
    report::finish(draft)
}

/// Says how many replicas were asked for of what sleeps, where it waits for people and Trimtab does not wake it.
fn tell_wish(draft: &mut Draft<'_>) {
    let waits = draft.status.phase == Phase::Blocked || draft.reason == "OptedOut";
    if waits && draft.world.wish().is_some() {
        draft.status.message.push_str(&asleep::asked_for(draft.world.deployment));
    }
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

/// Says so where a change is held and no pod of stable is left: a paused Deployment makes no ReplicaSet of what it does not ask for.
fn tell_stable_gone(draft: &mut Draft<'_>) {
    let world = draft.world;
    let waits = matches!(draft.status.phase, Phase::Paused | Phase::TakenBack) && draft.status.undo.is_none();
    let held = world.is_stopped() && world.replicas > 0;
    let there = world.stable_set(&draft.status).is_some_and(|rs| rs.metadata.deletion_timestamp.is_none());
    if !waits || !held || there || world.owned().any(|rs| rs.spec.replicas > 0) {
        return;
    }
    let plan = &world.plan.metadata.name;
    let message = format!(
        "no pod of the stable revision is left, for its ReplicaSet is gone: kubectl trimtab undo {plan} brings it back, \
         kubectl trimtab promote --full {plan} lets the change roll ({})",
        draft.status.message
    );
    draft.say(Phase::Blocked, "StableGone", message.clone());
    draft.tell(Severity::Warning, "StableGone", "Wait", message);
}

/// ReplicaSets of the plan that no release needs: of a Deployment that was created again, or made by a process that
/// died before it could record them, for a change that has changed since.
fn remove_strays(draft: &mut Draft<'_>, another_deployment: bool) {
    let world = draft.world;
    let progress = draft.progress().cloned();
    if progress.as_ref().is_some_and(|progress| progress.stage == Stage::TakingBack) {
        return;
    }
    let name = &world.deployment.metadata.name;
    let sets = world.seen.replica_sets.iter().map(AsRef::as_ref);
    // One that a stage needs is claimed by that.
    let claimed: Vec<_> = draft.plan.writes.iter().map(|write| write.target.clone()).collect();
    let left = |rs: &&ReplicaSetView| !claimed.contains(&rs.metadata.object(names::REPLICA_SET));
    for rs in sets.filter(|rs| adoption::is_adrift(name, rs)).filter(left) {
        draft.tidy(canary::claim(&world, rs));
    }
    let needed = |rs: &ReplicaSetView| {
        let Some(progress) = &progress else { return false };
        match world.canary_set(progress) {
            Some(canary) => canary.metadata.uid == rs.metadata.uid,
            None => rs.spec.template.digest == progress.digest,
        }
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
    // What is being taken back goes on its way: that is no new judgement.
    if !draft.world.plan.newer.spec.is_empty() && stage != Some(Stage::TakingBack) {
        if !taken_back_by_person(draft) {
            half_known(draft);
        }
        return;
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
    match (draft.progress(), draft.request()) {
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
    let guarded = draft.world.is_guarded();
    if guarded && matches!(draft.world.held(), Held::By { .. }) {
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
            draft.write(canary::let_go(draft.world.deployment, why));
        }
        if draft.progress().is_none() {
            // What it rolls to from now on is not judged here: what is stable is learned again.
            (draft.status.stable, draft.status.first_rollout) = (None, None);
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
    // What Trimtab itself let go for want of a plan, or of a strategy that has stable pods, is nobody's wish.
    let let_go = deployment.metadata.annotation(names::HELD) == Some(mark::LET_GO);
    match deployment.metadata.annotation(names::PLAN) {
        Some(name) if name == plan => true,
        Some("") if !let_go => {
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
            (draft.status.stable, draft.status.first_rollout) = (None, None);
            false
        }
        _ => {
            let why = "guard the Deployment: from now on its changes are held";
            let mut names =
                if let_go { json!({names::PLAN: plan, names::HELD: null}) } else { json!({names::PLAN: plan}) };
            if !draft.world.is_guarded() && deployment.metadata.annotations.contains_key(names::WAKE_TO) {
                // Nobody has watched over who wrote it.
                names[names::WAKE_TO] = Value::Null;
            }
            let guard = canary::annotate(deployment, names, why);
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
