//! The result of a decision.

use jiff::Timestamp;
use serde::Serialize;

use crate::{Ask, Class, Failure, ObjectRef, Write};

/// What a controller decided about one key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan<S> {
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// What is tidied up once the status is written, each on its own. Nothing waits for it: what the server refuses of it
    /// is told to people, and tried again later.
    pub housekeeping: Vec<Chore>,
    /// What must be known before the next decision.
    pub asks: Vec<Ask>,
    /// The status that follows if all writes succeed.
    pub status: S,
    /// When to decide again if nothing changes before.
    pub wake: Wake,
    /// Why: what the decision rests on and what it waits for, the most important first.
    pub because: Vec<Because>,
    /// Events to tell people about, once the writes are done.
    pub notices: Vec<Notice>,
}

impl<S> Plan<S> {
    /// A plan that writes nothing but its status.
    pub fn new(status: S) -> Self {
        Self {
            writes: vec![],
            housekeeping: vec![],
            asks: vec![],
            status,
            wake: Wake::OnChange,
            because: vec![],
            notices: vec![],
        }
    }

    /// Adds something to tidy up; `about` is the object whose people are told where it is refused.
    pub fn tidy(&mut self, write: Write, about: ObjectRef, uid: &str) {
        self.housekeeping.push(Chore { write, about, uid: uid.to_owned() });
    }

    /// Adds a reason.
    pub fn because(&mut self, reason: &'static str, message: impl Into<String>) {
        self.because.push(Because { reason, message: message.into() });
    }

    /// Wakes at `at` at the latest.
    pub fn wake_by(&mut self, at: Timestamp) {
        self.wake = match self.wake {
            Wake::OnChange => Wake::At(at),
            Wake::At(earlier) => Wake::At(earlier.min(at)),
        };
    }
}

/// When to decide again if nothing changes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Wake {
    /// Only when something that was seen changes.
    OnChange,
    /// At this time at the latest.
    At(Timestamp),
}

/// A write that no progress rests on: owners of copies, records, limits of histories.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chore {
    /// The write.
    pub write: Write,
    /// The object whose people are told where the write is refused.
    pub about: ObjectRef,
    /// Its uid.
    pub uid: String,
}

impl Chore {
    /// What people are told of a failure; nothing of one that passes by itself.
    pub fn refused(&self, failure: &Failure) -> Option<Notice> {
        let note = format!(
            "not done: {} ({}): {}. Nothing waits for it, and it is tried again: allow it, or do it by hand",
            self.write.why, self.write.target, failure.message
        );
        (failure.class == Class::Blocked).then(|| Notice {
            about: self.about.clone(),
            uid: self.uid.clone(),
            severity: Severity::Warning,
            reason: "HousekeepingRefused",
            action: "TidyUp",
            note,
        })
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    /// A stable code in CamelCase, one of a closed set per controller.
    pub reason: &'static str,
    /// A sentence for a person.
    pub message: String,
}

/// Something that people should be told as a Kubernetes event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The object that it is about.
    pub about: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// How bad it is.
    pub severity: Severity,
    /// A stable code in CamelCase.
    pub reason: &'static str,
    /// What was done, in CamelCase; for example `TakeBack`.
    pub action: &'static str,
    /// A sentence for a person; says what to do where something is to be done.
    pub note: String,
}

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Severity {
    /// Things go as they should.
    Normal,
    /// Somebody should look.
    Warning,
}
