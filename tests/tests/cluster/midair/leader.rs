//! The leader ends in mid-release while requests are made to the application: real pods behind a real kube-proxy.

use std::time::{Duration, Instant};

use anyhow::ensure;
use trimtab_tests::{Shape, pods_answer, with_app};

use super::{LEASE, check_end, leader, mid_release, shape, two_replicas};

/// Ends the leader by a signal in the pause before the second step; the next one leads within `bound`.
async fn ends(name: &str, signal: &'static str, bound: Duration) {
    if !pods_answer().await {
        return;
    }
    with_app(name, Shape { min_ready: 1, ..shape("4s") }, |app| async move {
        let (mut first, _second) = two_replicas(app.kubeconfig(), &app).await?;
        let watch = app.watch_pods().await?;
        let load = app.call().await?;
        mid_release(&app).await?;
        let before = leader(&app).holder().await?;
        let asked = Instant::now();
        first.signal(signal)?;
        first.wait_end(Duration::from_secs(10)).await?;
        leader(&app).takeover(&before).await?;
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
