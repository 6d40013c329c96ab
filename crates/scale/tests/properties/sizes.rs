//! Sizes stay within their bounds, those of schedules too; and sleep begins late and ends at once.

use proptest::prelude::*;
use serde_json::json;
use trimtab_scale::{Missing, Observation, Verdict, decide_scale, settle};

use super::world::{at, behaviors, external, histories, of_pods, seconds, snapshot, total};

/// What happens in one step of the clock.
#[derive(Debug, Clone, PartialEq)]
enum Tick {
    Load(i64),
    Unknown,
    /// Somebody sets the size.
    SetBy(i32),
}

fn ticks() -> impl Strategy<Value = Tick> {
    prop_oneof![
        12 => Just(Tick::Load(0)),
        3 => (1..40_000i64).prop_map(Tick::Load),
        1 => Just(Tick::Unknown),
        1 => (0..4i32).prop_map(Tick::SetBy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_never_outside_of_its_bounds(
        behavior in behaviors(), history in histories(), size in 0..80i32, least in 0..10i32, more in 0..50i32,
        value in -5_000..90_000i64, known in prop::bool::weighted(0.9),
    ) {
        let most = (least + more).max(1);
        let spec = json!({"minReplicas": least, "maxReplicas": most, "metrics": [external("m")], "behavior": behavior});
        let mut seen = snapshot(spec, size);
        seen.history = history;
        seen.observations = if known { vec![total(value)] } else { vec![] };
        let desired = decide_scale(at(0), &seen).desired;
        let disabled = size == 0 && least > 0;
        prop_assert!(if disabled { desired == 0 } else { (least..=most).contains(&desired) }, "{size} to {desired}");
    }

    #[test]
    fn schedules_are_bounds_too(
        behavior in behaviors(), history in histories(), size in 0..80i32, least in 0..10i32, more in 0..50i32,
        value in 0..90_000i64, second in 0..86_400i64, exactly in prop::bool::ANY,
    ) {
        // 2023-11-14 22:13:20 is the beginning: the window is open from eight to noon.
        let window = json!({"name": "w", "start": "0 8 * * *", "end": "0 12 * * *", "timeZone": "UTC"});
        let mut window = window;
        if exactly {
            window["replicas"] = json!(least);
        } else {
            (window["minReplicas"], window["maxReplicas"]) = (json!(least), json!(least + more));
        }
        let spec = json!({"minReplicas": 3, "maxReplicas": 7, "metrics": [external("m")], "behavior": behavior,
            "schedules": [window]});
        let mut seen = snapshot(spec, size);
        seen.history = history;
        seen.observations = vec![total(value)];
        let (fresh, none) = (seen.history.recommendations.is_empty(), least == 0);
        let hour = (22 * 3600 + 13 * 60 + 20 + second) % 86_400 / 3600;
        let (least, most) = match ((8..12).contains(&hour), exactly) {
            (true, true) => (least, least),
            (true, false) => (least, least + more),
            (false, _) => (3, 7),
        };
        let desired = decide_scale(at(second), &seen).desired;
        // A window that asks for none makes of a 0 of which nothing is known one that ends.
        let disabled = size == 0 && least > 0 && !(fresh && none);
        prop_assert!(if disabled { desired == 0 } else { (least..=most).contains(&desired) }, "{size} to {desired}");
    }

    #[test]
    fn what_is_active_wakes_what_sleeps(
        loads in prop::collection::vec(prop::option::of(prop_oneof![Just(0i64), 1..40_000i64]), 1..3), by_pod in prop::bool::ANY,
        formula in prop::option::of(prop::sample::select(vec![
            "metrics.queue.value / 20.0 + metrics.requests.replicas", "metrics.requests.average + metrics.m0.replicas",
            "metrics.m0.value", "metrics.m1.value", "replicas", "1.0 / replicas", "0.0", "metrics.cpu.utilization / 50.0",
        ])),
    ) {
        let mut metrics: Vec<_> = (0..loads.len()).map(|number| external(&format!("m{number}"))).collect();
        metrics.extend(by_pod.then(of_pods));
        let mut spec = json!({"minReplicas": 0, "maxReplicas": 25, "metrics": metrics});
        if let Some(formula) = formula {
            spec["formula"] = json!(formula);
        }
        let mut seen = snapshot(spec, 0);
        let lost = || Observation::Missing { why: Missing::Unreachable, message: String::new() };
        seen.observations = loads.iter().map(|load| load.map_or_else(lost, total)).collect();
        seen.observations.push(lost());
        let decision = decide_scale(at(0), &seen);
        let waking = loads.iter().flatten().any(|load| *load > 0);
        if waking {
            prop_assert!(decision.desired >= 1, "{decision:#?}");
        } else {
            prop_assert_eq!(decision.desired, 0, "{:#?}", decision);
            let told = decision.findings.iter().any(|finding| finding.type_ == "ScalingActive" && !finding.holds);
            prop_assert!(told || loads.iter().all(Option::is_some), "{decision:#?}");
        }
    }

    #[test]
    fn sleep_begins_after_the_cool_down_and_ends_with_all_that_is_needed(
        ticks in prop::collection::vec(ticks(), 1..60), behavior in behaviors(),
        cool_down in prop::sample::select(vec![0i64, 60, 300, 900]), step in prop::sample::select(vec![15i64, 60, 120]),
    ) {
        let spec = json!({"minReplicas": 0, "maxReplicas": 25, "metrics": [external("m")], "behavior": behavior,
            "coolDown": format!("{cool_down}s")});
        let mut seen = snapshot(spec, 1);
        let (mut inactive, mut known) = (None, 1);
        for (number, tick) in ticks.iter().enumerate() {
            let now = at(step * i64::try_from(number).unwrap());
            if let Tick::SetBy(size) = tick {
                // A size that no decision has seen has not been.
                inactive = inactive.filter(|_| *size == 0 || known > 0);
                (seen.target.replicas, seen.target.status_replicas) = (*size, *size);
                continue;
            }
            let load = if let Tick::Load(load) = tick { *load } else { 0 };
            seen.observations = if *tick == Tick::Unknown { vec![] } else { vec![total(load)] };
            let decision = decide_scale(now, &seen);
            let size = seen.target.replicas;
            inactive = inactive.or(Some(now)).filter(|_| *tick == Tick::Load(0));
            prop_assert!(decision.desired > 0 || load == 0);
            if size == 0 {
                let backlog = i32::try_from((load + 999) / 1000).unwrap().min(25);
                prop_assert_eq!(decision.desired, backlog);
            } else if decision.desired == 0 {
                prop_assert!(inactive.is_some_and(|since| now.duration_since(since) >= seconds(cool_down)), "{decision:#?}");
            }
            seen.history = decision.history;
            if let Verdict::Set(to) = decision.verdict {
                seen.history = settle(seen.history, &seen.spec, to);
                (seen.target.replicas, seen.target.status_replicas) = (to, to);
            }
            (seen.previous, known) = (Some(now), seen.target.replicas);
        }
    }
}

#[test]
fn where_no_metric_is_looked_at_none_stays_unknown() {
    let fallback = json!({"after": "5m", "replicas": 5});
    let spec = json!({"minReplicas": 1, "maxReplicas": 9, "metrics": [external("m")], "fallback": fallback});
    let mut seen = snapshot(spec, 3);
    let size_at = |seen: &mut trimtab_scale::ScaleSnapshot, second: i64, size: i32| {
        (seen.target.replicas, seen.target.status_replicas) = (size, size);
        let decision = decide_scale(at(second), seen);
        (seen.history, seen.previous) = (decision.history, Some(at(second)));
        decision.desired
    };
    assert_eq!(size_at(&mut seen, 0, 3), 3);
    // Somebody sets 0 over the weekend, and 3 again.
    assert_eq!(size_at(&mut seen, 60, 0), 0);
    assert!(seen.history.unknown.is_empty(), "{:?}", seen.history);
    assert_eq!((size_at(&mut seen, 200_000, 3), size_at(&mut seen, 200_299, 3)), (3, 3));
    assert_eq!(size_at(&mut seen, 200_300, 3), 5);
    // A metric that the spec has no more.
    seen.history.unknown[0].index = 1;
    size_at(&mut seen, 200_315, 5);
    assert_eq!(seen.history.unknown.iter().map(|one| one.index).collect::<Vec<_>>(), [0]);
}

#[test]
fn what_a_clock_noted_that_was_put_back_holds_no_longer_than_what_was_noted_now() {
    let slow = json!({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]});
    let down = json!({"stabilizationWindowSeconds": 60});
    let spec = json!({"minReplicas": 1, "maxReplicas": 9, "metrics": [external("m")],
        "behavior": {"scaleUp": slow, "scaleDown": down}});
    let history =
        json!({"recommendations": [{"at": at(86_400), "replicas": 6}], "ups": [{"at": at(86_400), "change": 1}]});
    for (load, expected) in [(6_000, 5), (1_000, 1)] {
        let mut seen = snapshot(spec.clone(), 4);
        (seen.history, seen.observations) = (serde_json::from_value(history.clone()).unwrap(), vec![total(load)]);
        let first = decide_scale(at(0), &seen);
        assert_eq!(first.desired, 4, "{first:#?}");
        (seen.history, seen.previous) = (first.history, Some(at(0)));
        assert_eq!(decide_scale(at(61), &seen).desired, expected, "{:?}", seen.history);
    }
}

#[test]
fn it_does_fall_asleep_and_a_schedule_of_none_ends_with_the_smallest_size() {
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    let spec = json!({"minReplicas": 0, "maxReplicas": 25, "metrics": [external("m")], "behavior": behavior, "coolDown": "60s"});
    let mut seen = snapshot(spec, 3);
    seen.observations = vec![total(0)];
    let first = decide_scale(at(0), &seen);
    assert_eq!(first.desired, 1);
    (seen.history, seen.previous) = (settle(first.history, &seen.spec, 1), Some(at(0)));
    (seen.target.replicas, seen.target.status_replicas) = (1, 1);
    assert_eq!(decide_scale(at(59), &seen).desired, 1);
    assert_eq!(decide_scale(at(60), &seen).desired, 0);

    let window = json!({"name": "night", "start": "0 22 * * *", "end": "0 23 * * *", "timeZone": "UTC", "replicas": 0});
    let mut seen = snapshot(json!({"minReplicas": 2, "maxReplicas": 5, "schedules": [window]}), 4);
    let night = decide_scale(at(0), &seen);
    assert_eq!(night.verdict, Verdict::Set(0));
    (seen.history, seen.previous) = (settle(night.history, &seen.spec, 0), Some(at(0)));
    (seen.target.replicas, seen.target.status_replicas) = (0, 0);
    assert_eq!(decide_scale(at(600), &seen).verdict, Verdict::Keep);
    assert_eq!(decide_scale(at(3600), &seen).verdict, Verdict::Set(2));
}
