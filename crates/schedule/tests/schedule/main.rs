//! The tests of schedules: syntax, firing where clocks change, windows and the sizes that follow, properties against a
//! clock that ticks minute by minute, what it costs, and ten time zones against times that were worked out independently.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

mod cost;
mod cron;
mod firing;
mod properties;
mod transitions;
mod windows;

use jiff::Timestamp;
use trimtab_schedule::ScheduleWindow;

/// A moment.
fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A window that sets nothing yet.
fn window(name: &str, start: &str, end: &str, zone: &str) -> ScheduleWindow {
    ScheduleWindow {
        name: name.to_owned(),
        start: start.to_owned(),
        end: Some(end.to_owned()),
        time_zone: zone.to_owned(),
        ..ScheduleWindow::default()
    }
}
