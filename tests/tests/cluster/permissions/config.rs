//! Frozen configuration without steps: a StatefulSet and a DaemonSet that read a ConfigMap and a Secret.

use anyhow::Result;
use trimtab_testkit::eventually;
use trimtab_tests::App;

use super::release::leave_a_copy;
use super::{PATIENCE, Trial};

const TRACKED: &str = "\
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME, annotations: {trimtab.dev/config-track: Referenced}}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: web
        image: trimtab.local/sample:v1
        imagePullPolicy: Never
        envFrom: [{configMapRef: {name: web}}, {secretRef: {name: db}}]
---
";

pub async fn run(app: App) -> Result<()> {
    let trial = Trial::new(app.clone(), &["--controllers=config", "--config-quiet-period=0s"]).await?;
    app.kubectl(&["create", "configmap", "web", "--from-literal=v=a"]).await?;
    app.kubectl(&["create", "secret", "generic", "db", "--from-literal=v=a"]).await?;
    let _manager = trial.manager()?;
    let workloads = [("StatefulSet", "set"), ("DaemonSet", "each")];
    for (kind, name) in workloads {
        app.apply(&TRACKED.replace("KIND", kind).replace("NAME", name)).await?;
    }
    for value in ["a", "b", "c"] {
        // Each is a revision of its own, and copies change hands.
        app.kubectl(&["patch", "configmap/web", "-p", &format!(r#"{{"data": {{"v": "{value}"}}}}"#)]).await?;
        app.kubectl(&["patch", "secret/db", "-p", &format!(r#"{{"stringData": {{"v": "{value}"}}}}"#)]).await?;
        for (kind, name) in workloads {
            considered(&app, &format!("{}/{name}", kind.to_lowercase()), value).await?;
        }
    }
    for kind in ["configmap", "secret"] {
        leave_a_copy(&app, kind, "apps/v1", "StatefulSet", "set").await?;
    }
    trial.check().await
}

/// Waits until a workload was looked at with what is live, and rolled out.
async fn considered(app: &App, object: &str, value: &str) -> Result<()> {
    eventually(&format!("{object} to have {value}"), PATIENCE, async || {
        let path =
            "jsonpath={.metadata.annotations.trimtab\\.dev/config-considered} {.spec.template.metadata.annotations}";
        let said = app.kubectl(&["get", object, "-o", path]).await?;
        let pinned = said.contains("cm/web=") && (value == "a" || said.contains("trimtab.dev/config"));
        Ok(pinned.then_some(()))
    })
    .await?;
    app.kubectl(&["rollout", "status", object, "--timeout=90s"]).await.map(drop)
}
