//! The way out, as `trimtab uninstall` and `trimtab-manager uninstall` go it: reads what waits, stops the manager, and
//! performs what `trimtab-uninstall` decides until nothing is left to do. No decision is taken here.

pub mod args;
mod leader;
mod policies;
mod read;
mod run;
mod scope;
mod text;

pub use leader::{Leader, leader};
pub use run::{Open, Report, free, look};
pub use scope::Scope;
pub use text::text;
