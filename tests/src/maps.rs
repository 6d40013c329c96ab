//! ConfigMaps by the thousand, to be watched and changed, and other objects beside them. Not what is made of them.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::json;
use trimtab_testkit::{TestNamespace, eventually};

/// Requests that are sent at a time to set a measurement up.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(300);
/// In every namespace, and not ours.
const OF_THE_CLUSTER: &str = "metadata.name!=kube-root-ca.crt,metadata.namespace!=kube-system";

/// The name of one.
pub fn name(index: usize) -> String {
    format!("m-{index:05}")
}

/// Makes so many, each with a file of so many bytes.
///
/// # Errors
///
/// If one cannot be made.
pub async fn fill(namespace: &TestNamespace, count: usize, bytes: usize) -> Result<()> {
    let maps = (0..count).map(|i| json!({ "metadata": { "name": name(i) }, "data": { "file": file(i, bytes) } }));
    create::<ConfigMap>(namespace, maps).await
}

/// Settings, one a line, as files have them.
fn file(index: usize, bytes: usize) -> String {
    let mut text: String = (0..bytes / 20).map(|line| format!("s{line:04} = value {index:05}\n")).collect();
    text.truncate(bytes);
    text
}

/// Makes objects.
///
/// # Errors
///
/// If one cannot be made.
pub async fn create<K>(namespace: &TestNamespace, objects: impl Iterator<Item = serde_json::Value>) -> Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let api: Api<K> = namespace.api();
    let create = |object| {
        let api = api.clone();
        async move {
            api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
            anyhow::Ok(())
        }
    };
    stream::iter(objects.map(create)).buffer_unordered(AT_ONCE).try_collect().await
}

/// Changes one.
///
/// # Errors
///
/// If the API server refuses.
pub async fn change(api: &Api<ConfigMap>, name: &str, value: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "data": { "stamp": value } }));
    api.patch_metadata(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until no namespace has any that was made here: their deletion goes on after that of the namespace was asked for.
///
/// # Errors
///
/// If some are left.
pub async fn gone(client: &Client) -> Result<()> {
    let all: Api<ConfigMap> = Api::all(client.clone());
    let ours = ListParams::default().fields(OF_THE_CLUSTER).limit(1);
    eventually("the ConfigMaps to be gone", PATIENCE, async || {
        let left = all.list_metadata(&ours).await?.items;
        let first = left.first().map(|map| map.metadata.name.clone());
        anyhow::ensure!(left.is_empty(), "there is {first:?}");
        Ok(Some(()))
    })
    .await
}
