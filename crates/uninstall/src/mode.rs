//! What is to become of what waits.

use serde::Serialize;

/// What is to become of what waits for Trimtab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A change that waits, or that is being released, goes on by the Deployment's own strategy. One that was found bad is
    /// taken back: nobody would judge it again.
    Resume,
    /// Every change that is not rolling yet is taken back: the Deployment asks for what runs.
    TakeBack,
}
