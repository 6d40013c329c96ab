//! What holds for every expression, zone and moment, against a clock that ticks minute by minute.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use trimtab_schedule::{Cron, Limits, ScheduleWindow, Schedules, zone};

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Tehran",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Gaza",
];
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn field(first: u8, last: u8) -> impl Strategy<Value = String> {
    let value = first..=last;
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => (2..=(last / 2).max(3)).prop_map(|step| format!("*/{step}")),
        3 => value.clone().prop_map(|v| v.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), value).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

/// Expressions that fire; half of them at night, where clocks change.
pub fn cron() -> impl Strategy<Value = Cron> {
    let hour = prop_oneof![field(0, 23), field(0, 3)];
    let parts = (field(0, 59), hour, prop_oneof![2 => Just("*".to_owned()), 1 => field(1, 31)]);
    let rest = (prop_oneof![3 => Just("*".to_owned()), 1 => field(1, 12)], field(0, 7));
    (parts, rest).prop_filter_map("never fires", |((minute, hour, day), (month, weekday))| {
        format!("{minute} {hour} {day} {month} {weekday}").parse().ok()
    })
}

fn zones() -> impl Strategy<Value = TimeZone> {
    proptest::sample::select(&ZONES[..]).prop_map(|name| zone(name).unwrap())
}

/// Moments of 2010 to 2035, half of them within days of a change of clocks.
fn moments() -> impl Strategy<Value = (TimeZone, Timestamp)> {
    let range = 1_262_304_000_i64..2_051_222_400;
    (zones(), range, -200_000_i64..200_000, any::<bool>(), 0..1_000_000_000_i32).prop_map(
        |(zone, at, by, near, nanos)| {
            let anywhere = Timestamp::new(at, nanos).unwrap();
            let change = zone.following(anywhere).next().filter(|_| near).map(|change| change.timestamp());
            let moment = change.map(|change| change.checked_add(SignedDuration::from_secs(by)).unwrap());
            (zone.clone(), moment.unwrap_or(anywhere))
        },
    )
}

/// A clock on a wall from a moment on: for each minute, the times that it reaches or passes, and those it shows again.
struct Clock {
    zone: TimeZone,
    at: Timestamp,
    /// The last time that it has not yet shown before.
    high: DateTime,
}

/// One minute of a clock.
struct Tick {
    at: Timestamp,
    /// What it shows.
    shows: DateTime,
    /// The times that it reaches or passes for the first time, in order.
    passes: Vec<DateTime>,
}

impl Clock {
    /// It starts two days early, so that it knows what it showed.
    fn new(zone: &TimeZone, at: Timestamp) -> Self {
        let whole = Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap();
        let early = whole.checked_sub(SignedDuration::from_hours(48)).unwrap();
        Self { zone: zone.clone(), at: early, high: zone.to_datetime(early).checked_sub(MINUTE).unwrap() }
    }
}

impl Iterator for Clock {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        let (at, shows) = (self.at, self.zone.to_datetime(self.at));
        let mut passes = vec![];
        while self.high < shows {
            self.high = self.high.checked_add(MINUTE).unwrap();
            passes.push(self.high);
        }
        self.at = at.checked_add(MINUTE).unwrap();
        Some(Tick { at, shows, passes })
    }
}

/// Whether an expression fires at a tick.
fn fires(cron: &Cron, hourly: bool, tick: &Tick) -> bool {
    if hourly { cron.names(tick.shows) } else { tick.passes.iter().any(|wall| cron.names(*wall)) }
}

/// Whether an expression names every hour, found by its text.
fn is_hourly(cron: &Cron) -> bool {
    ["*", "0-23"].contains(&cron.to_string().split(' ').nth(1).unwrap_or_default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn next_is_after_and_previous_before_and_they_undo_each_other(cron in cron(), (zone, at) in moments()) {
        let next = cron.next(at, &zone).unwrap();
        let previous = cron.previous(at, &zone).unwrap();
        prop_assert!(next > at && previous < at);
        // Nothing lies between the one before and the one after, save the moment itself.
        let between = cron.next(previous, &zone).unwrap();
        prop_assert!(between == next || between == at);
        let after = cron.next(next, &zone).unwrap();
        prop_assert_eq!(cron.previous(after, &zone), Some(next));
        prop_assert_eq!(cron.next(cron.previous(next, &zone).unwrap(), &zone), Some(next));
    }

    #[test]
    fn a_later_question_has_no_earlier_answer(cron in cron(), (zone, at) in moments(), by in 0_i64..200_000) {
        let later = at.checked_add(SignedDuration::from_secs(by)).unwrap();
        prop_assert!(cron.next(at, &zone) <= cron.next(later, &zone));
        prop_assert!(cron.previous(at, &zone) <= cron.previous(later, &zone));
    }

    #[test]
    fn no_text_stops_the_reader(text in "[ -~]{0,40}", fields in "[0-9A-Z*?/,\\-@#]{1,6}( [0-9A-Z*?/,\\-]{1,6}){4}") {
        for text in [text, fields] {
            if let Ok(cron) = text.parse::<Cron>() {
                prop_assert!(cron.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_some());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_fires_as_a_clock_on_a_wall_says(cron in cron(), (zone, at) in moments()) {
        let (week, hourly) = (at.checked_add(SignedDuration::from_hours(24 * 7)).unwrap(), is_hourly(&cron));
        let ticks = Clock::new(&zone, at).take_while(|tick| tick.at <= week).filter(|tick| fires(&cron, hourly, tick));
        let expected: Vec<Timestamp> = ticks.map(|tick| tick.at).filter(|tick| *tick > at).collect();
        let found = std::iter::successors(cron.next(at, &zone), |last| cron.next(*last, &zone));
        let found: Vec<Timestamp> = found.take_while(|found| *found <= week).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn windows_are_open_when_a_clock_on_a_wall_says(start in cron(), end in cron(), (zone, at) in moments()) {
        let name = zone.iana_name().unwrap().to_owned();
        let window = ScheduleWindow {
            name: "w".to_owned(), start: start.to_string(), end: Some(end.to_string()), time_zone: name,
            replicas: Some(3), ..ScheduleWindow::default()
        };
        let (schedules, problems) = Schedules::read(&[window]);
        prop_assume!(problems.is_empty());
        let own = Limits { min: 1, max: 9 };
        let week = at.checked_add(SignedDuration::from_hours(24 * 7)).unwrap();
        let (hourly_start, hourly_end) = (is_hourly(&start), is_hourly(&end));
        let (mut open, mut states) = (None, vec![]);
        for tick in Clock::new(&zone, at).take_while(|tick| tick.at <= week) {
            // At each time that passes, ends come before starts; those of intervals come when the clock shows them.
            let mut walls: BTreeSet<DateTime> = tick.passes.iter().copied().collect();
            walls.insert(tick.shows);
            for wall in walls {
                let counts = |cron: &Cron, hourly: bool| {
                    cron.names(wall) && if hourly { wall == tick.shows } else { tick.passes.contains(&wall) }
                };
                if counts(&end, hourly_end) { open = Some(false); }
                if counts(&start, hourly_start) { open = Some(true); }
            }
            states.push((tick.at, open));
        }
        let known = states.into_iter().filter(|(tick, _)| *tick >= at).filter_map(|(tick, open)| Some((tick, open?)));
        let known: Vec<(Timestamp, bool)> = known.collect();
        // To tell since when one is open that does not close takes all the looks that there are.
        let endless = !schedules.said(at, own).problems.is_empty();
        for (tick, open) in known.iter().step_by(if endless { 700 } else { 7 }) {
            prop_assert_eq!(!schedules.active(*tick).is_empty(), *open, "{} {} at {}", start, end, tick);
        }
        let flips: Vec<Timestamp> = known.windows(2).filter(|two| two[0].1 != two[1].1).map(|two| two[1].0).collect();
        if let Some((first, _)) = known.first() {
            let found: Vec<Timestamp> = schedules.upcoming(*first, week, own).map(|change| change.at).collect();
            prop_assert_eq!(&found, &flips);
            for open in schedules.active(*first) {
                prop_assert!(open.since.is_none_or(|since| since <= *first));
                prop_assert_eq!(open.until.filter(|until| *until <= week), flips.first().copied());
            }
        }
    }
}
