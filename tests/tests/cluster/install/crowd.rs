//! The manager in its pod beside 300 plans and 10 000 ConfigMaps: how little it needs of the memory that the chart allows it, and that it
//! starts anew among them. How fast that goes is printed; what is asserted is the limit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use trimtab_crds::ReleasePlan;
use trimtab_testkit::{eventually, with_namespace};
use trimtab_tests::{App, maps};

use super::MANAGER;

const PLANS: usize = 300;
const MAPS: usize = 10_000;
const MAP_BYTES: usize = 1_000;
/// What a crowd may take, in MiB: the chart's limit leaves room beside it for what namespaces have computed.
const LIMIT: f64 = 64.0;
const PATIENCE: Duration = Duration::from_secs(300);

/// Makes the crowd, starts the managers anew, and looks at the leader.
pub async fn fits_in(app: &App, optimised: bool) -> Result<()> {
    let client = app.cluster_client().await?;
    with_namespace(&client, "crowd", async |namespace| {
        maps::fill(&namespace, MAPS, MAP_BYTES).await?;
        maps::create::<Deployment>(&namespace, (0..PLANS).map(deployment)).await?;
        maps::create::<ReleasePlan>(&namespace, (0..PLANS).map(plan)).await?;
        let plans: Api<ReleasePlan> = namespace.api();
        let ready = |plan: &ReleasePlan| {
            let conditions = plan.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| one.type_ == "Ready" && one.status.as_str() == "True")
        };
        eventually("all plans to be ready", PATIENCE, async || {
            let count = plans.list(&ListParams::default()).await?.iter().filter(|plan| ready(plan)).count();
            ensure!(count == PLANS, "{count} are");
            Ok(Some(()))
        })
        .await?;
        look(&client, "as it is", optimised).await?;
        app.kubectl(&["rollout", "restart", "deployment/trimtab", "-n", MANAGER]).await?;
        app.kubectl(&["rollout", "status", "deployment/trimtab", "-n", MANAGER, "--timeout=180s"]).await?;
        eventually("one of them to lead", PATIENCE, async || Ok(look(&client, "anew", optimised).await?.then_some(())))
            .await
    })
    .await
}

/// Holds every manager to the limit; whether one leads. The kernel holds any program to it; the pages of an unoptimised one, which
/// are read from its file again when they are needed, are not counted.
async fn look(client: &Client, when: &str, optimised: bool) -> Result<bool> {
    let pods = Api::<Pod>::namespaced(client.clone(), MANAGER);
    let mine = ListParams::default().labels("app.kubernetes.io/name=trimtab,app.kubernetes.io/component=manager");
    let all: Vec<Pod> =
        pods.list(&mine).await?.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    ensure!(!all.is_empty(), "there is no manager");
    let mut led = false;
    for pod in all {
        let status = pod.status.as_ref().context("a pod without a status")?;
        let container = status.container_statuses.iter().flatten().next().context("no container")?;
        let started = container.state.as_ref().and_then(|state| state.running.as_ref()?.started_at.as_ref());
        let ready = status.conditions.iter().flatten().find(|one| one.type_ == "Ready");
        let ready = ready.and_then(|one| one.last_transition_time.as_ref());
        let took = started.zip(ready).map(|(started, ready)| ready.0.duration_since(started.0).as_secs());
        let path = format!("/api/v1/namespaces/{MANAGER}/pods/{}:8080/proxy/metrics", pod.name_any());
        let metrics = client.request_text(http::Request::get(path).body(vec![])?).await?;
        let of = |family: &str| {
            let line = metrics.lines().find(|line| line.starts_with(&format!("{family} ")))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let resident = of("process_resident_memory_bytes").context("no memory is told")? / f64::from(1 << 20);
        let leads =
            metrics.lines().any(|line| line.starts_with("leader_election_master_status") && line.ends_with(" 1"));
        println!("{when}, {}: leads {leads}, {resident:.1} MiB, ready {took:?} s after its start", pod.name_any());
        ensure!(container.restart_count == 0, "{} was started anew", pod.name_any());
        ensure!(resident < LIMIT || !optimised, "{resident:.1} MiB");
        led |= leads;
    }
    Ok(led)
}

/// Asleep, since one node has no room for so many pods; it reads a ConfigMap all the same.
fn deployment(index: usize) -> Value {
    let name = format!("web-{index:03}");
    let volume = json!({ "name": "config", "configMap": { "name": maps::name(index) } });
    let container = json!({
        "name": "web", "image": "trimtab.local/sample:v1", "imagePullPolicy": "Never",
        "volumeMounts": [{ "name": "config", "mountPath": "/config" }],
    });
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [container], "volumes": [volume] },
            },
        },
    })
}

fn plan(index: usize) -> Value {
    let name = format!("web-{index:03}");
    json!({
        "metadata": { "name": name },
        "spec": {
            "targetRef": { "kind": "Deployment", "name": name },
            "strategy": { "canary": { "steps": [{ "setWeight": 20 }, { "pause": {} }] } },
        },
    })
}
