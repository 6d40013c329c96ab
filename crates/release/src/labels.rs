//! Who a ReplicaSet belongs to by its labels. A Deployment takes every ReplicaSet without a controller that its selector fits as its
//! own, also while it is paused, and then takes stable pods away without a look at which are available. So what a plan owns
//! bears no labels that the selector fits: whoever takes its owner away, it stays where it is until the plan owns it again.

use serde_json::{Map, Value, json};
use trimtab_crds::names;
use trimtab_plan::{PatchOp, TextMap};

use crate::views::ReplicaSetView;

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
    let asked = || selector["matchLabels"].as_object().cloned();
    labels.extend(of_pods(rs).or_else(asked).unwrap_or_default());
    Value::Object(labels)
}

/// Whether a ReplicaSet bears the labels that [`outside`] gives it: it lacks some of its own pods, as none does that the Deployment has or
/// may take. The mark of a canary alone stays on what was promoted.
pub(crate) fn is_outside(rs: &ReplicaSetView) -> bool {
    let lacks = |(name, text): (&String, &Value)| rs.metadata.labels.get(name) != text.as_str();
    of_pods(rs).is_some_and(|labels| labels.iter().any(lacks))
}

/// The labels of its pods, where its template is kept.
fn of_pods(rs: &ReplicaSetView) -> Option<Map<String, Value>> {
    let template = rs.spec.template.has_text().then(|| rs.spec.template.value())?;
    template.pointer("/metadata/labels").and_then(Value::as_object).cloned()
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
        assert!(is_outside(&rs), "{selector}: {out}");
        let mut promoted = serde_json::to_value(&rs).unwrap();
        promoted["metadata"]["labels"] = back;
        assert!(!is_outside(&serde_json::from_value(promoted).unwrap()), "{selector}");
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
