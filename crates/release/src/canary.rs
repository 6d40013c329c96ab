//! Writes to ReplicaSets and Deployments: make or take a canary, size it, hand it over, take it back, release, hold.
//! Each carries the preconditions that make it safe; when to write is decided elsewhere.

use serde_json::{Value, json};
use trimtab_config::Pins;
use trimtab_crds::{mark, names};
use trimtab_plan::{OwnerRef, PatchOp, Verb, Write};

use crate::{
    digest::hash_label,
    labels,
    views::{DeploymentView, ReplicaSetView},
    world::{World, deployment_owner, rolling_limits},
};

/// Name of the ReplicaSet that we make for a digest.
pub(crate) fn set_name(deployment: &str, digest: &str) -> String {
    let hash = hash_label(digest);
    let room = 253 - hash.len() - 1;
    let stem: String = deployment.chars().take(room).collect();
    format!("{}-{hash}", stem.trim_end_matches(['-', '.']))
}

/// Creates the canary's ReplicaSet, without pods: it gets its size once it is seen to equal the Deployment's template.
pub(crate) fn create(world: &World<'_>) -> Write {
    let deployment = world.deployment;
    let hash = hash_label(world.digest);
    let mut template = deployment.spec.template.value();
    let mut selector = deployment.spec.selector.clone();
    put(&mut template, &["metadata", "labels", names::POD_TEMPLATE_HASH], json!(hash));
    put(&mut selector, &["matchLabels", names::POD_TEMPLATE_HASH], json!(hash));
    let labels = template.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.map(|(name, text)| (name.as_str(), text.as_str().unwrap_or_default()));
    let labels = labels::outside(&deployment.spec.selector, labels);
    let name = set_name(&deployment.metadata.name, world.digest);
    let body = json!({
        "metadata": {
            "labels": labels,
            "annotations": {names::DIGEST: world.digest, names::CANARY_OF: deployment.metadata.name},
            "ownerReferences": [reference(&world.plan_owner())],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": selector,
            "template": template,
        }
    });
    let target = names::REPLICA_SET.object(&deployment.metadata.namespace, &name);
    Write::create(target, body, "make the canary's ReplicaSet, still without pods")
}

fn put(value: &mut Value, path: &[&str], new: Value) {
    let mut place = value;
    for key in path {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[*key];
    }
    *place = new;
}

fn reference(owner: &OwnerRef) -> Value {
    let kind = if owner.is(&names::DEPLOYMENT) { names::DEPLOYMENT } else { names::RELEASE_PLAN };
    json!({
        "apiVersion": kind.api_version(), "kind": owner.kind, "name": owner.name, "uid": owner.uid,
        "controller": true, "blockOwnerDeletion": true
    })
}

fn same_object(rs: &ReplicaSetView) -> Vec<PatchOp> {
    let mut tests = vec![PatchOp::test("/metadata/uid", rs.metadata.uid.clone())];
    if let Some((owner, place)) = rs.metadata.controller().zip(place_of_controller(rs)) {
        tests.push(PatchOp::test(format!("{place}/uid"), owner.uid.clone()));
    }
    tests
}

/// Where the reference of its controller is, if it has one: others may have added owners before it.
fn place_of_controller(rs: &ReplicaSetView) -> Option<String> {
    let place = rs.metadata.owner_references.iter().position(|owner| owner.controller)?;
    Some(format!("/metadata/ownerReferences/{place}"))
}

/// Gives a ReplicaSet to another controller, or to its first; its other owners stay.
fn give_to(rs: &ReplicaSetView, owner: &OwnerRef) -> PatchOp {
    let value = reference(owner);
    match place_of_controller(rs) {
        Some(path) => PatchOp::Replace { path, value },
        None if rs.metadata.owner_references.is_empty() => PatchOp::add("/metadata/ownerReferences", json!([value])),
        None => PatchOp::add("/metadata/ownerReferences/-", value),
    }
}

/// Gives a ReplicaSet to the Deployment, with labels that its selector fits: it would let go of any other.
fn give_to_deployment(deployment: &DeploymentView, rs: &ReplicaSetView) -> [PatchOp; 2] {
    let labels = labels::inside(&deployment.spec.selector, rs);
    [labels::relabel(labels), give_to(rs, &deployment_owner(deployment))]
}

/// Gives a ReplicaSet to the plan, with labels that the Deployment's selector does not fit.
fn give_to_plan(world: &World<'_>, rs: &ReplicaSetView) -> Vec<PatchOp> {
    let deployment = world.deployment;
    let labels = labels::outside(&deployment.spec.selector, rs.metadata.labels.iter());
    let mut ops = vec![];
    if rs.metadata.annotations.is_empty() {
        // Whoever made it gave it none, and nothing is added to what is not there. None must have come since.
        ops.push(PatchOp::test("/metadata/resourceVersion", rs.metadata.resource_version.clone()));
        ops.push(PatchOp::add("/metadata/annotations", json!({})));
    }
    ops.push(PatchOp::add(annotation(names::CANARY_OF), deployment.metadata.name.clone()));
    ops.extend([labels::relabel(labels), give_to(rs, &world.plan_owner())]);
    ops
}

fn target(rs: &ReplicaSetView) -> trimtab_plan::ObjectRef {
    rs.metadata.object(names::REPLICA_SET)
}

/// Sets the size of a canary.
pub fn scale(rs: &ReplicaSetView, replicas: i32, why: impl Into<String>) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::add("/spec/replicas", replicas));
    Write::patch(target(rs), ops, why)
}

/// Takes a ReplicaSet of the Deployment's history as the canary, while it has no pods.
pub(crate) fn take_from_history(world: &World<'_>, rs: &ReplicaSetView) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/spec/replicas", 0));
    ops.extend(give_to_plan(world, rs));
    Write::patch(target(rs), ops, "take the ReplicaSet of this revision from the Deployment's history as the canary")
}

/// Takes a ReplicaSet out of the Deployment for as long as it would come up before stable. The very version that was seen:
/// the Deployment may be scaling it.
pub(crate) fn keep_aside(world: &World<'_>, rs: &ReplicaSetView) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/metadata/resourceVersion", rs.metadata.resource_version.clone()));
    ops.extend(give_to_plan(world, rs));
    Write::patch(target(rs), ops, "keep this revision aside, so that stable comes up first")
}

/// Gives the canary to the Deployment.
///
/// The sync in which the Deployment gets it resizes both ReplicaSets without looking at availability; the annotations
/// make that proportional to nothing but the surplus, and the tests make it happen only while every canary pod is
/// available at the very moment of the write.
pub fn hand_over(deployment: &DeploymentView, rs: &ReplicaSetView) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/spec/replicas", rs.spec.replicas));
    if rs.spec.replicas > 0 {
        ops.push(PatchOp::test("/status/availableReplicas", rs.spec.replicas));
    }
    let replicas = deployment.spec.replicas.max(0);
    let max = replicas.saturating_add(rolling_limits(deployment).0);
    ops.push(PatchOp::add(annotation(names::DESIRED_REPLICAS), replicas.to_string()));
    ops.push(PatchOp::add(annotation(names::MAX_REPLICAS), max.to_string()));
    ops.extend(give_to_deployment(deployment, rs));
    Write::patch(target(rs), ops, "give the canary to the Deployment")
}

/// Fails if a ReplicaSet does not ask for so many pods any more; changes nothing.
pub(crate) fn expect_size(rs: &ReplicaSetView, why: impl Into<String>) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/spec/replicas", rs.spec.replicas));
    Write::patch(target(rs), ops, why)
}

/// Takes the canary back from the Deployment: the reference is replaced in one write, never removed.
///
/// It must be the very version that was judged: one that has become available since lets the Deployment remove the last
/// stable pod.
pub(crate) fn take_back(world: &World<'_>, rs: &ReplicaSetView) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/metadata/resourceVersion", rs.metadata.resource_version.clone()));
    ops.extend(give_to_plan(world, rs));
    Write::patch(target(rs), ops, "take the new revision's ReplicaSet back from the Deployment")
}

/// Makes the plan the owner of a canary that has lost its owner: the very version that was seen, for somebody else may own it by now.
pub(crate) fn claim(world: &World<'_>, rs: &ReplicaSetView) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/metadata/resourceVersion", rs.metadata.resource_version.clone()));
    ops.extend(give_to_plan(world, rs));
    Write::patch(target(rs), ops, "own the canary's ReplicaSet again")
}

/// Gives a ReplicaSet that came from the Deployment's history back to it, while it has no pods.
pub fn return_to_history(deployment: &DeploymentView, rs: &ReplicaSetView) -> Write {
    let mut ops = same_object(rs);
    ops.push(PatchOp::test("/spec/replicas", 0));
    ops.extend(give_to_deployment(deployment, rs));
    Write::patch(target(rs), ops, "give the ReplicaSet back to the Deployment's history")
}

/// Deletes a canary that we made and nobody needs any more; pods that it may still have go with it.
pub fn delete(rs: &ReplicaSetView) -> Write {
    Write::delete(target(rs), &rs.metadata.uid, "delete the canary's ReplicaSet, which nobody needs any more")
}

/// What is waited for while a ReplicaSet is being deleted.
pub(crate) fn waiting_to_go(name: &str) -> String {
    format!(
        "waiting for the old ReplicaSet {name} to go; if it stays, a finalizer holds it: kubectl get replicaset {name} -o yaml"
    )
}

/// Whether the Deployment has had this ReplicaSet: only it numbers revisions.
pub fn was_the_deployments(rs: &ReplicaSetView) -> bool {
    rs.metadata.annotations.contains_key(names::REVISION)
}

fn annotation(name: &str) -> String {
    format!("/metadata/annotations/{}", PatchOp::escape(name))
}

/// Lets the Deployment roll, with the replicas that were asked for where it sleeps: exactly the generation that was judged.
pub(crate) fn release(world: &World<'_>, why: &str) -> Write {
    let meta = &world.deployment.metadata;
    let mut ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add(annotation(names::HELD), names::RELEASED),
        PatchOp::add("/spec/paused", false),
    ];
    ops.extend(world.wish().map(|size| PatchOp::add("/spec/replicas", size)));
    Write::patch(world.deployment_ref(), ops, why)
}

/// Names the revisions of its configuration in the Deployment's template, if nobody changed its spec since it was seen.
pub(crate) fn pin(world: &World<'_>, pins: &Pins) -> Write {
    let meta = &world.deployment.metadata;
    let mut template = world.deployment.spec.template.value();
    put(&mut template, &["metadata", "annotations", names::CONFIG], json!(pins.to_string()));
    if pins.is_empty()
        && let Some(annotations) = template.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(names::CONFIG);
    }
    let ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add("/spec/template/metadata", template["metadata"].clone()),
    ];
    Write::patch(world.deployment_ref(), ops, "name the revisions of its configuration in the pod template")
}

/// Stops the Deployment where it is: exactly the generation that was judged. Another change may have come, which somebody wants to
/// roll. Where a person has paused it, it stays paused until they resume it.
pub(crate) fn hold(world: &World<'_>, by: &str) -> Write {
    let meta = &world.deployment.metadata;
    let paused = if world.deployment.spec.paused { names::HELD_WHILE_PAUSED } else { "" };
    let ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add(annotation(names::HELD), format!("{paused}by {by}")),
        PatchOp::add("/spec/paused", true),
    ];
    Write::patch(world.deployment_ref(), ops, "hold the Deployment again, to take the new revision back")
}

/// Gives a Deployment without replicas the size that was asked for: exactly the generation that was seen.
pub(crate) fn wake(deployment: &DeploymentView, size: i32) -> Write {
    let meta = &deployment.metadata;
    let ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add("/spec/replicas", size),
    ];
    Write::patch(
        meta.object(names::DEPLOYMENT),
        ops,
        "give the Deployment the replicas that were asked for, stable first",
    )
}

/// Takes off what was asked for of a Deployment without replicas, if it is noted: exactly the generation that was seen, for another write may
/// have asked since.
pub fn forget_wish(deployment: &DeploymentView) -> Option<Write> {
    let meta = &deployment.metadata;
    let mut ops =
        vec![PatchOp::test("/metadata/uid", meta.uid.clone()), PatchOp::test("/metadata/generation", meta.generation)];
    ops.push(without_wish(deployment)?);
    let why = "take off how many replicas were asked for: nothing waits for that any more";
    Some(Write::patch(meta.object(names::DEPLOYMENT), ops, why))
}

fn without_wish(deployment: &DeploymentView) -> Option<PatchOp> {
    let noted = deployment.metadata.annotations.contains_key(names::WAKE_TO);
    noted.then(|| PatchOp::Remove { path: annotation(names::WAKE_TO) })
}

/// Sets annotations of the Deployment.
pub(crate) fn annotate(deployment: &DeploymentView, annotations: Value, why: &str) -> Write {
    // The uid in the patch is a precondition: it never goes to a recreated Deployment.
    let body = json!({"metadata": {"uid": deployment.metadata.uid, "annotations": annotations}});
    Write {
        target: deployment.metadata.object(names::DEPLOYMENT),
        verb: Verb::Merge { body, subresource: None },
        why: why.to_owned(),
    }
}

/// Takes the guard off a Deployment that has it, with a mark that tells that no person did: exactly the generation that was seen. A
/// change may have come since, which is held.
pub fn let_go(deployment: &DeploymentView, why: &str) -> Write {
    let meta = &deployment.metadata;
    let ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add(annotation(names::PLAN), ""),
        PatchOp::add(annotation(names::HELD), mark::LET_GO),
    ];
    Write::patch(meta.object(names::DEPLOYMENT), ops, why)
}

/// Writes a template into the Deployment, if nobody changed its spec since it was seen. With what was changed goes what the same write
/// asked for of one without replicas.
pub fn write_template(deployment: &DeploymentView, mut template: Value, why: &str) -> Write {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(names::POD_TEMPLATE_HASH);
    }
    let meta = &deployment.metadata;
    let mut ops = vec![
        PatchOp::test("/metadata/uid", meta.uid.clone()),
        PatchOp::test("/metadata/generation", meta.generation),
        PatchOp::add("/spec/template", template),
    ];
    ops.extend(without_wish(deployment));
    Write::patch(meta.object(names::DEPLOYMENT), ops, why)
}
