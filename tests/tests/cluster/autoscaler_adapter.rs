//! Autoscalers by custom and by external metrics, as an adapter behind the API server tells them. On a cluster of its own: a group of
//! APIs is everybody's, and one whose server is gone would keep the other tests' namespaces from ending.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use trimtab_testkit::{Cluster, ClusterOptions, Nodes, apply_crds, eventually};
use trimtab_tests::{Adapter, App, Shape, plain_deployment, with_app_on, workspace};

const PATIENCE: Duration = Duration::from_secs(90);

const AUTOSCALER: &str = r#"---
apiVersion: trimtab.dev/v1alpha1
kind: Autoscaler
metadata: {name: NAME}
spec:
  targetRef: {kind: Deployment, name: NAME}
  minReplicas: MIN
  maxReplicas: 20
  interval: 3s
  coolDown: 2s
  behavior: {scaleDown: {stabilizationWindowSeconds: 1}}
  metrics:
  - METRIC
---
"#;

const EXTERNAL: &str = "{type: External, external: {metric: {name: queue_depth, selector: {matchLabels: {queue: mail}}}, target: {type: AverageValue, averageValue: \"30\"}}}";
const OF_PODS: &str =
    "{type: Pods, pods: {metric: {name: connections}, target: {type: AverageValue, averageValue: \"100\"}}}";
const OF_OBJECT: &str = "{type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: web}, metric: {name: hits}, target: {type: Value, value: \"1k\"}}}";

async fn cluster() -> Result<Cluster> {
    let options = ClusterOptions { name: "adapted".into(), nodes: Nodes::Simulated, ..Default::default() };
    let cluster = Cluster::start(options).await?;
    apply_crds(&cluster, &workspace().join("crds")).await?;
    Ok(cluster)
}

async fn wait_size(app: &App, name: &str, wanted: i64) -> Result<()> {
    eventually(&format!("{wanted} replicas of {name}"), PATIENCE, async || {
        let deployment = app.kubectl(&["get", "deployment", name, "-o", "json"]).await?;
        let size = serde_json::from_str::<Value>(&deployment)?["spec"]["replicas"].as_i64();
        let autoscaler = app.kubectl(&["get", "autoscaler", name, "-o", "json"]).await?;
        let status = serde_json::from_str::<Value>(&autoscaler)?["status"].take();
        ensure!(size == Some(wanted), "{size:?} replicas; {} {}", status["message"], status["decision"]["metrics"]);
        Ok(Some(()))
    })
    .await
}

/// Waits for what the first metric of an autoscaler says, in this field.
async fn wait_metric(app: &App, name: &str, field: &str, what: &str, is: impl Fn(&str) -> bool) -> Result<()> {
    let path = format!("jsonpath={{.status.decision.metrics[0].{field}}}");
    eventually(&format!("{name} to say {what:?}"), PATIENCE, async || {
        let said = app.kubectl(&["get", "autoscaler", name, "-o", &path]).await?;
        ensure!(is(&said), "it says {said}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn sizes_follow_what_an_adapter_tells() {
    let shape = Shape { with_plan: false, replicas: 1, ..Shape::default() };
    with_app_on(cluster(), "scale-adapter", shape, |app| async move {
        let workloads = [("worker", "0", EXTERNAL), ("chat", "1", OF_PODS), ("front", "1", OF_OBJECT)];
        let yaml = workloads.map(|(name, min, metric)| {
            plain_deployment(name, "v1")
                + &AUTOSCALER.replace("NAME", name).replace("MIN", min).replace("METRIC", metric)
        });
        app.apply(&yaml.concat()).await?;
        let _manager = app.manager_with(None, &["--controllers=scale"])?;
        for (name, ..) in workloads {
            wait_metric(&app, name, "reason", "ServerError", |said| said == "ServerError").await?;
        }

        let adapter = Adapter::start(app.cluster_client().await?).await?;
        for (metric, value) in [("queue_depth", "150"), ("connections", "250"), ("hits", "2500")] {
            adapter.set(metric, value);
        }
        // A metric's name is nobody's to grant but theirs who know it.
        for (name, group, resource, verb) in [
            ("worker", "external.metrics.k8s.io", "queue_depth", "list"),
            ("chat", "custom.metrics.k8s.io", "pods/connections", "get"),
            ("front", "custom.metrics.k8s.io", "services/hits", "get"),
        ] {
            let rule = format!("apiGroups: [{group}], resources: [{resource}], verbs: [{verb}]");
            wait_metric(&app, name, "message", &rule, |said| said.contains(&rule)).await?;
            app.grant(name, group, resource, &[verb]).await?;
        }
        wait_size(&app, "worker", 5).await?;
        // 250 for each pod that there is, however many: it doubles until the load is that of the target.
        wait_size(&app, "chat", 20).await?;
        adapter.set("connections", "40");
        wait_size(&app, "chat", 1).await?;
        adapter.set("hits", "1k");
        adapter.set("queue_depth", "0");
        wait_size(&app, "worker", 0).await?;
        adapter.set("queue_depth", "7");
        wait_size(&app, "worker", 1).await?;
        adapter.remove().await
    })
    .await;
}
