//! Conditions say what holds now: those after any two decisions are those after the second alone.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use trimtab_plan::{Answer, Class, Failure, Outcome, Plan, Wake};
use trimtab_scale::{HPAS, Observation, Scaled, Unread, conclude, reconcile};

use super::world::seen;

/// How things are when a decision is made.
#[derive(Clone)]
struct World {
    name: &'static str,
    spec: Value,
    replicas: Option<i32>,
    metric: Option<i64>,
    refused: bool,
}

const METRIC: &str = "Prometheus";

fn spec(more: Value) -> Value {
    let mut spec = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 9});
    more.as_object().unwrap().iter().for_each(|(name, value)| spec[name] = value.clone());
    spec
}

fn measured() -> Value {
    spec(json!({"metrics": [{"type": METRIC, "prometheus": {"name": "rps", "address": "http://p", "query": "x",
        "target": {"type": "AverageValue", "averageValue": "10"}}}]}))
}

/// Windows that say the size at every moment, as an import of nothing but cron triggers gives them.
fn windows(replicas: [i32; 2]) -> Value {
    let window = |name: &str, start: &str, end: &str, replicas: i32| json!({"name": name, "start": start, "end": end, "timeZone": "UTC", "replicas": replicas});
    spec(json!({"minReplicas": 0, "schedules": [
        window("on", "0 * * * *", "30 * * * *", replicas[0]), window("off", "30 * * * *", "0 * * * *", replicas[1])]}))
}

fn worlds() -> Vec<World> {
    let world =
        |name, spec: &Value, replicas, metric| World { name, spec: spec.clone(), replicas, metric, refused: false };
    let (measured, windows) = (measured(), windows([5, 1]));
    vec![
        world("fine", &measured, Some(2), Some(20)),
        world("more", &measured, Some(2), Some(40)),
        World { refused: true, ..world("refused", &measured, Some(2), Some(40)) },
        world("no metric", &measured, Some(2), None),
        world("no target", &measured, None, Some(20)),
        world("too many", &measured, Some(12), Some(20)),
        World { refused: true, ..world("too many, refused", &measured, Some(12), Some(20)) },
        world("set to 0", &measured, Some(0), Some(20)),
        world("windows", &windows, Some(5), None),
        world("windows, too few", &windows, Some(1), None),
        World { refused: true, ..world("windows, refused", &windows, Some(1), None) },
        world("windows, too many", &windows, Some(7), None),
    ]
}

/// The status after a decision in such a world, with this one before.
fn decided(now: Timestamp, world: &World, status: &Value) -> Value {
    let mut seen = seen(&world.spec, status, world.replicas);
    for ask in reconcile(now, &seen).asks {
        let answer = match world.metric {
            Some(value) => {
                let total = json!({"total": {"values": [format!("{value}")]}});
                serde_json::from_value::<Observation>(total.clone()).unwrap();
                Answer::Object(total)
            }
            None => Answer::Failed("nobody answers".to_owned()),
        };
        seen.answers.insert(ask.id, answer);
    }
    let plan: Plan<_> = reconcile(now, &seen);
    let mut outcome = Outcome::default();
    if world.refused && !plan.writes.is_empty() {
        let index = plan.writes.len() - 1;
        let (class, message) = (Class::Blocked, "403".to_owned());
        outcome.failed = Some(Failure { index, class, reason: "Forbidden".to_owned(), message, lasting: false });
    }
    conclude(now, &seen, &plan, &outcome).map_or_else(|| status.clone(), |write| write.status)
}

/// Each condition, and whether it holds.
fn conditions(status: &Value) -> Vec<String> {
    let all = status["conditions"].as_array().unwrap().iter();
    let shown = |c: &Value| format!("{}={}", c["type"].as_str().unwrap(), c["status"].as_str().unwrap());
    let mut all: Vec<String> = all.map(shown).collect();
    all.sort();
    all
}

const NOW: &str = "2026-03-02T09:10:00Z";

#[test]
fn what_was_true_before_leaves_no_condition_behind() {
    let now: Timestamp = NOW.parse().unwrap();
    let later = now + SignedDuration::from_mins(6);
    for before in worlds() {
        let first = decided(now, &before, &json!({}));
        for world in worlds() {
            let (alone, after) = (decided(later, &world, &json!({})), decided(later, &world, &first));
            assert_eq!(conditions(&after), conditions(&alone), "{} after {}: {after:#}", world.name, before.name);
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_and_looked_at_seldom() {
    let begin: Timestamp = NOW.parse().unwrap();
    let looks = |kinds: &[&'static str], seconds: i64| {
        let (mut now, mut looks, mut status) = (begin, 0, json!({}));
        while now < begin + SignedDuration::from_secs(seconds) {
            let mut seen = seen(&windows([2, 2]), &status, Some(2));
            seen.unread = Unread { kinds: kinds.to_vec(), since: Some(begin) };
            for ask in reconcile(now, &seen).asks {
                seen.answers.insert(ask.id, Answer::Failed("nobody answers".to_owned()));
            }
            let plan = reconcile(now, &seen);
            if let Some(write) = conclude(now, &seen, &plan, &Outcome::default()) {
                status = write.status;
            }
            let Wake::At(at) = plan.wake else { panic!("nothing wakes it: {plan:?}") };
            looks += 1;
            now = at.max(now + SignedDuration::from_millis(50));
        }
        (looks, status)
    };
    let (few, status) = looks(&["Pods", HPAS], 60);
    assert!(few <= 7, "{few} looks in a minute");
    assert_eq!(conditions(&status), ["AbleToScale=False", "Ready=False"]);
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("Pods, HorizontalPodAutoscalers"), "{message}");
    // At a start it is not told at once, and without the others' autoscalers a size is decided.
    assert_eq!(looks(&["Pods"], 9).1, json!({}));
    let (_, status) = looks(&[HPAS], 60);
    let all = ["AbleToScale=True", "Contested=Unknown", "Ready=True", "ScalingActive=True", "ScalingLimited=False"];
    assert_eq!(conditions(&status), all);
}

fn check(name: &str, expected: &[&str]) {
    let world = worlds().into_iter().find(|world| world.name == name).unwrap();
    let status = decided(NOW.parse().unwrap(), &world, &json!({}));
    let found = conditions(&status);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, expected, "{name}: {status:#}");
}

#[test]
fn each_world_has_its_conditions() {
    check("fine", &["AbleToScale=True", "Ready=True", "ScalingActive=True", "ScalingLimited=False"]);
    check("refused", &["AbleToScale=False", "Ready=False", "ScalingActive=True", "ScalingLimited=False"]);
    check("no metric", &["AbleToScale=True", "Ready=False", "ScalingActive=False"]);
    check("no target", &["AbleToScale=False", "Ready=False"]);
    check("too many", &["AbleToScale=True", "Ready=True", "ScalingLimited=True"]);
    check("set to 0", &["AbleToScale=True", "Ready=False", "ScalingActive=False"]);
    // A spec of nothing but exact windows asks for no metric, and needs none.
    check("windows", &["AbleToScale=True", "Ready=True", "ScalingActive=True", "ScalingLimited=False"]);
    check("windows, too few", &["AbleToScale=True", "Ready=True", "ScalingLimited=True"]);
}

#[test]
fn at_its_largest_size_an_autoscaler_says_how_many_are_wanted() {
    let world = World { metric: Some(160), ..worlds()[1].clone() };
    let mut world = World { replicas: Some(9), ..world };
    let status = decided(NOW.parse().unwrap(), &world, &json!({}));
    assert_eq!(status["message"], "9 pods: 16 are wanted, and there are to be no more than 9", "{status:#}");
    world.metric = Some(5);
    world.replicas = Some(1);
    world.spec["minReplicas"] = 1.into();
    let status = decided(NOW.parse().unwrap(), &world, &json!({}));
    assert_eq!(status["desiredReplicas"], 1, "{status:#}");
}

/// The snapshot of two pods whose requests name memory only, as somebody may record it.
#[test]
fn pods_that_request_memory_as_a_whole_have_the_cpu_of_their_containers() {
    let pod = |name: &str| {
        json!({"name": name, "phase": "Running", "startedAt": "2026-03-02T07:00:00Z",
        "ready": {"is": true, "since": "2026-03-02T07:00:20Z"}, "requests": {"memory": "256Mi"},
        "containers": [{"name": "web", "requests": {"cpu": "100m"}}, {"name": "proxy", "requests": {"cpu": "50m"}}]})
    };
    let sample = json!({"value": "180m", "at": "2026-03-02T08:59:45Z", "windowSeconds": 15});
    let seen = serde_json::from_value(json!({
        "spec": {"targetRef": {"kind": "Deployment", "name": "mixed"}, "minReplicas": 1, "maxReplicas": 9, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]},
        "target": {"replicas": 2, "statusReplicas": 2},
        "pods": [pod("mixed-a"), pod("mixed-b")],
        "observations": [{"pods": {"mixed-a": sample, "mixed-b": sample}}],
        "desired": 2
    }))
    .unwrap();
    let decision = trimtab_scale::decide_scale("2026-03-02T09:00:00Z".parse().unwrap(), &seen);
    let utilization = decision.decision.metrics[0].average_utilization;
    assert_eq!((utilization, decision.desired), (Some(120), 4), "{:?}", decision.decision.metrics);
}

#[test]
fn a_window_of_no_pods_and_the_one_behind_it_are_kept_without_a_metric() {
    let mut world = World { spec: windows([2, 0]), ..worlds()[8].clone() };
    let mut status = json!({});
    let mut sizes = vec![];
    for minutes in [10, 35, 40, 65, 70] {
        let now = "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes);
        world.replicas = Some(sizes.last().copied().unwrap_or(2));
        status = decided(now, &world, &status);
        assert!(conditions(&status).contains(&"Ready=True".to_owned()), "{status:#}");
        sizes.push(i32::try_from(status["desiredReplicas"].as_i64().unwrap()).unwrap());
    }
    assert_eq!(sizes, [2, 0, 0, 2, 2]);
}

#[test]
fn a_spec_that_is_too_large_is_told_and_not_kept() {
    let metric = |number: usize| {
        json!({"type": METRIC, "prometheus": {"name": "rps", "address": "http://p", "query": "x".repeat(4000 + number),
        "target": {"type": "AverageValue", "averageValue": "10"}}})
    };
    let metrics: Vec<Value> = (0..50).map(metric).collect();
    let world = World { spec: spec(json!({ "metrics": metrics, "formula": "1.0" })), ..worlds()[0].clone() };
    let status = decided(NOW.parse().unwrap(), &world, &json!({}));
    assert_eq!(conditions(&status), ["AbleToScale=False", "Ready=False"], "{status:#}");
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("the spec has more than 128 KiB, so the size stays"), "{message}");
    let view: trimtab_scale::AutoscalerView =
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": world.spec})).unwrap();
    assert!(view.too_large && view.spec.metrics.is_empty() && view.spec.formula.is_none());
}

#[test]
fn a_status_names_few_of_many_pods() {
    let pod = |number: usize| json!({"name": format!("web-{number}"), "phase": "Pending", "containers": []});
    let pods: Vec<Value> = (0..500).map(pod).collect();
    let seen = serde_json::from_value(json!({
        "spec": {"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 900, "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]},
        "target": {"replicas": 500, "statusReplicas": 500},
        "pods": pods,
        "observations": [{"pods": {}}]
    }))
    .unwrap();
    let decision = trimtab_scale::decide_scale(NOW.parse().unwrap(), &seen);
    let metric = &decision.decision.metrics[0];
    assert_eq!(metric.left_out.len(), 10);
    let counts = metric.pods.unwrap();
    assert_eq!(counts.unready + counts.missing + counts.ignored, 500, "all of them are counted");
}

#[test]
fn of_too_many_samples_or_too_long_a_selector_nothing_is_asked() {
    let metric = |number: usize| json!({"type": "Pods", "pods": {"metric": {"name": format!("m{number}")}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    let metrics: Vec<Value> = (0..50).map(metric).collect();
    let mut world = seen(&spec(json!({ "metrics": metrics })), &json!({}), Some(3));
    let pod = Arc::new(serde_json::from_value(json!({"name": "p", "phase": "Running", "containers": []})).unwrap());
    let mut check = |pods: usize, letters: usize, reason: Option<&str>| {
        world.pods = vec![Arc::clone(&pod); pods];
        let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "t"}, "status": {"replicas": 3},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x".repeat(letters)}}}});
        world.target = Some(Arc::new(Scaled::read(&object).unwrap()));
        let plan = trimtab_scale::reconcile(NOW.parse().unwrap(), &world);
        assert_eq!(plan.asks.is_empty(), reason.is_some(), "{:?}", plan.because);
        assert!(reason.is_none_or(|reason| format!("{:?}", plan.because).contains(reason)), "{:?}", plan.because);
        assert_eq!(world.is_costly(), pods > trimtab_scale::SAMPLES / 200, "{pods} pods");
    };
    check(0, 10, None);
    check(100, 10, None);
    check(400, 10, None);
    check(401, 10, Some("TooLarge"));
    check(1, trimtab_scale::SELECTOR, Some("InvalidSelector"));
}
