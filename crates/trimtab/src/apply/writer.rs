//! Writes of a program that is no controller: a person's command that has to write as controllers do, with the same requests,
//! preconditions and classes of failures. No lease stands before it: whoever uses it sees to it that no manager works meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;
use trimtab_plan::{Outcome, Write};

use super::{Applier, Process, Told, Trail};
use crate::faults::{self, UnknownFault};
use crate::lease::Fence;
use crate::metrics::Metrics;

/// Performs writes for a program that is no controller.
pub struct Writer {
    applier: Applier,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes as this field manager.
    ///
    /// # Errors
    ///
    /// If `TRIMTAB_FAULT` asks for a fault that there is not.
    pub fn new(client: Client, manager: &str) -> Result<Self, UnknownFault> {
        let process = Process {
            client,
            fence: Fence::open(),
            faults: faults::from_env()?,
            metrics: Metrics::new(),
            count: Arc::new(AtomicU64::new(0)),
            pruned: Told::default(),
        };
        let applier = Applier { process, controller: "command", manager: manager.to_owned(), watching: vec![] };
        Ok(Self { applier })
    }

    /// Performs writes in order up to the first that fails, within this time.
    pub async fn apply(&self, writes: &[Write], within: Duration) -> Outcome {
        self.applier.apply(writes, Instant::now() + within, &mut Trail::default()).await
    }
}
