//! The HorizontalPodAutoscaler of the cluster and two Autoscalers beside it, on three Deployments that are alike, fed by the same metric:
//! how long after a step of the load the new size is written, how far it overshoots, how often it changes, and what that costs in pods. The
//! load is shared by the pods that are ready, so that what each decides comes back to it. All times are the cluster's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trimtab_crds::Autoscaler;
use trimtab_testkit::{TestNamespace, eventually};
use trimtab_tests::{Account, Adapter, ManagerProcess, maps, rights};

use std::path::Path;

use crate::autoscalers::deployment;
use crate::memory::ready;
use crate::sightings::follow;
use crate::table::{Table, percentile};

const METRIC: &str = "requests_per_second";
/// What one pod takes.
const PER_POD: f64 = 50.0;
/// How long each load lasts, and what it is. Lengths that no period of 15 seconds fits into: steps come at any moment of it.
const LOADS: [(u64, f64); 10] = [
    (40, 200.0),
    (53, 500.0),
    (71, 150.0),
    (47, 900.0),
    (83, 250.0),
    (38, 700.0),
    (41, 1000.0),
    (77, 100.0),
    (43, 450.0),
    (62, 300.0),
];
/// Who scales, and how often the second of ours decides.
const WHO: [&str; 3] = ["hpa", "ours", "ours-1s"];
const PATIENCE: Duration = Duration::from_secs(120);
const FLAGS: [&str; 3] = ["--controllers=scale", "--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"];

/// Sizes by Deployment, each with the moment at which it was seen.
type Sizes = Arc<Mutex<BTreeMap<String, Vec<(Instant, i32)>>>>;

/// Runs the loads once, for all three together.
pub async fn measure(namespace: TestNamespace, admin: &Path, table: &mut Table) -> Result<()> {
    let adapter = Adapter::start(namespace.client()).await?;
    let measured = with(&adapter, &namespace, admin, table).await;
    adapter.remove().await?;
    measured
}

async fn with(adapter: &Adapter, namespace: &TestNamespace, admin: &Path, table: &mut Table) -> Result<()> {
    let (sizes, mut watch) = (Sizes::default(), JoinSet::new());
    let noted = sizes.clone();
    follow(&mut watch, namespace.api(), move |deployment: &Deployment, now| {
        let size = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let mut all = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(deployment.name_any()).or_default();
        if seen.last().is_none_or(|(_, last)| *last != size) {
            seen.push((now, size));
        }
    })
    .await?;
    adapter.set_shared(METRIC, LOADS[0].1);
    maps::create::<Deployment>(namespace, WHO.into_iter().map(deployment)).await?;
    let account = Account::create(&namespace.client(), namespace.name(), admin).await?;
    // Metrics are granted by name, by those who install their adapter.
    let resource = format!("pods/{METRIC}");
    let right = ("custom.metrics.k8s.io", &*resource, &["get"][..]);
    rights::grant_also(&namespace.client(), namespace.name(), "requests", right).await?;
    let manager = ManagerProcess::with_arguments(account.kubeconfig(), namespace.name(), None, &FLAGS)?;
    ready(&manager).await?;
    maps::create::<HorizontalPodAutoscaler>(namespace, [hpa()].into_iter()).await?;
    maps::create::<Autoscaler>(namespace, [ours("ours", "15s"), ours("ours-1s", "1s")].into_iter()).await?;
    eventually("all to have the size of the first load", PATIENCE, async || {
        let all = sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let now: Vec<i32> = all.values().filter_map(|seen| seen.last().map(|(_, size)| *size)).collect();
        ensure!(now == [needed(LOADS[0].1); 3], "sizes are {now:?}");
        Ok(Some(()))
    })
    .await?;
    let mut steps = vec![];
    let all: u64 = LOADS.iter().map(|(seconds, _)| seconds).sum();
    println!("{} loads in {all} s", LOADS.len());
    for (seconds, load) in LOADS {
        adapter.set_shared(METRIC, load);
        steps.push((Instant::now(), load));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    let end = Instant::now();
    let sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    print(&WHO.map(|who| judged(&sizes[who], &steps, end)), table);
    drop(manager);
    account.remove().await
}

fn needed(load: f64) -> i32 {
    (load / PER_POD).ceil() as i32
}

/// What is to be said of one of them.
struct Judged {
    /// From each step up to the first larger size, in seconds, sorted.
    reactions: Vec<f64>,
    /// The most pods above what was needed, within a load that had grown.
    overshoot: i32,
    changes: usize,
    pod_hours: f64,
    /// For how long there were too few, in seconds.
    short: f64,
}

fn judged(seen: &[(Instant, i32)], steps: &[(Instant, f64)], end: Instant) -> Judged {
    let size_at = |at: Instant| seen.iter().rev().find(|(seen, _)| *seen <= at).map_or(0, |(_, size)| *size);
    let ends = steps.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let mut told = Judged { reactions: vec![], overshoot: 0, changes: 0, pod_hours: 0.0, short: 0.0 };
    let mut before = steps.first().map_or(0.0, |(_, load)| *load);
    for ((begin, load), until) in steps.iter().copied().zip(ends) {
        let within = || seen.iter().filter(move |(at, _)| *at > begin && *at <= until);
        if load > before {
            let larger = within().find(|(_, size)| *size > size_at(begin));
            told.reactions.extend(larger.map(|(at, _)| at.duration_since(begin).as_secs_f64()));
            let above = within().map(|(_, size)| size - needed(load)).max().unwrap_or(0);
            told.overshoot = told.overshoot.max(above);
        }
        before = load;
        told.changes += within().count();
        let mut moments: Vec<Instant> = [begin].into_iter().chain(within().map(|(at, _)| *at)).collect();
        moments.push(until);
        for pair in moments.windows(2) {
            let (size, seconds) = (size_at(pair[0]), pair[1].duration_since(pair[0]).as_secs_f64());
            told.pod_hours += f64::from(size) * seconds / 3600.0;
            told.short += if size < needed(load) { seconds } else { 0.0 };
        }
    }
    told.reactions.sort_by(f64::total_cmp);
    told
}

fn print([hpa, ours, quick]: &[Judged; 3], table: &mut Table) {
    let seconds = |value: f64| format!("{value:.1} s");
    let middle = |one: &Judged| seconds(percentile(&one.reactions, 50));
    let longest = |one: &Judged| seconds(one.reactions.last().copied().unwrap_or(f64::NAN));
    let mut rows = |label: &str, of: &dyn Fn(&Judged) -> String| {
        table.row(format!("{label}, both every 15 s"), of(ours), "", format!("HPA {}", of(hpa)));
        table.row("  ours every second", of(quick), "", "");
    };
    rows("a larger load to the first larger size, p50", &middle);
    rows("  the longest", &longest);
    rows("pods above what was needed, at most", &|one| one.overshoot.to_string());
    rows("changes of size", &|one| one.changes.to_string());
    rows("pod hours", &|one| format!("{:.2}", one.pod_hours));
    rows("too few pods for", &|one| seconds(one.short));
}

fn metrics() -> Value {
    let target = json!({ "type": "AverageValue", "averageValue": PER_POD.to_string() });
    json!([{ "type": "Pods", "pods": { "metric": { "name": METRIC }, "target": target } }])
}

fn behavior() -> Value {
    json!({ "scaleDown": { "stabilizationWindowSeconds": 30 } })
}

fn hpa() -> Value {
    json!({
        "metadata": { "name": "hpa" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "hpa" },
            "minReplicas": 1, "maxReplicas": 40, "metrics": metrics(), "behavior": behavior(),
        },
    })
}

fn ours(name: &str, interval: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "targetRef": { "kind": "Deployment", "name": name },
            "minReplicas": 1, "maxReplicas": 40, "metrics": metrics(), "behavior": behavior(), "interval": interval,
        },
    })
}
