//! Work whose cost somebody else decides: expressions, patterns, schemas. On threads of its own, which come last where others
//! want the processor, and in the turns that namespaces share. Not a deadline: what is done there has one of its own.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::share::{Shares, Turn};

/// The name of the threads.
const THREAD: &str = "apart";
/// By how much they are nicer than the rest of the process: about a tenth of the time where both want it. Linux counts that for each
/// thread.
const NICER: i32 = 10;

/// Threads for such work; cheap to clone.
#[derive(Debug, Clone)]
pub struct Apart(Shares);

/// A thread for one piece of work, not yet begun.
#[derive(Debug)]
pub struct Slot(Turn);

/// The work did not end: it panicked, or there is no thread for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work ended early")
    }
}

impl std::error::Error for Lost {}

impl Apart {
    /// At most so many threads, of which one namespace has at most half.
    pub fn new(threads: usize) -> Self {
        Self(Shares::of_work(threads))
    }

    /// A thread for a namespace, as soon as its share allows one.
    pub async fn slot(&self, namespace: &str) -> Slot {
        Slot(self.0.turn(namespace).await)
    }
}

impl Slot {
    /// Does the work. It goes on where nobody waits for it any more, and its turn lasts as long as it does.
    ///
    /// # Errors
    ///
    /// [`Lost`] if it panicked.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
        let (send, receive) = oneshot::channel();
        let body = move || {
            let _turn = self.0;
            // Where it cannot be had, the work is done all the same.
            _ = rustix::process::nice(NICER);
            if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                _ = send.send(done);
            }
        };
        std::thread::Builder::new().name(THREAD.to_owned()).spawn(body).map_err(|_| Lost)?;
        receive.await.map_err(|_| Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_its_end_is_told() {
        let apart = Apart::new(2);
        let here = std::thread::current().id();
        let there = apart.slot("a").await.run(|| std::thread::current().id()).await.unwrap();
        assert_ne!(here, there);
        assert_eq!(apart.slot("a").await.run(|| panic!("it happens")).await.map(|()| 0), Err(Lost));
        let priority = apart.slot("a").await.run(|| rustix::process::getpriority_process(None)).await.unwrap();
        let own = rustix::process::getpriority_process(None).unwrap();
        assert_eq!(priority.unwrap(), (own + NICER).min(19), "only that thread comes last");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_keeps_its_turn_until_it_ends() {
        let apart = Apart::new(2);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let slow = apart.slot("a").await.run(move || ended.recv().ok());
        assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err());
        assert!(apart.slot("a").now_or_never().is_none(), "its namespace has had its share");
        assert!(apart.slot("b").now_or_never().is_some(), "another one has not");
        drop(end);
        tokio::time::timeout(Duration::from_secs(20), apart.slot("a")).await.unwrap();
    }
}
