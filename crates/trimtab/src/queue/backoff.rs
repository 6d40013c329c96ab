//! How long to wait after failures. Not when: that is for the caller, who knows the time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use trimtab_plan::Class;

/// A delay that doubles with each failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Of a watch that broke.
    pub(crate) const WATCH: Self = Self { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

    /// Of a key whose reconcile failed.
    pub(crate) const fn of(class: Class) -> Self {
        match class {
            Class::Transient => Self { first: Duration::from_millis(5), longest: Duration::from_secs(60) },
            Class::Blocked | Class::Fatal => Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) },
        }
    }

    /// The delay after this many failures in a row; none after none.
    pub(crate) fn delay(self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            n => self.first.saturating_mul(1u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(self.longest),
        }
    }

    /// The delay, shortened by up to a half, so that those who failed together do not come back together.
    pub(crate) fn jittered(self, failures: u32) -> Duration {
        // The keys of a fresh RandomState are random, which is all that is needed here.
        let random = RandomState::new().build_hasher().finish() % 1000;
        self.delay(failures) * (500 + u32::try_from(random).unwrap_or(0) / 2) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_never_overflows() {
        let transient = Backoff::of(Class::Transient);
        assert_eq!(transient.delay(0), Duration::ZERO);
        assert_eq!(transient.delay(1), Duration::from_millis(5));
        assert_eq!(transient.delay(4), Duration::from_millis(40));
        assert_eq!(transient.delay(u32::MAX), Duration::from_secs(60));
        assert_eq!(Backoff::of(Class::Blocked).delay(1), Duration::from_secs(1));
        assert_eq!(Backoff::of(Class::Blocked).delay(99), Duration::from_secs(300));
    }

    #[test]
    fn jitter_stays_between_half_and_whole() {
        for failures in 1..40 {
            let (whole, jittered) = (Backoff::WATCH.delay(failures), Backoff::WATCH.jittered(failures));
            assert!(jittered >= whole / 2 && jittered <= whole, "{jittered:?} of {whole:?}");
        }
    }
}
