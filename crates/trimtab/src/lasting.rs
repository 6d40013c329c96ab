//! Failures that last: those that should pass by themselves (a conflict, a webhook that cannot be reached) and do not. Whoever
//! waits for such a write would wait in silence, so they are told as of one that is refused. Not when it is tried again:
//! that is the queue's.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trimtab_plan::{Class, Failure};

/// A failure that has come back for so long lasts.
const LONG: Duration = Duration::from_secs(60);

/// Since when the writes of a controller's keys have failed as they do. Small: a key is in it while its writes fail.
pub(crate) struct Lasting<K>(Mutex<HashMap<K, Since>>);

struct Since {
    /// What fails, and how.
    print: u64,
    at: Instant,
}

impl<K> Default for Lasting<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Lasting<K> {
    /// Notes how the writes of a key went, and marks a failure that lasts. The print tells one failing write from another.
    pub(crate) fn note(&self, key: &K, failed: Option<(&mut Failure, u64)>, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((failure, print)) = failed.filter(|(failure, _)| failure.class == Class::Transient) else {
            state.remove(key);
            return;
        };
        let since = state.entry(key.clone()).or_insert(Since { print, at: now });
        if since.print != print {
            *since = Since { print, at: now };
        }
        failure.lasting = now - since.at >= LONG;
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Story {
        lasting: Lasting<&'static str>,
        start: Instant,
    }

    impl Story {
        fn new() -> Self {
            Self { lasting: Lasting::default(), start: Instant::now() }
        }

        /// Whether a failure of this class lasts, so many seconds after the beginning.
        fn fails(&self, class: Class, print: u64, seconds: u64) -> bool {
            let mut failure =
                Failure { index: 0, class, reason: "Conflict".to_owned(), message: String::new(), lasting: false };
            self.lasting.note(&"key", Some((&mut failure, print)), self.start + Duration::from_secs(seconds));
            failure.lasting
        }
    }

    #[test]
    fn a_failure_lasts_that_has_come_back_for_a_minute() {
        let story = Story::new();
        let seen: Vec<bool> = [0, 5, 59, 60, 120].map(|at| story.fails(Class::Transient, 1, at)).to_vec();
        assert_eq!(seen, [false, false, false, true, true]);
        assert!(!story.fails(Class::Transient, 2, 130), "another write fails");
        assert!(story.fails(Class::Transient, 2, 190));
    }

    #[test]
    fn what_succeeds_is_refused_or_is_gone_begins_anew() {
        let story = Story::new();
        let begins_anew = |what: &str, happens: &dyn Fn()| {
            story.fails(Class::Transient, 1, 0);
            happens();
            assert!(!story.fails(Class::Transient, 1, 100), "{what}");
            story.lasting.forget(&"key");
        };
        begins_anew("it succeeds", &|| story.lasting.note(&"key", None, story.start));
        begins_anew("it is refused", &|| assert!(!story.fails(Class::Blocked, 1, 90)));
        begins_anew("it is gone", &|| story.lasting.forget(&"key"));
    }
}
