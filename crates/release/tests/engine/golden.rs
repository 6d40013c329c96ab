//! Golden plans: single situations in `tests/golden/<case>/snapshot.yaml`, what is decided in `plan.yaml` beside them.
//! `UPDATE_GOLDEN=1` writes the plans anew; read the difference before committing it.

use std::{fs, path::Path, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_plan::{Answer, Outcome, Verb, Wake, Write};
use trimtab_release::{Snapshot, conclude, decide, template_digest};

const NOW: &str = "2026-01-01T00:00:00Z";
const IMAGES: [&str; 4] = ["app:0", "app:1", "app:2", "app:3"];

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn digest(image: &str) -> String {
    template_digest(&template(image))
}

/// `<now-30s>` becomes a time, `<app:1>` the digest of that image's template.
fn absolute(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(relative) = text.strip_prefix("<now").and_then(|t| t.strip_suffix("s>")) {
                let seconds: i64 = relative.parse().unwrap_or_else(|_| panic!("{text} is no time"));
                *text = (now() + SignedDuration::from_secs(seconds)).to_string();
            } else if let Some(image) = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')) {
                *text = digest(image);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(absolute),
        Value::Object(map) => map.values_mut().for_each(absolute),
        _ => {}
    }
}

/// The other way round.
fn relative(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = format!("<now{:+}s>", time.as_second() - now().as_second());
            }
            for image in IMAGES {
                *text = text.replace(&digest(image), &format!("<{image}>"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(relative),
        Value::Object(map) => map.values_mut().for_each(relative),
        _ => {}
    }
}

fn merge(target: &mut Value, more: &Value) {
    match (target.as_object_mut(), more.as_object()) {
        (Some(target), Some(more)) => {
            for (key, value) in more {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ if more.is_null() => {}
        _ => *target = more.clone(),
    }
}

fn or(value: &Value, fallback: impl Into<Value>) -> Value {
    if value.is_null() { fallback.into() } else { value.clone() }
}

/// A guarded Deployment of four pods, all there, unless the case says otherwise.
fn deployment(case: &Value) -> Value {
    let replicas = or(&case["replicas"], 4);
    let mut annotations = json!({names::PLAN: or(&case["plan"], "web"), names::REVISION: or(&case["revision"], "1")});
    if case["plan"] == json!("-") {
        annotations.as_object_mut().unwrap().remove(names::PLAN);
    }
    if !case["held"].is_null() {
        annotations[names::HELD] = case["held"].clone();
    }
    let generation = or(&case["generation"], 5);
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-deployment", "generation": generation,
                     "creationTimestamp": "2025-12-01T00:00:00Z", "annotations": annotations},
        "spec": {
            "replicas": replicas, "paused": or(&case["paused"], !case["held"].is_null() && case["held"] != "released"),
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": or(&case["strategy"], "RollingUpdate"),
                         "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template(case["image"].as_str().unwrap_or("app:1")),
        },
        "status": {"observedGeneration": or(&case["observed"], generation), "replicas": or(&case["pods"], replicas.clone()),
                   "updatedReplicas": or(&case["updated"], replicas.clone()),
                   "availableReplicas": or(&case["available"], replicas)},
    })
}

/// A plan with one weight and a pause, and the stable revision `app:1` in ReplicaSet `web-a`.
fn plan(case: &Value) -> Value {
    let name = or(&case["name"], "web");
    let mut plan = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": or(&case["uid"], "uid-plan"), "generation": 1,
                     "creationTimestamp": or(&case["created"], "2025-12-02T00:00:00Z"), "annotations": {}},
        "spec": {"targetRef": {"name": "web"},
                 "strategy": {"canary": {"steps": or(&case["steps"], json!([{"setWeight": 20}, {"pause": {}}]))}}},
        "status": {"target": {"uid": "uid-deployment"}, "sequence": 1,
                   "stable": {"digest": digest("app:1"), "replicaSet": "web-a"}},
    });
    if !case["request"].is_null() {
        plan["metadata"]["annotations"][names::REQUEST] = case["request"].clone();
    }
    if !case["release"].is_null() {
        plan["status"]["release"] = release_progress(&case["release"], &plan["spec"]["strategy"]["canary"]["steps"]);
    }
    merge(&mut plan["spec"], &case["spec"]);
    merge(&mut plan["status"], &case["status"]);
    for gone in case["without"].as_array().into_iter().flatten() {
        plan["status"].as_object_mut().unwrap().remove(gone.as_str().unwrap());
    }
    if case["fresh"] == json!(true) {
        plan.as_object_mut().unwrap().remove("status");
    }
    plan
}

/// A release of `app:2` in its first step, for a minute.
fn release_progress(case: &Value, steps: &Value) -> Value {
    let mut progress = json!({
        "name": "web-1", "digest": digest("app:2"), "by": "alice", "startedAt": "<now-60s>", "stage": "Steps",
        "stageStartedAt": "<now-60s>", "step": 0, "stepStartedAt": "<now-60s>", "unavailableSince": "<now-60s>",
        "stepsDigest": template_digest(steps), "weight": 20,
        "canary": {"replicaSet": "web-c", "fromHistory": false, "replicas": 1},
    });
    if case["canary"] == json!("-") {
        progress.as_object_mut().unwrap().remove("canary");
    }
    let mut case = case.clone();
    if case["canary"] == json!("-") {
        case.as_object_mut().unwrap().remove("canary");
    }
    merge(&mut progress, &case);
    progress
}

fn replica_set(case: &Value) -> Value {
    let (kind, uid, group) = match case["of"].as_str().unwrap_or("deployment") {
        "deployment" => ("Deployment", "uid-deployment", "apps/v1"),
        "plan" => ("ReleasePlan", "uid-plan", "trimtab.dev/v1alpha1"),
        other => ("Somebody", other, "v1"),
    };
    let replicas = or(&case["replicas"], 0);
    let mut annotations = json!({});
    if kind == "Deployment" {
        annotations[names::PLAN] = json!("web");
        annotations[names::REVISION] = or(&case["revision"], "1");
    } else {
        annotations[names::CANARY_OF] = json!("web");
    }
    let mut template = template(case["image"].as_str().unwrap());
    merge(&mut template, &case["template"]);
    template["metadata"]["labels"][names::POD_TEMPLATE_HASH] = json!("x");
    json!({
        "metadata": {"name": case["name"], "namespace": "shop", "uid": format!("uid-{}", case["name"].as_str().unwrap()),
                     "generation": 2, "creationTimestamp": or(&case["created"], "2025-12-03T00:00:00Z"),
                     "annotations": annotations, "ownerReferences": [{
                         "apiVersion": group, "kind": kind, "name": "web", "uid": uid, "controller": true}]},
        "spec": {"replicas": replicas, "template": template},
        "status": {"observedGeneration": or(&case["observed"], 2), "replicas": or(&case["pods"], replicas.clone()),
                   "availableReplicas": or(&case["available"], replicas), "conditions": or(&case["conditions"], json!([]))},
    })
}

fn pod(case: &Value) -> Value {
    let owner = format!("uid-{}", case["set"].as_str().unwrap());
    json!({
        "metadata": {"name": "web-pod", "namespace": "shop", "uid": "uid-pod", "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": case["set"], "uid": owner, "controller": true}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "web", "restartCount": 1, "state": {"waiting": {"reason": case["waiting"]}}}]},
    })
}

fn release(case: &Value) -> Value {
    let mut release = json!({
        "metadata": {"name": case["name"], "namespace": "shop", "uid": format!("uid-{}", case["name"].as_str().unwrap()),
                     "ownerReferences": [{"apiVersion": "trimtab.dev/v1alpha1", "kind": "ReleasePlan", "name": "web",
                                          "uid": "uid-plan", "controller": true}]},
        "spec": {"plan": "web", "target": "web", "sequence": or(&case["sequence"], 1), "digest": digest("app:2")},
    });
    if !case["status"].is_null() {
        release["status"] = json!({"result": "Promoted", "message": "promoted", "startedAt": NOW});
        merge(&mut release["status"], &case["status"]);
    }
    release
}

fn read<T: DeserializeOwned>(cases: &Value, make: impl Fn(&Value) -> Value) -> Vec<Arc<T>> {
    let cases = cases.as_array().cloned().unwrap_or_default();
    let one = |case: &Value| {
        let mut object = make(case);
        absolute(&mut object);
        Arc::new(serde_json::from_str(&object.to_string()).unwrap_or_else(|e| panic!("{e}: {object}")))
    };
    cases.iter().map(one).collect()
}

fn snapshot(case: &Value) -> Snapshot {
    let listed = |key: &str| if case[key].is_null() { json!([]) } else { json!([case[key]]) };
    let plans = if case["plans"].is_null() { listed("plan") } else { case["plans"].clone() };
    let mut seen = Snapshot {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        deployment: read(&listed("deployment"), deployment).pop(),
        plans: read(&plans, plan),
        replica_sets: read(&case["sets"], replica_set),
        canary_pods: read(&case["pods"], pod),
        releases: read(&case["releases"], release),
        ..Snapshot::default()
    };
    for (id, answer) in case["answers"].as_object().into_iter().flatten() {
        let id = IMAGES.iter().fold(id.clone(), |id, image| id.replace(&format!("<{image}>"), &digest(image)));
        let answer = if answer.is_null() { Answer::NotFound } else { Answer::Object(answer.clone()) };
        seen.answers.insert(id, answer);
    }
    seen
}

fn write(write: &Write) -> Value {
    let mut shown = json!({"to": write.target.to_string(), "why": write.why});
    match &write.verb {
        Verb::Patch { ops, subresource } => {
            let key = if subresource.is_some() { "patch-status" } else { "patch" };
            shown[key] = ops
                .iter()
                .map(|op| {
                    let op = serde_json::to_value(op).unwrap();
                    let line =
                        format!("{} {} {}", op["op"].as_str().unwrap(), op["path"].as_str().unwrap(), op["value"]);
                    Value::String(line)
                })
                .collect();
        }
        Verb::Create { body } => shown["create"] = body.clone(),
        Verb::Merge { body, .. } => shown["merge"] = body.clone(),
        Verb::Delete { uid, .. } => shown["delete"] = json!(uid),
        other => panic!("{other:?} is not expected"),
    }
    shown
}

/// What is decided, for people to read: reasons, writes, what follows in the status.
fn outcome(seen: &Snapshot) -> Value {
    let plan = decide(now(), seen);
    let said = conclude(now(), seen, &plan, &Outcome::default());
    let mut status = serde_json::to_value(&plan.status).unwrap();
    if let Some(conditions) = status.get_mut("conditions") {
        let short = |c: &Value| {
            let text = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
            Value::String(format!("{}={} {}", text("type"), text("status"), text("reason")))
        };
        *conditions = conditions.as_array().unwrap().iter().map(short).collect();
    }
    let wake = match plan.wake {
        Wake::OnChange => "on change".to_owned(),
        Wake::At(at) => at.to_string(),
    };
    let mut shown = json!({
        "because": plan.because.iter().map(|b| format!("{}: {}", b.reason, b.message)).collect::<Vec<_>>(),
        "writes": plan.writes.iter().map(write).collect::<Vec<_>>(),
        "housekeeping": plan.housekeeping.iter().map(|chore| write(&chore.write)).collect::<Vec<_>>(),
        "asks": plan.asks.iter().map(|ask| ask.id.clone()).collect::<Vec<_>>(),
        "notices": plan.notices.iter().map(|n| format!("{:?} {}: {}", n.severity, n.reason, n.note)).collect::<Vec<_>>(),
        "wake": wake,
        "statusWritten": said.is_some(),
        "status": status,
    });
    if plan.housekeeping.is_empty() {
        shown.as_object_mut().unwrap().remove("housekeeping");
    }
    relative(&mut shown);
    shown
}

fn check_case(folder: &Path) -> Result<(), String> {
    let case: Value = serde_saphyr::from_str(&fs::read_to_string(folder.join("snapshot.yaml")).unwrap())
        .map_err(|e| format!("{}: {e}", folder.display()))?;
    let got = serde_saphyr::to_string(&outcome(&snapshot(&case))).unwrap();
    let golden = folder.join("plan.yaml");
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        fs::write(&golden, &got).unwrap();
    }
    let wanted = fs::read_to_string(&golden).unwrap_or_default();
    if got == wanted { Ok(()) } else { Err(format!("{} differs; decided now:\n{got}", golden.display())) }
}

#[test]
fn every_situation_is_decided_as_its_golden_plan_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let wrong: Vec<String> = folders.iter().filter_map(|folder| check_case(folder).err()).collect();
    assert!(folders.len() >= 20 && wrong.is_empty(), "{} of {}:\n{}", wrong.len(), folders.len(), wrong.join("\n"));
}
