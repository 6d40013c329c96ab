//! Hot loops: keys whose decisions write the same things again and again. They never come to rest by themselves: what
//! was written does not stay (an old CRD drops a field, somebody else writes the same field), or nothing needed writing.
//! They are slowed down and named. Not what is done to them: that is the queue's.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Repeats are counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// More repeats than this in one window are a loop.
const MOST: u32 = 20;
/// Loops go round in circles of at most so many different writes.
const CIRCLE: usize = 4;

/// What journals and logs say of a loop. The same each time, so that the journal counts it instead of repeating it.
pub(crate) const TOLD: &str = "the same writes are made again and again, so this is slowed down until something else \
                               is decided; a CRD older than this program drops what is written, or somebody else \
                               writes the same fields";

/// Whether a key runs hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heat {
    /// All is well.
    None,
    /// From now on it does.
    Begins,
    /// It still does.
    GoesOn,
}

/// Watches the writes of all keys of a controller.
pub(crate) struct Hot<K>(Mutex<State<K>>);

struct State<K> {
    keys: HashMap<K, Circle>,
    swept: Instant,
}

/// What a key wrote lately.
struct Circle {
    recent: VecDeque<u64>,
    since: Instant,
    last: Instant,
    repeats: u32,
    hot: bool,
}

impl Circle {
    /// Whether it can be forgotten: the window is over, and a loop that was slowed down has not come round for long.
    fn is_over(&self, now: Instant) -> bool {
        now - self.last > if self.hot { WINDOW * 60 } else { WINDOW }
    }

    fn repeated(&mut self, now: Instant) -> Heat {
        self.last = now;
        if self.hot {
            return Heat::GoesOn;
        }
        if now - self.since > WINDOW {
            (self.since, self.repeats) = (now, 0);
        }
        self.repeats += 1;
        self.hot = self.repeats > MOST;
        if self.hot { Heat::Begins } else { Heat::None }
    }
}

impl<K: Clone + Eq + Hash> Hot<K> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { keys: HashMap::new(), swept: Instant::now() }))
    }

    /// Notes a reconcile that succeeded: the print of its writes if it had any, and whether one of them changed
    /// anything.
    pub(crate) fn note(&self, key: &K, wrote: Option<u64>, changed: bool, now: Instant) -> Heat {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now - state.swept > WINDOW {
            state.swept = now;
            state.keys.retain(|_, circle| !circle.is_over(now));
        }
        let Some(print) = wrote else {
            // Between two writers who overwrite each other there are moments without a write: no end of the loop.
            if state.keys.get(key).is_some_and(|circle| now - circle.last > WINDOW) {
                state.keys.remove(key);
            }
            return Heat::None;
        };
        let fresh = || Circle { recent: VecDeque::new(), since: now, last: now, repeats: 0, hot: false };
        let circle = state.keys.entry(key.clone()).or_insert_with(fresh);
        if circle.recent.contains(&print) || !changed {
            return circle.repeated(now);
        }
        if circle.recent.len() == CIRCLE {
            circle.recent.pop_front();
        }
        circle.recent.push_back(print);
        (circle.since, circle.last, circle.repeats, circle.hot) = (now, now, 0, false);
        Heat::None
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys.remove(key);
    }
}

/// A short print of writes, to tell whether they are the same.
pub(crate) fn print(writes: &impl Serialize) -> u64 {
    struct Into(DefaultHasher);
    impl io::Write for Into {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut into = Into(DefaultHasher::new());
    // Writes are values of JSON already; one that could not be serialized would not have been sent.
    _ = serde_json::to_writer(&mut into, writes);
    into.0.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn the_same_writes_again_and_again_are_a_loop() {
        let (hot, start) = (Hot::new(), Instant::now());
        let heat: Vec<Heat> = (0..24).map(|n| hot.note(&"k", Some(1), true, after(start, n * 10))).collect();
        assert!(heat[..21].iter().all(|heat| *heat == Heat::None));
        assert_eq!(heat[21..], [Heat::Begins, Heat::GoesOn, Heat::GoesOn]);
        assert_eq!(hot.note(&"k", Some(2), true, after(start, 300)), Heat::None, "something else is written");
        assert_eq!(hot.note(&"other", Some(1), true, after(start, 300)), Heat::None);
    }

    #[test]
    fn circles_and_writes_that_change_nothing_are_loops() {
        let (hot, start) = (Hot::new(), Instant::now());
        let circle: Vec<Heat> = (0..30).map(|n| hot.note(&1, Some(n % 3), true, after(start, n * 10))).collect();
        assert!(circle.contains(&Heat::Begins));
        let idle: Vec<Heat> = (0..30).map(|n| hot.note(&2, Some(n), false, after(start, n * 10))).collect();
        assert!(idle.contains(&Heat::Begins));
        // Two writers who overwrite each other: every second time there is nothing to write.
        let fight = |n: u64| hot.note(&3, n.is_multiple_of(2).then_some(7), true, after(start, n * 10));
        assert!((0..60).map(fight).any(|heat| heat == Heat::Begins));
    }

    #[test]
    fn progress_and_patience_are_none() {
        let (hot, start) = (Hot::new(), Instant::now());
        assert!((0..500).all(|n| hot.note(&1, Some(n), true, after(start, n)) == Heat::None), "all different");
        let slow = |n: u64| hot.note(&2, Some(1), true, after(start, n * 1000));
        assert!((0..500).map(slow).all(|heat| heat == Heat::None), "one a second");
        assert_eq!(hot.0.lock().unwrap().keys.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn prints_tell_writes_apart() {
        assert_eq!(print(&("a", 1)), print(&("a", 1)));
        assert_ne!(print(&("a", 1)), print(&("a", 2)));
    }
}
