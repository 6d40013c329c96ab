//! When a cron expression fires in a time zone, forwards and backwards, also where clocks change. Not what follows.
//!
//! The rule is the one in the manual of Vixie's cron. An expression that does not fire in every hour of a day means times:
//!
//! - a time that a change of clocks skips fires at the end of the gap; several skipped ones fire there once;
//! - a time that comes twice fires the first time.
//!
//! An expression that fires in every hour (`*/5 * * * *`, `30 * * * *`) means an interval. It fires whenever a clock shows
//! such a time: in both passes of a repeated hour, and not for a time that no clock showed. So real time runs on evenly.
//!
//! Vixie's code differs from its manual where only one of hour and minute is `*`: it loses `*/15 2 * * *` in a gap and
//! fires it twice in a repeated hour. Here the hour alone decides, and nothing is lost. A gap of a whole day is a gap.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use crate::Cron;
use crate::meter::Meter;

/// A moment at which an expression fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Firing {
    /// When.
    pub at: Timestamp,
    /// What the expression names: another time than clocks show, where that was skipped. The last of several. Among
    /// firings at one moment, it tells which comes first.
    pub wall: DateTime,
}

impl Cron {
    /// The first moment after this one at which it fires. `None` only beyond the year 9999.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.first_after(after, zone, &Meter::unlimited())
    }

    /// The last moment before this one at which it fired. `None` only before the year -9999.
    pub fn previous(&self, before: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.last_before(before, zone, &Meter::unlimited())
    }

    /// As `next`, counted.
    pub(crate) fn first_after(&self, after: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Timestamp> {
        if self.is_interval() { self.next_interval(after, zone, meter) } else { self.next_time(after, zone, meter) }
    }

    /// As `previous`, counted.
    pub(crate) fn last_before(&self, before: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Timestamp> {
        Some(self.latest(just_before(before)?, zone, meter)?.at)
    }

    /// The last firing at or before a moment.
    pub(crate) fn latest(&self, at: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Firing> {
        if self.is_interval() { self.latest_interval(at, zone, meter) } else { self.latest_time(at, zone, meter) }
    }

    /// Later times never fire at earlier moments, so the first time that fires after the moment is the answer.
    fn next_time(&self, after: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Timestamp> {
        let mut wall = minute(zone.to_datetime(after)).checked_add(1.minute()).ok()?;
        loop {
            wall = self.at_or_after(wall, meter)?;
            let at = moment(wall, zone)?;
            if at > after {
                return Some(at);
            }
            // In the second pass of a repeated hour: the rest of the hour has fired already.
            wall = wall.checked_add(1.minute()).ok()?;
        }
    }

    fn latest_time(&self, at: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Firing> {
        let mut wall = minute(furthest(at, zone)?);
        loop {
            wall = self.at_or_before(wall, meter)?;
            let fired = moment(wall, zone)?;
            if fired <= at {
                return Some(Firing { at: fired, wall });
            }
            wall = wall.checked_sub(1.minute()).ok()?;
        }
    }

    /// Between two changes of clocks, walls and moments go side by side.
    fn next_interval(&self, after: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Timestamp> {
        let mut from = after.checked_add(1.nanosecond()).ok()?;
        loop {
            let offset = zone.to_offset(from);
            let change = zone.following(from).next().map(|change| change.timestamp());
            let wall = self.at_or_after(minute_up(offset.to_datetime(from))?, meter)?;
            match (offset.to_timestamp(wall), change) {
                (Ok(at), Some(change)) if at < change => return Some(at),
                (Ok(at), None) => return Some(at),
                (_, change) => from = change?,
            }
        }
    }

    fn latest_interval(&self, at: Timestamp, zone: &TimeZone, meter: &Meter) -> Option<Firing> {
        let mut until = at;
        loop {
            let offset = zone.to_offset(until);
            let next = until.checked_add(1.nanosecond()).ok()?;
            let change = zone.preceding(next).next().map(|change| change.timestamp());
            let wall = self.at_or_before(minute(offset.to_datetime(until)), meter)?;
            match (offset.to_timestamp(wall), change) {
                (Ok(at), Some(change)) if at >= change => return Some(Firing { at, wall }),
                (Ok(at), None) => return Some(Firing { at, wall }),
                (_, change) => until = just_before(change?)?,
            }
        }
    }
}

/// When a time fires: the first time that it comes, or the end of the gap that it falls in.
fn moment(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(wall).ok()
        }
        AmbiguousOffset::Gap { before, after } => {
            // By the clock after the change the skipped time lies before it, by the clock before the change at or after it.
            let (early, late) = (after.to_timestamp(wall).ok()?, before.to_timestamp(wall).ok()?);
            let changes = zone.following(early).map(|change| (change.timestamp(), change.offset()));
            let mut within = changes.take_while(|(at, _)| *at <= late);
            Some(within.find(|(_, offset)| *offset == after).map_or(late, |(at, _)| at))
        }
    }
}

/// The latest time that a clock has shown: in the second pass of a repeated hour, the end of that hour.
fn furthest(at: Timestamp, zone: &TimeZone) -> Option<DateTime> {
    let wall = zone.to_datetime(at);
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Fold { before, after } if zone.to_offset(at) == after => {
            wall.checked_add(seconds_between(after, before).seconds()).ok()
        }
        _ => Some(wall),
    }
}

fn seconds_between(from: Offset, to: Offset) -> i64 {
    i64::from(to.seconds()) - i64::from(from.seconds())
}

/// The last moment before a moment.
fn just_before(at: Timestamp) -> Option<Timestamp> {
    at.checked_sub(1.nanosecond()).ok()
}

/// The minute that a time lies in.
fn minute(wall: DateTime) -> DateTime {
    wall.date().at(wall.hour(), wall.minute(), 0, 0)
}

/// The first whole minute that is not before a time.
fn minute_up(wall: DateTime) -> Option<DateTime> {
    let whole = minute(wall);
    if whole == wall { Some(whole) } else { whole.checked_add(1.minute()).ok() }
}
