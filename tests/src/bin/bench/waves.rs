//! Waves: one ConfigMap that many workloads read is changed, with a manager as it runs by default, and with one without limits.
//! What it costs the manager for each workload must not grow with how many there are. What the cluster makes of it is not timed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trimtab_crds::names;
use trimtab_testkit::{TestNamespace, eventually, with_namespace};
use trimtab_tests::{Account, ManagerProcess, maps};

use crate::memory::ready;
use crate::process;
use crate::sightings::{Times, follow, note};
use crate::table::{Table, millis, seconds};

/// How many read it, unless `WAVES` says otherwise.
const SIZES: &str = "200 1000 5000";
const SHARED: &str = "shared";
/// A wave of thousands goes as fast as pods come, ten at a time.
const PATIENCE: Duration = Duration::from_mins(60);
const DEFAULTS: [&str; 3] = ["--controllers=reload", "--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"];
const UNLIMITED: [&str; 2] = ["--reload-max-per-source=0", "--reload-max-per-namespace=0"];

/// When each Deployment was first seen so, by name.
#[derive(Clone, Default)]
struct Seen {
    available: Times,
    noted: Times,
    /// That it is of the second and of the third revision, and all its pods are.
    second: Times,
    third: Times,
}

impl Seen {
    fn saw(&self, deployment: &Deployment, now: Instant) {
        let status = deployment.status.clone().unwrap_or_default();
        let is_new = status.observed_generation == deployment.metadata.generation && status.updated_replicas == Some(1);
        let settled = is_new && status.replicas == Some(1) && status.available_replicas == Some(1);
        let reloads = reloads(deployment);
        let is = [
            (&self.available, settled),
            (&self.noted, deployment.annotations().contains_key(names::RELOAD_APPLIED)),
            (&self.second, settled && reloads == 1),
            (&self.third, settled && reloads == 2),
        ];
        for (times, _) in is.into_iter().filter(|(_, is)| *is) {
            note(times, deployment.name_any(), now);
        }
    }
}

/// How often a Deployment was reloaded, by its own log.
fn reloads(deployment: &Deployment) -> usize {
    let log =
        deployment.annotations().get(names::RELOAD_LOG).and_then(|log| serde_json::from_str::<Vec<Value>>(log).ok());
    log.map_or(0, |log| log.len())
}

/// Measures a wave of each size.
pub async fn measure(client: &Client, admin: &Path, table: &mut Table) -> Result<()> {
    let sizes = std::env::var("WAVES").unwrap_or_else(|_| SIZES.to_owned());
    for size in sizes.split_whitespace() {
        let size: usize = size.parse().with_context(|| format!("WAVES: {size:?} is no number"))?;
        let wave = async |namespace| of_size(namespace, size, admin, table).await;
        with_namespace(client, "wave", wave).await?;
    }
    Ok(())
}

async fn of_size(namespace: TestNamespace, size: usize, admin: &Path, table: &mut Table) -> Result<()> {
    println!("{size} Deployments of one pod that read one ConfigMap are being made");
    let (seen, mut watch) = (Seen::default(), JoinSet::new());
    let all = seen.clone();
    follow(&mut watch, namespace.api(), move |deployment, now| all.saw(deployment, now)).await?;
    let shared = json!({ "metadata": { "name": SHARED }, "data": { "stamp": "v1" } });
    maps::create::<ConfigMap>(&namespace, [shared].into_iter()).await?;
    maps::create::<Deployment>(&namespace, (0..size).map(deployment)).await?;
    wait("all pods to be there", &seen.available, size).await?;
    let account = Account::create(&namespace.client(), namespace.name(), admin).await?;
    let wave = Wave { namespace: &namespace, size };
    let limited = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &DEFAULTS)?;
    ready(&limited).await?;
    wait("all Deployments to be noted", &seen.noted, size).await?;
    wave.go("default limits", &limited, &seen.second, table).await?;
    drop(limited);
    let arguments: Vec<&str> = DEFAULTS.into_iter().chain(UNLIMITED).collect();
    let unlimited = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &arguments)?;
    ready(&unlimited).await?;
    wave.go("no limits", &unlimited, &seen.third, table).await?;
    drop(unlimited);
    account.remove().await
}

/// Deployments that read one ConfigMap.
struct Wave<'a> {
    namespace: &'a TestNamespace,
    size: usize,
}

impl Wave<'_> {
    /// Changes the ConfigMap, waits until all pods were replaced, and says what that cost.
    async fn go(&self, limits: &str, manager: &ManagerProcess, done: &Times, table: &mut Table) -> Result<()> {
        process::rest().await;
        let figure = format!("{} read one source, {limits}", self.size);
        println!("{figure}: it is changed");
        let (before, sent) = (process::cpu(manager.id())?, Instant::now());
        maps::change(&self.namespace.api(), SHARED, limits).await?;
        wait("all to be reloaded", done, self.size).await?;
        let took = sent.elapsed();
        process::rest().await;
        let cpu = process::cpu(manager.id())?.saturating_sub(before);
        let each = cpu / u32::try_from(self.size)?;
        println!("{figure}: {} of processor, {} each, after {}", seconds(cpu), millis(each), seconds(took));
        table.row(format!("{figure}: sent to last pod replaced"), seconds(took), "", "");
        table.row("  processor time of the manager", seconds(cpu), "", "");
        table.row("  of it for each", millis(each), "2.5 ms", "");
        Ok(())
    }
}

async fn wait(what: &str, times: &Times, count: usize) -> Result<()> {
    eventually(what, PATIENCE, async || {
        let seen = times.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
        ensure!(seen == count, "{seen} of {count} are");
        Ok(Some(()))
    })
    .await
}

fn deployment(index: usize) -> Value {
    let name = format!("web-{index:04}");
    let reads = json!([{ "configMapRef": { "name": SHARED } }]);
    let image = "trimtab.local/sample:v1";
    let container = json!({ "name": "web", "image": image, "imagePullPolicy": "Never", "envFrom": reads });
    json!({
        "metadata": { "name": name, "annotations": { "reloader.stakater.com/auto": "true" } },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [container] } },
        },
    })
}
