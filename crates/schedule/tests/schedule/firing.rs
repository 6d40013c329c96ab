//! When expressions fire where clocks change, as a person would work it out with a calendar.

use trimtab_schedule::{Cron, zone};

use crate::at;

/// The firings after one moment and up to another, found forwards, and the same backwards.
fn fired(cron: &str, name: &str, from: &str, to: &str) -> Vec<String> {
    let (cron, zone) = (cron.parse::<Cron>().unwrap(), zone(name).unwrap());
    let forwards: Vec<_> = std::iter::successors(cron.next(at(from), &zone), |last| cron.next(*last, &zone))
        .take_while(|found| *found <= at(to))
        .collect();
    let after = at(to).checked_add(jiff::SignedDuration::from_nanos(1)).unwrap();
    let mut backwards: Vec<_> = std::iter::successors(cron.previous(after, &zone), |last| cron.previous(*last, &zone))
        .take_while(|found| *found > at(from))
        .collect();
    backwards.reverse();
    assert_eq!(forwards, backwards, "{cron} in {name}");
    forwards.iter().map(|found| found.to_zoned(zone.clone()).strftime("%d %H:%M%:z").to_string()).collect()
}

const NEW_YORK_GAP: (&str, &str, &str) = ("America/New_York", "2026-03-07T12:00Z", "2026-03-09T12:00Z");
const NEW_YORK_REPEAT: (&str, &str, &str) = ("America/New_York", "2026-10-31T12:00Z", "2026-11-02T12:00Z");

#[test]
fn a_time_that_is_skipped_fires_at_the_end_of_the_gap_once() {
    let (zone, from, to) = NEW_YORK_GAP;
    assert_eq!(fired("30 2 * * *", zone, from, to), ["08 03:00-04:00", "09 02:30-04:00"]);
    let quarters = ["08 03:00-04:00", "09 02:00-04:00", "09 02:15-04:00", "09 02:30-04:00", "09 02:45-04:00"];
    assert_eq!(fired("*/15 2 * * *", zone, from, to), quarters);
    assert_eq!(fired("0 2,3 * * *", zone, from, to), ["08 03:00-04:00", "09 02:00-04:00", "09 03:00-04:00"]);
    assert_eq!(fired("30 2 8 3 *", zone, from, "2030-01-01T00:00Z").len(), 4, "a day that a year has once");
}

#[test]
fn a_time_that_comes_twice_fires_the_first_time_only() {
    let (zone, from, to) = NEW_YORK_REPEAT;
    assert_eq!(fired("30 1 * * *", zone, from, to), ["01 01:30-04:00", "02 01:30-05:00"]);
    assert_eq!(fired("0 1 * * *", zone, from, to), ["01 01:00-04:00", "02 01:00-05:00"]);
    assert_eq!(fired("59 1 * * *", zone, from, to), ["01 01:59-04:00", "02 01:59-05:00"]);
    // From within the second pass, forwards and backwards.
    assert_eq!(fired("30 1 * * *", zone, "2026-11-01T06:10Z", to), ["02 01:30-05:00"]);
    assert_eq!(fired("30 1 * * *", zone, from, "2026-11-01T06:10Z"), ["01 01:30-04:00"]);
}

#[test]
fn an_interval_runs_through_in_real_time() {
    let (zone, from, to) = ("America/New_York", "2026-11-01T04:45Z", "2026-11-01T07:00Z");
    assert_eq!(fired("0 * * * *", zone, from, to), ["01 01:00-04:00", "01 01:00-05:00", "01 02:00-05:00"]);
    assert_eq!(fired("*/5 * * * *", zone, from, to).len(), 27);
    let (zone, from, to) = ("America/New_York", "2026-03-08T06:15Z", "2026-03-08T08:00Z");
    assert_eq!(fired("30 * * * *", zone, from, to), ["08 01:30-05:00", "08 03:30-04:00"]);
    assert_eq!(fired("*/5 * * * *", zone, from, to).len(), 21);
}

#[test]
fn half_an_hour_at_midnight_and_a_day_that_never_was_are_gaps_too() {
    let lord_howe = ("Australia/Lord_Howe", "2026-10-03T13:00Z", "2026-10-04T13:00Z");
    assert_eq!(fired("15 2 * * *", lord_howe.0, lord_howe.1, lord_howe.2), ["04 02:30+11:00"]);
    let lord_howe = ("Australia/Lord_Howe", "2026-04-04T13:00Z", "2026-04-05T13:00Z");
    assert_eq!(fired("45 1 * * *", lord_howe.0, lord_howe.1, lord_howe.2), ["05 01:45+11:00"]);
    let sao_paulo = ("America/Sao_Paulo", "2018-11-03T12:00Z", "2018-11-05T12:00Z");
    assert_eq!(fired("@daily", sao_paulo.0, sao_paulo.1, sao_paulo.2), ["04 01:00-02:00", "05 00:00-02:00"]);
    // On Samoa no 30 December came in 2011.
    let apia = ("Pacific/Apia", "2011-12-29T12:00Z", "2012-01-01T08:00Z");
    let days = ["29 09:00-10:00", "31 00:00+14:00", "31 09:00+14:00", "01 09:00+14:00"];
    assert_eq!(fired("0 9 * * *", apia.0, apia.1, apia.2), days);
}

#[test]
fn what_fires_seldom_is_found_at_once_and_the_calendar_ends() {
    let utc = zone("UTC").unwrap();
    let leap: Cron = "0 0 29 2 *".parse().unwrap();
    assert_eq!(leap.next(at("2097-01-01T00:00Z"), &utc), Some(at("2104-02-29T00:00Z")));
    assert_eq!(leap.previous(at("2103-01-01T00:00Z"), &utc), Some(at("2096-02-29T00:00Z")));
    for text in ["0 0 29 2 *", "* * * * *", "0 0 1 1 *"] {
        let cron: Cron = text.parse().unwrap();
        for name in ["UTC", "Europe/Berlin", "Asia/Kolkata"] {
            let zone = zone(name).unwrap();
            assert_eq!(cron.next(jiff::Timestamp::MAX, &zone), None);
            assert_eq!(cron.previous(jiff::Timestamp::MIN, &zone), None);
            assert!(cron.next(jiff::Timestamp::MIN, &zone).is_some());
            assert!(cron.previous(jiff::Timestamp::MAX, &zone).is_some());
        }
    }
}
