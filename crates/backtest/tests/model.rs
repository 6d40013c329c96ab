//! The model against numbers that were worked out by hand, and what holds for any load.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_backtest::{Course, Feed, Row, Setup, as_hpa, interval, run, score};
use trimtab_crds::AutoscalerSpec;

fn spec(metric: Value, more: &Value) -> AutoscalerSpec {
    let mut all = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 20,
                         "metrics": [metric]});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn queue() -> Value {
    json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}})
}

fn cpu() -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}})
}

/// A row each 15 seconds, up to and with this second.
fn feed(name: &str, until: i64, value: impl Fn(i64) -> Option<f64>) -> Feed {
    let row = |n: i64| Row { at: Timestamp::from_second(n * 15).unwrap(), values: vec![value(n * 15)] };
    Feed::new(vec![name.to_owned()], (0..=until / 15).map(row).collect()).unwrap()
}

fn go(spec: &AutoscalerSpec, feed: &Feed, setup: &Setup) -> Course {
    run(spec, feed, setup).unwrap()
}

/// The sizes and since which second each held.
fn sizes(course: &Course) -> Vec<(i64, i32)> {
    let mut found: Vec<(i64, i32)> = vec![];
    for tick in &course.ticks {
        if found.last().is_none_or(|last| last.1 != tick.size) {
            found.push((tick.at.as_second(), tick.size));
        }
    }
    found
}

#[test]
fn constant_load_is_one_change() {
    let setup = Setup { initial: Some(2), ..Setup::default() };
    let course = go(&spec(queue(), &json!({})), &feed("queue", 3600, |_| Some(35.0)), &setup);
    assert_eq!(sizes(&course), [(0, 4)]);
    let score = score(&course, 0.1);
    assert_eq!((score.changes, score.largest_step, score.reversals), (1, 2, 0));
    // Two pods serve 35 for two steps; then four have 8.75 each.
    assert_eq!((score.under_provisioned_minutes, score.p95_load), (0.5, Some(0.875)));
}

#[test]
fn a_step_up_and_down_goes_as_the_hpa_s_rules_say() {
    let load = |second| Some(if (300..600).contains(&second) { 80.0 } else { 20.0 });
    let course = go(&spec(queue(), &json!({})), &feed("queue", 1200, load), &Setup::default());
    // No more than 4 or double at once. Down when nobody has asked for 8 for 300 s, the end included: the last was at 585.
    assert_eq!(sizes(&course), [(0, 2), (300, 4), (315, 8), (900, 2)]);
    let score = score(&course, 0.1);
    // 20 steps of 2, 1 of 4, 39 of 8, 21 of 2, a quarter of a minute each.
    assert_eq!(score.replica_hours, 398.0 * 15.0 / 3600.0);
    // 2 pods serve at 300 and 315, 4 at 330, 8 from 345 on.
    assert_eq!(score.under_provisioned_minutes, 0.75);
    assert_eq!((score.changes, score.largest_step, score.reversals, score.largest), (3, 6, 1, 8));
    assert_eq!(score.hours, 81.0 * 15.0 / 3600.0);
}

#[test]
fn the_pods_of_a_resource_metric_share_the_total() {
    // 500m of a request of 1000m for each pod: 3 cores are 6 pods.
    let course = go(&spec(cpu(), &json!({})), &feed("cpu", 3600, |_| Some(3.0)), &Setup::default());
    assert_eq!((course.initial, sizes(&course)), (6, vec![(0, 6)]));
    let requests = [("cpu".to_owned(), trimtab_crds::Milli(500))].into();
    let course =
        go(&spec(cpu(), &json!({})), &feed("cpu", 3600, |_| Some(3.0)), &Setup { requests, ..Setup::default() });
    assert_eq!(course.initial, 12);
    assert_eq!(course.unit, Some(("cpu".to_owned(), 0.25)));
}

#[test]
fn a_young_pod_s_cpu_does_not_count_until_its_sample_does() {
    let load = |second| Some(if second < 300 { 1.0 } else { 3.0 });
    let course = go(&spec(cpu(), &json!({})), &feed("cpu", 1200, load), &Setup::default());
    // 150 % of a core by 2 pods ask for 6; at most 4 at once. With 2 that start and count as idle it is 150 % by 4 pods still.
    assert_eq!(sizes(&course)[..2], [(0, 2), (300, 4)]);
    assert_eq!(course.ticks.last().unwrap().size, 6);
}

#[test]
fn a_gap_never_makes_it_smaller() {
    let gap = |second| (second < 300).then_some(80.0);
    let course = go(&spec(queue(), &json!({})), &feed("queue", 7200, gap), &Setup::default());
    assert_eq!(sizes(&course), [(0, 8)]);
    assert_eq!(score(&course, 0.1).unknown_minutes, 461.0 * 0.25);
    let course = go(&spec(cpu(), &json!({})), &feed("cpu", 7200, |s| (s < 300).then_some(3.0)), &Setup::default());
    assert_eq!(sizes(&course), [(0, 6)]);
}

#[test]
fn a_schedule_counts_for_the_one_and_not_for_the_hpa() {
    let more = json!({"schedules": [{"name": "early", "start": "30 0 * * *", "duration": "30m", "timeZone": "UTC",
                                     "minReplicas": 9}], "interval": "1m"});
    let spec = spec(queue(), &more);
    let feed = feed("queue", 7200, |_| Some(30.0));
    // Open from 1800 to 3600 s; down once 9, which never was recommended, is not held by the window any more.
    assert_eq!(sizes(&go(&spec, &feed, &Setup::default())), [(0, 3), (1800, 9), (3600, 3)]);
    let hpa = as_hpa(&spec);
    assert_eq!(sizes(&go(&hpa, &feed, &Setup::default())), [(0, 3)]);
    assert_eq!(interval(&hpa, &trimtab_scale::Options::default()), SignedDuration::from_secs(15));
    assert_eq!(go(&spec, &feed, &Setup::default()).decisions, 121);
}

#[test]
fn what_sleeps_wakes_and_is_short_until_a_pod_serves() {
    let more = json!({"minReplicas": 0});
    let load = |second| Some(if second >= 1200 { 40.0 } else { 0.0 });
    let setup = Setup { initial: Some(1), ..Setup::default() };
    let course = go(&spec(queue(), &more), &feed("queue", 1500, load), &setup);
    // Cool after 300 s; until 285 s a pod was asked for, and that holds for 300 s.
    assert_eq!(sizes(&course), [(0, 1), (600, 0), (1200, 4)]);
    let score = score(&course, 0.1);
    assert_eq!((score.under_provisioned_minutes, score.smallest), (0.5, 0));
}

#[test]
fn a_spec_that_does_not_fit_is_told_why() {
    let spec = spec(queue(), &json!({}));
    let error = run(&spec, &feed("rps", 60, |_| Some(1.0)), &Setup::default()).unwrap_err().to_string();
    assert_eq!(error, "no column is called queue, as a metric of the autoscaler is: the columns are rps");
    let to = Some(Timestamp::from_second(-60).unwrap());
    let error = run(&spec, &feed("queue", 60, |_| None), &Setup { to, ..Setup::default() }).unwrap_err().to_string();
    assert!(error.contains("the rows are from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_load_stays_within_the_sizes_and_comes_out_the_same_twice(
        values in prop::collection::vec(prop::option::of(0.0f64..300.0), 2..200),
        start in 0i64..90,
    ) {
        let setup = Setup { pod_start: SignedDuration::from_secs(start), ..Setup::default() };
        let feed = feed("queue", (values.len() as i64 - 1) * 15, |second| values[(second / 15) as usize]);
        let spec = spec(queue(), &json!({"minReplicas": 2}));
        let course = go(&spec, &feed, &setup);
        prop_assert!(course.ticks.iter().all(|tick| (2..=20).contains(&tick.size) && tick.serving <= tick.size));
        for (tick, next) in course.ticks.iter().zip(course.ticks.iter().skip(1)) {
            // No sample: no smaller.
            prop_assert!(next.needed.is_some() || next.size >= tick.size);
        }
        let again = go(&spec, &feed, &setup);
        prop_assert_eq!(score(&again, 0.1), score(&course, 0.1));
        prop_assert_eq!(again, course);
    }
}
