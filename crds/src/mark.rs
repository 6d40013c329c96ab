//! The mark on a guarded Deployment ([`HELD`](crate::names::HELD)): what it says. The hold policy writes it, and reads it by
//! the same rule as CEL.

use crate::names::{HELD_WHILE_PAUSED, RELEASED};

/// Start of the mark of a change that was let go: then come the generation that was let go and who did it. What is stored
/// is never [`RELEASED`] itself, so that a manifest that is exported and written again releases nothing.
pub const RELEASED_AT: &str = "released at generation ";

/// The mark of a Deployment that Trimtab itself lets go, in the write that takes the guard off: its plan is gone, or it recreates
/// its pods. It tells that the empty [`PLAN`](crate::names::PLAN) beside it is no person's wish.
pub const LET_GO: &str = "released by Trimtab itself";

/// Between the two numbers of a note on a Deployment without replicas ([`WAKE_TO`](crate::names::WAKE_TO)): how many a write asked for,
/// and the generation that it changed. So a note of another time is known that an undo or a manifest brings back.
pub const NOTED_AT: &str = " at generation ";

/// How many replicas such a note asks for.
pub fn noted_size(note: &str) -> Option<i32> {
    note.split_once(NOTED_AT)?.0.parse().ok()
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'m> {
    /// A change is held.
    Held {
        /// Who made it.
        who: &'m str,
        /// Whether a person had paused the Deployment before.
        person_paused: bool,
    },
    /// The last change was let go.
    Released {
        /// By whom, where that is known.
        by: Option<&'m str>,
    },
}

impl<'m> Mark<'m> {
    /// Reads a mark. `paused` is the Deployment's: one that rolls holds nothing, whatever its mark says.
    pub fn read(mark: Option<&'m str>, paused: bool) -> Option<Self> {
        let mark = mark.filter(|mark| !mark.is_empty())?;
        if is_released(mark) {
            let by = mark.strip_prefix(RELEASED_AT).and_then(|rest| rest.split_once(" by ")).map(|(_, by)| by);
            return Some(Self::Released { by });
        }
        let rest = mark.strip_prefix(HELD_WHILE_PAUSED);
        let who = rest.unwrap_or(mark);
        let who = who.strip_prefix("by ").unwrap_or(who);
        paused.then_some(Self::Held { who, person_paused: rest.is_some() })
    }
}

/// Whether a mark says that the change was let go.
pub fn is_released(mark: &str) -> bool {
    mark == RELEASED || mark == LET_GO || mark.starts_with(RELEASED_AT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mark: &str, paused: bool, expected: Option<Mark<'_>>) {
        assert_eq!(Mark::read(Some(mark), paused), expected, "{mark} {paused}");
    }

    #[test]
    fn a_mark_tells_who_is_held_and_who_let_go() {
        check("by alice", true, Some(Mark::Held { who: "alice", person_paused: false }));
        check("paused, by alice", true, Some(Mark::Held { who: "alice", person_paused: true }));
        check("by released", true, Some(Mark::Held { who: "released", person_paused: false }));
        check("released", false, Some(Mark::Released { by: None }));
        check("released at generation 7 by alice by bob", false, Some(Mark::Released { by: Some("alice by bob") }));
        check(LET_GO, true, Some(Mark::Released { by: None }));
        check("by alice", false, None);
        check("", true, None);
        assert_eq!(Mark::read(None, true), None);
    }

    #[test]
    fn a_note_tells_the_size_that_was_asked_for() {
        for (note, size) in [("3 at generation 7", Some(3)), ("3", None), ("three at generation 7", None), ("", None)] {
            assert_eq!(noted_size(note), size, "{note}");
        }
    }
}
