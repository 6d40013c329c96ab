//! A Deployment of two pods with nothing else about it, for tests of what is around it.

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: web, image: "trimtab.local/sample:TAG", imagePullPolicy: Never}]}
"#;

/// Its manifest, with the sample image of this tag.
pub fn plain_deployment(name: &str, tag: &str) -> String {
    DEPLOYMENT.replace("NAME", name).replace("TAG", tag)
}
