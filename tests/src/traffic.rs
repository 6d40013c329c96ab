//! Requests to an application's Service, where pods really answer. What they are to be held to is for the test that makes them.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use trimtab_testkit::{Load, Nodes, eventually, shared_cluster};

use crate::App;

/// Whether pods answer at all here. On simulated nodes there is nothing to call, and this says so.
pub async fn pods_answer() -> bool {
    let real = shared_cluster().await.is_ok_and(|cluster| matches!(cluster.nodes(), Nodes::Real));
    if !real {
        println!("needs real nodes: `make test NODES=real`");
    }
    real
}

impl App {
    /// Calls its Service until the load is stopped, from the moment that it answers.
    ///
    /// # Errors
    ///
    /// If the Service has no address, or does not answer.
    pub async fn call(&self) -> Result<Load> {
        let service = self.api::<Service>().get("web").await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
        let url = format!("http://{address}/");
        let load = Load::start(&url, 2)?;
        // Only what comes after the first answers counts: kube-proxy takes a moment to learn of a new Service.
        eventually(
            "the Service to answer",
            Duration::from_secs(30),
            async || Ok((load.so_far().ok > 20).then_some(())),
        )
        .await?;
        load.stop().await;
        Load::start(&url, 2)
    }
}
