//! Schedules: when cron expressions fire in a time zone, which windows they open, and which size those ask for.
//!
//! Everything is told from the expressions and a moment that the caller names, backwards as well as forwards, so nothing
//! is remembered: a process that starts in the middle of a window knows it. There is no clock, no file and no client; the
//! time zones are compiled in.

mod cron;
mod effect;
mod field;
mod firing;
mod meter;
mod said;
mod schedules;
mod spec;
mod upcoming;
mod window;
mod zone;

pub use cron::{Cron, CronError};
pub use effect::{Bound, Effect, Limits};
pub use meter::LOOKS;
pub use said::Said;
pub use schedules::{Open, Schedules};
pub use spec::{Problem, ScheduleWindow};
pub use upcoming::{Change, Upcoming};
pub use zone::{UnknownZone, zone};
