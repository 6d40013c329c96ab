//! Autoscalers: many in one process, each with a query of its own. What it costs to watch a load that stays, and how long it
//! takes from a sample that is another to the size that is written. What pods and servers then make of it is not timed.

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trimtab_crds::Autoscaler;
use trimtab_testkit::{TestNamespace, eventually};
use trimtab_tests::{Account, Feed, ManagerProcess, maps};

use crate::memory::ready;
use crate::process;
use crate::sightings::{Times, follow, note};
use crate::table::{Table, mib, millis, percentile};

const AUTOSCALERS: usize = 2_000;
const CHANGES: usize = 200;
const STEADY: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(300);
const FLAGS: [&str; 3] = ["--controllers=scale", "--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"];

/// Measures both with one manager.
pub async fn measure(namespace: TestNamespace, admin: &Path, table: &mut Table) -> Result<()> {
    println!("{AUTOSCALERS} Deployments of 1 pod and their Autoscalers are being made");
    let feed = Feed::start("50").await?;
    let (there, larger, mut watch) = (Times::default(), Times::default(), JoinSet::new());
    let (available, scaled) = (there.clone(), larger.clone());
    follow(&mut watch, namespace.api(), move |deployment: &Deployment, now| {
        if deployment.status.as_ref().and_then(|status| status.available_replicas) == Some(1) {
            note(&available, deployment.name_any(), now);
        }
        if deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(3) {
            note(&scaled, deployment.name_any(), now);
        }
    })
    .await?;
    maps::create::<Deployment>(&namespace, (0..AUTOSCALERS).map(|i| deployment(&web(i)))).await?;
    count("all pods to be there", &there, AUTOSCALERS).await?;
    maps::create::<Autoscaler>(&namespace, (0..AUTOSCALERS).map(|i| autoscaler(i, &feed.address()))).await?;
    let account = Account::create(&namespace.client(), namespace.name(), admin).await?;
    let manager = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &FLAGS)?;
    ready(&manager).await?;
    let asked = feed.asked();
    eventually("every autoscaler to have decided", PATIENCE, async || {
        Ok((feed.asked() >= asked + 2 * AUTOSCALERS).then_some(()))
    })
    .await?;
    process::rest().await;
    steady(&manager, &feed, table).await?;
    steps(&feed, &larger, table).await?;
    drop(manager);
    account.remove().await
}

async fn steady(manager: &ManagerProcess, feed: &Feed, table: &mut Table) -> Result<()> {
    println!("nothing changes for {} s", STEADY.as_secs());
    let written = writes(manager).await?;
    let (before, asked, cost) = (process::cpu(manager.id())?, feed.asked(), process::Cost::start()?);
    tokio::time::sleep(STEADY).await;
    let used = process::cpu(manager.id())?.saturating_sub(before);
    let share = used.as_secs_f64() / STEADY.as_secs_f64() * 100.0;
    let rate = (feed.asked() - asked) as f64 / STEADY.as_secs_f64();
    table.row("2000 autoscalers, 15 s, a query each: processor", format!("{share:.1} %"), "10 %", "");
    let written = (writes(manager).await? - written) / STEADY.as_secs_f64();
    table.row("  writes a second", format!("{written:.1}"), "", "");
    table.row("  queries a second", format!("{rate:.0}"), "133", "");
    table.row("  memory", mib(process::memory(manager.id(), "VmRSS")?), "60 MiB", "");
    table.row("  processors busy with other work", format!("{:.1}", cost.others()?), "0", "");
    Ok(())
}

/// How often the manager has written something.
async fn writes(manager: &ManagerProcess) -> Result<f64> {
    let (_, metrics) = manager.get("/metrics").await?;
    let counts =
        metrics.lines().filter(|line| line.starts_with("rest_client_requests_total") && line.contains("PATCH"));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

async fn steps(feed: &Feed, larger: &Times, table: &mut Table) -> Result<()> {
    println!("{CHANGES} loads become three times as large");
    for i in 0..CHANGES {
        feed.set_for(&query(i), "150");
    }
    count("all sizes to be written", larger, CHANGES).await?;
    let seen = larger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut times = vec![];
    for i in 0..CHANGES {
        let at: Instant = *seen.get(&web(i)).with_context(|| format!("{} stayed", web(i)))?;
        let told = feed.told(&query(i)).with_context(|| format!("nobody asked for {}", query(i)))?;
        times.push(at.saturating_duration_since(told));
    }
    times.sort_unstable();
    table.row("a sample to the written size, p50", millis(percentile(&times, 50)), "", "HPA up to 15 s");
    table.row("  p99", millis(percentile(&times, 99)), "300 ms", "");
    Ok(())
}

async fn count(what: &str, times: &Times, count: usize) -> Result<()> {
    eventually(what, PATIENCE, async || {
        let seen = times.lock().unwrap_or_else(PoisonError::into_inner).len();
        ensure!(seen == count, "{seen} of {count} are");
        Ok(Some(()))
    })
    .await
}

fn web(index: usize) -> String {
    format!("web-{index:04}")
}

fn query(index: usize) -> String {
    format!("load_{index}")
}

/// A Deployment of one pod.
pub fn deployment(name: &str) -> Value {
    let container = json!({ "name": "web", "image": "trimtab.local/sample:v1", "imagePullPolicy": "Never" });
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [container] } },
        },
    })
}

fn autoscaler(index: usize, address: &str) -> Value {
    let target = json!({ "type": "AverageValue", "averageValue": "50" });
    let prometheus = json!({ "name": "load", "address": address, "query": query(index), "target": target });
    json!({
        "metadata": { "name": web(index) },
        "spec": {
            "targetRef": { "kind": "Deployment", "name": web(index) },
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{ "type": "Prometheus", "prometheus": prometheus }],
        },
    })
}
