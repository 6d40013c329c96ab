//! The manager beside much configuration: how long it takes to see all of it, and what it holds then.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use trimtab_testkit::{TestNamespace, eventually};
use trimtab_tests::{Account, ManagerProcess, maps};

use crate::process;
use crate::table::{Table, mib, seconds};

const COUNT: usize = 25_000;
/// Of each: 190 MB in all.
const BYTES: usize = 7_600;
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures with a manager as users run it, of all namespaces.
pub async fn measure(namespace: TestNamespace, admin: &Path, table: &mut Table) -> Result<()> {
    println!("{COUNT} ConfigMaps with {} MB are being made", COUNT * BYTES / 1_000_000);
    maps::fill(&namespace, COUNT, BYTES).await?;
    let account = Account::create(&namespace.client(), namespace.name(), admin).await?;
    process::rest().await;
    let arguments = ["--controllers=config,reload", "--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"];
    let started = Instant::now();
    let manager = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &arguments)?;
    ready(&manager).await?;
    table.row("25 000 ConfigMaps, 190 MB: start to ready", seconds(started.elapsed()), "10 s", "");
    process::rest().await;
    let rss = process::memory(manager.id(), "VmRSS")?;
    table.row("  RSS at rest", mib(rss), "35 MiB", "Reloader 339 MiB");
    table.row("  at its highest", mib(process::memory(manager.id(), "VmHWM")?), "", "");
    table.row("  processor time until then", seconds(process::cpu(manager.id())?), "", "");
    drop(manager);
    account.remove().await
}

/// Waits until a manager has seen all that there is.
pub async fn ready(manager: &ManagerProcess) -> Result<()> {
    eventually("the manager to be ready", PATIENCE, async || {
        let (code, text) = manager.get("/readyz").await?;
        ensure!(code == 200, "{text}");
        Ok(Some(()))
    })
    .await
}
