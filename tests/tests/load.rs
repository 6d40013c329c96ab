//! Requests to a Service while releases go on, on real pods behind a real kube-proxy. What is asserted: nothing that
//! Trimtab does makes a request fail which the same Deployment's plain rolling update would not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use trimtab_crds::Phase;
use trimtab_testkit::{Load, LoadReport, Nodes, eventually, shared_cluster};
use trimtab_tests::{App, Shape, with_app};

/// Whether pods answer at all here. On simulated nodes there is nothing to call, and the test says so.
async fn pods_answer() -> bool {
    let real = shared_cluster().await.is_ok_and(|cluster| matches!(cluster.nodes(), Nodes::Real));
    if !real {
        println!("needs real nodes: `make test NODES=real`");
    }
    real
}

async fn call(app: &App) -> Result<Load> {
    let service = app.api::<Service>().get("web").await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
    let url = format!("http://{address}/");
    let load = Load::start(&url, 2)?;
    // Only what comes after the first answers counts: kube-proxy takes a moment to learn of a new Service.
    eventually("the Service to answer", Duration::from_secs(30), async || Ok((load.so_far().ok > 20).then_some(())))
        .await?;
    load.stop().await;
    Load::start(&url, 2)
}

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
        let load = call(&app).await?;
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
        let load = call(&app).await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        app.wait_settled(4).await?;
        judge("promotion", &load.stop().await)?;

        let load = call(&app).await?;
        app.set_image("v3").await?;
        app.wait_plan("the Deployment to roll", |plan| {
            plan.status.as_ref().is_some_and(|s| s.message.starts_with("rolling:"))
        })
        .await?;
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await?;
        judge("abort in mid-promotion", &load.stop().await)?;

        let load = call(&app).await?;
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
