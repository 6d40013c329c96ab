//! The admission policies that run inside the API server: the hold and its warning (a change never starts by itself), the
//! freeze (pods read the revision that they were made for), and the guard of copies that are in use. Each rule stands here
//! once, as CEL. The CEL is total: whatever an object holds, it neither fails nor denies, but for what the guard is for.

use serde_json::{Value, json};

use crate::names::{CONFIG, COPY_LABEL, COPY_OF, HELD, HELD_WHILE_PAUSED, PLAN, RELEASED};

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
        PolicyFile {
            file: "policy-freeze.yaml",
            objects: vec![freeze(), binding("MutatingAdmissionPolicyBinding", "trimtab-freeze", None)],
        },
        PolicyFile {
            file: "policy-copies.yaml",
            objects: vec![copies(), binding("ValidatingAdmissionPolicyBinding", "trimtab-copies", Some("Deny"))],
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

/// A place in a pod that names a ConfigMap or a Secret: the list that it is in, the conditions under which an item of
/// that list has it, and the path of the name below the item.
struct Place {
    list: &'static str,
    /// The inner list of each item, where the names are one level down.
    inner: Option<&'static str>,
    field: &'static str,
    name: &'static str,
    pins: &'static str,
}

/// All places in a pod's volumes, and in its containers.
const VOLUMES: [Place; 4] = [
    Place { list: "volumes", inner: None, field: "configMap", name: "name", pins: "cm" },
    Place { list: "volumes", inner: None, field: "secret", name: "secretName", pins: "sec" },
    Place { list: "volumes", inner: Some("projected.sources"), field: "configMap", name: "name", pins: "cm" },
    Place { list: "volumes", inner: Some("projected.sources"), field: "secret", name: "name", pins: "sec" },
];
const CONTAINERS: [Place; 4] = [
    Place { list: "", inner: Some("envFrom"), field: "configMapRef", name: "name", pins: "cm" },
    Place { list: "", inner: Some("envFrom"), field: "secretRef", name: "name", pins: "sec" },
    Place { list: "", inner: Some("env"), field: "valueFrom.configMapKeyRef", name: "name", pins: "cm" },
    Place { list: "", inner: Some("env"), field: "valueFrom.secretKeyRef", name: "name", pins: "sec" },
];

impl Place {
    /// An expression that gives the patches of this place as a list.
    fn patches(&self, list: &str) -> String {
        let items = format!("(has(object.spec.{list}) ? object.spec.{list} : [])");
        let has = |of: &str, path: &str| {
            let mut so_far = of.to_owned();
            let steps = path.split('.').map(|step| {
                so_far = format!("{so_far}.{step}");
                format!("has({so_far})")
            });
            steps.collect::<Vec<_>>().join(" && ")
        };
        let Self { inner, field, name, pins, .. } = self;
        let map = format!("variables.{pins}");
        let pointer = field.replace('.', "/");
        // A reference may be without a name, whoever wrote it: then there is nothing to look for.
        let patch = |item: &str, path: &str| {
            let there = format!("{} && has({item}.{field}.{name}) && {item}.{field}.{name} in {map}", has(item, field));
            let value = format!("{map}[{item}.{field}.{name}]");
            format!("{there}, JSONPatch{{op: 'replace', path: {path} + '/{pointer}/{name}', value: {value}}}")
        };
        match inner {
            None => format!("{items}.transformList(i, v, {})", patch("v", &format!("'/spec/{list}/' + string(i)"))),
            Some(inner) => {
                let path = format!("'/spec/{list}/' + string(i) + '/{}/' + string(j)", inner.replace('.', "/"));
                format!(
                    "{items}.transformList(i, v, {}, v.{inner}.transformList(j, s, {})).flatten()",
                    has("v", inner),
                    patch("s", &path)
                )
            }
        }
    }
}

/// Every pod that names revisions reads the copies of these, whoever makes it, and whether or not a process of ours runs.
///
/// One mutation that adds up all patches: it costs a tenth of what one for each place does.
fn freeze() -> Value {
    let volumes = VOLUMES.iter().map(|place| place.patches(place.list));
    let containers = ["containers", "initContainers"];
    let containers = containers.iter().flat_map(|list| CONTAINERS.iter().map(|place| place.patches(list)));
    let expression = volumes.chain(containers).map(|patches| format!("({patches})")).collect::<Vec<_>>().join(" + ");
    // Of two pins of one source the first counts: a double key in a map would be an error.
    let entries = |kind: &str| {
        let from = kind.len() + 1;
        format!(
            "variables.pins.filter(p, p[0].startsWith('{kind}/')).transformMapEntry(i, p, \
             {{p[0].substring({from}): p[0].substring({from}) + '-' + p[1]}})"
        )
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "trimtab-freeze", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]
            }]},
            "matchConditions": [{"name": "pinned", "expression": format!(
                "has(object.metadata.annotations) && '{CONFIG}' in object.metadata.annotations"
            )}],
            "variables": [
                {"name": "raw", "expression": format!(
                    "object.metadata.annotations['{CONFIG}'].split(',').map(p, p.split('='))\
                     .filter(p, p.size() == 2 && p[1].matches('^[a-z0-9]{{1,32}}$'))"
                )},
                {"name": "pins", "expression":
                    "variables.raw.transformList(i, p, !variables.raw.exists(j, q, j < i && q[0] == p[0]), p)"},
                {"name": "cm", "expression": entries("cm")},
                {"name": "sec", "expression": entries("secret")},
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        }
    })
}

/// A copy that something names is not deleted by accident: pods that come back need it. The garbage collector, and a
/// namespace that goes, are let through.
fn copies() -> Value {
    let passes = "variables.owners.size() == 0 \
                  || request.userInfo.username == 'system:serviceaccount:kube-system:generic-garbage-collector' \
                  || request.userInfo.username == 'system:serviceaccount:kube-system:namespace-controller' \
                  || (has(namespaceObject.metadata.deletionTimestamp))";
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "trimtab-copies", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"],
                    "resources": ["configmaps", "secrets"]
                }],
                "objectSelector": {"matchLabels": {COPY_LABEL: "true"}},
            },
            "variables": [
                {"name": "owners", "expression":
                    "has(oldObject.metadata.ownerReferences) ? \
                     oldObject.metadata.ownerReferences.filter(o, o.kind in ['ReplicaSet', 'ControllerRevision']) : []"},
                {"name": "source", "expression": format!(
                    "has(oldObject.metadata.annotations) && '{COPY_OF}' in oldObject.metadata.annotations \
                     ? oldObject.metadata.annotations['{COPY_OF}'] : 'its source'"
                )},
            ],
            "validations": [{
                "expression": passes,
                "messageExpression":
                    "'pods that come back read this copy of ' + variables.source + ': ' + variables.owners[0].kind + ' ' \
                     + variables.owners[0].name + ' names it. It goes by itself with the last that does'",
                "reason": "Forbidden",
            }],
        }
    })
}
