//! `Meta` and `Watched` live in the pure vocabulary (`trimtab-plan`), so that pure crates can declare their projections.
//! This file only gives them their place in the framework's API.

pub use trimtab_plan::{Meta, Watched};
