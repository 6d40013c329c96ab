//! The admission policies that run inside the API server: the hold and its warning (design: a change never starts by
//! itself). Each rule stands here once, as CEL. The CEL is total: whatever an object holds, it neither fails nor denies.

use serde_json::{Value, json};

use crate::names::{HELD, HELD_WHILE_PAUSED, PLAN, RELEASED};

/// A policy file: its name and its objects.
pub struct PolicyFile {
    /// File name beside this crate.
    pub file: &'static str,
    /// The objects in it.
    pub objects: Vec<Value>,
}

/// All policies.
pub fn all() -> Vec<PolicyFile> {
    vec![
        PolicyFile {
            file: "policy-hold.yaml",
            objects: vec![hold(), binding("MutatingAdmissionPolicyBinding", "trimtab-hold", None)],
        },
        PolicyFile {
            file: "policy-held-warning.yaml",
            objects: vec![warning(), binding("ValidatingAdmissionPolicyBinding", "trimtab-held-warning", Some("Warn"))],
        },
    ]
}

fn deployments_update() -> Value {
    json!({"resourceRules": [{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]
    }]})
}

fn binding(kind: &str, policy: &str, action: Option<&str>) -> Value {
    let mut spec = json!({"policyName": policy});
    if let Some(action) = action {
        spec["validationActions"] = json!([action]);
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": policy, "labels": {"app.kubernetes.io/part-of": "trimtab"}}, "spec": spec
    })
}

/// Every changed template of a guarded Deployment is paused and marked, and stays so until it is released.
///
/// The comparison is inside the mutation, not in a match condition: a policy whose conditions failed on the first pass
/// is never run again after another mutator changed the template.
fn hold() -> Value {
    let now = "has(object.metadata.annotations) ? object.metadata.annotations : {}";
    let was_held = format!("'{HELD}' in variables.old && variables.old['{HELD}'] != '{RELEASED}'");
    let released = format!("'{HELD}' in variables.now && variables.now['{HELD}'] == '{RELEASED}'");
    let user = "('by ' + request.userInfo.username)";
    // A person's own pause, taken off while the change is held, is forgotten; the hold stays. The policy may be run again
    // on its own result, where the pause is back: then the mark tells that it was taken off.
    let length = HELD_WHILE_PAUSED.len();
    let mark = format!(
        "!variables.wasHeld ? (has(oldObject.spec.paused) && oldObject.spec.paused ? '{HELD_WHILE_PAUSED}' + {user} : {user}) \
         : variables.old['{HELD}'].startsWith('{HELD_WHILE_PAUSED}') && (!variables.paused || ('{HELD}' in variables.now \
         && variables.now['{HELD}'] == variables.old['{HELD}'].substring({length}))) \
         ? variables.old['{HELD}'].substring({length}) : variables.old['{HELD}']"
    );
    let expression = format!(
        "variables.hold \
         ? Object{{metadata: Object.metadata{{annotations: {{'{PLAN}': variables.plan, '{HELD}': variables.mark}}}}, \
         spec: Object.spec{{paused: true}}}} \
         : Object{{metadata: Object.metadata{{annotations: {{'{PLAN}': variables.plan}}}}}}"
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "trimtab-hold", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": deployments_update(),
            "matchConditions": [{"name": "guarded", "expression": format!(
                "has(oldObject.metadata.annotations) && '{PLAN}' in oldObject.metadata.annotations \
                 && oldObject.metadata.annotations['{PLAN}'] != ''"
            )}],
            "variables": [
                {"name": "old", "expression": "oldObject.metadata.annotations"},
                {"name": "now", "expression": now},
                {"name": "plan", "expression": format!(
                    "'{PLAN}' in variables.now ? variables.now['{PLAN}'] : variables.old['{PLAN}']"
                )},
                {"name": "paused", "expression": "has(object.spec.paused) && object.spec.paused"},
                {"name": "wasHeld", "expression": was_held},
                {"name": "released", "expression": released},
                {"name": "hold", "expression":
                    "object.spec.template != oldObject.spec.template || (variables.wasHeld && !variables.released)"},
                {"name": "mark", "expression": mark},
            ],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        }
    })
}

/// Tells whoever touches a held Deployment what it waits for.
fn warning() -> Value {
    let held = format!(
        "has(object.metadata.annotations) && '{HELD}' in object.metadata.annotations \
         && object.metadata.annotations['{HELD}'] != '{RELEASED}' \
         && '{PLAN}' in object.metadata.annotations && object.metadata.annotations['{PLAN}'] != ''"
    );
    let plan = format!("object.metadata.annotations['{PLAN}']");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "trimtab-held-warning", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": deployments_update(),
            // Kubernetes' own controllers write to held Deployments all the time and read no warnings.
            "matchConditions": [{"name": "somebody", "expression":
                "!request.userInfo.username.startsWith('system:kube-') \
                 && !request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"}],
            "variables": [{"name": "held", "expression": held}, {"name": "plan", "expression": format!("variables.held ? ({plan}) : ''")}],
            "validations": [{
                "expression": "!variables.held",
                "messageExpression": "'held by Trimtab: this change waits for a release under ReleasePlan ' + variables.plan + \
                 '; see: kubectl trimtab why ' + variables.plan + ' -n ' + object.metadata.namespace",
            }],
        }
    })
}
