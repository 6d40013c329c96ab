//! Reloads: many workloads that each read a ConfigMap of their own, changed one after the other, and one ConfigMap that many
//! read. What is timed is the patch of the template; what the cluster then makes of it is not.

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, EnvVar};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trimtab_crds::names;
use trimtab_testkit::{TestNamespace, eventually};
use trimtab_tests::{Account, ManagerProcess, maps};

use crate::memory::ready;
use crate::process;
use crate::sightings::{Times, follow, note};
use crate::table::{Table, millis, percentile, seconds};

const MAPS: usize = 10_000;
const MAP_BYTES: usize = 4096;
const DEPLOYMENTS: usize = 1_200;
/// Pods of each.
const REPLICAS: usize = 1;
/// The last so many read one more ConfigMap: the same.
const SHARING: usize = 200;
const SHARED: &str = "shared";
const CHANGES: usize = 200;
const PACE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(300);
/// Nothing waits for anything but the machine.
const FLAGS: [&str; 6] = [
    "--controllers=reload",
    "--config-quiet-period=0s",
    "--reload-max-per-source=0",
    "--reload-max-per-namespace=0",
    "--admin-addr=127.0.0.1:0",
    "--metrics-addr=127.0.0.1:0",
];

/// What was seen of the Deployments, until it is dropped.
struct Seen {
    times: Noted,
    _watch: JoinSet<()>,
}

/// When it was first seen, by name.
#[derive(Clone, Default)]
struct Noted {
    /// That it is noted what a Deployment's pods have: from then on a change of it is a reload.
    noted: Times,
    /// That its template was changed for a reload.
    reloaded: Times,
    /// That all its pods were there.
    available: Times,
}

impl Noted {
    fn saw(&self, deployment: &Deployment, now: Instant) {
        let pods = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
        let is = [
            (&self.noted, deployment.annotations().contains_key(names::RELOAD_APPLIED)),
            (&self.reloaded, is_reloaded(deployment)),
            (&self.available, usize::try_from(pods) == Ok(REPLICAS)),
        ];
        for (times, _) in is.into_iter().filter(|(_, is)| *is) {
            note(times, deployment.name_any(), now);
        }
    }
}

impl Seen {
    async fn start(namespace: &TestNamespace) -> Result<Self> {
        let (times, mut watch) = (Noted::default(), JoinSet::new());
        let noted = times.clone();
        follow(&mut watch, namespace.api(), move |deployment, now| noted.saw(deployment, now)).await?;
        Ok(Self { times, _watch: watch })
    }

    /// When the template of a Deployment was changed.
    async fn reloaded(&self, name: &str) -> Result<Instant> {
        eventually(&format!("{name} to be reloaded"), PATIENCE, async || Ok(at(&self.times.reloaded, name))).await
    }
}

/// Whether a template has a variable in which a reload notes a digest.
fn is_reloaded(deployment: &Deployment) -> bool {
    let trigger = |variable: &EnvVar| variable.name.starts_with("STAKATER_") && variable.name.ends_with("_CONFIGMAP");
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    containers.flat_map(|container| container.env.iter().flatten()).any(trigger)
}

fn at(times: &Times, name: &str) -> Option<Instant> {
    times.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
}

async fn wait_count(what: &str, times: &Times, count: usize) -> Result<()> {
    eventually(what, PATIENCE, async || {
        let seen = times.lock().unwrap_or_else(PoisonError::into_inner).len();
        ensure!(seen == count, "{seen} of {count} are");
        Ok(Some(()))
    })
    .await
}

/// Measures both with one manager, of all namespaces.
pub async fn measure(namespace: TestNamespace, admin: &Path, table: &mut Table) -> Result<()> {
    println!("{MAPS} ConfigMaps of 4 KiB and {DEPLOYMENTS} Deployments of {REPLICAS} pod are being made");
    let seen = Seen::start(&namespace).await?;
    maps::fill(&namespace, MAPS, MAP_BYTES).await?;
    let shared = json!({ "metadata": { "name": SHARED }, "data": { "stamp": "v1" } });
    maps::create::<ConfigMap>(&namespace, [shared].into_iter()).await?;
    maps::create::<Deployment>(&namespace, (0..DEPLOYMENTS).map(deployment)).await?;
    wait_count("all pods to be there", &seen.times.available, DEPLOYMENTS).await?;
    let account = Account::create(&namespace.client(), namespace.name(), admin).await?;
    let manager = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &FLAGS)?;
    ready(&manager).await?;
    wait_count("all Deployments to be noted", &seen.times.noted, DEPLOYMENTS).await?;
    paced(&namespace, &manager, &seen, table).await?;
    at_once(&namespace, &manager, &seen, table).await?;
    drop(manager);
    account.remove().await
}

async fn paced(namespace: &TestNamespace, manager: &ManagerProcess, seen: &Seen, table: &mut Table) -> Result<()> {
    process::rest().await;
    println!("{CHANGES} ConfigMaps are changed, {} ms apart", PACE.as_millis());
    let api: Api<ConfigMap> = namespace.api();
    let (before, cost) = (process::cpu(manager.id())?, process::Cost::start()?);
    let change = async |i: usize| {
        tokio::time::sleep(PACE * u32::try_from(i)?).await;
        let sent = Instant::now();
        maps::change(&api, &maps::name(i), "v2").await?;
        anyhow::Ok((sent, sent.elapsed()))
    };
    let written = futures::future::try_join_all((0..CHANGES).map(change)).await?;
    let mut times = vec![];
    for (i, (sent, _)) in written.iter().enumerate() {
        times.push(seen.reloaded(&web(i)).await?.saturating_duration_since(*sent));
    }
    let others = cost.others()?;
    let until_seen = process::cpu(manager.id())?.saturating_sub(before);
    process::rest().await;
    let cpu = process::cpu(manager.id())?.saturating_sub(before);
    let mut answers: Vec<Duration> = written.iter().map(|(_, answer)| *answer).collect();
    times.sort_unstable();
    answers.sort_unstable();
    let figure = "200 changes, 100 ms apart, 1 pod each: sent to template seen, p50";
    table.row(figure, millis(percentile(&times, 50)), "15 ms", "Reloader 38 ms");
    table.row("  p99", millis(percentile(&times, 99)), "40 ms", "Reloader 97 ms");
    table.row("  of it until the change was answered, p50", millis(percentile(&answers, 50)), "", "");
    table.row("  p99", millis(percentile(&answers, 99)), "", "");
    table.row("  processor time of the manager until then", seconds(until_seen), "0.5 s", "Reloader 4.8 s");
    table.row("  and until all pods were replaced", seconds(cpu), "", "");
    table.row("  processors busy with other work", format!("{others:.1}"), "0", "");
    let touched = seen.times.reloaded.lock().unwrap_or_else(PoisonError::into_inner).len();
    table.count("  Deployments reloaded", touched, CHANGES);
    Ok(())
}

async fn at_once(namespace: &TestNamespace, manager: &ManagerProcess, seen: &Seen, table: &mut Table) -> Result<()> {
    process::rest().await;
    println!("one ConfigMap that {SHARING} Deployments read is changed");
    let before = process::cpu(manager.id())?;
    let sent = Instant::now();
    maps::change(&namespace.api(), SHARED, "v2").await?;
    let mut all = vec![];
    for i in DEPLOYMENTS - SHARING..DEPLOYMENTS {
        all.push(seen.reloaded(&web(i)).await?);
    }
    let last = all.into_iter().max().context("nobody reads it")?.saturating_duration_since(sent);
    process::rest().await;
    let cpu = process::cpu(manager.id())?.saturating_sub(before);
    table.row("one change that 200 read: sent to last template seen", seconds(last), "2 s", "Reloader 38 s");
    table.row("  processor time of the manager until all pods were replaced", seconds(cpu), "", "");
    Ok(())
}

fn web(index: usize) -> String {
    format!("web-{index:04}")
}

fn deployment(index: usize) -> Value {
    let name = web(index);
    let own = json!({ "configMapRef": { "name": maps::name(index) } });
    let shared = json!({ "configMapRef": { "name": SHARED } });
    let reads = if index < DEPLOYMENTS - SHARING { vec![own] } else { vec![own, shared] };
    let image = "trimtab.local/sample:v1";
    let container = json!({ "name": "web", "image": image, "imagePullPolicy": "Never", "envFrom": reads });
    json!({
        "metadata": { "name": name, "annotations": { "reloader.stakater.com/auto": "true" } },
        "spec": {
            "replicas": REPLICAS,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [container] } },
        },
    })
}
