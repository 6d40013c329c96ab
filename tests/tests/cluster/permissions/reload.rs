//! Reloads: of every kind, a Rollout among them, of what waits for itself, and of a pod that is to read its files anew.

use anyhow::{Context, Result};
use trimtab_testkit::{Cluster, eventually};
use trimtab_tests::{App, Reading, Reloads};

use super::{PATIENCE, Trial};

/// As much of Argo Rollouts' CRD as reloads see of it.
const CRD: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  names: {kind: Rollout, plural: rollouts, singular: rollout, listKind: RolloutList}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// A Deployment whose pods read their configuration from files, and are told by a signal.
const HOT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hot
  annotations: {trimtab.dev/reload: auto, trimtab.dev/reload-mode: signal, trimtab.dev/reload-signal: \"web:HUP\"}
spec:
  replicas: 1
  selector: {matchLabels: {app: hot}}
  template:
    metadata: {labels: {app: hot}}
    spec:
      volumes:
      - {name: map, configMap: {name: web}}
      - {name: secret, secret: {secretName: db}}
      containers:
      - name: web
        image: trimtab.local/sample:v1
        imagePullPolicy: Never
        volumeMounts: [{name: map, mountPath: /map}, {name: secret, mountPath: /secret}]
";

/// Makes the CRD of Argo Rollouts, before any manager looks for it.
pub async fn install_rollouts(cluster: &Cluster) -> Result<()> {
    let file = cluster.kubeconfig().with_file_name("rollouts.yaml");
    std::fs::write(&file, CRD)?;
    for arguments in [&["apply", "-f"][..], &["wait", "--for=condition=Established", "--timeout=60s", "-f"]] {
        let mut kubectl = tokio::process::Command::new(cluster.kubectl());
        kubectl.arg(format!("--kubeconfig={}", cluster.kubeconfig().display())).args(arguments).arg(&file);
        let ended = kubectl.output().await.context("no kubectl")?;
        anyhow::ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    Ok(())
}

pub async fn run(app: App) -> Result<()> {
    let flags = ["--controllers=reload", "--config-quiet-period=0s", "--namespace-selector=trimtab.dev/test"];
    let trial = Trial::new(app.clone(), &flags).await?;
    let reloads = Reloads::new(&app).await?;
    let auto = |name: &str| Reading::deployment(name).annotated("trimtab.dev/reload: auto");
    let after = |name: &str, kind: &'static str, other: &str| {
        auto(name).of(kind).annotated(&format!("trimtab.dev/reload: auto, trimtab.dev/reload-after: {other}"))
    };
    let workloads = [
        auto("plain"),
        auto("set").of("StatefulSet"),
        auto("each").of("DaemonSet"),
        Reading::deployment("once").of("Job"),
        Reading::deployment("nightly").of("CronJob"),
        after("first", "Deployment", "daemonset/second"),
        after("second", "DaemonSet", "deployment/first"),
        auto("odd").annotated("trimtab.dev/reload: \"auto, nonsense\""),
    ];
    reloads.make(&workloads).await?;
    app.apply(HOT).await?;
    reloads.settled("deployment", "hot").await?;
    app.apply(&auto("rolled").of("Rollout").yaml().replace("apps/v1", "argoproj.io/v1alpha1")).await?;
    let mut manager = trial.manager()?;
    for object in ["deployment/plain", "job/once", "cronjob/nightly", "rollout/rolled", "deployment/hot"] {
        reloads.noted(object).await?;
    }
    let old = reloads.get("job/once").await?["metadata"]["uid"].clone();
    reloads.set("web", "b").await?;
    eventually("the Job to be made anew", PATIENCE, async || {
        let job = app.kubectl(&["get", "job/once", "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"]).await?;
        Ok((!job.trim().is_empty() && old != *job.trim()).then_some(()))
    })
    .await?;
    blocked(&reloads, "deployment/first").await?;
    blocked(&reloads, "daemonset/second").await?;
    // What was made anew for the ConfigMap is asked about the Secret.
    reloads.settled("deployment", "hot").await?;
    reloads.set_password("two").await?;
    // Said again: that is counted into the event of before, which is written at the end.
    app.kubectl(&["label", "deployment/odd", "woken=true"]).await?;
    settled_hot(&reloads).await?;
    manager.signal("TERM")?;
    manager.wait_end(PATIENCE).await?;
    trial.check().await
}

/// Waits until what cannot be ordered is told so.
async fn blocked(reloads: &Reloads, object: &str) -> Result<()> {
    eventually(&format!("{object} to be blocked"), PATIENCE, async || {
        let text = reloads.get(object).await?["status"]["conditions"].to_string();
        Ok(text.contains("OrderCycle").then_some(()))
    })
    .await
}

/// Waits until both changes were taken to the pods of `hot`, one way or the other.
async fn settled_hot(reloads: &Reloads) -> Result<()> {
    eventually("hot to be reloaded twice", PATIENCE, async || {
        let log = reloads.annotation("deployment/hot", "trimtab.dev/reload-log").await?.unwrap_or_default();
        Ok((log.contains("cm/web=") && log.contains("secret/db=")).then_some(()))
    })
    .await
}
