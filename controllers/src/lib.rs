//! Trimtab's controllers: what each watches and how it gathers what its decision sees. The decisions themselves are in
//! the pure crates; running them is the framework's.

pub mod args;
pub mod digest_key;
mod excerpts;
pub mod manager;
mod memory;
pub mod permissions;
pub mod reload;
pub mod rollout;
mod rollouts;
pub mod scale;
pub mod smoke;
pub mod sources;
pub mod tracking;
pub mod uninstall;
pub mod validation;
pub mod version;
pub mod workload;
