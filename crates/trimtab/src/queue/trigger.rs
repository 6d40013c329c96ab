//! Why a key is decided: everything that woke it since the last time. Not what the decision makes of it: decisions are
//! level-triggered, and these are for people.

use std::fmt;

/// One thing that woke a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// It was there when the process started.
    Start,
    /// An object changed.
    Changed {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: Box<str>,
        /// What happened to it.
        what: What,
        /// Its resource version, to tell one's own writes from those of others.
        version: Box<str>,
    },
    /// A question was answered.
    Answered,
    /// The time that the last plan named has come.
    Wake,
    /// A decision about another key concerns it.
    Turn,
    /// The last reconcile failed.
    Retry,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It is new.
    Created,
    /// What people set has changed: its spec, labels, annotations, owners, or that it is being deleted.
    Specified,
    /// Something else about it has changed, such as its status.
    Changed,
    /// It is gone.
    Deleted,
    /// It cannot be read.
    Unreadable,
}

impl Trigger {
    /// Whether somebody expects an answer to it: such a thing does not wait for the end of a backoff.
    pub(super) fn is_specification(&self) -> bool {
        matches!(self, Self::Changed { what: What::Created | What::Specified | What::Deleted, .. } | Self::Answered)
    }

    /// Whether it is the echo of one of these writes.
    pub(super) fn is_echo_of(&self, own: &[Box<str>]) -> bool {
        matches!(self, Self::Changed { version, .. } if own.contains(version))
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start of the process"),
            Self::Changed { kind, name, what, .. } => write!(f, "{kind} {name} {what}"),
            Self::Answered => f.write_str("an answer"),
            Self::Wake => f.write_str("the time had come"),
            Self::Turn => f.write_str("another one's decision"),
            Self::Retry => f.write_str("another try"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Specified | Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Unreadable => "cannot be read",
        })
    }
}
