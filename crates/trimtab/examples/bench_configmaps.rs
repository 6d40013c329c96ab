//! Measures the framework: `bench_configmaps NAMESPACE COUNT` watches COUNT ConfigMaps, reconciles each once, and then
//! times writes. `bench_configmaps NAMESPACE COUNT fill` creates them first, 4 KiB each, in a namespace that exists.
//!
//! Compare with `bench_kube_runtime`, which does the same on `kube::runtime::Controller`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on fails")]

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};
use trimtab::{
    Controller, ControllerOptions, Manager, ManagerOptions, Meta, Permission, Selector, Store, Watched, Watches,
};
use trimtab_plan::{Answers, Kind, ObjectRef, Outcome, Plan, StatusWrite};

const KIND: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");

/// A ConfigMap without its data: a digest and a length are made while it streams in.
#[derive(Deserialize)]
struct View {
    metadata: Meta,
    #[serde(default)]
    data: Content,
}

impl Watched for View {
    const KIND: Kind = KIND;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Default)]
struct Content {
    digest: [u8; 32],
    length: usize,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Hashing)
    }
}

struct Hashing;

impl<'de> Visitor<'de> for Hashing {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of a ConfigMap")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let (mut hash, mut length) = (Sha256::new(), 0);
        // The API server writes maps in order, so equal data have equal digests.
        while map.next_key_seed(Feed(&mut hash, &mut length))?.is_some() {
            map.next_value_seed(Feed(&mut hash, &mut length))?;
        }
        Ok(Content { digest: hash.finalize().into(), length })
    }
}

/// Feeds a string to a digest without keeping it.
struct Feed<'a>(&'a mut Sha256, &'a mut usize);

impl<'de> DeserializeSeed<'de> for Feed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Feed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        *self.1 += text.len();
        Ok(())
    }
}

/// What the controller tells the benchmark.
struct Progress {
    left: AtomicUsize,
    all: Notify,
    reconciled: Mutex<Option<mpsc::UnboundedSender<(String, Instant)>>>,
}

struct Bench {
    maps: Store<View>,
    progress: Arc<Progress>,
}

#[derive(Serialize)]
struct Seen {
    length: usize,
    first_byte: u8,
}

impl Controller for Bench {
    const NAME: &'static str = "bench";
    type Key = ObjectRef;
    type Snapshot = Seen;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        vec![]
    }

    fn gather(&self, key: &ObjectRef, _: &Answers) -> Option<Seen> {
        if self.progress.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.progress.all.notify_one();
        }
        if let Some(told) = &*self.progress.reconciled.lock().unwrap() {
            _ = told.send((key.name.clone(), Instant::now()));
        }
        let map = self.maps.get(&key.namespace, &key.name)?;
        Some(Seen { length: map.data.length, first_byte: map.data.digest[0] })
    }

    fn decide(_: Timestamp, seen: &Seen) -> Plan<()> {
        let mut plan = Plan::new(());
        plan.because("Seen", format!("{} bytes, digest {:02x}…", seen.length, seen.first_byte));
        plan
    }

    fn conclude(_: Timestamp, _: &Seen, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
        None
    }
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

async fn fill(api: &Api<ConfigMap>, count: usize) -> kube::Result<()> {
    let create = |i: usize| async move {
        let data = format!("{i:05}").repeat(4096 / 5);
        let map = serde_json::json!({ "metadata": { "name": format!("m-{i:05}") }, "data": { "file": data } });
        let map = serde_json::from_value(map).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &map).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other.map(drop),
        }
    };
    let created: Vec<kube::Result<()>> = stream::iter(0..count).map(create).buffer_unordered(32).collect().await;
    created.into_iter().collect()
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
    let [namespace, count, rest @ ..] = args.as_slice() else { return Err("usage: NAMESPACE COUNT [fill]".into()) };
    let count: usize = count.parse()?;
    let started = Instant::now();
    let client = trimtab::client(kube::Config::infer().await?)?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    if rest.first().is_some_and(|word| word == "fill") {
        return Ok(fill(&api, count).await?);
    }
    let progress = Progress { left: AtomicUsize::new(count), all: Notify::new(), reconciled: Mutex::default() };
    let progress = Arc::new(progress);
    let options = ManagerOptions { namespaces: vec![namespace.clone()], ..ManagerOptions::default() };
    let mut manager = Manager::new(client, options);
    manager.controller(
        ControllerOptions { workers: 4, ..ControllerOptions::default() },
        |w: &mut Watches<ObjectRef>| {
            // Not kube-root-ca.crt, which is in every namespace.
            let selector = Selector::all().fields("metadata.name!=kube-root-ca.crt");
            let maps = w.watch::<View>(selector).wakes(|map| vec![map.metadata.object(KIND)]).store();
            Bench { maps, progress: progress.clone() }
        },
    );
    let run = tokio::spawn(manager.run(std::future::pending::<()>()));
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
