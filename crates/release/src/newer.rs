//! What an object holds that this version of the program does not know: another version wrote it, and the CRD is newer than
//! the program. What is not known in a spec is said, and nothing is released by half of what was asked for; what is not known
//! in a status is written back as it was.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What an object holds that this version does not know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Newer {
    /// Paths in the spec: `spec.traffic`.
    pub spec: BTreeSet<String>,
    /// What the status holds beside what is known, in its places.
    status: Option<Value>,
}

impl Newer {
    /// Compares the parts of an object as they came with what was read of them.
    pub(crate) fn of(object: &Value, spec: &impl Serialize, status: &impl Serialize) -> Self {
        let known = |part: &dyn Fn() -> serde_json::Result<Value>| part().unwrap_or_default();
        let given = |name: &str| object.get(name).cloned().unwrap_or_default();
        let mut paths = BTreeSet::new();
        let beside = beside(&given("spec"), &known(&|| serde_json::to_value(spec)));
        name_paths(beside.as_ref(), "spec", &mut paths);
        Self { spec: paths, status: self::beside(&given("status"), &known(&|| serde_json::to_value(status))) }
    }

    /// Writes what is not known back into a status that is about to be written. What belongs to a release goes with it.
    pub(crate) fn keep_in(&self, status: &mut Value, same_release: bool) {
        let Some(mut kept) = self.status.clone() else { return };
        if let Some(kept) = kept.as_object_mut().filter(|_| !same_release) {
            kept.remove("release");
        }
        put_back(status, &kept);
    }
}

/// Reads an object from JSON, with the places of errors as they are in its text.
pub(crate) fn from_text<T: DeserializeOwned, E: serde::de::Error>(text: &str) -> Result<(T, Value), E> {
    let read = serde_json::from_str(text).map_err(E::custom)?;
    Ok((read, serde_json::from_str(text).map_err(E::custom)?))
}

/// What is empty is left out where a known field is written again, so that it tells nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        _ => false,
    }
}

/// What is given and not known, in its places. Items of lists are compared by their places; in a list that is of another
/// length nothing is told apart.
fn beside(given: &Value, known: &Value) -> Option<Value> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            let mut found = Map::new();
            for (name, value) in given.iter().filter(|(_, value)| !is_empty(value)) {
                let more = match known.get(name) {
                    Some(known) => beside(value, known),
                    None => Some(value.clone()),
                };
                found.extend(more.map(|more| (name.clone(), more)));
            }
            (!found.is_empty()).then_some(Value::Object(found))
        }
        (Value::Array(given), Value::Array(known)) if given.len() == known.len() => {
            let items: Vec<Value> =
                given.iter().zip(known).map(|(given, known)| beside(given, known).unwrap_or_default()).collect();
            (!items.iter().all(Value::is_null)).then_some(Value::Array(items))
        }
        _ => None,
    }
}

fn name_paths(beside: Option<&Value>, path: &str, paths: &mut BTreeSet<String>) {
    match beside {
        // A step that is not known is one thing, whatever is in it.
        Some(Value::Object(map)) if path.matches('.').count() < 4 => {
            map.iter().for_each(|(name, value)| name_paths(Some(value), &format!("{path}.{name}"), paths));
        }
        Some(Value::Array(items)) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                name_paths(Some(item), &format!("{path}[{index}]"), paths);
            }
        }
        Some(_) => _ = paths.insert(path.to_owned()),
        None => {}
    }
}

fn put_back(status: &mut Value, kept: &Value) {
    let (Some(status), Some(kept)) = (status.as_object_mut(), kept.as_object()) else { return };
    for (name, value) in kept {
        match status.get_mut(name) {
            // What the new status says counts.
            Some(known) => put_back(known, value),
            // The parts of something that is over are over.
            None if value.is_object() && is_known_part(name) => {}
            None => _ = status.insert(name.clone(), value.clone()),
        }
    }
}

/// Parts of a plan's status that this version knows and that may be missing from a new one.
fn is_known_part(name: &str) -> bool {
    ["release", "canary", "verdict", "rejected", "stable", "undo", "target", "weight", "config", "pending"]
        .contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::PlanView;

    fn plan(spec: &Value, status: &Value) -> PlanView {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "p"},
            "spec": {"targetRef": {"name": "web"}}, "status": {"sequence": 3},
        });
        put(&mut object["spec"], spec);
        put(&mut object["status"], status);
        serde_json::from_value(object).unwrap()
    }

    fn put(into: &mut Value, more: &Value) {
        more.as_object().unwrap().iter().for_each(|(name, value)| into[name] = value.clone());
    }

    #[test]
    fn what_is_not_known_of_a_spec_is_named() {
        let check = |spec: Value, expected: &[&str]| {
            let found = plan(&spec, &json!({})).newer.spec;
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{spec}");
        };
        check(json!({"rollbackWindow": 2, "config": {"track": "Referenced"}}), &[]);
        check(json!({"strategy": {"canary": {"steps": []}}, "future": null}), &[]);
        check(json!({"traffic": {"httpRoute": {"name": "web"}}}), &["spec.traffic.httpRoute.name"]);
        let steps = json!([{"setWeight": 5}, {"analysis": {"checks": [{"name": "a"}]}}, {"pause": {"until": "noon"}}]);
        let expected = ["spec.strategy.canary.steps[1].analysis", "spec.strategy.canary.steps[2].pause"];
        check(json!({"strategy": {"canary": {"steps": steps}}}), &expected.map(|path| path));
    }

    #[test]
    fn what_is_not_known_of_a_status_is_written_back_as_long_as_its_release_lasts() {
        let progress = json!({"name": "web-3", "digest": "d", "by": "ann", "startedAt": "2026-01-01T00:00:00Z",
            "stage": "Steps", "stageStartedAt": "2026-01-01T00:00:00Z", "step": 0,
            "stepStartedAt": "2026-01-01T00:00:00Z", "weight": 5, "analysis": {"runs": 2}});
        let status = json!({"traffic": {"weight": 5}, "release": progress});
        let plan = plan(&json!({}), &status);
        let mut same = serde_json::to_value(&plan.status).unwrap();
        assert!(same.get("traffic").is_none(), "it is not known");
        plan.newer.keep_in(&mut same, true);
        assert_eq!((&same["traffic"]["weight"], &same["release"]["analysis"]["runs"]), (&json!(5), &json!(2)));
        let mut another = serde_json::to_value(&plan.status).unwrap();
        plan.newer.keep_in(&mut another, false);
        assert_eq!((&another["traffic"]["weight"], another["release"].get("analysis")), (&json!(5), None));
        let mut over = json!({"phase": "Stable"});
        plan.newer.keep_in(&mut over, false);
        assert_eq!(over, json!({"phase": "Stable", "traffic": {"weight": 5}}));
    }
}
