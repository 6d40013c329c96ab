//! What stands in the way of a reload, where people see it: a condition on kinds whose controllers keep the conditions of
//! others, an annotation on the rest. Not what stands in the way of whom.

use jiff::Timestamp;
use serde_json::json;
use trimtab_crds::names;
use trimtab_plan::{Plan, Severity, Subresource, Verb, Write};

use crate::Workload;
use crate::decide::tell;

/// The type of the condition.
pub const BLOCKED: &str = "ReloadBlocked";

/// What stands in the way of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// A stable code.
    pub(crate) reason: &'static str,
    /// A sentence for a person that says what to do.
    pub(crate) message: String,
}

/// Says it, or takes it back.
pub(crate) fn set(now: Timestamp, workload: &Workload, blocked: Option<Blocked>, plan: &mut Plan<()>) {
    if let Some(Blocked { reason, message }) = &blocked {
        tell(workload, Severity::Warning, reason, "Wait", message.clone(), plan);
    }
    if [names::DEPLOYMENT, names::DAEMON_SET].contains(&workload.kind) {
        condition(now, workload, blocked, plan);
    } else {
        annotation(workload, blocked, plan);
    }
}

fn condition(now: Timestamp, workload: &Workload, blocked: Option<Blocked>, plan: &mut Plan<()>) {
    let (status, reason, message) = match (&blocked, &workload.blocked) {
        (None, None) => return,
        (Some(new), Some((reason, message))) if *reason == new.reason && *message == new.message => return,
        (Some(new), _) => ("True", new.reason, new.message.as_str()),
        (None, Some(_)) => ("False", "NotBlocked", ""),
    };
    let mut condition = json!({"type": BLOCKED, "status": status, "reason": reason, "message": message});
    if blocked.is_some() != workload.blocked.is_some() {
        condition["lastTransitionTime"] = now.to_string().into();
    }
    let body = json!({"metadata": {"uid": workload.metadata.uid}, "status": {"conditions": [condition]}});
    let verb = Verb::Strategic { body, subresource: Some(Subresource::Status) };
    plan.writes.push(Write {
        target: workload.object(),
        verb,
        why: "say what stands in the way of a reload".to_owned(),
    });
}

fn annotation(workload: &Workload, blocked: Option<Blocked>, plan: &mut Plan<()>) {
    let text = blocked.map(|blocked| format!("{}: {}", blocked.reason, blocked.message));
    if workload.annotation(names::RELOAD_BLOCKED) == text.as_deref() {
        return;
    }
    let annotations = json!({ names::RELOAD_BLOCKED: text });
    let body = json!({"metadata": {"uid": workload.metadata.uid, "annotations": annotations}});
    let verb = Verb::Merge { body, subresource: None };
    plan.writes.push(Write {
        target: workload.object(),
        verb,
        why: "say what stands in the way of a reload".to_owned(),
    });
}
