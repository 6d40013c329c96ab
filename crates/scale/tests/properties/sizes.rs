//! Sizes stay within their bounds, those of schedules too; and sleep begins late and ends at once.

use proptest::prelude::*;
use serde_json::json;
use trimtab_scale::{Verdict, decide_scale, settle};

use super::world::{at, behaviors, external, histories, seconds, snapshot, total};

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
        let hour = (22 * 3600 + 13 * 60 + 20 + second) % 86_400 / 3600;
        let (least, most) = match ((8..12).contains(&hour), exactly) {
            (true, true) => (least, least),
            (true, false) => (least, least + more),
            (false, _) => (3, 7),
        };
        let desired = decide_scale(at(second), &seen).desired;
        let disabled = size == 0 && least > 0;
        prop_assert!(if disabled { desired == 0 } else { (least..=most).contains(&desired) }, "{size} to {desired}");
    }

    #[test]
    fn sleep_begins_after_the_cool_down_and_ends_with_all_that_is_needed(
        loads in prop::collection::vec(prop_oneof![3 => Just(0i64), 1 => 1..40_000i64], 1..60), behavior in behaviors(),
        cool_down in prop::sample::select(vec![0i64, 60, 300, 900]), step in prop::sample::select(vec![15i64, 60, 120]),
    ) {
        let spec = json!({"minReplicas": 0, "maxReplicas": 25, "metrics": [external("m")], "behavior": behavior,
            "coolDown": format!("{cool_down}s")});
        let mut seen = snapshot(spec, 1);
        let mut inactive = None;
        for (tick, load) in loads.iter().enumerate() {
            let now = at(step * i64::try_from(tick).unwrap());
            seen.observations = vec![total(*load)];
            let decision = decide_scale(now, &seen);
            let size = seen.target.replicas;
            if *load > 0 {
                inactive = None;
                prop_assert!(decision.desired > 0);
            } else {
                inactive = inactive.or(Some(now));
            }
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
            seen.previous = Some(now);
        }
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
