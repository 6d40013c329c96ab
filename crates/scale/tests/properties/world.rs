//! Snapshots, specs and time for the properties. Nothing is checked here.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::{Milli, Recommendation, ScaleEvent, ScaleHistory, names};
use trimtab_plan::Answers;
use trimtab_scale::{Observation, Options, ScaleSnapshot, Scaled, Seen, Unread};

/// A moment so many seconds after the beginning.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A snapshot of a workload of so many pods, which are not told.
pub(crate) fn snapshot(spec: Value, size: i32) -> ScaleSnapshot {
    let mut spec = spec;
    spec["targetRef"] = json!({"kind": "Deployment", "name": "web"});
    let target = json!({"replicas": size, "statusReplicas": size});
    serde_json::from_value(json!({"spec": spec, "target": target})).unwrap()
}

/// An External metric with an average of 1, which so asks for as many pods as its value is.
pub(crate) fn external(name: &str) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    json!({"type": "External", "external": {"metric": {"name": name}, "target": target}})
}

/// A metric of pods that should be 1.
pub(crate) fn of_pods() -> Value {
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    json!({"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": target}})
}

pub(crate) fn total(milli: i64) -> Observation {
    Observation::Total { values: vec![Milli(milli)], at: None }
}

/// Some `behavior`, or none.
pub(crate) fn behaviors() -> impl Strategy<Value = Value> {
    let policy = (prop::bool::ANY, 1..60i32, prop::sample::select(vec![1, 15, 60, 300])).prop_map(|(pods, value, time)| {
        json!({"type": if pods { "Pods" } else { "Percent" }, "value": value, "periodSeconds": time})
    });
    let rules = (
        prop::option::of(prop::sample::select(vec![0, 1, 30, 300])),
        prop::option::of(prop::sample::select(vec!["Max", "Min", "Disabled"])),
        prop::option::of(prop::collection::vec(policy, 1..3)),
    );
    let rules = rules.prop_map(|(window, select, policies)| {
        let mut rules = json!({});
        let mut put = |name: &str, value: Option<Value>| value.map(|value| rules[name] = value);
        put("stabilizationWindowSeconds", window.map(Into::into));
        put("selectPolicy", select.map(Into::into));
        put("policies", policies.map(Into::into));
        rules
    });
    let both = (prop::option::of(rules.clone()), prop::option::of(rules));
    prop::option::of(both)
        .prop_map(|behavior| behavior.map_or(Value::Null, |(up, down)| json!({"scaleUp": up, "scaleDown": down})))
}

/// What some decisions before `at(0)` may have left.
pub(crate) fn histories() -> impl Strategy<Value = ScaleHistory> {
    let moment = prop::sample::select(vec![0i64, 1, 15, 59, 60, 299, 300, 301, 3000]);
    let recommendation = (moment.clone(), 0..60i32).prop_map(|(ago, replicas)| Recommendation {
        at: at(-ago),
        replicas,
        lasting: false,
    });
    let event = (moment, 1..20i32).prop_map(|(ago, change)| ScaleEvent { at: at(-ago), change });
    let events = prop::collection::vec(event, 0..4);
    (prop::collection::vec(recommendation, 0..6), events.clone(), events).prop_map(
        |(mut recommendations, mut ups, mut downs)| {
            recommendations.sort_by_key(|one| one.at);
            ups.sort_by_key(|one| one.at);
            downs.sort_by_key(|one| one.at);
            ScaleHistory { recommendations, ups, downs, ..ScaleHistory::default() }
        },
    )
}

pub(crate) fn seconds(number: i64) -> SignedDuration {
    SignedDuration::from_secs(number)
}

/// An autoscaler of a Deployment that has so many replicas, if it is there, as the controller sees them.
pub(crate) fn seen(spec: &Value, status: &Value, replicas: Option<i32>) -> Seen {
    let metadata = json!({"name": "web", "namespace": "ns", "uid": "a", "generation": 1});
    let autoscaler = json!({"metadata": metadata, "spec": spec, "status": status});
    let target = replicas.map(|replicas| {
        let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "t"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": replicas}});
        Arc::new(Scaled::read(&object).unwrap())
    });
    Seen {
        autoscaler: Arc::new(serde_json::from_value(autoscaler).unwrap()),
        kind: Some(names::DEPLOYMENT),
        target,
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
