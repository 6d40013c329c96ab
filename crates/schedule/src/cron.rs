//! Cron expressions of five fields: which minutes of a clock on a wall they name. Not when those come in a time zone,
//! which is in `firing`.
//!
//! The syntax is that of Kubernetes' CronJobs: lists, ranges, steps, names, `?` for `*`, `5/15` for `5-59/15`, 0 and 7 for
//! Sunday. Where both day of month and day of week say something, a day needs to be one of the two. A field says nothing
//! where it holds `*`; `*/2` does say something.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};

use crate::field;
use crate::meter::Meter;

/// Names of whole expressions.
const NAMED: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];
/// Every hour of a day.
const ALL_HOURS: u32 = 0xff_ffff;
/// Every day of a week.
const ALL_WEEKDAYS: u8 = 0x7f;
/// How many days a month has at most.
const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why a text is no cron expression, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// It can be read, and names days that no year has.
    #[error("{0}")]
    NeverFires(String),
}

/// A cron expression that fires now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    weekdays: u8,
    any_day: bool,
    any_weekday: bool,
}

impl Display for Cron {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        let cron = Self::read(text).map_err(CronError::Malformed)?;
        if !cron.fires() {
            let why = format!("{text:?} never fires: no month that it names has such a day; name a day that exists");
            return Err(CronError::NeverFires(why));
        }
        Ok(cron)
    }
}

impl Cron {
    fn read(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = expand(text)?.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(miscounted(&fields));
        };
        let (minutes, hours) = (field::MINUTE.read(minute)?, field::HOUR.read(hour)?);
        let (days, months) = (field::DAY.read(day)?, field::MONTH.read(month)?);
        let weekdays = field::WEEKDAY.read(weekday)?;
        let narrow = |bits: u64| u32::try_from(bits).map_err(|e| e.to_string());
        Ok(Self {
            text: text.to_owned(),
            minutes: minutes.bits,
            hours: narrow(hours.bits)?,
            days: narrow(days.bits)?,
            months: u16::try_from(months.bits).map_err(|e| e.to_string())?,
            // 7 is Sunday, as 0 is.
            weekdays: u8::try_from((weekdays.bits | weekdays.bits >> 7) & u64::from(ALL_WEEKDAYS))
                .map_err(|e| e.to_string())?,
            any_day: days.any,
            any_weekday: weekdays.any,
        })
    }

    /// Whether it fires at all. Only days of the month can be missing, and only where no day of the week stands beside
    /// them: every month has all weekdays.
    fn fires(&self) -> bool {
        let restricted = !self.any_day && self.any_weekday;
        let has = |month: usize, longest: &u32| self.months >> (month + 1) & 1 == 1 && self.days & mask(*longest) != 0;
        !restricted || LONGEST.iter().enumerate().any(|(month, longest)| has(month, longest))
    }

    /// Whether it fires in every hour of a day, so that it means an interval more than a time.
    pub(crate) fn is_interval(&self) -> bool {
        self.hours == ALL_HOURS
    }

    /// Whether it names all days, in whatever words: `1-31` does as `*` does.
    fn is_daily(&self) -> bool {
        let (days, weekdays) = (self.days & mask(31) == mask(31), self.weekdays == ALL_WEEKDAYS);
        let all = if self.any_day || self.any_weekday { days && weekdays } else { days || weekdays };
        all && self.months.count_ones() == 12
    }

    /// Whether every time that it names is also one of the other's. It may say no where that takes more than a look.
    pub(crate) fn is_part_of(&self, other: &Self) -> bool {
        let days = |cron: &Self| (cron.days, cron.months, cron.weekdays, cron.any_day, cron.any_weekday);
        self.minutes & !other.minutes == 0
            && self.hours & !other.hours == 0
            && (other.is_daily() || days(self) == days(other))
    }

    /// The most minutes between two times that it names, if it names some on every day.
    pub(crate) fn widest_minutes(&self) -> Option<i64> {
        let times = (0..24).flat_map(|hour| (0..60).map(move |minute| (hour, minute)));
        let named = times.filter(|(hour, minute)| self.hours >> hour & 1 == 1 && self.minutes >> minute & 1 == 1);
        let named: Vec<i64> = named.map(|(hour, minute)| i64::from(hour) * 60 + i64::from(minute)).collect();
        let next = named.iter().skip(1).copied().chain(named.first().map(|first| first + 24 * 60));
        let widest = named.iter().zip(next).map(|(one, next)| next - one).max();
        widest.filter(|_| self.is_daily())
    }

    /// Whether it names this minute of a clock on a wall.
    pub fn names(&self, wall: DateTime) -> bool {
        self.hours >> wall.hour() & 1 == 1 && self.minutes >> wall.minute() & 1 == 1 && self.names_day(wall.date())
    }

    fn names_day(&self, date: Date) -> bool {
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        let either = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        either && self.names_month(date)
    }

    fn names_month(&self, date: Date) -> bool {
        self.months >> date.month() & 1 == 1
    }

    /// The first minute that it names, at or after this one.
    pub(crate) fn at_or_after(&self, wall: DateTime, meter: &Meter) -> Option<DateTime> {
        let mut date = wall.date();
        let (mut hour, mut minute) = (wall.hour(), wall.minute());
        loop {
            meter.count(1);
            if self.names_day(date)
                && let Some((hour, minute)) = self.time_from(hour, minute)
            {
                return Some(date.at(hour, minute, 0, 0));
            }
            (hour, minute) = (0, 0);
            date = date.tomorrow().ok()?;
            // Twelve steps at most: some month is named.
            while !self.names_month(date) {
                date = date.first_of_month().checked_add(1.month()).ok()?;
            }
        }
    }

    /// The last minute that it names, at or before this one.
    pub(crate) fn at_or_before(&self, wall: DateTime, meter: &Meter) -> Option<DateTime> {
        let mut date = wall.date();
        let (mut hour, mut minute) = (wall.hour(), wall.minute());
        loop {
            meter.count(1);
            if self.names_day(date)
                && let Some((hour, minute)) = self.time_until(hour, minute)
            {
                return Some(date.at(hour, minute, 0, 0));
            }
            (hour, minute) = (23, 59);
            date = date.yesterday().ok()?;
            while !self.names_month(date) {
                date = date.first_of_month().yesterday().ok()?;
            }
        }
    }

    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let first = |bits: u64| i8::try_from(bits.trailing_zeros()).ok().filter(|_| bits != 0);
        let this_hour = self.hours >> hour & 1 == 1;
        if let Some(minute) = first(self.minutes & (u64::MAX << minute)).filter(|_| this_hour) {
            return Some((hour, minute));
        }
        let later = first(u64::from(self.hours) & (u64::MAX << (hour + 1)))?;
        Some((later, first(self.minutes)?))
    }

    fn time_until(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let last = |bits: u64| i8::try_from(bits.checked_ilog2()?).ok();
        let this_hour = self.hours >> hour & 1 == 1;
        if let Some(minute) = last(self.minutes & !(u64::MAX << (minute + 1))).filter(|_| this_hour) {
            return Some((hour, minute));
        }
        let earlier = last(u64::from(self.hours) & !(u64::MAX << hour))?;
        Some((earlier, last(self.minutes)?))
    }
}

/// The days 1 to n as bits.
fn mask(longest: u32) -> u32 {
    u32::MAX >> (31 - longest) & !1
}

/// The five fields behind a name; anything else as it is.
fn expand(text: &str) -> Result<&str, String> {
    if let Some((_, fields)) = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(fields);
    }
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        return Err("the time zone has a field of its own: write it as timeZone, and only five fields here".to_owned());
    }
    if text.starts_with("@every") {
        return Err("@every counts from an unknown moment: write times, for example */15 * * * *".to_owned());
    }
    if text.starts_with('@') {
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        return Err(format!("{text} is not known: write five fields or one of {}", names.join(", ")));
    }
    Ok(text)
}

fn miscounted(fields: &[&str]) -> String {
    let form = "minute hour day-of-month month day-of-week, for example 30 6 * * 1-5";
    match fields {
        [] => format!("an expression is missing: write {form}"),
        [_, rest @ ..] if rest.len() == 5 => {
            format!("it has six fields, and seconds cannot be said: write {}", rest.join(" "))
        }
        _ => format!("it has {} of five fields: write {form}", fields.len()),
    }
}
