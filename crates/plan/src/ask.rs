//! Asks and answers: questions to slow parties (the API server for bodies that no store holds, metric servers, hooks)
//! that a decision needs before it can go on. Not how they are carried out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{ObjectRef, Write};

/// A question. Asking the same id again while it is under way, or once it is answered, does nothing, unless the same plan has
/// written the object whose state it tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ask {
    /// Identity of the question: hash of the object, the step and a counter, so that a new step asks anew.
    pub id: String,
    /// What is asked.
    pub question: Question,
    /// Seconds after which an unanswered question counts as failed.
    pub timeout_seconds: u32,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Question {
    /// The whole object, as the API server has it now.
    Get(ObjectRef),
    /// What the API server would make of a write, its admission included. Nothing is stored. The answer is of the places that
    /// are named, by JSON pointer, and of nothing else of the object: it may be large, or hold what is secret.
    Rehearse {
        /// The write.
        write: Box<Write>,
        /// What is kept of the object that would be stored.
        keep: Vec<&'static str>,
    },
    /// Something that the controller's own answerer knows to find out. Both parts are kept while the question is asked,
    /// and may be logged: they hold nothing secret.
    Custom {
        /// What is to be found out; one of a closed set per controller.
        name: &'static str,
        /// What it is to be found out about.
        input: Value,
        /// The object whose state the answer tells, if it tells one's.
        about: Option<About>,
    },
}

/// An object whose state an answer tells, by names that somebody else may have written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// API group; empty for the core group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for kinds without namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Question {
    /// Whether the answer tells the state of an object, and so holds only until that is written. A rehearsal tells what
    /// admission does, which no write of the object changes.
    pub fn tells_of(&self, object: &ObjectRef) -> bool {
        // Whatever the version: those of one kind are the same objects.
        let (group, kind, namespace, name) = match self {
            Self::Get(own) => (own.kind.group, own.kind.kind, &own.namespace, &own.name),
            Self::Custom { about: Some(own), .. } => (&*own.group, &*own.kind, &own.namespace, &own.name),
            Self::Custom { about: None, .. } | Self::Rehearse { .. } => return false,
        };
        (group, kind) == (object.kind.group, object.kind.kind) && (namespace, name) == (&object.namespace, &object.name)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Answer {
    /// The object; of a custom question, whatever its answerer says.
    Object(Value),
    /// There is no such object.
    NotFound,
    /// The question could not be answered; the text says why and what to do.
    Failed(String),
}

/// The answers to one key's questions, by id. Answers to ids that the last plan no longer asks are dropped.
pub type Answers = BTreeMap<String, Answer>;
