//! Under constant load a release changes no size: neither surge pods nor a canary look like more or fewer people.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::Milli;
use trimtab_scale::{Observation, PodSample, PodView, ReleaseView, ScaleSnapshot, Verdict, decide_scale, settle};

use super::world::{at, external, of_pods, snapshot, total};

/// Where a release stands for some ticks.
#[derive(Debug, Clone)]
struct Shape {
    phase: &'static str,
    canary: usize,
    surge: usize,
    /// Of the surge pods, how many have no sample yet.
    silent: usize,
    deleting: usize,
    ticks: usize,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let phase = prop::sample::select(vec!["Progressing", "Promoting", "TakingBack"]);
    let shape = (phase, 0..8usize, 0..5usize, 0..5usize, 0..4usize, 1..6usize);
    let shape = shape.prop_map(|(phase, canary, surge, silent, deleting, ticks)| {
        let surge = if phase == "Promoting" { surge } else { 0 };
        Shape { phase, canary, surge, silent: silent.min(surge), deleting, ticks }
    });
    prop::collection::vec(shape, 1..8)
}

fn pod(name: String, canary: bool, deleting: bool, since: i64) -> Arc<PodView> {
    let ready = json!({"is": true, "since": at(since)});
    let requests = json!([{"name": "a", "requests": {"cpu": "2"}}]);
    let pod = json!({"name": name, "startedAt": at(since - 600), "ready": ready, "owned": !canary, "canary": canary,
        "deleting": deleting, "containers": requests});
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[derive(Debug, Clone, Copy)]
enum Measured {
    ByPod,
    Cpu,
    Together,
}

/// The pods that serve: own ones and a canary's, and since when each does.
#[derive(Default)]
struct Pods {
    own: Vec<i64>,
    canary: Vec<i64>,
}

impl Pods {
    fn count(&self) -> i64 {
        i64::try_from(self.own.len() + self.canary.len()).unwrap()
    }

    /// The pods of a moment, and what is measured of a load that they share: what was so until then. Pods that are new have
    /// no sample yet.
    fn show(&mut self, seen: &mut ScaleSnapshot, shape: Option<&Shape>, measured: Measured, load: i64, second: i64) {
        let before = self.count();
        self.own.resize(usize::try_from(seen.target.replicas).unwrap() + shape.map_or(0, |shape| shape.surge), second);
        self.canary.resize(shape.map_or(0, |shape| shape.canary), second);
        let served = if before == 0 { self.count() } else { before };
        let own = self.own.iter().enumerate().map(|(n, since)| pod(format!("web-{n}"), false, false, *since));
        let canary = self.canary.iter().enumerate().map(|(n, since)| pod(format!("canary-{n}"), true, false, *since));
        let old = (0..shape.map_or(0, |shape| shape.deleting)).map(|n| pod(format!("old-{n}"), false, true, -5000));
        seen.pods = own.chain(canary).chain(old).collect();
        seen.target.status_replicas = i32::try_from(self.count()).unwrap();
        seen.release = shape.map(|shape| ReleaseView { name: "web-1".to_owned(), phase: shape.phase.to_owned() });
        seen.observations = vec![match measured {
            Measured::Together => total(load),
            Measured::ByPod | Measured::Cpu => {
                let sample = PodSample { value: Milli(load / served), at: at(second - 1), window_seconds: 15 };
                let silent = shape.map_or(0, |shape| shape.silent);
                let named = |n: usize| format!("web-{n}");
                let silent: Vec<String> = (self.own.len() - silent..self.own.len()).map(named).collect();
                let is_new = |pod: &PodView| before > 0 && pod.ready.is_some_and(|ready| ready.since == at(second));
                let known = seen.pods.iter().filter(|pod| !is_new(pod) && !silent.contains(&pod.name));
                Observation::Pods(known.map(|pod| (pod.name.clone(), sample)).collect::<BTreeMap<_, _>>())
            }
        }];
    }
}

fn metric(measured: Measured) -> Value {
    match measured {
        Measured::ByPod => of_pods(),
        Measured::Cpu => {
            let target = json!({"type": "Utilization", "averageUtilization": 50});
            json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
        }
        Measured::Together => external("m"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn constant_load_is_one_change_at_most_and_never_back_and_forth(
        shapes in shapes(), pods in 4..40i64, part in 200..800i64, size in 4..40i32,
        measured in prop::sample::select(vec![Measured::ByPod, Measured::Cpu, Measured::Together]), behaves in prop::bool::ANY,
        settles in prop::bool::ANY,
    ) {
        let load = pods * 1000 + part;
        // Not so far off that several steps would be needed.
        let steady = i32::try_from(pods).unwrap() + 1;
        let size = size.clamp((steady + 1) / 2, steady * 2);
        let mut spec = json!({"maxReplicas": 100, "metrics": [metric(measured)]});
        if behaves {
            spec["behavior"] = json!({"scaleUp": {}, "scaleDown": {"stabilizationWindowSeconds": 60}});
        }
        let mut seen = snapshot(spec, size);
        let (mut sizes, mut tick, mut there) = (vec![size], 0, Pods::default());
        let quiet: Vec<Option<&Shape>> = vec![None; 45];
        let first = &quiet[..if settles { 45 } else { 0 }];
        let all = shapes.iter().flat_map(|shape| std::iter::repeat_n(Some(shape), shape.ticks));
        for shape in first.iter().copied().chain(all).chain(quiet.iter().copied()) {
            there.show(&mut seen, shape, measured, load, tick * 15);
            let now = at(tick * 15);
            tick += 1;
            let decision = decide_scale(now, &seen);
            seen.history = decision.history;
            seen.previous = Some(now);
            if let Verdict::Set(to) = decision.verdict {
                sizes.push(to);
                seen.history = settle(seen.history, &seen.spec, to);
                seen.target.replicas = to;
            }
        }
        // A size that is not right when a release begins is put right with what is known then, and again when more is known.
        let one_way = sizes.is_sorted() || sizes.iter().rev().is_sorted();
        prop_assert!(if settles { sizes.len() <= 2 } else { one_way }, "{sizes:?}");
    }
}

/// The sizes of a workload under constant load whose pods are those that were asked for and some more, as a rolling update
/// has them, with no release that anybody knows of.
fn rolled(improvements: Value, size: i32, load: i64, surge: &[f64]) -> Vec<i32> {
    let behavior = json!({"scaleUp": {}, "scaleDown": {"stabilizationWindowSeconds": 0}});
    let spec =
        json!({"maxReplicas": 2000, "metrics": [external("m")], "behavior": behavior, "improvements": improvements});
    let mut seen = snapshot(spec, size);
    let mut sizes = vec![size];
    for (tick, surge) in surge.iter().enumerate() {
        let now = at(30 * i64::try_from(tick).unwrap());
        seen.target.status_replicas = (f64::from(seen.target.replicas) * surge).ceil() as i32;
        seen.observations = vec![total(load)];
        let decision = decide_scale(now, &seen);
        (seen.history, seen.previous) = (decision.history, Some(now));
        if let Verdict::Set(to) = decision.verdict {
            sizes.push(to);
            seen.history = settle(seen.history, &seen.spec, to);
            seen.target.replicas = to;
        }
    }
    sizes
}

/// argo-rollouts#4847: what is within tolerance of the pods that there are becomes what is asked for, and is out of tolerance
/// the next time.
#[test]
fn surge_pods_do_not_make_a_size_flip() {
    let surge = [1.0, 1.1, 1.1, 1.0, 1.1, 1.1, 1.0];
    assert_eq!(rolled(json!([]), 10, 10_000, &surge), [10, 11, 10, 11, 10], "as the HPA does it");
    assert_eq!(rolled(json!(["HoldInTolerance"]), 10, 10_000, &surge), [10]);
}

/// kubernetes#72775: each step of a rolling update asks for the pods of the step before.
#[test]
fn surge_pods_do_not_ratchet_a_size_up() {
    let surge = [1.05, 1.05, 1.02, 1.01, 1.0];
    assert_eq!(rolled(json!([]), 383, 410_000, &surge), [383, 403, 424, 433, 438], "as the HPA does it");
    assert_eq!(rolled(json!(["HoldInTolerance"]), 383, 410_000, &surge), [383]);
}
