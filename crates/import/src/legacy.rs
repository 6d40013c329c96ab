//! Metrics and behavior as they were written before autoscaling/v2: in the annotations of v1 objects and in v2beta1. Into
//! v2's words; what those mean is not looked at.

use serde_json::{Map, Value, json};

use crate::remarks::Remarks;

/// Metrics beside the CPU of an autoscaling/v1 object.
pub(crate) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// The behavior of an autoscaling/v1 object.
pub(crate) const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// The JSON of an annotation; what is none is named as lost.
pub(crate) fn annotation(name: &str, text: Option<&str>, remarks: &mut Remarks) -> Option<Value> {
    match serde_json::from_str(text?) {
        Ok(value) => Some(value),
        Err(_) => {
            remarks.lost(
                format!("metadata.annotations[{name}]"),
                "it is not JSON: read the object as autoscaling/v2 (kubectl get hpa.v2.autoscaling -o yaml) and convert that",
            );
            None
        }
    }
}

/// A metric in v2's words. One that is in v2's words already stays as it is.
pub(crate) fn metric(old: &Value) -> Value {
    let Some(kind) = old["type"].as_str() else { return old.clone() };
    let field = match kind {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return old.clone(),
    };
    let Some(source) = old[field].as_object().filter(|source| is_old(source, kind)) else { return old.clone() };
    let mut source = source.clone();
    let mut target = Map::new();
    // What it is called in v2, the last first: the type follows the field that is there.
    let renamed = [
        ("targetAverageUtilization", "averageUtilization", "Utilization"),
        ("targetValue", "value", "Value"),
        ("averageValue", "averageValue", "AverageValue"),
        ("targetAverageValue", "averageValue", "AverageValue"),
    ];
    let object = if kind == "Object" { source.remove("target") } else { None };
    for (before, after, kind) in renamed {
        if let Some(value) = source.remove(before).filter(|value| !is_unset(value)) {
            target.insert(after.to_owned(), value);
            target.insert("type".to_owned(), kind.into());
        }
    }
    let metric = source.remove("metricName").map(|name| {
        let selector = source.remove("selector").or_else(|| source.remove("metricSelector"));
        let mut metric = json!({"name": name});
        if let Some(selector) = selector.filter(|selector| !selector.is_null()) {
            metric["selector"] = selector;
        }
        metric
    });
    source.extend(metric.map(|metric| ("metric".to_owned(), metric)));
    source.extend(object.map(|object| ("describedObject".to_owned(), object)));
    source.insert("target".to_owned(), Value::Object(target));
    json!({"type": kind, field: source})
}

/// Object metrics of the old form always carry a target value; `0` there says that the average counts.
fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("0") || value.as_i64() == Some(0)
}

/// Whether a source is in the old form: there a target is several fields.
fn is_old(source: &Map<String, Value>, kind: &str) -> bool {
    let new = source.get("target").and_then(|target| target.get("type")).is_some();
    !new && (kind != "Object" || source.contains_key("metricName"))
}

/// The same with the names of fields as they are in JSON: Kubernetes writes the behavior into the annotation by the names of
/// Go's fields, and reads it whatever their case.
pub(crate) fn behavior(old: &Value) -> Value {
    match old {
        Value::Object(fields) => fields.iter().map(|(name, value)| (lower(name), behavior(value))).collect(),
        Value::Array(items) => items.iter().map(behavior).collect(),
        other => other.clone(),
    }
}

fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
}
