//! Metrics and behavior in HPA v2's words: checked against our own types, which have the same. What those do not know is
//! named and left out, because the API server would refuse it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use trimtab_crds::{Behavior, MetricSpec, Quantity};

use crate::remarks::Remarks;

/// A metric, with the target that the HPA would follow.
pub(crate) fn metric(written: &Value, path: &str, remarks: &mut Remarks) -> Option<Map<String, Value>> {
    let mut metric = written.clone();
    settle(&mut metric);
    let read = typed::<MetricSpec>(&metric, path, "metric", remarks)?;
    if let Some(target) = target(&read).filter(|target| not_positive(target)) {
        let field = target.as_object().and_then(|fields| fields.keys().find(|key| *key != "type").cloned());
        let why = "a target that is not above 0 leaves nothing to divide by: the metric is left out";
        remarks.lost(format!("{path}.target.{}", field.unwrap_or_default()), why);
        return None;
    }
    match read {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// How fast the size changes.
pub(crate) fn behavior(written: &Value, path: &str, remarks: &mut Remarks) -> Option<Value> {
    typed::<Behavior>(written, path, "behavior", remarks)
        .filter(|behavior| behavior.as_object().is_some_and(|b| !b.is_empty()))
}

/// The value as a type of ours reads it; what the type does not know is named.
fn typed<T: DeserializeOwned + Serialize>(
    written: &Value,
    path: &str,
    what: &str,
    remarks: &mut Remarks,
) -> Option<Value> {
    let read = T::deserialize(written).and_then(serde_json::to_value);
    match read {
        Ok(read) => {
            let mut unknown = vec![];
            compare(written, &read, path, &mut unknown);
            unknown.into_iter().for_each(|field| remarks.lost(field, "this field is not known"));
            Some(read)
        }
        Err(error) => {
            remarks.lost(
                path,
                format!("it cannot be read as a {what} ({error}): write it anew, or correct it and convert again"),
            );
            None
        }
    }
}

/// Fields that were written and are not there when they were read.
fn compare(written: &Value, read: &Value, path: &str, unknown: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (name, value) in written.iter().filter(|(_, value)| !is_nothing(value)) {
                match read.get(name) {
                    Some(other) => compare(value, other, &format!("{path}.{name}"), unknown),
                    None => unknown.push(format!("{path}.{name}")),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            for (i, (value, other)) in written.iter().zip(read).enumerate() {
                compare(value, other, &format!("{path}[{i}]"), unknown);
            }
        }
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn target(metric: &Value) -> Option<&Value> {
    let sources = metric.as_object()?.values();
    sources.filter_map(|source| source.get("target")).next()
}

fn not_positive(target: &Value) -> bool {
    let field = |name: &str| target[name].as_str().map(Quantity::from);
    [field("value"), field("averageValue")]
        .into_iter()
        .flatten()
        .any(|quantity| quantity.milli().is_none_or(|milli| milli.0 <= 0))
}

/// Leaves of a target the one field that the HPA follows, and names that as its type: the HPA goes by the field where both are
/// there or the type says otherwise, save for Object metrics, where it goes by the type.
fn settle(metric: &mut Value) {
    let Some(kind) = metric["type"].as_str().map(str::to_owned) else { return };
    let (source, by_type, order): (_, _, &[&str]) = match kind.as_str() {
        "Resource" => ("resource", false, &["averageValue", "averageUtilization"]),
        "ContainerResource" => ("containerResource", false, &["averageValue", "averageUtilization"]),
        "Pods" => ("pods", false, &["averageValue"]),
        "External" => ("external", false, &["averageValue", "value"]),
        "Object" => ("object", true, &["value", "averageValue"]),
        _ => return,
    };
    // A union keeps one of its fields; others beside it are never read.
    let Some(target) = metric.get_mut(source).and_then(|source| source.get_mut("target")) else { return };
    let Some(fields) = target.as_object_mut() else { return };
    let named = |fields: &Map<String, Value>| {
        let name = match fields.get("type").and_then(Value::as_str) {
            Some("Utilization") => "averageUtilization",
            Some("Value") => "value",
            Some("AverageValue") => "averageValue",
            _ => return None,
        };
        fields.get(name).filter(|value| !value.is_null()).map(|_| name)
    };
    let there = |fields: &Map<String, Value>| {
        order.iter().copied().find(|name| fields.get(*name).is_some_and(|value| !value.is_null()))
    };
    let chosen = if by_type { named(fields).or_else(|| there(fields)) } else { there(fields) };
    let Some(chosen) = chosen else { return };
    let kind = match chosen {
        "averageUtilization" => "Utilization",
        "value" => "Value",
        _ => "AverageValue",
    };
    for name in ["averageUtilization", "averageValue", "value"] {
        if name != chosen {
            fields.remove(name);
        }
    }
    fields.insert("type".to_owned(), kind.into());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(written: Value, expected: Option<Value>, lost: &[&str]) {
        let mut remarks = Remarks::default();
        assert_eq!(metric(&written, "m", &mut remarks).map(Value::Object), expected);
        assert_eq!(remarks.0.iter().map(|r| r.field.as_str()).collect::<Vec<_>>(), lost);
    }

    #[test]
    fn a_target_has_the_field_that_the_hpa_follows() {
        let both = json!({"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageValue": "100m"}}});
        let one = json!({"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "AverageValue", "averageValue": "100m"}}});
        check(both, Some(one), &[]);
        let object = |target: Value| {
            json!({"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "a"},
                "metric": {"name": "rps"}, "target": target}})
        };
        check(
            object(json!({"type": "AverageValue", "value": "5", "averageValue": "2"})),
            Some(object(json!({"type": "AverageValue", "averageValue": "2"}))),
            &[],
        );
    }

    #[test]
    fn what_is_not_known_is_named_and_left_out() {
        let external = |more: Value| {
            let mut metric = json!({"type": "External", "external": {"metric": {"name": "q"},
                "target": {"type": "Value", "value": "5"}}});
            metric["external"]["metric"]["window"] = more;
            metric
        };
        let mut plain = external(Value::Null);
        plain["external"]["metric"].as_object_mut().unwrap().remove("window");
        check(external(json!("5m")), Some(plain), &["m.external.metric.window"]);
        check(json!({"type": "Magic"}), None, &["m"]);
        let zero = json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "0"}}});
        check(zero, None, &["m.target.value"]);
    }
}
