//! The hold policy of `crds/src/policies/hold.rs`, rule by rule, on JSON objects.

use serde_json::{Value, json};
use trimtab_config::{Pins, Source};
use trimtab_crds::mark::{LET_GO, NOTED_AT, RELEASED_AT, is_released};
use trimtab_crds::names::{CANARY_OF, CONFIG, DIGEST, HELD, HELD_WHILE_PAUSED, PLAN, RELEASED, WAKE_TO};

/// Who writes, and how.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    pub user: &'r str,
    /// Whether the user may write the status of plans.
    pub keeps_releases: bool,
    /// Whether the annotations come from a manifest that is applied.
    pub applied: bool,
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

fn paused(object: &Value) -> bool {
    object.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false)
}

/// What the policy makes of an update of a Deployment.
pub fn hold(old: &Value, new: &mut Value, request: Request<'_>) {
    let Some(guard) = annotation(old, PLAN).filter(|plan| !plan.is_empty()) else { return };
    let changed = new["spec"]["template"] != old["spec"]["template"];
    let opts_out = annotation(new, PLAN) == Some("") && !is_meant(old, new, request);
    let plan = annotation(new, PLAN).filter(|_| !changed && !opts_out).unwrap_or(guard).to_owned();
    let was = annotation(old, HELD).unwrap_or_default();
    let held = !was.is_empty() && !is_released(was) && paused(old);
    let meant = is_meant(old, new, request);
    let released = held && !changed && meant && releases(old, new, request);
    let hold = changed || (held && !released);
    let mark = match hold {
        true => held_mark(old, new, held, request.user),
        false if released => release_mark(old, request.user),
        false if !held && meant && stops(old, new, request) => annotation(new, HELD).unwrap_or_default().to_owned(),
        false if plan.is_empty() && annotation(new, HELD) == Some(LET_GO) && was != LET_GO => LET_GO.to_owned(),
        false if is_released(was) && was != LET_GO => was.to_owned(),
        false => String::new(),
    };
    if !new["metadata"]["annotations"].is_object() {
        new["metadata"]["annotations"] = json!({});
    }
    let annotations = new["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.insert(PLAN.to_owned(), json!(plan));
    [HELD, CANARY_OF, DIGEST].iter().for_each(|name| drop(annotations.remove(*name)));
    if !mark.is_empty() {
        annotations.insert(HELD.to_owned(), json!(mark));
    }
    if hold {
        new["spec"]["paused"] = json!(true);
    }
    // What sleeps is woken by whoever keeps the release.
    let note = note(old, new, changed);
    if changed && asleep(old) && !asleep(new) {
        new["spec"]["replicas"] = json!(0);
    }
    set(new, WAKE_TO, note);
}

fn asleep(object: &Value) -> bool {
    object["spec"]["replicas"] == 0
}

/// What was asked for of a Deployment that has no replicas after the write.
fn note(old: &Value, new: &Value, changed: bool) -> Option<String> {
    let stamp = format!("{NOTED_AT}{}", old["metadata"]["generation"]);
    if changed && asleep(old) && !asleep(new) {
        return Some(format!("{}{stamp}", new["spec"]["replicas"]));
    }
    let brought = annotation(new, WAKE_TO).filter(|_| asleep(new))?;
    // Run again on its own result.
    let own = Some(brought).filter(|note| changed && asleep(old) && note.ends_with(&stamp));
    own.or(annotation(old, WAKE_TO)).map(str::to_owned)
}

fn set(object: &mut Value, name: &str, value: Option<String>) {
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    match value {
        Some(value) => drop(annotations.insert(name.to_owned(), json!(value))),
        None => drop(annotations.remove(name)),
    }
}

/// Whether a write is made for the very object that is stored, and by nobody's manifest.
fn is_meant(old: &Value, new: &Value, request: Request<'_>) -> bool {
    ["uid", "generation"].iter().all(|field| new["metadata"][*field] == old["metadata"][*field]) && !request.applied
}

fn releases(old: &Value, new: &Value, request: Request<'_>) -> bool {
    let wish = annotation(new, HELD).unwrap_or_default();
    !paused(new) && (wish == RELEASED || wish == release_mark(old, request.user))
}

fn release_mark(old: &Value, user: &str) -> String {
    format!("{RELEASED_AT}{} by {user}", old["metadata"]["generation"])
}

/// Whether a write stops what rolls, or what a person has paused, in the name of whoever changed it.
fn stops(old: &Value, new: &Value, request: Request<'_>) -> bool {
    let mark = annotation(new, HELD).unwrap_or_default();
    let mark = if paused(old) { mark.strip_prefix(HELD_WHILE_PAUSED).unwrap_or(mark) } else { mark };
    request.keeps_releases && paused(new) && mark.starts_with("by ")
}

fn held_mark(old: &Value, new: &Value, held: bool, user: &str) -> String {
    let was = annotation(old, HELD).unwrap_or_default();
    match was.strip_prefix(HELD_WHILE_PAUSED) {
        _ if !held && paused(old) => format!("{HELD_WHILE_PAUSED}by {user}"),
        _ if !held => format!("by {user}"),
        // Run again on its own result, the pause is back, and the mark tells that it was taken off.
        Some(rest) if !paused(new) || annotation(new, HELD) == Some(rest) => rest.to_owned(),
        _ => was.to_owned(),
    }
}

/// What the policy makes of an update of a Deployment's status: its own annotations stay.
pub fn keep(old: &Value, new: &mut Value) {
    if annotation(old, PLAN).is_none_or(str::is_empty) {
        return;
    }
    if !new["metadata"]["annotations"].is_object() {
        new["metadata"]["annotations"] = json!({});
    }
    for name in [PLAN, HELD] {
        set(new, name, annotation(old, name).map(str::to_owned));
    }
    set(new, WAKE_TO, annotation(old, WAKE_TO).filter(|_| asleep(old)).map(str::to_owned));
}

/// What the policy that freezes configuration makes of a pod that reads ConfigMaps and Secrets by its volumes.
pub fn freeze(mut pod: Value) -> Value {
    let pins = Pins::in_template(annotation(&pod, CONFIG));
    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        let map = volume["configMap"]["name"].as_str().map(Source::config_map);
        let secret = volume["secret"]["secretName"].as_str().map(Source::secret);
        if let Some((source, pin)) = map.and_then(|source| Some((source.clone(), pins.get(&source)?.clone()))) {
            volume["configMap"]["name"] = json!(pin.copy_name(&source));
        }
        if let Some((source, pin)) = secret.and_then(|source| Some((source.clone(), pins.get(&source)?.clone()))) {
            volume["secret"]["secretName"] = json!(pin.copy_name(&source));
        }
    }
    pod
}
