//! The first difference between a recorded value and another one, and what is written but was not read. Not what follows.

use serde_json::Value;

/// The first place, in the order of the record, where two values differ: what it is called, and both.
pub fn first(recorded: &Value, now: &Value) -> Option<(String, String, String)> {
    walk(String::new(), Some(recorded), Some(now))
}

fn walk(path: String, recorded: Option<&Value>, now: Option<&Value>) -> Option<(String, String, String)> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (recorded, now) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let mut differing = keys.filter_map(|key| walk(below(key), a.get(key), b.get(key)));
            differing.next()
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            let longest = a.len().max(b.len());
            (0..longest).find_map(|i| walk(format!("{path}[{i}]"), a.get(i), b.get(i)))
        }
        (a, b) if a == b => None,
        (a, b) => {
            let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            Some((path, told(a), told(b)))
        }
    }
}

/// The fields that were written and say something, and that reading left out: misspelt, or of another version.
pub fn unread(written: &Value, read: &Value) -> Vec<String> {
    let mut found = vec![];
    collect(String::new(), written, read, &mut found);
    found
}

fn collect(path: String, written: &Value, read: &Value, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match b.get(key) {
                    Some(other) => collect(below, value, other, found),
                    None if says_nothing(value) => {}
                    None => found.push(below),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                collect(format!("{path}[{i}]"), a, b, found);
            }
        }
        _ => {}
    }
}

/// What is the same as not being there.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let check = |a: Value, b: Value, expected: Option<(&str, &str, &str)>| {
            let expected = expected.map(|(path, a, b)| (path.to_owned(), a.to_owned(), b.to_owned()));
            assert_eq!(first(&a, &b), expected);
        };
        check(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]}), None);
        check(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]}), Some(("a[1].b", "2", "3")));
        check(json!({"a": [1]}), json!({"a": [1, 2]}), Some(("a[1]", "nothing", "2")));
        check(json!({}), json!({"x": "y"}), Some(("x", "nothing", "\"y\"")));
    }

    #[test]
    fn what_was_not_read_is_named() {
        let written = json!({"a": {"minReplcas": 3, "asleep": false}, "b": [{"c": 1}]});
        assert_eq!(unread(&written, &json!({"a": {}, "b": [{}]})), ["a.minReplcas", "b[0].c"]);
    }
}
