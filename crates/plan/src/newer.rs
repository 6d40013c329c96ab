//! What an object holds that this version of the program does not know: another version wrote it, and the CRD is newer than
//! the program. What is not known in a spec is for decisions to say, so that nothing is done by half of what was asked for;
//! what is not known in a status is written back as it was.

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::place::{Step, in_words};

/// What an object holds that this version does not know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Newer {
    /// Paths in the spec: `spec.traffic`.
    pub spec: BTreeSet<String>,
    /// Fields of the status, each with the fields that it is in.
    status: Vec<(Vec<Step>, Value)>,
}

impl Newer {
    /// Compares the parts of an object as they came with what was read of them.
    pub fn of(object: &Value, spec: &impl Serialize, status: &impl Serialize) -> Self {
        let mut found = Self::default();
        let known = serde_json::to_value(spec).unwrap_or_default();
        compare(&object["spec"], &known, &mut vec![], &mut |path, _| {
            found.spec.insert(in_words("spec", path));
        });
        let known = serde_json::to_value(status).unwrap_or_default();
        compare(&object["status"], &known, &mut vec![], &mut |path, value| {
            // Items of lists have no names to find them by again.
            if path.iter().all(|step| matches!(step, Step::Field(_))) {
                found.status.push((path.to_vec(), value.clone()));
            }
        });
        found
    }

    /// Writes what is not known back into a status that is about to be written, where that still has what it was in, but for
    /// these parts, which are over.
    pub fn keep_in(&self, status: &mut Value, over: &[&str]) {
        for (path, value) in &self.status {
            let Some((Step::Field(name), parents)) = path.split_last() else { continue };
            let is_over = matches!(path.first(), Some(Step::Field(first)) if over.contains(&first.as_str()));
            let place = parents.iter().try_fold(&mut *status, |place, step| match step {
                Step::Field(name) => place.get_mut(name),
                Step::Item(_) => None,
            });
            if let Some(place) = place.and_then(Value::as_object_mut).filter(|_| !is_over) {
                place.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// Reads an object and keeps it as it came, with the places of errors as they are in its text.
///
/// # Errors
///
/// If it is not what is read.
pub fn read_with_rest<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<(T, Value), D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let read = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
    Ok((read, serde_json::from_str(raw.get()).map_err(D::Error::custom)?))
}

/// What is empty may be left out where a known field is written again, so that it tells nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Tells of each field that is given and not known.
fn compare(given: &Value, known: &Value, path: &mut Vec<Step>, tell: &mut impl FnMut(&[Step], &Value)) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given.iter().filter(|(_, value)| !is_empty(value)) {
                path.push(Step::Field(name.clone()));
                match known.get(name) {
                    Some(known) => compare(value, known, path, tell),
                    None => tell(path, value),
                }
                path.pop();
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                path.push(Step::Item(index));
                compare(given, known, path, tell);
                path.pop();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_of_a_spec_is_named_and_what_is_empty_is_nothing() {
        let check = |given: Value, known: Value, expected: &[&str]| {
            let found = Newer::of(&json!({"spec": given}), &known, &()).spec;
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        };
        check(json!({"a": 1, "list": [], "no": null, "off": false}), json!({"a": 1}), &[]);
        check(json!({"a": 1, "traffic": {"route": "web"}}), json!({"a": 1, "b": 2}), &["spec.traffic"]);
        check(
            json!({"steps": [{"setWeight": 5}, {"analysis": {"a": 1}}, {"pause": {"until": "noon"}}]}),
            json!({"steps": [{"setWeight": 5}, {}, {"pause": {}}]}),
            &["spec.steps[1].analysis", "spec.steps[2].pause.until"],
        );
    }

    #[test]
    fn what_is_not_known_of_a_status_stays_as_long_as_what_it_was_in() {
        let given =
            json!({"status": {"phase": "Paused", "traffic": {"weight": 5}, "release": {"name": "web-3", "runs": 2}}});
        let known = json!({"phase": "Paused", "release": {"name": "web-3"}});
        let newer = Newer::of(&given, &(), &known);
        let kept = |status: Value, over: &[&str]| {
            let mut status = status;
            newer.keep_in(&mut status, over);
            status
        };
        assert_eq!(kept(known.clone(), &[]), given["status"]);
        let traffic = json!({"weight": 5});
        assert_eq!(kept(known.clone(), &["release"])["release"], json!({"name": "web-3"}));
        assert_eq!(kept(json!({"phase": "Stable"}), &[]), json!({"phase": "Stable", "traffic": traffic}));
        // What is said anew counts.
        assert_eq!(kept(json!({"traffic": 7}), &[]), json!({"traffic": 7}));
    }
}
