//! One window: whether it is open at a moment, since when, until when, and when it opens or closes next. Not what follows
//! from several.
//!
//! It opens at a start and closes at an end; the moment of the start belongs to it, that of the end does not. A start while
//! it is open changes nothing, save that a duration begins anew. Where a gap moves a start and an end to one moment, they
//! count in the order of the times that they name. An end at the very time of a start comes before it: the window stays
//! open.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Cron;
use crate::meter::Meter;

/// How many starts or ends are looked at to find where an opening begins or ends: a week of minutes, and some. What is
/// open for longer, or for longer than is left to look, counts as open for ever.
const LOOKED_AT: usize = 10_100;

/// When a window closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// At the first of these times.
    At(Cron),
    /// So long after the last start.
    After(SignedDuration),
}

/// What a window asks for. An exact size is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub min: Option<i32>,
    pub max: Option<i32>,
}

/// A window that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    pub name: String,
    pub start: Cron,
    pub end: End,
    pub zone: TimeZone,
    pub sizes: Sizes,
    pub priority: i32,
}

impl Window {
    /// Whether it is open at a moment.
    pub fn is_open(&self, at: Timestamp, meter: &Meter) -> bool {
        let Some(start) = self.start.latest(at, &self.zone, meter) else { return false };
        match &self.end {
            End::After(length) => later(start.at, *length).is_none_or(|end| at < end),
            End::At(end) => end.latest(at, &self.zone, meter).is_none_or(|end| end <= start),
        }
    }

    /// Since when a window that is open has been. `None` where that is too long ago to look.
    pub fn since(&self, now: Timestamp, meter: &Meter) -> Option<Timestamp> {
        match &self.end {
            End::After(length) => {
                let mut start = self.start.latest(now, &self.zone, meter)?.at;
                for _ in meter.looking(LOOKED_AT) {
                    match self.start.last_before(start, &self.zone, meter) {
                        Some(earlier) if later(earlier, *length).is_none_or(|end| end >= start) => start = earlier,
                        _ => return Some(start),
                    }
                }
                None
            }
            End::At(cron) => {
                let mut end = cron.latest(now, &self.zone, meter)?.at;
                for _ in meter.looking(LOOKED_AT) {
                    if !self.is_open(end, meter) {
                        return self.start.first_after(end, &self.zone, meter);
                    }
                    // Opened again at the end, or closed before it was opened: what clocks skipped can be both.
                    if !self.was_open_before(end, meter) {
                        return Some(end);
                    }
                    end = cron.last_before(end, &self.zone, meter)?;
                }
                None
            }
        }
    }

    /// Whether it was open right before a moment.
    fn was_open_before(&self, end: Timestamp, meter: &Meter) -> bool {
        end.checked_sub(SignedDuration::from_nanos(1)).is_ok_and(|before| self.is_open(before, meter))
    }

    /// The field that says when it closes.
    pub fn closed_by(&self) -> &'static str {
        if matches!(self.end, End::At(_)) { "end" } else { "duration" }
    }

    /// When a window that is open closes. `None` where that is too far away to look.
    pub fn until(&self, now: Timestamp, meter: &Meter) -> Option<Timestamp> {
        match &self.end {
            End::After(length) => {
                let mut end = later(self.start.latest(now, &self.zone, meter)?.at, *length)?;
                let mut start = now;
                for _ in meter.looking(LOOKED_AT) {
                    match self.start.first_after(start, &self.zone, meter) {
                        Some(again) if again <= end => (start, end) = (again, later(again, *length)?),
                        _ => return Some(end),
                    }
                }
                None
            }
            End::At(cron) => self.first_after(now, cron, false, meter),
        }
    }

    /// The first moment after this one, at which it is open or not, at which it opens or closes.
    pub fn flip(&self, after: Timestamp, open: bool, meter: &Meter) -> Option<Timestamp> {
        if open { self.until(after, meter) } else { self.first_after(after, &self.start, true, meter) }
    }

    /// The first time of an expression at which the window is open, or is not.
    fn first_after(&self, after: Timestamp, cron: &Cron, open: bool, meter: &Meter) -> Option<Timestamp> {
        let mut at = after;
        for _ in meter.looking(LOOKED_AT) {
            at = cron.first_after(at, &self.zone, meter)?;
            if self.is_open(at, meter) == open {
                return Some(at);
            }
        }
        None
    }
}

fn later(at: Timestamp, length: SignedDuration) -> Option<Timestamp> {
    at.checked_add(length).ok()
}
