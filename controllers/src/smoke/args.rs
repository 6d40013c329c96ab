//! The flags of `trimtab-manager smoke-test`.

use std::time::Duration;

use clap::Args;

use crate::args::duration;

/// What to try, and where.
#[derive(Debug, Clone, Args)]
pub struct SmokeArgs {
    /// An existing namespace to work in. Without, one is made, and removed at the end.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The image of the application: the manager's own, since a cluster that runs the manager has it.
    #[arg(long, env = "SMOKE_IMAGE", default_value = concat!("trimtab.dev/trimtab-manager:", env!("CARGO_PKG_VERSION")), value_name = "IMAGE")]
    pub image: String,

    /// When nodes fetch it.
    #[arg(long, default_value = "IfNotPresent", value_name = "POLICY")]
    pub pull_policy: String,

    /// Secrets of the namespace with the credentials of its registry.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub pull_secrets: Vec<String>,

    /// How long all of it may take.
    #[arg(long, default_value = "3m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,

    /// Have the bad configuration taken back by a request: for pods that only say that they run and cannot fail by it.
    #[arg(long)]
    pub abort: bool,

    /// Be the application: what the test's own pods run.
    #[arg(long, hide = true)]
    pub serve: bool,
}
