//! What outlives Trimtab and what goes: frozen copies, kinds, policies; and that no manager works meanwhile.

use anyhow::{Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use trimtab_crds::Phase;
use trimtab_testkit::{Cluster, ClusterOptions, eventually};
use trimtab_tests::{App, Configured, Reading, Reloads, Shape, cluster, with_app, with_app_on, workspace};

use super::world::{PATIENCE, check, is_free, pods, run, wait_rolled};

/// A cluster of the test's own: its kinds and policies are taken away.
async fn own_cluster() -> Result<Cluster> {
    let cluster = Cluster::start(ClusterOptions { name: "uninstall".to_owned(), ..ClusterOptions::default() }).await?;
    trimtab_testkit::apply_crds(&cluster, &workspace().join("crds")).await?;
    Ok(cluster)
}

async fn copies(app: &App) -> Result<usize> {
    Ok(app.api::<ConfigMap>().list(&ListParams::default().labels("trimtab.dev/config-copy")).await?.items.len())
}

/// An application whose pods read frozen configuration, in the middle of a change of it.
async fn frozen(app: &App) -> Result<Configured> {
    let configured = Configured::new(app, "a").await?;
    let manager = app.manager()?;
    app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
    app.wait_phase(Phase::Paused).await?;
    app.request("promote-full").await?;
    app.wait_plan("the first copies", |plan| {
        plan.status.as_ref().is_some_and(|s| s.phase == Phase::Stable && s.release.is_none() && s.sequence == 1)
    })
    .await?;
    app.wait_settled(4).await?;
    manager.kill()?;
    Ok(configured)
}

async fn ensure_crds_gone(app: &App) -> Result<()> {
    eventually("the kinds to be gone", PATIENCE, async || {
        Ok((!app.kubectl(&["get", "crd", "-o", "name"]).await?.contains("trimtab.dev")).then_some(()))
    })
    .await
}

#[tokio::test]
async fn frozen_copies_outlive_trimtab_and_its_kinds_and_go_with_what_names_them() {
    if cluster().await.is_ok_and(|cluster| cluster.name() == "existing") {
        eprintln!("this test deletes CRDs, which is not for a cluster that others use");
        return;
    }
    let shape = Shape {
        steps: "[{setWeight: 50}, {pause: {}}]",
        with_plan: false,
        max_surge: "1",
        max_unavailable: "0",
        ..Shape::default()
    };
    with_app_on(own_cluster(), "out-frozen", shape, |app| async move {
        let configured = frozen(&app).await?;
        let (before, kept) = (pods(&app).await?, copies(&app).await?);
        ensure!(kept > 0, "nothing is frozen");
        let printed = run("trimtab", &app, &["uninstall", "--resume", "--yes"]).await?;
        ensure!(
            printed.code == 0 && printed.out.contains("trimtab-hold and trimtab-held-warning are gone"),
            "{}",
            printed.out
        );
        is_free(&app).await?;
        let policies =
            app.kubectl(&["get", "mutatingadmissionpolicies,validatingadmissionpolicies", "-o", "name"]).await?;
        ensure!(!policies.contains("trimtab-hold") && policies.contains("trimtab-freeze"), "{policies}");
        for kind in ["releaseplans", "releases", "configpolicies", "autoscalers"] {
            app.kubectl(&["delete", "crd", &format!("{kind}.trimtab.dev"), "--timeout=60s"]).await?;
        }
        ensure_crds_gone(&app).await?;
        // A live change reaches nobody, also not a pod that comes anew.
        configured.set("b").await?;
        let name = app.pods().await?.first().map(ResourceExt::name_any).unwrap_or_default();
        app.api::<Pod>().delete(&name, &DeleteParams::default()).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        configured.wait_counts(&[("a", 4)]).await?;
        ensure!(pods(&app).await?.intersection(&before).count() == 3, "more pods than the deleted one are new");
        ensure!(copies(&app).await? == kept, "a copy in use is gone");
        // Later revisions of the same template need them as well, also when the ReplicaSet that was there at the time goes.
        app.kubectl(&["patch", "deployment/web", "-p", r#"{"spec": {"revisionHistoryLimit": 0}}"#]).await?;
        app.set_image("v2").await?;
        wait_rolled(&app, "v2").await?;
        eventually("the old ReplicaSet to be gone", PATIENCE, async || {
            Ok((app.replica_sets().await?.len() == 1).then_some(()))
        })
        .await?;
        configured.wait_counts(&[("a", 4)]).await?;
        app.kubectl(&["delete", "deployment/web", "--timeout=60s"]).await?;
        eventually("the copies to be collected", PATIENCE, async || Ok((copies(&app).await? == 0).then_some(()))).await
    })
    .await;
}

/// Waits until the garbage collector knows the kinds: it looks for new ones twice a minute, and leaves what they own until then.
async fn wait_collected(app: &App) -> Result<()> {
    let other = app
        .plan_yaml()
        .replace("{name: web}\nspec:\n  targetRef: {name: web}", "{name: probe}\nspec:\n  targetRef: {name: none}");
    app.apply(&other).await?;
    let uid = app.kubectl(&["get", "releaseplan/probe", "-o", "jsonpath={.metadata.uid}"]).await?;
    app.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: probe\n  ownerReferences: [{{apiVersion: trimtab.dev/v1alpha1, \
         kind: ReleasePlan, name: probe, uid: {uid}}}]\n"
    ))
    .await?;
    app.kubectl(&["delete", "releaseplan/probe"]).await?;
    eventually("the collector to know the kinds", PATIENCE, async || {
        let left = app.kubectl(&["get", "configmap", "-o", "name"]).await?;
        Ok((!left.contains("configmap/probe")).then_some(()))
    })
    .await
}

#[tokio::test]
async fn kinds_deleted_in_mid_release_take_the_canary_with_them_and_no_other_pod() {
    if cluster().await.is_ok_and(|cluster| cluster.name() == "existing") {
        eprintln!("this test deletes CRDs, which is not for a cluster that others use");
        return;
    }
    let shape = Shape { steps: "[{setWeight: 50}, {pause: {}}]", ..Shape::default() };
    with_app_on(own_cluster(), "out-crds", shape, |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        wait_collected(&app).await?;
        let before = pods(&app).await?;
        app.set_image("v2").await?;
        app.wait_phase(Phase::Paused).await?;
        manager.kill()?;
        check(&app, "--leave", 0, &["with the CRDs the canary goes"]).await?;
        for kind in ["releaseplans", "releases"] {
            app.kubectl(&["delete", "crd", &format!("{kind}.trimtab.dev"), "--timeout=60s"]).await?;
        }
        app.wait_settled(4).await?;
        ensure!(pods(&app).await? == before, "a stable pod was restarted");
        // Without its kinds the way out is open all the same.
        check(&app, "", 3, &["held"]).await?;
        check(&app, "--resume", 0, &[]).await?;
        wait_rolled(&app, "v2").await?;
        is_free(&app).await
    })
    .await;
}

#[tokio::test]
async fn nothing_is_freed_while_a_manager_works() {
    with_app("out-leader", Shape::default(), |app| async move {
        let lease = format!("out-{}", app.namespace());
        let names = [format!("--lease-name={lease}"), format!("--lease-namespace={}", app.namespace())];
        let manager = app.manager_with(None, &["--leader-elect", &names[0], &names[1]])?;
        app.wait_stable("v1").await?;
        let arguments = ["uninstall", "--yes", "--resume", "-n", app.namespace(), &names[0]];
        let ended = run("trimtab", &app, &arguments).await?;
        ensure!(ended.code == 1 && ended.err.contains("a manager works"), "{}{}", ended.out, ended.err);
        let guarded = app.deployment().await?.annotations().contains_key("trimtab.dev/plan");
        ensure!(guarded, "it was freed");
        manager.kill()?;
        let ended = run("trimtab", &app, &arguments).await?;
        ensure!(ended.code == 0, "{}{}", ended.out, ended.err);
        is_free(&app).await
    })
    .await;
}

#[tokio::test]
async fn the_charts_hook_refuses_while_something_waits_and_frees_what_is_stable() {
    with_app("out-hook", Shape::default(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        manager.kill()?;
        let hook = async |more: &[&str]| {
            let own = format!("--namespaces={}", app.namespace());
            let lease = format!("--lease-namespace={}", app.namespace());
            let arguments: Vec<&str> = ["uninstall", &own, &lease].into_iter().chain(more.iter().copied()).collect();
            run("trimtab-manager", &app, &arguments).await
        };
        app.set_image("v2").await?;
        let ended = hook(&[]).await?;
        ensure!(
            ended.code == 3 && ended.out.contains("Nothing was written"),
            "{}: {}{}",
            ended.code,
            ended.out,
            ended.err
        );
        ensure!(app.is_held().await?, "it was let go");
        ensure!(hook(&["--mode=leave"]).await?.code == 0 && app.is_held().await?, "leave wrote something");
        let ended = hook(&["--mode=resume"]).await?;
        ensure!(ended.code == 0, "{}{}", ended.out, ended.err);
        wait_rolled(&app, "v2").await?;
        is_free(&app).await?;
        // Guarded anew, with nothing that waits: it is freed without being told how.
        app.kubectl(&["annotate", "deployment/web", "trimtab.dev/plan=web"]).await?;
        let ended = hook(&[]).await?;
        ensure!(ended.code == 0, "{}{}", ended.out, ended.err);
        is_free(&app).await
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_being_made_anew_is_made_where_the_manager_s_key_proves_it() {
    with_app("out-job", Shape { with_plan: false, replicas: 1, ..Shape::default() }, |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[Reading { replicas: 1, ..Reading::deployment("job") }.of("Job")]).await?;
        let first = reloads.manager(&[]).await?;
        reloads.noted("job/job").await?;
        first.kill()?;
        reloads.set("web", "b").await?;
        // It keeps the Job, seals that, deletes the Job, and dies before it makes the new one.
        let mut manager = reloads.manager_with(Some("kill-before:4"), &[]).await?;
        manager.wait_end(PATIENCE).await?;
        let jobs = async || -> Result<usize> { Ok(app.api::<Job>().list(&ListParams::default()).await?.items.len()) };
        eventually("the old Job to go", PATIENCE, async || Ok((jobs().await? == 0).then_some(()))).await?;
        // Whose key is not read is told what to do; whose is read has the Job made.
        check(&app, "--resume", 4, &["no Job is made of it", "kubectl create"]).await?;
        ensure!(jobs().await? == 0, "a Job was made of what was not proven");
        let namespaces = ["--namespaces", "--lease-namespace"].map(|flag| format!("{flag}={}", app.namespace()));
        let ended =
            run("trimtab-manager", &app, &["uninstall", &namespaces[0], &namespaces[1], "--mode=resume"]).await?;
        ensure!(ended.code == 0 && jobs().await? == 1, "{}{}", ended.out, ended.err);
        let kept = app.kubectl(&["get", "controllerrevisions", "-l", "trimtab.dev/reloaded-job", "-o", "name"]).await?;
        ensure!(kept.trim().is_empty(), "{kept}");
        Ok(())
    })
    .await;
}
