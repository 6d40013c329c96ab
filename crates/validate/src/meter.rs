//! The work of one check, counted: steps, bytes and stack. What is used up ends the evaluation by unwinding, which its
//! thread catches; see `isolated`. Not a clock.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps of one expression or schema on one value: turns of loops, and subschemas that are visited.
const STEPS: u64 = 1_000_000;
/// Bytes that one expression may make: texts put together, elements put into lists.
const BYTES: u64 = 16 << 20;
/// Stack that is left to what does not count.
const RESERVE: usize = 4 << 20;

/// Why an evaluation was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Steps,
    Bytes,
    Stack,
    Cancelled,
}

struct Meter {
    steps: Cell<u64>,
    bytes: Cell<u64>,
    /// Where the stack began, and how much of it may be used.
    stack: Cell<(usize, usize)>,
    cancelled: RefCell<Arc<AtomicBool>>,
}

thread_local! {
    static METER: Meter = Meter {
        steps: Cell::new(STEPS),
        bytes: Cell::new(BYTES),
        stack: Cell::new((0, 0)),
        cancelled: RefCell::default(),
    };
}

/// The address of something on the stack.
fn here() -> usize {
    let local = 0_u8;
    std::hint::black_box(&raw const local) as usize
}

/// Begins to count on this thread, whose stack has this size and which ends early once `cancelled` is set.
pub(crate) fn enter(stack: usize, cancelled: Arc<AtomicBool>) {
    METER.with(|meter| {
        meter.stack.set((here(), stack.saturating_sub(RESERVE)));
        *meter.cancelled.borrow_mut() = cancelled;
    });
    refill();
}

/// Begins another evaluation.
pub(crate) fn refill() {
    METER.with(|meter| {
        meter.steps.set(STEPS);
        meter.bytes.set(BYTES);
    });
}

/// Counts a step. Unwinds, with [`Exhausted`], if there are no more or the thread is to end.
pub(crate) fn step() {
    end(METER.with(|meter| {
        let (start, limit) = meter.stack.get();
        if limit > 0 && start.abs_diff(here()) > limit {
            return Some(Exhausted::Stack);
        }
        if meter.cancelled.borrow().load(Ordering::Relaxed) {
            return Some(Exhausted::Cancelled);
        }
        match meter.steps.get().checked_sub(1) {
            None => Some(Exhausted::Steps),
            Some(left) => {
                meter.steps.set(left);
                None
            }
        }
    }));
}

/// Counts bytes, likewise.
pub(crate) fn bytes(count: usize) {
    end(METER.with(|meter| match meter.bytes.get().checked_sub(count as u64) {
        None => Some(Exhausted::Bytes),
        Some(left) => {
            meter.bytes.set(left);
            None
        }
    }));
}

fn end(exhausted: Option<Exhausted>) {
    if let Some(exhausted) = exhausted {
        // Not `panic!`: this is no mistake of the program, and says nothing on standard error.
        resume_unwind(Box::new(exhausted));
    }
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Steps => "it takes more than a million steps: look at fewer elements, or nest loops less",
            Self::Bytes => "it makes more than 16 MiB of texts and lists: put together less",
            Self::Stack => "it nests too deeply",
            Self::Cancelled => "it takes too long",
        })
    }
}
