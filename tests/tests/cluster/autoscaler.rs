//! Autoscalers on a cluster: sizes follow what a feed says, wake and sleep, hold where nothing is known, stay with what else
//! scales, and stay through releases. The arithmetic has tests of its own beside it; here the world is what is looked at.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt, stream};
use serde_json::Value;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Feed, Rush, Shape, Sizes, kills, with_app};

const PATIENCE: Duration = Duration::from_secs(90);
const ONLY: &str = "--controllers=scale";

fn unplanned(replicas: i32) -> Shape {
    Shape { with_plan: false, replicas, ..Shape::default() }
}

/// An autoscaler of Deployment web by a feed, 50 for each pod, that decides each second.
fn yaml(feed: &Feed, more: &str) -> String {
    let address = feed.address();
    let mut text = format!(
        "apiVersion: trimtab.dev/v1alpha1\nkind: Autoscaler\nmetadata: {{name: web}}\nspec:\n  \
         targetRef: {{kind: Deployment, name: web}}\n  interval: 1s\n  \
         metrics:\n  - type: Prometheus\n    prometheus: {{name: rps, address: \"{address}\", query: sum(rps), \
         target: {{type: AverageValue, averageValue: \"50\"}}}}\n"
    );
    for line in more.lines() {
        text += &format!("  {}\n", line.trim());
    }
    text
}

async fn status(app: &App) -> Result<Value> {
    let text = app.kubectl(&["get", "autoscaler/web", "-o", "json"]).await?;
    Ok(serde_json::from_str::<Value>(&text)?["status"].take())
}

async fn size(app: &App) -> Result<i32> {
    Ok(app.deployment().await?.spec.and_then(|spec| spec.replicas).unwrap_or(1))
}

async fn wait_size(app: &App, wanted: i32) -> Result<()> {
    eventually(&format!("{wanted} replicas"), PATIENCE, async || {
        let found = size(app).await?;
        ensure!(found == wanted, "{found} replicas; {}", status(app).await?["message"]);
        Ok(Some(()))
    })
    .await
}

async fn wait_reason(app: &App, condition: &str, reason: &str) -> Result<String> {
    eventually(&format!("{condition} to say {reason}"), PATIENCE, async || {
        let status = status(app).await?;
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|c| c["type"] == condition);
        let told = found.map(|c| (c["reason"].as_str().unwrap_or_default().to_owned(), c["message"].to_string()));
        match told {
            Some((found, message)) if found == reason => Ok(Some(message)),
            other => anyhow::bail!("it says {other:?}"),
        }
    })
    .await
}

/// Waits until so many decisions were made on answers that came after now.
async fn decisions(feed: &Feed, count: usize) -> Result<()> {
    let before = feed.asked();
    eventually("more questions", PATIENCE, async || Ok((feed.asked() >= before + count).then_some(()))).await
}

#[tokio::test]
async fn the_size_follows_the_load_sleeps_and_wakes_in_one_write() {
    with_app("scale-follow", unplanned(2), |app| async move {
        let feed = Feed::start("240").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        let sizes = Sizes::watch(app.api(), "web");
        let more =
            "minReplicas: 0\nmaxReplicas: 20\ncoolDown: 2s\nbehavior: {scaleDown: {stabilizationWindowSeconds: 2}}";
        app.apply(&yaml(&feed, more)).await?;
        wait_size(&app, 5).await?;
        feed.set("60");
        wait_size(&app, 2).await?;
        feed.set("0");
        wait_size(&app, 0).await?;
        feed.set("420");
        wait_size(&app, 9).await?;
        let seen = sizes.up_to(9).await?;
        ensure!(seen.ends_with(&[0, 9]), "it did not wake in one write: {seen:?}");
        let told = wait_reason(&app, "Ready", "Scaling").await?;
        ensure!(told.contains("follows"), "{told}");
        let status = status(&app).await?;
        ensure!(status["decision"]["stages"].as_array().is_some_and(|stages| stages.len() >= 4), "{status}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_not_known_takes_no_pod_away() {
    with_app("scale-unknown", unplanned(4), |app| async move {
        let feed = Feed::start("none").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        let sizes = Sizes::watch(app.api(), "web");
        let more = "maxReplicas: 9\nbehavior: {scaleDown: {stabilizationWindowSeconds: 0}}\nfallback: {after: 15s, replicas: 6}";
        app.apply(&yaml(&feed, more)).await?;
        for (answer, code) in
            [("none", "NoMetrics"), ("NaN", "NotANumber"), ("error", "Unreachable"), ("+Inf", "NotANumber")]
        {
            feed.set(answer);
            eventually(&format!("{code} to be told"), PATIENCE, async || {
                let status = status(&app).await?;
                let found = status["decision"]["metrics"][0].to_string();
                ensure!(found.contains(code), "{found}");
                Ok(Some(()))
            })
            .await?;
        }
        // After a time of which the clock tells, more are assumed to be needed, and never fewer.
        wait_size(&app, 6).await?;
        ensure!(sizes.up_to(6).await? == [4, 6], "more than these sizes");
        feed.set("100");
        wait_size(&app, 2).await
    })
    .await;
}

/// Plays one change of size with a process that is killed at this write of it.
async fn change_with(fault: String) {
    let name = format!("scale-{}", fault.replace(':', "-"));
    with_app(&name, unplanned(2), move |app| async move {
        let feed = Feed::start("200").await?;
        let more = "maxReplicas: 20\nbehavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1800}]}}";
        app.apply(&yaml(&feed, more)).await?;
        let mut doomed = app.manager_with(Some(&fault), &[ONLY])?;
        eventually("the fault, or the change", PATIENCE, async || {
            Ok((doomed.ended()? || size(&app).await? == 3).then_some(()))
        })
        .await?;
        drop(doomed);
        let _manager = app.manager_with(None, &[ONLY])?;
        wait_size(&app, 3).await?;
        wait_reason(&app, "ScalingLimited", "ScaleUpLimit").await?;
        decisions(&feed, 3).await?;
        let status = status(&app).await?;
        let ups = &status["history"]["ups"];
        ensure!(ups.as_array().is_some_and(|ups| ups.len() == 1), "changes: {ups}");
        ensure!(size(&app).await? == 3, "the limit of one pod in half an hour was forgotten");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_size_counts_once_when_the_process_dies_at_any_write_of_it() {
    stream::iter(kills(3)).for_each_concurrent(4, change_with).await;
}

#[tokio::test]
async fn what_else_scales_the_target_is_named_and_left_alone() {
    with_app("scale-contested", unplanned(3), |app| async move {
        let feed = Feed::start("500").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        app.kubectl(&["autoscale", "deployment/web", "--min=3", "--max=3", "--cpu=80%"]).await?;
        app.apply(&yaml(&feed, "maxReplicas: 20")).await?;
        let told = wait_reason(&app, "Ready", "OtherAutoscaler").await?;
        ensure!(told.contains("HorizontalPodAutoscaler web"), "{told}");
        decisions(&feed, 3).await?;
        ensure!(size(&app).await? == 3, "two set one size");
        // The rule for an autoscaler without behaviour: at most double in one step.
        ensure!(status(&app).await?["desiredReplicas"] == 6, "it does not say what it would set");
        app.kubectl(&["delete", "hpa/web"]).await?;
        wait_size(&app, 10).await
    })
    .await;
}

#[tokio::test]
async fn recommending_writes_nothing_but_the_status() {
    with_app("scale-recommend", unplanned(3), |app| async move {
        let feed = Feed::start("500").await?;
        let limited = format!("--namespaces={}", app.namespace());
        // The same address for both: metrics are served beside the rest.
        let (admin, metrics) = ("--admin-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0");
        let flags = [ONLY, "--leader-elect=false", admin, metrics, &limited];
        let manager = app.manager_exactly(None, &flags)?;
        let sizes = Sizes::watch(app.api(), "web");
        app.apply(&yaml(&feed, "maxReplicas: 20\nmode: Recommend")).await?;
        wait_reason(&app, "Ready", "Recommending").await?;
        decisions(&feed, 3).await?;
        ensure!(sizes.up_to(3).await? == [3], "more than these sizes");
        let status = status(&app).await?;
        ensure!(status["desiredReplicas"] == 6, "the HPA's rule allows double: {status}");
        let (_, metrics) = manager.get("/metrics").await?;
        for (name, value) in [("desired_replicas", 6), ("current_replicas", 3), ("ready", 1)] {
            let labels = format!("{{namespace=\"{}\",name=\"web\"}}", app.namespace());
            let line = format!("trimtab_autoscaler_{name}{labels} {value}");
            ensure!(metrics.contains(&line), "{line} is not among the metrics: {metrics}");
        }
        Ok(())
    })
    .await;
}

/// A release with steps, promoted and taken back, under a load that stays the same: not one write of the size.
#[tokio::test]
async fn a_constant_load_moves_no_size_through_releases() {
    let shape = Shape { replicas: 10, min_ready: 1, ..Shape::default() };
    with_app("scale-release", shape, |app| async move {
        let feed = Feed::start("525").await?;
        let _manager = app.manager_with(None, &["--controllers=release,scale"])?;
        let more = "maxReplicas: 40\nbehavior: {scaleDown: {stabilizationWindowSeconds: 0}}";
        app.apply(&yaml(&feed, more)).await?;
        wait_reason(&app, "Ready", "Scaling").await?;
        app.wait_stable("v1").await?;
        let sizes = Sizes::watch(app.api(), "web");
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        app.set_image("v3").await?;
        app.wait_plan("a canary", |plan| plan.status.as_ref().is_some_and(|s| s.release.is_some())).await?;
        app.request("abort").await?;
        app.wait_plan("an end", |plan| plan.status.as_ref().is_some_and(|s| s.release.is_none())).await?;
        decisions(&feed, 3).await?;
        ensure!(sizes.up_to(10).await? == [10], "more than these sizes");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn schedules_set_sizes_without_any_load() {
    with_app("scale-schedule", unplanned(2), |app| async move {
        let feed = Feed::start("50").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        let always = "schedules:\n- {name: now, start: \"* * * * *\", duration: 30s, timeZone: Europe/Berlin, replicas: 7}\n\
                      - {name: bad, start: \"0 0 31 2 *\", duration: 1h, timeZone: Mars/Base, minReplicas: 1}";
        app.apply(&yaml(&feed, &format!("maxReplicas: 20\n{always}"))).await?;
        wait_size(&app, 7).await?;
        let told = wait_reason(&app, "SchedulesValid", "InvalidSchedule").await?;
        ensure!(told.contains("bad"), "{told}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_refused_or_told_with_the_remedy() {
    with_app("scale-mistakes", unplanned(1), |app| async move {
        let feed = Feed::start("50").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        let good = yaml(&feed, "maxReplicas: 5");
        for (wrong, told) in [
            (good.replace("maxReplicas: 5", "maxReplicas: 5\n  minReplicas: 6"), "minReplicas is above maxReplicas"),
            (good.replace("averageValue: \"50\"", "averageValue: \"0\""), "a target is above 0"),
            (good.replace("type: AverageValue, ", "type: Value, "), "a target has the field that its type names"),
            (good.replace("type: Prometheus", "type: External"), "the source of a metric is the field"),
            (good.replace("interval: 1s", "interval: soon"), "spec.interval"),
        ] {
            let refused = app.apply(&wrong).await;
            let text = refused.map_or_else(|error| format!("{error:#}"), |_| "taken".to_owned());
            ensure!(text.contains(told), "{wrong}: {text}");
        }
        app.apply(&good.replace("kind: Deployment", "kind: DaemonSet")).await?;
        let told = wait_reason(&app, "Ready", "FailedGetScale").await?;
        ensure!(told.contains("no scale subresource"), "{told}");
        app.kubectl(&["delete", "autoscaler/web"]).await?;
        app.apply(&good.replace("name: web}\n  interval", "name: gone}\n  interval")).await?;
        let told = wait_reason(&app, "Ready", "FailedGetScale").await?;
        ensure!(told.contains("there is no Deployment gone"), "{told}");
        Ok(())
    })
    .await;
}

/// Waits for the pods of the rush: ten take it, and the upper end of what is expected is a little above it.
async fn expected(app: &App) -> Result<String> {
    eventually("10 replicas, or a few more", PATIENCE, async || {
        let (found, told) = (size(app).await?, status(app).await?["message"].to_string());
        ensure!((10..=12).contains(&found), "{found} replicas; {told}");
        Ok(Some(told))
    })
    .await
}

/// Three weeks in which every day had its rush: the pods are there before it begins again, though the load is still small.
#[tokio::test]
async fn pods_are_there_before_the_rush_of_every_day() {
    with_app("scale-forecast", unplanned(2), |app| async move {
        let feed = Feed::start("100").await?;
        let begins = jiff::Timestamp::now().as_second() + 600;
        feed.set_past(Rush { begins, high: 500.0, low: 100.0 });
        let _manager = app.manager_with(None, &[ONLY])?;
        let more = "maxReplicas: 20\nforecast: {metric: rps, seasons: [24h], horizon: 30m}";
        app.apply(&yaml(&feed, more)).await?;
        let told = wait_reason(&app, "ForecastActive", "ForecastActive").await?;
        let told = format!("{told}; {}", expected(&app).await?);
        let status = status(&app).await?;
        let stages = status["decision"]["stages"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| stages.iter().find(|stage| stage["stage"] == name).map(|stage| stage["replicas"].clone());
        ensure!(of("Combined") == Some(2.into()), "the load alone asks for {:?}; {told}", of("Combined"));
        ensure!(
            of("Forecast").is_some_and(|asked| asked.as_i64() >= Some(10)),
            "the forecast asks for too few: {told}"
        );
        // It is a floor: what there really is can ask for more.
        feed.set("800");
        wait_size(&app, 16).await
    })
    .await;
}

/// Something that writes the size again and again, as a tool does that keeps a cluster like a repository, is named.
#[tokio::test]
async fn who_overwrites_the_size_is_named() {
    with_app("scale-overwritten", unplanned(2), |app| async move {
        let feed = Feed::start("250").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        app.apply(&yaml(&feed, "maxReplicas: 20")).await?;
        let told = eventually("the other to be named", PATIENCE, async || {
            wait_size(&app, 5).await?;
            let patch = r#"{"spec":{"replicas":2}}"#;
            app.kubectl(&["patch", "deployment/web", "--field-manager=argocd-controller", "-p", patch]).await?;
            let status = status(&app).await?;
            let all = status["conditions"].as_array().cloned().unwrap_or_default();
            let found = all.into_iter().find(|c| c["type"] == "Contested" && c["status"] == "True");
            Ok(found.map(|c| c.to_string()))
        })
        .await?;
        ensure!(told.contains("ReplicasOverwritten") && told.contains("argocd-controller"), "{told}");
        wait_size(&app, 5).await
    })
    .await;
}

/// Identical queries are one question, however many ask.
#[tokio::test]
async fn what_many_ask_is_measured_once() {
    with_app("scale-many", unplanned(1), |app| async move {
        let feed = Feed::start("100").await?;
        let one = yaml(&feed, "maxReplicas: 5\nmode: Recommend");
        let many: Vec<String> =
            (0..20).map(|i| one.replace("metadata: {name: web}", &format!("metadata: {{name: web-{i}}}"))).collect();
        app.apply(&many.join("---\n")).await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        let started = std::time::Instant::now();
        decisions(&feed, 5).await?;
        // One a second, and one for a moment in which two seconds meet.
        let seconds = usize::try_from(started.elapsed().as_secs())? + 2;
        ensure!(feed.asked() <= 2 * seconds, "{} questions in {seconds} s", feed.asked());
        Ok(())
    })
    .await;
}

/// A server that does not answer is unknown to those that ask it, and nobody else waits for it.
#[tokio::test]
async fn a_server_that_hangs_delays_only_its_own() {
    with_app("scale-slow", unplanned(1), |app| async move {
        let (quick, slow) = (Feed::start("200").await?, Feed::start("slow").await?);
        let _manager = app.manager_with(None, &[ONLY])?;
        app.apply(&yaml(&quick, "maxReplicas: 9")).await?;
        let other =
            yaml(&slow, "maxReplicas: 9\nmode: Recommend").replace("metadata: {name: web}", "metadata: {name: slow}");
        app.apply(&other).await?;
        wait_size(&app, 4).await?;
        quick.set("300");
        wait_size(&app, 6).await?;
        eventually("the other one to say so", PATIENCE, async || {
            let text =
                app.kubectl(&["get", "autoscaler/slow", "-o", "jsonpath={.status.decision.metrics[0].reason}"]).await?;
            ensure!(text == "Unreachable", "it says {text:?}");
            Ok(Some(()))
        })
        .await
    })
    .await;
}

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.tests.trimtab.dev}
spec:
  group: tests.trimtab.dev
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

#[tokio::test]
async fn anything_with_a_scale_can_be_a_target() {
    with_app("scale-custom", unplanned(1), |app| async move {
        app.apply(WIDGETS).await?;
        app.kubectl(&["wait", "--for=condition=Established", "crd/widgets.tests.trimtab.dev", "--timeout=60s"]).await?;
        let widget = "apiVersion: tests.trimtab.dev/v1\nkind: Widget\nmetadata: {name: web}\nspec: {replicas: 2}\n";
        eventually("a widget", PATIENCE, async || Ok(app.apply(widget).await.ok())).await?;
        let feed = Feed::start("250").await?;
        let _manager = app.manager_with(None, &[ONLY])?;
        let custom = "targetRef: {apiVersion: tests.trimtab.dev/v1, kind: Widget, name: web}";
        app.apply(&yaml(&feed, "maxReplicas: 9").replace("targetRef: {kind: Deployment, name: web}", custom)).await?;
        // Nobody grants a manager the kinds of others beforehand; what is refused says how.
        let told = wait_reason(&app, "Ready", "FailedGetScale").await?;
        ensure!(
            told.contains("apiGroups: [tests.trimtab.dev], resources: [widgets/scale], verbs: [get, patch]"),
            "{told}"
        );
        app.grant("widgets", "tests.trimtab.dev", "widgets/scale", &["get", "patch"]).await?;
        eventually("5 replicas", PATIENCE, async || {
            let size = app.kubectl(&["get", "widget/web", "-o", "jsonpath={.spec.replicas}"]).await?;
            ensure!(size == "5", "{size} replicas; {}", status(&app).await?["message"]);
            Ok(Some(()))
        })
        .await
    })
    .await;
}
