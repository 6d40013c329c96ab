//! One namespace does at once whatever could cost others something, and the manager has no more memory than the chart gives it.
//! What is asserted: another namespace's releases keep their reaction, the probes are answered, and the process stays.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use trimtab_crds::ReleasePlan;
use trimtab_testkit::{TestNamespace, eventually, with_namespace};
use trimtab_tests::hostile::{Hostile, MemoryLimit, most_memory};
use trimtab_tests::{Fleet, ManagerProcess, cluster, is_stable, workspace};

/// Applications of the namespace that is to notice nothing.
const CALM: usize = 12;
/// A change in it so often.
const EVERY: Duration = Duration::from_secs(1);
/// Twice of so little nobody notices.
const LEAST: Duration = Duration::from_millis(100);
/// How long a probe may take.
const PROBE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long run, for `make soak`"]
async fn soak_a_hostile_namespace_harms_only_itself() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(10.0);
    let run = async {
        let client = cluster().await?.client().await?;
        let hostile = |calm: TestNamespace| async move {
            with_namespace(&calm.client(), "hostile", |hostile| both(calm, hostile, minutes)).await
        };
        with_namespace(&client, "calm", hostile).await
    };
    run.await.expect("a hostile namespace harms others");
}

async fn both(calm: TestNamespace, hostile: TestNamespace, minutes: f64) -> Result<()> {
    let cluster = cluster().await?;
    let arguments = [
        format!("--namespaces={},{}", calm.name(), hostile.name()),
        "--admin-addr=127.0.0.1:0".to_owned(),
        // Another address than that: with the same one they would share a port.
        "--metrics-addr=127.0.0.2:0".to_owned(),
        "--leader-elect=false".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut manager = ManagerProcess::with_arguments(cluster.kubeconfig(), calm.name(), None, &arguments)?;
    let most = limit()?;
    let limited = MemoryLimit::of(manager.id(), most);
    let fleet = Fleet::new(calm.client(), calm.name(), CALM);
    fleet.create("v0").await?;
    fleet.wait_stable("v0", Duration::from_secs(180)).await?;
    let length = Duration::from_secs_f64(minutes * 60.0);
    let before = measured(calm.name(), "calm", length.min(Duration::from_secs(120))).await?;

    let ports = [port(&manager, "admin").await?, port(&manager, "metrics").await?];
    let crowd = Hostile::start(hostile.client(), hostile.name(), &ports).await?;
    let probes = tokio::spawn(apart(move || probe(ports[0], Instant::now() + length)));
    let during = measured(calm.name(), "busy", length).await?;
    let (slowest, failed, probed) = probes.await??;
    let memory = most_memory(manager.id()).context("the manager has ended")?;
    println!(
        "before: {before}\nbeside {} hostile parts: {during}\n{probed} probes, {failed} without an answer, the slowest {slowest:?}; \
         at most {} MiB of {} MiB{}",
        crowd.parts(),
        memory >> 20,
        most >> 20,
        if limited.is_some() { "" } else { ", which nothing enforced" },
    );
    ensure!(!manager.ended()?, "the manager ended: {}", manager.log()?);
    ensure!(memory < most, "the manager took {} MiB", memory >> 20);
    ensure!(failed == 0 && slowest < PROBE, "{failed} probes were not answered, the slowest took {slowest:?}");
    ensure!(!during.reactions.is_empty(), "nothing was released beside the hostile namespace");
    ensure!(!before.writes.is_empty() && !during.writes.is_empty(), "the API server took no write");
    let bound = (share(&before.reactions, 99) * 2).max(LEAST);
    let p99 = share(&during.reactions, 99);
    ensure!(p99 <= bound, "p99 is {p99:?}, more than {bound:?}");
    drop(crowd);
    manager.kill()
}

/// The chart's limit of memory, in bytes.
fn limit() -> Result<u64> {
    let values = std::fs::read_to_string(workspace().join("charts/trimtab/values.yaml"))?;
    let values: serde_json::Value = serde_saphyr::from_str(&values)?;
    let text = values["resources"]["limits"]["memory"].as_str().context("the chart has no limit of memory")?;
    Ok(text.strip_suffix("Mi").context("the limit is not in Mi")?.parse::<u64>()? << 20)
}

async fn port(manager: &ManagerProcess, server: &str) -> Result<SocketAddr> {
    eventually("the manager's ports", Duration::from_secs(20), async || {
        let log = manager.log()?;
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let line = lines.find(|line| line["fields"]["server"] == *server);
        Ok(line.and_then(|line| line["fields"]["address"].as_str()?.parse().ok()))
    })
    .await
}

/// How long releases took to begin, and the API server alone to take a write, at the same times.
#[derive(Debug, Default)]
struct Measured {
    reactions: Vec<Duration>,
    writes: Vec<Duration>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, all) in [("reaction", &self.reactions), ("; a bare write", &self.writes)] {
            let [p50, p90, p99] = [50, 90, 99].map(|percent| share(all, percent));
            write!(f, "{what} p50 {p50:.1?}, p90 {p90:.1?}, p99 {p99:.1?} of {}", all.len())?;
        }
        Ok(())
    }
}

/// Runs something on a thread and a runtime of its own: what is measured waits for nothing that this process does beside it.
async fn apart<F>(measure: impl FnOnce() -> F + Send + 'static) -> Result<F::Output>
where
    F: Future<Output: Send + 'static>,
{
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("measure".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        _ = send.send(runtime.map(|runtime| runtime.block_on(measure())));
    })?;
    Ok(receive.await??)
}

async fn measured(namespace: &str, tag: &'static str, length: Duration) -> Result<Measured> {
    let namespace = namespace.to_owned();
    apart(move || async move {
        let fleet = Fleet::new(cluster().await?.client().await?, &namespace, CALM);
        reactions(fleet, tag, length).await
    })
    .await?
}

/// Changes one application after the other, and notes how long each time passes until its release has begun.
async fn reactions(fleet: Fleet, tag: &str, length: Duration) -> Result<Measured> {
    let (ends, fleet) = (Instant::now() + length, Arc::new(fleet));
    let (mut reacting, mut writes) = (tokio::task::JoinSet::new(), Vec::new());
    for round in 0_u32.. {
        for name in fleet.names() {
            if Instant::now() >= ends {
                let reactions = reacting.join_all().await.into_iter().flatten().collect();
                return Ok(Measured { reactions, writes });
            }
            writes.extend(write(&fleet, &format!("{tag}-{round}")).await);
            reacting.spawn(reaction(fleet.clone(), name, format!("{tag}-{round}")));
            tokio::time::sleep(EVERY).await;
        }
    }
    Ok(Measured::default())
}

/// How long the API server takes for a write that concerns nobody. Nothing where it takes none.
async fn write(fleet: &Fleet, text: &str) -> Option<Duration> {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "written"}, "data": {"round": text},
    });
    let began = Instant::now();
    let api = fleet.api::<ConfigMap>();
    api.patch("written", &PatchParams::apply("measure").force(), &Patch::Apply(&object)).await.ok()?;
    Some(began.elapsed())
}

/// Nothing where the application was still busy with the release before.
async fn reaction(fleet: Arc<Fleet>, name: String, tag: String) -> Option<Duration> {
    let plans = fleet.api::<ReleasePlan>();
    let plan = plans.get(&name).await.ok()?;
    let stable = plan.status.as_ref()?.message.clone();
    let idle = plan.status.as_ref().is_some_and(|status| status.release.is_none());
    if !idle || !stable.contains("trimtab.local/sample:") || is_stable(&plan, &tag) {
        return None;
    }
    fleet.change(&name, &tag).await.ok()?;
    let changed = Instant::now();
    // A release that has not begun by then counts as that long.
    while changed.elapsed() < Duration::from_secs(30) {
        let plan = plans.get(&name).await.ok();
        if plan.and_then(|plan| plan.status).is_some_and(|status| status.release.is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Some(changed.elapsed())
}

/// Asks for `/livez` as a kubelet does; the longest that it took, how often there was no answer, and of how many.
async fn probe(port: SocketAddr, until: Instant) -> (Duration, usize, usize) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut slowest, mut failed, mut count) = (Duration::ZERO, 0, 0);
    while Instant::now() < until {
        let began = Instant::now();
        let asked = async {
            let mut stream = tokio::net::TcpStream::connect(port).await?;
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
        };
        let answered = tokio::time::timeout(Duration::from_secs(5), asked).await;
        failed += usize::from(!matches!(answered, Ok(Ok(true))));
        slowest = slowest.max(began.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (slowest, failed, count)
}

/// What so many of a hundred stay below.
fn share(all: &[Duration], percent: usize) -> Duration {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}
