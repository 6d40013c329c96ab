//! Statuses that can wait: those that only tell people more. Each is held back for a moment, and written with what follows
//! in it. A burst of changes costs the API server one write then, not one for each pod.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest that a status waits.
const LONGEST: Duration = Duration::from_millis(500);

/// Since when the keys of a controller have had something to say that can wait. Small: a key is in it for a moment.
pub(crate) struct Lazy<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Lazy<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Lazy<K> {
    /// How much longer the status of a key can wait; `None` if it is to be written now, or there is none.
    pub(crate) fn wait(&self, key: &K, lazy: bool, now: Instant) -> Option<Duration> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left =
            if lazy { LONGEST.saturating_sub(now - *since.entry(key.clone()).or_insert(now)) } else { Duration::ZERO };
        if left.is_zero() {
            since.remove(key);
            return None;
        }
        Some(left)
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_wait_is_written_after_a_moment_and_anything_else_at_once() {
        let (lazy, start) = (Lazy::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(lazy.wait(&1, false, at(0)), None);
        assert_eq!(lazy.wait(&1, true, at(0)), Some(LONGEST));
        assert_eq!(lazy.wait(&1, true, at(200)), Some(LONGEST - Duration::from_millis(200)));
        assert_eq!(lazy.wait(&2, true, at(400)), Some(LONGEST), "keys do not share a moment");
        assert_eq!(lazy.wait(&1, true, at(500)), None);
        assert_eq!(lazy.wait(&1, true, at(500)), Some(LONGEST), "the moment begins anew");
        assert_eq!(lazy.wait(&1, false, at(600)), None);
        assert_eq!(lazy.wait(&1, true, at(600)), Some(LONGEST));
    }
}
