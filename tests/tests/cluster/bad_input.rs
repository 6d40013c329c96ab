//! Bad input and awkward moments: each gets a condition that says what to do, and harms nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use trimtab_crds::Phase;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, message, with_app};

/// The API server refuses a plan, with a message that says how to mend it.
async fn check_refused(app: &App, yaml: &str, part: &str) -> Result<()> {
    let error = app.apply(yaml).await.err().map(|e| e.to_string()).unwrap_or_default();
    ensure!(error.contains(part), "{yaml}: expected {part:?}, got {error:?}");
    Ok(())
}

#[tokio::test]
async fn the_api_server_refuses_steps_that_make_no_sense() {
    with_app("refused", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        let plan = |steps: &str| {
            let shape = Shape { steps: Box::leak(steps.to_owned().into_boxed_str()), ..app.shape.clone() };
            let mut other = app.clone();
            other.shape = shape;
            other.plan_yaml()
        };
        check_refused(&app, &plan("[{setWeight: 50}, {setWeight: 20}]"), "weights of the steps must not fall").await?;
        check_refused(&app, &plan("[{setWeight: 0}]"), "greater than or equal to 1").await?;
        check_refused(&app, &plan("[{setWeight: 101}]"), "less than or equal to 100").await?;
        check_refused(&app, &plan("[{setWeight: 20, pause: {}}]"), "exactly one of setWeight").await?;
        check_refused(&app, &plan("[{}]"), "exactly one of setWeight").await?;
        check_refused(&app, &plan("[{pause: {duration: soon}}]"), "should match").await?;
        app.apply(&plan("[]")).await?;
        let other = plan("[]").replace("targetRef: {name: web}", "targetRef: {name: other}");
        check_refused(&app, &other, "the target of a plan does not change").await
    })
    .await;
}

#[tokio::test]
async fn a_plan_without_its_target_waits_and_begins_when_it_comes() {
    with_app("notarget", Shape::default(), |app| async move {
        app.kubectl(&["delete", "deployment/web"]).await?;
        let _manager = app.manager()?;
        let plan = app.wait_reason("TargetNotFound").await?;
        ensure!(message(&plan).contains("create it"), "{}", message(&plan));
        app.apply(&app.deployment_yaml("v2")).await?;
        app.wait_stable("v2").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_second_plan_says_so_and_harms_nothing() {
    with_app("second", Shape::default(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let second = app.plan_yaml().replace("metadata: {name: web}", "metadata: {name: again}");
        app.apply(&second).await?;
        eventually("the second plan's condition", Duration::from_secs(20), async || {
            let reason = app
                .kubectl(&[
                    "get",
                    "releaseplan/again",
                    "-o",
                    "jsonpath={.status.conditions[0].reason}{.status.message}",
                ])
                .await?;
            Ok(reason.contains("SecondPlanReleasePlan web already releases").then_some(()))
        })
        .await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn recreate_is_refused_and_not_held() {
    with_app("recreate", Shape::default(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let strategy =
            |value: &str| format!(r#"[{{"op":"replace","path":"/spec/strategy","value":{{"type":"{value}"}}}}]"#);
        app.kubectl(&["patch", "deployment/web", "--type=json", "-p", &strategy("Recreate")]).await?;
        let plan = app.wait_reason("UnsupportedStrategy").await?;
        ensure!(message(&plan).contains("RollingUpdate"), "{}", message(&plan));
        app.set_image("v2").await?;
        ensure!(!app.is_held().await?, "a Deployment with Recreate is held");
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        // What Trimtab let go is nobody's opt-out.
        app.kubectl(&["patch", "deployment/web", "--type=json", "-p", &strategy("RollingUpdate")]).await?;
        app.wait_stable("v2").await?;
        app.set_image("v3").await?;
        ensure!(app.is_held().await?, "a Deployment that rolls again is not held");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_a_deployment_without_replicas_is_tried_when_it_wakes() {
    with_app("zero", Shape { replicas: 0, ..Shape::default() }, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        let plan = app.wait_reason("ScaledToZero").await?;
        ensure!(app.releases().await?.is_empty() && app.is_held().await?, "released untried: {}", message(&plan));
        app.kubectl(&["scale", "deployment/web", "--replicas=2"]).await?;
        app.wait_stable("v2").await?;
        app.wait_settled(2).await?;
        app.request("undo").await?;
        app.wait_stable("v1").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_persons_own_pause_is_respected_and_named() {
    with_app("paused", Shape::default(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.kubectl(&["rollout", "pause", "deployment/web"]).await?;
        app.set_image("v2").await?;
        let plan = app.wait_plan("the reason", |plan| message(plan).contains("kubectl rollout resume")).await?;
        ensure!(plan.status.as_ref().is_some_and(|s| s.release.is_none()), "released in spite of the pause");
        app.kubectl(&["rollout", "resume", "deployment/web"]).await?;
        app.wait_stable("v2").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_in_mid_rollout_is_held_and_a_person_is_asked() {
    with_app("midroll", Shape { with_plan: false, min_ready: 500, ..Shape::default() }, |app| async move {
        // A rollout that cannot end: pods count as available only after ten minutes.
        app.wait_settled(4).await?;
        app.set_image("v2").await?;
        eventually("two ReplicaSets", Duration::from_secs(20), async || {
            Ok((app.replica_sets().await?.len() == 2).then_some(()))
        })
        .await?;
        let _manager = app.manager()?;
        app.apply(&app.plan_yaml()).await?;
        app.wait_reason("FirstRollout").await?;
        eventually("the guard", Duration::from_secs(20), async || {
            Ok(app.deployment().await?.annotations().contains_key("trimtab.dev/plan").then_some(()))
        })
        .await?;
        app.set_image("v3").await?;
        let plan = app.wait_reason("MidRollout").await?;
        ensure!(message(&plan).contains("promote --full"), "{}", message(&plan));
        ensure!(app.is_held().await?, "the change in mid-rollout was not held");
        app.request("promote-full").await?;
        app.wait_phase(Phase::Promoting).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_exhausted_quota_is_named_and_stable_is_not_touched() {
    with_app("quota", Shape { plan: "progressDeadline: 6s", ..Shape::default() }, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {pods: '4'}}\n").await?;
        eventually("the quota to count", Duration::from_secs(20), async || {
            let used = app.kubectl(&["get", "quota", "q", "-o", "jsonpath={.status.used.pods}"]).await?;
            Ok((used == "4").then_some(()))
        })
        .await?;
        app.set_image("v2").await?;
        app.wait_plan("the quota's name", |plan| message(plan).contains("exceeded quota")).await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await
    })
    .await;
}

#[tokio::test]
async fn hostile_annotations_harm_nothing() {
    with_app("hostile", Shape::default(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let noise = "x".repeat(3000);
        for value in ["../../etc", "{}", "'", "\u{202e}\u{0}abc".trim_end_matches('c'), "日本語", noise.as_str()] {
            let value = value.replace('\u{0}', "");
            app.kubectl(&["annotate", "--overwrite", "releaseplan/web", &format!("trimtab.dev/request={value}")])
                .await?;
            app.kubectl(&["annotate", "--overwrite", "deployment/web", &format!("trimtab.dev/held={value}")]).await?;
            app.kubectl(&["annotate", "--overwrite", "deployment/web", &format!("trimtab.dev/plan={value}")]).await?;
        }
        app.wait_stable("v1").await?;
        eventually(
            "the hold to be lifted",
            Duration::from_secs(30),
            async || Ok((!app.is_held().await?).then_some(())),
        )
        .await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn opting_out_lets_changes_roll_at_once() {
    with_app("optout", Shape::default(), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await?;
        app.wait_reason("OptedOut").await?;
        app.set_image("v2").await?;
        ensure!(!app.is_held().await?, "held in spite of opting out");
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan=web"]).await?;
        app.wait_stable("v2").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn canary_pods_that_become_unready_before_promotion_stop_it() {
    with_app(
        "flip",
        Shape {
            steps: "[{setWeight: 50}, {pause: {}}]",
            max_surge: "0",
            max_unavailable: "1",
            plan: "progressDeadline: 4s",
            ..Shape::default()
        },
        |app| async move {
            if app.real {
                println!("readiness is flipped by annotation, which only simulated nodes heed");
                return Ok(());
            }
            let _manager = app.manager()?;
            app.wait_stable("v1").await?;
            let watch = app.watch_pods().await?;
            let stable = watch.history().living(":v1");
            app.set_image("v2").await?;
            app.wait_reason("WaitingForPromotion").await?;
            watch.judge_from_now();
            for pod in app.pods().await? {
                if pod.spec.as_ref().is_some_and(|s| {
                    s.containers.iter().any(|c| c.image.as_deref().is_some_and(|i| i.ends_with(":v2")))
                }) {
                    app.kubectl(&["annotate", "pod", &pod.name_any(), "trimtab.dev/simulate=unready"]).await?;
                }
            }
            app.request("promote-full").await?;
            app.wait_phase(Phase::TakenBack).await?;
            app.wait_settled(4).await?;
            let history = watch.history();
            ensure!(history.living(":v1") == stable, "stable pods were removed for canary pods that do not serve");
            ensure!(history.fewest_available >= 3, "only {} were available", history.fewest_available);
            Ok(())
        },
    )
    .await;
}
