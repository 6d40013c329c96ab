//! The loop of `bench_configmaps` on `kube::runtime::Controller`, to compare: `bench_kube_runtime NAMESPACE COUNT`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on fails")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};

struct Progress {
    left: AtomicUsize,
    all: Notify,
    reconciled: Mutex<Option<mpsc::UnboundedSender<(String, Instant)>>>,
}

async fn reconcile(map: Arc<ConfigMap>, progress: Arc<Progress>) -> Result<Action, std::convert::Infallible> {
    if progress.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        progress.all.notify_one();
    }
    if let Some(told) = &*progress.reconciled.lock().unwrap() {
        _ = told.send((map.metadata.name.clone().unwrap_or_default(), Instant::now()));
    }
    let mut hash = Sha256::new();
    for (name, text) in map.data.iter().flatten() {
        hash.update(name);
        hash.update(text);
    }
    std::hint::black_box(hash.finalize());
    Ok(Action::await_change())
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Writes 200 objects, 50 ms apart, and times each from the write to the start of its reconcile.
async fn paced(api: &Api<ConfigMap>, count: usize, reconciled: &mut mpsc::UnboundedReceiver<(String, Instant)>) {
    let mut times = vec![];
    for i in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let name = format!("m-{:05}", i * 37 % count);
        let patch = serde_json::json!({ "data": { "stamp": Timestamp::now().to_string() } });
        let started = Instant::now();
        let written = api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        written.expect("the write");
        while let Some((seen, at)) = reconciled.recv().await {
            if seen == name {
                times.push(at.saturating_duration_since(started));
                break;
            }
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    println!("write to reconcile: p50 {:.2} ms, p99 {:.2} ms", at(50), at(99));
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [namespace, count] = args.as_slice() else { return Err("usage: NAMESPACE COUNT".into()) };
    let count: usize = count.parse()?;
    let started = Instant::now();
    let client = trimtab::client(kube::Config::infer().await?)?;
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let progress = Progress { left: AtomicUsize::new(count), all: Notify::new(), reconciled: Mutex::default() };
    let progress = Arc::new(progress);
    let watched = watcher::Config::default().fields("metadata.name!=kube-root-ca.crt").streaming_lists();
    let policy = |_: Arc<ConfigMap>, _: &std::convert::Infallible, _: Arc<Progress>| Action::await_change();
    let running = Controller::new(api.clone(), watched).run(reconcile, policy, progress.clone());
    let run = tokio::spawn(running.for_each(|_| std::future::ready(())));
    progress.all.notified().await;
    let took = started.elapsed().as_secs_f64();
    println!("{count} reconciled in {took:.3} s, peak {:.1} MiB", status_kib("VmHWM") as f64 / 1024.0);
    let (tell, mut reconciled) = mpsc::unbounded_channel();
    *progress.reconciled.lock().unwrap() = Some(tell);
    tokio::time::sleep(Duration::from_secs(1)).await;
    paced(&api, count, &mut reconciled).await;
    println!(
        "at rest {:.1} MiB, peak {:.1} MiB",
        status_kib("VmRSS") as f64 / 1024.0,
        status_kib("VmHWM") as f64 / 1024.0
    );
    run.abort();
    Ok(())
}
