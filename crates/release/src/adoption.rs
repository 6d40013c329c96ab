//! Who a ReplicaSet belongs to by its labels. A Deployment takes every ReplicaSet without a controller that its selector fits as its
//! own, also while it is paused, and then takes stable pods away without a look at which are available. So what a plan owns
//! bears no labels that the selector fits: whoever takes its owner away, it stays where it is until the plan owns it again.

use serde_json::{Map, Value, json};
use trimtab_crds::names;
use trimtab_plan::{PatchOp, Severity, TextMap, Write};

use crate::{canary, draft::Draft, views::ReplicaSetView, world::World};

/// The labels of a ReplicaSet that the Deployment is not to see: of these, those that its selector does not ask for.
pub(crate) fn outside<'a>(selector: &Value, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut kept: Map<String, Value> = labels.map(|(name, text)| (name.to_owned(), json!(text))).collect();
    let asked = Asked::of(selector);
    asked.there.iter().for_each(|name| _ = kept.remove(*name));
    // A selector that only says what must not be there fits whatever has none of that.
    if asked.there.is_empty() {
        kept.extend(asked.absent.iter().map(|(name, text)| ((*name).to_owned(), json!(text))));
        kept.remove(names::POD_TEMPLATE_HASH);
    }
    Value::Object(kept)
}

/// The labels of a ReplicaSet that the Deployment is to have: its own with those of its template, which the selector fits.
pub(crate) fn inside(selector: &Value, rs: &ReplicaSetView) -> Value {
    let mut labels: Map<String, Value> = own(&rs.metadata.labels).collect();
    Asked::of(selector).absent.iter().for_each(|(name, _)| _ = labels.remove(*name));
    let template = if rs.spec.template.has_text() { rs.spec.template.value() } else { Value::Null };
    let fitting = template.pointer("/metadata/labels").or(selector.get("matchLabels")).and_then(Value::as_object);
    labels.extend(fitting.into_iter().flatten().map(|(name, text)| (name.clone(), text.clone())));
    Value::Object(labels)
}

/// Sets the labels of a ReplicaSet.
pub(crate) fn relabel(labels: Value) -> PatchOp {
    PatchOp::add("/metadata/labels", labels)
}

fn own(labels: &TextMap) -> impl Iterator<Item = (String, Value)> {
    labels.iter().map(|(name, text)| (name.to_owned(), json!(text)))
}

/// What a selector asks for.
struct Asked<'a> {
    /// Labels that must be there.
    there: Vec<&'a str>,
    /// Labels that must not be there, each with a text that must not be.
    absent: Vec<(&'a str, &'a str)>,
}

impl<'a> Asked<'a> {
    fn of(selector: &'a Value) -> Self {
        let mut there: Vec<&str> =
            selector["matchLabels"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let mut absent = vec![];
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let Some(name) = expression["key"].as_str() else { continue };
            match expression["operator"].as_str() {
                Some("In" | "Exists") => there.push(name),
                Some("NotIn" | "DoesNotExist") => absent.push((name, expression["values"][0].as_str().unwrap_or(""))),
                _ => {}
            }
        }
        Self { there, absent }
    }
}

/// Whether a canary of this Deployment has lost its owner: nobody owns it, and it lacks labels of its own pods, as none does that the
/// Deployment has or may take. Whoever marked another ReplicaSet so could as well have scaled or deleted it.
pub fn is_adrift(deployment: &str, rs: &ReplicaSetView) -> bool {
    rs.metadata.controller().is_none()
        && rs.metadata.deletion_timestamp.is_none()
        && rs.metadata.annotation(names::CANARY_OF) == Some(deployment)
        && is_outside(rs)
}

/// Whether a ReplicaSet bears the labels that [`outside`] gives it. The mark alone stays on what was promoted.
fn is_outside(rs: &ReplicaSetView) -> bool {
    let template = if rs.spec.template.has_text() { rs.spec.template.value() } else { Value::Null };
    let pods = template.pointer("/metadata/labels").and_then(Value::as_object);
    let lacks = |(name, text): (&String, &Value)| rs.metadata.labels.get(name) != text.as_str();
    pods.is_some_and(|labels| labels.iter().any(lacks))
}

/// Makes the plan the owner of a canary that has lost its owner.
pub(crate) fn claim(world: &World<'_>, rs: &ReplicaSetView) -> Write {
    let owner = canary::reference(&world.plan_owner());
    let owned = match rs.metadata.owner_references.is_empty() {
        true => PatchOp::add("/metadata/ownerReferences", json!([owner])),
        false => PatchOp::add("/metadata/ownerReferences/-", owner),
    };
    let ops = vec![
        PatchOp::test("/metadata/uid", rs.metadata.uid.clone()),
        PatchOp::test("/metadata/resourceVersion", rs.metadata.resource_version.clone()),
        relabel(outside(&world.deployment.spec.selector, rs.metadata.labels.iter())),
        owned,
    ];
    Write::patch(rs.metadata.object(names::REPLICA_SET), ops, "own the canary's ReplicaSet again")
}

/// Owns the canary again where somebody took its owner away. True if that comes first.
pub(crate) fn reclaim(draft: &mut Draft<'_>, rs: &ReplicaSetView) -> bool {
    if !is_adrift(&draft.world.deployment.metadata.name, rs) {
        return false;
    }
    draft.write(claim(&draft.world, rs));
    let message = format!("somebody took the owner of ReplicaSet {} away: the plan owns it again", rs.metadata.name);
    draft.say(draft.status.phase, "CanaryReclaimed", message.clone());
    draft.tell(Severity::Warning, "CanaryReclaimed", "Adopt", message);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(selector: &Value, labels: &Value) -> bool {
        let exact = selector["matchLabels"].as_object().into_iter().flatten().all(|(name, text)| labels[name] == *text);
        let all = selector["matchExpressions"].as_array().into_iter().flatten().all(|expression| {
            let label = labels.get(expression["key"].as_str().unwrap());
            let values = expression["values"].as_array();
            let listed = label.zip(values).is_some_and(|(label, values)| values.contains(label));
            match expression["operator"].as_str().unwrap() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => label.is_some(),
                _ => label.is_none(),
            }
        });
        exact && all
    }

    /// Whatever a selector asks for: it does not fit what is outside, and fits that again once it is inside.
    fn check(selector: &Value) {
        let labels = json!({"app": "web", "tier": "front", "pod-template-hash": "1", "extra": "kept"});
        assert!(fits(selector, &labels), "{selector}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all: Vec<(String, String)> =
            labels.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let out = outside(selector, all.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        assert!(!fits(selector, &out), "{selector} fits {out}");
        assert_eq!(out["extra"], "kept", "{selector}");
        let rs: ReplicaSetView = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "uid": "1", "labels": out, "annotations": {names::CANARY_OF: "web"}},
            "spec": {"replicas": 0, "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}}
        }))
        .unwrap();
        let back = inside(selector, &rs);
        assert!(fits(selector, &back), "{selector} does not fit {back}");
        assert_eq!(back["extra"], "kept", "{selector}");
        assert!(is_adrift("web", &rs) && !is_adrift("api", &rs), "{selector}: {out}");
        // What was promoted keeps the mark.
        let mut promoted = serde_json::to_value(&rs).unwrap();
        promoted["metadata"]["labels"] = back;
        assert!(!is_adrift("web", &serde_json::from_value(promoted).unwrap()), "{selector}");
    }

    #[test]
    fn a_selector_fits_nothing_that_is_outside_and_all_that_is_inside() {
        check(&json!({"matchLabels": {"app": "web"}}));
        check(&json!({"matchLabels": {"app": "web", "tier": "front"}}));
        check(&json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}));
        check(&json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}));
        check(&json!({"matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]}));
        check(&json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]}));
        check(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back", "side"]}]
        }));
    }
}
