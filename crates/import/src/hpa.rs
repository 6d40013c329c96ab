//! A HorizontalPodAutoscaler as an `Autoscaler`. Ours has the HPA's words and arithmetic, so all of it is carried over; only
//! scaling to zero is said in another way.

use serde_json::{Map, Value, json};

use crate::autoscaler::{annotation, annotations, duration, finish, target};
use crate::fields::Fields;
use crate::remarks::Remarks;
use crate::{Imported, Options, Refused, legacy, metric};

/// The one target of an autoscaling/v1 object.
const CPU: &str = "targetCPUUtilizationPercentage";
/// How long the HPA looks back before it goes down, where nothing else is said.
const STABILIZATION: i64 = 300;

pub(crate) fn convert(object: &Value, options: &Options) -> Result<Imported, Refused> {
    let version = object["apiVersion"].as_str().and_then(|version| version.split('/').nth(1)).unwrap_or_default();
    if !["v1", "v2", "v2beta2", "v2beta1"].contains(&version) {
        return Err(Refused::new("this version of HorizontalPodAutoscaler is not known: give it as autoscaling/v2"));
    }
    let mut remarks = Remarks::default();
    made_by_keda(object, &mut remarks);
    let mut spec = Fields::new(object.get("spec"), "spec");
    let target = target(&mut spec, None, &mut remarks)?;
    let most = spec.number("maxReplicas", &mut remarks);
    let most = most.ok_or_else(|| Refused::new("spec.maxReplicas is missing: say how many pods there may be"))?;
    let fewest = spec.number("minReplicas", &mut remarks).unwrap_or(1);
    let (mut metrics, behavior) = match version {
        "v1" => old(object, &mut spec, &mut remarks),
        _ => current(version, &mut spec, &mut remarks),
    };
    spec.rest(&mut remarks, "this field is not known");
    if version == "v1" && metrics.is_empty() && object["spec"]["metrics"].is_array() {
        remarks
            .note("spec.metrics", "no metric is left: as with the HPA, 80 % of the CPU that pods request is followed");
    }
    annotations(object, &[legacy::METRICS, legacy::BEHAVIOR], &mut remarks);
    let mut out = Map::from_iter([
        ("targetRef".to_owned(), target),
        ("minReplicas".to_owned(), json!(fewest)),
        ("maxReplicas".to_owned(), json!(most)),
        ("compat".to_owned(), json!("hpa-v2")),
        ("mode".to_owned(), json!(if options.recommend { "Recommend" } else { "Auto" })),
    ]);
    if fewest == 0 {
        out.insert("coolDown".to_owned(), json!(to_zero(&mut metrics, behavior.as_ref(), &mut remarks)));
    }
    if !metrics.is_empty() {
        out.insert("metrics".to_owned(), metrics.into_iter().map(Value::Object).collect());
    }
    out.extend(behavior.map(|behavior| ("behavior".to_owned(), behavior)));
    finish(object, out, options, remarks)
}

type Read = (Vec<Map<String, Value>>, Option<Value>);

/// Metrics and behavior as v2 and its betas have them.
fn current(version: &str, spec: &mut Fields<'_>, remarks: &mut Remarks) -> Read {
    let mut metrics = vec![];
    if spec.get(CPU).is_some() {
        let what =
            format!("{CPU} is autoscaling/v1's, and the API server drops it from such an object: write a metric");
        remarks.lost(spec.path(CPU), what);
    }
    for (i, written) in spec.items("metrics").iter().enumerate() {
        let path = format!("spec.metrics[{i}]");
        let written = if version == "v2beta1" { legacy::metric(written) } else { written.clone() };
        metrics.extend(metric::metric(&written, &path, remarks));
    }
    let behavior = spec.get("behavior").and_then(|behavior| metric::behavior(behavior, "spec.behavior", remarks));
    (metrics, behavior)
}

/// Metrics and behavior as v1 has them: the CPU in a field, the rest in annotations.
fn old(object: &Value, spec: &mut Fields<'_>, remarks: &mut Remarks) -> Read {
    let mut metrics = vec![];
    for field in ["metrics", "behavior"] {
        if spec.get(field).is_some() {
            let what = format!(
                "autoscaling/v1 has no {field}, and the API server drops it from such an object: if it is to count, write the object \
                 as autoscaling/v2 and convert that"
            );
            remarks.lost(spec.path(field), what);
        }
    }
    if let Some(percent) = spec.number(CPU, remarks) {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}});
        metrics.extend(metric::metric(&cpu, "spec.targetCPUUtilizationPercentage", remarks));
    }
    let more = legacy::annotation(legacy::METRICS, annotation(object, legacy::METRICS), remarks);
    for (i, written) in more.as_ref().and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = format!("metadata.annotations[{}][{i}]", legacy::METRICS);
        metrics.extend(metric::metric(&legacy::metric(written), &path, remarks));
    }
    let behavior = legacy::annotation(legacy::BEHAVIOR, annotation(object, legacy::BEHAVIOR), remarks);
    let path = format!("metadata.annotations[{}]", legacy::BEHAVIOR);
    let behavior = behavior.and_then(|behavior| metric::behavior(&legacy::behavior(&behavior), &path, remarks));
    (metrics, behavior)
}

/// Says when the workload is active, and gives how long it must have been inactive before it goes to zero.
fn to_zero(metrics: &mut [Map<String, Value>], behavior: Option<&Value>, remarks: &mut Remarks) -> String {
    for metric in metrics {
        if metric.contains_key("object") || metric.contains_key("external") {
            metric.insert("activation".to_owned(), json!("0"));
        }
    }
    let window = behavior.and_then(|behavior| behavior["scaleDown"]["stabilizationWindowSeconds"].as_i64());
    remarks.note(
        "spec.minReplicas",
        "0: the HPA goes to zero where its metrics ask for no pod; here activation and coolDown say when, and coolDown is its \
         stabilization window",
    );
    duration(window.unwrap_or(STABILIZATION))
}

/// An HPA that KEDA made is a part of something: converted alone, most of that is missing.
fn made_by_keda(object: &Value, remarks: &mut Remarks) {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let owner = owners.into_iter().flatten().find(|owner| owner["kind"] == "ScaledObject");
    if let Some(name) = owner.and_then(|owner| owner["name"].as_str()) {
        remarks.note(
            "metadata.ownerReferences",
            format!("KEDA made this HPA for ScaledObject {name}, and makes it anew: convert that instead, trimtab import keda {name}"),
        );
    }
}
