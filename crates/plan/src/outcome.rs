//! What came of a plan's writes: the only evidence that a status may rest on.

use serde::Serialize;

use crate::{ObjectRef, Write};

/// What came of a plan's writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Outcome {
    /// The writes that the server accepted, in order.
    pub applied: Vec<Applied>,
    /// The write that failed, if one did; those behind it were not tried.
    pub failed: Option<Failure>,
}

impl Outcome {
    /// The objects that are not, or perhaps not, as they were known before these writes: what was asked about them is void.
    pub fn outdated<'w>(&self, writes: &'w [Write]) -> Vec<&'w ObjectRef> {
        let changed = self.applied.iter().zip(writes).filter(|(applied, _)| applied.changed).map(|(_, write)| write);
        // Others, such as an overload, leave the object as it was, and are no reason to ask again.
        let is_doubt = |failure: &&Failure| {
            matches!(failure.reason.as_str(), "Conflict" | "Precondition" | "NotFound" | "Timeout" | "Unreachable")
        };
        let doubted = self.failed.as_ref().filter(is_doubt).and_then(|failure| writes.get(failure.index));
        changed.chain(doubted).map(|write| &write.target).collect()
    }
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
    /// Whether somebody else wrote the object after it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self.reason.as_str(), "Conflict" | "Precondition")
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Verb};

    /// Three writes, of which some are applied and changed something, and the next one failed for this reason.
    fn check(applied: &[bool], reason: Option<&str>, expected: &[&str]) {
        let kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
        let write = |name: &str| Write { target: kind.object("n", name), verb: Verb::Evict, why: String::new() };
        let writes = ["a", "b", "c"].map(write);
        let one = |changed: &bool| Applied { resource_version: String::new(), changed: *changed };
        let failed = reason.map(|reason| Failure {
            index: applied.len(),
            class: Class::Transient,
            reason: reason.to_owned(),
            message: String::new(),
            lasting: false,
        });
        let outcome = Outcome { applied: applied.iter().map(one).collect(), failed };
        let found: Vec<&str> = outcome.outdated(&writes).iter().map(|object| object.name.as_str()).collect();
        assert_eq!(found, expected, "{applied:?} {reason:?}");
    }

    #[test]
    fn what_a_write_changed_or_may_have_changed_is_not_known_any_more() {
        check(&[], None, &[]);
        check(&[true, false, true], None, &["a", "c"]);
        check(&[true], Some("Conflict"), &["a", "b"]);
        check(&[false, true], Some("Timeout"), &["b", "c"]);
        check(&[true], Some("TooManyRequests"), &["a"]);
        check(&[], Some("Forbidden"), &[]);
    }
}
