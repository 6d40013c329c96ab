//! Those whose metrics are read at once decide at once: what is read for the first is of the step of all.

use std::sync::Arc;

use serde_json::{Value, json};
use trimtab_plan::Question;
use trimtab_scale::{Scaled, reconcile};

use super::world::{at, external, seen};

/// For which step each of these asks for its metrics, where there are so many in the namespace.
fn check(metrics: &Value, neighbours: usize, crowd: usize) -> usize {
    let spec = json!({"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 9,
        "metrics": metrics});
    let since = (0..8).map(|number| {
        let mut seen = seen(&spec, &Value::Null, Some(2));
        let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "t"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": format!("web{number}")}}}, "status": {"replicas": 2}});
        seen.target = Some(Arc::new(Scaled::read(&object).unwrap()));
        (seen.neighbours, seen.crowd) = (neighbours, crowd);
        let asks = reconcile(at(0), &seen).asks;
        let Question::Custom { input, .. } = &asks[0].question else { panic!("{asks:?}") };
        assert_eq!(input["wide"], neighbours >= 8 && crowd < 2_000, "{input}");
        input["since"].to_string()
    });
    since.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn those_whose_pods_are_read_at_once_decide_in_one_step() {
    assert_eq!(check(&json!([]), 8, 100), 1);
    assert_eq!(
        check(
            &json!([external("queue"), {"type": "Resource", "resource": {"name": "memory", "target":
        {"type": "AverageValue", "averageValue": "1Gi"}}}]),
            8,
            100
        ),
        1
    );
    // Where each reads its own, not all ask in one moment.
    assert_eq!(check(&json!([]), 7, 100), 8);
    assert_eq!(check(&json!([]), 8, 2_001), 8);
}
