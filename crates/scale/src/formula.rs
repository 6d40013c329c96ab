//! What several metrics ask for together where the spec has a formula. What CEL is and may do is `trimtab-validate`'s.

use std::time::Duration;

use serde_json::{Map, Value, json};
use trimtab_crds::MetricStage;

use crate::metric::Unknown;
use crate::ratio::pods;

/// A formula over some numbers takes microseconds; this is for a machine that stands still.
const DEADLINE: Duration = Duration::from_secs(2);

/// The number of pods that a formula gives.
pub(crate) fn evaluate(formula: &str, stages: &[MetricStage], size: i32) -> Result<i32, Unknown> {
    let unknown = |message: String| Unknown::new("InvalidFormula", message);
    let metrics: Map<String, Value> = stages.iter().map(|stage| (stage.name.clone(), known(stage))).collect();
    let variables = json!({ "metrics": metrics, "replicas": f64::from(size) });
    let number = trimtab_validate::number(formula, variables, DEADLINE).map_err(unknown)?;
    if !number.is_finite() {
        return Err(unknown(format!("the formula gives {number}, which is no number of pods")));
    }
    Ok(pods(number).max(0))
}

/// What is known of a metric. What is not is left out, so that `has` tells it.
fn known(stage: &MetricStage) -> Value {
    if stage.reason == "Asleep" {
        // Of no pods everything is known: none of it.
        return json!({ "value": 0.0, "average": 0.0, "utilization": 0.0, "ratio": 0.0, "replicas": 0.0 });
    }
    let mut known = Map::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(number) = value.and_then(serde_json::Number::from_f64) {
            known.insert(name.to_owned(), Value::Number(number));
        }
    };
    let number = |milli: trimtab_crds::Milli| milli.0 as f64 / 1000.0;
    let pods = stage.pods.as_ref().map(|pods| f64::from(pods.ready));
    let total = stage.average_value.zip(pods).map(|(average, pods)| number(average) * pods);
    put("value", stage.value.map(number).or(total));
    put("average", stage.average_value.map(number));
    put("utilization", stage.average_utilization.map(f64::from));
    put("ratio", stage.ratio.as_ref().and_then(|ratio| ratio.parse().ok()));
    put("replicas", stage.replicas.map(f64::from));
    Value::Object(known)
}
