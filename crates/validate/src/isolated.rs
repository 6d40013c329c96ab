//! Work on a thread of its own: with a large stack, a deadline, and an end that harms nobody else. Not what is done there.
//! Whoever waits waits until the thread has ended, so that no more of them run than somebody waits for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::meter::{self, Exhausted};

/// The name of the threads that checks run on.
pub const THREAD: &str = "validate";
/// Enough for what fits into the bounds of expressions and schemas, also in a debug build. Only what is used takes memory.
const STACK: usize = 16 << 20;
/// Threads at a time, with those that were given up and are about to notice it.
const THREADS: usize = 32;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It used up what it may use.
    Exhausted(Exhausted),
    /// The deadline passed.
    TimedOut,
    /// It panicked; what it said may hold a value.
    Panicked,
    /// There is no thread for it.
    NoThread,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exhausted(exhausted) => write!(f, "{exhausted}"),
            Self::TimedOut => f.write_str("it takes too long"),
            Self::Panicked => f.write_str("the evaluation failed"),
            Self::NoThread => f.write_str("too many checks are under way"),
        }
    }
}

/// A running thread, counted.
struct Running;

impl Running {
    fn new() -> Option<Self> {
        // Counted by the value that is made, so that refusing takes it back.
        let running = Self;
        (RUNNING.fetch_add(1, Ordering::Relaxed) < THREADS).then_some(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does work on a thread of its own and waits for it. After the deadline it is told to end, and what it gives does not count.
pub(crate) fn isolated<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failed> {
    let running = Running::new().ok_or(Failed::NoThread)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let (send, receive) = mpsc::sync_channel(1);
    let flag = cancelled.clone();
    let body = move || {
        let _running = running;
        meter::enter(STACK, flag);
        // Nobody waits any more if this fails.
        let _ = send.send(attempt(work));
    };
    let named = thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
    let thread = named.spawn(body).map_err(|_| Failed::NoThread)?;
    let done = receive.recv_timeout(deadline);
    cancelled.store(true, Ordering::Relaxed);
    // What it does is counted, so it notices soon. If not, this waits: its turn is not over.
    _ = thread.join();
    done.map_err(|_| Failed::TimedOut)?
}

/// Does work and tells how it ended.
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, Failed> {
    let failed = |panic: Box<dyn Any + Send>| match panic.downcast_ref::<Exhausted>() {
        Some(exhausted) => Failed::Exhausted(*exhausted),
        None => Failed::Panicked,
    };
    catch_unwind(AssertUnwindSafe(work)).map_err(failed)
}
