//! Puts definitions and admission policies into a cluster and waits until they are in force. What they say is no business of this file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, Resource};
use serde_json::json;
use sha2::{Digest, Sha256};

use trimtab_parts::paths;

use crate::objects::{all, is_true, object, within};
use crate::{Cluster, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// Applies every file of a folder, waits until all definitions are established, and, where there are admission policies, until a probe
/// shows that the API server enforces them: it reads new policies about once a second. On a cluster that the testkit started this is
/// done once for the same content, whichever process asks.
pub async fn apply_crds(cluster: &Cluster, dir: &Path) -> Result<()> {
    let Some(folder) = cluster.folder().map(Path::to_owned) else { return apply(cluster, dir).await };
    let done = folder.join(format!("applied-{}", digest(dir)?));
    if done.exists() {
        return Ok(());
    }
    // Each test may be a process of its own, and many begin at once.
    let lock = std::fs::File::create(folder.join("apply.lock")).context("cannot make the lock of the definitions")?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if !done.exists() {
        apply(cluster, dir).await?;
        std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
    }
    drop(lock);
    Ok(())
}

/// The content of a folder's YAML files, as a name.
fn digest(dir: &Path) -> Result<String> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(format!("{} {}\n", file.display(), content.len()));
        hash.update(content);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

async fn apply(cluster: &Cluster, dir: &Path) -> Result<()> {
    let out = tokio::process::Command::new(cluster.kubectl())
        .args(["apply", "--server-side", "--force-conflicts", "--field-manager=trimtab-testkit", "-f"])
        .arg(dir)
        .env("KUBECONFIG", cluster.kubeconfig())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", cluster.kubectl().display()))?;
    if !out.status.success() {
        bail!("cannot apply {}: {}", dir.display(), String::from_utf8_lossy(&out.stderr).trim());
    }
    let client = cluster.client().await?;
    let definitions = all::<CustomResourceDefinition>(&client);
    eventually("the custom resource definitions to be established", PATIENCE, async || {
        let found = definitions.list(&ListParams::default()).await?;
        Ok(found.items.iter().all(|definition| is_true(definition, "Established")).then_some(()))
    })
    .await?;
    tokio::try_join!(validating_in_force(&client), mutating_in_force(&client))?;
    Ok(())
}

/// The rest of both kinds of probe: it concerns one config map that nobody makes.
fn matches(name: &str) -> (serde_json::Value, serde_json::Value) {
    let rules = json!({"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]},
    ]});
    let conditions = json!([{"name": "the-probe", "expression": format!("object.metadata.name == '{name}'")}]);
    (rules, conditions)
}

/// Policies reach the API server's enforcement in the order of their writes, so once a probe written last is enforced, all are.
async fn validating_in_force(client: &Client) -> Result<()> {
    if all::<ValidatingAdmissionPolicy>(client).list(&ListParams::default().limit(1)).await?.items.is_empty() {
        return Ok(());
    }
    let name = format!("trimtab-probe-{}", paths::random());
    let (rules, conditions) = matches(&name);
    let policy = json!({"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail", "matchConstraints": rules, "matchConditions": conditions,
        "validations": [{"expression": "false", "message": "this is the probe"}],
    }});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    let binding = Part::of::<ValidatingAdmissionPolicyBinding>(client, binding)?;
    probe(client, &name, Part::of::<ValidatingAdmissionPolicy>(client, policy)?, binding, |answer| answer.is_err())
        .await
}

async fn mutating_in_force(client: &Client) -> Result<()> {
    if all::<MutatingAdmissionPolicy>(client).list(&ListParams::default().limit(1)).await?.items.is_empty() {
        return Ok(());
    }
    let name = format!("trimtab-probe-{}", paths::random());
    let (rules, conditions) = matches(&name);
    let mutation = "Object{metadata: Object.metadata{labels: {'trimtab.dev/probe': 'seen'}}}";
    let policy = json!({"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": rules, "matchConditions": conditions,
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}],
    }});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    let binding = Part::of::<MutatingAdmissionPolicyBinding>(client, binding)?;
    probe(client, &name, Part::of::<MutatingAdmissionPolicy>(client, policy)?, binding, |answer| {
        answer.is_ok_and(|c| c.metadata.labels.is_some_and(|l| l.contains_key("trimtab.dev/probe")))
    })
    .await
}

/// A part of a probe: its policy, or the binding that puts it in force.
struct Part {
    kind: Api<DynamicObject>,
    object: DynamicObject,
}

impl Part {
    fn of<K: Resource<DynamicType = ()>>(client: &Client, body: serde_json::Value) -> Result<Self> {
        Ok(Self { kind: all::<K>(client), object: object::<K>(body)? })
    }
}

/// Writes the probe, asks with dry runs until it acts, and removes it in any case.
async fn probe(
    client: &Client,
    name: &str,
    policy: Part,
    binding: Part,
    acts: impl Fn(Result<DynamicObject, kube::Error>) -> bool,
) -> Result<()> {
    let maps = within::<ConfigMap>(client, "default");
    let dry = PostParams { dry_run: true, ..Default::default() };
    let map = object::<ConfigMap>(json!({"metadata": {"name": name}}))?;
    let outcome = async {
        policy.kind.create(&PostParams::default(), &policy.object).await.context("cannot write the probe")?;
        binding.kind.create(&PostParams::default(), &binding.object).await.context("cannot bind the probe")?;
        eventually("the admission policies to be in force", PATIENCE, async || {
            Ok(acts(maps.create(&dry, &map).await).then_some(()))
        })
        .await
    }
    .await;
    let _ = binding.kind.delete(name, &DeleteParams::default()).await;
    let _ = policy.kind.delete(name, &DeleteParams::default()).await;
    outcome
}
