//! Requests to a Service while releases go on, on real pods behind a real kube-proxy. What is asserted: nothing that
//! Trimtab does makes a request fail which the same Deployment's plain rolling update would not.

use anyhow::{Result, ensure};
use trimtab_crds::Phase;
use trimtab_testkit::LoadReport;
use trimtab_tests::{Shape, pods_answer, with_app};

fn shape(with_plan: bool) -> Shape {
    // A canary of one, so that there is a promotion to abort in the middle of.
    let steps = "[{setWeight: 20}, {pause: {duration: 500ms}}]";
    Shape { max_surge: "1", max_unavailable: "0", steps, with_plan, min_ready: 1, ..Shape::default() }
}

/// Failures of the plain rolling update of the same Deployment.
async fn plain_rolling_update() -> LoadReport {
    let (send, receive) = tokio::sync::oneshot::channel();
    with_app("plain", shape(false), |app| async move {
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        let load = app.call().await?;
        app.set_image("v2").await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
        app.wait_settled(4).await?;
        // The receiver waits for exactly this.
        let _ = send.send(load.stop().await);
        Ok(())
    })
    .await;
    receive.await.expect("with_app panics where the test failed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_through_promotion_abort_and_undo() {
    if !pods_answer().await {
        return;
    }
    let plain = plain_rolling_update().await;
    println!("plain rolling update: {} answered, {} failed", plain.ok, plain.failed);
    with_app("load", shape(true), move |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        ensure!(app.condition("Drains").await? == "True", "the sample drains, and the plan does not see it");
        let judge = |what: &str, report: &LoadReport| -> Result<()> {
            println!("{what}: {} answered, {} failed, {:?}", report.ok, report.failed, report.by_version);
            ensure!(report.ok > 100, "{what}: hardly any request was made");
            ensure!(report.failed <= plain.failed, "{what}: {} requests failed: {:?}", report.failed, report.errors);
            Ok(())
        };
        let load = app.call().await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        app.wait_settled(4).await?;
        judge("promotion", &load.stop().await)?;

        let load = app.call().await?;
        app.set_image("v3").await?;
        app.wait_plan("the Deployment to roll", |plan| {
            plan.status.as_ref().is_some_and(|s| s.message.starts_with("rolling:"))
        })
        .await?;
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await?;
        judge("abort in mid-promotion", &load.stop().await)?;

        let load = app.call().await?;
        app.request("undo").await?;
        app.wait_stable("v2").await?;
        app.set_image("broken-crash").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.request("undo").await?;
        app.wait_stable("v2").await?;
        judge("undo, and a broken image", &load.stop().await)
    })
    .await;
}
