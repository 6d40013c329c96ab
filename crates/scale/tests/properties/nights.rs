//! A workload that schedules send to sleep each night is looked after as asked at each moment of it, whatever its metrics are.

use serde_json::{Value, json};
use trimtab_scale::{Decision, Missing, Observation, ScaleSnapshot, Verdict, decide_scale, settle};

use super::world::{at, external, of_pods, snapshot};

fn target() -> Value {
    json!({"type": "AverageValue", "averageValue": "1"})
}

/// One metric of each kind, as they are mixed, and none.
fn kinds() -> Vec<Value> {
    let utilization = json!({"type": "Utilization", "averageUtilization": 50});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": utilization}});
    let container = json!({"type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "a", "target": utilization}});
    let object = json!({"type": "Object", "object": {"metric": {"name": "m"}, "target": target(),
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"}}});
    let prometheus = json!({"type": "Prometheus",
        "prometheus": {"name": "p", "address": "http://p:9090", "query": "up", "target": target()}});
    vec![
        json!([]),
        json!([cpu]),
        json!([container]),
        json!([of_pods()]),
        json!([object]),
        json!([external("m")]),
        json!([prometheus]),
        json!([external("m"), cpu]),
    ]
}

struct Night {
    seen: ScaleSnapshot,
    second: i64,
}

impl Night {
    /// Decides a while later, and says what is found wrong.
    fn decide(&mut self, seconds: i64) -> (Decision, Vec<String>) {
        self.second += seconds;
        let now = at(self.second);
        let decision = decide_scale(now, &self.seen);
        self.seen.history = decision.history.clone();
        self.seen.previous = Some(now);
        if let Verdict::Set(to) = decision.verdict {
            self.seen.history = settle(decision.history.clone(), &self.seen.spec, to);
            (self.seen.target.replicas, self.seen.target.status_replicas) = (to, to);
        }
        let wrong = decision.findings.iter().filter(|finding| !finding.holds && finding.type_ != "ScalingLimited");
        let wrong = wrong.map(|finding| format!("{} {}: {}", finding.type_, finding.reason, finding.message)).collect();
        (decision, wrong)
    }
}

#[test]
fn nothing_is_wrong_with_a_workload_that_sleeps_by_a_schedule() {
    let lost = || Observation::Missing { why: Missing::NoMetrics, message: String::new() };
    for metrics in kinds() {
        for formula in [None, Some("replicas + 0.0 * metrics.m.value"), Some("2.0")] {
            // The beginning is 22:13:20.
            let night =
                json!({"name": "night", "start": "20 22 * * *", "end": "0 6 * * *", "timeZone": "UTC", "replicas": 0});
            let mut spec = json!({"minReplicas": 2, "maxReplicas": 9, "metrics": metrics, "schedules": [night]});
            if let Some(formula) = formula {
                spec["formula"] = json!(formula);
            }
            let mut night = Night { seen: snapshot(spec, 2), second: 0 };
            // What is measured of pods is not there once there are none; what is measured elsewhere is away at night.
            night.seen.observations = metrics.as_array().unwrap().iter().map(|_| lost()).collect();
            for (after, size) in [(500, 0), (1, 0), (3600, 0), (3600 * 6, 0), (2400, 2)] {
                let (decision, wrong) = night.decide(after);
                let said = format!("{metrics} {formula:?} at {}: {:?} {:?}", night.second, wrong, decision.findings);
                assert_eq!(decision.desired, size, "{said}");
                // What wakes by the window alone has nothing to say of metrics that can be known; others are told.
                let is_awake = decision.desired > 0 && metrics.to_string().contains("averageValue");
                assert!(wrong.is_empty() || is_awake, "{said}");
            }
        }
    }
}

#[test]
fn what_the_next_window_wakes_is_not_forsaken() {
    let window = |name: &str, start: &str, end: &str, sizes: Value| {
        let mut window = json!({"name": name, "start": start, "end": end, "timeZone": "UTC"});
        sizes.as_object().unwrap().iter().for_each(|(name, size)| window[name] = size.clone());
        window
    };
    let night = window("night", "15 22 * * *", "0 23 * * *", json!({"replicas": 0}));
    let office = window("office", "0 6 * * *", "0 20 * * *", json!({"minReplicas": 3}));
    let check = |schedules: Value, expected: (bool, &str)| {
        let spec = json!({"minReplicas": 0, "maxReplicas": 9, "metrics": [of_pods()], "schedules": schedules});
        let mut night = Night { seen: snapshot(spec, 2), second: 0 };
        assert_eq!(night.decide(300).0.desired, 0);
        // Neither window is open.
        let (decision, _) = night.decide(3600);
        let active = decision.findings.iter().find(|finding| finding.type_ == "ScalingActive").unwrap();
        assert_eq!((active.holds, active.reason.as_str(), decision.desired), (expected.0, expected.1, 0), "{active:?}");
    };
    check(json!([night, office]), (true, "Asleep"));
    check(json!([night]), (false, "FailedGetPodsMetric"));
}
