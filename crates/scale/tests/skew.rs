//! An Autoscaler of a later version, with one value more in each enum of its CRD: it is looked after as far as it is understood, says
//! what is not, and is in nobody's way but of those that would set the same size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

use std::fs;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trimtab_crds::{ScaleMode, names};
use trimtab_plan::{Answers, Outcome};
use trimtab_scale::{AutoscalerView, Options, Scaled, Seen, Unread, conclude, reconcile};

/// A value that no version knows.
const LATER: &str = "OfALaterVersion";

/// A part of a path in an object.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Item,
}

/// The schema of the Autoscaler's spec or status.
fn schema(part: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds/autoscalers.trimtab.dev.yaml");
    let crd: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part].clone()
}

/// A value with every field that a schema has.
fn sample(schema: &Value) -> Value {
    if let Some(one) = schema["enum"].as_array().and_then(|all| all.iter().find(|one| !one.is_null())) {
        return one.clone();
    }
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        return json!("1");
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().cloned().unwrap_or_default();
            let fields = fields.iter().map(|(name, schema)| (name.clone(), sample(schema)));
            let more = schema["additionalProperties"].is_object();
            let more = more.then(|| ("any".to_owned(), sample(&schema["additionalProperties"])));
            Value::Object(fields.chain(more).collect::<Map<_, _>>())
        }
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer") => json!(schema["minimum"].as_f64().map_or(1, |least| least as i64).max(1)),
        Some("number") => json!(1.0),
        Some("boolean") => json!(true),
        _ if schema["format"] == "date-time" => json!("2026-03-01T00:00:00Z"),
        // Durations have a pattern with units, and so has nothing else.
        _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms|s|m|h")) => json!("1m"),
        _ => json!("1"),
    }
}

/// Where a schema has enums.
fn enums(schema: &Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    if schema["enum"].is_array() {
        found.push(path.clone());
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        path.push(Step::Field(name.clone()));
        enums(schema, path, found);
        path.pop();
    }
    if schema["items"].is_object() {
        path.push(Step::Item);
        enums(&schema["items"], path, found);
        path.pop();
    }
}

/// The value with another one in a place.
fn with(mut value: Value, path: &[Step], new: &str) -> Value {
    let place = path.iter().fold(&mut value, |place, step| match step {
        Step::Field(name) => &mut place[name],
        Step::Item => &mut place[0],
    });
    *place = json!(new);
    value
}

fn autoscaler(spec: &Value, status: &Value) -> AutoscalerView {
    let metadata = json!({"name": "web", "namespace": "ns", "uid": "a", "generation": 2});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn seen(autoscaler: AutoscalerView) -> Seen {
    let object = json!({"metadata": {"name": "1", "namespace": "ns", "uid": "t"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 1}});
    Seen {
        autoscaler: Arc::new(autoscaler),
        kind: Some(names::DEPLOYMENT),
        target: Some(Arc::new(Scaled::read(&object).unwrap())),
        pods: vec![],
        release: None,
        others: vec![],
        neighbours: 1,
        crowd: 1,
        answers: Answers::new(),
        options: Options::default(),
        unread: Unread::default(),
    }
}

fn both() -> (Value, Value) {
    (sample(&schema("spec")), sample(&schema("status")))
}

fn places(part: &str) -> Vec<Vec<Step>> {
    let mut found = vec![];
    enums(&schema(part), &mut vec![], &mut found);
    found
}

#[test]
fn what_has_every_field_is_read_whole() {
    let (spec, status) = both();
    let view = autoscaler(&spec, &status);
    assert_eq!(view.unread, None);
    assert!(view.newer.spec.is_empty(), "{:?}", view.newer);
    let status = view.status.unwrap();
    assert_eq!((status.history.recommendations.len(), status.conditions.len()), (1, 1));
    assert_eq!(status.decision.unwrap().stages.len(), 1);
}

#[test]
fn a_value_of_a_later_version_in_the_spec_is_named_and_nothing_is_written_but_that() {
    let (spec, status) = both();
    let places = places("spec");
    assert!(places.len() > 10, "{places:?}");
    let now: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    for place in places {
        let view = autoscaler(&with(spec.clone(), &place, LATER), &status);
        assert!(
            view.unread.as_ref().is_some_and(|why| why.starts_with("spec.") && why.contains(LATER)),
            "{place:?}: {:?}",
            view.unread
        );
        // It counts beside others as before.
        assert_eq!((view.spec.target_ref.name.as_str(), view.spec.mode), ("1", ScaleMode::Auto), "{place:?}");
        let seen = seen(view);
        let plan = reconcile(now, &seen);
        assert_eq!((plan.writes.len(), plan.asks.len()), (0, 0), "{place:?}");
        let write = conclude(now, &seen, &plan, &Outcome::default()).unwrap();
        let conditions = write.status["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("NewerAutoscaler")), "{place:?}");
        assert!(ready["message"].as_str().unwrap().contains(LATER), "{ready}");
        assert_eq!(write.status["history"], status["history"], "{place:?}: what is remembered stays");
    }
}

#[test]
fn a_value_of_a_later_version_in_the_status_is_left_out_and_the_memory_counts() {
    let (spec, status) = both();
    let places = places("status");
    assert!(places.len() >= 3, "{places:?}");
    let whole = autoscaler(&spec, &status).status.unwrap();
    for place in places {
        let view = autoscaler(&spec, &with(status.clone(), &place, LATER));
        assert_eq!(view.unread, None, "{place:?}");
        let read = view.status.unwrap();
        assert_eq!((&read.history, read.last_scale_time), (&whole.history, whole.last_scale_time), "{place:?}");
        if place.first() != Some(&Step::Field("conditions".to_owned())) {
            assert_eq!(read.conditions, whole.conditions, "{place:?}");
        }
    }
}

#[test]
fn a_status_of_nothing_but_later_values_is_no_reason_to_forget_the_history() {
    let (spec, mut status) = both();
    let stage = with(status["decision"]["stages"][0].clone(), &[Step::Field("stage".to_owned())], LATER);
    status["decision"]["stages"] = Value::Array(vec![stage; 200]);
    let read = autoscaler(&spec, &status).status.unwrap();
    assert_eq!((read.decision, read.history.recommendations.len()), (None, 1));
}
