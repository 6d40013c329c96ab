//! Each state of a workload, and each way out of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use serde_json::Value;
use trimtab_crds::Phase;
use trimtab_testkit::eventually;
use trimtab_tests::{App, PodWatch, Shape, with_app};

use super::world::{PATIENCE, check, is_free, pods, revision, uninstall, wait_rolled, with_pods};

fn shape() -> Shape {
    Shape {
        steps: "[{setWeight: 20}, {pause: {}}, {setWeight: 50}, {pause: {}}]",
        max_surge: "1",
        max_unavailable: "0",
        ..Shape::default()
    }
}

/// An application whose first revision is stable, watched, and no manager any more.
async fn stable(app: &App) -> Result<PodWatch> {
    let manager = app.manager()?;
    app.wait_stable("v1").await?;
    let watch = app.watch_pods().await?;
    manager.kill()?;
    Ok(watch)
}

/// The same, with a change that stands at its first step.
async fn releasing(app: &App) -> Result<PodWatch> {
    let manager = app.manager()?;
    app.wait_stable("v1").await?;
    let watch = app.watch_pods().await?;
    app.set_image("v2").await?;
    app.wait_phase(Phase::Paused).await?;
    manager.kill()?;
    Ok(watch)
}

fn available(watch: &PodWatch, least: usize) -> Result<()> {
    let fewest = watch.history().fewest_available;
    ensure!(fewest >= least, "only {fewest} pods were available at some time");
    Ok(())
}

#[tokio::test]
async fn what_is_stable_goes_free_without_one_pod_restarted_and_no_undo_guards_it_again() {
    with_app("out-stable", shape(), |app| async move {
        let watch = stable(&app).await?;
        let (before, number) = (pods(&app).await?, revision(&app).await?);
        check(&app, "", 0, &["deployment/web", "guarded", "Nothing waits for Trimtab; 1 workload would be held"])
            .await?;
        check(&app, "--resume", 0, &["nothing is guarded"]).await?;
        is_free(&app).await?;
        ensure!(pods(&app).await? == before && revision(&app).await? == number, "a pod or a revision changed");
        app.set_image("v2").await?;
        wait_rolled(&app, "v2").await?;
        app.kubectl(&["rollout", "undo", "deployment/web"]).await?;
        wait_rolled(&app, "v1").await?;
        is_free(&app).await?;
        available(&watch, 4)?;
        // Once more changes nothing, and says so.
        check(&app, "--take-back", 0, &["nothing is guarded"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_that_waits_is_reported_and_resumed() {
    with_app("out-held", shape(), |app| async move {
        let watch = stable(&app).await?;
        app.set_image("v2").await?;
        let words = ["held", "waits, changed by trimtab-admin", "left alone", "kubectl rollout resume deployment web"];
        check(&app, "", 3, &words).await?;
        ensure!(app.is_held().await?, "the report let it go");
        check(&app, "--resume", 0, &[]).await?;
        wait_rolled(&app, "v2").await?;
        is_free(&app).await?;
        ensure!(revision(&app).await? == "2" && app.replica_sets().await?.len() == 2, "more revisions than changes");
        available(&watch, 4)
    })
    .await;
}

#[tokio::test]
async fn a_change_that_waits_is_taken_back() {
    with_app("out-held-back", shape(), |app| async move {
        stable(&app).await?;
        let before = pods(&app).await?;
        app.set_image("v2").await?;
        check(&app, "--take-back", 0, &[]).await?;
        wait_rolled(&app, "v1").await?;
        is_free(&app).await?;
        ensure!(pods(&app).await? == before, "a stable pod was restarted");
        ensure!(revision(&app).await? == "1" && app.replica_sets().await?.len() == 1, "a new revision appeared");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn left_alone_nothing_is_written_and_a_person_is_told_how_to_go_on() {
    with_app("out-leave", shape(), |app| async move {
        releasing(&app).await?;
        let versions = async || -> Result<Vec<Option<String>>> {
            let sets = app.replica_sets().await?.into_iter().map(|rs| rs.resource_version());
            Ok(sets.chain([app.deployment().await?.resource_version()]).collect())
        };
        let before = versions().await?;
        let printed = check(&app, "--leave", 0, &["in mid-release", "at step 2/4", "1 of 1 canary pods"]).await?;
        ensure!(versions().await? == before, "something was written");
        let report: Value = serde_json::from_str(&uninstall(&app, "-o json").await?.out)?;
        ensure!(report["waiting"] == 1 && report["workloads"][0]["state"] == "Releasing", "{report}");
        // What a person is told to do does what it says.
        let line = printed.out.lines().find_map(|line| line.trim().strip_prefix("by hand")).context("no commands")?;
        for command in line.trim().split(" && ") {
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            app.kubectl(&words).await?;
        }
        wait_rolled(&app, "v2").await?;
        ensure!(!app.is_held().await?, "it is held");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn in_mid_release_the_deployment_keeps_the_canarys_pods() {
    with_app("out-mid", shape(), |app| async move {
        let watch = releasing(&app).await?;
        let canary = watch.history().living(":v2");
        ensure!(canary.len() == 1, "{canary:?}");
        check(&app, "--resume", 0, &[]).await?;
        wait_rolled(&app, "v2").await?;
        is_free(&app).await?;
        ensure!(canary.is_subset(&pods(&app).await?), "the canary's pod was restarted");
        ensure!(watch.history().created_with(":v2") == 4, "more pods than needed were made");
        ensure!(revision(&app).await? == "2" && app.replica_sets().await?.len() == 2, "more revisions than changes");
        available(&watch, 4)
    })
    .await;
}

#[tokio::test]
async fn in_mid_release_taken_back_no_stable_pod_is_restarted() {
    with_app("out-mid-back", shape(), |app| async move {
        let watch = releasing(&app).await?;
        let before = watch.history().living(":v1");
        check(&app, "--take-back", 0, &[]).await?;
        wait_rolled(&app, "v1").await?;
        is_free(&app).await?;
        ensure!(pods(&app).await? == before && app.replica_sets().await?.len() == 1, "stable was touched");
        available(&watch, 4)
    })
    .await;
}

#[tokio::test]
async fn a_canary_without_a_pod_that_serves_goes_before_the_rest_rolls() {
    with_app(
        "out-sick",
        Shape { steps: "[{setWeight: 50}, {pause: {}}]", plan: "onFailure: Pause", ..shape() },
        |app| async move {
            let manager = app.manager()?;
            app.wait_stable("v1").await?;
            let watch = app.watch_pods().await?;
            // Its pods never become ready: the release waits for them.
            app.set_image("broken-unready").await?;
            eventually("canary pods", PATIENCE, async || Ok((app.pods().await?.len() > 4).then_some(()))).await?;
            manager.kill()?;
            check(&app, "--take-back", 0, &[]).await?;
            wait_rolled(&app, "v1").await?;
            is_free(&app).await?;
            available(&watch, 4)
        },
    )
    .await;
}

#[tokio::test]
async fn what_was_found_bad_is_not_let_go() {
    with_app("out-bad", shape(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        let before = pods(&app).await?;
        app.set_image("broken-crash").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await?;
        manager.kill()?;
        check(&app, "", 3, &["taken back", "what was found bad is not let go"]).await?;
        check(&app, "--resume", 0, &[]).await?;
        wait_rolled(&app, "v1").await?;
        is_free(&app).await?;
        ensure!(pods(&app).await? == before, "a stable pod was restarted");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_person_paused_stays_paused_and_is_not_held() {
    with_app("out-person", shape(), |app| async move {
        stable(&app).await?;
        app.kubectl(&["rollout", "pause", "deployment/web"]).await?;
        app.set_image("v2").await?;
        check(&app, "--resume", 0, &["a person had paused"]).await?;
        let deployment = app.deployment().await?;
        let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
        ensure!(paused && !deployment.annotations().contains_key("trimtab.dev/held"), "{:?}", deployment.annotations());
        app.kubectl(&["rollout", "resume", "deployment/web"]).await?;
        wait_rolled(&app, "v2").await
    })
    .await;
}

#[tokio::test]
async fn a_workload_that_sleeps_is_woken() {
    with_app("out-asleep", Shape { with_plan: false, ..shape() }, |app| async move {
        app.apply(
            "apiVersion: trimtab.dev/v1alpha1\nkind: Autoscaler\nmetadata: {name: web}\nspec:\n  targetRef: {kind: Deployment, name: web}\n  \
             minReplicas: 0\n  maxReplicas: 4\n  metrics:\n  - type: External\n    external: {metric: {name: queue}, target: {type: Value, value: \"5\"}}\n",
        )
        .await?;
        app.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
        let asleep = r#"{"status": {"history": {"asleep": true}}}"#;
        app.kubectl(&["patch", "autoscaler/web", "--subresource=status", "--type=merge", "-p", asleep]).await?;
        check(&app, "", 3, &["asleep", "nobody wakes it", "kubectl scale deployment/web"]).await?;
        check(&app, "--resume", 0, &[]).await?;
        app.wait_settled(1).await
    })
    .await;
}

/// The manager is killed behind its n-th write of a release, and never comes back.
async fn left_behind(tag: &'static str, fault: String, way: &'static str, end: &'static [&'static str]) {
    let name = format!("out-{}-{}", way.trim_start_matches('-'), fault.replace(':', "-"));
    let shape = Shape { steps: "[{setWeight: 20}, {pause: {duration: 100ms}}]", min_ready: 1, ..shape() };
    with_app(&name, shape, |app| async move {
        let watch = stable(&app).await?;
        app.set_image(tag).await?;
        let mut manager = app.manager_with(Some(&fault), &[])?;
        let over = [Phase::Stable, Phase::TakenBack];
        eventually("the manager to be killed, or the release to be over", PATIENCE, async || {
            let status = app.plan().await?.status.unwrap_or_default();
            let ended = status.sequence == 1 && status.release.is_none() && over.contains(&status.phase);
            Ok((manager.ended()? || ended).then_some(()))
        })
        .await?;
        manager.kill()?;
        let what = format!("{tag} {way} after {fault}");
        let ended = uninstall(&app, way).await?;
        ensure!(ended.code == 0, "{what}: exit {}\n{}\n{}", ended.code, ended.out, ended.err);
        is_free(&app).await.with_context(|| what.clone())?;
        let asks = app.deployment().await?.spec.context("no spec")?.template.spec.context("no template")?;
        let image = asks.containers.first().and_then(|c| c.image.clone()).unwrap_or_default();
        let tag = end.iter().find(|tag| image.ends_with(*tag)).with_context(|| format!("{what}: asks for {image}"))?;
        wait_rolled(&app, tag.trim_start_matches(':')).await.with_context(|| what.clone())?;
        ensure!(with_pods(&app).await?.len() == 1 && app.replica_sets().await?.len() <= 2, "{what}: ReplicaSets");
        available(&watch, 4).with_context(|| what)
    })
    .await;
}

async fn at_every_write(tag: &'static str, way: &'static str, end: &'static [&'static str]) {
    let faults: BTreeMap<u32, String> = (1..=14).map(|n| (n, format!("kill-after:{n}"))).collect();
    stream::iter(faults.into_values())
        .map(|fault| left_behind(tag, fault, way, end))
        .buffer_unordered(5)
        .collect::<()>()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_left_behind_at_any_write_is_resumed() {
    at_every_write("v2", "--resume", &[":v2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_left_behind_at_any_write_is_taken_back_unless_it_rolls() {
    at_every_write("v2", "--take-back", &[":v1", ":v2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_taken_back_and_left_behind_at_any_write_is_at_stable_again() {
    at_every_write("broken-crash", "--take-back", &[":v1"]).await;
}
