//! What came of a plan's writes: the only evidence that a status may rest on.

use serde::Serialize;

/// What came of a plan's writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Outcome {
    /// The writes that the server accepted, in order.
    pub applied: Vec<Applied>,
    /// The write that failed, if one did; those behind it were not tried.
    pub failed: Option<Failure>,
}

/// A write that the server accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Resource version of the object afterwards; empty where the server sends none.
    pub resource_version: String,
    /// Whether the server's object changed.
    pub changed: bool,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Index of the write in the plan.
    pub index: usize,
    /// What it means for trying again.
    pub class: Class,
    /// A stable code in CamelCase: the API server's reason, `Precondition`, `Timeout`, `Fenced`.
    pub reason: String,
    /// A sentence for a person that says what to do. Never holds data of a Secret.
    pub message: String,
    /// Whether one that should pass by itself has come back for more than a minute: the same write has failed in the same way.
    pub lasting: bool,
}

impl Failure {
    /// Whether people are told, for it does not pass by itself or has not for long.
    pub fn is_told(&self) -> bool {
        self.class == Class::Blocked || self.lasting
    }

    /// How the write goes, for a message that begins with it.
    pub fn how(&self) -> &'static str {
        if self.class == Class::Blocked { "refused" } else { "fails again and again" }
    }
}

/// What a failure means for trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Class {
    /// Trying again is pointless until something changes: forbidden, invalid, quota. Tried again slowly.
    Blocked,
    /// Will pass by itself: conflict, time-out, server error. Tried again with backoff.
    Transient,
    /// This process must not go on writing: it no longer leads.
    Fatal,
}
