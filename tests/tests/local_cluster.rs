//! The local cluster itself: that pods run on it, fail on it as their image says, and that the two can be told apart. Not a test of any
//! controller of ours.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use trimtab_testkit::{TestNamespace, eventually, shared_cluster, with_namespace};

const PATIENCE: Duration = Duration::from_secs(60);

fn deployment(name: &str, tag: &str, replicas: i32) -> Result<Deployment> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "app",
                    "image": format!("trimtab.local/sample:{tag}"),
                    "imagePullPolicy": "Never",
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    }))?)
}

async fn create(ns: &TestNamespace, name: &str, tag: &str, replicas: i32) -> Result<()> {
    ns.api::<Deployment>().create(&PostParams::default(), &deployment(name, tag, replicas)?).await?;
    Ok(())
}

#[tokio::test]
async fn a_deployment_of_a_good_image_becomes_available() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "local-good", async |ns| {
        create(&ns, "good", "v1", 3).await?;
        eventually("three available replicas", PATIENCE, async || {
            let status = ns.api::<Deployment>().get("good").await?.status.unwrap_or_default();
            Ok((status.available_replicas == Some(3)).then_some(()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_pod_of_a_crashing_image_is_seen_to_crash() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "local-crash", async |ns| {
        create(&ns, "bad", "broken-crash", 1).await?;
        eventually("a container that waits in a crash loop", PATIENCE, async || {
            let pods = ns.api::<Pod>().list(&ListParams::default().labels("app=bad")).await?;
            let statuses = pods.items.into_iter().filter_map(|p| p.status?.container_statuses).flatten();
            let crashed = |s: k8s_openapi::api::core::v1::ContainerStatus| {
                let reason = s.state.and_then(|s| s.waiting).and_then(|w| w.reason);
                reason.as_deref() == Some("CrashLoopBackOff") && s.restart_count >= 1 && !s.ready
            };
            Ok(statuses.map(crashed).any(|c| c).then_some(()))
        })
        .await
    })
    .await
}
