//! Releases in mid-air: the network is lost, the API server refuses, credentials expire, clocks jump, nodes are drained,
//! leaders end, each in the middle of a release. What is asserted is always the same: the release goes on to the end that
//! it would have had, or waits and says so; no step is done twice, and pods stay available.

mod api_server;
mod clock;
mod credentials;
mod leader;
mod nodes;
mod watches;

use std::time::Duration;

use anyhow::{Result, ensure};
use trimtab_crds::ReleasePlan;
use trimtab_testkit::{FaultyServer, eventually};
use trimtab_tests::{App, Leader, ManagerProcess, PodWatch, Shape, each_pod_once, each_step_once};

/// For what has no bound of its own, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// The lease of these tests.
const LEASE: Duration = Duration::from_secs(6);

/// A release with a pause of so long to be disturbed in, and another step behind it.
fn shape(pause: &'static str) -> Shape {
    let steps = match pause {
        "4s" => "[{setWeight: 20}, {pause: {duration: 4s}}, {setWeight: 50}, {pause: {duration: 2s}}]",
        _ => "[{setWeight: 20}, {pause: {duration: 15s}}, {setWeight: 50}, {pause: {duration: 2s}}]",
    };
    Shape { steps, max_surge: "1", max_unavailable: "0", ..Shape::default() }
}

/// Begins a release and waits for its first pause.
async fn mid_release(app: &App) -> Result<ReleasePlan> {
    app.set_image("v2").await?;
    app.wait_first_pause().await
}

/// The release went on to its end: one record with each step once and in order, nothing held, nothing left over.
async fn check_promoted(app: &App) -> Result<()> {
    app.wait_stable("v2").await?;
    app.wait_settled(usize::try_from(app.shape.replicas)?).await?;
    let releases = app.releases().await?;
    let [release] = &releases[..] else { anyhow::bail!("{} records", releases.len()) };
    each_step_once(release)?;
    ensure!(!app.is_held().await?, "still held");
    ensure!(app.replica_sets().await?.len() == 2, "a ReplicaSet is left over");
    Ok(())
}

/// The end of a release that was not disturbed where its pods are: each pod was made once, and none was missed.
async fn check_end(app: &App, watch: &PodWatch) -> Result<()> {
    check_promoted(app).await?;
    each_pod_once(watch, "v2")
}

/// Waits until a manager's readiness says this.
async fn not_ready(manager: &ManagerProcess, text: &str) -> Result<String> {
    eventually(&format!("readiness to say {text:?}"), PATIENCE, async || {
        let (code, body) = manager.get("/readyz").await?;
        if code == 503 && body.contains(text) { Ok(Some(body)) } else { anyhow::bail!("{code}: {body}") }
    })
    .await
}

/// Waits until a manager is ready again.
async fn ready(manager: &ManagerProcess) -> Result<()> {
    eventually("readiness", PATIENCE, async || {
        let (code, body) = manager.get("/readyz").await?;
        if code == 200 { Ok(Some(())) } else { anyhow::bail!("{code}: {body}") }
    })
    .await
}

/// Starts a manager behind a faulty server, without an election.
fn behind(server: &FaultyServer, app: &App) -> Result<ManagerProcess> {
    ManagerProcess::start(server.kubeconfig(), app.namespace(), None, &[])
}

/// Starts a replica that takes part in the election of the namespace.
fn replica(kubeconfig: &std::path::Path, app: &App) -> Result<ManagerProcess> {
    let namespace = format!("--lease-namespace={}", app.namespace());
    let duration = format!("--lease-duration={}s", LEASE.as_secs());
    ManagerProcess::start(
        kubeconfig,
        app.namespace(),
        None,
        &["--leader-elect", "--lease-name=x", &namespace, &duration],
    )
}

/// Starts two, the first of them by that kubeconfig, so that the first one leads.
async fn two_replicas(first: &std::path::Path, app: &App) -> Result<(ManagerProcess, ManagerProcess)> {
    let first = replica(first, app)?;
    app.wait_stable("v1").await?;
    let second = replica(app.kubeconfig(), app)?;
    eventually("the second replica to follow", PATIENCE, async || {
        Ok(second.log()?.contains("another process leads").then_some(()))
    })
    .await?;
    Ok((first, second))
}

/// Who leads of the replicas.
fn leader(app: &App) -> Leader {
    Leader::by(app.api(), "x")
}
