//! What people ask of a release, and what happens around it in the middle: each on a real cluster, by the state of the
//! world that follows.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{ResourceExt, api::DeleteParams};
use trimtab_crds::{Phase, Release, ReleasePlan, ReleaseResult};
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, with_app};

const WAITS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 50}, {pause: {}}]";

fn waiting() -> Shape {
    Shape { steps: WAITS, ..Shape::default() }
}

async fn wait_step(app: &App, step: &str) -> Result<ReleasePlan> {
    app.wait_plan(&format!("step {step}"), |plan| {
        plan.status.as_ref().is_some_and(|s| s.step.as_deref() == Some(step) && s.phase == Phase::Paused)
    })
    .await
}

async fn results(app: &App) -> Result<Vec<ReleaseResult>> {
    Ok(app.releases().await?.iter().filter_map(|r| r.status.as_ref()).map(|s| s.result).collect())
}

#[tokio::test]
async fn promote_goes_one_step_on_and_is_carried_out_once() {
    with_app("verbs", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.request("promote").await?;
        wait_step(&app, "4/4").await?;
        // A pause by request holds the last step; promote lifts it, and a second one ends the step.
        app.request("pause").await?;
        app.wait_reason("PausedByRequest").await?;
        app.request("resume").await?;
        app.wait_reason("WaitingForPromotion").await?;
        let before = app.plan().await?;
        // The same request again, as a repeated apply would write it: nothing happens.
        let same = before.annotations()["trimtab.dev/request"].clone();
        app.kubectl(&["annotate", "--overwrite", "releaseplan/web", "trimtab.dev/request-note=again"]).await?;
        app.kubectl(&["annotate", "--overwrite", "releaseplan/web", &format!("trimtab.dev/request={same}")]).await?;
        ensure!(app.plan().await?.status == before.status, "a repeated request was carried out again");
        let nonsense = app.request("promoto").await?;
        app.wait_plan("the refusal", |plan| {
            plan.status.as_ref().is_some_and(|s| s.handled_request.as_deref() == Some(&nonsense))
        })
        .await?;
        app.wait_event("RequestRefused").await?;
        app.request("promote-full").await?;
        app.wait_stable("v2").await?;
        ensure!(results(&app).await? == [ReleaseResult::Promoted]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn abort_retry_and_restart_do_what_they_say() {
    with_app("abort", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let stable = watch.history().living(":v1");
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await?;
        ensure!(watch.history().living(":v1") == stable, "stable pods were touched");
        app.request("retry").await?;
        wait_step(&app, "2/4").await?;
        app.request("promote-full").await?;
        app.wait_stable("v2").await?;
        let before = watch.history().living(":v2");
        app.request("restart").await?;
        wait_step(&app, "2/4").await?;
        app.request("promote-full").await?;
        app.wait_plan("the restart to end", |plan| {
            plan.status.as_ref().is_some_and(|s| s.phase == Phase::Stable && s.sequence == 3)
        })
        .await?;
        app.wait_settled(4).await?;
        ensure!(watch.history().living(":v2").is_disjoint(&before), "pods were not restarted");
        ensure!(results(&app).await? == [ReleaseResult::TakenBack, ReleaseResult::Promoted, ReleaseResult::Promoted]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn undo_between_releases_brings_the_revision_before_back() {
    with_app("undo2", Shape { plan: "rollbackWindow: 0", ..Shape::default() }, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        app.request("undo").await?;
        // Meanwhile the status of a stable plan names the revision that the undo goes to.
        app.wait_plan("the release of the undo to begin", |plan| plan.status.as_ref().is_some_and(|s| s.sequence > 1))
            .await?;
        app.wait_stable("v1").await?;
        ensure!(results(&app).await?.len() == 2, "an undo is a release");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_new_revision_in_mid_release_starts_over_from_stable() {
    with_app("supersede", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.set_image("v3").await?;
        app.wait_plan("the second release", |plan| {
            plan.status
                .as_ref()
                .is_some_and(|s| s.sequence == 2 && s.step.as_deref() == Some("2/4") && s.phase == Phase::Paused)
        })
        .await?;
        eventually("the first canary to go", Duration::from_secs(30), async || {
            Ok(watch.history().living(":v2").is_empty().then_some(()))
        })
        .await?;
        ensure!(watch.history().living(":v1").len() == 4, "stable pods were touched");
        app.request("promote-full").await?;
        app.wait_stable("v3").await?;
        ensure!(results(&app).await? == [ReleaseResult::Superseded, ReleaseResult::Promoted]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_back_to_stable_ends_the_release_at_once() {
    with_app("back", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let stable = watch.history().living(":v1");
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.set_image("v1").await?;
        app.wait_stable("v1").await?;
        app.wait_settled(4).await?;
        ensure!(watch.history().living(":v1") == stable, "stable pods were touched");
        ensure!(!app.is_held().await?, "still held");
        ensure!(results(&app).await? == [ReleaseResult::Cancelled]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn scaling_in_mid_release_moves_stable_and_canary() {
    with_app("scale", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.kubectl(&["scale", "deployment/web", "--replicas=8"]).await?;
        eventually("8 stable and 2 canary pods", Duration::from_secs(30), async || {
            let history = watch.history();
            Ok((history.living(":v1").len() == 8 && history.living(":v2").len() == 2).then_some(()))
        })
        .await?;
        app.request("promote-full").await?;
        app.wait_stable("v2").await?;
        app.wait_settled(8).await
    })
    .await;
}

#[tokio::test]
async fn edited_steps_go_on_at_the_first_weight_not_below_the_current_one() {
    with_app("edit", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        let steps = r#"{"spec":{"strategy":{"canary":{"steps":[{"setWeight":10},{"setWeight":40},{"pause":{}}]}}}}"#;
        app.kubectl(&["patch", "releaseplan/web", "--type=merge", "-p", steps]).await?;
        let plan = wait_step(&app, "3/3").await?;
        let weight = plan.status.and_then(|s| s.weight).map(|w| w.asked);
        ensure!(weight == Some(40), "{weight:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_person_can_release_past_the_plan_and_the_record_says_so() {
    with_app("emergency", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        let release = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;
        app.kubectl(&["patch", "deployment/web", "-p", release]).await?;
        app.wait_stable("v2").await.or_else(|_| anyhow::bail!("not followed"))?;
        app.wait_settled(4).await?;
        ensure!(results(&app).await? == [ReleaseResult::Bypassed]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_is_deleted_leaves_nothing_held_without_a_word() {
    with_app("unplan", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        // Made again from its own manifest, it carries out nothing that this remembers.
        app.request("pause").await?;
        app.wait_reason("PausedByRequest").await?;
        let manifest = app.kubectl(&["get", "releaseplan/web", "-o", "yaml"]).await?;
        let manifest = manifest.replace("trimtab.dev/request: pause:", "trimtab.dev/request: promote-full:");
        app.kubectl_with(&["replace", "--force", "-f", "-"], &manifest).await?;
        app.wait_event("RequestRefused").await?;
        let handled = wait_step(&app, "2/4").await?.status.and_then(|status| status.handled_request);
        ensure!(handled.as_ref().is_some_and(|text| text.starts_with("promote-full:")), "{handled:?}");
        // What it owns may stay when it goes: the held Deployment must not take the canary for its own, nor stable pods away for it.
        app.kubectl(&["delete", "releaseplan/web", "--cascade=orphan"]).await?;
        app.wait_event("HeldWithoutPlan").await?;
        app.apply(&app.plan_yaml()).await?;
        wait_step(&app, "2/4").await?;
        ensure!(watch.history().living(":v1").len() == 4, "stable pods went with the owner of the canary");
        ensure!(app.replica_sets().await?.len() == 2, "the canary was made a second time");
        app.api::<ReleasePlan>().delete("web", &DeleteParams::default()).await?;
        app.wait_event("HeldWithoutPlan").await?;
        app.wait_settled(4).await?;
        ensure!(watch.history().living(":v1").len() == 4, "something rolled by surprise");
        ensure!(app.is_held().await?, "the change was let go by surprise");
        // What the event tells people to do works.
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await?;
        app.kubectl(&["rollout", "resume", "deployment/web"]).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        eventually("no trace", Duration::from_secs(20), async || {
            let deployment = app.deployment().await?;
            Ok(deployment.annotations().keys().all(|name| !name.starts_with("trimtab.dev/")).then_some(()))
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_deployment_that_is_deleted_takes_its_canary_along() {
    with_app("undeploy", waiting(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.kubectl(&["delete", "deployment/web"]).await?;
        app.wait_reason("TargetNotFound").await?;
        app.wait_settled(0).await?;
        eventually("no ReplicaSet", Duration::from_secs(30), async || {
            Ok(app.replica_sets().await?.is_empty().then_some(()))
        })
        .await?;
        ensure!(results(&app).await? == [ReleaseResult::Cancelled]);
        // The same name again is another Deployment: its first rollout is not held.
        app.apply(&app.deployment_yaml("v3")).await?;
        app.wait_stable("v3").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn going_back_within_the_rollback_window_skips_the_steps() {
    with_app("window", Shape { steps: WAITS, plan: "rollbackWindow: 1", ..Shape::default() }, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        wait_step(&app, "2/4").await?;
        app.request("promote-full").await?;
        app.wait_stable("v2").await?;
        app.set_image("v1").await?;
        app.wait_stable("v1").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_failure_pauses_where_the_plan_says_so() {
    let shape = Shape { plan: "onFailure: Pause", ..Shape::default() };
    with_app("onfailure", shape, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("broken-crash").await?;
        app.wait_reason("FailedAndPaused").await?;
        ensure!(app.pods().await?.len() == 5, "the canary is kept to be looked at");
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await
    })
    .await;
}

#[tokio::test]
async fn records_are_kept_to_the_history_limit() {
    let shape = Shape { steps: "[]", plan: "historyLimit: 2\nrollbackWindow: 0", ..Shape::default() };
    with_app("history", shape, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        for tag in ["v2", "v3", "v1", "v2"] {
            app.set_image(tag).await?;
            app.wait_stable(tag).await?;
        }
        eventually("two records", Duration::from_secs(20), async || {
            let names: Vec<String> = app.releases().await?.iter().map(Release::name_any).collect();
            Ok((names == ["web-3", "web-4"]).then_some(()))
        })
        .await
    })
    .await;
}
