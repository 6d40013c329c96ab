//! Wiring: which controllers a process runs, one row each.

use anyhow::{Context, bail};
use trimtab::{ControllerOptions, Manager};

use crate::{
    args::Args,
    digest_key,
    reload::{self, Reloading},
    rollout::{self, Rollout},
    rollouts,
    scale::{self, Scaling},
    tracking::{self, Tracking},
    validation,
};

/// The names that `--controllers` takes.
pub const CONTROLLERS: [&str; 4] = ["release", "config", "reload", "scale"];

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
    let namespace = config.default_namespace.clone();
    let mut options = args.options(&namespace);
    if let Some(election) = &mut options.leader_election {
        election.connection = Some(config.clone());
    }
    let client = trimtab::client(config).context("the credentials make no client")?;
    let namespace = args.lease_namespace.clone().unwrap_or(namespace);
    let (quiet_period, secrets) = (args.config_quiet_period, args.secrets);
    let kept_key = if secrets { Some(digest_key::read_or_make(&client, &namespace).await?) } else { None };
    // Nothing is made with it where no Secret is read.
    let secrets_key = kept_key.clone().unwrap_or_default();
    let rollout = rollout::Options { quiet_period, digest_key: secrets_key.clone(), secrets };
    let tracking = tracking::Options { quiet_period, digest_key: secrets_key, secrets };
    // Where no key may be kept, nobody but this process knows it: what is found of an earlier one is shown to people.
    let proof_key = kept_key.clone().map_or_else(digest_key::of_process, Ok)?;
    let reloading = args.reload.setup(
        quiet_period,
        kept_key,
        proof_key,
        rollouts::are_reloaded(&client, &options.namespaces).await,
    );
    let mut manager = Manager::new(client, options);
    for name in &args.controllers {
        match name.as_str() {
            "release" => {
                // Many at once: a rush of changes has to reach the API server beside what its own controllers make of it.
                let answerer = Some(validation::answerer());
                let options = ControllerOptions { workers: 40, answerer, ..ControllerOptions::default() };
                manager.controller(options, |watches| Rollout::new(watches, rollout.clone()))
            }
            "config" => {
                manager.controller(ControllerOptions::default(), |watches| Tracking::new(watches, tracking.clone()))
            }
            "reload" => {
                let answerer = Some(reload::answerer());
                // Each answer about a pod takes as long as its kubelet does.
                let options = ControllerOptions { workers: 16, asks: 64, answerer, ..ControllerOptions::default() };
                manager.controller(options, |watches| Reloading::new(watches, reloading.clone()))
            }
            "scale" => {
                // Each metric is a question; the servers have their own limits.
                let answerer = Some(scale::answerer());
                let options = ControllerOptions { workers: 20, asks: 4096, answerer, ..ControllerOptions::default() };
                manager.controller(options, |watches| Scaling::new(watches, args.scale.options()))
            }
            other => bail!("there is no controller {other:?}: use one of {}", CONTROLLERS.join(", ")),
        };
    }
    manager.run(shutdown).await.context("the manager ended")
}
