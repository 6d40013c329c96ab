//! Autoscaling: of every kind that is scaled without a grant of the user's own, by a feed and by what pods use.

use anyhow::{Result, ensure};
use trimtab_testkit::eventually;
use trimtab_tests::{App, Feed};

use super::{PATIENCE, Trial};

const OTHERS: &str = "\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set}
spec:
  replicas: 1
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec: {containers: [{name: web, image: \"trimtab.local/sample:v1\", resources: {requests: {cpu: 10m}}}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: alone}
spec:
  replicas: 1
  selector: {matchLabels: {app: alone}}
  template:
    metadata: {labels: {app: alone}}
    spec: {containers: [{name: web, image: \"trimtab.local/sample:v1\"}]}
";

fn autoscaler(kind: &str, name: &str, feed: &Feed) -> String {
    let address = feed.address();
    format!(
        "apiVersion: trimtab.dev/v1alpha1\nkind: Autoscaler\nmetadata: {{name: {name}}}\nspec:\n  \
         targetRef: {{apiVersion: apps/v1, kind: {kind}, name: {name}}}\n  interval: 1s\n  maxReplicas: 5\n  metrics:\n  \
         - type: Prometheus\n    prometheus: {{name: rps, address: \"{address}\", query: sum(rps), target: {{type: AverageValue, \
         averageValue: \"50\"}}}}\n  \
         - {{type: Resource, resource: {{name: cpu, target: {{type: AverageValue, averageValue: 1}}}}}}\n---\n"
    )
}

pub async fn run(app: App) -> Result<()> {
    let trial = Trial::new(app.clone(), &["--controllers=scale"]).await?;
    app.apply(OTHERS).await?;
    let feed = Feed::start("150").await?;
    let _manager = trial.manager()?;
    let targets = [("Deployment", "web"), ("StatefulSet", "set"), ("ReplicaSet", "alone")];
    app.apply(&targets.map(|(kind, name)| autoscaler(kind, name, &feed)).concat()).await?;
    for (kind, name) in targets {
        let object = format!("{}/{name}", kind.to_lowercase());
        eventually(&format!("{object} to have 3 pods"), PATIENCE, async || {
            let size = app.kubectl(&["get", &object, "-o", "jsonpath={.spec.replicas}"]).await?;
            ensure!(size.trim() == "3", "it has {size}");
            Ok(Some(()))
        })
        .await?;
    }
    trial.check().await
}
