//! What an autoscaler would have done: its decisions, made by the very function that the manager calls, against load that was
//! recorded, in a closed loop. What it costs and where it was too little, and a picture of it.
//!
//! The load is what came from outside, for all pods together; how many pods share it follows from the decisions. There is no
//! client, no clock and no random number: the same input gives the same output to the bit. Who reads files, and asks servers
//! for what was measured, is the command line.

mod csv;
mod demand;
mod draw;
mod feed;
mod model;
mod pods;
mod score;

pub use csv::{CsvError, read as read_csv};
pub use demand::{Unfit, names};
pub use draw::{Curve, svg};
pub use feed::{Feed, FeedError, Row};
pub use model::{Course, Setup, Tick, as_hpa, interval, run};
pub use score::{Score, score};
