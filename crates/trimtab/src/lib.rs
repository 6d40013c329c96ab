//! The framework that Trimtab's controllers are built on, and that platform teams can build theirs on.
//!
//! A controller is what it watches and a pure decision; the runtime does all the rest, once, for every controller:
//!
//! ```text
//! watch event → Key → gather → Snapshot → decide → Plan{writes, asks, status, wake, because} → apply → Outcome → conclude → status
//!                       ↑ answers ← pool ← asks
//! ```

pub mod metrics;
