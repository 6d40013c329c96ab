//! The programs that a local cluster is made of: which version of each is pinned, where they are looked for, and how they are built
//! with Go and kept. Not how they are started.

pub mod paths;
pub mod source;

mod assets;
mod builder;

pub use assets::{Assets, ensure, lookup};
pub use source::Part;
