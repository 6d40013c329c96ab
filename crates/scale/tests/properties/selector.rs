//! A scale that names no pods: what is measured by pod is not known, and pods of others say nothing.

use std::sync::Arc;

use serde_json::{Value, json};
use trimtab_plan::{Answer, Question};
use trimtab_scale::{Seen, conclude, reconcile};

use super::world::{at, external, of_pods, seen};

/// The status of a Widget of so many pods beside a hundred pods of others that are all busy, and the names of what was asked.
fn decided(metrics: Value, least: i32, size: i32, selector: &str) -> (Value, Vec<String>) {
    let spec = json!({"targetRef": {"apiVersion": "example.com/v1", "kind": "Widget", "name": "web"}, "minReplicas": least,
        "maxReplicas": 50, "metrics": metrics});
    let pod = |number: i32| {
        json!({"name": format!("other-{number}"), "owned": false, "startedAt": at(-900), "ready": {"is": true, "since": at(-800)},
            "containers": [{"name": "a", "requests": {"cpu": "1"}}]})
    };
    let mut seen: Seen = Seen { kind: None, target: None, ..seen(&spec, &Value::Null, None) };
    seen.pods = (0..100).map(|number| Arc::new(serde_json::from_value(pod(number)).unwrap())).collect();
    let (now, mut asked) = (at(0), vec![]);
    let mut plan = reconcile(now, &seen);
    for _ in 0..3 {
        for ask in &plan.asks {
            let Question::Custom { name, input, .. } = &ask.question else { panic!("{ask:?}") };
            let samples =
                seen.pods.iter().map(|pod| (pod.name.clone(), json!({"value": "5", "at": now, "windowSeconds": 15})));
            let answer = match (*name, input["metric"]["type"].as_str()) {
                ("scale", _) => {
                    json!({"group": "example.com", "version": "v1", "kind": "Widget", "plural": "widgets", "uid": "t",
                    "resourceVersion": "7", "replicas": size, "statusReplicas": size, "selector": selector})
                }
                (_, Some("External")) => json!({"total": {"values": ["6"]}}),
                _ => json!({"pods": samples.collect::<serde_json::Map<_, _>>()}),
            };
            if seen.answers.insert(ask.id.clone(), Answer::Object(answer)).is_none() {
                asked.push(format!("{name} {}", input["metric"]["type"].as_str().unwrap_or_default()));
            }
        }
        plan = reconcile(now, &seen);
    }
    (conclude(now, &seen, &plan, &trimtab_plan::Outcome::default()).unwrap().status, asked)
}

fn check(metrics: Value, [least, size]: [i32; 2], desired: i32, reason: &str) {
    let (status, asked) = decided(metrics.clone(), least, size, "");
    assert_eq!(status["desiredReplicas"], desired, "{metrics}: {status:#}");
    let active =
        status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "ScalingActive").cloned().unwrap();
    assert_eq!(active["reason"], reason, "{metrics}: {status:#}");
    assert!(!asked.iter().any(|asked| asked.contains("Pods") || asked.contains("Resource")), "{metrics}: {asked:?}");
}

#[test]
fn pods_of_others_scale_nothing() {
    let mut value = external("queue");
    value["external"]["target"] = json!({"type": "Value", "value": "1"});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50}}});
    check(json!([]), [1, 3], 3, "InvalidSelector");
    check(json!([cpu]), [1, 3], 3, "InvalidSelector");
    check(json!([of_pods()]), [1, 3], 3, "InvalidSelector");
    check(json!([value]), [1, 3], 3, "InvalidSelector");
    // What needs no pods goes on, and can make it larger beside what is not known.
    check(json!([external("queue")]), [1, 3], 6, "ValidMetricFound");
    check(json!([external("queue"), cpu]), [1, 3], 6, "ValidMetricFound");
    check(json!([external("queue"), cpu]), [1, 8], 8, "InvalidSelector");
    check(json!([value]), [0, 0], 6, "ValidMetricFound");
    // With a selector they are asked for.
    let (status, asked) = decided(json!([of_pods()]), 1, 3, "app=web");
    assert!(asked.contains(&"metric Pods".to_owned()) && status["desiredReplicas"] != 3, "{asked:?} {status:#}");
}
