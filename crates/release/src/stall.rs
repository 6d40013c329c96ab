//! A take-back that gets nowhere: until when it is waited for, what is missing, and what a person can do then. Not how a
//! revision is taken back.

use jiff::Timestamp;
use trimtab_config::Pin;
use trimtab_crds::{CanaryProgress, Phase, Progress, Stage};
use trimtab_plan::Severity;

use crate::{
    canary,
    deadline::{self, Count},
    draft::Draft,
    idle::millis,
    request::Verb,
    stepping::forgive,
    taking_back::surely_available,
    views::ReplicaSetView,
    world::{World, failure, words},
};

/// Whether no further pod of what is to stay has become available for the plan's `progressDeadline`. Notes how it goes on,
/// and wakes when the time is over.
pub(crate) fn is_stalled(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    let Some(progress) = draft.status.release.as_mut() else { return false };
    let mut count = Count::default();
    for rs in world.owned().filter(|rs| rs.spec.template.digest != progress.digest) {
        count.available = count.available.saturating_add(surely_available(rs));
        count.of = count.of.saturating_add(rs.spec.replicas);
    }
    match deadline::end(progress, count, world.now, &world.plan.spec.progress_deadline) {
        Some(end) if world.now < end => {
            draft.plan.wake_by(end);
            false
        }
        end => end.is_some(),
    }
}

/// Says what is waited for, what is missing, and what to do. It goes on by itself once that is there.
pub(crate) fn tell(draft: &mut Draft<'_>) {
    if draft.status.phase != Phase::TakingBack || draft.progress().is_none_or(|p| p.stage != Stage::TakingBack) {
        return;
    }
    let (world, plan) = (draft.world, &draft.world.plan.metadata.name);
    let missing = world.stable_set(&draft.status).and_then(|rs| missing(&world, rs));
    let missing = missing.unwrap_or_else(|| {
        format!("see the pods of Deployment {}: kubectl get pods, kubectl get events", world.deployment.metadata.name)
    });
    let new = draft.progress().filter(|progress| progress.digest != world.digest).and_then(|p| world.new_set(p));
    let keep = match new {
        Some(rs) => format!("change the Deployment back to {} and keep that", words(&rs.spec.template)),
        None => "keep the new revision".to_owned(),
    };
    let roll = match holds_another(draft) {
        true => format!("; or let {} roll: kubectl trimtab promote --full {plan}", world.digest_words()),
        false => String::new(),
    };
    let message = format!(
        "taking back gets nowhere ({}): {missing}. It goes on by itself once that is mended; or {keep}: kubectl trimtab \
         promote {plan} (retry tries it again){roll}",
        draft.status.message
    );
    draft.say(Phase::Blocked, "TakeBackStalled", message.clone());
    draft.tell(Severity::Warning, "TakeBackStalled", "Wait", message);
}

/// What keeps stable pods from starting, as far as it can be seen.
fn missing(world: &World<'_>, stable: &ReplicaSetView) -> Option<String> {
    let template = &stable.spec.template;
    let sources = template.reads.sources.iter().filter(|(_, reference)| !reference.optional);
    let gone = sources.filter_map(|(source, _)| {
        let known = world.seen.sources.get(source)?;
        let name = match template.config.get(source) {
            Some(Pin::Absent) => return None,
            Some(pin) => {
                let name = pin.copy_name(source);
                let kept = known.copies.iter().any(|copy| copy.as_ref().metadata.name == name);
                (!kept).then_some(name)?
            }
            None => known.live.is_none().then(|| source.name.clone())?,
        };
        Some(format!("{} {name}", source.kind.kind().kind))
    });
    let gone: Vec<String> = gone.collect();
    if !gone.is_empty() {
        return Some(format!("stable pods read {}, which is not there: create it again", gone.join(", ")));
    }
    let refused = stable.status.conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
    if let Some(refused) = refused {
        let message: String = refused.message.chars().take(300).collect();
        return Some(format!("stable pods cannot be created: {message}"));
    }
    failure(world.pods_of(stable)).map(|why| format!("stable pods do not start: {why}"))
}

/// Whether another change is held by now, which cannot be tried before the take-back is over.
fn holds_another(draft: &Draft<'_>) -> bool {
    let world = draft.world;
    let held = world.holds_a_change() && world.deployment.spec.paused;
    let another = draft.progress().is_some_and(|progress| progress.digest != world.digest);
    held && another && world.stable_digest(&draft.status) != Some(world.digest)
}

/// Answers a person when a take-back has stalled. True if the release goes on, or the Deployment rolls.
pub(crate) fn answer(draft: &mut Draft<'_>, text: &str, verb: Verb) -> bool {
    let world = draft.world;
    let Some(progress) = draft.progress().cloned() else { return false };
    // The later word counts.
    draft.status.undo = None;
    let set = world.new_set(&progress).filter(|rs| rs.metadata.deletion_timestamp.is_none());
    let asked = world.digest == progress.digest;
    match (verb, set) {
        (Verb::Promote | Verb::PromoteFull | Verb::Resume | Verb::Retry, Some(rs)) if asked => {
            draft.consume(text);
            let aside = world.owned_by_plan(rs);
            let again = verb == Verb::Retry && aside && progress.canary.is_some();
            go_on(draft, rs, aside, if again { Stage::Steps } else { Stage::Promoting });
            true
        }
        (Verb::PromoteFull, _) if holds_another(draft) => {
            draft.consume(text);
            // What serves of the release that is taken back goes as the pods of this take its place.
            draft.write(canary::release(&world, "let the Deployment roll what it asks for, by request"));
            let message = format!("letting {} roll without steps, by request", world.digest_words());
            draft.say(Phase::TakingBack, "TakingBack", message);
            true
        }
        (Verb::Undo, _) => {
            draft.consume(text);
            let digest = world.stable_digest(&draft.status).unwrap_or_default().to_owned();
            draft.undo_to(digest, progress.name);
            false
        }
        _ => {
            draft.refuse(text, "the release is being taken back, and the new revision is not there to go on with");
            false
        }
    }
}

/// The new revision is kept after all.
fn go_on(draft: &mut Draft<'_>, rs: &ReplicaSetView, aside: bool, stage: Stage) {
    let now: Timestamp = millis(draft.world.now);
    draft.enter(stage);
    forgive(draft);
    if let Some(progress) = &mut draft.status.release {
        keep(progress, rs, aside);
        progress.step_started_at = now;
        progress.pause_started_at = None;
    }
    match stage {
        Stage::Steps => draft.say(Phase::Releasing, "Resumed", "trying the new revision again, by request"),
        _ => draft.say(Phase::Promoting, "Promoting", "promoting instead of taking back, by request"),
    }
}

fn keep(progress: &mut Progress, rs: &ReplicaSetView, aside: bool) {
    progress.kept = true;
    if aside && progress.canary.is_none() {
        // One that the Deployment had made by itself and that was taken out of it is given back like a canary.
        let (replica_set, replicas) = (rs.metadata.name.clone(), rs.spec.replicas);
        progress.canary = Some(CanaryProgress { replica_set, from_history: true, replicas });
    }
}
