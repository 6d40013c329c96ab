//! One test for each rule of a conversion: what a field becomes, and what is said about it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use cel::{Context, Program};
use serde_json::{Value, json};
use trimtab_crds::AutoscalerSpec;
use trimtab_import::{Imported, Options, Source, Weight, import, import_object, json as as_json};

fn keda(mut spec: Value, annotations: Value) -> Imported {
    if spec.get("scaleTargetRef").is_none() {
        spec["scaleTargetRef"] = json!({"name": "web"});
    }
    let object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "web", "annotations": annotations}, "spec": spec});
    let one = import_object(&object, Source::Keda, &Options::default()).unwrap();
    serde_json::from_value::<AutoscalerSpec>(one.autoscaler["spec"].clone()).unwrap();
    one
}

fn lost(one: &Imported) -> Vec<&str> {
    one.remarks.iter().filter(|r| r.weight == Weight::Lost).map(|r| r.field.as_str()).collect()
}

fn noted(one: &Imported) -> Vec<&str> {
    one.remarks.iter().filter(|r| r.weight == Weight::Differs).map(|r| r.field.as_str()).collect()
}

/// Some fields of what a ScaledObject becomes, and which of its own are lost.
fn check(spec: Value, annotations: Value, expected: Value, expected_lost: &[&str]) -> Imported {
    let one = keda(spec, annotations);
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&one.autoscaler["spec"][field], value, "{field} of {:#}\n{:#?}", one.autoscaler, one.remarks);
    }
    assert_eq!(lost(&one), expected_lost, "{:#?}", one.remarks);
    one
}

fn prometheus(name: &str) -> Value {
    json!({"type": "prometheus", "name": name, "metadata": {"serverAddress": "http://prometheus:9090",
        "query": "sum(x)", "threshold": "5", "ignoreNullValues": "false"}})
}

fn cpu() -> Value {
    json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}})
}

fn cron(start: &str, end: &str, desired: &str) -> Value {
    json!({"type": "cron", "metadata": {"timezone": "UTC", "start": start, "end": end, "desiredReplicas": desired}})
}

#[test]
fn kedas_defaults_are_written_out() {
    let one = check(
        json!({"triggers": [prometheus("a")]}),
        json!({}),
        json!({"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 0,
               "maxReplicas": 100, "coolDown": "5m", "interval": null, "mode": "Auto", "compat": "hpa-v2"}),
        &[],
    );
    assert_eq!(one.autoscaler["spec"]["metrics"][0]["activation"], "0");
    assert!(one.remarks.is_empty(), "{:?}", one.remarks);
}

#[test]
fn cpu_and_memory_alone_never_go_to_zero() {
    let one = check(json!({"triggers": [cpu()]}), json!({}), json!({"minReplicas": 1, "mode": "Auto"}), &[]);
    assert_eq!(noted(&one), ["spec.minReplicaCount"]);
}

#[test]
fn a_lost_trigger_keeps_the_workload_from_zero() {
    let redis = json!({"type": "redis", "metadata": {"address": "redis:6379", "password": "s3cret"}});
    let one = check(
        json!({"triggers": [prometheus("a"), redis]}),
        json!({}),
        json!({"minReplicas": 1, "coolDown": "5m", "mode": "Auto"}),
        &["spec.triggers[1].type"],
    );
    assert!(!format!("{one:?}").contains("s3cret"));
}

#[test]
fn idle_zero_with_a_minimum_of_one_is_a_minimum_of_zero() {
    let spec = |min: i32| json!({"triggers": [prometheus("a")], "idleReplicaCount": 0, "minReplicaCount": min});
    check(spec(1), json!({}), json!({"minReplicas": 0}), &[]);
    check(spec(3), json!({}), json!({"minReplicas": 3}), &["spec.idleReplicaCount"]);
}

#[test]
fn paused_objects_stay_paused() {
    let spec = json!({"triggers": [cpu()], "minReplicaCount": 1});
    let paused = |annotations: Value, mode: &str| check(spec.clone(), annotations, json!({"mode": mode}), &[]);
    paused(json!({"autoscaling.keda.sh/paused": "true"}), "Paused");
    paused(json!({"autoscaling.keda.sh/paused": "yes"}), "Paused");
    paused(json!({"autoscaling.keda.sh/paused": "false"}), "Auto");
    let at = paused(json!({"autoscaling.keda.sh/paused-replicas": "4"}), "Paused");
    assert_eq!(noted(&at), ["metadata.annotations[autoscaling.keda.sh/paused-replicas]"]);
    check(
        spec.clone(),
        json!({"autoscaling.keda.sh/paused-scale-in": "true"}),
        json!({"mode": "Auto", "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}),
        &[],
    );
}

#[test]
fn a_fallback_counts_in_time() {
    let spec = |behavior: &str, replicas: i32| {
        json!({"triggers": [prometheus("a")], "minReplicaCount": 1, "maxReplicaCount": 10,
               "fallback": {"failureThreshold": 3, "replicas": replicas, "behavior": behavior}})
    };
    let fallback = |replicas: i32| json!({"fallback": {"after": "1m30s", "replicas": replicas}});
    check(spec("static", 6), json!({}), fallback(6), &[]);
    check(spec("static", 60), json!({}), fallback(10), &[]);
    let exact = check(spec("currentReplicasIfHigher", 6), json!({}), fallback(6), &[]);
    assert!(exact.remarks.is_empty());
    check(spec("currentReplicas", 6), json!({}), json!({"fallback": null}), &[]);
    check(spec("currentReplicasIfLower", 6), json!({}), json!({"fallback": null}), &["spec.fallback.behavior"]);
    check(spec("static", 0), json!({}), json!({"fallback": null}), &["spec.fallback.replicas"]);
}

#[test]
fn every_field_that_nobody_reads_is_named_without_its_value() {
    let mut trigger = prometheus("a");
    trigger["metadata"]["bearerToken"] = json!("s3cret");
    trigger["surprise"] = json!("s3cret");
    let one = check(
        json!({"triggers": [trigger], "minReplicaCount": 1, "novel": {"password": "s3cret"}, "advanced": {"more": 1}}),
        json!({}),
        json!({"minReplicas": 1}),
        &["spec.triggers[0].metadata.bearerToken", "spec.triggers[0].surprise", "spec.advanced.more", "spec.novel"],
    );
    assert!(!format!("{one:?}").contains("s3cret"));
}

#[test]
fn of_overlapping_crons_the_largest_counts() {
    let one = keda(
        json!({"minReplicaCount": 2, "maxReplicaCount": 9, "triggers": [cpu(),
            cron("0 6 * * *", "0 22 * * *", "4"), cron("0 12 * * *", "0 14 * * *", "20"), cron("0 0 * * *", "0 1 * * *", "1")]}),
        json!({}),
    );
    let windows = one.autoscaler["spec"]["schedules"].as_array().unwrap();
    let of = |field: &str| windows.iter().map(|window| window[field].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("minReplicas"), of("priority")), (vec![4, 9, 2], vec![1, 2, 0]));
    assert_eq!(noted(&one), ["spec.triggers[2].metadata", "spec.triggers[3].metadata"]);
}

#[test]
fn cpu_beside_crons_counts_while_one_is_open() {
    let one = keda(json!({"triggers": [cpu(), cron("0 6 * * *", "0 22 * * *", "4")]}), json!({}));
    let expected = json!([
        {"name": "cron-1", "start": "0 6 * * *", "end": "0 22 * * *", "timeZone": "UTC", "minReplicas": 4},
        {"name": "cron-1-off", "start": "0 22 * * *", "end": "0 6 * * *", "timeZone": "UTC", "replicas": 0, "priority": -1},
    ]);
    assert_eq!(one.autoscaler["spec"]["schedules"], expected);
    assert_eq!(one.autoscaler["spec"]["minReplicas"], 0);
}

#[test]
fn a_cron_that_cannot_be_said_is_lost_with_its_problem() {
    let one = check(
        json!({"minReplicaCount": 1, "triggers": [cpu(), cron("@every 1h", "0 22 * * *", "4")]}),
        json!({}),
        json!({"schedules": null}),
        &["spec.triggers[1].metadata"],
    );
    assert!(one.remarks[0].message.contains("@every"), "{:?}", one.remarks);
}

/// What a formula gives for values of `a` and `b`.
fn pods(modifiers: Value, a: f64, b: f64, cpu_asks: i32) -> f64 {
    let one = keda(
        json!({"minReplicaCount": 1, "advanced": {"scalingModifiers": modifiers}, "triggers":
            [prometheus("a"), prometheus("b"), cpu()]}),
        json!({}),
    );
    let formula = one.autoscaler["spec"]["formula"].as_str().unwrap_or_else(|| panic!("{:?}", one.remarks)).to_owned();
    let mut context = Context::default();
    let metrics = json!({"a": {"value": a}, "b": {"value": b}, "cpu": {"replicas": f64::from(cpu_asks)}});
    context.add_variable("metrics", metrics).unwrap();
    context.add_variable("replicas", 4.0_f64).unwrap();
    // Every variable is a float, and the autoscaler rounds up.
    match Program::compile(&formula).unwrap().execute(&context).unwrap() {
        cel::Value::Float(pods) => pods.ceil(),
        other => panic!("{formula}: {other:?}"),
    }
}

#[test]
fn a_formula_is_divided_by_its_target_and_rounded_up() {
    let sum = json!({"formula": "a + b", "target": "5"});
    assert_eq!(pods(sum.clone(), 10.0, 15.0, 0), 5.0);
    assert_eq!(pods(sum.clone(), 10.5, 15.0, 0), 6.0);
    assert_eq!(pods(sum.clone(), 0.0, 0.0, 0), 0.0);
    // KEDA's HPA takes what CPU asks for, where that is more.
    assert_eq!(pods(sum, 10.0, 15.0, 8), 8.0);
    assert_eq!(pods(json!({"formula": "a > 2 ? a + b : 1", "target": "2"}), 3.0, 4.0, 0), 4.0);
    assert_eq!(pods(json!({"formula": "max(a, b) / 2", "target": "0.5"}), 3.0, 4.0, 0), 4.0);
    assert_eq!(pods(json!({"formula": "a + b - b", "target": "2", "metricType": "Value"}), 3.0, 4.0, 0), 6.0);
}

#[test]
fn a_formula_that_cannot_be_said_pauses() {
    let spec = |formula: &str| {
        json!({"minReplicaCount": 1, "triggers": [prometheus("a"), prometheus("b")],
               "advanced": {"scalingModifiers": {"formula": formula, "target": "5"}}})
    };
    let field = ["spec.advanced.scalingModifiers.formula"];
    check(spec("count([a,b],{#>1}) > 1 ? 5 : 0"), json!({}), json!({"mode": "Paused", "formula": null}), &field);
    check(spec("a + c"), json!({}), json!({"mode": "Paused", "formula": null}), &field);
    let one = check(spec("a * 2"), json!({}), json!({"mode": "Auto"}), &[]);
    // What the formula does not name asks for nothing.
    assert_eq!(one.autoscaler["spec"]["metrics"].as_array().map(Vec::len), Some(1));
}

fn hpa(version: &str, spec: Value) -> Imported {
    let object = json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"}, "spec": spec});
    import_object(&object, Source::Hpa, &Options::default()).unwrap()
}

#[test]
fn an_hpa_to_zero_says_when_it_is_active() {
    let external = json!({"type": "External", "external": {"metric": {"name": "q"},
        "target": {"type": "AverageValue", "averageValue": 5}}});
    let one = hpa(
        "v2",
        json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 0, "maxReplicas": 3,
               "metrics": [external], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}),
    );
    let spec = &one.autoscaler["spec"];
    assert_eq!((&spec["coolDown"], &spec["metrics"][0]["activation"]), (&json!("1m"), &json!("0")));
    assert_eq!(noted(&one), ["spec.minReplicas"]);
}

#[test]
fn v2beta1_has_the_words_of_the_annotations() {
    let one = hpa(
        "v2beta1",
        json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3, "metrics":
            [{"type": "Pods", "pods": {"metricName": "rps", "targetAverageValue": "10", "selector": {"matchLabels": {"a": "b"}}}}]}),
    );
    let expected = json!([{"type": "Pods", "pods": {"metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
        "target": {"type": "AverageValue", "averageValue": "10"}}}]);
    assert_eq!(one.autoscaler["spec"]["metrics"], expected);
    assert!(one.remarks.is_empty(), "{:?}", one.remarks);
}

/// What is said of fields that are another version's, and the metrics that are left.
fn check_version(version: &str, more: Value, expected_lost: &[&str], says: &str, metrics: Value) {
    let mut spec =
        json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3});
    more.as_object().unwrap().iter().for_each(|(name, value)| spec[name] = value.clone());
    let one = hpa(version, spec);
    assert_eq!(lost(&one), expected_lost, "{:#?}", one.remarks);
    assert!(one.remarks.iter().any(|remark| remark.to_string().contains(says)), "{:#?}", one.remarks);
    assert_eq!(one.autoscaler["spec"]["metrics"], metrics);
}

#[test]
fn fields_of_another_version_are_named_as_such_with_what_is_left() {
    let cpu = |percent| {
        json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}})
    };
    let old = json!([{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 75}}]);
    let all = ["spec.metrics"];
    check_version("v1", json!({"metrics": old}), &all, "autoscaling/v1 has no metrics", Value::Null);
    check_version("v1", json!({"metrics": old}), &all, "80 % of the CPU", Value::Null);
    let both = json!({"metrics": old, "targetCPUUtilizationPercentage": 50});
    check_version("v1", both, &all, "autoscaling/v1 has no metrics", json!([cpu(50)]));
    check_version("v1", json!({"behavior": {}}), &["spec.behavior"], "autoscaling/v1 has no behavior", Value::Null);
    let new = json!({"metrics": [cpu(60)], "targetCPUUtilizationPercentage": 50});
    check_version("v2", new, &["spec.targetCPUUtilizationPercentage"], "is autoscaling/v1's", json!([cpu(60)]));
}

#[test]
fn what_is_not_such_an_object_is_refused_with_what_to_do() {
    let refused = |text: &str, source| import(text, source, &Options::default()).unwrap_err().to_string();
    let scaled = "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: a}}";
    assert!(refused(scaled, Source::Hpa).contains("`trimtab import keda`"));
    assert!(refused(scaled, Source::Keda).contains("spec.scaleTargetRef.name is missing"));
    assert!(refused("{apiVersion: v1, kind: Secret, data: {a: czNjcmV0}}", Source::Hpa).contains("only v1 Secret"));
    assert!(refused("", Source::Keda).contains("no Kubernetes object"));
    let broken = refused("data: {password: s3cret", Source::Keda);
    assert!(broken.contains("neither YAML nor JSON") && !broken.contains("s3cret"), "{broken}");
    let nested = "[".repeat(100_000);
    assert!(refused(&nested, Source::Hpa).contains("neither YAML nor JSON"));
    let hpa = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {scaleTargetRef: {kind: \
               Deployment, name: a}}}";
    assert!(refused(hpa, Source::Hpa).contains("spec.maxReplicas is missing"));
}

#[test]
fn remarks_stay_comments_whatever_names_hold() {
    let one = keda(json!({"triggers": [cpu()], "minReplicaCount": 1, "a\nkind: Secret": 1}), json!({"b\nc": "d"}));
    let text = trimtab_import::yaml(std::slice::from_ref(&one)).unwrap();
    let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(read, [one.autoscaler]);
}

#[test]
fn json_has_one_object_or_a_list() {
    let one = keda(json!({"triggers": [cpu()]}), json!({}));
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    assert_eq!(read(as_json(std::slice::from_ref(&one)))["kind"], "Autoscaler");
    assert_eq!(read(as_json(&[one.clone(), one]))["items"].as_array().map(Vec::len), Some(2));
}
