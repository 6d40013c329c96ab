//! Autoscalers where pods really run: CPU that is really used, as metrics-server tells it, and requests that are really
//! answered, as Prometheus counts them. On a real node only, with a cluster of its own that has both.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::Value;
use trimtab_testkit::{Cluster, ClusterOptions, Extra, Load, Nodes, choose_nodes, eventually};
use trimtab_tests::{App, Shape, with_app_on, workspace};

/// Metrics-server looks every ten seconds, and needs two looks at a pod.
const PATIENCE: Duration = Duration::from_secs(150);

const SAMPLE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: trimtab.local/sample:v1
        imagePullPolicy: Never
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        resources: {requests: {cpu: 100m}}
"#;

const BY_CPU: &str = r#"
apiVersion: trimtab.dev/v1alpha1
kind: Autoscaler
metadata: {name: burner}
spec:
  targetRef: {kind: Deployment, name: burner}
  maxReplicas: 4
  interval: 2s
  startup: {cpuInitializationPeriod: 1s, initialReadinessDelay: 1s}
  behavior: {scaleDown: {stabilizationWindowSeconds: 5}}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}
"#;

const BY_REQUESTS: &str = r#"
apiVersion: trimtab.dev/v1alpha1
kind: Autoscaler
metadata: {name: worker}
spec:
  targetRef: {kind: Deployment, name: worker}
  minReplicas: 0
  maxReplicas: 6
  interval: 1s
  coolDown: 3s
  behavior: {scaleDown: {stabilizationWindowSeconds: 3}}
  metrics:
  - type: Prometheus
    activation: "1"
    prometheus:
      name: requests
      address: ADDRESS
      query: sum(rate(http_requests_total{namespace="NAMESPACE",app="front"}[5s])) or vector(0)
      target: {type: AverageValue, averageValue: "1k"}
"#;

async fn cluster() -> Result<Cluster> {
    let with = vec![Extra::Metrics, Extra::Prometheus];
    let options = ClusterOptions { name: "scaled".into(), nodes: Nodes::Real, with, ..Default::default() };
    let cluster = Cluster::start(options).await?;
    trimtab_testkit::apply_crds(&cluster, &workspace().join("crds")).await?;
    Ok(cluster)
}

/// The address of a Deployment's first ready pod.
async fn pod_ip(app: &App, name: &str) -> Result<String> {
    eventually(&format!("a pod of {name}"), PATIENCE, async || {
        let pods = app.api::<Pod>().list(&ListParams::default().labels(&format!("app={name}"))).await?.items;
        let ready = |pod: &&Pod| {
            let all = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
            all.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Ok(pods.iter().find(ready).and_then(|pod| pod.status.as_ref()?.pod_ip.clone()))
    })
    .await
}

/// Waits until so many pods of a Deployment are ready and no others are there.
async fn wait_ready(app: &App, name: &str, wanted: i64) -> Result<()> {
    eventually(&format!("{wanted} pods of {name}"), PATIENCE, async || {
        let text = app.kubectl(&["get", "deployment", name, "-o", "json"]).await?;
        let status = serde_json::from_str::<Value>(&text)?["status"].take();
        let (there, ready) = (status["replicas"].as_i64().unwrap_or(0), status["readyReplicas"].as_i64().unwrap_or(0));
        let why = app.kubectl(&["get", "autoscaler", name, "-o", "jsonpath={.status.message}"]).await?;
        ensure!((there, ready) == (wanted, wanted), "{there} pods, {ready} ready; {why}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn burnt_cpu_makes_pods_and_requests_wake_what_sleeps() {
    if let Err(obstacle) = choose_nodes("real") {
        eprintln!("nothing runs on simulated nodes, so nothing burns there: {obstacle:#}");
        return;
    }
    with_app_on(
        cluster(),
        "scale-real",
        Shape { with_plan: false, replicas: 1, ..Shape::default() },
        |app| async move {
            let prometheus = app.prometheus().context("the cluster has a Prometheus")?;
            for name in ["burner", "front", "worker"] {
                app.apply(&SAMPLE.replace("NAME", name)).await?;
            }
            let by_requests = BY_REQUESTS.replace("ADDRESS", &prometheus).replace("NAMESPACE", app.namespace());
            app.apply(&format!("{BY_CPU}---{by_requests}")).await?;
            let _manager = app.manager_with(None, &["--controllers=scale"])?;

            let burning = Load::start(&format!("http://{}:8080/burn?ms=30", pod_ip(&app, "burner").await?), 1)?;
            wait_ready(&app, "burner", 4).await?;
            burning.stop().await;
            wait_ready(&app, "burner", 1).await?;

            // Nobody asks for anything: it sleeps, until somebody does.
            wait_ready(&app, "worker", 0).await?;
            let asking = Load::start(&format!("http://{}:8080/", pod_ip(&app, "front").await?), 1)?;
            eventually("the worker to wake", PATIENCE, async || {
                let text =
                    app.kubectl(&["get", "deployment", "worker", "-o", "jsonpath={.status.readyReplicas}"]).await?;
                Ok(text.parse::<i32>().ok().filter(|ready| *ready > 0))
            })
            .await?;
            asking.stop().await;
            wait_ready(&app, "worker", 0).await
        },
    )
    .await;
}
