//! What to write next about one Deployment, so that it needs Trimtab no more.
//!
//! The order is what makes it safe: a canary is given to the Deployment before that is unpaused, and a Deployment goes back
//! to what runs before its canary is ended. Each Deployment is freed by itself (it opts out of its plan), so that it
//! matters to none whether the policies are still there. What a person paused stays paused.

use serde_json::{Value, json};
use trimtab_crds::{
    mark::{LET_GO, noted_size},
    names,
};
use trimtab_plan::{Meta, PatchOp, Verb, Write};
use trimtab_release::{ReplicaSetView, writes};

use crate::{
    Mode, canaries,
    snapshot::{PAUSED_AT, Scene, Snapshot, names_copy},
};

/// What to do next. All empty: nothing is left to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Next {
    /// To be written in order, up to the first that fails.
    pub writes: Vec<Write>,
    /// What it is waiting for, for people.
    pub waits_for: Option<String>,
    /// Why it cannot go on without a person, and what they can do.
    pub blocked: Option<String>,
}

impl Next {
    /// Whether nothing is left to do, or only a person can do it.
    pub fn is_over(&self) -> bool {
        self.blocked.is_some() || (self.writes.is_empty() && self.waits_for.is_none())
    }

    fn add(&mut self, turn: canaries::Turn) {
        self.writes.extend(turn.writes);
        self.waits_for = self.waits_for.take().or(turn.waits_for);
    }
}

/// What to write next about one Deployment.
pub fn decide(mode: Mode, seen: &Snapshot) -> Next {
    let mut next = Next::default();
    let Some(scene) = seen.scene() else {
        seen.canaries().for_each(|rs| next.add(canaries::end(seen, rs)));
        return next;
    };
    let back = match scene.held() {
        Some(_) => mode == Mode::TakeBack || scene.found_bad().is_some(),
        None => scene.is_to_go_back(),
    };
    if back {
        take_back(&scene, &mut next);
        return next;
    }
    if scene.held().is_some() {
        let_go(&scene, &mut next);
        return next;
    }
    seen.canaries().for_each(|rs| next.add(canaries::end(seen, rs)));
    free(&scene, &mut next);
    if next.writes.is_empty() {
        leave_clean(&scene, &mut next);
    }
    next
}

/// A change that waits goes on: the Deployment gets what is of use of the canary, and is unpaused once it has it.
fn let_go(scene: &Scene<'_>, next: &mut Next) {
    let (useful, useless): (Vec<&ReplicaSetView>, Vec<_>) =
        scene.seen.canaries().partition(|rs| canaries::of_use(scene, rs));
    for rs in &useful {
        next.add(canaries::give(scene, rs));
    }
    // One of the same template that has no pod of use: the Deployment's own is made once it is gone.
    for rs in useless.iter().filter(|rs| rs.spec.template.digest == scene.digest()) {
        next.add(canaries::end(scene.seen, rs));
    }
    if next.waits_for.is_some() {
        return;
    }
    let revision = |meta: &Meta| meta.annotation(names::REVISION).map(str::to_owned);
    let given = scene.asked_for().filter(|rs| rs.spec.replicas > 0);
    let recognised = given.is_none_or(|rs| revision(&rs.metadata) == revision(&scene.deployment.metadata));
    if !(recognised && scene.observed() && scene.calm()) {
        next.waits_for = Some("the Deployment to know its ReplicaSets".to_owned());
        return;
    }
    let meta = &scene.deployment.metadata;
    let mut ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add(annotation(names::HELD), names::RELEASED),
        PatchOp::add(annotation(names::PLAN), ""),
    ];
    let person_paused = scene.held().is_some_and(|(_, person)| person);
    if !person_paused {
        ops.push(PatchOp::add("/spec/paused", false));
        ops.extend(woken(scene));
    }
    next.writes.push(Write::patch(meta.object(names::DEPLOYMENT), ops, "let the change go, and hold no other"));
    next.writes.push(unmark(scene));
    next.waits_for = Some("the change to go".to_owned());
}

/// The replicas that were asked for of what sleeps: nobody is there any more to give them.
fn woken(scene: &Scene<'_>) -> Option<PatchOp> {
    let note = scene.deployment.metadata.annotation(names::WAKE_TO).filter(|_| scene.replicas() == 0);
    note.and_then(noted_size).map(|size| PatchOp::add("/spec/replicas", size))
}

/// The Deployment asks for what is stable again, and is free at once; its canary is ended afterwards.
fn take_back(scene: &Scene<'_>, next: &mut Next) {
    let meta = &scene.deployment.metadata;
    let stable = scene.stable().filter(|rs| rs.spec.template.has_text());
    let Some(stable) = stable else {
        let (name, ns) = (&meta.name, &meta.namespace);
        next.blocked = Some(format!(
            "no ReplicaSet of Deployment {name} is known to be stable, so there is no template to go back to: write one \
             that works into the Deployment, then: kubectl annotate deployment {name} -n {ns} {}= --overwrite && kubectl \
             rollout resume deployment {name} -n {ns}",
            names::PLAN
        ));
        return;
    };
    // Its controller must not roll back on numbers that are older than the pods that it has just removed.
    if !scene.deployment.spec.paused {
        next.writes.push(stop(scene));
        next.waits_for = Some("the Deployment to stop where it is".to_owned());
        return;
    }
    if !(scene.observed() && scene.calm()) {
        next.waits_for = Some("the Deployment's surplus pods to go".to_owned());
        return;
    }
    // While a plan holds it, a changed template would be held anew.
    next.writes.push(annotate(scene, json!({names::PLAN: ""}), "hold no change of it any more"));
    let why = "go back to the stable template, and roll by the Deployment's own rules";
    let mut write = writes::write_template(scene.deployment, stable.spec.template.value(), why);
    if let Verb::Patch { ops, .. } = &mut write.verb {
        ops.push(PatchOp::add(annotation(names::HELD), names::RELEASED));
        // What is paused and not held, a person has paused.
        let person_paused = scene.held().is_none_or(|(_, person)| person);
        ops.push(PatchOp::add("/spec/paused", person_paused));
        ops.extend(woken(scene).filter(|_| !person_paused));
    }
    next.writes.push(write);
    next.writes.push(unmark(scene));
    next.waits_for = Some("the Deployment to ask for what is stable".to_owned());
}

/// Stops a Deployment that rolls what is being taken back; marked as held, so that the next look goes on from there.
fn stop(scene: &Scene<'_>) -> Write {
    let meta = &scene.deployment.metadata;
    let release = scene.seen.plan.as_ref().and_then(|plan| plan.release.as_ref());
    let by = release.map_or("somebody", |release| release.by.as_str());
    let ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add(annotation(names::HELD), format!("by {by}")),
        PatchOp::add("/spec/paused", true),
    ];
    Write::patch(meta.object(names::DEPLOYMENT), ops, "stop it where it is, to take the change back")
}

/// Takes our marks off a Deployment that nothing is held of.
fn free(scene: &Scene<'_>, next: &mut Next) {
    let meta = &scene.deployment.metadata;
    if meta.annotation(PAUSED_AT).is_some() && scene.deployment.spec.paused {
        let body = json!({"metadata": {"uid": meta.uid, "annotations": {PAUSED_AT: null}}, "spec": {"paused": false}});
        next.writes.push(merge(meta, body, "end its pause after a change of configuration"));
    }
    // Not by one write: the policy puts the mark back where it goes missing. A manager that comes to see what is between the two reads
    // that it was no person's wish. A change that has come since the look is held, and the next look finds it.
    if scene.guarded() {
        next.writes.push(writes::let_go(scene.deployment, "hold no change of it any more"));
    }
    if scene.guarded() || (scene.guard().is_some() && meta.annotation(names::HELD) == Some(LET_GO)) {
        next.writes.push(unmark(scene));
    } else if meta.annotation(names::WAKE_TO).is_some() {
        let why = "take off how many replicas were asked for: nothing waits for that any more";
        next.writes.push(annotate(scene, json!({names::WAKE_TO: null}), why));
    }
}

/// Takes our marks off. One that opted out by a person's will keeps its mark: that is theirs to say, also to the next
/// manager.
fn unmark(scene: &Scene<'_>) -> Write {
    annotate(scene, no_marks(&scene.deployment.metadata), "leave no mark of a plan that nobody looks after")
}

/// What is left once the Deployment itself is free: marks on its ReplicaSets, which an undo would bring back, and copies
/// that later revisions of the same template need.
fn leave_clean(scene: &Scene<'_>, next: &mut Next) {
    for rs in scene.owned().filter(|rs| rs.metadata.deletion_timestamp.is_none()) {
        // What the Deployment has is copied to them again: of one that has opted out, only what would guard it goes.
        let has =
            |mark: &str| rs.metadata.annotation(mark).is_some() && scene.deployment.metadata.annotation(mark).is_none();
        let guards = rs.metadata.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty());
        if guards || has(names::PLAN) || has(names::HELD) || has(names::WAKE_TO) {
            let body = json!({"metadata": {"uid": rs.metadata.uid, "annotations": no_marks(&rs.metadata)}});
            let verb = Verb::Merge { body, subresource: None };
            let why = "leave no mark that a later undo could bring back".to_owned();
            next.writes.push(Write { target: rs.metadata.object(names::REPLICA_SET), verb, why });
        }
    }
    if scene.pins().is_empty() {
        return;
    }
    if scene.asked_for().is_none() && !scene.deployment.spec.paused {
        next.waits_for = Some("the Deployment to make its ReplicaSet".to_owned());
        return;
    }
    next.writes.extend(scene.seen.copies.iter().filter_map(|copy| own(scene, copy)));
}

/// Lets a copy live as long as whatever of this Deployment names it.
///
/// The Deployment is one of the owners while its template names the copy: its next revisions will, and nobody will be there
/// to add them.
fn own(scene: &Scene<'_>, copy: &crate::Copy) -> Option<Write> {
    if copy.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let owner = |kind: &str, meta: &Meta| {
        let known = copy.metadata.owner_references.iter().any(|owner| owner.uid == meta.uid);
        (!known).then(|| json!({"apiVersion": "apps/v1", "kind": kind, "name": meta.name, "uid": meta.uid}))
    };
    let deployment = names_copy(scene.pins(), copy).then_some(&scene.deployment.metadata);
    let sets = scene.owned().filter(|rs| names_copy(&rs.spec.template.config, copy)).map(|rs| &rs.metadata);
    let missing: Vec<Value> = deployment
        .and_then(|meta| owner("Deployment", meta))
        .into_iter()
        .chain(sets.filter_map(|meta| owner("ReplicaSet", meta)))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut ops = vec![
        PatchOp::test("/metadata/uid", copy.metadata.uid.clone()),
        PatchOp::test("/metadata/resourceVersion", copy.metadata.resource_version.clone()),
    ];
    if copy.metadata.owner_references.is_empty() {
        ops.push(PatchOp::add("/metadata/ownerReferences", json!([])));
    }
    ops.extend(missing.into_iter().map(|owner| PatchOp::add("/metadata/ownerReferences/-", owner)));
    let target = copy.kind.kind().object(&copy.metadata.namespace, &copy.metadata.name);
    Some(Write::patch(target, ops, "let the copy live as long as what names it"))
}

/// What takes our marks off.
fn no_marks(meta: &Meta) -> Value {
    let mut marks = json!({names::PLAN: null, names::HELD: null});
    if meta.annotations.contains_key(names::WAKE_TO) {
        marks[names::WAKE_TO] = Value::Null;
    }
    marks
}

fn annotation(name: &str) -> String {
    format!("/metadata/annotations/{}", PatchOp::escape(name))
}

fn annotate(scene: &Scene<'_>, annotations: Value, why: &str) -> Write {
    let meta = &scene.deployment.metadata;
    merge(meta, json!({"metadata": {"uid": meta.uid, "annotations": annotations}}), why)
}

fn merge(meta: &Meta, body: Value, why: &str) -> Write {
    let verb = Verb::Merge { body, subresource: None };
    Write { target: meta.object(names::DEPLOYMENT), verb, why: why.to_owned() }
}
