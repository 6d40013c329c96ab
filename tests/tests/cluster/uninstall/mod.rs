//! The way out, on a real cluster: every state that a workload can be left in, without a manager, and what becomes of it
//! by `trimtab uninstall`. Judged by the world afterwards: which pods there ever were, how few were available at any time,
//! revisions, and whether anything is still held.

mod clean;
mod states;
mod world;
