//! The prefix property.
