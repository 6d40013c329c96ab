//! Promotion: the Deployment takes the canary over, is unpaused, and rolls the rest in by its own rules.

use std::time::Duration;

use trimtab_crds::{PastRevision, Phase, ReleaseResult, Revision, Stage};
use trimtab_plan::{Severity, Wake};

use crate::{
    adoption, asleep, canary, deadline,
    draft::Draft,
    idle::{IN_FULL, NO_STEPS, NOTHING_LEFT, millis},
    record,
    request::Verb,
    taking_back::surely_available,
    views::{DeploymentView, ReplicaSetView},
    world::{Held, failure, limits_at, rolling_limits, words},
};

pub(crate) fn decide(draft: &mut Draft<'_>) {
    let world = draft.world;
    let Some(progress) = draft.progress().cloned() else { return };
    if changed_meanwhile(draft) || handle_request(draft) || fell_asleep(draft) {
        return;
    }
    let new_set = world.new_set(&progress);
    if new_set.is_some_and(|rs| failed(draft, rs)) {
        return;
    }
    if paused_by_person(draft) || overdue(draft, new_set) || short(draft, new_set) {
        return;
    }
    let released = !world.deployment.spec.paused;
    if released {
        return match new_set.filter(|rs| world.owned_by_plan(rs)) {
            Some(_) => bypassed(draft),
            None => roll(draft, new_set),
        };
    }
    if new_set.is_some_and(|rs| adoption::reclaim(draft, rs)) {
        return;
    }
    match (&progress.canary, new_set) {
        (None, _) => {
            draft.write(canary::release(&world, "let the Deployment roll: no canary is asked for"));
            draft.say(Phase::Promoting, "Promoting", "letting the Deployment roll");
        }
        (Some(canary), None) => {
            let message = format!("the canary's ReplicaSet {} is gone: somebody deleted it", canary.replica_set);
            draft.take_back("CanaryLost", message);
        }
        (Some(_), Some(rs)) if world.owned_by_plan(rs) => hand_over(draft, rs),
        (Some(_), Some(rs)) => unpause(draft, rs),
    }
}

/// Whether a person paused the rolling Deployment: only they resume it, and the deadline waits for them.
fn paused_by_person(draft: &mut Draft<'_>) -> bool {
    let deployment = draft.world.deployment;
    if !deployment.spec.paused || draft.world.holds_a_change() {
        return false;
    }
    if let Some(progress) = &mut draft.status.release {
        progress.unavailable_since = None;
    }
    let name = &deployment.metadata.name;
    let message =
        format!("a person paused Deployment {name} while it was rolling: kubectl rollout resume deployment {name}");
    draft.say(Phase::Waiting, "PausedByPerson", message);
    true
}

/// Gives the canary over, once it is whole: all delays lie before this moment.
fn hand_over(draft: &mut Draft<'_>, rs: &ReplicaSetView) {
    let world = draft.world;
    let size = rs.spec.replicas.min(world.replicas);
    if rs.spec.replicas > size {
        draft.write(canary::scale(rs, size, "the Deployment became smaller than its canary"));
    }
    let current = rs.spec.replicas == size && rs.status.observed_generation >= rs.metadata.generation;
    if let Some(waking) = waits_for_stable(draft, rs, size) {
        return draft.say(Phase::Promoting, "WaitingForCanary", waking);
    }
    if current && rs.status.available_replicas >= size && world.observed() {
        draft.write(canary::hand_over(world.deployment, rs));
        draft.say(Phase::Promoting, "HandingOver", "giving the canary to the Deployment");
    } else {
        let message =
            format!("before handing over: {} of {size} canary pods are available", rs.status.available_replicas);
        draft.say(Phase::Promoting, "WaitingForCanary", message);
    }
}

/// The Deployment that gets a ReplicaSet removes what is above its size and surge at once, whichever pods serve. Where stable has
/// only come up beside this one (the Deployment woke with another revision, so there are no steps), it has to serve first.
fn waits_for_stable(draft: &Draft<'_>, rs: &ReplicaSetView, size: i32) -> Option<String> {
    let world = draft.world;
    draft.progress().filter(|progress| progress.skips_steps.is_some() && !progress.kept)?;
    let stable = world.stable_set(&draft.status).filter(|stable| world.owned_by_deployment(stable))?;
    let most = world.replicas.saturating_add(rolling_limits(world.deployment).0);
    let surplus = stable.spec.replicas.saturating_add(size).saturating_sub(most).max(0);
    let left = surely_available(stable).saturating_add(surely_available(rs)).saturating_sub(surplus);
    (surplus > 0 && left < world.replicas - world.max_unavailable).then(|| {
        format!("before handing over: {} of {} stable pods are available", surely_available(stable), world.replicas)
    })
}

/// Unpauses, once the Deployment has recognised the canary as its newest ReplicaSet.
fn unpause(draft: &mut Draft<'_>, rs: &ReplicaSetView) {
    let world = draft.world;
    let revision = |meta: &trimtab_plan::Meta| meta.annotation(trimtab_crds::names::REVISION).map(str::to_owned);
    let ours = revision(&rs.metadata);
    let recognised = ours.is_some() && ours == revision(&world.deployment.metadata) && world.observed();
    if !world.owned_by_deployment(rs) {
        let message = format!("ReplicaSet {} belongs neither to the plan nor to the Deployment", rs.metadata.name);
        draft.say(Phase::Blocked, "CanaryLost", message);
    } else if recognised && !world.calm() {
        draft.say(Phase::Promoting, "HandedOver", "waiting for the Deployment's surplus pods to go");
    } else if recognised {
        draft.write(canary::release(&world, "the Deployment has taken the canary over: let it roll the rest in"));
        draft.say(Phase::Promoting, "Promoting", "letting the Deployment roll the rest in");
    } else {
        draft.say(
            Phase::Promoting,
            "HandedOver",
            "waiting for the Deployment to recognise the canary as its newest ReplicaSet",
        );
    }
}

/// The Deployment rolls; when it is complete the new revision is the stable one.
fn roll(draft: &mut Draft<'_>, new_set: Option<&ReplicaSetView>) {
    let world = draft.world;
    let status = &world.deployment.status;
    match new_set {
        Some(rs) if world.complete() => promoted(draft, rs, ReleaseResult::Promoted),
        _ => {
            let message = format!(
                "rolling: {} of {} pods are new, {} available",
                status.updated_replicas, world.replicas, status.available_replicas
            );
            draft.say(Phase::Promoting, "Rolling", message);
        }
    }
}

fn promoted(draft: &mut Draft<'_>, rs: &ReplicaSetView, result: ReleaseResult) {
    let world = draft.world;
    let Some(progress) = draft.status.release.take() else { return };
    draft.plan.wake = Wake::OnChange;
    record::close(world.now, world.seen, &progress, result, &mut draft.plan);
    let old = draft
        .status
        .stable
        .replace(Revision { digest: rs.spec.template.digest.clone(), replica_set: rs.metadata.name.clone() });
    if let Some(old) = old.filter(|old| old.digest != progress.digest) {
        draft.remember(PastRevision { digest: old.digest, release: progress.name.clone() });
    }
    let message = match result {
        ReleaseResult::Bypassed => format!("{} was released past the plan and is stable now", words(&rs.spec.template)),
        _ => format!("{} is stable", words(&rs.spec.template)),
    };
    let note = format!("{}: {message}", progress.name);
    draft.say(Phase::Stable, "Stable", message);
    draft.tell(Severity::Normal, "Promoted", "Promote", note);
}

fn changed_meanwhile(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    if draft.progress().is_some_and(|p| p.digest == world.digest) {
        return false;
    }
    if world.stable_digest(&draft.status) == Some(world.digest) {
        draft.take_back("ChangedBack", "the change was changed back to what is stable");
    } else if let Some(rs) = whole(draft) {
        // Nothing of the stable revision is left to start over from: the promotion is over but for the word.
        promoted(draft, rs, ReleaseResult::Promoted);
    } else {
        draft.take_back(
            "Superseded",
            "another change came while this one was being promoted: starting over from what is stable",
        );
    }
    true
}

/// The new revision's ReplicaSet, once it is all that the Deployment runs and every pod is available. Without replicas that says nothing: then
/// its steps must have judged it.
fn whole<'a>(draft: &Draft<'a>) -> Option<&'a ReplicaSetView> {
    let world = draft.world;
    let judged = draft.progress()?.skips_steps.is_none() && draft.progress()?.stage == Stage::Promoting;
    if world.replicas == 0 && !judged {
        return None;
    }
    let rs = world.new_set(draft.progress()?).filter(|rs| world.owned_by_deployment(rs))?;
    world.is_all_that_runs(rs).then_some(rs)
}

/// The release ends with what somebody let go past the plan while nobody looked, where that is all that runs: what came behind it is
/// compared with that. True if it has ended.
pub(crate) fn was_bypassed(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    let own = draft.progress().and_then(|progress| world.owned_with(&progress.digest));
    let Some(own) = own.filter(|own| world.replicas > 0 && world.is_all_that_runs(own)) else { return false };
    promoted(draft, own, ReleaseResult::Bypassed);
    true
}

/// Without steps nothing but its rollout judges a change, and without replicas nothing does: it waits for them.
fn fell_asleep(draft: &mut Draft<'_>) -> bool {
    let untried = draft.progress().and_then(|progress| progress.skips_steps.as_deref());
    let untried = untried.is_some_and(|why| [NO_STEPS, NOTHING_LEFT].contains(&why));
    if !untried || !asleep::holds(&draft.world) {
        return false;
    }
    let message = "the Deployment was scaled to zero before the change had run: it is tried once there are replicas";
    draft.take_back("ScaledToZero", message);
    true
}

fn handle_request(draft: &mut Draft<'_>) -> bool {
    let Some((text, verb)) = draft.request() else { return false };
    match verb {
        Some(Verb::Abort | Verb::Undo) => {
            draft.consume(&text);
            draft.take_back("Aborted", "aborted by request while it was being promoted");
            return true;
        }
        Some(Verb::PromoteFull) => {
            draft.consume(&text);
            if let Some(progress) = draft.status.release.as_mut().filter(|progress| progress.skips_steps.is_some()) {
                progress.skips_steps = Some(IN_FULL.to_owned());
            }
        }
        Some(Verb::Promote | Verb::Resume) => draft.consume(&text),
        Some(_) => draft.refuse(&text, "the release is being promoted; abort takes it back"),
        None => draft.refuse(&text, &format!("it is none of {}", crate::request::REQUESTS.join(", "))),
    }
    false
}

fn failed(draft: &mut Draft<'_>, rs: &ReplicaSetView) -> bool {
    let Some(why) = failure(draft.world.pods_of(rs)) else { return false };
    draft.take_back("CanaryFailed", format!("the new revision failed while it was being promoted: {why}"));
    true
}

/// Keeps the deadline of the promotion, which begins with the first replicas.
fn overdue(draft: &mut Draft<'_>, new_set: Option<&ReplicaSetView>) -> bool {
    if let Some(progress) = draft.status.release.as_mut().filter(|_| draft.world.replicas == 0) {
        (progress.unavailable_since, progress.most_available) = (None, 0);
        return false;
    }
    let late = late(draft, new_set);
    let Some(late) = late.filter(|_| !draft.world.complete()) else { return false };
    draft.take_back("DeadlineExceeded", format!("{late} while it was being promoted"));
    true
}

/// What to say where no further pod has become available within the deadline: it begins anew with every one that does. Notes
/// how it goes, and wakes when the time is over.
fn late(draft: &mut Draft<'_>, new_set: Option<&ReplicaSetView>) -> Option<String> {
    let world = draft.world;
    let wait = &world.plan.spec.progress_deadline;
    let count = new_set.map(deadline::count).unwrap_or_default();
    let end = deadline::end(draft.status.release.as_mut()?, count, world.now, wait)?;
    if world.now < end {
        draft.plan.wake_by(end);
        return None;
    }
    Some(deadline::over(wait))
}

/// Pods of the new revision no longer serve that the Deployment counted on: stable ones were removed for them, and only taking
/// the release back brings those again. The Deployment by itself would wait. A dip of a moment is forgiven. As long as there
/// never were as many pods as the Deployment promises, it has removed none: what the stable revision lacked before, and what a
/// larger Deployment has yet to get, says nothing against the new one. Nor do stable pods that break, nor pods that are taken
/// away, in whose place others start.
fn short(draft: &mut Draft<'_>, new_set: Option<&ReplicaSetView>) -> bool {
    const FORGIVEN: Duration = Duration::from_secs(3);
    let world = draft.world;
    let now = millis(world.now);
    // All that serves counts, also what is left of a rollout before this.
    let aside = new_set.filter(|rs| world.owned_by_plan(rs));
    let serving = world.owned().chain(aside).map(|rs| rs.status.available_replicas);
    let available = serving.fold(0, i32::saturating_add);
    let handed_over = new_set.filter(|rs| world.owned_by_deployment(rs));
    let Some(progress) = draft.status.release.as_mut() else { return false };
    let lost = handed_over.is_some_and(|rs| {
        rs.status.available_replicas < progress.most_available.min(rs.spec.replicas)
            && world.pods_of(rs).any(|pod| !pod.status.conditions.disrupted && pod.status.has_stopped_serving())
    });
    let all = available >= allowed(world.deployment, world.replicas);
    progress.reached = if all { Some(world.replicas) } else { progress.reached.map(|size| size.min(world.replicas)) };
    let needed = progress.reached.map_or(0, |size| allowed(world.deployment, size));
    if !lost || available >= needed || progress.kept {
        progress.short_since = None;
        return false;
    }
    let since = *progress.short_since.get_or_insert(now);
    let end = since.checked_add(FORGIVEN).unwrap_or(now);
    if world.now < end {
        draft.plan.wake_by(end);
        return false;
    }
    let message = format!(
        "pods of the new revision no longer serve: only {available} pods were available while it was being promoted; the \
         Deployment allows {needed}"
    );
    draft.take_back("AvailabilityLost", message);
    true
}

/// So many available pods a Deployment of this size does not undercut.
fn allowed(deployment: &DeploymentView, size: i32) -> i32 {
    size.saturating_sub(limits_at(deployment, size).1)
}

fn bypassed(draft: &mut Draft<'_>) {
    draft.enter(Stage::Bypassed);
    let message = "a person released the change past the plan; Trimtab follows and records it";
    draft.say(Phase::Promoting, "Bypassed", message);
    draft.tell(Severity::Warning, "Bypassed", "Follow", message);
}

/// A change that was released past the plan: it is followed to its end, and the canary goes when it is complete.
pub(crate) fn follow_bypass(draft: &mut Draft<'_>) {
    let world = draft.world;
    if changed_meanwhile(draft) {
        return;
    }
    match draft.request() {
        Some((text, Some(Verb::Abort))) => {
            draft.consume(&text);
            return draft.take_back("Aborted", "aborted by request after it was released past the plan");
        }
        Some((text, _)) => {
            draft.refuse(&text, "the change was released past the plan and is rolling; abort takes it back")
        }
        None => {}
    }
    if matches!(world.held(), Held::By { .. }) && world.deployment.spec.paused {
        // Held again with the same template: whoever did it wants it judged after all.
        draft.take_back("Superseded", "the change is held again: starting over from what is stable");
        return;
    }
    if paused_by_person(draft) {
        return;
    }
    let Some(progress) = draft.progress().cloned() else { return };
    let own = world.owned_with(world.digest);
    let Some(own) = own.filter(|_| world.rolled_out()) else {
        let over = late(draft, own);
        if let Some(late) = world.deployment.late().map(str::to_owned).or(over) {
            let message = format!(
                "released past the plan, and gets nowhere ({late}): {} of {} pods are new; mend what keeps the others, change \
                 the Deployment, or: kubectl trimtab abort {}",
                world.deployment.status.updated_replicas, world.replicas, world.plan.metadata.name
            );
            return draft.say(Phase::Blocked, "BypassStalled", message);
        }
        let message = format!(
            "released past the plan; {} of {} pods are new; where that does not end, change the Deployment, or: kubectl \
             trimtab abort {}",
            world.deployment.status.updated_replicas, world.replicas, world.plan.metadata.name
        );
        return draft.say(Phase::Promoting, "Bypassed", message);
    };
    match world.canary_set(&progress).filter(|rs| world.owned_by_plan(rs)) {
        None => promoted(draft, own, ReleaseResult::Bypassed),
        Some(rs) if rs.spec.replicas > 0 => {
            draft.write(canary::scale(rs, 0, "the change is complete without the canary"));
            draft.say(Phase::Promoting, "Bypassed", "removing the canary");
        }
        Some(rs) if rs.status.replicas == 0 => {
            draft.write(if progress.canary.as_ref().is_some_and(|c| c.from_history) {
                canary::return_to_history(world.deployment, rs)
            } else {
                canary::delete(rs)
            });
            draft.say(Phase::Promoting, "Bypassed", "removing the canary");
        }
        Some(_) => draft.say(Phase::Promoting, "Bypassed", "waiting for the canary's pods to go"),
    }
}
