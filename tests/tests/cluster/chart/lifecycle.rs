//! The chart on a cluster of its own with simulated nodes: installed, upgraded, rolled back, uninstalled and installed again, by
//! both versions of Helm; and what `--wait` makes of a ReleasePlan in somebody's own chart. Pods only say that they run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, ValidatingAdmissionPolicy};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use trimtab_crds::{Phase, ReleasePlan};
use trimtab_testkit::{Cluster, ClusterOptions, Tool, eventually};
use trimtab_tests::helm::{Helm, NAMESPACE, chart};
use trimtab_tests::{App, Shape, with_app};

const PATIENCE: Duration = Duration::from_secs(60);
/// Of an image that the simulated nodes take for one that never becomes ready.
const UNREADY: &str = "{image: {tag: unready}}";

/// The objects of a kind that the release has.
async fn ours<K>(client: &Client) -> Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let ours = ListParams::default().labels("app.kubernetes.io/instance=trimtab");
    Ok(Api::all(client.clone()).list(&ours).await?.items)
}

/// How many that are.
async fn count<K>(client: &Client) -> Result<usize>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(ours::<K>(client).await?.len())
}

/// What stays when the release goes: kinds, and policies of both sorts.
async fn kept(client: &Client) -> Result<[usize; 3]> {
    Ok([
        count::<CustomResourceDefinition>(client).await?,
        count::<MutatingAdmissionPolicy>(client).await?,
        count::<ValidatingAdmissionPolicy>(client).await?,
    ])
}

/// What goes with it.
async fn running(client: &Client) -> Result<[usize; 6]> {
    Ok([
        count::<Deployment>(client).await?,
        count::<Service>(client).await?,
        count::<ServiceAccount>(client).await?,
        count::<ClusterRole>(client).await?,
        count::<ClusterRoleBinding>(client).await?,
        count::<PodDisruptionBudget>(client).await?,
    ])
}

/// The manager's Deployment: how many are ready, and which image they have.
async fn manager(client: &Client) -> Result<(i32, String)> {
    let deployment = Api::<Deployment>::namespaced(client.clone(), NAMESPACE).get("trimtab").await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).context("no template")?;
    let image = pod.containers.into_iter().next().and_then(|container| container.image).unwrap_or_default();
    Ok((deployment.status.and_then(|status| status.ready_replicas).unwrap_or_default(), image))
}

/// `helm install` or `helm upgrade`, waiting until all is ready. Hooks are programs, which nothing runs here.
async fn apply(helm: &Helm, verb: &str, values: &str, patience: &str) -> Result<String> {
    let chart = chart().display().to_string();
    let mut arguments = vec![verb, "trimtab", chart.as_str(), "--namespace", NAMESPACE, "--no-hooks"];
    arguments.extend(["--wait", "--timeout", patience]);
    if verb == "install" {
        arguments.push("--create-namespace");
    }
    helm.run(&arguments, values).await
}

/// Waits until objects of each kind are listed, as a manager does. Where a kind goes whose objects nobody ever listed, the API server's
/// storage of it is not ready, and its second look, 5 ms after the first, may meet an old copy of the kind: then the third
/// comes after five minutes.
async fn served(client: &Client) -> Result<()> {
    eventually("objects of each kind to be listed", PATIENCE, async || {
        for kind in ours::<CustomResourceDefinition>(client).await? {
            let (group, names) = (&kind.spec.group, &kind.spec.names);
            for version in &kind.spec.versions {
                let path = format!("/apis/{group}/{}/{}", version.name, names.plural);
                let request = http::Request::get(path).body(Vec::new())?;
                if client.request::<serde_json::Value>(request).await.is_err() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    })
    .await
}

/// `helm uninstall`, waiting until all is gone. The error tells what was still there.
async fn uninstall(client: &Client, helm: &Helm) -> Result<()> {
    let gone = ["uninstall", "trimtab", "--namespace", NAMESPACE, "--no-hooks", "--wait", "--timeout", "90s"];
    let Err(error) = helm.ask(&gone).await else { return Ok(()) };
    let left: Vec<String> = ours::<CustomResourceDefinition>(client)
        .await?
        .iter()
        .map(|kind| {
            let conditions = kind.status.as_ref().and_then(|status| status.conditions.as_ref());
            format!("{}: deleted {:?}, {conditions:?}", kind.name_any(), kind.metadata.deletion_timestamp)
        })
        .collect();
    Err(error.context(format!(
        "kinds: {left:#?}, kept: {:?}, running: {:?}",
        kept(client).await?,
        running(client).await?
    )))
}

#[tokio::test]
async fn it_is_installed_upgraded_rolled_back_and_removed_by_both_versions() -> Result<()> {
    let options = ClusterOptions { name: "chart".to_owned(), ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await?;
    let client = cluster.client().await?;
    let three = Helm::new(Tool::Helm3, Some(cluster.kubeconfig())).await?;
    let four = Helm::new(Tool::Helm4, Some(cluster.kubeconfig())).await?;
    // The second pair: a release of Helm 3 goes on under Helm 4.
    for (first, then) in [(&three, &three), (&three, &four), (&four, &four)] {
        story(&client, first, then).await?;
    }
    cluster.down().await
}

async fn story(client: &Client, first: &Helm, then: &Helm) -> Result<()> {
    let said = apply(first, "install", "{}", "90s").await.context("install")?;
    ensure!(said.contains("helm test trimtab") && said.contains("kind: ReleasePlan"), "{said}");
    let image = concat!("trimtab.dev/trimtab-manager:", env!("CARGO_PKG_VERSION"));
    ensure!(manager(client).await? == (2, image.to_owned()));
    ensure!(kept(client).await? == [4, 2, 2] && running(client).await? == [1, 1, 1, 4, 1, 1]);
    small(client).await?;

    apply(then, "upgrade", "{replicas: 3, image: {tag: next}}", "90s").await.context("upgrade")?;
    ensure!(manager(client).await? == (3, "trimtab.dev/trimtab-manager:next".to_owned()));
    let error =
        apply(then, "upgrade", UNREADY, "8s").await.err().context("a manager that is not ready was waited for")?;
    ensure!(manager(client).await?.0 >= 1, "those that were ready went before: {error:#}");
    let back = ["rollback", "trimtab", "2", "--namespace", NAMESPACE, "--no-hooks", "--wait", "--timeout", "90s"];
    then.ask(&back).await.context("rollback")?;
    ensure!(manager(client).await? == (3, "trimtab.dev/trimtab-manager:next".to_owned()));

    uninstall(client, then).await.context("uninstall")?;
    ensure!(kept(client).await? == [4, 2, 2], "what is to stay is gone");
    eventually("all else to be gone", PATIENCE, async || Ok((running(client).await? == [0; 6]).then_some(()))).await?;

    // What was left is taken over again, and goes when asked.
    apply(first, "install", "{}", "90s").await.context("install again")?;
    apply(then, "upgrade", "{crds: {keep: false}, policies: {keep: false}}", "90s").await.context("upgrade again")?;
    served(client).await?;
    uninstall(client, then).await.context("uninstall again")?;
    eventually("the kinds and the policies to be gone", PATIENCE, async || {
        Ok((kept(client).await? == [0; 3]).then_some(()))
    })
    .await
}

/// What Helm keeps of a release is a Secret, and those end at 1 MiB.
async fn small(client: &Client) -> Result<()> {
    let records = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
    let records = records.list(&ListParams::default().labels("owner=helm")).await?;
    let record = records.items.first().context("Helm keeps no record")?;
    let size: usize = record.data.iter().flatten().map(|(_, data)| data.0.len()).sum();
    ensure!((1..400_000).contains(&size), "{} has {size} bytes", record.name_any());
    Ok(())
}

/// A chart of somebody's own with an application and its plan.
struct Theirs(PathBuf);

impl Theirs {
    fn new(app: &App) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("{}-chart", app.namespace()));
        std::fs::create_dir_all(folder.join("templates"))?;
        std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n")?;
        let image = "trimtab.local/sample:{{ .Values.tag }}";
        let deployment = app.deployment_yaml("TAG").replace("trimtab.local/sample:TAG", image);
        std::fs::write(folder.join("templates/app.yaml"), deployment)?;
        std::fs::write(folder.join("templates/plan.yaml"), app.plan_yaml())?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn helm_waits_for_a_release_under_way_and_fails_with_one_that_is_taken_back() {
    let steps = "[{setWeight: 20}, {pause: {duration: 5s}}]";
    with_app("helm-wait", Shape { with_plan: false, steps, ..Shape::default() }, |app| async move {
        let _manager = app.manager()?;
        // Helm's own from the beginning.
        app.api::<Deployment>().delete("web", &DeleteParams::foreground()).await?;
        app.kubectl(&["delete", "service/web"]).await?;
        eventually("the Deployment to be gone", PATIENCE, async || {
            Ok(app.api::<Deployment>().get_opt("web").await?.is_none().then_some(()))
        })
        .await?;
        let helm = Helm::new(Tool::Helm4, Some(app.kubeconfig())).await?;
        let theirs = Theirs::new(&app)?;
        let folder = theirs.path().display().to_string();
        let ask = async |verb: &str, tag: &str| {
            let arguments =
                [verb, "web", folder.as_str(), "--namespace", app.namespace(), "--wait", "--timeout", "80s"];
            helm.run(&arguments, &format!("{{tag: {tag}}}")).await
        };
        ask("install", "v1").await.context("install")?;
        app.wait_stable("v1").await?;
        // Helm passes over a Deployment that is paused, and may look at the plan before the manager has seen the change:
        // whether it waits is told of a release that is under way.
        ask("upgrade", "v2").await.context("an upgrade")?;
        let under_way = |plan: &ReleasePlan| plan.status.as_ref().is_some_and(|status| status.sequence == 1);
        app.wait_plan("the release to begin", under_way).await?;
        ask("upgrade", "v2").await.context("an upgrade that is promoted")?;
        let status = app.plan().await?.status.context("no status")?;
        ensure!(status.phase == Phase::Stable && status.release.is_none(), "it is not over: {status:?}");
        app.wait_stable("v2").await?;

        let _maybe_early = ask("upgrade", "broken-crash").await;
        app.wait_phase(Phase::TakenBack).await?;
        let error = ask("upgrade", "broken-crash").await.err().context("what was taken back was a success")?;
        ensure!(error.to_string().to_lowercase().contains("releaseplan"), "{error:#}");
        Ok(())
    })
    .await;
}
