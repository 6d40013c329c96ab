//! What becomes of changes around the time at which a workload, or a Job that is made anew, comes about: none is missed, and
//! nothing is restarted or made for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use serde_json::json;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Reading, Reloads, Shape, with_app};

const PATIENCE: Duration = Duration::from_secs(180);

fn shape() -> Shape {
    Shape { replicas: 1, with_plan: false, ..Shape::default() }
}

fn one(name: &str) -> Reading {
    Reading { replicas: 1, ..Reading::deployment(name).annotated("trimtab.dev/reload: auto") }
}

fn reading(name: &str, map: &str) -> Reading {
    Reading { env_from: format!("{{configMapRef: {{name: {map}}}}}"), ..one(name) }
}

#[tokio::test]
async fn a_workload_whose_source_changed_before_anybody_watched_is_restarted_once_and_no_other() {
    with_app("first", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.set("other", "a").await?;
        reloads.make(&[one("old"), reading("same", "other")]).await?;
        // Times of the API server are of whole seconds: the change is one that comes certainly later.
        tokio::time::sleep(Duration::from_secs(3)).await;
        reloads.set("web", "b").await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        reloads.make(&[one("young"), reading("early", "late")]).await?;
        let manager = reloads.manager(&[]).await?;
        for name in ["old", "same", "young"] {
            reloads.noted(&format!("deployment/{name}")).await?;
        }
        // Of one that waits for all that it reads there is nothing to note.
        let path = format!("/debug/why/deployment/{}/early", app.namespace());
        eventually("early to be seen", PATIENCE, async || {
            Ok(manager.get(&path).await?.1.contains("UpToDate").then_some(()))
        })
        .await?;
        reloads.settled("deployment", "old").await?;
        // Pods that need it have not started without it.
        reloads.set("late", "a").await?;
        eventually("what came late to be noted", PATIENCE, async || {
            Ok(reloads.noted("deployment/early").await?.contains("cm/late").then_some(()))
        })
        .await?;
        for (name, restarts) in [("old", 1), ("same", 0), ("young", 0), ("early", 0)] {
            let is = reloads.restarts(name).await?;
            ensure!(is == restarts, "{name} was restarted {is} times instead of {restarts}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_deleted_after_it_was_made_anew_stays_deleted_though_the_manager_was_killed() {
    with_app("deleted-job", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[one("once").of("Job")]).await?;
        // It notes the Job, keeps it, seals that, deletes the Job and makes it; what was kept is still there then.
        let mut manager = reloads.manager_with(Some("kill-after:5"), &[]).await?;
        reloads.noted("job/once").await?;
        let old = reloads.get("job/once").await?["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        reloads.set("web", "b").await?;
        manager.wait_end(PATIENCE).await?;
        let jobs: Api<Job> = app.api();
        let new = jobs.get_opt("once").await?.context("the Job was not made anew")?;
        ensure!(new.uid().as_deref() != Some(&old), "the Job was not made anew");
        let kept = async || {
            let of = ["get", "controllerrevisions", "-l", "trimtab.dev/reloaded-job", "-o", "name"];
            anyhow::Ok(!app.kubectl(&of).await?.trim().is_empty())
        };
        ensure!(kept().await?, "nothing is kept of the Job");
        app.kubectl(&["delete", "job/once", "--wait=true"]).await?;
        let _manager = reloads.manager(&[]).await?;
        eventually("nothing to be kept of the Job", PATIENCE, async || Ok((!kept().await?).then_some(()))).await?;
        ensure!(jobs.get_opt("once").await?.is_none(), "the Job came back");
        Ok(())
    })
    .await;
}

const YOUNG: usize = 400;

/// A version of an object.
fn version(version: Option<String>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The versions at which pods were made, by Deployment: those of its first template and all.
type Made = Arc<Mutex<BTreeMap<String, Vec<(String, u64)>>>>;

fn follow(pods: Api<Pod>, made: Made) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut events = Box::pin(watcher::watcher(pods, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            let of = made.entry(pod.labels().get("app").cloned().unwrap_or_default()).or_default();
            let uid = pod.uid().unwrap_or_default();
            if !of.iter().any(|(other, _)| *other == uid) {
                of.push((uid, version(pod.resource_version())));
            }
        }
    })
}

/// Makes a ConfigMap and a Deployment that reads it, and changes the former so long afterwards; the version of the change.
async fn pair(app: &App, index: usize, after: Option<Duration>) -> Result<(String, Option<u64>)> {
    let name = format!("young-{index:03}");
    let maps: Api<ConfigMap> = app.api();
    let map = json!({"metadata": {"name": name}, "data": {"VALUE": "a"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    let workload: Deployment = serde_json::from_value(deployment(&name))?;
    app.api::<Deployment>().create(&PostParams::default(), &workload).await?;
    let Some(after) = after else { return Ok((name, None)) };
    tokio::time::sleep(after).await;
    let patch = Patch::Merge(json!({"data": {"VALUE": "b"}}));
    let changed = maps.patch(&name, &PatchParams::default(), &patch).await?;
    Ok((name, Some(version(changed.resource_version()))))
}

fn deployment(name: &str) -> serde_json::Value {
    let container = json!({"name": "web", "image": "trimtab.local/sample:v1", "imagePullPolicy": "Never",
        "envFrom": [{"configMapRef": {"name": name}}]});
    json!({
        "metadata": {"name": name, "annotations": {"trimtab.dev/reload": "auto"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}},
    })
}

/// Which are not settled, or were restarted too often or not often enough: a workload has to be restarted if one of its first
/// pods was made before the change, and never if nothing was changed.
async fn wrong(app: &App, changed: &BTreeMap<String, Option<u64>>, made: &Made) -> Result<Vec<String>> {
    let all = app.api::<Deployment>().list(&ListParams::default()).await?.items;
    let mut sets = BTreeMap::<String, usize>::new();
    for owner in app.replica_sets().await?.iter().flat_map(ResourceExt::owner_references) {
        *sets.entry(owner.name.clone()).or_default() += 1;
    }
    let made = made.lock().unwrap_or_else(PoisonError::into_inner);
    let mut wrong = vec![];
    for (name, changed) in changed {
        let deployment = all.iter().find(|deployment| deployment.name_any() == *name).context("one is gone")?;
        let pods = made.get(name).cloned().unwrap_or_default();
        let first = pods.iter().map(|(_, version)| *version).min().unwrap_or(u64::MAX);
        let needed = usize::from(changed.is_some_and(|changed| first < changed));
        let restarts = sets.get(name).map_or(0, |sets| sets - 1);
        if restarts != needed || !is_settled(deployment) {
            let settled = is_settled(deployment);
            wrong.push(format!("{name}: {restarts} restarts, {needed} needed, settled: {settled}, changed at {changed:?}, pods {pods:?}"));
        }
    }
    Ok(wrong)
}

fn is_settled(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    deployment.annotations().contains_key("trimtab.dev/reload-applied")
        && status.observed_generation == deployment.metadata.generation
        && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(1); 3]
}

#[tokio::test]
async fn of_400_workloads_that_are_made_and_changed_at_once_none_is_missed_and_none_unchanged_restarted() {
    with_app("young", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let manager = reloads.manager(&["--reload-max-per-source=0", "--reload-max-per-namespace=0"]).await?;
        eventually("the manager to be ready", PATIENCE, async || {
            Ok((manager.get("/readyz").await?.0 == 200).then_some(()))
        })
        .await?;
        let made = Made::default();
        let watch = follow(app.api(), made.clone());
        // A quarter is not changed, the others within a tenth of a second.
        let after = |index: usize| {
            (!index.is_multiple_of(4)).then(|| Duration::from_millis(u64::try_from(index % 100).unwrap_or(0)))
        };
        let pairs = stream::iter(0..YOUNG).map(|index| pair(&app, index, after(index))).buffer_unordered(16);
        let changed: BTreeMap<String, Option<u64>> = pairs.try_collect().await?;
        let wrong = async || wrong(&app, &changed, &made).await;
        eventually("each to be restarted as often as it has to be", PATIENCE, async || {
            let wrong = wrong().await?;
            ensure!(wrong.is_empty(), "{} of {YOUNG} are not: {wrong:#?}", wrong.len());
            Ok(Some(()))
        })
        .await?;
        for name in changed.keys() {
            let path = format!("/debug/why/deployment/{}/{name}", app.namespace());
            eventually(&format!("{name} to be up to date"), PATIENCE, async || {
                let (_, text) = manager.get(&path).await?;
                ensure!(text.contains("UpToDate"), "{text}");
                Ok(Some(()))
            })
            .await?;
        }
        let wrong = wrong().await?;
        ensure!(wrong.is_empty(), "{} of {YOUNG} were restarted once more: {wrong:#?}", wrong.len());
        watch.abort();
        let needed = changed.values().flatten().count();
        println!("{needed} of {YOUNG} were changed");
        Ok(())
    })
    .await;
}
