//! What runs beside a local cluster when it is asked for: that metrics-server and Prometheus tell what pods use and count, on both kinds of
//! nodes, and that they end with the cluster. Not a test of any controller of ours. Each test has a cluster of its own, for the shared one
//! runs without them; where they are not built yet, that takes minutes.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;
use trimtab_testkit::{
    Cluster, ClusterOptions, Extra, Load, Nodes, TestNamespace, choose_nodes, eventually, with_namespace,
};

const PATIENCE: Duration = Duration::from_secs(90);

fn options(nodes: Nodes) -> ClusterOptions {
    let with = vec![Extra::Metrics, Extra::Prometheus];
    ClusterOptions { name: "measured".into(), nodes, node_count: 2, with, ..Default::default() }
}

/// A Deployment of the sample with these annotations on its pods.
async fn deploy(ns: &TestNamespace, annotations: serde_json::Value) -> Result<()> {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": annotations},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "app",
                    "image": "trimtab.local/sample:v1",
                    "imagePullPolicy": "Never",
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    }))?;
    ns.api::<Deployment>().create(&PostParams::default(), &deployment).await?;
    Ok(())
}

/// The only pod, once it is ready.
async fn ready_pod(ns: &TestNamespace) -> Result<Pod> {
    eventually("a ready pod", PATIENCE, async || {
        let pods = ns.api::<Pod>().list(&ListParams::default().labels("app=web")).await?.items;
        let ready = |p: &Pod| {
            let conditions = p.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Ok(pods.into_iter().find(ready))
    })
    .await
}

/// The CPU use of the first container of the first pod as metrics.k8s.io has it, in thousandths of a CPU; none before its first sample.
async fn measured(client: &Client, namespace: &str) -> Result<Option<f64>> {
    let kind =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics"), "pods");
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let Some(pod) = pods.list(&ListParams::default()).await?.items.into_iter().next() else { return Ok(None) };
    let usage = pod.data["containers"][0]["usage"]["cpu"].as_str().context("a sample says how much CPU")?.to_owned();
    let scales = [("n", 1e-6), ("u", 1e-3), ("m", 1.0), ("", 1000.0)];
    let read = |(unit, scale): (&str, f64)| Some(usage.strip_suffix(unit)?.parse::<f64>().ok()? * scale);
    scales.into_iter().find_map(read).with_context(|| format!("`{usage}` is a quantity")).map(Some)
}

/// The value of a query, once there is one and it is as wanted.
async fn queried(cluster: &Cluster, promql: &str, wanted: impl Fn(f64) -> bool) -> Result<f64> {
    eventually(promql, PATIENCE, async || {
        let values: Vec<f64> = cluster.query(promql).await?.into_iter().map(|s| s.value).collect();
        anyhow::ensure!(values.len() == 1 && wanted(values[0]), "the values are {values:?}");
        Ok(values.first().copied())
    })
    .await
}

#[tokio::test]
async fn a_pod_that_burns_cpu_on_a_real_node_is_measured_and_scraped() -> Result<()> {
    if let Err(obstacle) = choose_nodes("real") {
        eprintln!("nothing runs on simulated nodes, so nothing burns there: {obstacle:#}");
        return Ok(());
    }
    let cluster = Cluster::start(options(Nodes::Real)).await?;
    let client = cluster.client().await?;
    with_namespace(&client, "burning", async |ns| {
        deploy(&ns, json!({"prometheus.io/scrape": "true", "prometheus.io/port": "8080"})).await?;
        let ip = ready_pod(&ns).await?.status.and_then(|s| s.pod_ip).context("a ready pod has an address")?;
        let load = Load::start(&format!("http://{ip}:8080/burn?ms=20"), 1)?;
        let namespace = ns.name();
        let burned = format!(r#"rate(sample_burned_cpu_seconds_total{{namespace="{namespace}",app="web"}}[10s])"#);
        queried(&cluster, &burned, |cpus| cpus > 0.1).await?;
        let answered = format!(r#"sum(rate(http_requests_total{{namespace="{namespace}",code="200"}}[10s]))"#);
        queried(&cluster, &answered, |rate| rate > 1.0).await?;
        let used =
            format!(r#"rate(container_cpu_usage_seconds_total{{namespace="{namespace}",container="app"}}[10s])"#);
        queried(&cluster, &used, |cpus| cpus > 0.1).await?;
        eventually("a sample of a busy pod", PATIENCE, async || {
            Ok(measured(&client, namespace).await?.filter(|used| *used > 100.0))
        })
        .await?;
        let report = load.stop().await;
        assert_eq!(report.failed, 0, "{report:?}");
        Ok(())
    })
    .await?;
    ended(cluster).await
}

#[tokio::test]
async fn a_simulated_pod_uses_what_its_annotation_says() -> Result<()> {
    let cluster = Cluster::start(options(Nodes::Simulated)).await?;
    let client = cluster.client().await?;
    with_namespace(&client, "annotated", async |ns| {
        deploy(&ns, json!({"kwok.x-k8s.io/usage-cpu": "250m"})).await?;
        let pod = ready_pod(&ns).await?.metadata.name.context("a pod has a name")?;
        let near = |wanted: f64| move |used: &f64| (used - wanted).abs() < wanted * 0.1;
        eventually("250m", PATIENCE, async || Ok(measured(&client, ns.name()).await?.filter(near(250.0)))).await?;
        let used = format!(r#"rate(container_cpu_usage_seconds_total{{pod="{pod}"}}[10s])"#);
        queried(&cluster, &used, |cpus| near(0.25)(&cpus)).await?;

        // What it says may change while the pod lives.
        let more = json!({"metadata": {"annotations": {"kwok.x-k8s.io/usage-cpu": "700m"}}});
        ns.api::<Pod>().patch(&pod, &PatchParams::default(), &Patch::Merge(more)).await?;
        eventually("700m", PATIENCE, async || Ok(measured(&client, ns.name()).await?.filter(near(700.0)))).await?;
        Ok(())
    })
    .await?;
    ended(cluster).await
}

/// Takes the cluster down and sees that Prometheus has ended with it.
async fn ended(cluster: Cluster) -> Result<()> {
    let url = format!("{}/-/ready", cluster.prometheus().context("the cluster has a Prometheus")?);
    assert!(answers(&url).await?, "Prometheus answers while the cluster is up");
    cluster.down().await?;
    assert!(!answers(&url).await?, "Prometheus ends with the cluster");
    Ok(())
}

/// Whether a request succeeds. That a connection can be made says nothing: on some machines the network takes every one.
async fn answers(url: &str) -> Result<bool> {
    let load = Load::start(url, 1)?;
    eventually("an answer or none", PATIENCE, async || {
        let report = load.so_far();
        Ok((report.ok + report.failed > 0).then_some(report.ok > 0))
    })
    .await
}
