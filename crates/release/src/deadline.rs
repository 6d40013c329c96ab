//! `progressDeadline`: until when a further pod is waited for. Not what follows where none comes.

use jiff::Timestamp;
use trimtab_crds::{DurationText, Progress};

use crate::{idle::millis, views::ReplicaSetView};

/// Pods that are available, of so many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) available: i32,
    pub(crate) of: i32,
}

/// The pods of a ReplicaSet.
pub(crate) fn count(rs: &ReplicaSetView) -> Count {
    Count { available: rs.status.available_replicas, of: rs.spec.replicas }
}

impl Count {
    /// Whether there is news since there were so many: a further pod, or so few are asked for that there never could be one.
    pub(crate) fn is_news(self, most: i32) -> bool {
        self.available > most || most > self.of.max(self.available)
    }
}

/// Notes how many pods are available; when the time is over, which begins anew with every further one, and where fewer are asked
/// for than there were. `None`: never.
pub(crate) fn end(progress: &mut Progress, count: Count, now: Timestamp, deadline: &DurationText) -> Option<Timestamp> {
    if count.is_news(progress.most_available) || progress.unavailable_since.is_none() {
        progress.most_available = progress.most_available.min(count.of).max(count.available);
        progress.unavailable_since = Some(millis(now));
    }
    progress.unavailable_since?.checked_add(deadline.get()?).ok()
}

/// What is said where it is over.
pub(crate) fn over(deadline: &DurationText) -> String {
    format!("no further pod became available within progressDeadline ({})", deadline.0)
}
