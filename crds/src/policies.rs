//! The admission policies that run inside the API server: the hold and its warning (a change never starts by itself), the
//! freeze (pods read the revision that they were made for), and the guard of copies that are in use. Each rule stands here
//! once, as CEL. The CEL is total: whatever an object holds, it neither fails nor denies, but for what the guard is for.

mod hold;

use serde_json::{Value, json};

use crate::names::{CONFIG, COPY_LABEL, COPY_OF, DIGEST};
use crate::pins::PIN;

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
            objects: vec![hold::hold(), binding("MutatingAdmissionPolicyBinding", "trimtab-hold", None)],
        },
        PolicyFile {
            file: "policy-held-warning.yaml",
            objects: vec![
                hold::warning(),
                binding("ValidatingAdmissionPolicyBinding", "trimtab-held-warning", Some("Warn")),
            ],
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
                // What is no name of a copy is no pin: nothing else of the namespace comes into a pod by an annotation.
                {"name": "raw", "expression": format!(
                    "object.metadata.annotations['{CONFIG}'].split(',').filter(p, p.matches('{PIN}')).map(p, p.split('='))"
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

/// A copy that something names is not deleted by accident: pods that come back need it. Nor is what it is known by taken
/// off, after which it could be. The garbage collector, and a namespace that goes, are let through.
fn copies() -> Value {
    let passes = "variables.owners.size() == 0 || variables.kept \
                  || request.userInfo.username == 'system:serviceaccount:kube-system:generic-garbage-collector' \
                  || request.userInfo.username == 'system:serviceaccount:kube-system:namespace-controller' \
                  || (has(namespaceObject.metadata.deletionTimestamp))";
    let of = |object: &str, name: &str| {
        format!(
            "(has({object}.metadata.annotations) && '{name}' in {object}.metadata.annotations ? {object}.metadata.annotations['{name}'] : '')"
        )
    };
    let same = |name: &str| format!("{} == {}", of("object", name), of("oldObject", name));
    let kept = format!(
        "request.operation == 'UPDATE' && has(object.metadata.labels) && '{COPY_LABEL}' in object.metadata.labels \
         && object.metadata.labels['{COPY_LABEL}'] == 'true' && {} && {}",
        same(COPY_OF),
        same(DIGEST)
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "trimtab-copies", "labels": {"app.kubernetes.io/part-of": "trimtab"}},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE", "UPDATE"],
                    "resources": ["configmaps", "secrets"]
                }],
                "objectSelector": {"matchLabels": {COPY_LABEL: "true"}},
            },
            "variables": [
                {"name": "owners", "expression":
                    "has(oldObject.metadata.ownerReferences) ? \
                     oldObject.metadata.ownerReferences.filter(o, o.kind in ['ReplicaSet', 'ControllerRevision']) : []"},
                {"name": "kept", "expression": kept},
                {"name": "source", "expression": format!(
                    "has(oldObject.metadata.annotations) && '{COPY_OF}' in oldObject.metadata.annotations \
                     ? oldObject.metadata.annotations['{COPY_OF}'] : 'its source'"
                )},
            ],
            "validations": [{
                "expression": passes,
                "messageExpression":
                    "'pods that come back read this copy of ' + variables.source + ': ' + variables.owners[0].kind + ' ' \
                     + variables.owners[0].name + ' names it. It goes by itself with the last that does' \
                     + (request.operation == 'UPDATE' ? '; until then its label and what it says to be a copy of stay' : '')",
                "reason": "Forbidden",
            }],
        }
    })
}
