//! The way out: what of a cluster waits for Trimtab, and how it goes on by Kubernetes alone.
//!
//! [`survey()`] says how one Deployment stands, what becomes of it when Trimtab goes and nothing is written, and which
//! commands a person would need. [`decide()`] says what to write next so that it needs Trimtab no more. It is asked again
//! after every write, like the release engine, until nothing is left to do: a process that is ended in between may be
//! started again. [`Other`] is what is not a Deployment's release: sleeping workloads, frozen configuration, Jobs.
//!
//! There is no client here and no clock. Plans are read leniently ([`PlanFacts`]): the way out must be open also where
//! another version of Trimtab wrote them, or their CRD is gone.

mod canaries;
mod decide;
mod facts;
mod mode;
mod other;
mod snapshot;
mod standing;
mod survey;

pub use decide::{Next, decide};
pub use facts::{PlanFacts, ReleaseUnderWay};
pub use mode::Mode;
pub use other::{KeptJob, Other, Scaled};
pub use snapshot::{Copy, Snapshot, is_paused_for_reload};
pub use standing::{CanaryPods, Standing, State};
pub use survey::survey;
