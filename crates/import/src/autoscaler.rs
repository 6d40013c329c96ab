//! What both conversions share: the head of an `Autoscaler`, its target, its mode, durations and quantities as text.

use serde_json::{Map, Value, json};
use trimtab_crds::Quantity;

use crate::fields::Fields;
use crate::remarks::Remarks;
use crate::{Imported, Options, Refused};

/// Annotations that hold state, or are another program's record.
const STATE: [&str; 4] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "control-plane.alpha.kubernetes.io/leader",
];
/// The label that KEDA gives its objects.
const KEDA_LABEL: &str = "scaledobject.keda.sh/name";

/// The name of an object, or why there is no converting it.
pub(crate) fn name(object: &Value) -> Result<String, Refused> {
    let name = object["metadata"]["name"].as_str().filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| Refused::new("an object in the input has no metadata.name: give it one"))
}

/// An annotation.
pub(crate) fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][name].as_str()
}

/// Names the annotations that stay behind, save those that were understood.
pub(crate) fn annotations(object: &Value, understood: &[&str], remarks: &mut Remarks) {
    let all = object["metadata"]["annotations"].as_object();
    let left = all.into_iter().flatten().map(|(name, _)| name.as_str());
    let left: Vec<&str> = left.filter(|name| !understood.contains(name) && !STATE.contains(name)).collect();
    if !left.is_empty() {
        let what = "labels are kept and annotations are not: add those that another program needs";
        remarks.lost("metadata.annotations", format!("{}: {what}", left.join(", ")));
    }
}

/// Puts a result together.
pub(crate) fn finish(
    object: &Value,
    spec: Map<String, Value>,
    options: &Options,
    remarks: Remarks,
) -> Result<Imported, Refused> {
    let name = name(object)?;
    let given = object["metadata"]["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let namespace = given.map(str::to_owned).or_else(|| options.namespace.clone());
    let mut metadata = Map::from_iter([("name".to_owned(), json!(name))]);
    if let Some(namespace) = &namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let mut labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.remove(KEDA_LABEL);
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    let autoscaler = json!({
        "apiVersion": "trimtab.dev/v1alpha1", "kind": "Autoscaler", "metadata": metadata, "spec": spec,
    });
    Ok(Imported { name, namespace, autoscaler, remarks: remarks.0 })
}

/// The target. Every part of it that is known has a meaning here.
pub(crate) fn target(spec: &mut Fields<'_>, kind: Option<&str>, remarks: &mut Remarks) -> Result<Value, Refused> {
    let mut target = spec.part("scaleTargetRef");
    let missing = |field: &str| Refused::new(format!("{field} is missing: name the workload that is scaled"));
    let name = target.text("name").ok_or_else(|| missing(&target.path("name")))?;
    let kind = target.text("kind").or_else(|| kind.map(str::to_owned));
    let kind = kind.ok_or_else(|| missing(&target.path("kind")))?;
    let version = target.text("apiVersion").unwrap_or_else(|| "apps/v1".to_owned());
    if target.get("envSourceContainerName").is_some() {
        remarks.lost(target.path("envSourceContainerName"), "no trigger reads a container's environment here");
    }
    target.rest(remarks, "this field is not known");
    Ok(json!({"apiVersion": version, "kind": kind, "name": name}))
}

/// Seconds as Kubernetes writes a duration: `90` is `1m30s`.
pub(crate) fn duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = [(hours, "h"), (minutes, "m"), (rest, "s")];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A number as KEDA reads it (a float), as a quantity of thousandths: what KEDA gives the HPA has no more.
pub(crate) fn quantity(text: &str) -> Option<Quantity> {
    let number: f64 = text.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
    // Truncated as KEDA does.
    let milli = (number * 1000.0).trunc();
    if milli.abs() >= 9e15 {
        return None;
    }
    let text = format!("{:.3}", milli / 1000.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    Some(Quantity::from(if text == "-0" { "0" } else { text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_durations() {
        let all = [(0, "0s"), (15, "15s"), (90, "1m30s"), (300, "5m"), (3600, "1h"), (90_061, "25h1m1s")];
        for (seconds, text) in all {
            assert_eq!(duration(seconds), text);
            assert_eq!(trimtab_crds::parse_duration(text).map(|d| d.as_secs()), u64::try_from(seconds).ok());
        }
    }

    #[test]
    fn numbers_become_quantities_of_thousandths() {
        let all =
            [("100", "100"), ("0.5", "0.5"), ("1e3", "1000"), ("0.0015", "0.001"), ("-0.0001", "0"), (" 7 ", "7")];
        for (number, text) in all {
            assert_eq!(quantity(number).map(|q| q.0).as_deref(), Some(text), "{number}");
        }
        assert_eq!(quantity("many"), None);
        assert_eq!(quantity("NaN"), None);
        assert_eq!(quantity("1e300"), None);
    }
}
