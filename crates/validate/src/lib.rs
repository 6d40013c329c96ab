//! Whether configuration is as `ConfigPolicies` ask: formats, JSON Schema, regular expressions, CEL.
//!
//! The crate has no client, no log and no clock of its own, and the same input gives the same findings: work is counted in
//! steps and bytes, and what takes too many of them is refused. It is not quite pure all the same. Policies are written
//! by people whom the process need not trust, so schemas and expressions run on a thread of their own, with a stack
//! that is large and a deadline that the caller gives. The deadline is the second line behind the counting, and the only thing
//! that depends on time; it ends as a finding like any other. [`compile()`] and [`Compiled::check`] block the calling
//! thread for that long at most.
//!
//! What holds: no input panics or aborts the process; nothing of a Secret but its keys is in a finding; what could not
//! be checked is refused.

mod cel;
mod check;
mod compile;
mod data;
mod format;
mod isolated;
mod meter;
mod number;
mod pattern;
mod schema;

pub use compile::{BadRule, Compiled, compile};
pub use data::{Finding, SourceData};
pub use isolated::THREAD;
pub use number::number;
