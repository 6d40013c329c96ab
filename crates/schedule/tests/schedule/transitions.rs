//! Ten time zones over years with all their changes of clocks, against `transitions.txt`. That was worked out with Python's
//! zoneinfo from the same edition of the tz database, by a clock that ticks minute by minute and shares no code or way of
//! thinking with the crate: a time fires when the clock first reaches or passes it.
//!
//! A line `cron EXPRESSION|COUNT|DIGEST|TIMES` has the number of firings in the years, FNV-1a over all of them in Unix
//! seconds, and those within two days of a change: minutes since the one before, `x` for so many in a row. A line
//! `window START|END|OPEN|COUNT|DIGEST|TIMES` has the openings and closings in the same way, and whether it was open before.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use trimtab_schedule::{Cron, Limits, Schedules, zone};

use crate::{at, window};

const EXPECTED: &str = include_str!("transitions.txt");
/// How far from a change of clocks the times are listed.
const NEAR: SignedDuration = SignedDuration::from_hours(48);

/// Years in a time zone.
struct Years {
    name: String,
    zone: TimeZone,
    from: Timestamp,
    to: Timestamp,
    changes: Vec<Timestamp>,
}

impl Years {
    fn read(line: &str) -> Self {
        let parts: Vec<&str> = line.split(' ').collect();
        let [name, from, to, count] = parts[..] else { panic!("{line}") };
        let (from, to) = (at(&format!("{from}-01-01T00:00Z")), at(&format!("{to}-01-01T00:00Z")));
        let zone = zone(name).unwrap();
        // What clocks show changes, not only what the time is called.
        let before = |at: Timestamp| zone.to_offset(at.checked_sub(SignedDuration::from_secs(1)).unwrap());
        let known = zone.following(before_first(from)).take_while(|change| change.timestamp() < to);
        let changes =
            known.filter(|change| before(change.timestamp()) != change.offset()).map(|change| change.timestamp());
        let changes: Vec<Timestamp> = changes.collect();
        assert_eq!(changes.len().to_string(), count, "{line}: another edition of the tz database?");
        Self { name: name.to_owned(), zone, from, to, changes }
    }

    /// Asserts that these times are the expected ones.
    fn check(&self, what: &str, times: &[Timestamp], count: &str, digest: &str, near: &str) {
        let expected: Vec<Timestamp> = self.near(near);
        let is_near = |time: &&Timestamp| self.changes.iter().any(|change| time.duration_since(*change).abs() <= NEAR);
        let found: Vec<Timestamp> = times.iter().filter(is_near).copied().collect();
        let differs: BTreeSet<&Timestamp> = found.iter().filter(|time| !expected.contains(time)).collect();
        assert_eq!(found, expected, "{what} in {}: near changes; only here {differs:?}", self.name);
        assert_eq!(times.len().to_string(), count, "{what} in {}: how many", self.name);
        assert_eq!(format!("{:016x}", fnv(times)), digest, "{what} in {}: all of them", self.name);
    }

    fn near(&self, text: &str) -> Vec<Timestamp> {
        let mut last = self.from;
        let mut times = vec![];
        for run in text.split_whitespace() {
            let (minutes, often) = run.split_once('x').unwrap_or((run, "1"));
            for _ in 0..often.parse::<usize>().unwrap() {
                last = last.checked_add(SignedDuration::from_mins(minutes.parse().unwrap())).unwrap();
                times.push(last);
            }
        }
        times
    }
}

/// Right before a moment, so that what is at the moment comes after it.
fn before_first(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_nanos(1)).unwrap()
}

fn fnv(times: &[Timestamp]) -> u64 {
    let bytes = times.iter().flat_map(|time| u64::try_from(time.as_second()).unwrap().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn check_cron(years: &Years, line: &str) {
    let parts: Vec<&str> = line.split('|').collect();
    let [text, count, digest, near] = parts[..] else { panic!("{line}") };
    let cron: Cron = text.parse().unwrap();
    let next = |after: Timestamp| cron.next(after, &years.zone).filter(|time| *time < years.to);
    let forwards: Vec<Timestamp> = std::iter::successors(next(before_first(years.from)), |time| next(*time)).collect();
    years.check(text, &forwards, count, digest, near);
    // Those that fire every few minutes are gone through once: the properties go through them both ways.
    if forwards.len() > 20_000 {
        return;
    }
    let previous = |before: Timestamp| cron.previous(before, &years.zone).filter(|time| *time >= years.from);
    let mut backwards: Vec<Timestamp> = std::iter::successors(previous(years.to), |time| previous(*time)).collect();
    backwards.reverse();
    assert!(forwards == backwards, "{text} in {}: backwards not as forwards", years.name);
}

fn check_window(years: &Years, line: &str) {
    let parts: Vec<&str> = line.split('|').collect();
    let [start, end, open, count, digest, near] = parts[..] else { panic!("{line}") };
    let mut window = window("w", start, end, &years.name);
    window.replicas = Some(7);
    let (schedules, problems) = Schedules::read(&[window]);
    assert!(problems.is_empty(), "{problems:?}");
    let before = before_first(years.from);
    assert_eq!(schedules.active(before).len().to_string(), open, "{line} in {}", years.name);
    let changes: Vec<_> = schedules.upcoming(before, before_first(years.to), Limits { min: 1, max: 5 }).collect();
    assert!(changes.iter().all(|change| change.resizes && change.opened.len() + change.closed.len() == 1));
    let times: Vec<Timestamp> = changes.iter().map(|change| change.at).collect();
    years.check(line, &times, count, digest, near);
}

fn check_all(kind: &str, check: fn(&Years, &str)) {
    let (mut years, mut checked) = (None, 0);
    for line in EXPECTED.lines() {
        if let Some(zone) = line.strip_prefix("zone ") {
            years = Some(Years::read(zone));
        } else if let (Some(years), Some(rest)) = (&years, line.strip_prefix(kind)) {
            check(years, rest);
            checked += 1;
        }
    }
    assert!(checked >= 14 * 8, "{checked} lines");
}

#[test]
fn expressions_fire_in_ten_time_zones_as_an_independent_clock_says() {
    check_all("cron ", check_cron);
}

#[test]
fn windows_open_and_close_in_ten_time_zones_as_an_independent_clock_says() {
    check_all("window ", check_window);
}
