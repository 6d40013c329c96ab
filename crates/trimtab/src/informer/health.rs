//! How one watch is doing, for readiness. Not a metric: those are told separately.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A watch that has been silent for this long is not to be trusted: the server sends a bookmark every minute or so, and
/// ends the watch after less than five.
const STALE: Duration = Duration::from_secs(420);
/// A watch that fails and was silent for this long fails for good: one that was mended has had a bookmark since.
const FAILING: Duration = Duration::from_secs(150);

/// How one watch is doing.
pub(crate) struct Health {
    synced: watch::Sender<bool>,
    state: Mutex<State>,
}

impl Default for Health {
    fn default() -> Self {
        Self { synced: watch::Sender::new(false), state: Mutex::default() }
    }
}

#[derive(Default)]
struct State {
    error: Option<String>,
    heard: Option<Instant>,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first list to be complete.
    pub(super) async fn wait_synced(&self) {
        // It cannot fail: the sender lives as long as `self`.
        _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    pub(crate) fn set_synced(&self) {
        _ = self.synced.send_replace(true);
    }

    pub(super) fn heard(&self) {
        let mut state = self.lock();
        state.heard = Some(Instant::now());
        state.error = None;
    }

    pub(super) fn failed(&self, error: String) {
        self.lock().error = Some(error);
    }

    /// What is wrong, if something is.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.lock();
        let limit = if state.error.is_some() { FAILING } else { STALE };
        let silent = state.heard.is_some_and(|at| at.elapsed() > limit);
        match (&state.error, self.synced()) {
            (Some(error), false) => Some(format!("not synced: {error}")),
            (None, false) => Some("not synced yet".to_owned()),
            (Some(error), true) if silent => Some(format!("nothing heard for minutes: {error}")),
            (None, true) if silent => Some("nothing heard for minutes".to_owned()),
            _ => None,
        }
    }
}
