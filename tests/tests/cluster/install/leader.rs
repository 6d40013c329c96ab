//! The leader's pod goes in mid-release while requests are made to the application: what leads afterwards, when, and what of it
//! is seen from outside. Not how an election goes: `midair` tries that with processes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use trimtab_tests::{App, Leader, Shape, each_pod_once, each_step_once};

use super::MANAGER;

/// How a leader ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// Its pod is deleted: it gives its lease back.
    Deleted,
    /// Its process is killed: the lease has to run out.
    Killed,
}

impl End {
    /// How long nobody may lead: as long as the lease lasts, and then until the next look of who waits for it.
    fn bound(self) -> Duration {
        match self {
            Self::Deleted => Duration::from_secs(5),
            Self::Killed => Duration::from_millis(15_000 + 4_400 + 1_000),
        }
    }
}

/// A release with pauses long enough to lose a leader in.
pub fn shape() -> Shape {
    let steps = "[{setWeight: 20}, {pause: {duration: 6s}}, {setWeight: 50}, {pause: {duration: 2s}}]";
    Shape { steps, max_surge: "1", max_unavailable: "0", min_ready: 1, with_plan: false, ..Shape::default() }
}

/// Releases an image; the leader ends in the first pause.
pub async fn lost_in_mid_release(app: &App, tag: &str, end: End) -> Result<()> {
    let watch = app.watch_pods().await?;
    let load = app.call().await?;
    app.set_image(tag).await?;
    app.wait_first_pause().await?;
    let leader = Leader::by(Api::namespaced(app.cluster_client().await?, MANAGER), "trimtab-manager");
    let before = leader.holder().await?;
    let pod = before.rsplit_once('_').context("the holder's name has no pod in it")?.0;
    let asked = Instant::now();
    match end {
        End::Deleted => _ = app.kubectl(&["delete", "pod", pod, "-n", MANAGER, "--wait=false"]).await?,
        End::Killed => kill(pod)?,
    }
    leader.takeover(&before).await?;
    let took = asked.elapsed();
    app.wait_stable(tag).await?;
    app.wait_settled(usize::try_from(app.shape.replicas)?).await?;
    let report = load.stop().await;
    println!("{end:?}: another leads after {took:?}; {} answered, {} failed", report.ok, report.failed);

    ensure!(took < end.bound(), "{end:?}: another leads after {took:?}");
    ensure!(report.ok > 100, "hardly any request was made");
    ensure!(report.failed == 0, "{} requests failed: {:?}", report.failed, report.errors);
    each_pod_once(&watch, tag)?;
    let newest = app.releases().await?.into_iter().max_by_key(|release| release.metadata.creation_timestamp.clone());
    each_step_once(&newest.context("there is no record")?)
}

/// Kills the manager of a pod on this machine's node.
fn kill(pod: &str) -> Result<()> {
    let host = format!("HOSTNAME={pod}");
    let is = |id: &str| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == host.as_bytes())
    };
    let processes = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let id = processes.filter(|name| name.parse::<u32>().is_ok()).find(|id| is(id));
    let id = id.with_context(|| format!("no process has {host}"))?;
    let killed = std::process::Command::new("kill").args(["-KILL", &id]).status()?;
    ensure!(killed.success(), "{host} could not be killed");
    Ok(())
}
