//! Placeholder of the skeleton; replaced by the first change to this crate.
