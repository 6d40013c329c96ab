//! Which notices become events, which are counted into the series of an earlier one, and which are too many. No I/O.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use trimtab_plan::{Notice, ObjectRef, Severity};

/// A notice that comes again within this time is the same event, as in client-go.
const SERIES_LASTS: Duration = Duration::from_secs(6 * 60);

/// A series is written at most this often.
const SERIES_PAUSE: Duration = Duration::from_secs(30);

/// client-go's spam filter: 25 events at once per object, then one per five minutes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// So many series are remembered; a notice that finds no room is an event of its own.
const MOST_SERIES: usize = 8192;

/// What makes two notices the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) controller: &'static str,
    pub(super) about: ObjectRef,
    pub(super) uid: String,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) note: String,
}

impl Key {
    pub(super) fn of(controller: &'static str, notice: Notice) -> Self {
        Self {
            controller,
            about: notice.about,
            uid: notice.uid,
            warning: notice.severity == Severity::Warning,
            reason: notice.reason,
            action: notice.action,
            note: notice.note,
        }
    }
}

/// A notice that was said at least once.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// The event that holds it.
    pub(super) name: String,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    heard: Instant,
    written: Instant,
    unwritten: bool,
}

/// What becomes of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is new: create an event.
    First,
    /// It is counted and will be written with the series.
    Again,
    /// The object has had too many.
    TooMany,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since / REFILL_SECONDS).min(BURST);
        self.at = now;
    }
}

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Book {
    series: HashMap<Key, Series>,
    buckets: HashMap<(&'static str, String), Bucket>,
}

impl Book {
    /// Takes in a notice; `name` is the name of the event if one is to be created.
    pub(super) fn say(&mut self, key: &Key, name: &str, now: Instant, wall: Timestamp) -> Said {
        if let Some(series) = self.series.get_mut(key).filter(|s| now.saturating_duration_since(s.heard) < SERIES_LASTS)
        {
            series.count = series.count.saturating_add(1);
            (series.last, series.heard, series.unwritten) = (wall, now, true);
            return Said::Again;
        }
        if !self.token(key, now) {
            return Said::TooMany;
        }
        if self.series.len() < MOST_SERIES {
            let series = Series {
                name: name.to_owned(),
                count: 1,
                first: wall,
                last: wall,
                heard: now,
                written: now,
                unwritten: false,
            };
            self.series.insert(key.clone(), series);
        }
        Said::First
    }

    /// The series whose count is to be written now; with `all`, also those that were written a moment ago.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<(Key, Series)> {
        let rested = |s: &Series| all || now.saturating_duration_since(s.written) >= SERIES_PAUSE;
        let keys: Vec<Key> =
            self.series.iter().filter(|(_, s)| s.unwritten && rested(s)).map(|(key, _)| key.clone()).collect();
        let mut due = vec![];
        for key in keys {
            if !all && !self.token(&key, now) {
                continue;
            }
            if let Some(series) = self.series.get_mut(&key) {
                (series.written, series.unwritten) = (now, false);
                due.push((key, series.clone()));
            }
        }
        self.forget_old(now);
        due
    }

    /// The event of a series has expired and was created again under another name.
    pub(super) fn rename(&mut self, key: &Key, name: &str) {
        if let Some(series) = self.series.get_mut(key) {
            name.clone_into(&mut series.name);
        }
    }

    /// The event of a series could not be created: the next notice tries anew.
    pub(super) fn forget(&mut self, key: &Key) {
        self.series.remove(key);
    }

    fn token(&mut self, key: &Key, now: Instant) -> bool {
        let bucket = self.buckets.entry((key.controller, key.uid.clone())).or_insert(Bucket { tokens: BURST, at: now });
        bucket.refill(now);
        let any = bucket.tokens >= 1.0;
        if any {
            bucket.tokens -= 1.0;
        }
        any
    }

    fn forget_old(&mut self, now: Instant) {
        self.series.retain(|_, s| now.saturating_duration_since(s.heard) < SERIES_LASTS);
        self.buckets.retain(|_, bucket| {
            bucket.refill(now);
            bucket.tokens < BURST
        });
    }
}

#[cfg(test)]
mod tests {
    use trimtab_plan::Kind;

    use super::*;

    fn key(note: &str) -> Key {
        Key {
            controller: "rollout",
            about: Kind::namespaced("apps", "v1", "Deployment", "deployments").object("shop", "web"),
            uid: "u".to_owned(),
            warning: false,
            reason: "Promoted",
            action: "Promote",
            note: note.to_owned(),
        }
    }

    fn say(book: &mut Book, note: &str, now: Instant) -> Said {
        book.say(&key(note), "web.1", now, Timestamp::UNIX_EPOCH)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_repeated_notice_is_one_event_with_a_count() {
        let (mut book, start) = (Book::default(), Instant::now());
        assert_eq!(say(&mut book, "a", start), Said::First);
        assert_eq!(say(&mut book, "a", start + seconds(1)), Said::Again);
        assert_eq!(say(&mut book, "b", start + seconds(1)), Said::First, "another note is another event");
        assert_eq!(say(&mut book, "a", start + seconds(2)), Said::Again);
        assert!(book.due(start + seconds(29), false).is_empty(), "not more often than every 30 s");
        let due = book.due(start + seconds(30), false);
        assert_eq!(due.iter().map(|(_, s)| s.count).collect::<Vec<_>>(), [3]);
        assert!(book.due(start + seconds(90), false).is_empty(), "nothing new, nothing to write");
    }

    #[test]
    fn a_series_ends_after_six_quiet_minutes() {
        let (mut book, start) = (Book::default(), Instant::now());
        say(&mut book, "a", start);
        assert_eq!(say(&mut book, "a", start + seconds(359)), Said::Again);
        assert_eq!(say(&mut book, "a", start + seconds(359 + 360)), Said::First);
        book.due(start + seconds(359 + 360 + 361), false);
        assert!(book.series.is_empty());
    }

    #[test]
    fn an_object_has_a_burst_and_then_one_event_per_five_minutes() {
        let (mut book, start) = (Book::default(), Instant::now());
        let said = |book: &mut Book, n: u32, now| say(book, &n.to_string(), now);
        assert!((0..25).all(|n| said(&mut book, n, start) == Said::First));
        assert_eq!(said(&mut book, 25, start), Said::TooMany);
        assert_eq!(said(&mut book, 26, start + seconds(300)), Said::First);
        assert_eq!(said(&mut book, 27, start + seconds(300)), Said::TooMany);
        book.due(start + seconds(3 * 3600), false);
        assert!(book.buckets.is_empty(), "a full bucket is not remembered");
    }

    #[test]
    fn at_the_end_everything_is_written() {
        let (mut book, start) = (Book::default(), Instant::now());
        say(&mut book, "a", start);
        say(&mut book, "a", start);
        assert_eq!(book.due(start, true).len(), 1);
    }
}
