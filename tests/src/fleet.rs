//! Many applications in one namespace: Deployments of a few simulated pods, each with a plan. For what is judged by numbers;
//! what one application does is tested with `App`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;
use trimtab_crds::{Phase, ReleasePlan};
use trimtab_testkit::eventually;

use crate::directly;

/// Requests that are sent at a time to set a fleet up.
const AT_ONCE: usize = 32;

/// Deployments `web-000`, `web-001`, … and a plan of the same name for each.
#[derive(Clone)]
pub struct Fleet {
    client: Client,
    namespace: String,
    size: usize,
}

impl Fleet {
    /// Pods of each Deployment.
    pub const REPLICAS: usize = 4;

    /// A fleet of this size; nothing is made yet.
    pub fn new(client: Client, namespace: &str, size: usize) -> Self {
        Self { client, namespace: namespace.to_owned(), size }
    }

    /// How many applications there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The names of all Deployments and plans.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.size).map(|i| format!("web-{i:03}"))
    }

    /// The objects of a kind in the fleet's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The image of a tag.
    pub fn image(tag: &str) -> String {
        format!("trimtab.local/sample:{tag}")
    }

    /// Makes all Deployments and plans, with the image of this tag.
    ///
    /// # Errors
    ///
    /// If one cannot be made.
    pub async fn create(&self, tag: &str) -> Result<()> {
        let make = |name: String| async move {
            let deployment: Deployment = serde_json::from_value(deployment(&name, tag))?;
            self.api().create(&PostParams::default(), &deployment).await?;
            let plan: ReleasePlan = serde_json::from_value(plan(&name))?;
            self.api().create(&PostParams::default(), &plan).await?;
            anyhow::Ok(())
        };
        stream::iter(self.names()).map(make).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Changes the image of one Deployment, as `kubectl set image` does.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub async fn change(&self, name: &str, tag: &str) -> Result<()> {
        let (by, patch) = (directly::by("kubectl-set"), directly::image(&Self::image(tag)));
        let written = self.api::<Deployment>().patch_metadata(name, &by, &patch).await;
        written.map(drop).with_context(|| format!("cannot change {name}"))
    }

    /// Opens as many connections as there are applications, so that changing all at once times no handshakes.
    ///
    /// # Errors
    ///
    /// If the API server does not answer.
    pub async fn connect(&self) -> Result<()> {
        let all = self.names().map(|name| async move { self.api::<Deployment>().get_metadata(&name).await.map(drop) });
        Ok(futures::future::try_join_all(all).await.map(drop)?)
    }

    /// Waits until the image of this tag is stable everywhere and nothing is under way.
    ///
    /// # Errors
    ///
    /// If that does not happen in time; the error says how many are, and how the others stand.
    pub async fn wait_stable(&self, tag: &str, patience: Duration) -> Result<()> {
        eventually(&format!("{} plans to be stable with {tag}", self.size), patience, async || {
            let plans = self.api::<ReleasePlan>().list(&ListParams::default()).await?.items;
            let stable = plans.iter().filter(|plan| is_stable(plan, tag)).count();
            let mut others = BTreeMap::<String, usize>::new();
            for plan in plans.iter().filter(|plan| !is_stable(plan, tag)) {
                *others.entry(plan.status.as_ref().map(|s| s.message.clone()).unwrap_or_default()).or_default() += 1;
            }
            anyhow::ensure!(stable == self.size, "{stable} are; the others: {others:?}");
            Ok(Some(()))
        })
        .await
    }
}

/// Whether the image of this tag is stable and nothing is under way.
pub fn is_stable(plan: &ReleasePlan, tag: &str) -> bool {
    let image = Fleet::image(tag);
    let stable = |status: &trimtab_crds::ReleasePlanStatus| {
        status.phase == Phase::Stable && status.release.is_none() && status.message.contains(&image)
    };
    let observed = |status: &trimtab_crds::ReleasePlanStatus| status.observed_generation == plan.metadata.generation;
    plan.status.as_ref().is_some_and(|status| stable(status) && observed(status))
}

fn deployment(name: &str, tag: &str) -> serde_json::Value {
    let container = json!({
        "name": "web", "image": Fleet::image(tag), "imagePullPolicy": "Never",
        "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } },
    });
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": Fleet::REPLICAS,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [container] } },
        },
    })
}

fn plan(name: &str) -> serde_json::Value {
    let steps = json!([{ "setWeight": 20 }, { "pause": { "duration": "1s" } }, { "setWeight": 50 }]);
    json!({
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": name },
        "spec": { "targetRef": { "name": name }, "strategy": { "canary": { "steps": steps } } },
    })
}
