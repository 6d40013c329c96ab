//! An identity of its own for a manager, and the API server's own count of the requests that it makes. The server counts
//! requests by flow schema, so schemas that match this identity alone tell leases, watches, questions and all else apart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde_json::{Value, json};
use trimtab_controllers::manager::CONTROLLERS;
use trimtab_controllers::permissions::{LEASE_NAME, Place, Wanted, manifests};
use trimtab_testkit::eventually;

use crate::rights;

/// Which requests a flow schema matches, the first one first.
const PARTS: [&str; 4] = ["leases", "watches", "questions", "rest"];
const PRIORITY_LEVEL: &str = "workload-low";

/// A ServiceAccount with the derived roles of a manager that runs everything everywhere; what it does is counted.
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
    /// Patches of Deployments: where none of them changes, what would become of one was asked.
    pub questions: u64,
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
        // Under whichever name its Lease has in that namespace.
        let wanted = Wanted { controllers: CONTROLLERS.map(str::to_owned).to_vec(), secrets: true, options: vec![] };
        let place = Place {
            name: Self::NAME.to_owned(),
            namespace: namespace.to_owned(),
            namespaces: vec![],
            lease_name: LEASE_NAME.to_owned(),
        };
        let mut roles = manifests(&wanted, &place)?;
        for cluster_wide in roles.iter_mut().filter(|role| role["metadata"]["namespace"].is_null()) {
            cluster_wide["metadata"]["name"] = namespace.into();
            if cluster_wide["roleRef"].is_object() {
                cluster_wide["roleRef"]["name"] = namespace.into();
            }
        }
        rights::apply(client, namespace, &roles).await?;
        let kubeconfig = std::env::temp_dir().join(format!("{namespace}-account.kubeconfig"));
        let made = Self { client: client.clone(), namespace: namespace.to_owned(), kubeconfig };
        for (i, part) in PARTS.iter().enumerate() {
            let schema: FlowSchema = serde_json::from_value(made.flow_schema(part, 100 + i))?;
            Api::all(client.clone()).create(&PostParams::default(), &schema).await?;
        }
        std::fs::write(&made.kubeconfig, rights::with_token(client, admin, namespace, Self::NAME).await?)?;
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
        Ok(Requests {
            leases: count("leases"),
            watches: count("watches"),
            questions: count("questions"),
            rest: count("rest"),
        })
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
        // The roles go with the namespace.
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
            Api::<Deployment>::namespaced(client.clone(), &self.namespace)
                .list(&ListParams::default().limit(1))
                .await?;
            Ok((self.requests().await?.rest > before).then_some(()))
        })
        .await
    }

    fn flow_schema(&self, part: &str, precedence: usize) -> Value {
        let (verb, group, resource) = match part {
            "leases" => ("*", "coordination.k8s.io", "leases"),
            "watches" => ("watch", "*", "*"),
            "questions" => ("patch", "apps", "deployments"),
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
