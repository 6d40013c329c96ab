//! The fence: whether this process may still write. Not a lock on the server: see [`Fence::check`] for what it cannot do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Moment, moment as now};

/// The process must not write: it does not hold the lease, or held it too long ago to be sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the leader lease is not held, or may have lapsed")]
pub struct Fenced;

/// Says whether the process may write; cheap to clone and to ask.
///
/// It is closed until the lease is held, open for the renew deadline from the *start of the request* of the last
/// successful renewal, and closed for good once that time has passed without another.
#[derive(Debug, Clone)]
pub struct Fence {
    /// When it closes, in nanoseconds since boot; `None` never closes.
    closes: Option<Arc<AtomicU64>>,
}

impl Fence {
    /// A fence that never closes: for processes that run without leader election.
    pub fn open() -> Self {
        Self { closes: None }
    }

    /// A fence that is closed until an election opens it.
    pub fn closed() -> Self {
        Self { closes: Some(Arc::new(AtomicU64::new(0))) }
    }

    /// How long writes may still be started, or that they must not be.
    ///
    /// Ask right before each write and give the write no more time than the answer. Between the answer and the server
    /// lies what no check in this process can cover: a process that is stopped right there writes when it wakes up.
    /// A write that must not come late even then needs a `resourceVersion` or `uid` precondition.
    ///
    /// # Errors
    ///
    /// [`Fenced`] if the lease is not held or could have lapsed.
    pub fn check(&self) -> Result<Duration, Fenced> {
        let Some(closes) = &self.closes else { return Ok(Duration::MAX) };
        let closes = Duration::from_nanos(closes.load(Ordering::Acquire));
        match closes.checked_sub(now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(Fenced),
        }
    }

    /// Closes it at `at`, or at once.
    pub(super) fn close_at(&self, at: Option<Moment>) {
        if let Some(closes) = &self.closes {
            let at = at.map_or(0, |at| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
            closes.store(at, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_election_every_write_is_allowed() {
        assert_eq!(Fence::open().check(), Ok(Duration::MAX));
    }

    #[test]
    fn a_fence_closes_when_its_time_has_come() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(Fenced));
        fence.close_at(Some(now() + Duration::from_secs(60)));
        assert!(fence.clone().check().unwrap() > Duration::from_secs(59));
        fence.close_at(Some(now()));
        assert_eq!(fence.check(), Err(Fenced));
        fence.close_at(None);
        assert_eq!(fence.check(), Err(Fenced));
    }
}
