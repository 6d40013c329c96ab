//! Releases on a real cluster, as a user makes them: with kubectl. Each test asserts the state of the world.

use std::time::Duration;

use anyhow::{Result, ensure};
use trimtab_crds::{Phase, ReleaseResult};
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, with_app};

const SOON: Duration = Duration::from_secs(30);

/// Availability of a shape must never fall below this.
fn floor(app: &App, max_unavailable: usize) -> usize {
    usize::try_from(app.shape.replicas).unwrap_or(0) - max_unavailable
}

#[tokio::test]
async fn a_change_is_tried_and_promoted_and_its_canary_pods_stay() {
    with_app("promote", Shape::default(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let printed = app.kubectl(&["set", "image", "deployment/web", "web=trimtab.local/sample:v2"]).await?;
        ensure!(printed.contains("waits for a release under ReleasePlan web"), "no warning: {printed}");
        app.wait_plan("the canary at 20%", |plan| {
            plan.status
                .as_ref()
                .is_some_and(|s| s.step.as_deref() == Some("2/3") && s.weight.as_ref().is_some_and(|w| w.actual == 20))
        })
        .await?;
        let canary = watch.history().living(":v2");
        ensure!(canary.len() == 1, "canary pods: {canary:?}");
        app.wait_stable("v2").await?;
        app.kubectl(&["wait", "--for=condition=Ready", "releaseplan/web", "--timeout=10s"]).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=30s"]).await?;
        let history = watch.history();
        ensure!(canary.is_subset(&history.living(":v2")), "the canary's pods did not survive");
        ensure!(history.created_with(":v2") == 4, "pods made: {}", history.created_with(":v2"));
        ensure!(history.fewest_available >= floor(&app, 1), "only {} were available", history.fewest_available);
        let releases = app.releases().await?;
        let status = releases.first().and_then(|r| r.status.clone()).expect("a record");
        ensure!(releases.len() == 1 && status.result == ReleaseResult::Promoted, "{releases:?}");
        ensure!(status.steps.len() == 3 && status.steps.iter().all(|s| s.finished_at.is_some()), "{status:?}");
        Ok(())
    })
    .await;
}

async fn check_broken(name: &str, tag: &'static str) {
    with_app(name, Shape { plan: "progressDeadline: 5s", ..Shape::default() }, move |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let stable = watch.history().living(":v1");
        app.set_image(tag).await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.kubectl(&["wait", "--for=condition=Stalled", "releaseplan/web", "--timeout=10s"]).await?;
        app.wait_settled(4).await?;
        let history = watch.history();
        ensure!(history.living(":v1") == stable, "stable pods were touched");
        ensure!(history.fewest_available == 4 || app.real, "only {} were available", history.fewest_available);
        ensure!(history.created_with(tag) == 1, "broken pods made: {}", history.created_with(tag));
        ensure!(app.is_held().await?, "the rejected change is not held");
        ensure!(app.replica_sets().await?.len() == 1, "the canary's ReplicaSet is left over");
        // It is not tried again by itself, the Deployment still scales, and undo brings the template back.
        app.kubectl(&["scale", "deployment/web", "--replicas=5"]).await?;
        app.wait_settled(5).await?;
        ensure!(watch.history().created_with(tag) == 1, "tried again");
        app.request("undo").await?;
        app.wait_stable("v1").await?;
        ensure!(!app.is_held().await?, "still held after undo");
        ensure!(stable.is_subset(&watch.history().living(":v1")), "undo touched stable pods");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_canary_that_crashes_is_taken_back_and_stable_pods_are_not_touched() {
    check_broken("crash", "broken-crash").await;
}

#[tokio::test]
async fn a_canary_that_never_becomes_ready_is_taken_back_at_its_deadline() {
    check_broken("unready", "broken-unready").await;
}

#[tokio::test]
async fn with_every_process_dead_no_edit_changes_a_pod() {
    with_app("dead", Shape::default(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        manager.kill()?;
        let watch = app.watch_pods().await?;
        let before = watch.history().living(":v2");
        app.set_image("v3").await?;
        app.apply(&app.deployment_yaml("v1")).await?;
        app.kubectl_with(&["replace", "-f", "-"], app.deployment_yaml("v3").split("---").next().unwrap_or_default())
            .await?;
        ensure!(
            app.kubectl(&["rollout", "undo", "deployment/web"]).await.is_err(),
            "kubectl undoes a paused Deployment"
        );
        app.kubectl(&["rollout", "resume", "deployment/web"]).await?;
        ensure!(app.is_held().await?, "resume released the change");
        app.kubectl(&["scale", "deployment/web", "--replicas=5"]).await?;
        app.wait_settled(5).await?;
        // What a list shows a watch tells a moment later.
        let seen = |made: usize| {
            let history = watch.history();
            (history.created_with(":v2") == made && history.living(":v2").len() == 5).then_some(())
        };
        eventually("a fifth pod of the stable template", SOON, async || Ok(seen(5))).await?;
        let history = watch.history();
        ensure!(before.is_subset(&history.living(":v2")), "{history:?}");
        ensure!(history.ended.is_empty() || history.living(":v2").is_superset(&before), "pods were ended");
        // A pod that goes comes back on the stable template.
        app.kubectl(&[
            "delete",
            "pod",
            "--wait=false",
            app.pods().await?[0].metadata.name.as_deref().unwrap_or_default(),
        ])
        .await?;
        app.wait_settled(5).await?;
        eventually("a moved pod to come back on the stable template", SOON, async || Ok(seen(6))).await?;
        // And a process that comes back releases what it finds.
        let _manager = app.manager()?;
        app.wait_stable("v3").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn rollout_undo_between_releases_is_held_too() {
    with_app("undo", Shape::default(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        manager.kill()?;
        let watch = app.watch_pods().await?;
        let before = watch.history().living(":v2");
        app.kubectl(&["rollout", "undo", "deployment/web"]).await?;
        ensure!(app.is_held().await?, "rollout undo was not held");
        let _manager = app.manager()?;
        // Within the rollback window, so without steps; the ReplicaSet of history is used again.
        app.wait_stable("v1").await?;
        ensure!(app.replica_sets().await?.len() == 2, "a second ReplicaSet of the same template was made");
        let history = watch.history();
        ensure!(history.fewest_available >= 3, "only {} were available", history.fewest_available);
        ensure!(history.living(":v2").is_disjoint(&before), "old pods are left");
        Ok(())
    })
    .await;
}

/// A promotion, an abort in mid-promotion, and a rollback to a revision in history, with limits and canaries of all sizes.
async fn check_limits(
    name: &str,
    replicas: i32,
    surge: &'static str,
    unavailable: &'static str,
    steps: &'static str,
    lowest: usize,
) {
    let shape = Shape {
        replicas,
        max_surge: surge,
        max_unavailable: unavailable,
        steps,
        plan: "rollbackWindow: 0",
        ..Shape::default()
    };
    with_app(name, shape, move |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let judged = |what: &str| -> Result<()> {
            let fewest = watch.history().fewest_available;
            ensure!(fewest >= lowest, "{what}: only {fewest} were available, {lowest} must be");
            Ok(())
        };
        let size = usize::try_from(replicas)?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        judged("promotion")?;
        ensure!(watch.history().created_with(":v2") == size, "{} pods made", watch.history().created_with(":v2"));
        app.wait_settled(size).await?;
        // Back to a revision of history, with steps: its ReplicaSet is taken, not a second one made.
        app.set_image("v1").await?;
        app.wait_stable("v1").await?;
        judged("back in history")?;
        ensure!(app.replica_sets().await?.len() == 2, "a second ReplicaSet of the same template was made");
        app.wait_settled(size).await?;
        // Abort as soon as promotion has begun, whatever it has done by then.
        app.set_image("v3").await?;
        app.wait_plan("promotion to begin", |plan| {
            plan.status.as_ref().is_some_and(|s| s.phase == Phase::Promoting || s.message.contains("v3 is stable"))
        })
        .await?;
        app.request("abort").await?;
        app.wait_plan("an end", |plan| {
            plan.status.as_ref().is_some_and(|s| s.release.is_none() && s.handled_request.is_some())
        })
        .await?;
        judged("abort")?;
        app.wait_settled(size).await?;
        judged("after the abort")?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn availability_holds_with_a_canary_of_one() {
    check_limits("limits-one", 4, "1", "0", "[{setWeight: 20}]", 4).await;
}

#[tokio::test]
async fn availability_holds_with_a_canary_of_half() {
    check_limits("limits-half", 6, "0", "1", "[{setCanaryScale: {weight: 50}}]", 5).await;
}

#[tokio::test]
async fn availability_holds_with_a_canary_of_all() {
    check_limits("limits-all", 4, "1", "0", "[{setWeight: 50}]", 4).await;
}

#[tokio::test]
async fn availability_holds_without_surge() {
    check_limits("limits-nosurge", 5, "0", "2", "[{setWeight: 20}, {setWeight: 40}]", 3).await;
}
