//! Requests while no release is under way: of a change whose release has not begun, of one that was taken back, and at
//! rest. One that means the release which is about to begin waits for it, so that it skips nothing that comes before it.

use serde_json::json;
use trimtab_crds::{Phase, Rejected, ReleasePlanStatus, Undo, names};
use trimtab_plan::{PatchOp, Write};

use crate::{
    configuration::Gate,
    draft::Draft,
    idle::is_new,
    record,
    report::{NAME_TAKEN, WRITE_KEEPS_FAILING, WRITE_REFUSED},
    request::Verb,
    world::Held,
};

/// Before anything else: a person who wants to see the rejected revision tried again makes it a new change. What is to be put back
/// where this decision begins no release of it.
pub(crate) fn reconsider(draft: &mut Draft<'_>) -> Option<Rejected> {
    draft.status.rejected.as_ref()?;
    match draft.request() {
        Some((text, Some(Verb::Retry))) => {
            draft.status.rejected = None;
            draft.consume(&text);
            None
        }
        // It waits for what a new change waits for, and it may be refused.
        Some((_, Some(Verb::PromoteFull))) => draft.status.rejected.take(),
        _ => None,
    }
}

/// Whether a person asks to have the change taken out, or let go as it is.
pub(crate) fn asks_for_an_end(draft: &Draft<'_>) -> bool {
    matches!(draft.request(), Some((_, Some(Verb::Undo | Verb::PromoteFull))))
}

/// Carries out a request, or leaves it for the release that is about to begin. True if that was all for now.
pub(crate) fn handle(draft: &mut Draft<'_>, gate: Gate) -> bool {
    let Some((text, verb)) = draft.request() else { return false };
    match verb {
        None => {
            let known = crate::request::REQUESTS.join(", ");
            draft.refuse(&text, &format!("it is none of {known}"));
        }
        Some(Verb::Undo) => return undo(draft, &text, gate),
        Some(Verb::Restart) => return restart(draft, &text, gate),
        Some(Verb::Retry) => draft.refuse(&text, "nothing was taken back"),
        Some(_) if is_coming(draft, gate) => {}
        Some(_) if draft.status.rejected.is_some() => {
            draft
                .refuse(&text, "the change was taken back: retry tries it again, undo writes the stable template back");
        }
        Some(_) => draft.refuse(&text, "no release is under way"),
    }
    false
}

/// Whether there is a change whose release has yet to begin: of the template, or of what it reads.
fn is_coming(draft: &Draft<'_>, gate: Gate) -> bool {
    let pending = draft.status.config.as_ref().is_some_and(|config| config.pending.is_some());
    is_new(draft) || pending || gate == Gate::Blocked
}

/// The request to skip all steps, for the release that begins.
pub(crate) fn promoted_in_full(draft: &Draft<'_>) -> Option<String> {
    draft.request().filter(|(_, verb)| *verb == Some(Verb::PromoteFull)).map(|(text, _)| text)
}

fn undo(draft: &mut Draft<'_>, text: &str, gate: Gate) -> bool {
    let world = draft.world;
    let stable = world.stable_digest(&draft.status).map(str::to_owned);
    let at_stable = stable.as_deref() == Some(world.digest);
    if at_stable && gate != Gate::Open {
        // The template is what is stable already; it is the configuration that has changed. Its release comes first.
        return false;
    }
    let target = match stable {
        Some(digest) if !at_stable => Some(stable_undo(draft, digest)),
        Some(_) => draft.status.history.first().map(|past| undo_of(past.digest.clone(), past.release.clone())),
        // Nothing is stable: what was stable once is not what this change was made from.
        None => None,
    };
    let Some(undo) = target else {
        let why = if at_stable { "no earlier stable revision is known" } else { "no revision is known to be stable" };
        draft.refuse(text, why);
        return false;
    };
    draft.consume(text);
    // What is brought back needs nothing of what the change would have needed, and names what is undone as it is now.
    draft.write_nothing();
    let message = match at_stable {
        true => format!("going one revision back, to {}, by request", words_of(draft, &undo)),
        false => format!("bringing the stable template ({}) back, by request", words_of(draft, &undo)),
    };
    draft.undo_to(undo.digest, undo.release);
    draft.say(draft.status.phase, "Undoing", message);
    true
}

/// The stable template: its ReplicaSet has it, and so has the record of whatever was compared with it.
fn stable_undo(draft: &Draft<'_>, digest: String) -> Undo {
    let rejected = || draft.status.rejected.as_ref().map(|rejected| rejected.release.clone());
    let release = record::keeper_of(&draft.world, &digest).or_else(rejected).unwrap_or_default();
    undo_of(digest, release)
}

fn undo_of(digest: String, release: String) -> Undo {
    Undo { digest, release, ..Undo::default() }
}

/// What an undo brings back, in a person's words.
pub(crate) fn words_of(draft: &Draft<'_>, undo: &Undo) -> String {
    let mut sets = draft.world.seen.replica_sets.iter();
    match sets.find(|rs| rs.spec.template.digest == undo.digest) {
        Some(rs) => crate::world::words(&rs.spec.template),
        None => format!("what was stable before {}", undo.release),
    }
}

fn restart(draft: &mut Draft<'_>, text: &str, gate: Gate) -> bool {
    let template = &draft.world.deployment.spec.template;
    if template.restarted.as_deref() == Some(text) {
        draft.consume(text);
        return false;
    }
    if matches!(draft.world.held(), Held::By { .. }) {
        draft.refuse(text, "a change is held; it restarts the pods when it is released");
        return false;
    }
    if gate != Gate::Open {
        return false;
    }
    let mut value = template.value();
    if !value["metadata"]["annotations"].is_object() {
        value["metadata"]["annotations"] = json!({});
    }
    let meta = &draft.world.deployment.metadata;
    let ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add("/spec/template/metadata", {
            value["metadata"]["annotations"][names::RESTARTED] = json!(text);
            value["metadata"].clone()
        }),
    ];
    draft.write(Write::patch(draft.world.deployment_ref(), ops, "mark the template as restarted"));
    draft.say(
        draft.status.phase,
        "Restarting",
        "the template is marked for a restart, which is released like any change",
    );
    true
}

/// After a decision: a request that still waits is refused where nothing goes on without a person, with what they have to
/// know. Anywhere else it goes on waiting, and the status says so.
pub(crate) fn answer_what_waits(draft: &mut Draft<'_>) {
    let Some((text, verb)) = draft.request() else { return };
    let (phase, message) = (draft.status.phase, draft.status.message.clone());
    if phase == Phase::Blocked || crate::report::lasts(phase, draft.reason) {
        return draft.refuse(&text, &message);
    }
    if let Some((reason, before)) = refused_before(draft).filter(|_| verb == Some(Verb::Abort)) {
        // What this decision begins does not count, nor does what it writes: that would be refused again, and the answer with it.
        let stored = before.clone();
        draft.write_nothing();
        draft.plan.notices.clear();
        draft.say(stored.phase, reason, stored.message.clone());
        let why = format!(
            "its release has not begun, so there is nothing to take back; it begins by itself once that is allowed, and undo takes \
             the change out: {}",
            stored.message
        );
        // The later word counts.
        draft.status = ReleasePlanStatus { undo: None, ..stored };
        return draft.refuse(&text, &why);
    }
    let begun = draft.status.release.is_some() || draft.status.undo.is_some() || draft.reason == "Restarting";
    if let Some(verb) = verb.filter(|_| !begun) {
        draft.status.message = format!("{message}; asked meanwhile: {}", verb.name());
    }
}

/// What the plan waits for where no release has begun and a write was refused when it was last looked at: none may ever begin.
fn refused_before<'a>(draft: &Draft<'a>) -> Option<(&'static str, &'a ReleasePlanStatus)> {
    let world = draft.world;
    let of_this = |status: &&ReleasePlanStatus| status.target == draft.status.target && status.release.is_none();
    let status = world.plan.status.as_ref().filter(of_this)?;
    let is = |reason: &&str| status.conditions.iter().any(|condition| condition.reason == *reason);
    let blocked = [WRITE_REFUSED, NAME_TAKEN].into_iter().find(is).filter(|_| status.phase == Phase::Blocked);
    Some((blocked.or_else(|| Some(WRITE_KEEPS_FAILING).filter(is))?, status))
}
