//! The rest of a ScaledObject: behavior, fallback, being paused, and what to know before it is deleted.

use serde_json::{Value, json};

use crate::autoscaler::{annotation, duration};
use crate::fields::{Fields, truth};
use crate::metric;
use crate::remarks::Remarks;

const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_AT: &str = "autoscaling.keda.sh/paused-replicas";
const PAUSED_IN: &str = "autoscaling.keda.sh/paused-scale-in";
const PAUSED_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
const FORCED: &str = "autoscaling.keda.sh/force-activation";
const TRANSFER: &str = "scaledobject.keda.sh/transfer-hpa-ownership";
const OWNERSHIP: &str = "validations.keda.sh/hpa-ownership";

/// Annotations that this file looks after.
pub(super) const ANNOTATIONS: [&str; 7] = [PAUSED, PAUSED_AT, PAUSED_IN, PAUSED_OUT, FORCED, TRANSFER, OWNERSHIP];

fn field(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}

/// Whether an annotation says yes. KEDA takes what is neither yes nor no for yes.
fn says(object: &Value, name: &str) -> bool {
    annotation(object, name).is_some_and(|text| truth(text).unwrap_or(true))
}

/// Whether KEDA leaves the size alone.
pub(super) fn is_paused(object: &Value, remarks: &mut Remarks) -> bool {
    let at = annotation(object, PAUSED_AT);
    if let Some(at) = at {
        let at = at.parse::<u32>().map_or_else(|_| "so many".to_owned(), |at| at.to_string());
        let how = if at == "0" { "set mode to Auto, and its replicas to 1 or more," } else { "set mode to Auto" };
        remarks.note(
            field(PAUSED_AT),
            format!("mode is Paused, which leaves the size as it is; KEDA has set it to {at} pods: {how} to go on"),
        );
        return true;
    }
    let paused = says(object, PAUSED);
    if paused {
        remarks.note(field(PAUSED), "mode is Paused: set it to Auto to go on");
    }
    paused
}

/// How fast the size changes, and in which direction it does not.
pub(super) fn behavior(object: &Value, advanced: &mut Fields<'_>, remarks: &mut Remarks) -> Option<Value> {
    let mut config = advanced.part("horizontalPodAutoscalerConfig");
    let path = config.path("behavior");
    let mut behavior = config.get("behavior").and_then(|written| metric::behavior(written, &path, remarks));
    if config.get("name").is_some() {
        remarks.note(config.path("name"), "there is no HPA any more: whatever looks it up by this name looks in vain");
    }
    config.rest(remarks, "this field is not known");
    for (name, rules) in [(PAUSED_IN, "scaleDown"), (PAUSED_OUT, "scaleUp")] {
        if says(object, name) {
            behavior.get_or_insert_with(|| json!({}))[rules]["selectPolicy"] = json!("Disabled");
            remarks.note(field(name), format!("it became behavior.{rules}.selectPolicy: Disabled"));
        }
    }
    if says(object, FORCED) {
        remarks.lost(field(FORCED), "set minReplicas to 1 for as long as the workload must not go to zero");
    }
    behavior
}

/// What is left of `advanced`.
pub(super) fn rest(mut advanced: Fields<'_>, remarks: &mut Remarks) {
    if advanced.flag("restoreToOriginalReplicaCount") == Some(true) {
        remarks.lost(
            advanced.path("restoreToOriginalReplicaCount"),
            "an Autoscaler leaves the size as it is when it is deleted; set it to false before you delete the ScaledObject, \
             or KEDA changes the size in the middle of the hand-over",
        );
    }
    advanced.rest(remarks, "this field is not known");
}

/// What a ScaledObject that took an HPA over leaves behind.
pub(super) fn handed_over(object: &Value, remarks: &mut Remarks) {
    if says(object, TRANSFER) {
        let why = "the ScaledObject owns an HPA that was there before it, and that is deleted with it: nothing is left to run";
        remarks.note(field(TRANSFER), why);
    }
    if annotation(object, OWNERSHIP).is_some() {
        let why = "it says whether KEDA looks for other HPAs of the target: look for one before you set mode to Auto";
        remarks.note(field(OWNERSHIP), why);
    }
}

/// What happens when metrics stay unknown.
pub(super) fn fallback(spec: &mut Fields<'_>, polling: i32, max: i32, remarks: &mut Remarks) -> Option<Value> {
    let mut fallback = spec.part("fallback");
    let replicas = fallback.number("replicas", remarks);
    let failures = fallback.number("failureThreshold", remarks);
    let behavior = fallback.text("behavior").unwrap_or_else(|| "static".to_owned());
    let (path, replicas_path) = (fallback.path("behavior"), fallback.path("replicas"));
    fallback.rest(remarks, "this field is not known");
    let replicas = replicas?;
    match behavior.as_str() {
        "static" => remarks.note(&replicas_path, "it never asks for fewer pods than there are; KEDA's does"),
        // Never fewer than there are: that is what ours does.
        "currentReplicasIfHigher" => {}
        "currentReplicas" => {
            remarks.note(&path, "currentReplicas: without a fallback the size stays as it is, so there is none");
            return None;
        }
        _ => {
            let why = "only static and currentReplicasIfHigher can be said: there is no fallback, and the size stays as it is";
            remarks.lost(&path, why);
            return None;
        }
    }
    if replicas < 1 {
        remarks.lost(&replicas_path, "a fallback has at least 1 pod: there is none, and the size stays as it is");
        return None;
    }
    if replicas > max {
        remarks.note(&replicas_path, format!("{replicas} became maxReplicas, {max}"));
    }
    let after = i64::from(failures.unwrap_or(3).max(1)) * i64::from(polling);
    Some(json!({"after": duration(after), "replicas": replicas.min(max)}))
}
