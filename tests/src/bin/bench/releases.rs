//! Releases by the hundred: all Deployments changed at once, then one after the other, then nothing for a minute.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use trimtab_testkit::{TestNamespace, eventually};
use trimtab_tests::{Account, Fleet, ManagerProcess, PodWatch};

use crate::process;
use crate::sightings::Sightings;
use crate::table::{Table, mib, millis, percentile, seconds};

const PLANS: usize = 300;
const PACE: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_secs(60);
/// How long all releases of a round may take. Generous: nothing waits for it in a good run.
const PATIENCE: Duration = Duration::from_secs(300);

/// A round of changes, as it is measured.
struct Round {
    /// Write to first canary ReplicaSet, sorted.
    canary: Vec<Duration>,
    /// From the first write to the last plan that was stable again.
    all: Duration,
    pods: usize,
    finished: usize,
    cpu: Duration,
    /// Processor time of the whole cluster until the slowest canaries but 1%.
    cost: Duration,
    /// Processors that were busy with anything else.
    others: f64,
}

/// Measures with a manager as users run it: all namespaces, leader election, an account without special rights.
pub async fn measure(
    namespace: TestNamespace,
    admin: &Path,
    rounds: bool,
    idle: bool,
    table: &mut Table,
) -> Result<()> {
    let account = Account::create(&namespace.client(), namespace.name(), admin).await?;
    let arguments = ["--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"];
    let manager = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &arguments)?;
    let fleet = Fleet::new(namespace.client(), namespace.name(), PLANS);
    println!("{PLANS} Deployments of {} pods are being made", Fleet::REPLICAS);
    fleet.create("v1").await?;
    fleet.wait_stable("v1", PATIENCE).await?;
    if rounds {
        table.row("RSS at rest before the first release", mib(process::memory(manager.id(), "VmRSS")?), "", "");
        first(&fleet, table).await?;
        fleet.connect().await?;
        at_once(&fleet, &manager, table).await?;
        paced(&fleet, &manager, table).await?;
    }
    if idle {
        self::idle(&account, &manager, table).await?;
    }
    table.row("RSS of the manager", mib(process::memory(manager.id(), "VmRSS")?), "40 MiB", "Argo Rollouts 118 MiB");
    table.row("  at its highest", mib(process::memory(manager.id(), "VmHWM")?), "40 MiB", "");
    drop(manager);
    account.remove().await
}

/// The first change of a guarded Deployment that an API server sees makes it read its own schema, each request for itself.
/// That happens once in its life, so it is measured by itself.
async fn first(fleet: &Fleet, table: &mut Table) -> Result<()> {
    let name = fleet.names().next().context("an empty fleet")?;
    let sightings = Sightings::start(fleet, "v0").await?;
    let started = Instant::now();
    fleet.change(&name, "v0").await?;
    let seen = eventually("the first canary", PATIENCE, async || Ok(sightings.canaries().get(&name).copied())).await?;
    table.row("first change of all: write to first canary", millis(seen - started), "", "");
    eventually("the first release to finish", PATIENCE, async || Ok(sightings.finished().get(&name).map(drop))).await
}

async fn at_once(fleet: &Fleet, manager: &ManagerProcess, table: &mut Table) -> Result<()> {
    process::rest().await;
    println!("all are changed at once");
    let round = round(fleet, manager, "v2", Duration::ZERO).await?;
    let peer = "Argo Rollouts 4.8 s, 11.5 s";
    table.row("300 at once: write to first canary ReplicaSet, p50", seconds(percentile(&round.canary, 50)), "", peer);
    table.row("  p99", seconds(percentile(&round.canary, 99)), "1.5 s", "");
    table.row("  p99, as processor time of the whole cluster", seconds(round.cost), "", "");
    rest(&round, table);
    Ok(())
}

async fn paced(fleet: &Fleet, manager: &ManagerProcess, table: &mut Table) -> Result<()> {
    process::rest().await;
    println!("all are changed, {} ms apart", PACE.as_millis());
    let round = round(fleet, manager, "v3", PACE).await?;
    let peer = "Argo Rollouts 14 ms, 31 ms";
    table.row("300, 200 ms apart: write to first canary, p50", millis(percentile(&round.canary, 50)), "", peer);
    table.row("  p99", millis(percentile(&round.canary, 99)), "40 ms", "");
    rest(&round, table);
    Ok(())
}

fn rest(round: &Round, table: &mut Table) {
    table.count("  releases finished", round.finished, PLANS);
    table.count("  pods created", round.pods, PLANS * Fleet::REPLICAS);
    table.row("  first write to last release finished", seconds(round.all), "", "");
    table.row("  processor time of the manager", seconds(round.cpu), "", "");
    table.row("  processors busy with other work", format!("{:.1}", round.others), "0", "");
}

/// Changes all Deployments, each this long after the one before, and waits for the end of all releases.
async fn round(fleet: &Fleet, manager: &ManagerProcess, tag: &'static str, pace: Duration) -> Result<Round> {
    let pods = PodWatch::start(fleet.api());
    let sightings = Sightings::start(fleet, tag).await?;
    let before = process::cpu(manager.id())?;
    let cost = process::Cost::start()?;
    let started = Instant::now();
    let change = async |(i, name): (usize, String)| {
        tokio::time::sleep(pace * u32::try_from(i)?).await;
        let at = Instant::now();
        fleet.change(&name, tag).await?;
        anyhow::Ok((name, at))
    };
    let written = futures::future::try_join_all(fleet.names().enumerate().map(change)).await?;
    eventually("all releases to finish", PATIENCE, async || {
        let finished = sightings.finished().len();
        anyhow::ensure!(finished == fleet.size(), "{finished} have");
        Ok(Some(()))
    })
    .await?;
    let (canaries, finished) = (sightings.canaries(), sightings.finished());
    let seen = |(name, at): &(String, Instant)| Some(canaries.get(name)?.saturating_duration_since(*at));
    let mut canary: Vec<Duration> = written.iter().filter_map(seen).collect();
    canary.sort_unstable();
    let all = finished.values().max().context("nothing finished")?.saturating_duration_since(started);
    let mut seen: Vec<Instant> = canaries.values().copied().collect();
    seen.sort_unstable();
    let slow = seen.get(seen.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(started);
    Ok(Round {
        canary,
        all,
        pods: pods.history().created_with(&Fleet::image(tag)),
        finished: finished.len(),
        cpu: process::cpu(manager.id())?.saturating_sub(before),
        cost: cost.until(slow),
        others: cost.others()?,
    })
}

async fn idle(account: &Account, manager: &ManagerProcess, table: &mut Table) -> Result<()> {
    println!("nothing is changed for {} s", IDLE.as_secs());
    process::rest().await;
    let (before, cpu) = (account.requests().await?, process::cpu(manager.id())?);
    tokio::time::sleep(IDLE).await;
    let after = account.requests().await?;
    let cpu = process::cpu(manager.id())?.saturating_sub(cpu);
    table.count(
        "idle for a minute: requests other than leases and watches",
        usize::try_from(after.rest - before.rest)?,
        0,
    );
    table.row("  about the lease", (after.leases - before.leases).to_string(), "", "");
    table.row("  watches begun", (after.watches - before.watches).to_string(), "", "");
    table.row("  processor time of the manager", seconds(cpu), "", "");
    Ok(())
}
