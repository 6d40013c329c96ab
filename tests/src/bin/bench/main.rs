//! `make bench`: measures releases, the idle manager, reloads and the framework on a cluster of their own, and prints each
//! figure beside its goal and what the nearest peer needs. Words after it choose parts: `releases`, `idle`, `reloads`,
//! `autoscalers`, `hpa`, `framework`; `waves` is what `reloads` begins with.
//!
//! A wrong count fails it. A slow one does not: how fast a machine is is for the reader to judge.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on fails")]

mod autoscalers;
mod framework;
mod hpa;
mod memory;
mod process;
mod releases;
mod reloads;
mod sightings;
mod table;
mod waves;

use anyhow::{Result, ensure};
use trimtab_testkit::with_namespace;

use table::Table;
use trimtab_tests::maps;

const PARTS: [&str; 7] = ["releases", "idle", "reloads", "waves", "autoscalers", "hpa", "framework"];

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = chosen.iter().find(|word| !PARTS.contains(&word.as_str())) {
        anyhow::bail!("there is no part {unknown:?}: choose from {}", PARTS.join(", "));
    }
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    let cluster = trimtab_tests::cluster().await?;
    let client = cluster.client().await?;
    let mut table = Table::default();
    if wanted("releases") || wanted("idle") {
        let rounds = wanted("releases");
        let idle = wanted("idle");
        let kubeconfig = cluster.kubeconfig();
        let measure = async |namespace| releases::measure(namespace, kubeconfig, rounds, idle, &mut table).await;
        with_namespace(&client, "bench", measure).await?;
    }
    if wanted("reloads") || wanted("waves") {
        waves::measure(&client, cluster.kubeconfig(), &mut table).await?;
    }
    if wanted("reloads") {
        let kubeconfig = cluster.kubeconfig();
        let measure = async |namespace| reloads::measure(namespace, kubeconfig, &mut table).await;
        with_namespace(&client, "reloads", measure).await?;
        maps::gone(&client).await?;
        let measure = async |namespace| memory::measure(namespace, kubeconfig, &mut table).await;
        with_namespace(&client, "memory", measure).await?;
        maps::gone(&client).await?;
    }
    if wanted("autoscalers") {
        let kubeconfig = cluster.kubeconfig();
        let measure = async |namespace| autoscalers::measure(namespace, kubeconfig, &mut table).await;
        with_namespace(&client, "autoscalers", measure).await?;
    }
    if wanted("hpa") {
        let kubeconfig = cluster.kubeconfig();
        let measure = async |namespace| hpa::measure(namespace, kubeconfig, &mut table).await;
        with_namespace(&client, "hpa", measure).await?;
    }
    if wanted("framework") {
        with_namespace(&client, "maps", async |namespace| framework::measure(namespace.name(), &mut table).await)
            .await?;
    }
    table.print();
    let wrong = table.wrong();
    ensure!(wrong.is_empty(), "these counts are wrong: {}", wrong.join(", "));
    Ok(())
}
