//! The hold policy of `crds/src/policies.rs`, rule by rule, on JSON objects: see `policies::hold`.

use serde_json::{Value, json};
use trimtab_crds::names::{HELD, HELD_WHILE_PAUSED, PLAN, RELEASED};

/// What the policy makes of an update of a Deployment by `user`.
pub fn hold(old: &Value, new: &mut Value, user: &str) {
    let none = json!({});
    let before = old.pointer("/metadata/annotations").unwrap_or(&none);
    let Some(guard) = before[PLAN].as_str().filter(|plan| !plan.is_empty()) else { return };
    let now = new.pointer("/metadata/annotations").cloned().unwrap_or(none.clone());
    let plan = now.get(PLAN).and_then(Value::as_str).unwrap_or(guard).to_owned();
    let was_held = before[HELD].as_str().filter(|mark| *mark != RELEASED);
    let released = now[HELD].as_str() == Some(RELEASED);
    let paused = |object: &Value| object.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false);
    let hold = new["spec"]["template"] != old["spec"]["template"] || (was_held.is_some() && !released);
    let mark = match was_held {
        Some(mark) => match mark.strip_prefix(HELD_WHILE_PAUSED) {
            // Run again on its own result, the pause is back, and the mark tells that it was taken off.
            Some(rest) if !paused(new) || now[HELD].as_str() == Some(rest) => rest.to_owned(),
            _ => mark.to_owned(),
        },
        None if paused(old) => format!("{HELD_WHILE_PAUSED}by {user}"),
        None => format!("by {user}"),
    };
    if !new["metadata"]["annotations"].is_object() {
        new["metadata"]["annotations"] = none;
    }
    new["metadata"]["annotations"][PLAN] = json!(plan);
    if hold {
        new["metadata"]["annotations"][HELD] = json!(mark);
        new["spec"]["paused"] = json!(true);
    }
}
