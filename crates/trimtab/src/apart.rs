//! Work whose cost somebody else decides: expressions, patterns, schemas. On threads of its own, which come last where others
//! want the processor, and in the turns that namespaces share. What is done there has a bound of its own, in steps; nobody who must go on
//! waits for it any longer than he says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::share::{Shares, Turn};

/// The name of the threads.
const THREAD: &str = "apart";
/// By how much they are nicer than the rest of the process: about a tenth of the time where both want it. Linux counts that for each
/// thread.
const NICER: i32 = 10;

/// How long a reconcile waits for all its work apart, the turns included: what is bounded takes a hundredth of it. It is well below what
/// a reconcile may take before the process counts as hung, so that no work of one namespace ends the process for all.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// Threads for such work; cheap to clone.
#[derive(Debug, Clone)]
pub struct Apart(Shares);

/// A thread for one piece of work, not yet begun.
#[derive(Debug)]
pub struct Slot(Turn);

/// The work did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It panicked, or there is no thread for it.
    Ended,
    /// It was not done in time, or its turn did not come.
    Late,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the work ended early",
            Self::Late => "the work was not done in time",
        })
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

    /// Does work for a namespace if its turn comes, and waits for it until then. Work that has begun goes on behind that, in its turn: a
    /// namespace whose work does not end has no more of the threads than its share.
    ///
    /// # Errors
    ///
    /// [`Lost`] if it panicked, or was not done by then.
    pub async fn within<T: Send + 'static>(
        &self,
        namespace: &str,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let done = async { self.slot(namespace).await.run(work).await };
        tokio::time::timeout_at(until, done).await.unwrap_or(Err(Lost::Late))
    }
}

impl Slot {
    /// Does the work. It goes on where nobody waits for it any more, and its turn lasts as long as it does.
    ///
    /// # Errors
    ///
    /// [`Lost::Ended`] if it panicked.
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
        std::thread::Builder::new().name(THREAD.to_owned()).spawn(body).map_err(|_| Lost::Ended)?;
        receive.await.map_err(|_| Lost::Ended)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_its_end_is_told() {
        let apart = Apart::new(2);
        let here = std::thread::current().id();
        let there = apart.slot("a").await.run(|| std::thread::current().id()).await.unwrap();
        assert_ne!(here, there);
        assert_eq!(apart.slot("a").await.run(|| panic!("it happens")).await.map(|()| 0), Err(Lost::Ended));
        let priority = apart.slot("a").await.run(|| rustix::process::getpriority_process(None)).await.unwrap();
        let own = rustix::process::getpriority_process(None).unwrap();
        assert_eq!(priority.unwrap(), (own + NICER).min(19), "only that thread comes last");
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_he_says_for_work_or_for_a_turn() {
        let apart = Apart::new(2);
        let soon = || Instant::now() + Duration::from_millis(20);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        assert_eq!(apart.within("a", soon(), move || ended.recv().ok()).await, Err(Lost::Late));
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let late = apart.within("a", soon(), move || tell.send(()).ok()).await;
        assert_eq!(late, Err(Lost::Late), "its namespace has no turn for it");
        assert!(told.try_recv().is_err(), "and what never had a turn is not done later");
        let later = Instant::now() + Duration::from_secs(20);
        assert_eq!(apart.within("b", later, || 1).await, Ok(1));
        drop(end);
        assert_eq!(apart.within("a", later, || 2).await, Ok(2));
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
