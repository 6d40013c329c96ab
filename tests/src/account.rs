//! An identity of its own for a manager, and the API server's own count of the requests that it makes. The server counts
//! requests by flow schema, so three schemas that match this identity alone tell leases, watches and all else apart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde_json::{Value, json};
use trimtab_testkit::eventually;

/// Which requests a flow schema matches, the first one first.
const PARTS: [&str; 3] = ["leases", "watches", "rest"];
const PRIORITY_LEVEL: &str = "workload-low";

/// A ServiceAccount that may do everything; what it does is counted.
pub struct Account {
    client: Client,
    namespace: String,
    kubeconfig: PathBuf,
}

/// Requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// About leases.
    pub leases: u64,
    /// Watches begun.
    pub watches: u64,
    /// All others.
    pub rest: u64,
}

impl Account {
    /// The account's name.
    pub const NAME: &'static str = "trimtab-manager";

    /// Makes the account in a namespace, and a kubeconfig for it from the administrator's.
    ///
    /// # Errors
    ///
    /// If the API server refuses, or the file cannot be written.
    pub async fn create(client: &Client, namespace: &str, admin: &Path) -> Result<Self> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let account = serde_json::from_value(json!({ "metadata": { "name": Self::NAME } }))?;
        accounts.create(&PostParams::default(), &account).await?;
        let kubeconfig = std::env::temp_dir().join(format!("{namespace}-account.kubeconfig"));
        let made = Self { client: client.clone(), namespace: namespace.to_owned(), kubeconfig };
        let binding: ClusterRoleBinding = serde_json::from_value(made.binding())?;
        Api::all(client.clone()).create(&PostParams::default(), &binding).await?;
        for (i, part) in PARTS.iter().enumerate() {
            let schema: FlowSchema = serde_json::from_value(made.flow_schema(part, 100 + i))?;
            Api::all(client.clone()).create(&PostParams::default(), &schema).await?;
        }
        let request: TokenRequest = serde_json::from_value(json!({ "spec": { "audiences": [] } }))?;
        let token = accounts.create_token_request(Self::NAME, &PostParams::default(), &request).await?;
        let token = token.status.and_then(|status| status.token).context("the API server gave no token")?;
        std::fs::write(&made.kubeconfig, kubeconfig_with(admin, namespace, &token)?)?;
        made.wait_counted().await?;
        Ok(made)
    }

    /// The account's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What the API server has counted.
    ///
    /// # Errors
    ///
    /// If its metrics cannot be read.
    pub async fn requests(&self) -> Result<Requests> {
        let metrics = self.client.request_text(http::Request::get("/metrics").body(vec![])?).await?;
        let count = |part: &str| {
            let schema = format!("flow_schema=\"{}\"", self.schema(part));
            let family = "apiserver_flowcontrol_dispatched_requests_total{";
            let lines = metrics.lines().filter(|line| line.starts_with(family) && line.contains(&schema));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).map(|count| count as u64).sum()
        };
        Ok(Requests { leases: count("leases"), watches: count("watches"), rest: count("rest") })
    }

    /// Takes away what was made outside of the namespace.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub async fn remove(&self) -> Result<()> {
        for part in PARTS {
            let schemas: Api<FlowSchema> = Api::all(self.client.clone());
            schemas.delete(&self.schema(part), &DeleteParams::default()).await?;
        }
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        bindings.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(std::fs::remove_file(&self.kubeconfig)?)
    }

    fn schema(&self, part: &str) -> String {
        format!("{}-{part}", self.namespace)
    }

    /// A new schema counts, and a new role is granted, only after a moment.
    async fn wait_counted(&self) -> Result<()> {
        let client = Client::try_from(
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&self.kubeconfig)?, &Default::default()).await?,
        )?;
        eventually("the account's requests to be counted", Duration::from_secs(20), async || {
            let before = self.requests().await?.rest;
            Api::<ServiceAccount>::namespaced(client.clone(), &self.namespace).get(Self::NAME).await?;
            Ok((self.requests().await?.rest > before).then_some(()))
        })
        .await
    }

    fn subject(&self) -> Value {
        json!({ "kind": "ServiceAccount", "name": Self::NAME, "namespace": self.namespace })
    }

    fn binding(&self) -> Value {
        json!({
            "metadata": { "name": self.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [self.subject()],
        })
    }

    fn flow_schema(&self, part: &str, precedence: usize) -> Value {
        let (verb, group, resource) = match part {
            "leases" => ("*", "coordination.k8s.io", "leases"),
            "watches" => ("watch", "*", "*"),
            _ => ("*", "*", "*"),
        };
        let account = json!({ "name": Self::NAME, "namespace": self.namespace });
        let mut rule = json!({
            "subjects": [{ "kind": "ServiceAccount", "serviceAccount": account }],
            "resourceRules": [{
                "verbs": [verb], "apiGroups": [group], "resources": [resource],
                "namespaces": ["*"], "clusterScope": true,
            }],
        });
        if part == "rest" {
            rule["nonResourceRules"] = json!([{ "verbs": ["*"], "nonResourceURLs": ["*"] }]);
        }
        json!({
            "metadata": { "name": self.schema(part) },
            "spec": {
                "priorityLevelConfiguration": { "name": PRIORITY_LEVEL },
                "matchingPrecedence": precedence,
                "distinguisherMethod": { "type": "ByUser" },
                "rules": [rule],
            },
        })
    }
}

/// The administrator's kubeconfig with a token instead of a certificate.
fn kubeconfig_with(admin: &Path, namespace: &str, token: &str) -> Result<String> {
    let admin = Kubeconfig::read_from(admin)?;
    let cluster = admin.clusters.into_iter().next().and_then(|c| c.cluster).context("no cluster in the kubeconfig")?;
    let context = json!({ "cluster": "it", "user": "it", "namespace": namespace });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": cluster }],
        "users": [{ "name": "it", "user": { "token": token } }],
        "contexts": [{ "name": "it", "context": context }],
    });
    Ok(config.to_string())
}
