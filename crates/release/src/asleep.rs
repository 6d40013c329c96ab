//! A Deployment without replicas: its changes stay held until it wakes, and then stable comes up first, so that the canary
//! has something to be compared with.

use trimtab_crds::{Phase, WhileScaledToZero, mark, names};
use trimtab_plan::Severity;

use crate::{
    canary,
    draft::Draft,
    views::{DeploymentView, ReplicaSetView},
    world::World,
};

/// Whether changes wait for replicas: also where some are on their way.
pub(crate) fn holds(world: &World<'_>) -> bool {
    let waits = world.plan.spec.while_scaled_to_zero == WhileScaledToZero::Hold || world.wish().is_some();
    world.replicas == 0 && waits
}

/// Gives the Deployment the replicas that were asked for, once what comes up is stable. True if that is all for now.
pub(crate) fn wake(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    let Some(size) = world.wish() else { return false };
    let nothing_else = || draft.status.stable.is_none() || stays(&world).next().is_none();
    let ready = match sleeping(draft) {
        Some(stable) => !rolled_since(draft, stable),
        // Nothing of stable is left that could come up first, and nothing else is to.
        None => world.stable_set(&draft.status).is_none() && nothing_else(),
    };
    // What would come up before stable is taken out first.
    if ready && draft.plan.writes.is_empty() {
        draft.write(canary::wake(world.deployment, size));
    }
    let message = format!("the Deployment is to have {size} replicas: the stable revision comes up first");
    draft.say(Phase::Waiting, "Waking", message);
    true
}

/// What to add for people where a change waits for them and nobody wakes the Deployment as they had asked.
pub(crate) fn asked_for(deployment: &DeploymentView) -> String {
    let note = deployment.metadata.annotation(names::WAKE_TO).filter(|_| deployment.spec.replicas == 0);
    note.and_then(mark::noted_size).map_or_else(String::new, |size| {
        let name = &deployment.metadata.name;
        format!("; {size} replicas were asked for: kubectl scale deployment {name} --replicas={size}")
    })
}

/// Takes off what was asked for of a Deployment that has replicas by now, or of which no change is held.
pub(crate) fn forget_wish(draft: &mut Draft<'_>) {
    let world = draft.world;
    let forgotten = world.replicas > 0 || !world.is_stopped();
    if forgotten && let Some(write) = canary::forget_wish(world.deployment) {
        draft.tidy(write);
    }
}

/// Says that the held change waits for the Deployment to wake.
pub(crate) fn wait(draft: &mut Draft<'_>) {
    let (words, name) = (draft.world.digest_words(), draft.world.plan.metadata.name.clone());
    let message = format!(
        "the Deployment has no replicas: once it has, the stable revision comes up and {words} is tried beside it; to \
         promote it untried: kubectl trimtab promote --full {name}"
    );
    draft.say(Phase::Waiting, "ScaledToZero", message);
}

/// The stable ReplicaSet of a held Deployment.
fn stable_of_held<'a>(draft: &Draft<'a>) -> Option<&'a ReplicaSetView> {
    let world = draft.world;
    world.stable_set(&draft.status).filter(|rs| world.is_stopped() && world.owned_by_deployment(rs))
}

/// The same, where it has no pods to multiply.
fn sleeping<'a>(draft: &Draft<'a>) -> Option<&'a ReplicaSetView> {
    stable_of_held(draft).filter(|rs| rs.spec.replicas == 0)
}

/// Whether the Deployment is about to bring stable up.
pub(crate) fn is_waking(draft: &Draft<'_>) -> bool {
    draft.world.replicas > 0 && sleeping(draft).is_some_and(|stable| !rolled_since(draft, stable))
}

/// Whether the Deployment has rolled to another revision since: then what is known of stable is old. One that came up while
/// the Deployment was paused carries the mark of the hold, copied with the Deployment's annotations.
fn rolled_since(draft: &Draft<'_>, stable: &ReplicaSetView) -> bool {
    draft.world.owned().any(|rs| rs.spec.replicas > 0 && revision(rs) > revision(stable) && !came_up_paused(rs))
}

/// What the Deployment has rolled to meanwhile, whole, before a third template was held: somebody released it while nobody looked. Where
/// they had taken the guard off for that, the mark of the hold was left on it.
pub(crate) fn released_meanwhile<'a>(draft: &Draft<'a>) -> Option<&'a ReplicaSetView> {
    let world = draft.world;
    let stable = stable_of_held(draft).filter(|_| world.replicas > 0)?;
    let has_rolled = |rs: &&ReplicaSetView| {
        let another = rs.metadata.uid != stable.metadata.uid && rs.spec.template.digest != world.digest;
        another && revision(rs) > revision(stable) && (!came_up_paused(rs) || is_made_by_rolling(rs))
    };
    world.owned().filter(has_rolled).find(|rs| world.is_all_that_runs(rs))
}

fn revision(rs: &ReplicaSetView) -> Option<i64> {
    rs.metadata.annotation(names::REVISION).and_then(|revision| revision.parse().ok())
}

/// Whether it bears the mark of a change that is held, copied with the Deployment's annotations.
fn came_up_paused(rs: &ReplicaSetView) -> bool {
    rs.metadata.annotation(names::HELD).is_some_and(|mark| !mark::is_released(mark))
}

/// Whether a Deployment made it for its first revision: one that is paused makes none.
fn is_made_by_rolling(rs: &ReplicaSetView) -> bool {
    let again = [names::REVISION_HISTORY, names::CANARY_OF];
    again.iter().all(|name| !rs.metadata.annotations.contains_key(name))
}

/// Whether ReplicaSets of the history are kept aside until stable has pods again, or the change has where nothing of stable is left.
pub(crate) fn keeps_aside(draft: &Draft<'_>) -> bool {
    let world = draft.world;
    let none_runs = || world.owned().all(|rs| rs.spec.replicas == 0);
    sleeping(draft).is_some() || (is_stable_gone(draft) && none_runs())
}

/// Whether nothing is left of what is known to be stable, in a Deployment whose change is held.
fn is_stable_gone(draft: &Draft<'_>) -> bool {
    let world = draft.world;
    world.is_stopped() && draft.status.stable.is_some() && world.stable_set(&draft.status).is_none()
}

/// The Deployment's ReplicaSets that are not being deleted.
fn stays<'a>(world: &World<'a>) -> impl Iterator<Item = &'a ReplicaSetView> {
    let (world, none) = (*world, |rs: &&ReplicaSetView| rs.metadata.deletion_timestamp.is_none());
    world.seen.replica_sets.iter().map(AsRef::as_ref).filter(move |rs| world.owned_by_deployment(rs)).filter(none)
}

/// Keeps out of a held Deployment what has pods and is not stable: what came up in stable's place while nobody looked, and what somebody
/// made or scaled, for which a paused Deployment takes stable pods away. One in which no ReplicaSet is active scales up the one that
/// equals its template, or else the one that was created last: those come out of its history too, until stable has pods again.
pub(crate) fn keep_stable_first(draft: &mut Draft<'_>) {
    let world = draft.world;
    let Some(stable) = stable_of_held(draft) else {
        // With nothing of stable left, an older revision is no better than the change.
        if world.wish().is_some() && is_stable_gone(draft) {
            stays(&world).filter(|rs| rs.spec.replicas == 0).for_each(|rs| draft.write(canary::keep_aside(&world, rs)));
        }
        return;
    };
    if rolled_since(draft, stable) {
        return;
    }
    let asleep = stable.spec.replicas == 0;
    for rs in stays(&world).filter(|rs| rs.metadata.uid != stable.metadata.uid) {
        let newer = rs.metadata.creation_timestamp >= stable.metadata.creation_timestamp;
        let has_pods = rs.spec.replicas > 0;
        if has_pods || (asleep && (newer || rs.spec.template.digest == world.digest)) {
            draft.write(canary::keep_aside(&world, rs));
        }
        if has_pods {
            let message = format!(
                "ReplicaSet {} has pods in a Deployment whose change is held, and is not stable: it is kept out, and stable \
                 pods take its place",
                rs.metadata.name
            );
            draft.tell(Severity::Warning, "KeptOut", "Hold", message);
        }
    }
}

/// How many pods of a ReplicaSet that came up in stable's place are still needed: stable takes over as it comes up.
pub(crate) fn still_needed(draft: &Draft<'_>, rs: &ReplicaSetView) -> i32 {
    let world = draft.world;
    // Its own pods do not take their own place.
    let stable = world.stable_set(&draft.status).filter(|stable| stable.metadata.uid != rs.metadata.uid);
    let stable = stable.map_or(0, |stable| stable.status.available_replicas);
    rs.spec.replicas.min(rs.status.available_replicas).min(world.replicas.saturating_sub(stable).max(0))
}
