//! The hold, as CEL: a change of a guarded Deployment's template waits until a write releases it. Not what is done about it.
//!
//! The policy alone says what its three annotations are after a write; what a request brings is a wish. So nothing that was
//! exported, stored in Git or copied to a ReplicaSet releases a change, opts out or names another author when it is written
//! again: a release is a write that is made for the very object that is stored, and leaves a mark that is no release.

use serde_json::{Value, json};

use crate::mark::{LET_GO, NOTED_AT, RELEASED_AT};
use crate::names::{CANARY_OF, DIGEST, GROUP, HELD, HELD_WHILE_PAUSED, PLAN, RELEASED, WAKE_TO};

/// Where kubectl keeps the manifest that was applied last on the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether a Deployment has no replicas before a write.
const ASLEEP: &str = "has(oldObject.spec.replicas) && oldObject.spec.replicas == 0";

/// Whether a write changes the template of a Deployment without replicas and gives it some. Kubernetes would bring up the ReplicaSet that
/// equals the new template before anybody looks, so it stays at 0 and the wish is noted: whoever keeps the release wakes it once stable is
/// what comes up.
fn wakes() -> String {
    format!("variables.changed && {ASLEEP} && !(has(object.spec.replicas) && object.spec.replicas == 0)")
}

/// The note of what was asked for of a Deployment that has no replicas after a write; empty where there is to be none. It stays as it is
/// until it is taken off or the Deployment has some, and no write of the status changes it. The policy may be run again on its own result,
/// which names the generation of this very write; what an undo or a manifest brings names another.
fn note() -> String {
    format!(
        "variables.wakes ? string(object.spec.replicas) + variables.stamp : !variables.asleep ? '' \
         : variables.changed && {ASLEEP} && '{WAKE_TO}' in variables.now && variables.now['{WAKE_TO}'].endsWith(variables.stamp) \
         ? variables.now['{WAKE_TO}'] : '{WAKE_TO}' in variables.old && (variables.status || '{WAKE_TO}' in variables.now) \
         ? variables.old['{WAKE_TO}'] : ''"
    )
}

fn on_update(resources: &[&str]) -> Value {
    json!({"resourceRules": [{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": resources
    }]})
}

/// Whether a mark says that the change was let go, as [`crate::mark::is_released`] does.
fn is_released(mark: &str) -> String {
    format!("({mark} in ['{RELEASED}', '{LET_GO}'] || {mark}.startsWith('{RELEASED_AT}'))")
}

/// Every changed template of a guarded Deployment is paused and marked, and stays so until it is released.
///
/// The comparison is inside the mutation, not in a match condition: a policy whose conditions failed on the first pass
/// is never run again after another mutator changed the template.
pub(super) fn hold() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "trimtab-hold", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            // A write of the status changes annotations as well.
            "matchConstraints": on_update(&["deployments", "deployments/status"]),
            "matchConditions": [{"name": "guarded", "expression": format!(
                "has(oldObject.metadata.annotations) && '{PLAN}' in oldObject.metadata.annotations \
                 && oldObject.metadata.annotations['{PLAN}'] != ''"
            )}],
            "variables": variables(),
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch()}}],
        }
    })
}

fn variables() -> Value {
    let wish = format!("'{HELD}' in variables.now ? variables.now['{HELD}'] : ''");
    let held = format!(
        "!variables.status && variables.was != '' && !{} && has(oldObject.spec.paused) && oldObject.spec.paused",
        is_released("variables.was")
    );
    // What changes the template does not opt out: an undo brings the annotations of its time back. Nor does a whole manifest,
    // which may be of a time of opting out.
    let plan = format!(
        "variables.status || variables.changed || !('{PLAN}' in variables.now) \
         || (variables.now['{PLAN}'] == '' && !({})) ? variables.old['{PLAN}'] : variables.now['{PLAN}']",
        meant(PLAN)
    );
    let generation = "string(has(oldObject.metadata.generation) ? oldObject.metadata.generation : 0)";
    let mark = format!("'{RELEASED_AT}' + {generation} + ' by ' + request.userInfo.username");
    // The status of a Deployment changes no size, whatever is written beside it.
    let asleep = format!("variables.status ? ({ASLEEP}) : has(object.spec.replicas) && object.spec.replicas == 0");
    json!([
        {"name": "old", "expression": "oldObject.metadata.annotations"},
        {"name": "now", "expression": "has(object.metadata.annotations) ? object.metadata.annotations : {}"},
        {"name": "status", "expression": "has(request.subResource) && request.subResource == 'status'"},
        {"name": "changed", "expression": "!variables.status && object.spec.template != oldObject.spec.template"},
        {"name": "wakes", "expression": wakes()},
        {"name": "asleep", "expression": asleep},
        {"name": "stamp", "expression": format!("'{NOTED_AT}' + {generation}")},
        {"name": "note", "expression": note()},
        {"name": "paused", "expression": "has(object.spec.paused) && object.spec.paused"},
        {"name": "plan", "expression": plan},
        {"name": "was", "expression": format!("'{HELD}' in variables.old ? variables.old['{HELD}'] : ''")},
        {"name": "wish", "expression": wish},
        {"name": "mark", "expression": mark},
        {"name": "held", "expression": held},
        {"name": "meant", "expression": meant(HELD)},
        {"name": "released", "expression": released()},
        {"name": "stopped", "expression": stopped()},
        {"name": "letGo", "expression": let_go()},
        {"name": "hold", "expression": "variables.changed || (variables.held && !variables.released)"},
        {"name": "result", "expression": result()},
    ])
}

/// Whether a write is made for the object that is stored, and an annotation in it is by nobody's manifest.
fn meant(annotation: &str) -> String {
    // A manifest that is put in its place names another generation or none, whoever wrote the mark into it.
    let stored = "has(object.metadata.uid) && object.metadata.uid == oldObject.metadata.uid && has(object.metadata.generation) \
                  && object.metadata.generation == oldObject.metadata.generation";
    // One that is applied is merged, so its generation is the stored one: it is known by its writer. Who applies on the server's side
    // owns all that is in the manifest. Who applies on the client's owns what they changed, and the copy of the manifest; kubectl does
    // not where the same manifest was put in place before. Helm keeps no copy, and is known where it created the Deployment. Anybody
    // else who created it and writes the annotation alone means that. A mark is never applied, not even alone.
    let on_server = if annotation == HELD {
        "m.operation == 'Apply'"
    } else {
        "(m.operation == 'Apply' && 'f:spec' in m.fieldsV1)"
    };
    let by = |name: &str| format!("has(m.manager) && m.manager.startsWith('{name}')");
    let applied = format!(
        "has(object.metadata.managedFields) && object.metadata.managedFields.exists(m, has(m.fieldsV1) \
         && 'f:metadata' in m.fieldsV1 && 'f:annotations' in m.fieldsV1['f:metadata'] \
         && 'f:{annotation}' in m.fieldsV1['f:metadata']['f:annotations'] \
         && ({on_server} || 'f:{LAST_APPLIED}' in m.fieldsV1['f:metadata']['f:annotations'] || ({}) \
         || ({} && 'f:spec' in m.fieldsV1 && 'f:selector' in m.fieldsV1['f:spec'])))",
        by("kubectl-client-side-apply"),
        by("helm")
    );
    format!("({stored}) && !({applied})")
}

/// Whether a write lets the held change go. The policy may be run again on its own result, where the wish is the mark that
/// it left.
fn released() -> String {
    format!(
        "variables.held && !variables.changed && !variables.paused && variables.wish in ['{RELEASED}', variables.mark] \
         && variables.meant"
    )
}

/// Whether a write holds what rolls, or what a person has paused while it rolled. That is up to those that keep releases: the author
/// that they name is believed.
fn stopped() -> String {
    format!(
        "!variables.status && !variables.held && !variables.changed && variables.paused && (variables.wish.startsWith('by ') \
         || (variables.wish.startsWith('{HELD_WHILE_PAUSED}by ') && has(oldObject.spec.paused) && oldObject.spec.paused)) \
         && variables.meant && authorizer.group('{GROUP}').resource('releaseplans').subresource('status').namespace(request.namespace)\
         .check('patch').allowed()"
    )
}

/// Whether a write takes the guard off and says that no person does. A mark that was there before says nothing of this write.
fn let_go() -> String {
    format!("variables.plan == '' && variables.wish == '{LET_GO}' && variables.was != '{LET_GO}'")
}

/// The mark after the write; empty where there is to be none.
fn result() -> String {
    // A person's own pause, taken off while the change is held, is forgotten; the hold stays. The policy may be run again
    // on its own result, where the pause is back: then the mark tells that it was taken off.
    let length = HELD_WHILE_PAUSED.len();
    let by = format!(
        "!variables.held ? (has(oldObject.spec.paused) && oldObject.spec.paused ? '{HELD_WHILE_PAUSED}by ' : 'by ') + request.userInfo.username \
         : variables.was.startsWith('{HELD_WHILE_PAUSED}') && (!variables.paused || variables.wish == variables.was.substring({length})) \
         ? variables.was.substring({length}) : variables.was"
    );
    format!(
        "variables.status ? variables.was : variables.hold ? ({by}) : variables.released ? variables.mark \
         : variables.stopped || variables.letGo ? variables.wish \
         : variables.was != '{LET_GO}' && {} ? variables.was : ''",
        is_released("variables.was")
    )
}

/// The patches that make the annotations and the pause what they are to be.
fn patch() -> String {
    let path = |name: &str| format!("'/metadata/annotations/{}'", name.replace('~', "~0").replace('/', "~1"));
    let remove =
        |name: &str| format!("('{name}' in variables.now ? [JSONPatch{{op: 'remove', path: {}}}] : [])", path(name));
    let set = |name: &str, value: &str| {
        format!(
            "('{name}' in variables.now && variables.now['{name}'] == {value} ? [] \
             : [JSONPatch{{op: 'add', path: {}, value: {value}}}])",
            path(name)
        )
    };
    let parts = [
        "(has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}])"
            .to_owned(),
        set(PLAN, "variables.plan"),
        format!("(variables.result == '' ? {} : {})", remove(HELD), set(HELD, "variables.result")),
        // Marks of a canary's ReplicaSet, which an undo copies.
        remove(CANARY_OF),
        remove(DIGEST),
        "(variables.hold && !variables.paused ? [JSONPatch{op: 'add', path: '/spec/paused', value: true}] : [])"
            .to_owned(),
        format!("(variables.note == '' ? {} : {})", remove(WAKE_TO), set(WAKE_TO, "variables.note")),
        "(variables.wakes ? [JSONPatch{op: 'add', path: '/spec/replicas', value: 0}] : [])".to_owned(),
    ];
    parts.join(" + ")
}

/// Tells whoever touches a held Deployment what it waits for.
pub(super) fn warning() -> Value {
    let mark = format!("object.metadata.annotations['{HELD}']");
    let held = format!(
        "has(object.metadata.annotations) && '{HELD}' in object.metadata.annotations && {mark} != '' && !{} \
         && '{PLAN}' in object.metadata.annotations && object.metadata.annotations['{PLAN}'] != ''",
        is_released(&mark)
    );
    let plan = format!("object.metadata.annotations['{PLAN}']");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "trimtab-held-warning", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": on_update(&["deployments"]),
            // Kubernetes' own controllers write to held Deployments all the time and read no warnings.
            "matchConditions": [{"name": "somebody", "expression":
                "!request.userInfo.username.startsWith('system:kube-') \
                 && !request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"}],
            "variables": [{"name": "held", "expression": held}, {"name": "plan", "expression": format!("variables.held ? ({plan}) : ''")}],
            "validations": [{
                "expression": "!variables.held",
                "messageExpression": "'held by Trimtab: this change waits for a release under ReleasePlan ' + variables.plan + \
                 '; see: kubectl trimtab why ' + variables.plan + ' -n ' + object.metadata.namespace",
            }, {
                "expression": format!(
                    "!(variables.held && {ASLEEP} && '{WAKE_TO}' in object.metadata.annotations \
                     && object.spec.template != oldObject.spec.template)"
                ),
                "messageExpression": format!(
                    "'the Deployment stays without replicas until what is stable comes up first; then it is scaled to ' \
                     + object.metadata.annotations['{WAKE_TO}'].split('{NOTED_AT}')[0]"
                ),
            }],
        }
    })
}
