//! What is not known never makes a workload smaller.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::Milli;
use trimtab_scale::{Missing, Observation, PodSample, decide_scale};

use super::world::{at, behaviors, external, histories, of_pods, snapshot, total};

/// Ways in which a metric is not known.
fn lost() -> impl Strategy<Value = Observation> {
    let why = prop::sample::select(vec![
        Missing::NotAsked,
        Missing::Unreachable,
        Missing::ServerError,
        Missing::NoMetrics,
        Missing::NotANumber,
        Missing::ManySeries,
        Missing::Stale,
    ]);
    let old = PodSample { value: Milli(1), at: at(-3600), window_seconds: 15 };
    prop_oneof![
        why.prop_map(|why| Observation::Missing { why, message: String::new() }),
        Just(Observation::Total { values: vec![], at: None }),
        Just(Observation::Total { values: vec![Milli(1)], at: Some(at(-3600)) }),
        Just(Observation::Pods(BTreeMap::new())),
        Just(Observation::Pods(BTreeMap::from([("web-0".to_owned(), old)]))),
    ]
}

fn metrics() -> impl Strategy<Value = Vec<Value>> {
    let stale = |mut metric: Value| {
        metric["staleAfter"] = json!("45s");
        metric
    };
    let target = json!({"type": "Value", "value": "1"});
    let prometheus = json!({"name": "p", "address": "http://p:9090", "query": "up", "target": target});
    let all = vec![
        stale(external("queue")),
        stale(of_pods()),
        stale(json!({"type": "Prometheus", "prometheus": prometheus})),
        stale(
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
        ),
    ];
    prop::collection::vec(prop::sample::select(all), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_nothing_known_it_stays_at_least_as_large(
        metrics in metrics(), behavior in behaviors(), history in histories(), size in 1..40i32, least in 0..4i32,
        observed in prop::collection::vec(lost(), 4), fallback in prop::option::of(1..40i32), formula in prop::bool::ANY,
        asked in prop::bool::ANY,
    ) {
        let mut spec = json!({"minReplicas": least, "maxReplicas": 40, "metrics": metrics, "behavior": behavior});
        if let Some(replicas) = fallback {
            spec["fallback"] = json!({"after": "0s", "replicas": replicas});
        }
        if formula {
            spec["formula"] = json!("metrics.queue.replicas * 0.1");
        }
        let mut seen = snapshot(spec, size);
        seen.pods = vec![std::sync::Arc::new(serde_json::from_value(json!({"name": "web-0", "startedAt": at(-900),
            "ready": {"is": true, "since": at(-800)}, "containers": [{"name": "a", "requests": {"cpu": "1"}}]})).unwrap())];
        seen.history = history;
        // Also before anything was asked.
        seen.observations = if asked { observed } else { vec![] };
        let decision = decide_scale(at(0), &seen);
        prop_assert!(decision.desired >= size, "{decision:#?}");
    }

    #[test]
    fn one_metric_that_is_not_known_is_enough(
        behavior in behaviors(), history in histories(), size in 1..40i32, value in 0..50_000i64, observed in lost(),
    ) {
        let mut known = external("known");
        known["staleAfter"] = json!("45s");
        let metrics = json!([external("queue"), known]);
        let mut seen = snapshot(json!({"maxReplicas": 40, "metrics": metrics, "behavior": behavior}), size);
        seen.history = history;
        seen.observations = vec![total(value), observed];
        let decision = decide_scale(at(0), &seen);
        prop_assert!(decision.desired >= size, "{decision:#?}");
    }
}
