//! The local cluster itself: that pods run on it, fail on it as their image says, and that the two can be told apart. Not a test of any
//! controller of ours.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use trimtab_testkit::{ClusterOptions, Load, Nodes, TestNamespace, eventually, local, shared_cluster, with_namespace};

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
            Ok(statuses.into_iter().any(crashed).then_some(()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_rolling_update_on_a_real_node_fails_no_request() -> Result<()> {
    let cluster = shared_cluster().await?;
    if cluster.nodes() == Nodes::Simulated {
        eprintln!("simulated pods serve nothing, so there is nothing to ask");
        return Ok(());
    }
    let client = cluster.client().await?;
    with_namespace(&client, "local-rolling", async |ns| {
        let mut wanted = deployment("web", "v1", 3)?;
        let container = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 2}}}});
        create_patched(&ns, &mut wanted, container).await?;
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))?;
        let service = ns.api::<Service>().create(&PostParams::default(), &service).await?;
        rolled_out(&ns, "v1").await?;

        let address = service.spec.and_then(|s| s.cluster_ip).context("the Service has no address")?;
        let url = format!("http://{address}/");
        eventually("the Service to answer", PATIENCE, async || Ok(answers(&url).await.then_some(()))).await?;
        let load = Load::start(&url, 4)?;
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "trimtab.local/sample:v2"}]}}}});
        ns.api::<Deployment>().patch("web", &PatchParams::default(), &Patch::Strategic(image)).await?;
        rolled_out(&ns, "v2").await?;
        let report = load.stop().await;
        assert_eq!((report.failed, &report.errors), (0, &Vec::new()));
        assert!(report.by_version.contains_key("v1") && report.by_version.contains_key("v2"), "{report:?}");
        Ok(())
    })
    .await
}

/// Whether one request to the address succeeds.
async fn answers(url: &str) -> bool {
    let Ok(load) = Load::start(url, 1) else { return false };
    tokio::time::sleep(Duration::from_millis(50)).await;
    load.stop().await.ok > 0
}

async fn create_patched(ns: &TestNamespace, wanted: &mut Deployment, container: serde_json::Value) -> Result<()> {
    let mut raw = serde_json::to_value(&*wanted)?;
    let into = raw["spec"]["template"]["spec"]["containers"][0].as_object_mut().context("a container is an object")?;
    into.extend(container.as_object().cloned().unwrap_or_default());
    ns.api::<Deployment>().create(&PostParams::default(), &serde_json::from_value(raw)?).await?;
    Ok(())
}

/// Waits until only pods of this version are left, all ready.
async fn rolled_out(ns: &TestNamespace, tag: &str) -> Result<()> {
    let image = format!("trimtab.local/sample:{tag}");
    eventually("the roll-out's end", PATIENCE, async || {
        let deployment = ns.api::<Deployment>().get("web").await?;
        let wanted = deployment.spec.and_then(|s| s.replicas);
        let pods = ns.api::<Pod>().list(&ListParams::default().labels("app=web")).await?.items;
        let new =
            pods.iter().all(|p| p.spec.iter().flat_map(|s| &s.containers).all(|c| c.image.as_ref() == Some(&image)));
        Ok((new && deployment.status.and_then(|s| s.available_replicas) == wanted).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_named_cluster_stays_up_until_it_is_taken_down() -> Result<()> {
    shared_cluster().await?;
    let name = format!("self-{}", std::process::id());
    let options = ClusterOptions { name: name.clone(), nodes: Nodes::Simulated, node_count: 1, ..Default::default() };
    let handle = local::up(options.clone()).await?;
    let kubeconfig = handle.kubeconfig().to_owned();
    drop(handle);

    // The handle is gone and the cluster is not.
    let found = local::list()?.into_iter().find(|c| c.name == name).context("the list shows it")?;
    assert!(found.running && found.nodes == Nodes::Simulated && found.kubeconfig == kubeconfig);
    local::up(options).await?.client().await?.apiserver_version().await?;
    let refused = local::load_image(&name, std::path::Path::new("any.tar")).await.map_err(|e| e.to_string());
    assert!(refused.is_err_and(|e| e.contains("simulated")));

    local::down(&name).await?;
    assert!(local::kubeconfig(&name).is_err() && !kubeconfig.exists());
    local::down(&name).await
}
