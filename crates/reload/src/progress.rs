//! How far a workload's rollout is, as its own controller says. The rules are those of `kubectl rollout status`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta};

/// The most letters that are kept of why a rollout has failed: whoever may write a status may write much.
const SENTENCE: usize = 300;

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Progress {
    /// All pods are of the present template, and available; or nothing rolls by itself.
    Settled,
    /// Under way.
    Rolling,
    /// All pods are of the present template, whose rollout was over; some are missing or not available, since it is being scaled or
    /// they fell.
    Scaling,
    /// Its controller has given up waiting, and says why.
    Failed(String),
}

/// Which pods there are of a rollout that is under way, as its controller has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Turnover {
    /// None of the present template.
    NotBegun,
    /// Some of the present template, and of others.
    Mixed,
    /// Of the present template only.
    Whole,
}

/// How far the pods of the present template have taken the place of others.
pub(crate) fn turnover(meta: &Meta, status: &Value) -> Turnover {
    let or = |one: &str, other: &str| number(&status[one]).max(number(&status[other]));
    let updated = or("updatedReplicas", "updatedNumberScheduled");
    if observed(status).is_some_and(|observed| observed < meta.generation) || updated == 0 {
        return Turnover::NotBegun;
    }
    let all = or("replicas", "currentNumberScheduled");
    if all > updated { Turnover::Mixed } else { Turnover::Whole }
}

/// The generation that its controller has seen. Argo Rollouts writes it as text; versions before 1.0 wrote a digest there.
fn observed(status: &Value) -> Option<i64> {
    match &status["observedGeneration"] {
        Value::String(text) => text.parse().ok(),
        other => Some(number(other)),
    }
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
        return rollout(meta, spec, status);
    } else {
        false
    };
    match rolling {
        false => Progress::Settled,
        true if is_scaling(kind, meta, spec, status) => Progress::Scaling,
        true => Progress::Rolling,
    }
}

/// A Rollout of Argo Rollouts. Its phase is that of what its controller has seen, which may be the time before a change.
fn rollout(meta: &Meta, spec: &Value, status: &Value) -> Progress {
    let observed = observed(status).filter(|_| status["observedGeneration"].is_string());
    let seconds = |value: &Value| value.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second);
    let restarts = seconds(&spec["restartAt"]).is_some_and(|at| seconds(&status["restartedAt"]) != Some(at));
    if observed.is_some_and(|observed| observed < meta.generation) || restarts {
        return Progress::Rolling;
    }
    match status["phase"].as_str() {
        Some("Degraded") => Progress::Failed(text(&status["message"])),
        None | Some("Healthy") => Progress::Settled,
        Some(_) => Progress::Rolling,
    }
}

/// Whether the controller has said that the rollout of the present template is over, and nothing of another is there. A DaemonSet's
/// says no such thing.
fn is_scaling(kind: Kind, meta: &Meta, spec: &Value, status: &Value) -> bool {
    if unobserved(meta, status) {
        return false;
    }
    if kind == names::DEPLOYMENT {
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        return conditions.any(|c| c["type"] == "Progressing" && c["reason"] == "NewReplicaSetAvailable")
            && number(&status["replicas"]) <= number(&status["updatedReplicas"]);
    }
    let (current, updated) = (&status["currentRevision"], &status["updateRevision"]);
    // Behind a partition the two never become one.
    let whole = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]) == 0;
    kind == names::STATEFUL_SET && whole && updated.is_string() && current == updated
}

fn given_up(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let failed = conditions.iter().find(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded")?;
    Some(text(&failed["message"]))
}

/// What a controller says, of which everybody that waits for the same is told.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let end = text.char_indices().nth(SENTENCE).map(|(end, _)| end);
    end.map_or_else(|| text.to_owned(), |end| format!("{}…", text.get(..end).unwrap_or_default()))
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
    fn a_deployment_whose_rollout_is_over_is_scaled() {
        let of = |reason: &str, all, updated, available, expected| {
            let conditions = json!([{"type": "Progressing", "status": "True", "reason": reason}]);
            let status = json!({"observedGeneration": 2, "replicas": all, "updatedReplicas": updated,
                "availableReplicas": available, "conditions": conditions});
            check(names::DEPLOYMENT, json!({"replicas": 4}), status, &expected);
        };
        of("NewReplicaSetAvailable", 2, 2, 2, Progress::Scaling);
        of("NewReplicaSetAvailable", 4, 4, 2, Progress::Scaling);
        of("NewReplicaSetAvailable", 4, 4, 4, Progress::Settled);
        // The reason is of the rollout before.
        of("NewReplicaSetAvailable", 4, 1, 4, Progress::Rolling);
        of("ReplicaSetUpdated", 4, 4, 2, Progress::Rolling);
        let conditions = json!([{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]);
        let unobserved =
            json!({"observedGeneration": 1, "replicas": 4, "updatedReplicas": 4, "conditions": conditions});
        check(names::DEPLOYMENT, json!({"replicas": 4}), unobserved, &Progress::Rolling);
    }

    #[test]
    fn a_rollout_that_has_not_been_seen_has_not_settled() {
        let of = |spec: Value, status: Value, expected| check(names::ROLLOUT, spec, status, &expected);
        of(json!({}), json!({"phase": "Healthy", "observedGeneration": "1"}), Progress::Rolling);
        of(json!({}), json!({"phase": "Degraded", "observedGeneration": "1"}), Progress::Rolling);
        of(json!({}), json!({"phase": "Healthy", "observedGeneration": "2"}), Progress::Settled);
        of(json!({}), json!({"phase": "Healthy", "observedGeneration": "5d8b6f"}), Progress::Settled);
        of(json!({}), json!({"phase": "Progressing", "observedGeneration": "2"}), Progress::Rolling);
        of(json!({}), json!({"phase": "Degraded", "message": "m"}), Progress::Failed("m".to_owned()));
        let asked = json!({"restartAt": "2026-01-01T00:00:05.123Z"});
        let seen = |at: &str| json!({"phase": "Healthy", "observedGeneration": "2", "restartedAt": at});
        of(asked.clone(), seen("2026-01-01T00:00:05Z"), Progress::Settled);
        of(asked.clone(), seen("2025-01-01T00:00:05Z"), Progress::Rolling);
        of(asked, json!({"phase": "Healthy", "observedGeneration": "2"}), Progress::Rolling);
    }

    #[test]
    fn what_a_controller_says_of_a_failure_is_shortened() {
        let status = |message: &str| json!({"phase": "Degraded", "message": message});
        let said = |letters: usize, end: &str| Progress::Failed("ä".repeat(letters) + end);
        check(names::ROLLOUT, json!({}), status(&"ä".repeat(300)), &said(300, ""));
        check(names::ROLLOUT, json!({}), status(&"ä".repeat(1 << 20)), &said(300, "…"));
        let condition = |message: &str| {
            let reason = "ProgressDeadlineExceeded";
            json!({"conditions": [{"type": "Progressing", "status": "False", "reason": reason, "message": message}]})
        };
        check(names::DEPLOYMENT, json!({}), condition(&"ä".repeat(301)), &said(300, "…"));
    }

    #[test]
    fn which_pods_there_are_of_a_rollout_is_told_by_its_controller() {
        let of = |status: Value, expected| {
            let meta = Meta { generation: 2, ..Meta::default() };
            assert_eq!(turnover(&meta, &status), expected, "{status}");
        };
        of(json!({}), Turnover::NotBegun);
        of(json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}), Turnover::NotBegun);
        of(json!({"observedGeneration": 2, "replicas": 1}), Turnover::NotBegun);
        of(json!({"observedGeneration": "2", "replicas": 2, "updatedReplicas": 1}), Turnover::Mixed);
        of(json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}), Turnover::Whole);
        let set = json!({"observedGeneration": 2, "currentNumberScheduled": 3, "updatedNumberScheduled": 1});
        of(set, Turnover::Mixed);
    }

    #[test]
    fn sets_are_settled_as_kubectl_says() {
        let status = json!({"observedGeneration": 2, "readyReplicas": 1, "updatedReplicas": 1,
            "currentRevision": "a", "updateRevision": "a"});
        check(names::STATEFUL_SET, json!({"replicas": 1}), status.clone(), &Progress::Settled);
        check(names::STATEFUL_SET, json!({"replicas": 2}), status.clone(), &Progress::Scaling);
        let mut rolls = status;
        rolls["updateRevision"] = json!("b");
        check(names::STATEFUL_SET, json!({"replicas": 2}), rolls, &Progress::Rolling);
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        check(names::STATEFUL_SET, on_delete.clone(), json!({}), &Progress::Settled);
        let status = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2,
            "numberAvailable": 1});
        check(names::DAEMON_SET, json!({}), status.clone(), &Progress::Rolling);
        check(names::DAEMON_SET, on_delete, status, &Progress::Settled);
    }
}
