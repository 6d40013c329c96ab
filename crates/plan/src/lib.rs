//! The vocabulary of decisions: what a controller may see, ask, write and say.
//!
//! A controller's decision is a pure function `decide(now, &Snapshot) -> Plan`. This crate holds the types of its
//! result and of what came of it. It is not the runtime: nothing here performs I/O, reads a clock, logs, or knows a
//! client, and `tests/architecture.rs` holds its dependency tree to that.

mod ask;
mod identity;
mod lenient;
mod newer;
mod outcome;
pub mod place;
mod plan;
mod status;
mod text_map;
mod watched;
mod write;

pub use ask::{About, Answer, Answers, Ask, Question};
pub use identity::{Kind, ObjectRef, OwnerRef};
pub use lenient::{read_what_fits, unread};
pub use newer::{Newer, read_with_rest};
pub use outcome::{Applied, Class, Failure, Outcome};
pub use plan::{Because, Chore, Notice, Plan, Severity, Wake};
pub use status::{Condition, StatusWrite, set_condition};
pub use text_map::TextMap;
pub use watched::{Meta, Watched, deserialize_annotations};
pub use write::{PatchOp, Propagation, Subresource, Verb, Write};
