//! Nodes are drained, and pods evicted, in mid-release.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use trimtab_testkit::{Cluster, ClusterOptions, eventually};
use trimtab_tests::{App, Shape, cluster, with_app, with_app_on, workspace};

use super::{PATIENCE, check_promoted, mid_release, shape};

/// A cluster of its own: a node that is drained is missed by others.
async fn nodes() -> Result<Cluster> {
    let cluster = Cluster::start(ClusterOptions { name: "drained".to_owned(), ..ClusterOptions::default() }).await?;
    trimtab_testkit::apply_crds(&cluster, &workspace().join("crds")).await?;
    Ok(cluster)
}

const BUDGET: &str = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec:\n  \
                      maxUnavailable: 1\n  selector: {matchLabels: {app: web}}\n";

/// A pod of the canary.
async fn canary_pod(app: &App) -> Result<Pod> {
    let of_canary = |pod: &Pod| {
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()).and_then(|c| c.image.as_deref());
        image.is_some_and(|image| image.ends_with(":v2")) && pod.metadata.deletion_timestamp.is_none()
    };
    eventually("a pod of the canary", PATIENCE, async || {
        let running = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        Ok(app.pods().await?.into_iter().find(|pod| of_canary(pod) && running(pod)))
    })
    .await
}

#[tokio::test]
async fn a_release_goes_on_while_the_nodes_of_canary_and_stable_pods_are_drained() {
    if cluster().await.is_ok_and(|cluster| cluster.name() == "existing") {
        eprintln!("this test drains nodes, which is not for a cluster that others use");
        return;
    }
    let shape = Shape { replicas: 8, ..shape("15s") };
    with_app_on(nodes(), "drain", shape, |app| async move {
        app.apply(BUDGET).await?;
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        let moved = canary_pod(&app).await?;
        let node = moved.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("not scheduled")?;
        let drained = app.kubectl(&["drain", &node, "--ignore-daemonsets", "--timeout=60s"]).await?;
        println!("{drained}");
        ensure!(drained.contains(&format!("{}/{}", app.namespace(), moved.name_any())), "{drained}");
        check_promoted(&app).await?;
        let history = watch.history();
        println!("fewest available: {} of {}", history.fewest_available, app.shape.replicas);
        ensure!(history.fewest_available >= 7, "less than the budget allows: {}", history.fewest_available);
        let left = app
            .pods()
            .await?
            .into_iter()
            .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node));
        ensure!(left.count() == 0, "pods are left on the drained node");
        Ok(())
    })
    .await;
}

/// What a kubelet writes of a pod that it evicts because its node runs out of memory.
const PRESSURE: &str = r#"{"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet",
    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}"#;

/// What it writes of one that takes more than its own limit allows.
const OWN_FAULT: &str = r#"{"status": {"phase": "Failed", "reason": "Evicted",
    "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."}}"#;

#[tokio::test]
async fn a_canary_that_is_evicted_for_its_node_is_not_judged_by_that() {
    if !simulated().await {
        return;
    }
    with_app("evicted", shape("15s"), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        mid_release(&app).await?;
        let evicted = canary_pod(&app).await?.name_any();
        app.kubectl(&["patch", "pod", &evicted, "--subresource=status", "-p", PRESSURE]).await?;
        check_evicted(&app, &evicted).await?;
        app.wait_stable("v2").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_canary_that_takes_too_much_is_judged_by_its_eviction() {
    if !simulated().await {
        return;
    }
    with_app("greedy", shape("15s"), |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        mid_release(&app).await?;
        let evicted = canary_pod(&app).await?.name_any();
        app.kubectl(&["patch", "pod", &evicted, "--subresource=status", "-p", OWN_FAULT]).await?;
        app.wait_phase(trimtab_crds::Phase::TakenBack).await?;
        let releases = app.releases().await?;
        let said = format!("{:?}", releases.first().and_then(|release| release.status.as_ref()));
        ensure!(said.contains(&format!("pod {evicted} failed: Evicted")), "{said}");
        Ok(())
    })
    .await;
}

/// Another pod has come for an evicted one.
async fn check_evicted(app: &App, evicted: &str) -> Result<()> {
    eventually(
        "a pod in its place",
        PATIENCE,
        async || Ok((canary_pod(app).await?.name_any() != evicted).then_some(())),
    )
    .await
}

/// A real kubelet would write the status of its pods itself.
async fn simulated() -> bool {
    let is = cluster().await.is_ok_and(|cluster| cluster.nodes() == trimtab_testkit::Nodes::Simulated);
    if !is {
        println!("needs simulated nodes: `make test NODES=simulated`");
    }
    is
}
