//! Configuration on a real cluster: what pods read during and after a change, with and without a manager. Each test
//! asserts what pods are given and, on real nodes, what they answer with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use trimtab_crds::{Phase, ReleaseResult};
use trimtab_testkit::eventually;
use trimtab_tests::{App, Configured, Shape, with_app};

const PATIENCE: Duration = Duration::from_secs(90);

/// Half of the pods, then a person.
fn shape() -> Shape {
    Shape {
        steps: "[{setWeight: 50}, {pause: {}}]",
        with_plan: false,
        max_surge: "1",
        max_unavailable: "0",
        ..Shape::default()
    }
}

/// An application that reads `a`, adopted: its stable pods read their own copies.
async fn adopted(app: &App) -> Result<Configured> {
    let configured = Configured::new(app, "a").await?;
    app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
    app.wait_phase(Phase::Paused).await?;
    app.request("promote-full").await?;
    wait_protected(app).await?;
    configured.wait_counts(&[("a", 4)]).await?;
    Ok(configured)
}

async fn wait_protected(app: &App) -> Result<()> {
    app.wait_plan("its pods to be protected", |plan| {
        plan.status.as_ref().is_some_and(|status| {
            let protected = |c: &trimtab_plan::Condition| c.type_ == "ConfigProtected" && c.status == "True";
            status.phase == Phase::Stable && status.release.is_none() && status.conditions.iter().any(protected)
        })
    })
    .await
    .map(drop)
}

/// Deletes one pod that reads this value; another comes in its place.
async fn delete_one(app: &App, configured: &Configured, value: &str) -> Result<()> {
    let read = configured.reads().await?;
    let (name, _) = read.iter().find(|(_, read)| *read == value).context("no such pod")?;
    app.api::<Pod>().delete(name, &DeleteParams::default()).await?;
    eventually("the pod to be gone", PATIENCE, async || {
        Ok(app.pods().await?.iter().all(|pod| pod.name_any() != *name).then_some(()))
    })
    .await
}

async fn copies(app: &App) -> Result<Vec<ConfigMap>> {
    Ok(app.api().list(&ListParams::default().labels("trimtab.dev/config-copy")).await?.items)
}

#[tokio::test]
async fn a_changed_config_map_goes_through_the_steps_and_stable_pods_keep_the_old_one() {
    with_app("config", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = adopted(&app).await?;
        configured.set("b").await?;
        let plan = app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        let by = plan.status.and_then(|s| s.release).context("no release")?.by;
        ensure!(by == "kubectl-client-side-apply (cm/web)", "by {by}");
        // A stable pod that is moved in the middle starts on its own configuration, and so does one of the canary.
        delete_one(&app, &configured, "a").await?;
        delete_one(&app, &configured, "b").await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        app.request("promote").await?;
        wait_protected(&app).await?;
        configured.wait_counts(&[("b", 4)]).await?;
        let releases = app.releases().await?;
        let last = releases.iter().max_by_key(|release| release.spec.sequence).context("no record")?;
        ensure!(last.spec.summary == "config cm/web", "{:?}", last.spec);
        let change = last.spec.changes.first().context("no change")?;
        ensure!(change.path == "config cm/web" && change.from.is_some() && change.to.is_some(), "{change:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_that_was_taken_back_leaves_nothing_behind() {
    with_app("config-back", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = adopted(&app).await?;
        let watch = app.watch_pods().await?;
        let stable = watch.history().living(":v1");
        configured.set("crash").await?;
        if app.real {
            // The pods themselves find out.
            app.wait_phase(Phase::TakenBack).await?;
        } else {
            app.wait_phase(Phase::Paused).await?;
            app.request("abort").await?;
            app.wait_phase(Phase::TakenBack).await?;
        }
        configured.wait_counts(&[("a", 4)]).await?;
        ensure!(watch.history().living(":v1") == stable, "stable pods were touched");
        delete_one(&app, &configured, "a").await?;
        configured.wait_counts(&[("a", 4)]).await?;
        app.request("undo").await?;
        wait_protected(&app).await?;
        delete_one(&app, &configured, "a").await?;
        configured.wait_counts(&[("a", 4)]).await?;
        // Changed back and changed again: nothing of what was rejected is remembered against it.
        configured.set("b").await?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        // Changed back in mid-release.
        configured.set("a").await?;
        wait_protected(&app).await?;
        configured.wait_counts(&[("a", 4)]).await
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_made_while_no_manager_runs_gets_its_revision() {
    with_app("config-alone", shape(), |app| async move {
        let manager = app.manager()?;
        let configured = adopted(&app).await?;
        configured.set("b").await?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        manager.kill()?;
        configured.set("c").await?;
        delete_one(&app, &configured, "a").await?;
        delete_one(&app, &configured, "b").await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        // What changed meanwhile is taken up by the next manager.
        let _manager = app.manager()?;
        configured.wait_counts(&[("a", 4), ("c", 4)]).await
    })
    .await;
}

#[tokio::test]
async fn image_and_configuration_changed_together_are_one_release_and_undo_takes_both_back() {
    with_app("config-both", shape(), |app| async move {
        // Each call of kubectl takes seconds on a machine that is busy: they are made at once, and are not late.
        let _manager = app.manager_with(None, &["--config-quiet-period=4s"])?;
        let configured = adopted(&app).await?;
        let before = app.releases().await?.len();
        tokio::try_join!(app.set_image("v2"), configured.set("b"), configured.set_password("two"))?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        let releases = app.releases().await?;
        ensure!(releases.len() == before + 1, "{} releases", releases.len() - before);
        app.request("promote").await?;
        app.wait_stable("v2").await?;
        configured.wait_counts(&[("b", 4)]).await?;
        let watch = app.watch_pods().await?;
        app.kubectl(&["rollout", "undo", "deployment/web"]).await?;
        // One of the last stable revisions: promoted without steps.
        app.wait_stable("v1").await?;
        configured.wait_counts(&[("a", 4)]).await?;
        ensure!(watch.history().created_with(":v2") == 4, "pods of the new revision were made again");
        // And back again, by our own undo.
        app.request("undo").await?;
        app.wait_stable("v2").await?;
        configured.wait_counts(&[("b", 4)]).await
    })
    .await;
}

#[tokio::test]
async fn what_pods_could_not_start_with_is_blocked_before_any_pod() {
    with_app("config-blocked", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = adopted(&app).await?;
        let watch = app.watch_pods().await?;
        let living = watch.history().living(":v1");
        app.kubectl(&["patch", "configmap/web", "--type=json", "-p", r#"[{"op":"remove","path":"/data/app.conf"}]"#])
            .await?;
        app.wait_reason("ConfigKeyMissing").await?;
        configured.set("a").await?;
        wait_protected(&app).await?;
        // A quota that leaves no room for the copy.
        let used = app.api::<ConfigMap>().list(&ListParams::default()).await?.items.len();
        let quota = format!(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: q}}\nspec: {{hard: {{count/configmaps: \"{used}\"}}}}\n"
        );
        app.apply(&quota).await?;
        eventually("the quota to count", PATIENCE, async || {
            Ok(app.kubectl(&["get", "quota", "q", "-o", "jsonpath={.status.used}"]).await?.contains("count").then_some(()))
        })
        .await?;
        configured.set("b").await?;
        let plan = app.wait_phase(Phase::Blocked).await?;
        let message = plan.status.context("no status")?.message;
        ensure!(message.contains("exceeded quota"), "{message}");
        ensure!(watch.history().living(":v1") == living, "pods were touched");
        app.kubectl(&["delete", "quota", "q"]).await?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await
    })
    .await;
}

#[tokio::test]
async fn copies_are_guarded_while_they_are_in_use_and_go_with_what_names_them() {
    with_app("config-copies", shape(), |app| async move {
        let manager = app.manager()?;
        let configured = adopted(&app).await?;
        let copy = copies(&app).await?.first().context("no copy")?.clone();
        ensure!(copy.immutable == Some(true) && !copy.labels().contains_key("team"), "{:?}", copy.metadata);
        let owners = copy.owner_references();
        ensure!(owners.iter().all(|owner| owner.controller != Some(true)), "{owners:?}");
        let refused = app.kubectl(&["delete", "configmap", &copy.name_any()]).await;
        let refused = refused.err().context("the copy could be deleted")?.to_string();
        ensure!(refused.contains("pods that come back read this copy of cm/web"), "{refused}");
        configured.set("b").await?;
        app.wait_phase(Phase::Paused).await?;
        app.request("promote").await?;
        wait_protected(&app).await?;
        ensure!(copies(&app).await?.len() == 2, "the old revision can be gone back to");
        // Trimtab is gone for good: Kubernetes cleans up by itself.
        manager.kill()?;
        app.kubectl(&["delete", "releaseplan/web", "deployment/web", "--wait=false"]).await?;
        eventually("the copies to go", PATIENCE, async || {
            let left = copies(&app).await?.len();
            ensure!(left == 0, "{left} are left");
            Ok(Some(()))
        })
        .await
    })
    .await;
}

/// A copy as somebody makes it again from what `kubectl get` prints, with a change.
async fn clone_of(app: &App, copy: &ConfigMap, change: impl FnOnce(&mut serde_json::Value)) -> Result<()> {
    let mut clone = serde_json::to_value(copy)?;
    clone["apiVersion"] = "v1".into();
    clone["kind"] = "ConfigMap".into();
    if let Some(meta) = clone["metadata"].as_object_mut() {
        ["uid", "resourceVersion", "creationTimestamp", "managedFields"]
            .iter()
            .for_each(|field| drop(meta.remove(*field)));
    }
    change(&mut clone);
    app.kubectl_with(&["create", "-f", "-"], &clone.to_string()).await.map(drop)
}

#[tokio::test]
async fn what_only_looks_like_a_copy_is_left_alone_and_read_by_no_pod() {
    with_app("config-alike", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = adopted(&app).await?;
        let copy = copies(&app).await?.first().context("no copy")?.clone();
        let name = copy.name_any();
        // What a copy is known by stays while something names it; the rest is free.
        for change in [
            ["label", "configmap", name.as_str(), "trimtab.dev/config-copy-"],
            ["annotate", "configmap", name.as_str(), "trimtab.dev/copy-of-"],
        ] {
            let refused = app.kubectl(&change).await.err().context("the guard could be taken off")?.to_string();
            ensure!(refused.contains("its label and what it says to be a copy of stay"), "{refused}");
        }
        app.kubectl(&["label", "configmap", &name, "team=a"]).await?;
        // Made again under other names: with the label and without, and as one that can be edited.
        clone_of(&app, &copy, |clone| clone["metadata"]["name"] = "backup".into()).await?;
        clone_of(&app, &copy, |clone| {
            clone["metadata"]["name"] = "backup-plain".into();
            if let Some(meta) = clone["metadata"].as_object_mut() {
                meta.remove("labels");
            }
        })
        .await?;
        clone_of(&app, &copy, |clone| {
            clone["metadata"]["name"] = "web-0123456789".into();
            clone["immutable"] = false.into();
        })
        .await?;
        configured.set("b").await?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        app.request("promote").await?;
        wait_protected(&app).await?;
        configured.wait_counts(&[("b", 4)]).await?;
        let deployment = app.deployment().await?;
        let pins = serde_json::to_string(&deployment.spec)?;
        ensure!(!pins.contains("0123456789"), "a look-alike was pinned: {pins}");
        for name in ["backup", "backup-plain", "web-0123456789"] {
            let kept = app.api::<ConfigMap>().get(name).await?;
            ensure!(kept.owner_references() == copy.owner_references(), "{name} got other owners: {:?}", kept.metadata);
        }
        Ok(())
    })
    .await;
}

/// An object as a backup holds it: all of it, but for what the server sets anew.
fn backup<K: serde::Serialize>(kind: (&str, &str), object: &K) -> Result<String> {
    let mut object = serde_json::to_value(object)?;
    object["apiVersion"] = kind.0.into();
    object["kind"] = kind.1.into();
    for (place, fields) in
        [("", &["status"][..]), ("/metadata", &["uid", "resourceVersion", "creationTimestamp", "managedFields"][..])]
    {
        let map = object.pointer_mut(place).and_then(serde_json::Value::as_object_mut);
        map.into_iter().for_each(|map| fields.iter().for_each(|field| drop(map.remove(*field))));
    }
    Ok(object.to_string())
}

#[tokio::test]
async fn what_a_backup_brings_back_runs_on_its_own_configuration() {
    with_app("config-restore", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = adopted(&app).await?;
        let live = app.api::<ConfigMap>().get("web").await?;
        let mut kept = vec![backup(("v1", "ConfigMap"), &live)?];
        for copy in copies(&app).await? {
            kept.push(backup(("v1", "ConfigMap"), &copy)?);
        }
        kept.push(backup(("apps/v1", "Deployment"), &app.deployment().await?)?);
        kept.push(app.plan_yaml());
        app.kubectl(&["delete", "releaseplan/web", "deployment/web", "configmap/web"]).await?;
        eventually("the copies to go", PATIENCE, async || Ok(copies(&app).await?.is_empty().then_some(()))).await?;
        // Owners of the copies are the ones that were: dead, so Kubernetes collects what comes back. It is made again.
        for object in &kept {
            app.kubectl_with(&["create", "-f", "-"], object).await?;
        }
        app.wait_phase(Phase::Stable).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        configured.wait_counts(&[("a", 4)]).await?;
        eventually("copies that live as long as their pods", PATIENCE, async || {
            let sets: Vec<String> = app.replica_sets().await?.iter().filter_map(|rs| rs.metadata.uid.clone()).collect();
            let copies = copies(&app).await?;
            let owned = |copy: &ConfigMap| copy.owner_references().iter().any(|owner| sets.contains(&owner.uid));
            Ok((!copies.is_empty() && copies.iter().all(owned)).then_some(()))
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn nothing_restarts_when_a_plan_comes_and_an_optional_object_cannot_appear_unjudged() {
    with_app("config-adopt", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = Configured::new(&app, "a").await?;
        let watch = app.watch_pods().await?;
        let living = watch.history().living(":v1");
        app.apply(&app.plan_yaml()).await?;
        app.wait_phase(Phase::Stable).await?;
        app.wait_plan("the condition that tells of it", |plan| {
            let conditions = plan.status.iter().flat_map(|status| &status.conditions);
            conditions
                .into_iter()
                .any(|c| c.type_ == "ConfigProtected" && c.status == "False" && c.message.contains("cm/web"))
        })
        .await?;
        ensure!(watch.history().living(":v1") == living && copies(&app).await?.is_empty(), "something was made");
        app.set_image("v2").await?;
        app.wait_phase(Phase::Paused).await?;
        app.request("promote").await?;
        wait_protected(&app).await?;
        configured.wait_counts(&[("a", 4)]).await?;
        let config = app.deployment().await?.spec.and_then(|s| s.template.metadata).and_then(|m| m.annotations);
        let config = config.and_then(|mut a| a.remove("trimtab.dev/config")).context("no pins")?;
        ensure!(config.contains("cm/feature=absent"), "{config}");
        app.kubectl(&["create", "configmap", "feature", "--from-literal=x=y"]).await?;
        app.wait_phase(Phase::Paused).await?;
        let last = app.releases().await?.into_iter().max_by_key(|r| r.spec.sequence).context("no record")?;
        ensure!(last.spec.summary == "config cm/feature", "{:?}", last.spec.summary);
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        let result = app.releases().await?.into_iter().max_by_key(|r| r.spec.sequence).and_then(|r| r.status);
        ensure!(result.is_some_and(|status| status.result == ReleaseResult::TakenBack));
        // What pods would read in place of what is absent is told, whatever its type.
        app.kubectl(&["delete", "configmap", "feature"]).await?;
        let volume = r#"[{"op":"add","path":"/spec/template/spec/volumes/-","value":
            {"name":"extra","secret":{"secretName":"extra","optional":true}}}]"#;
        app.kubectl(&["patch", "deployment/web", "--type=json", "-p", volume]).await?;
        app.wait_phase(Phase::Paused).await?;
        app.kubectl(&["create", "secret", "generic", "extra-absent", "--type=helm.sh/release.v1"]).await?;
        app.wait_plan("the Secret that pods would read to be told", |plan| {
            plan.status.as_ref().and_then(|status| status.config.as_ref()).is_some_and(|config| {
                let notes = config.sources.iter().filter_map(|source| source.note.as_deref());
                notes.into_iter().any(|note| note.contains("pods read extra-absent in its place"))
            })
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn certificates_are_read_live_and_hostile_pins_harm_nothing() {
    with_app("config-live", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        app.kubectl(&["create", "secret", "generic", "cert", "--type=kubernetes.io/tls", "--from-literal=tls.crt=x", "--from-literal=tls.key=y"])
            .await?;
        let patch = r#"{"spec": {"template": {"spec": {"volumes": [{"name": "c", "secret": {"secretName": "cert"}}]}}}}"#;
        app.kubectl(&["patch", "deployment/web", "-p", patch]).await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        let _manager = app.manager()?;
        app.apply(&app.plan_yaml()).await?;
        app.wait_stable("v1").await?;
        app.set_image("v2").await?;
        let plan = app.wait_stable("v2").await?;
        let sources = plan.status.and_then(|s| s.config).context("no configuration")?.sources;
        ensure!(sources.len() == 1 && sources[0].pinned.is_none(), "{sources:?}");
        ensure!(sources[0].note.as_deref() == Some("read live: a certificate, which is renewed"), "{sources:?}");
        // Whatever the annotation holds, pods are made.
        for (index, pins) in ["", ",,=,=", "cm/web", "cm/a=1,cm/a=2", "cm/=x,secret/=y", "pod/x=1", "cm/a=ABC", "cm/cert=../../x"]
            .iter()
            .enumerate()
        {
            let pod = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{index}, annotations: {{trimtab.dev/config: \"{pins}\"}}}}\n\
                 spec: {{containers: [{{name: c, image: trimtab.local/sample:v1, env: [{{name: A}}], envFrom: []}}], \
                 volumes: [{{name: e, emptyDir: {{}}}}, {{name: c, secret: {{secretName: cert}}}}]}}\n"
            );
            app.apply(&pod).await.with_context(|| format!("pins {pins:?}"))?;
        }
        Ok(())
    })
    .await;
}

/// A StatefulSet and a DaemonSet that read ConfigMap `web`, opted in.
const TRACKED: &str = r#"
apiVersion: apps/v1
kind: KIND
metadata: {name: db, annotations: {trimtab.dev/config-track: Referenced}}
spec:
  SPEC
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: db
        image: trimtab.local/sample:v1
        imagePullPolicy: Never
        envFrom: [{configMapRef: {name: web}}]
"#;

/// What the pods of `db` read, with how many do.
async fn read_by_db(app: &App) -> Result<Vec<(String, usize)>> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let pods = app.api::<Pod>().list(&ListParams::default().labels("app=db")).await?.items;
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let spec = serde_json::to_value(&pod.spec)?;
        let name =
            spec["containers"][0]["envFrom"][0]["configMapRef"]["name"].as_str().context("no reference")?.to_owned();
        let data = app.api::<ConfigMap>().get(&name).await?.data.unwrap_or_default();
        let value = data.get("v").cloned().unwrap_or_default();
        // What is live says nothing of what the revision is pinned to.
        *counts.entry(if name == "web" { format!("live {value}") } else { value }).or_default() += 1;
    }
    Ok(counts.into_iter().collect())
}

async fn wait_db(app: &App, wanted: &[(&str, usize)]) -> Result<()> {
    let wanted: Vec<(String, usize)> = wanted.iter().map(|(value, n)| ((*value).to_owned(), *n)).collect();
    eventually(&format!("pods that read {wanted:?}"), PATIENCE, async || {
        let read = read_by_db(app).await?;
        ensure!(read == wanted, "they read {read:?}");
        Ok(Some(()))
    })
    .await
}

async fn set_db(app: &App, value: &str) -> Result<()> {
    let yaml = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{v: \"{value}\"}}\n");
    app.apply(&yaml).await.map(drop)
}

/// Nothing restarts when it opts in; a change is a rolling update that carries its configuration; an undo takes it back.
async fn check_tracked(kind: &'static str, spec: &'static str, pods: impl Fn(&App) -> usize + Send + Sync + 'static) {
    let name = format!("config-{}", kind.to_ascii_lowercase());
    with_app(&name, Shape { with_plan: false, ..Shape::default() }, move |app| async move {
        let pods = pods(&app);
        let _manager = app.manager()?;
        set_db(&app, "a").await?;
        app.apply(&TRACKED.replace("KIND", kind).replace("SPEC", spec)).await?;
        wait_db(&app, &[("live a", pods)]).await?;
        let resource = format!("{}/db", kind.to_ascii_lowercase());
        app.kubectl(&["rollout", "status", &resource, "--timeout=90s"]).await?;
        eventually("the note of what is live", PATIENCE, async || {
            let noted = app.kubectl(&["get", &resource, "-o", "jsonpath={.metadata.annotations}"]).await?;
            Ok(noted.contains("config-considered").then_some(()))
        })
        .await?;
        // What is live is kept for an undo, and nothing is rolled out for it.
        let history = app.kubectl(&["get", "controllerrevisions", "-o", "name"]).await?;
        ensure!(history.lines().count() == 1, "it was rolled out when it opted in: {history}");
        ensure!(copies(&app).await?.len() == 1, "what is live is not kept");
        wait_db(&app, &[("live a", pods)]).await?;
        set_db(&app, "b").await?;
        wait_db(&app, &[("b", pods)]).await?;
        app.kubectl(&["rollout", "status", &resource, "--timeout=90s"]).await?;
        // The first undo goes to a template without pins.
        app.kubectl(&["rollout", "undo", &resource]).await?;
        wait_db(&app, &[("a", pods)]).await?;
        app.kubectl(&["rollout", "status", &resource, "--timeout=90s"]).await?;
        app.kubectl(&["rollout", "undo", &resource]).await?;
        wait_db(&app, &[("live b", pods)]).await?;
        app.kubectl(&["rollout", "status", &resource, "--timeout=90s"]).await?;
        set_db(&app, "c").await?;
        wait_db(&app, &[("c", pods)]).await?;
        app.kubectl(&["rollout", "status", &resource, "--timeout=90s"]).await?;
        app.kubectl(&["rollout", "undo", &resource]).await?;
        wait_db(&app, &[("b", pods)]).await?;
        // It stays so: what is live was taken into account before.
        app.kubectl(&["rollout", "status", &resource, "--timeout=90s"]).await?;
        app.kubectl(&["delete", "pods", "-l", "app=db", "--force", "--grace-period=0"]).await?;
        wait_db(&app, &[("b", pods)]).await?;
        app.kubectl(&["delete", &resource]).await?;
        eventually("the copies to go", PATIENCE, async || {
            ensure!(copies(&app).await?.is_empty(), "some are left");
            Ok(Some(()))
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_stateful_set_s_revisions_carry_their_configuration() {
    check_tracked("StatefulSet", "serviceName: db\n  replicas: 3\n  podManagementPolicy: Parallel", |_| 3).await;
}

#[tokio::test]
async fn a_daemon_set_s_revisions_carry_their_configuration() {
    check_tracked("DaemonSet", "# no size", |app| if app.real { 1 } else { 4 }).await;
}

#[tokio::test]
async fn what_a_policy_refuses_reaches_no_pod() {
    with_app("config-policy", shape(), |app| async move {
        let _manager = app.manager()?;
        let configured = adopted(&app).await?;
        let watch = app.watch_pods().await?;
        let living = watch.history().living(":v1");
        let policy = "apiVersion: trimtab.dev/v1alpha1\nkind: ConfigPolicy\nmetadata: {name: strict}\nspec:\n  \
                      selector: {names: [web]}\n  rules:\n  - {name: short, keys: [app.conf], cel: \"size(text) < 4\", \
                      message: keep it short}\n  - {name: grows-slowly, keys: [app.conf], cel: \"old == null || \
                      size(text) <= size(string(old)) + 1\"}\n";
        app.apply(policy).await?;
        configured.set("far too long").await?;
        let plan = app.wait_reason("ConfigRefused").await?;
        let message = plan.status.context("no status")?.message;
        let says = "cm/web is refused: app.conf: keep it short (rule short of ConfigPolicy strict), and 1 more";
        ensure!(message.starts_with(says), "{message}");
        app.kubectl(&["wait", "--for=condition=Stalled", "releaseplan/web", "--timeout=10s"]).await?;
        ensure!(watch.history().living(":v1") == living, "pods were touched");
        delete_one(&app, &configured, "a").await?;
        configured.wait_counts(&[("a", 4)]).await?;
        configured.set("abc").await?;
        // One letter became three: the other rule.
        app.wait_plan("the second rule", |plan| {
            plan.status.as_ref().is_some_and(|status| status.message.contains("grows-slowly"))
        })
        .await?;
        configured.set("ab").await?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("ab", 4)]).await
    })
    .await;
}
