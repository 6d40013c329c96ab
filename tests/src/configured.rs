//! An application that reads a ConfigMap and a Secret: what each of its pods is given, and what it answers with. What
//! becomes of a change is for the tests to say.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{ResourceExt, api::Patch};
use serde_json::json;
use trimtab_testkit::eventually;

use crate::App;

/// Where the sample application reads its configuration.
const FILE: &str = "/etc/web/app.conf";

/// The configuration of an application.
#[derive(Clone)]
pub struct Configured {
    app: App,
}

impl Configured {
    /// Lets the application read ConfigMap `web`, by a volume and by variables of an init container, and Secret `db`, by
    /// a projected volume. Done before there is a plan, so that it is no release.
    ///
    /// # Errors
    ///
    /// If kubectl fails.
    pub async fn new(app: &App, value: &str) -> Result<Self> {
        let configured = Self { app: app.clone() };
        configured.set(value).await?;
        app.make_secret().await?;
        let patch = format!(
            r#"{{"spec": {{"template": {{"spec": {{
                "volumes": [
                    {{"name": "web", "configMap": {{"name": "web", "items": [
                        {{"key": "app.conf", "path": "app.conf"}}, {{"key": "blob", "path": "blob"}}]}}}},
                    {{"name": "both", "projected": {{"sources": [
                        {{"secret": {{"name": "db"}}}}, {{"configMap": {{"name": "web"}}}}]}}}},
                    {{"name": "maybe", "configMap": {{"name": "feature", "optional": true}}}}],
                "containers": [{{"name": "web",
                    "env": [{{"name": "CONFIG_FILE", "value": "{FILE}"}}, {{"name": "PASSWORD",
                        "valueFrom": {{"secretKeyRef": {{"name": "db", "key": "password"}}}}}}],
                    "envFrom": [{{"configMapRef": {{"name": "web"}}}}],
                    "volumeMounts": [{{"name": "web", "mountPath": "/etc/web"}}]}}]}}}}}}}}"#
        );
        app.change("deployment/web", "kubectl-patch", Patch::Strategic(serde_json::from_str(&patch)?)).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        Ok(configured)
    }

    /// Changes the live ConfigMap, text and bytes.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn set(&self, value: &str) -> Result<()> {
        let yaml = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web, labels: {{team: shop}}}}\ndata: {{app.conf: \"{value}\"}}\n\
             binaryData: {{blob: {}}}\n",
            blob(value)
        );
        self.app.write(&yaml).await
    }

    /// Changes the live Secret.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn set_password(&self, password: &str) -> Result<()> {
        let patch = json!({"stringData": {"password": password}});
        self.app.change("secret/db", "kubectl-patch", Patch::Merge(patch)).await
    }

    /// What each pod that is not ending reads, by the name of the pod: the ConfigMap of its volume, to the byte, and, on
    /// real nodes, what the pod itself answers with.
    ///
    /// # Errors
    ///
    /// If a pod's references differ from each other, or an object that it reads is not there.
    pub async fn reads(&self) -> Result<BTreeMap<String, String>> {
        let mut read = BTreeMap::new();
        for pod in self.app.pods().await?.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let value = self.read_by(&pod).await.with_context(|| format!("pod {}", pod.name_any()))?;
            read.insert(pod.name_any(), value);
        }
        Ok(read)
    }

    /// How many pods read which value.
    ///
    /// # Errors
    ///
    /// As `reads`.
    pub async fn counts(&self) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for value in self.reads().await?.into_values() {
            *counts.entry(value).or_default() += 1;
        }
        Ok(counts)
    }

    /// Waits until so many pods read each value, and no others.
    ///
    /// # Errors
    ///
    /// If that does not happen.
    pub async fn wait_counts(&self, wanted: &[(&str, usize)]) -> Result<()> {
        let wanted: BTreeMap<String, usize> = wanted.iter().map(|(value, n)| ((*value).to_owned(), *n)).collect();
        eventually(&format!("pods that read {wanted:?}"), std::time::Duration::from_secs(90), async || {
            let counts = self.counts().await?;
            ensure!(counts == wanted, "they read {counts:?}");
            Ok(Some(()))
        })
        .await
    }

    async fn read_by(&self, pod: &Pod) -> Result<String> {
        let spec = serde_json::to_value(pod.spec.as_ref().context("no spec")?)?;
        let volume = |name: &str| {
            let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
            volumes.into_iter().find(|volume| volume["name"] == name).unwrap_or_default()
        };
        let name = volume("web")["configMap"]["name"].as_str().context("no volume")?.to_owned();
        let container = &spec["containers"][0];
        let projected = &volume("both")["projected"]["sources"];
        for other in [&container["envFrom"][0]["configMapRef"]["name"], &projected[1]["configMap"]["name"]] {
            ensure!(*other == *name, "volume and others differ: {name} and {other}");
        }
        let secret = projected[0]["secret"]["name"].as_str().context("no Secret")?.to_owned();
        let variable = container["env"].as_array().context("no variables")?.iter().find(|e| e["name"] == "PASSWORD");
        let variable = variable.context("no variable")?["valueFrom"]["secretKeyRef"]["name"].clone();
        ensure!(variable == *secret, "volume and variable differ: {secret} and {variable}");
        self.app.api::<Secret>().get(&secret).await?;
        let map = self.app.api::<ConfigMap>().get(&name).await?;
        let value = map.data.unwrap_or_default().remove("app.conf").context("no app.conf")?;
        let bytes = map.binary_data.unwrap_or_default().remove("blob").context("no blob")?;
        ensure!(bytes.0 == bytes_of(&value), "the bytes are not those of {value}");
        if self.app.real {
            self.answers(pod, &value).await?;
        }
        Ok(value)
    }

    /// Asks the pod itself, once it serves.
    async fn answers(&self, pod: &Pod, value: &str) -> Result<()> {
        let status = pod.status.clone().unwrap_or_default();
        let ready = status.conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let (true, Some(ip)) = (ready, status.pod_ip) else { return Ok(()) };
        let proxied = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy/", self.app.namespace(), pod.name_any());
        let client = self.app.cluster_client().await?;
        let text = client.request_text(http::Request::get(proxied).body(vec![])?).await?;
        let answer: serde_json::Value = serde_json::from_str(&text)?;
        if answer["config"] != value {
            bail!("{ip} answers with {:?}, and is given {value:?}", answer["config"]);
        }
        Ok(())
    }
}

/// Bytes that are no text, of a value.
fn bytes_of(value: &str) -> Vec<u8> {
    [&[0, 255, 128], value.as_bytes()].concat()
}

/// The same as base64.
fn blob(value: &str) -> String {
    let bytes = k8s_openapi::ByteString(bytes_of(value));
    serde_json::to_value(bytes).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
