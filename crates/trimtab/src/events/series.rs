//! Which notices become events, which are counted into the series of an earlier one, and which are too many: of an object, or of a
//! namespace, which has its share of what waits and of what is remembered. No I/O.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use trimtab_plan::{Notice, ObjectRef, Severity};

use crate::share::{Held, MOST_OF_IT};

/// A notice that comes again within this time is the same event, as in client-go.
const SERIES_LASTS: Duration = Duration::from_secs(6 * 60);

/// A series is written at most this often.
const SERIES_PAUSE: Duration = Duration::from_secs(30);

/// client-go's spam filter: 25 events at once per object, then one per five minutes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// So many notices wait to be written; more are dropped.
pub(super) const MOST_WAITING: usize = 2_048;
/// So many series are remembered; a notice that finds no room is an event of its own.
const MOST_SERIES: usize = 8_192;

/// The most bytes of a note, as the API server takes them; nothing longer is remembered.
const NOTE: usize = 1 << 10;

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
            note: shortened(notice.note),
        }
    }
}

/// A note that says that something is missing, if it is too long.
fn shortened(mut note: String) -> String {
    if note.len() > NOTE {
        note.truncate(note.floor_char_boundary(NOTE - '…'.len_utf8()));
        note.push('…');
        note.shrink_to_fit();
    }
    note
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
    /// Whether its event was created.
    created: bool,
}

/// What becomes of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is new: create an event.
    First,
    /// It is counted and will be written with the series.
    Again,
    /// The object has had too many, or its namespace has too many that wait.
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
pub(super) struct Book {
    series: HashMap<Key, Series>,
    /// How many series each namespace has, and how many events of it wait to be created.
    remembered: Held,
    waiting: Held,
    buckets: HashMap<(&'static str, String), Bucket>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            series: HashMap::new(),
            remembered: Held::none_of(MOST_SERIES, MOST_OF_IT),
            waiting: Held::none_of(MOST_WAITING, MOST_OF_IT),
            buckets: HashMap::new(),
        }
    }
}

impl Book {
    /// Takes in a notice; `name` is the name of the event if one is to be created: then that waits until [`Book::taken`].
    pub(super) fn say(&mut self, key: &Key, name: &str, now: Instant, wall: Timestamp) -> Said {
        if let Some(series) = self.series.get_mut(key).filter(|s| now.saturating_duration_since(s.heard) < SERIES_LASTS)
        {
            series.count = series.count.saturating_add(1);
            (series.last, series.heard, series.unwritten) = (wall, now, true);
            return Said::Again;
        }
        let namespace = &key.about.namespace;
        if !self.waiting.may_take(namespace) || !self.token(key, now) {
            return Said::TooMany;
        }
        self.waiting.take(namespace);
        let known = self.series.contains_key(key);
        if known || self.remembered.may_take(namespace) {
            if !known {
                self.remembered.take(namespace);
            }
            let series = Series {
                name: name.to_owned(),
                count: 1,
                first: wall,
                last: wall,
                heard: now,
                written: now,
                unwritten: false,
                created: false,
            };
            self.series.insert(key.clone(), series);
        }
        Said::First
    }

    /// The series whose count is to be written now; with `all`, also those that were written a moment ago.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<(Key, Series)> {
        let rested = |s: &Series| all || now.saturating_duration_since(s.written) >= SERIES_PAUSE;
        let keys: Vec<Key> = self
            .series
            .iter()
            .filter(|(_, s)| s.created && s.unwritten && rested(s))
            .map(|(key, _)| key.clone())
            .collect();
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

    /// An event waits no more: it is being created.
    pub(super) fn taken(&mut self, key: &Key) {
        self.waiting.give_back(&key.about.namespace);
    }

    /// The event of a series was created.
    pub(super) fn created(&mut self, key: &Key) {
        if let Some(series) = self.series.get_mut(key) {
            series.created = true;
        }
    }

    /// The event of a series has expired and was created again under another name.
    pub(super) fn rename(&mut self, key: &Key, name: &str) {
        if let Some(series) = self.series.get_mut(key) {
            name.clone_into(&mut series.name);
        }
    }

    /// The event of a series could not be created: the next notice tries anew.
    pub(super) fn forget(&mut self, key: &Key) {
        if self.series.remove(key).is_some() {
            self.remembered.give_back(&key.about.namespace);
        }
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
        let remembered = &mut self.remembered;
        self.series.retain(|key, s| {
            let lasts = now.saturating_duration_since(s.heard) < SERIES_LASTS;
            if !lasts {
                remembered.give_back(&key.about.namespace);
            }
            lasts
        });
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

    #[test]
    fn of_a_long_note_no_more_is_remembered_than_is_written() {
        let (about, uid) = (key("").about, String::new());
        let severity = Severity::Warning;
        let notice = |note| Notice { about: about.clone(), uid: uid.clone(), severity, reason: "R", action: "A", note };
        let kept = Key::of("rollout", notice("ä".repeat(1 << 20))).note;
        assert!(kept.len() <= NOTE && kept.capacity() < 2 * NOTE && kept.ends_with("ä…"), "{} bytes", kept.len());
        assert_eq!(Key::of("rollout", notice("short".to_owned())).note, "short");
    }

    /// What becomes of a notice; an event is created at once.
    fn say(book: &mut Book, note: &str, now: Instant) -> Said {
        let (key, name) = (key(note), "web.1");
        let said = book.say(&key, name, now, Timestamp::UNIX_EPOCH);
        if said == Said::First {
            book.taken(&key);
            book.created(&key);
        }
        said
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
    fn what_one_namespace_says_leaves_room_for_others() {
        let (mut book, start) = (Book::default(), Instant::now());
        let of = |namespace: &str, n: usize| {
            let mut key = key("a");
            (key.about.namespace, key.uid) = (namespace.to_owned(), n.to_string());
            key
        };
        let said = |book: &mut Book, key: &Key| book.say(key, "web.1", start, Timestamp::UNIX_EPOCH);
        let first = (0..2 * MOST_WAITING).filter(|n| said(&mut book, &of("crowd", *n)) == Said::First).count();
        assert_eq!(first, MOST_WAITING / 4 * 3);
        assert_eq!(said(&mut book, &of("calm", 0)), Said::First);
        // The same again needs no room.
        assert_eq!(said(&mut book, &of("crowd", 0)), Said::Again);
        book.taken(&of("crowd", 0));
        assert_eq!(said(&mut book, &of("crowd", first)), Said::First);
        // What is not created yet has no series to be written.
        assert!(book.due(start + seconds(30), false).is_empty());
        book.created(&of("crowd", 0));
        assert_eq!(book.due(start + seconds(30), false).len(), 1);
        book.due(start + seconds(30) + SERIES_LASTS, false);
        assert!(book.series.is_empty() && (0..2 * MOST_SERIES).all(|_| book.remembered.may_take("calm")));
    }

    #[test]
    fn at_the_end_everything_is_written() {
        let (mut book, start) = (Book::default(), Instant::now());
        say(&mut book, "a", start);
        say(&mut book, "a", start);
        assert_eq!(book.due(start, true).len(), 1);
    }
}
