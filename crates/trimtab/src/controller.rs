//! What a controller is. Not how it is run: that is the worker's.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use trimtab_plan::{Answers, Failure, Notice, ObjectRef, Outcome, Plan, StatusWrite, Write};

use crate::answerer::Answerer;
use crate::permissions::Permission;

/// What decisions are made about: usually the name of an object.
pub trait Key: Clone + Eq + Hash + Ord + Display + Debug + Send + Sync + 'static {
    /// Its namespace; keys of one namespace do not hold up those of others. Empty if there is none.
    fn namespace(&self) -> &str;

    /// The object that people ask about when they want to know why.
    fn object(&self) -> ObjectRef;
}

impl Key for ObjectRef {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn object(&self) -> ObjectRef {
        self.clone()
    }
}

/// A controller: what it sees of a key, and what it decides on that.
///
/// # Flow
/// Whenever something wakes a key: `prepare` where it must, `gather`, `decide`, the plan's writes, `conclude`, the status write. No two reconciles
/// of one key run at once, and none before the stores have seen what the one before wrote.
///
/// # Assumptions
/// The functions are quick and do no I/O. `decide` and `conclude` are pure: all that they know is in their arguments. A
/// plan may be cut off after any of its writes, by a crash or a failure; deciding anew must reach the same end.
///
/// # Errors
/// There are none to return. What is wrong with an object is part of its status; what fails in applying is in the
/// outcome. A panic harms its own key alone: it is logged, counted, and tried again with backoff.
pub trait Controller: Send + Sync + 'static {
    /// Its name in metrics and logs; `trimtab-<name>` is its field manager.
    const NAME: &'static str;
    /// What it decides about.
    type Key: Key;
    /// What it sees of a key.
    type Snapshot: Serialize + Send + Sync + 'static;
    /// What it says of a key.
    type Status: Serialize + Send + Sync + 'static;

    /// What it needs to be allowed as it is set up: its writes, and what it reads beside its watches: `get` of what
    /// answerers read and of the sources of copies. What it watches is added by the runtime.
    fn permissions(&self) -> Vec<Permission>;

    /// Whether `gather` needs something made ready whose cost somebody else decides: names compared with expressions, say.
    fn must_prepare(&self, _key: &Self::Key) -> bool {
        false
    }

    /// Makes it ready, or a part of it, on a thread of its own, of which a namespace has a share. It ends within a second, whatever
    /// it is about, and holds no lock meanwhile that `gather` takes: that one runs on the threads of the process.
    fn prepare(&self, _key: &Self::Key) {}

    /// Whether there is so much to gather that it is done on a thread of its own, of which a namespace has a share, and not on those of
    /// the process. Told by counts, without looking at what there is.
    fn gathers_much(&self, _key: &Self::Key, _answers: &Answers) -> bool {
        false
    }

    /// Collects from the stores what a decision is made on. `None`: there is nothing (any more), forget the key.
    fn gather(&self, key: &Self::Key, answers: &Answers) -> Option<Self::Snapshot>;

    /// Objects other than the key's that decisions about it concern: people who ask why about one of them are told
    /// about the key. Those whose status is written, and those of notices, need not be named.
    fn concerns(_seen: &Self::Snapshot) -> Vec<ObjectRef> {
        vec![]
    }

    /// Whether a decision computes what others wrote, such as an expression: it is then made on a thread of its own, of which a
    /// namespace has a share, and not on those of the process. It has a bound of its own all the same, in steps: the thread of what does
    /// not end is lost to others.
    fn is_costly(_seen: &Self::Snapshot) -> bool {
        false
    }

    /// Decides.
    fn decide(now: Timestamp, seen: &Self::Snapshot) -> Plan<Self::Status>;

    /// What is said in place of a decision that was not made in time: that it is so, what takes the time, and no write. `None`: only the
    /// log and the journal say it.
    fn late(_now: Timestamp, _seen: &Self::Snapshot) -> Option<Plan<Self::Status>> {
        None
    }

    /// What people are told of a write that is refused for as long as nothing changes (forbidden, invalid, quota), or that has failed
    /// for long. For kinds
    /// without a status of ours, where nothing else would say so; the log says it in any case.
    fn refused(_seen: &Self::Snapshot, _write: &Write, _failure: &Failure) -> Vec<Notice> {
        vec![]
    }

    /// The status that follows from what came of the plan. `None`: the status stays as it is.
    fn conclude(
        now: Timestamp,
        seen: &Self::Snapshot,
        plan: &Plan<Self::Status>,
        outcome: &Outcome,
    ) -> Option<StatusWrite>;
}

/// How a controller is run.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// How many keys are worked on at once; of one namespace three quarters of them.
    pub workers: usize,
    /// How long a reconcile's writes may take together; what is left then fails as `Timeout`, and the status says so.
    pub timeout: Duration,
    /// How many questions may be under way at once; of one namespace three quarters of them.
    pub asks: usize,
    /// What answers custom questions.
    pub answerer: Option<Answerer>,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self { workers: 8, timeout: Duration::from_secs(60), asks: 16, answerer: None }
    }
}
