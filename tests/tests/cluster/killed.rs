//! The manager killed with -9 before and after every write of a release, then started again: the same end state, and the
//! same number of pods made. The writes are counted by the framework's fault injection, the lease and events aside.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use trimtab_crds::{Phase, ReleaseResult};
use trimtab_testkit::{Nodes, eventually, shared_cluster};
use trimtab_tests::{App, Configured, ManagerProcess, PodHistory, Shape, each_kill, kills, with_app};

/// No release of this size takes more writes; an enumeration that gets here has lost count.
const MOST_WRITES: usize = 60;
/// Namespaces at once.
const AT_ONCE: usize = 6;

/// What is done while the manager is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Promoted,
    TakenBack,
    /// Aborted by a request that was written before promotion could end.
    AbortedInPromotion,
    /// A ConfigMap is changed, and promoted.
    Configuration,
}

/// What every run of a story must end in.
#[derive(Debug, PartialEq, Eq)]
struct End {
    pods_made: BTreeMap<String, usize>,
    living: BTreeMap<String, usize>,
    /// Pods by what they read, where they read a ConfigMap.
    configs: BTreeMap<String, usize>,
    copies: usize,
    results: Vec<ReleaseResult>,
    replica_sets: usize,
    held: bool,
}

async fn end_of(app: &App, history: &PodHistory, configured: Option<&Configured>) -> Result<End> {
    let configs = match configured {
        Some(configured) => configured.counts().await?,
        None => BTreeMap::new(),
    };
    let copies = app.api::<ConfigMap>().list(&ListParams::default().labels("trimtab.dev/config-copy")).await?;
    let tags = [":v1", ":v2", ":broken-crash"];
    let count = |of: &dyn Fn(&str) -> usize| tags.iter().map(|tag| ((*tag).to_owned(), of(tag))).collect();
    Ok(End {
        pods_made: count(&|tag| history.created_with(tag)),
        living: count(&|tag| history.living(tag).len()),
        configs,
        copies: copies.items.len(),
        results: app.releases().await?.iter().filter_map(|r| r.status.as_ref()).map(|s| s.result).collect(),
        replica_sets: app.replica_sets().await?.len(),
        held: app.is_held().await?,
    })
}

/// Waits until the process with the fault has ended, or the story is over without it.
async fn killed_or_over(app: &App, manager: &mut ManagerProcess, story: Story) -> Result<bool> {
    let outcome = eventually("the manager to be killed, or the story to end", Duration::from_secs(60), async || {
        if manager.ended()? {
            return Ok(Some(true));
        }
        Ok(over(app, story).await?.then_some(false))
    })
    .await?;
    // The last write may end the story and then the process.
    if !outcome {
        tokio::time::sleep(Duration::from_millis(300)).await;
        return manager.ended();
    }
    Ok(true)
}

async fn over(app: &App, story: Story) -> Result<bool> {
    let status = app.plan().await?.status.context("no status")?;
    let releases = app.releases().await?;
    let recorded =
        releases.iter().all(|r| r.status.as_ref().is_some_and(|s| s.finished_at.is_some())) && !releases.is_empty();
    let phase = match story {
        Story::Promoted | Story::Configuration => Phase::Stable,
        // An abort that comes when no stable pod is left rolls the Deployment back, and then nothing is held.
        Story::AbortedInPromotion if status.message.contains(":v1") => Phase::Stable,
        Story::TakenBack | Story::AbortedInPromotion => Phase::TakenBack,
    };
    Ok(status.release.is_none()
        && status.phase == phase
        && recorded
        && (story != Story::Promoted || status.message.contains(":v2"))
        && (story != Story::Configuration || status.sequence == 2))
}

/// Plays a story with one fault; whether the fault came.
async fn play(app: App, story: Story, fault: Option<String>) -> Result<(bool, End)> {
    let configured = match story {
        Story::Configuration => Some(Configured::new(&app, "a").await?),
        _ => None,
    };
    let first = app.manager()?;
    if configured.is_some() {
        app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
        app.wait_plan("the first copies", |plan| {
            plan.status.as_ref().is_some_and(|s| s.phase == Phase::Stable && s.release.is_none() && s.sequence == 1)
        })
        .await?;
        app.wait_settled(4).await?;
    }
    app.wait_stable("v1").await?;
    let watch = app.watch_pods().await?;
    first.kill()?;
    match story {
        Story::TakenBack => app.set_image("broken-crash").await?,
        Story::Promoted | Story::AbortedInPromotion => app.set_image("v2").await?,
        Story::Configuration => {
            let configured = configured.as_ref().context("nothing is configured")?;
            configured.set("b").await?;
        }
    }
    if story == Story::AbortedInPromotion {
        // Bring it to promotion undisturbed, then ask, then let it be killed while it takes back.
        let manager = app.manager()?;
        app.wait_phase(Phase::Promoting).await?;
        manager.kill()?;
        app.request("abort").await?;
    }
    let mut manager = app.manager_with(fault.as_deref(), &[])?;
    let killed = killed_or_over(&app, &mut manager, story).await?;
    drop(manager);
    let _second = app.manager()?;
    eventually("the story to end", Duration::from_secs(60), async || Ok(over(&app, story).await?.then_some(())))
        .await?;
    app.wait_settled(4).await?;
    if let Some(configured) = &configured {
        configured.wait_counts(&[("b", 4)]).await?;
    }
    Ok((killed, end_of(&app, &watch.history(), configured.as_ref()).await?))
}

async fn run(story: Story, fault: Option<String>) -> (bool, End) {
    let name = format!("killed-{}", fault.as_deref().unwrap_or("never").replace(':', "-"));
    let (send, receive) = tokio::sync::oneshot::channel();
    // Promotion is slow enough to be caught in, also on a busy machine: a pod counts as available after some seconds.
    let shape = Shape {
        min_ready: if story == Story::AbortedInPromotion { 3 } else { 0 },
        steps: "[{setWeight: 20}, {pause: {duration: 100ms}}]",
        max_surge: "1",
        max_unavailable: "0",
        with_plan: story != Story::Configuration,
        ..Shape::default()
    };
    with_app(&name, shape, |app| async move {
        let end = play(app, story, fault.clone()).await.with_context(|| format!("{story:?} with {fault:?}"))?;
        // The receiver waits for exactly this.
        let _ = send.send(end);
        Ok(())
    })
    .await;
    receive.await.expect("with_app panics where the test failed")
}

async fn check_every_kill(story: Story) {
    if shared_cluster().await.is_ok_and(|cluster| matches!(cluster.nodes(), Nodes::Real)) {
        return check_some_kills(story).await;
    }
    let played = each_kill(&kills(MOST_WRITES), AT_ONCE, |fault| run(story, fault))
        .await
        .expect("every end is the undisturbed one");
    println!("{story:?}: killed at {} points", played.times);
    assert!(played.all, "{story:?}: more than {MOST_WRITES} writes");
    assert!(played.times >= 10, "only {} faults came: the enumeration does not see the writes", played.times);
}

/// On real nodes pods take seconds: a fixed few of all points.
async fn check_some_kills(story: Story) {
    let faults = ["kill-after:2", "kill-before:4", "kill-after:6", "kill-before:9"].map(str::to_owned);
    each_kill(&faults, 2, |fault| run(story, fault)).await.expect("every end is the undisturbed one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_release_survives_a_kill_at_every_write() {
    check_every_kill(Story::Promoted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_taken_back_survives_a_kill_at_every_write() {
    check_every_kill(Story::TakenBack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_configuration_survives_a_kill_at_every_write() {
    check_every_kill(Story::Configuration).await;
}

/// The abort finds the release wherever it is by then; that it ends the same is asserted by pods, not by their number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_in_promotion_survives_a_kill_at_the_first_writes() {
    let story = Story::AbortedInPromotion;
    let runs = stream::iter(kills(4)).map(async |fault| (run(story, Some(fault.clone())).await.1, fault));
    for (end, fault) in runs.buffered(AT_ONCE).collect::<Vec<_>>().await {
        assert_eq!(end.living.get(":v1"), Some(&4), "{fault}: {end:?}");
        assert_eq!(end.results, [ReleaseResult::TakenBack], "{fault}: {end:?}");
        assert_eq!(end.living.get(":v2"), Some(&0), "{fault}: {end:?}");
    }
}
