//! `progressDeadline`: until when a further pod is waited for. Not what follows where none comes.

use jiff::Timestamp;
use trimtab_crds::{DurationText, Progress};

use crate::idle::millis;

/// Notes how many pods are available; when the time is over, which begins anew with every further one. `None`: never.
pub(crate) fn end(
    progress: &mut Progress,
    available: i32,
    now: Timestamp,
    deadline: &DurationText,
) -> Option<Timestamp> {
    if available > progress.most_available || progress.unavailable_since.is_none() {
        progress.most_available = available.max(progress.most_available);
        progress.unavailable_since = Some(millis(now));
    }
    progress.unavailable_since?.checked_add(deadline.get()?).ok()
}

/// What is said where it is over.
pub(crate) fn over(deadline: &DurationText) -> String {
    format!("no further pod became available within progressDeadline ({})", deadline.0)
}
