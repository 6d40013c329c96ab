//! Wiring: which controllers a process runs, one row each.

use anyhow::{Context, bail};
use trimtab::{ControllerOptions, Manager};

use crate::{args::Args, rollout::Rollout, validation};

/// The names that `--controllers` takes.
pub const CONTROLLERS: [&str; 1] = ["release"];

/// Runs the manager until it is asked to end.
///
/// # Errors
///
/// If there are no credentials, an unknown controller is asked for, or the lease was lost.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = trimtab::shutdown::signalled().context("cannot listen for signals")?;
    let config = kube::Config::infer()
        .await
        .context("no credentials for a cluster: set KUBECONFIG, or run inside one with a ServiceAccount")?;
    let options = args.options(&config.default_namespace);
    let client = trimtab::client(config).context("the credentials make no client")?;
    let mut manager = Manager::new(client, options);
    for name in &args.controllers {
        match name.as_str() {
            // Many at once: a rush of changes has to reach the API server beside what its own controllers make of them.
            "release" => {
                let answerer = Some(validation::answerer());
                manager.controller(ControllerOptions { workers: 32, answerer, ..Default::default() }, Rollout::new)
            }
            other => bail!("there is no controller {other:?}: use one of {}", CONTROLLERS.join(", ")),
        };
    }
    manager.run(shutdown).await.context("the manager ended")
}
