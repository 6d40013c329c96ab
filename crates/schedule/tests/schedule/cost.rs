//! What it costs to tell what schedules say, in looks and never in time: little for what people write, and never more than the bound.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use trimtab_schedule::{LOOKS, Limits, Said, ScheduleWindow, Schedules};

use crate::properties::cron;
use crate::{at, window};

const OWN: Limits = Limits { min: 2, max: 40 };
/// What each window may take beyond the bound: whether it is open is told in any case, and an expression that names only the
/// 29th of February has eight years to look through.
const BESIDE: u64 = 2_000;

fn exactly(mut window: ScheduleWindow, replicas: i32, priority: i32) -> ScheduleWindow {
    (window.replicas, window.priority) = (Some(replicas), priority);
    window
}

/// What windows say, within the bound.
fn check(windows: &[ScheduleWindow], now: Timestamp) -> Said {
    let (schedules, problems) = Schedules::read(windows);
    assert_eq!(problems, []);
    let said = schedules.said(now, OWN);
    let most = LOOKS + BESIDE * u64::try_from(windows.len()).unwrap();
    assert!(said.looks <= most, "{} looks of {most}", said.looks);
    said
}

/// Windows that open again whenever they close, until the 31st, and one that changes each minute and resizes nothing.
fn hostile(zone: &str) -> Vec<ScheduleWindow> {
    let endless = |n: i32| exactly(window(&format!("w{n}"), "* * 1-30 * *", "* * * * *", zone), 3, 1);
    let mut idle = window("idle", "*/2 * * * *", "1-59/2 * * * *", "UTC");
    (idle.min_replicas, idle.priority) = (Some(1), -1);
    (0..49).map(endless).chain([idle]).collect()
}

#[test]
fn fifty_windows_that_never_close_take_no_more_looks_than_the_bound() {
    for zone in ["UTC", "Europe/Berlin"] {
        let said = check(&hostile(zone), at("2026-02-06T12:00Z"));
        assert_eq!((said.effect.exact(), said.next), (Some(3), None), "their sizes hold all the same");
        let told: Vec<String> =
            said.problems.iter().map(|problem| format!("{} {}", problem.window, problem.field)).collect();
        assert_eq!((told.len(), told[0].as_str()), (49, "w0 end"));
        assert!(said.problems[0].message.contains("50000 looks"), "{}", said.problems[0]);
    }
}

#[test]
fn what_people_write_is_told_to_the_end_beside_what_is_endless() {
    let office = exactly(window("office", "30 6 * * 1-5", "10 22 * * *", "Europe/Prague"), 7, 9);
    let season = exactly(window("season", "0 0 29 2 *", "0 0 1 12 *", "America/New_York"), 7, 8);
    let said = check(&[hostile("UTC"), vec![office.clone(), season.clone()]].concat(), at("2028-03-06T12:00Z"));
    assert_eq!(said.effect.because, "exactly 7 replicas: window office until 2028-03-06T21:10:00Z");
    assert!(said.problems.iter().all(|problem| problem.window.starts_with('w')), "{:?}", said.problems);
    let said = check(&[office, season], at("2028-03-06T12:00Z"));
    assert_eq!(said.next.map(|next| next.at), Some(at("2028-12-01T05:00Z")), "it asks for the same until then");
    assert!(said.looks < LOOKS / 5, "{} looks", said.looks);
}

#[test]
fn whatever_fires_seldom_is_counted_by_the_days_that_are_looked_at() {
    // Ends with each start on the 29th of February, so that it is open for ever, eight years of days for each look.
    let leap = |n: i32| exactly(window(&format!("leap{n}"), "0 0 29,30 2 *", "0 0 29 2 *", "UTC"), 3, n);
    let all: Vec<ScheduleWindow> = (0..50).map(leap).collect();
    let said = check(&all, at("2026-02-06T12:00Z"));
    assert_eq!(said.problems.len(), 50);
    // A duration that goes over from each start to the next.
    let chain = |n: i32| ScheduleWindow {
        end: None,
        duration: Some("90s".to_owned()),
        ..exactly(window(&format!("chain{n}"), "* * * 1-6 *", "", "Asia/Gaza"), 3, n)
    };
    let said = check(&(0..50).map(chain).collect::<Vec<_>>(), at("2026-04-01T00:00Z"));
    assert_eq!((said.problems.len(), said.problems[0].field), (50, "duration"));
}

#[test]
fn an_end_that_is_always_a_start_is_refused_in_whatever_words() {
    for (start, end) in [
        ("* * 1-31 * *", "* * * * *"),
        ("*/5 * * 1-12 0-6", "@hourly"),
        ("* * 1-31 * 1", "0 8 * * *"),
        ("* * */1 * *", "0 8 1 * 3"),
    ] {
        let (_, problems) = Schedules::read(&[exactly(window("w", start, end, "UTC"), 3, 0)]);
        assert!(
            problems.iter().any(|problem| problem.message.contains("never does")),
            "{start} to {end}: {problems:?}"
        );
    }
    for (start, end) in
        [("* * 1-30 * *", "* * * * *"), ("* * 1-31 1-11 *", "* * * * *"), ("* * * * 1-6", "* * 1-31 * *")]
    {
        let (_, problems) = Schedules::read(&[exactly(window("w", start, end, "UTC"), 3, 0)]);
        assert_eq!(problems, [], "{start} to {end} closes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_expressions_say_takes_no_more_looks_than_the_bound(
        pairs in proptest::collection::vec((cron(), cron(), 0..4_u32), 1..50), seconds in 1_262_304_000_i64..2_051_222_400,
    ) {
        let windows: Vec<ScheduleWindow> = pairs.iter().enumerate().map(|(n, (start, end, lasts))| {
            let mut one = exactly(window(&format!("w{n}"), &start.to_string(), &end.to_string(), "Europe/Berlin"), 3, 0);
            if *lasts > 0 {
                (one.end, one.duration) = (None, Some(format!("{}m", 10_u32.pow(*lasts - 1))));
            }
            one
        }).collect();
        let (schedules, _) = Schedules::read(&windows);
        let now = Timestamp::from_second(seconds).unwrap();
        let said = schedules.said(now, OWN);
        prop_assert!(said.looks <= LOOKS + BESIDE * 50, "{} looks", said.looks);
        // What is known of the next change is what is then found.
        prop_assert_eq!(&said.effect, &schedules.effect(now, OWN));
        if let Some(next) = said.next.filter(|_| said.problems.is_empty()) {
            let before = next.at.checked_sub(SignedDuration::from_nanos(1)).unwrap();
            prop_assert!(schedules.effect(before, OWN).bounds_alike(&said.effect));
            prop_assert!(schedules.effect(next.at, OWN).bounds_alike(&next.effect));
        }
    }
}
