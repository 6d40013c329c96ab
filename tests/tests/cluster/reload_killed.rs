//! A wave of reloads with a manager that is killed before or after each of its writes, and started again: every workload is
//! restarted once, whatever the cut.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use trimtab_testkit::{Nodes, eventually, shared_cluster};
use trimtab_tests::{App, Reading, Reloads, Shape, each_kill, kills, with_app};

/// No wave of this size takes more writes.
const MOST_WRITES: usize = 40;
/// How many namespaces at once.
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(90);

/// What every run must end in.
#[derive(Debug, PartialEq, Eq)]
struct End {
    restarts: Vec<usize>,
    jobs: usize,
    made_anew: bool,
    kept: bool,
}

fn workloads() -> Vec<Reading> {
    let one = |name: &str| Reading { replicas: 1, ..Reading::deployment(name) };
    vec![
        one("first"),
        one("second").annotated("trimtab.dev/reload: auto, trimtab.dev/reload-after: deployment/first"),
        one("cron").of("CronJob"),
        one("job").of("Job"),
    ]
}

async fn jobs(app: &App) -> Result<Vec<Job>> {
    Ok(app.api::<Job>().list(&ListParams::default()).await?.items)
}

async fn end(app: &App, reloads: &Reloads, old: &str) -> Result<End> {
    let kept = app.kubectl(&["get", "controllerrevisions", "-l", "trimtab.dev/reloaded-job", "-o", "name"]).await?;
    let jobs = jobs(app).await?;
    let job = jobs.iter().find(|job| job.name_any() == "job");
    Ok(End {
        restarts: vec![reloads.restarts("first").await?, reloads.restarts("second").await?],
        jobs: jobs.len(),
        made_anew: job
            .is_some_and(|job| job.metadata.deletion_timestamp.is_none() && job.uid().unwrap_or_default() != old),
        kept: !kept.trim().is_empty(),
    })
}

/// Plays the wave with one fault; whether the fault came, and the end.
async fn play(app: App, fault: Option<String>) -> Result<(bool, End)> {
    let reloads = Reloads::new(&app).await?;
    reloads.make(&workloads()).await?;
    let limits = ["--reload-max-per-source=1"];
    let first = reloads.manager(&limits).await?;
    let objects = ["deployment/first", "deployment/second", "cronjob/cron", "job/job"];
    let mut records = vec![];
    for object in objects {
        records.push(reloads.noted(object).await?);
    }
    first.kill()?;
    let old = reloads.get("job/job").await?["metadata"]["uid"].as_str().context("no uid")?.to_owned();
    reloads.set("web", "b").await?;
    let mut manager = reloads.manager_with(fault.as_deref(), &limits).await?;
    let wanted = End { restarts: vec![1, 1], jobs: 2, made_anew: true, kept: false };
    let killed = eventually("the fault or the end", PATIENCE, async || {
        if manager.ended()? {
            return Ok(Some(true));
        }
        Ok((end(&app, &reloads, &old).await? == wanted).then_some(false))
    })
    .await?;
    drop(manager);
    let _second = reloads.manager(&limits).await?;
    for (object, record) in objects.iter().zip(&records) {
        reloads.noted_anew(object, record).await?;
    }
    eventually("the end", PATIENCE, async || {
        let is = end(&app, &reloads, &old).await?;
        ensure!(is == wanted, "it is {is:?}");
        Ok(Some(()))
    })
    .await?;
    reloads.settled("deployment", "second").await?;
    Ok((killed, end(&app, &reloads, &old).await?))
}

async fn run(fault: Option<String>) -> (bool, End) {
    let name = format!("wave-{}", fault.as_deref().unwrap_or("never").replace(':', "-"));
    let (send, receive) = tokio::sync::oneshot::channel();
    let shape = Shape { replicas: 1, with_plan: false, ..Shape::default() };
    with_app(&name, shape, |app| async move {
        let end = play(app, fault.clone()).await.with_context(|| format!("with {fault:?}"))?;
        // The receiver waits for exactly this.
        let _ = send.send(end);
        Ok(())
    })
    .await;
    receive.await.expect("with_app panics where the test failed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_survives_a_kill_at_every_write() {
    let real = shared_cluster().await.is_ok_and(|cluster| matches!(cluster.nodes(), Nodes::Real));
    let most = if real { 3 } else { MOST_WRITES };
    let played = each_kill(&kills(most), AT_ONCE, run).await.expect("every end is the undisturbed one");
    println!("killed at {} points", played.times);
    assert!(played.times >= if real { 4 } else { 8 }, "only {} faults came", played.times);
}
