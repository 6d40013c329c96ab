//! Programs that try the chart and are no part of a cluster: found, or built when first asked for. Not how they are called.

use std::path::PathBuf;

use anyhow::{Context, Result};
use trimtab_parts::{Assets, Part, source};

/// Where parts are once those that are missing have been built, away from the async runtime's threads.
pub(crate) async fn ensure(parts: Vec<Part>) -> Result<Assets> {
    tokio::task::spawn_blocking(move || trimtab_parts::ensure(&parts))
        .await
        .context("looking the cluster's programs up was cut short")?
}

/// A program of another project, at the version that `cluster/` pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Helm 3.
    Helm3,
    /// Helm 4.
    Helm4,
    /// Prometheus' checker of alerts.
    Promtool,
}

impl Tool {
    fn part(self) -> Part {
        match self {
            Self::Helm3 => source::HELM_3,
            Self::Helm4 => source::HELM_4,
            Self::Promtool => source::PROMTOOL,
        }
    }

    /// Where the program is; building it takes minutes once.
    pub async fn path(self) -> Result<PathBuf> {
        Ok(ensure(vec![self.part()]).await?.path(self.part())?.to_owned())
    }
}
