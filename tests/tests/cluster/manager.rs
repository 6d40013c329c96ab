//! The manager as a whole, on a real cluster: what it says of itself, what it lacks, and how it ends and is replaced in
//! the middle of a release.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use serde_json::json;
use trimtab::{Grants, Permission};
use trimtab_controllers::permissions::manifests;
use trimtab_crds::{Phase, Release, ReleasePlan, ReleaseResult};
use trimtab_testkit::{Cluster, ClusterOptions, eventually};
use trimtab_tests::{
    App, Configured, ManagerProcess, PodHistory, Shape, cluster, rights, with_app, with_app_on, workspace,
};

/// For what has no bound of its own, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The lease of these tests.
const LEASE: Duration = Duration::from_secs(6);

/// Waits until a manager answers a path with this code and with all of these texts.
async fn answers(manager: &ManagerProcess, path: &str, code: u16, texts: &[&str]) -> Result<String> {
    eventually(&format!("{path} to say {texts:?}"), PATIENCE, async || {
        let (got, body) = manager.get(path).await?;
        let said = got == code && texts.iter().all(|text| body.contains(text));
        if said { Ok(Some(body)) } else { anyhow::bail!("{got}: {body}") }
    })
    .await
}

#[tokio::test]
async fn why_is_answered_for_the_workload_and_for_its_plan() {
    with_app("why", Shape::default(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        let namespace = app.namespace().to_owned();
        for (kind, first) in
            [("deployment", "Deployment"), ("releaseplan", "ReleasePlan"), ("ReleasePlans", "ReleasePlan")]
        {
            let head = format!("{first} {namespace}/web\n");
            // The journal is written after the status that was waited for.
            answers(&manager, &format!("/debug/why/{kind}/{namespace}/web"), 200, &[&head, "v1 is stable"]).await?;
        }
        // Also of a plan of which nothing had to be written since the process started.
        manager.kill()?;
        let manager = app.manager()?;
        let path = format!("/debug/why/releaseplan/{namespace}/web");
        let about = format!("decided with Deployment {namespace}/web\n");
        answers(&manager, &path, 200, &[&about, "wrote     nothing"]).await?;
        let (code, list) = manager.get("/debug/why").await?;
        ensure!(code == 200 && list.contains(&format!("ReleasePlan/{namespace}/web\n")), "{list}");
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        answers(&manager, &format!("/debug/why/release/{namespace}/web-1"), 200, &[&about]).await?;
        // What is gone is forgotten.
        app.kubectl(&["delete", "releaseplan/web", "deployment/web"]).await?;
        answers(&manager, &path, 404, &["nothing is known"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_probes_tell_what_they_check() {
    with_app("probes", Shape::default(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        let live = ["[+]informers ok", "[+]workers of release ok", "[+]reconciles of release ok", "[+]events ok"];
        answers(&manager, "/livez?verbose", 200, &live).await?;
        answers(&manager, "/readyz?verbose", 200, &["[+]permissions ok", "[+]watches ok"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_fault_ends_the_manager_with_a_word() {
    with_app("fault", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        let mut manager = app.manager_with(Some("kill-befor:1"), &[])?;
        ensure!(!manager.wait_end(PATIENCE).await?.success());
        ensure!(manager.log()?.contains("TRIMTAB_FAULT=kill-befor:1"), "{}", manager.log()?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_permission_is_named_at_the_start_and_where_it_is_missed() {
    with_app("rights", Shape::default(), |app| async move {
        let arguments = ManagerProcess::arguments(app.namespace(), &[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (wanted, place) = rights::wanted(app.namespace(), &arguments)?;
        let whole = manifests(&wanted, &place)?;
        let lacking = Permission { group: "apps", resource: "replicasets", verbs: &["create"] };
        let mut less = whole.clone();
        let role = less.iter_mut().find(|object| object["kind"] == "Role").context("no role")?;
        role["rules"] = json!(wanted.grants()?.without(&Grants::of(&[lacking])).rules());
        let client = app.cluster_client().await?;
        rights::apply(&client, app.namespace(), &less).await?;
        let kubeconfig = rights::kubeconfig_for(app.kubeconfig(), app.namespace(), &arguments)?;
        let manager =
            ManagerProcess::with_arguments(&kubeconfig, app.namespace(), None, &arguments)?.removing(kubeconfig);
        let namespace = app.namespace();
        let lacks = format!(
            "lacks permission to create replicasets.apps in namespace {namespace}: grant it to \
             system:serviceaccount:{namespace}:{} with a Role in that namespace",
            place.name
        );
        answers(&manager, "/readyz", 503, &[&lacks]).await?;
        ensure!(manager.log()?.contains(&lacks), "{}", manager.log()?);
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        let plan = app.wait_reason("WriteRefused").await?;
        let status = plan.status.context("no status")?;
        ensure!(status.phase == Phase::Blocked, "{status:?}");
        ensure!(status.message.contains("cannot create resource \"replicasets\""), "{status:?}");
        let why = format!("/debug/why/releaseplan/{namespace}/web");
        answers(&manager, &why, 200, &["create ReplicaSet", "Forbidden", "cannot create resource"]).await?;
        ensure!(app.pods().await?.len() == 4, "something was done all the same");
        rights::apply(&client, app.namespace(), &whole).await?;
        app.wait_stable("v2").await?;
        answers(&manager, "/readyz", 200, &["ok"]).await?;
        ensure!(manager.log()?.contains("all permissions are there now"), "{}", manager.log()?);
        Ok(())
    })
    .await;
}

/// Without Secrets no Secret is asked for, what needs one is told, and the rest goes on.
#[tokio::test]
async fn where_secrets_are_switched_off_what_needs_one_is_told() {
    let shape = Shape { with_plan: false, plan: "config: {adopt: Now}", ..Shape::default() };
    with_app("no-secrets", shape, |app| async move {
        let configured = Configured::new(&app, "a").await?;
        // Its role names no Secret, so it would never be ready if it asked for any.
        let manager = app.manager_with(None, &["--secrets=false"])?;
        answers(&manager, "/readyz", 200, &["ok"]).await?;
        app.apply(&app.plan_yaml()).await?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        app.wait_stable("v2").await?;
        let plan = app
            .wait_plan("the Secret to be named", |plan| {
                let conditions = plan.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|c| c.type_ == "ConfigProtected" && c.reason == "SecretsNotRead")
            })
            .await?;
        let sources = plan.status.and_then(|status| status.config).context("no configuration")?.sources;
        let pinned = |name: &str| sources.iter().find(|one| one.source == name).and_then(|one| one.pinned.as_ref());
        ensure!(pinned("cm/web").is_some() && pinned("secret/db").is_none(), "{sources:?}");
        // ConfigMaps are released as ever.
        configured.set("b").await?;
        app.wait_plan("the change of the ConfigMap to be released", |plan| {
            plan.status.as_ref().is_some_and(|status| status.phase == Phase::Stable && status.release.is_none())
        })
        .await?;
        eventually("pods that read it", PATIENCE, async || {
            let deployment = serde_json::to_string(&app.deployment().await?.spec)?;
            Ok(deployment.contains("cm/web=").then_some(()))
        })
        .await?;
        ensure!(app.kubectl(&["get", "secrets", "-o", "name"]).await?.trim() == "secret/db", "a Secret was made");
        Ok(())
    })
    .await;
}

/// A release that is slow enough to be caught in the middle, and to go on for longer than a lease lasts.
fn slow() -> Shape {
    Shape {
        steps: "[{setWeight: 20}, {pause: {duration: 4s}}, {setWeight: 50}, {pause: {duration: 5s}}]",
        ..Shape::default()
    }
}

/// Starts a replica that takes part in the election of the namespace.
fn replica(app: &App) -> Result<ManagerProcess> {
    let namespace = format!("--lease-namespace={}", app.namespace());
    let duration = format!("--lease-duration={}s", LEASE.as_secs());
    app.manager_with(None, &["--leader-elect", "--lease-name=x", &namespace, &duration])
}

/// Starts two, one after the other, so that the first one leads.
async fn two_replicas(app: &App) -> Result<(ManagerProcess, ManagerProcess)> {
    let first = replica(app)?;
    app.wait_stable("v1").await?;
    let second = replica(app)?;
    eventually("the second replica to follow", PATIENCE, async || {
        Ok(second.log()?.contains("another process leads").then_some(()))
    })
    .await?;
    Ok((first, second))
}

async fn transitions(app: &App) -> Result<i32> {
    let spec = app.api::<Lease>().get("x").await?.spec;
    Ok(spec.and_then(|spec| spec.lease_transitions).unwrap_or_default())
}

/// Waits for the next leader; how long it took.
async fn wait_for_takeover(app: &App) -> Result<Duration> {
    let started = Instant::now();
    eventually("the second replica to lead", PATIENCE, async || Ok((transitions(app).await? == 1).then_some(())))
        .await?;
    Ok(started.elapsed())
}

/// Waits for the middle of the release: the first step is done, the pause is running.
async fn mid_release(app: &App) -> Result<ReleasePlan> {
    app.wait_plan("the first pause", |plan| {
        plan.status.as_ref().is_some_and(|s| s.step.as_deref() == Some("2/4") && s.phase == Phase::Paused)
    })
    .await
}

/// The end is that of an undisturbed release: one record with each step once and in order, one canary and all other pods
/// made once, none too few on the way.
async fn check_end(app: &App, history: &PodHistory) -> Result<()> {
    let releases = app.releases().await?;
    let [release] = &releases[..] else { anyhow::bail!("{} records", releases.len()) };
    let status = release.status.clone().context("the record has no status")?;
    ensure!(status.result == ReleaseResult::Promoted, "{status:?}");
    let steps: Vec<&str> = status.steps.iter().map(|step| step.step.as_str()).collect();
    ensure!(steps == ["setWeight 20", "pause 4s", "setWeight 50", "pause 5s"], "each step once, in order: {steps:?}");
    ensure!(status.steps.iter().all(|step| step.finished_at.is_some()), "{:?}", status.steps);
    let made = history.created_with(":v2");
    ensure!(made == 4, "{made} new pods were made");
    ensure!(history.fewest_available >= 3, "only {} were available", history.fewest_available);
    ensure!(!app.is_held().await?, "still held");
    ensure!(app.replica_sets().await?.len() == 2, "a ReplicaSet is left over");
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_killed_is_replaced_within_its_lease_and_no_step_is_done_twice() {
    with_app("killed-leader", slow(), |app| async move {
        let (first, _second) = two_replicas(&app).await?;
        let watch = app.watch_pods().await?;
        app.set_image("v2").await?;
        mid_release(&app).await?;
        first.kill()?;
        let took = wait_for_takeover(&app).await?;
        println!("taken over {took:?} after kill -9");
        // The lease counts from when the other saw its last renewal, which it looks for every 2.2 retry periods (1.8 s)
        // at the latest.
        ensure!(took < LEASE + Duration::from_millis(2500), "taken over after {took:?}");
        app.wait_stable("v2").await?;
        app.wait_settled(4).await?;
        check_end(&app, &watch.history()).await
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_in_mid_release_writes_nothing_when_it_is_continued() {
    with_app("stopped-leader", slow(), |app| async move {
        let (mut first, _second) = two_replicas(&app).await?;
        let watch = app.watch_pods().await?;
        app.set_image("v2").await?;
        mid_release(&app).await?;
        first.signal("STOP")?;
        let took = wait_for_takeover(&app).await?;
        println!("taken over {took:?} after SIGSTOP");
        app.wait_stable("v2").await?;
        app.wait_settled(4).await?;
        let before = versions(&app).await?;
        first.signal("CONT")?;
        let status = first.wait_end(Duration::from_secs(20)).await?;
        ensure!(!status.success(), "the former leader must say that it was replaced: {status}");
        ensure!(first.log()?.contains("leader lease"), "{}", first.log()?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = versions(&app).await?;
        ensure!(after == before, "somebody wrote: {before:?}, then {after:?}");
        check_end(&app, &watch.history()).await
    })
    .await;
}

/// The versions of all that a release writes.
async fn versions(app: &App) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    let mut note = |name: String, version: Option<String>| versions.insert(name, version.unwrap_or_default());
    let (plan, deployment) = (app.plan().await?, app.deployment().await?);
    note("plan".to_owned(), plan.resource_version());
    note("deployment".to_owned(), deployment.resource_version());
    for release in app.releases().await? {
        note(Release::name_any(&release), release.resource_version());
    }
    for set in app.replica_sets().await? {
        note(set.name_any(), set.resource_version());
    }
    Ok(versions)
}

#[tokio::test]
async fn a_leader_that_is_asked_to_end_in_mid_release_lets_the_next_one_in_at_once() {
    with_app("ended-leader", slow(), |app| async move {
        let (mut first, _second) = two_replicas(&app).await?;
        let watch = app.watch_pods().await?;
        app.set_image("v2").await?;
        mid_release(&app).await?;
        let asked = Instant::now();
        first.signal("TERM")?;
        let status = first.wait_end(Duration::from_secs(10)).await?;
        ensure!(status.success() && asked.elapsed() < Duration::from_secs(5), "{status} after {:?}", asked.elapsed());
        ensure!(first.log()?.contains("leader lease released"), "{}", first.log()?);
        let took = wait_for_takeover(&app).await?;
        println!("ended after {:?}, taken over {took:?} after that", asked.elapsed() - took);
        // Candidates look every 2.2 retry periods, of 0.8 s here, at the latest: much sooner than the lease would lapse.
        ensure!(took < Duration::from_secs(3), "taken over after {took:?}");
        app.wait_stable("v2").await?;
        app.wait_settled(4).await?;
        check_end(&app, &watch.history()).await
    })
    .await;
}

/// A cluster of its own: its CRD lets anything through, as one of another version might.
async fn lax_cluster() -> Result<Cluster> {
    let cluster = Cluster::start(ClusterOptions { name: "lax".to_owned(), ..ClusterOptions::default() }).await?;
    trimtab_testkit::apply_crds(&cluster, &workspace().join("crds")).await?;
    Ok(cluster)
}

const LAX: &str = r#"[{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
    "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]"#;

#[tokio::test]
async fn a_plan_that_cannot_be_read_is_told_so_and_harms_nothing() {
    if cluster().await.is_ok_and(|cluster| cluster.name() == "existing") {
        eprintln!("this test loosens a CRD, which is not for a cluster that others use");
        return;
    }
    with_app_on(lax_cluster(), "unreadable", Shape::default(), |app| async move {
        let manager = app.manager()?;
        app.wait_stable("v1").await?;
        app.kubectl(&["patch", "crd/releaseplans.trimtab.dev", "--type=json", "-p", LAX]).await?;
        let many = r#"{"spec":{"rollbackWindow":"many"}}"#;
        eventually("the loosened CRD", PATIENCE, async || {
            Ok(app.kubectl(&["patch", "releaseplan/web", "--type=merge", "-p", many]).await.ok())
        })
        .await?;
        // Another one, of which no version could ever be read, beside a good one.
        app.apply(
            &app.plan_yaml()
                .replace("{name: web}\nspec", "{name: never}\nspec")
                .replace("rollbackWindow: 1", "rollbackWindow: many"),
        )
        .await?;
        for plan in ["web", "never"] {
            let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}: {.status.message}";
            eventually(&format!("{plan} to be told"), PATIENCE, async || {
                let said = app.kubectl(&["get", &format!("releaseplan/{plan}"), "-o", ready]).await?;
                let told = said.contains("Unreadable: ")
                    && said.contains("spec.rollbackWindow: invalid type: string \"many\"");
                if told { Ok(Some(())) } else { anyhow::bail!("{said}") }
            })
            .await?;
            let events = format!("--field-selector=involvedObject.name={plan},reason=Unreadable");
            eventually("its event", PATIENCE, async || {
                Ok((!app.kubectl(&["get", "events", "-o", "name", &events]).await?.trim().is_empty()).then_some(()))
            })
            .await?;
        }
        // The Deployment is not let go as if its plan were gone, and what is changed now waits.
        app.set_image("v2").await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(app.is_held().await?, "the change rolls though its plan cannot be read");
        let text =
            answers(&manager, &format!("/debug/why/releaseplan/{}/web", app.namespace()), 200, &["Unreadable"]).await?;
        ensure!(!text.contains("HotLoop"), "{text}");
        let one = r#"{"spec":{"rollbackWindow":1}}"#;
        app.kubectl(&["patch", "releaseplan/web", "--type=merge", "-p", one]).await?;
        app.wait_stable("v2").await?;
        Ok(())
    })
    .await;
}
