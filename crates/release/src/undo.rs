//! The template of an earlier revision is brought back: where it is found, that it is the one that was recorded, and that it is written
//! once. Not what is undone to.

use std::time::Duration;

use serde_json::Value;
use trimtab_crds::{Undo, names};
use trimtab_plan::{Answer, Ask, Question, Severity};

use crate::{canary, digest::template_digest, draft::Draft};

const UNDONE_OTHERWISE: &str = "the earlier template was written, and another one is stored: an admission policy or webhook, \
                                or new defaults, change it; it is judged as any change";
/// When a template that could not be read is asked for again.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Writes the template of an undo into the Deployment, once: what comes back is what the Deployment asks for, whatever an
/// admission made of it. False once it is written, or cannot be.
pub(crate) fn carry_out_undo(draft: &mut Draft<'_>) -> bool {
    let Some(undo) = draft.status.undo.clone() else { return false };
    let untouched = undo.from.is_empty() || undo.from == draft.world.digest;
    if undo.written || draft.world.digest == undo.digest || !untouched {
        draft.status.undo = None;
        if draft.world.digest != undo.digest {
            let note =
                if undo.written { UNDONE_OTHERWISE } else { "the template was changed before it could be undone" };
            draft.tell(Severity::Warning, "UndoFailed", "Undo", note);
        }
        return false;
    }
    let why = format!("bring the template of before {} back", undo.release);
    match template_of(draft, &undo) {
        Ok(Some(template)) => {
            draft.write(canary::write_template(draft.world.deployment, template, &why));
            draft.status.undo = Some(Undo { written: true, ..undo });
        }
        Ok(None) => {}
        Err(problem) => {
            draft.status.undo = None;
            draft.tell(Severity::Warning, "UndoFailed", "Undo", problem);
            return false;
        }
    }
    draft.say(draft.status.phase, "Undoing", why);
    true
}

/// The template of a revision: from its ReplicaSet, or from the Release that keeps it. The stores hold no templates of
/// Releases, so that one is asked for; `None` until the answer is here.
pub(crate) fn template_of(draft: &mut Draft<'_>, undo: &Undo) -> Result<Option<Value>, String> {
    let sets = &draft.world.seen.replica_sets;
    let whole = sets.iter().find(|rs| rs.spec.template.digest == undo.digest && rs.spec.template.has_text());
    if let Some(rs) = whole {
        return Ok(Some(rs.spec.template.value()));
    }
    if undo.release.is_empty() {
        return Err("no ReplicaSet and no Release holds the template to bring back any more".to_owned());
    }
    let id = format!("undo/{}/{}", undo.release, undo.digest);
    let release = names::RELEASE.object(&draft.world.plan.metadata.namespace, &undo.release);
    let ask = Ask { id: id.clone(), question: Question::Get(release), timeout_seconds: 10 };
    let answer = draft.world.seen.answers.get(&id);
    // Asked again, an answer is kept: one that is dropped would be asked for without end.
    if !matches!(answer, Some(Answer::Failed(_))) {
        draft.plan.asks.push(ask);
    }
    match answer {
        Some(Answer::Object(object)) => kept_template(draft, undo, object),
        Some(Answer::NotFound) => {
            Err(format!("Release {} is gone, and with it the template to bring back", undo.release))
        }
        // One read that fails is no answer: it is asked anew. A person's other request, or another change, ends that.
        Some(Answer::Failed(why)) => {
            let why = format!("Release {} could not be read, and is read again: {why}", undo.release);
            draft.plan.because("UndoFailed", why);
            draft.plan.wake_by(draft.world.now.checked_add(READ_AGAIN).unwrap_or(draft.world.now));
            Ok(None)
        }
        None => Ok(None),
    }
}

/// The template that a Release keeps, if it is the one that was recorded: whoever may write Releases could have put another
/// one there.
fn kept_template(draft: &Draft<'_>, undo: &Undo, release: &Value) -> Result<Option<Value>, String> {
    let owners = release.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let uid = draft.world.plan.metadata.uid.as_str();
    let is_ours = owners.is_some_and(|all| all.iter().any(|owner| owner["controller"] == true && owner["uid"] == uid));
    let name = &undo.release;
    match release.pointer("/spec/stableTemplate").filter(|template| template.get("spec").is_some()) {
        Some(_) if !is_ours => Err(format!(
            "Release {name} is not owned by this plan, so the template in it is not brought back: change the Deployment to \
             a template that works"
        )),
        Some(template) if template_digest(template) != undo.digest => Err(format!(
            "Release {name} does not hold the template that was stable ({}), so nothing is brought back: change the \
             Deployment to a template that works",
            undo.digest
        )),
        Some(template) => Ok(Some(template.clone())),
        None => Err(format!("Release {name} holds no template to bring back")),
    }
}
