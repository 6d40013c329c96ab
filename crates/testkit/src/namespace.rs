//! A namespace for one test, so that tests share a cluster and nothing else.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use trimtab_parts::paths;

use crate::{eventually, objects};

/// A namespace that belongs to one test.
#[derive(Clone)]
pub struct TestNamespace {
    client: Client,
    name: String,
}

impl TestNamespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client that it was made with.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of a kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn create(client: &Client, prefix: &str) -> Result<Self> {
        let name = format!("{prefix}-{}", paths::random());
        let namespace =
            objects::object::<Namespace>(json!({"metadata": {"name": name, "labels": {"trimtab.dev/test": prefix}}}))?;
        objects::all::<Namespace>(client)
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot make the namespace {name}"))?;
        let made = Self { client: client.clone(), name };
        let accounts = objects::within::<ServiceAccount>(client, &made.name);
        // Without it no pod of the namespace is admitted.
        eventually("the namespace's service account", Duration::from_secs(20), async || {
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        Ok(made)
    }

    /// Prints what is in it, for whoever reads a failed test.
    async fn dump(&self) {
        eprintln!("--- what was in the namespace {} ---", self.name);
        self.print::<Deployment>().await;
        self.print::<ReplicaSet>().await;
        self.print::<Pod>().await;
        let events = self.api::<Event>().list(&ListParams::default()).await;
        for event in events.into_iter().flatten() {
            let object = format!(
                "{}/{}",
                event.involved_object.kind.unwrap_or_default(),
                event.involved_object.name.unwrap_or_default()
            );
            eprintln!("event {object}: {}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        }
        eprintln!("--- end of {} ---", self.name);
    }

    async fn print<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&()).to_lowercase();
        match objects::within::<K>(&self.client, &self.name).list(&ListParams::default()).await {
            Ok(list) => {
                for object in list {
                    eprintln!("{kind} {}: {}", object.name_any(), object.data["status"]);
                }
            }
            Err(e) => eprintln!("{kind}: cannot be listed: {e}"),
        }
    }

    async fn remove(&self) {
        if std::env::var_os("KEEP_NS").is_some_and(|v| !v.is_empty()) {
            eprintln!("KEEP_NS is set: the namespace {} stays", self.name);
            return;
        }
        let namespaces = objects::all::<Namespace>(&self.client);
        if let Err(e) = namespaces.delete(&self.name, &DeleteParams::background()).await {
            eprintln!("the namespace {} could not be deleted: {e}", self.name);
        }
    }
}

/// Runs a test in a namespace of its own, whose name begins with the prefix. When the test fails or panics, what is in the namespace is
/// printed. It is deleted in any case, without waiting for the end of that; with `KEEP_NS=1` it stays.
pub async fn with_namespace<T, F>(client: &Client, prefix: &str, test: impl FnOnce(TestNamespace) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let namespace = TestNamespace::create(client, prefix).await?;
    let outcome = AssertUnwindSafe(test(namespace.clone())).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(_))) {
        namespace.dump().await;
    }
    namespace.remove().await;
    match outcome {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
