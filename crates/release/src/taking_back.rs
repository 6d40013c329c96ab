//! Taking a new revision back, at any moment between its first canary pod and the last stable one. Stable pods are
//! never touched; where the Deployment had begun to roll, it brings stable back while the canary still serves.

use trimtab_crds::{Phase, Progress, Rejected, ReleaseResult, Undo, Verdict};
use trimtab_plan::Severity;

use crate::{
    adoption, canary, draft::Draft, idle::millis, record, request, stall, undo::template_of, views::ReplicaSetView,
    world::Held,
};

pub(crate) fn decide(draft: &mut Draft<'_>) {
    let stalled = stall::is_stalled(draft);
    if answer_request(draft, stalled) {
        return;
    }
    go_on(draft);
    if stalled {
        stall::tell(draft);
    }
}

fn go_on(draft: &mut Draft<'_>) {
    let Some(progress) = draft.progress().cloned() else { return };
    let why = progress.verdict.as_ref().map(|v| v.message.clone()).unwrap_or_default();
    let world = draft.world;
    // Released a moment ago, the Deployment may not even have made its ReplicaSet.
    let Some(rs) = world.new_set(&progress) else { return hold_and_end(draft, progress, &why) };
    if adoption::reclaim(draft, rs) {
        return;
    }
    let another = released_another(draft, &progress);
    if another && world.owned_by_deployment(rs) {
        return over(draft, progress);
    }
    // Released past the plan, the Deployment has made a ReplicaSet of its own beside the canary. It is stopped for that, but not
    // where it rolls on to another change.
    let second = world.owned_with(&progress.digest).filter(|own| own.metadata.uid != rs.metadata.uid && !another);
    if let Some(own) = second.filter(|own| own.spec.replicas > 0 || own.status.replicas > 0) {
        return out_of_the_deployment(draft, &progress, own, &why);
    }
    if world.owned_by_deployment(rs) && !(returned(draft, &progress, rs)) {
        return out_of_the_deployment(draft, &progress, rs, &why);
    }
    if !world.owned_by_plan(rs) {
        return hold_and_end(draft, progress, &why);
    }
    shrink(draft, &progress, rs, &why);
}

/// True if the release goes on instead of being taken back.
fn answer_request(draft: &mut Draft<'_>, stalled: bool) -> bool {
    let Some((text, verb)) = draft.request() else { return false };
    // What replaces this release is what is meant: the request waits for it.
    let replaced = draft
        .progress()
        .and_then(|p| p.verdict.as_ref())
        .is_some_and(|verdict| ["Superseded", "ScaledToZero"].contains(&verdict.reason.as_str()));
    if replaced && !stalled {
        return false;
    }
    match verb {
        Some(request::Verb::Abort) => draft.consume(&text),
        Some(verb) if stalled => return stall::answer(draft, &text, verb),
        Some(_) => draft.refuse(&text, "the release is being taken back; ask again afterwards"),
        None => draft.refuse(&text, &format!("it is none of {}", request::REQUESTS.join(", "))),
    }
    false
}

/// Whether a person has released another change past the plan meanwhile: the Deployment rolls it, and is not stopped.
fn released_another(draft: &Draft<'_>, progress: &Progress) -> bool {
    let (world, stable) = (draft.world, draft.world.stable_digest(&draft.status));
    !world.deployment.spec.paused && world.digest != progress.digest && stable != Some(world.digest)
}

/// Whether this ReplicaSet is back in the Deployment's history after it was taken back.
fn returned(draft: &Draft<'_>, progress: &Progress, rs: &ReplicaSetView) -> bool {
    from_history(progress) && draft.world.deployment.spec.paused && rs.spec.replicas == 0 && rs.status.replicas == 0
}

/// Whether the new ReplicaSet is the Deployment's own: taken from its history, or made by it in a release without canary.
fn from_history(progress: &Progress) -> bool {
    progress.canary.as_ref().is_none_or(|canary| canary.from_history)
}

/// Nothing is left to take out of the Deployment: it is over once what is taken back is held.
fn hold_and_end(draft: &mut Draft<'_>, progress: Progress, why: &str) {
    if !hold(draft, &progress, why) {
        over(draft, progress);
    }
}

/// Holds what is taken back, for it stays in the Deployment: also where a person has paused that, who would start it anew by
/// resuming. True if it is being held now. A pause of another change, or of a Deployment that has opted out, is the person's.
fn hold(draft: &mut Draft<'_>, progress: &Progress, why: &str) -> bool {
    let deployment = draft.world.deployment;
    let held = matches!(draft.world.held(), Held::By { .. });
    let stays = match deployment.spec.paused {
        true => held || !draft.world.is_guarded() || draft.world.digest != progress.digest,
        false => released_another(draft, progress),
    };
    if stays {
        return false;
    }
    draft.write(canary::hold(&draft.world, &progress.by));
    draft.say(Phase::TakingBack, "TakingBack", format!("holding the Deployment again: {why}"));
    true
}

/// The Deployment owns the new ReplicaSet: hold it, then take the ReplicaSet out.
fn out_of_the_deployment(draft: &mut Draft<'_>, progress: &Progress, rs: &ReplicaSetView, why: &str) {
    let world = draft.world;
    let back_to_stable = world.stable_digest(&draft.status) == Some(world.digest);
    let stable = world.stable_set(&draft.status);
    let stable_pods = stable.map_or(0, |stable| stable.spec.replicas);
    // With none active the Deployment scales up its newest old ReplicaSet, which may not be stable. And one that is
    // saturated is about to remove the last stable pod. Both are too late: it has to roll back by its own rules.
    // That is so only while the Deployment asks for the new template: where another change came, both just stay.
    let asked = world.digest == progress.digest;
    let saturated = asked && rs.spec.replicas >= world.replicas && rs.status.available_replicas >= world.replicas;
    let too_late = world.replicas > 0 && (stable_pods == 0 || saturated);
    if back_to_stable && (too_late || !world.deployment.spec.paused) {
        return roll_back(draft, progress, why);
    }
    if hold(draft, progress, why) {
        return;
    }
    if !world.observed() {
        draft.say(Phase::TakingBack, "TakingBack", format!("waiting for the Deployment to stop rolling: {why}"));
    } else if let Some(stable) = stable.filter(|rs| too_late && !saturated && world.owned_by_deployment(rs)) {
        // One stable pod is enough for the Deployment to bring back the rest. Both writes go together: meanwhile the
        // Deployment counts that pod as surplus.
        draft.write(canary::scale(stable, 1, "bring the first stable pod back"));
        draft.write(canary::take_back(&world, rs));
        draft.say(Phase::TakingBack, "TakingBack", format!("bringing the first stable pod back: {why}"));
    } else if too_late && !asked {
        // The stable ReplicaSet is gone from the history, and the other change is not ours to overwrite: it is compared
        // with what has pods.
        draft.status.stable = None;
        over(draft, progress.clone());
    } else if too_late {
        write_stable_back(draft, progress);
    } else {
        // What is known of stable may be older than what is known of the Deployment, which had begun to shrink it.
        if let Some(stable) = stable.filter(|rs| rs.spec.replicas > 0 && world.owned_by_deployment(rs)) {
            draft.write(canary::expect_size(stable, "make sure that stable pods are left"));
        }
        draft.write(canary::take_back(&world, rs));
        draft.say(Phase::TakingBack, "TakingBack", format!("taking the new ReplicaSet out of the Deployment: {why}"));
    }
}

/// No stable pod is left to bring back: the Deployment gets the stable template and rolls back by its own rules.
fn write_stable_back(draft: &mut Draft<'_>, progress: &Progress) {
    let digest = draft.world.stable_digest(&draft.status).unwrap_or_default().to_owned();
    let why = "no stable pod is left: let the Deployment roll back by its own rules";
    let release = record::keeper_of(&draft.world, &digest).unwrap_or_else(|| progress.name.clone());
    match template_of(draft, &Undo { digest, release, ..Undo::default() }) {
        Ok(template) => {
            draft
                .plan
                .writes
                .extend(template.map(|template| canary::write_template(draft.world.deployment, template, why)));
            draft.say(Phase::TakingBack, "RollingBack", why);
        }
        Err(problem) => {
            let message = format!("{problem}: change the Deployment to a template that works");
            draft.say(Phase::Blocked, "StableLost", message.clone());
            draft.tell(Severity::Warning, "StableLost", "Wait", message);
        }
    }
}

/// The Deployment asks for the stable template again: it rolls back by its own rules.
fn roll_back(draft: &mut Draft<'_>, progress: &Progress, why: &str) {
    let world = draft.world;
    if world.deployment.spec.paused && !(world.observed() && world.calm()) {
        return draft.say(Phase::TakingBack, "RollingBack", format!("waiting for surplus pods to go: {why}"));
    }
    if world.deployment.spec.paused {
        draft.write(canary::release(&world, "let the Deployment roll back to the stable template"));
    } else if world.complete() {
        return over(draft, progress.clone());
    }
    let message = format!(
        "rolling back: {} of {} pods are stable: {why}",
        world.deployment.status.updated_replicas, world.replicas
    );
    draft.say(Phase::TakingBack, "RollingBack", message);
}

/// Where the paused Deployment has no stable pod to multiply, it would scale up its newest old ReplicaSet: it gets one. It makes no
/// ReplicaSet of what it asks for either, before it is let go.
fn revive_stable(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    if !world.deployment.spec.paused || world.replicas == 0 {
        return false;
    }
    let gone = world.stable_set(&draft.status).is_none() && world.owned_with(world.digest).is_none();
    if gone && world.stable_digest(&draft.status) == Some(world.digest) && world.holds_a_change() {
        draft.write(canary::release(&world, "let the Deployment make its stable ReplicaSet again"));
        draft.say(Phase::TakingBack, "TakingBack", "letting the Deployment make its stable ReplicaSet again");
        return true;
    }
    let stable = world.stable_set(&draft.status).filter(|rs| rs.spec.replicas == 0 && world.owned_by_deployment(rs));
    // What the Deployment asks for and runs, somebody released: stable is not wanted back.
    let runs = world.owned_with(world.digest).is_some_and(|rs| rs.spec.replicas > 0);
    let Some(stable) = stable.filter(|_| !runs) else { return false };
    draft.write(canary::scale(stable, 1, "bring the first stable pod back"));
    draft.say(Phase::TakingBack, "TakingBack", "bringing the first stable pod back");
    true
}

/// Pods of a ReplicaSet that are available and stay: the Deployment may have taken some away a moment ago, and brought
/// them back again, before the status could tell.
pub(crate) fn surely_available(rs: &ReplicaSetView) -> i32 {
    let seen = rs.status.observed_generation >= rs.metadata.generation;
    if seen { rs.status.available_replicas.min(rs.spec.replicas) } else { 0 }
}

/// The canary is at the side: it shrinks as stable comes back, and goes.
fn shrink(draft: &mut Draft<'_>, progress: &Progress, rs: &ReplicaSetView, why: &str) {
    let world = draft.world;
    // What serves without the canary: stable pods, and those of another change that a person has released since.
    let others = world.owned().filter(|rs| rs.spec.template.digest != progress.digest);
    let stable: i32 = others.map(surely_available).fold(0, i32::saturating_add);
    if revive_stable(draft) {
        return;
    }
    let missing = world.replicas.saturating_sub(stable).max(0);
    // Pods that do not serve are of no use; those that do stay until stable has taken their place.
    let keep = rs.spec.replicas.min(rs.status.available_replicas).min(missing);
    if rs.spec.replicas > keep {
        draft.write(canary::scale(rs, keep, format!("take the canary back: {stable} stable pods are available")));
    }
    if rs.spec.replicas > 0 || rs.status.replicas > 0 {
        let message = format!(
            "{} canary pods left, {stable} of {} stable pods available: {why}",
            rs.status.replicas, world.replicas
        );
        return draft.say(Phase::TakingBack, "TakingBack", message);
    }
    if rs.status.observed_generation < rs.metadata.generation {
        return draft.say(
            Phase::TakingBack,
            "TakingBack",
            "waiting for the canary's ReplicaSet to be seen without pods",
        );
    }
    if from_history(progress) {
        draft.write(canary::return_to_history(world.deployment, rs));
    } else if rs.metadata.deletion_timestamp.is_none() {
        draft.write(canary::delete(rs));
    }
    draft.say(Phase::TakingBack, "TakingBack", format!("removing the canary's ReplicaSet: {why}"));
}

/// The new revision is gone. It is remembered, unless the change itself went away.
fn over(draft: &mut Draft<'_>, progress: Progress) {
    let world = draft.world;
    if revive_stable(draft) {
        return;
    }
    let verdict = progress
        .verdict
        .clone()
        .unwrap_or_else(|| Verdict { reason: "Aborted".to_owned(), message: "taken back".to_owned() });
    let result = match verdict.reason.as_str() {
        "Superseded" => ReleaseResult::Superseded,
        "ChangedBack" | "OptedOut" | "ScaledToZero" => ReleaseResult::Cancelled,
        _ => ReleaseResult::TakenBack,
    };
    record::close(world.now, world.seen, &progress, result, &mut draft.plan);
    draft.status.release = None;
    if result == ReleaseResult::TakenBack && world.digest == progress.digest {
        draft.status.rejected = Some(Rejected {
            digest: progress.digest.clone(),
            release: progress.name.clone(),
            verdict: verdict.clone(),
            at: millis(world.now),
        });
        draft.say(Phase::TakenBack, "TakenBack", format!("taken back: {}", verdict.message));
        draft.tell(
            Severity::Warning,
            "TakenBack",
            "TakeBack",
            format!("{} was taken back: {}", progress.name, verdict.message),
        );
    } else {
        draft.say(Phase::Waiting, "ReleaseOver", format!("{} is over: {}", progress.name, verdict.message));
    }
}
