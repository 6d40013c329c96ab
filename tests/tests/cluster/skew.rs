//! A manager that meets what a newer version wrote: it says so, releases nothing by half of what is asked for, and writes over
//! nothing that it does not know. The CRD of the newer version is played by one that lets anything through.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use trimtab_crds::Phase;
use trimtab_testkit::{Cluster, ClusterOptions, eventually};
use trimtab_tests::{App, Shape, cluster, with_app_on, workspace};

const PATIENCE: Duration = Duration::from_secs(60);

/// Lets anything through, in spec and status.
const LAX: &str = r#"[
    {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
     "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status",
     "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]"#;

async fn newer_cluster() -> Result<Cluster> {
    let cluster = Cluster::start(ClusterOptions { name: "skew".to_owned(), ..ClusterOptions::default() }).await?;
    trimtab_testkit::apply_crds(&cluster, &workspace().join("crds")).await?;
    Ok(cluster)
}

/// The plan as it is stored, with what no type of this version knows.
async fn stored(app: &App) -> Result<Value> {
    Ok(serde_json::from_str(&app.kubectl(&["get", "releaseplan/web", "-o", "json"]).await?)?)
}

/// Patches what a newer version would have written, once the CRD lets it through.
async fn put(app: &App, subresource: &[&str], patch: &str, kept: &str) -> Result<()> {
    eventually("the newer CRD", PATIENCE, async || {
        let arguments: Vec<&str> = ["patch", "releaseplan/web", "--type=merge", "-p", patch]
            .into_iter()
            .chain(subresource.iter().copied())
            .collect();
        let done = app.kubectl(&arguments).await;
        let there = stored(app).await?.pointer(kept).is_some();
        if done.is_ok() && there { Ok(Some(())) } else { bail!("{done:?}") }
    })
    .await
}

#[tokio::test]
async fn a_newer_plan_is_held_with_a_word_and_a_newer_status_is_not_written_over() {
    if cluster().await.is_ok_and(|cluster| cluster.name() == "existing") {
        eprintln!("this test loosens a CRD, which is not for a cluster that others use");
        return;
    }
    let shape = Shape { steps: "[{setWeight: 20}, {pause: {}}]", ..Shape::default() };
    with_app_on(newer_cluster(), "skew", shape, |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.kubectl(&["patch", "crd/releaseplans.trimtab.dev", "--type=json", "-p", LAX]).await?;
        // In mid-release a newer manager has written more than this one knows, and this one takes over.
        app.set_image("v2").await?;
        app.wait_phase(Phase::Paused).await?;
        manager.kill()?;
        let more = r#"{"status": {"traffic": {"weight": 20}, "release": {"analysis": {"runs": 2}}}}"#;
        put(&app, &["--subresource=status"], more, "/status/release/analysis").await?;
        let manager = app.manager()?;
        app.request("promote").await?;
        app.wait_stable("v2").await?;
        let status = stored(&app).await?["status"].take();
        ensure!(status["traffic"]["weight"] == 20, "it was written over: {status}");
        ensure!(status.get("release").is_none(), "what belongs to a release outlived it: {status}");
        // A plan that asks for more than this version knows.
        put(&app, &[], r#"{"spec": {"traffic": {"httpRoute": {"name": "web"}}}}"#, "/spec/traffic").await?;
        app.wait_reason("NewerPlan").await?;
        app.set_image("v3").await?;
        let plan = app.wait_reason("NewerPlan").await?;
        ensure!(app.is_held().await? && app.replica_sets().await?.len() == 2, "it is released by half");
        let message = plan.status.context("no status")?.message;
        ensure!(message.contains("does not know spec.traffic"), "{message}");
        ensure!(stored(&app).await?.pointer("/spec/traffic").is_some(), "it was taken out");
        // A step of another kind, and then a version that knows it all.
        let steps = r#"{"spec": {"traffic": null, "strategy": {"canary": {"steps": [{"setWeight": 20}, {"analysis": {"checks": [{"name": "a"}]}}]}}}}"#;
        put(&app, &[], steps, "/spec/strategy/canary/steps/1/analysis").await?;
        app.wait_plan("the step to be named", |plan| {
            plan.status.as_ref().is_some_and(|s| s.message.contains("spec.strategy.canary.steps[1].analysis"))
        })
        .await?;
        ensure!(app.is_held().await?, "it is released without its check");
        // A phase that is not known: nothing is done, and nothing but the word is written.
        put(&app, &["--subresource=status"], r#"{"status": {"phase": "Analysing"}}"#, "/status/traffic").await?;
        eventually("the plan to be told", PATIENCE, async || {
            let status = stored(&app).await?["status"].take();
            let said = status["message"].as_str().unwrap_or_default().contains("run the version of Trimtab that wrote it");
            if said && status["phase"] == "Analysing" && status["traffic"]["weight"] == 20 { Ok(Some(())) } else { bail!("{status}") }
        })
        .await?;
        drop(manager);
        Ok(())
    })
    .await;
}
