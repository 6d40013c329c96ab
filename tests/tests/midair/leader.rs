//! The leader ends in mid-release while requests are made to the application: real pods behind a real kube-proxy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use trimtab_testkit::{Load, Nodes, eventually, shared_cluster};
use trimtab_tests::{App, Shape, with_app};

use super::{LEASE, check_end, holder, mid_release, shape, takeover, two_replicas};

async fn pods_answer() -> bool {
    let real = shared_cluster().await.is_ok_and(|cluster| matches!(cluster.nodes(), Nodes::Real));
    if !real {
        println!("needs real nodes: `make test NODES=real`");
    }
    real
}

async fn call(app: &App) -> Result<Load> {
    let service = app.api::<Service>().get("web").await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
    let url = format!("http://{address}/");
    let load = Load::start(&url, 2)?;
    // Only what comes after the first answers counts: kube-proxy takes a moment to learn of a new Service.
    eventually("the Service to answer", Duration::from_secs(30), async || Ok((load.so_far().ok > 20).then_some(())))
        .await?;
    load.stop().await;
    Load::start(&url, 2)
}

/// Ends the leader by a signal in the pause before the second step; the next one leads within `bound`.
async fn ends(name: &str, signal: &'static str, bound: Duration) {
    if !pods_answer().await {
        return;
    }
    with_app(name, Shape { min_ready: 1, ..shape("4s") }, |app| async move {
        let (mut first, _second) = two_replicas(app.kubeconfig(), &app).await?;
        let watch = app.watch_pods().await?;
        let load = call(&app).await?;
        mid_release(&app).await?;
        let before = holder(&app).await?;
        let asked = Instant::now();
        first.signal(signal)?;
        first.wait_end(Duration::from_secs(10)).await?;
        takeover(&app, &before).await?;
        let took = asked.elapsed();
        check_end(&app, &watch).await?;
        let report = load.stop().await;
        println!("{signal}: taken over after {took:?}; {} answered, {} failed", report.ok, report.failed);
        ensure!(took < bound, "taken over after {took:?}");
        ensure!(report.ok > 100, "hardly any request was made");
        ensure!(report.failed == 0, "{} requests failed: {:?}", report.failed, report.errors);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_the_leader_is_killed_and_the_next_leads_when_its_lease_is_over() {
    // A lease, and a look every 2.2 retry periods of 0.8 s at the latest.
    ends("load-killed", "KILL", LEASE + Duration::from_millis(2500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_the_leader_is_asked_to_end_and_the_next_leads_at_once() {
    ends("load-ended", "TERM", Duration::from_secs(5)).await;
}
