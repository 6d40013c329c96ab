//! The work of one check, counted: steps, bytes and stack. What is used up ends the evaluation by unwinding, which its
//! thread catches; see `isolated`. Not a clock.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps of one expression or schema on one value: turns of loops, and subschemas that are visited.
pub(crate) const STEPS: u64 = 1_000_000;
/// Bytes that one expression may make: texts put together, elements put into lists.
pub(crate) const BYTES: u64 = 16 << 20;
/// Parts of one value, once it is read: texts, numbers, lists, maps.
pub(crate) const PARTS: u64 = 100_000;
/// Stack that is left to what does not count.
const RESERVE: usize = 4 << 20;

/// Why an evaluation was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Steps,
    Bytes,
    Parts,
    Stack,
    Cancelled,
}

struct Meter {
    steps: Cell<u64>,
    bytes: Cell<u64>,
    parts: Cell<u64>,
    /// Where the stack began, and how much of it may be used.
    stack: Cell<(usize, usize)>,
    cancelled: RefCell<Arc<AtomicBool>>,
}

thread_local! {
    static METER: Meter = Meter {
        steps: Cell::new(STEPS),
        bytes: Cell::new(BYTES),
        parts: Cell::new(PARTS),
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

/// Begins to read another value.
pub(crate) fn begin_value() {
    METER.with(|meter| meter.parts.set(PARTS));
}

/// Counts a step. Unwinds, with [`Exhausted`], if there are no more or the thread is to end.
pub(crate) fn step() {
    steps(1);
}

/// Counts several at once, likewise.
pub(crate) fn steps(count: u64) {
    end(METER.with(|meter| meter.stopped().or_else(|| take(&meter.steps, count, Exhausted::Steps))));
}

/// Counts a part of a value, likewise.
pub(crate) fn part() {
    end(METER.with(|meter| meter.stopped().or_else(|| take(&meter.parts, 1, Exhausted::Parts))));
}

/// Counts bytes, likewise.
pub(crate) fn bytes(count: usize) {
    end(METER.with(|meter| take(&meter.bytes, count as u64, Exhausted::Bytes)));
}

impl Meter {
    /// Whether the thread is to end, whatever it does.
    fn stopped(&self) -> Option<Exhausted> {
        let (start, limit) = self.stack.get();
        if limit > 0 && start.abs_diff(here()) > limit {
            return Some(Exhausted::Stack);
        }
        self.cancelled.borrow().load(Ordering::Relaxed).then_some(Exhausted::Cancelled)
    }
}

/// Takes some of what is left, or says that there is not so much.
fn take(left: &Cell<u64>, count: u64, or: Exhausted) -> Option<Exhausted> {
    match left.get().checked_sub(count) {
        None => Some(or),
        Some(rest) => {
            left.set(rest);
            None
        }
    }
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
            Self::Parts => "it holds more than 100000 texts, numbers, lists and maps: divide it",
            Self::Stack => "it nests too deeply",
            Self::Cancelled => "it takes too long",
        })
    }
}
