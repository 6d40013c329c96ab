//! What holds of every decision, whatever is measured: mostly of what the HPA does not have. What the HPA has is compared with
//! it in `hpa.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so")]

mod conditions;
mod contested;
mod dead_ends;
mod forecast;
mod loss;
mod measured_once;
mod memory;
mod nights;
mod played;
mod release;
mod selector;
mod sizes;
mod together;
mod world;
