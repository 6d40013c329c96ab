//! Reloads: what to watch for them and who answers their questions. Not when a workload reloads: that is a decision.

mod hot;

pub use hot::answerer;
