//! The framework that Trimtab's controllers are built on, and that platform teams can build theirs on.
//!
//! A controller is what it watches and a pure decision; the runtime does all the rest, once, for every controller:
//!
//! ```text
//! watch event → Key → gather → Snapshot → decide → Plan{writes, asks, status, wake, because} → apply → Outcome → conclude → status
//!                       ↑ answers ← pool ← asks
//! ```

pub mod admin;
mod answerer;
mod apart;
mod apply;
mod asks;
mod body;
mod client;
pub mod clock;
mod contact;
mod controller;
pub mod events;
mod exec;
pub mod faults;
mod gate;
mod hot;
mod housekeeping;
mod informer;
pub mod journal;
mod lasting;
mod lazy;
pub mod lease;
mod liveness;
mod manager;
pub mod metrics;
mod path;
pub mod permissions;
mod queue;
mod selector;
mod share;
pub mod shutdown;
mod store;
mod watched;
mod watches;
mod worker;

pub use answerer::{Answerer, Reader, Unanswered};
pub use apart::{Apart, Lost, Slot};
pub use apply::Writer;
pub use client::client;
pub use controller::{Controller, ControllerOptions, Key};
pub use exec::{ExecError, ExecResult};
pub use informer::read_object;
pub use lease::Options as LeaseOptions;
pub use manager::{Manager, ManagerError, ManagerOptions, permissions_of};
pub use permissions::{Grants, Permission};
pub use selector::Selector;
pub use share::{Held, Shares, Turn};
pub use store::{Store, Unreadable};
pub use watched::{Meta, Watched};
pub use watches::{Heard, KeyWaker, Watch, Watches};
