//! How far a workload's rollout is, as its own controller says. The rules are those of `kubectl rollout status`.

use serde::Serialize;
use serde_json::Value;
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta};

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Progress {
    /// All pods are of the present template, and available; or nothing rolls by itself.
    Settled,
    /// Under way.
    Rolling,
    /// Its controller has given up waiting, and says why.
    Failed(String),
}

pub(crate) fn progress(kind: Kind, meta: &Meta, spec: &Value, status: &Value) -> Progress {
    let rolling = if kind == names::DEPLOYMENT {
        if let Some(reason) = given_up(status) {
            return Progress::Failed(reason);
        }
        deployment_rolls(meta, spec, status)
    } else if kind == names::STATEFUL_SET {
        stateful_set_rolls(meta, spec, status)
    } else if kind == names::DAEMON_SET {
        daemon_set_rolls(meta, spec, status)
    } else if kind == names::ROLLOUT {
        match status["phase"].as_str() {
            Some("Degraded") => return Progress::Failed(text(&status["message"])),
            phase => phase.is_some_and(|phase| phase != "Healthy"),
        }
    } else {
        false
    };
    if rolling { Progress::Rolling } else { Progress::Settled }
}

fn given_up(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let failed = conditions.iter().find(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded")?;
    Some(text(&failed["message"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn unobserved(meta: &Meta, status: &Value) -> bool {
    number(&status["observedGeneration"]) < meta.generation
}

fn deployment_rolls(meta: &Meta, spec: &Value, status: &Value) -> bool {
    if spec["paused"].as_bool().unwrap_or(false) {
        return false;
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let (all, updated) = (number(&status["replicas"]), number(&status["updatedReplicas"]));
    unobserved(meta, status) || updated < wanted || all > updated || number(&status["availableReplicas"]) < updated
}

fn stateful_set_rolls(meta: &Meta, spec: &Value, status: &Value) -> bool {
    let strategy = &spec["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return false;
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let partition = number(&strategy["rollingUpdate"]["partition"]);
    let ready = number(&status["readyReplicas"]);
    // The controller moves the current revision to the update revision when all pods below no partition are of it.
    let behind = partition == 0 && status["currentRevision"] != status["updateRevision"];
    unobserved(meta, status) || ready < wanted || number(&status["updatedReplicas"]) < wanted - partition || behind
}

fn daemon_set_rolls(meta: &Meta, spec: &Value, status: &Value) -> bool {
    if spec["updateStrategy"]["type"] == "OnDelete" {
        return false;
    }
    let wanted = number(&status["desiredNumberScheduled"]);
    unobserved(meta, status)
        || number(&status["updatedNumberScheduled"]) < wanted
        || number(&status["numberAvailable"]) < wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: Kind, spec: Value, status: Value, expected: &Progress) {
        let meta = Meta { generation: 2, ..Meta::default() };
        assert_eq!(progress(kind, &meta, &spec, &status), *expected, "{spec} {status}");
    }

    #[test]
    fn a_deployment_is_settled_when_every_pod_is_new_and_available() {
        let status = |all, updated, available| json!({"observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available});
        let of = |status, expected| check(names::DEPLOYMENT, json!({"replicas": 2}), status, &expected);
        of(status(2, 2, 2), Progress::Settled);
        of(status(3, 2, 2), Progress::Rolling);
        of(status(2, 1, 2), Progress::Rolling);
        of(status(2, 2, 1), Progress::Rolling);
        of(
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
            Progress::Rolling,
        );
        check(names::DEPLOYMENT, json!({"replicas": 2, "paused": true}), json!({}), &Progress::Settled);
        let failed = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "too slow"}]);
        of(json!({"conditions": failed}), Progress::Failed("too slow".to_owned()));
    }

    #[test]
    fn sets_are_settled_as_kubectl_says() {
        let status = json!({"observedGeneration": 2, "readyReplicas": 1, "updatedReplicas": 1,
            "currentRevision": "a", "updateRevision": "a"});
        check(names::STATEFUL_SET, json!({"replicas": 1}), status.clone(), &Progress::Settled);
        check(names::STATEFUL_SET, json!({"replicas": 2}), status, &Progress::Rolling);
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        check(names::STATEFUL_SET, on_delete.clone(), json!({}), &Progress::Settled);
        let status = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2,
            "numberAvailable": 1});
        check(names::DAEMON_SET, json!({}), status.clone(), &Progress::Rolling);
        check(names::DAEMON_SET, on_delete, status, &Progress::Settled);
    }
}
