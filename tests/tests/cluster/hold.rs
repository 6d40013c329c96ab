//! The hold, on a real API server and with no process of ours: each rule of it. The policies are what `kubectl apply -f
//! crds/` brings; the Deployment is guarded by hand.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, with_app};

async fn with_guarded<F, Fut>(name: &str, test: F)
where
    F: FnOnce(App) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    with_app(name, Shape { with_plan: false, ..Shape::default() }, |app| async move {
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        app.kubectl(&["annotate", "deployment/web", "trimtab.dev/plan=web"]).await?;
        test(app).await
    })
    .await;
}

async fn mark(app: &App) -> Result<String> {
    Ok(app.deployment().await?.annotations().get("trimtab.dev/held").cloned().unwrap_or_default())
}

#[tokio::test]
async fn the_first_creation_and_a_change_beside_the_template_are_not_held() {
    with_guarded("hold-first", |app| async move {
        ensure!(!app.is_held().await?, "held from the start");
        app.kubectl(&["label", "deployment/web", "team=a"]).await?;
        app.kubectl(&["scale", "deployment/web", "--replicas=5"]).await?;
        ensure!(!app.is_held().await?, "a label or a size is no change of the template");
        app.wait_settled(5).await
    })
    .await;
}

#[tokio::test]
async fn a_change_of_the_template_is_held_with_the_name_of_who_made_it() {
    with_guarded("hold-who", |app| async move {
        let printed = app.kubectl(&["set", "image", "deployment/web", "web=trimtab.local/sample:v2"]).await?;
        ensure!(printed.contains("waits for a release under ReleasePlan web"), "{printed}");
        ensure!(mark(&app).await? == "by trimtab-admin", "{}", mark(&app).await?);
        let printed = app.kubectl(&["rollout", "resume", "deployment/web"]).await?;
        ensure!(printed.contains("waits for a release") && app.is_held().await?, "resume released it: {printed}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_user_named_released_releases_nothing() {
    with_guarded("hold-name", |app| async move {
        let image = "web=trimtab.local/sample:v2";
        app.kubectl(&["set", "image", "deployment/web", image, "--as=released", "--as-group=system:masters"]).await?;
        ensure!(app.is_held().await? && mark(&app).await? == "by released", "{}", mark(&app).await?);
        app.kubectl(&["label", "deployment/web", "team=a"]).await?;
        ensure!(app.is_held().await?, "the next write let it go");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repeated_apply_changes_nothing_and_its_diff_is_empty() {
    with_guarded("hold-gitops", |app| async move {
        let manifest = app.deployment_yaml("v2");
        app.apply(&manifest).await?;
        ensure!(app.is_held().await?, "not held");
        let printed = app.apply(&manifest).await?;
        ensure!(printed.contains("deployment.apps/web unchanged"), "{printed}");
        let diff = app.kubectl_with(&["diff", "-f", "-"], &manifest).await?;
        ensure!(!diff.contains("paused") && !diff.contains("image"), "{diff}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repeated_server_side_apply_neither_unpauses_nor_conflicts() {
    with_guarded("hold-ssa", |app| async move {
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-"];
        app.kubectl_with(&apply, &app.deployment_yaml("v2")).await?;
        ensure!(app.is_held().await?, "not held");
        let again = ["apply", "--server-side", "--field-manager=gitops", "-f", "-"];
        app.kubectl_with(&again, &app.deployment_yaml("v2")).await?;
        ensure!(app.is_held().await?, "the repeated apply released it");
        app.kubectl_with(&again, &app.deployment_yaml("v3")).await?;
        ensure!(app.is_held().await?, "the next apply released it");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_put_that_drops_every_annotation_stays_guarded_and_held() {
    with_guarded("hold-put", |app| async move {
        let bare = |tag: &str| app.deployment_yaml(tag).split("---").next().unwrap_or_default().to_owned();
        app.kubectl_with(&["replace", "-f", "-"], &bare("v1")).await?;
        let guarded = app.deployment().await?.annotations().get("trimtab.dev/plan").cloned();
        ensure!(guarded.as_deref() == Some("web"), "the guard was dropped: {guarded:?}");
        app.kubectl_with(&["replace", "-f", "-"], &bare("v2")).await?;
        ensure!(app.is_held().await?, "not held");
        app.kubectl_with(&["replace", "-f", "-"], &bare("v2")).await?;
        ensure!(app.is_held().await?, "a second PUT released it");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn one_write_of_both_fields_releases_and_nothing_less_does() {
    with_guarded("hold-release", |app| async move {
        app.set_image("v2").await?;
        app.kubectl(&["patch", "deployment/web", "-p", r#"{"spec":{"paused":false}}"#]).await?;
        ensure!(app.is_held().await?, "unpausing alone released it");
        app.kubectl(&["annotate", "deployment/web", "trimtab.dev/held-"]).await?;
        ensure!(app.is_held().await?, "absence released it");
        let both = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;
        app.kubectl(&["patch", "deployment/web", "-p", both]).await?;
        ensure!(!app.is_held().await?, "still held");
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        // A change in the same write as a release is held all the same.
        let smuggled = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false,
            "template":{"metadata":{"annotations":{"smuggled":"yes"}}}}}"#;
        app.kubectl(&["patch", "deployment/web", "-p", smuggled]).await?;
        ensure!(app.is_held().await?, "a template was smuggled in with a release");
        Ok(())
    })
    .await;
}

/// How a manifest is written again.
const WAYS: [&[&str]; 3] = [
    &["replace", "-f", "-"],
    &["apply", "-f", "-"],
    &["apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-"],
];

/// The Deployment as `kubectl get -o yaml` gives it, with the sample image of this tag. `clean` takes off what belongs to one
/// stored object, as tools that move manifests do; `change` is what a person wrote into it.
async fn exported(app: &App, tag: &str, clean: bool, change: &serde_json::Value) -> Result<String> {
    let mut manifest: serde_json::Value =
        serde_json::from_str(&app.kubectl(&["get", "deployment/web", "-o=json"]).await?)?;
    if let Some(map) = manifest.as_object_mut() {
        map.remove("status");
    }
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = format!("trimtab.local/sample:{tag}").into();
    if let Some(meta) = manifest["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        // Server-side apply refuses a manifest that has it.
        meta.remove("managedFields");
        if clean {
            ["uid", "generation", "creationTimestamp"].iter().for_each(|field| drop(meta.remove(*field)));
        }
    }
    for (path, value) in change.as_object().into_iter().flatten() {
        let (parent, name) = path.rsplit_once(' ').unwrap_or(("", path.as_str()));
        if let Some(map) = manifest.pointer_mut(parent).and_then(serde_json::Value::as_object_mut) {
            map.insert(name.to_owned(), value.clone());
        }
    }
    Ok(manifest.to_string())
}

/// Writes a manifest. kubectl reads the version that it replaces, and Kubernetes' own controllers write meanwhile.
async fn written(app: &App, way: &[&str], manifest: &str) -> Result<()> {
    eventually("the manifest to be written", Duration::from_secs(30), async || {
        match app.kubectl_with(way, manifest).await {
            Err(error) if error.to_string().contains("the object has been modified") => Ok(None),
            said => said.map(Some),
        }
    })
    .await
    .map(drop)
}

/// A release that a person made, so that the Deployment bears the mark of one.
async fn release_by_hand(app: &App) -> Result<()> {
    let both = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;
    app.kubectl(&["patch", "deployment/web", "-p", both]).await?;
    ensure!(!app.is_held().await?, "an emergency release was refused: {}", mark(app).await?);
    app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_manifest_that_is_written_again_releases_nothing() {
    with_guarded("hold-again", |app| async move {
        let old = serde_json::json!({"/metadata/annotations trimtab.dev/held": "released"});
        let meant = serde_json::json!({"/metadata/annotations trimtab.dev/held": "released", "/spec paused": false});
        let (mut turn, mut failed) = (0, vec![]);
        for way in WAYS {
            for (clean, change) in
                [(false, &serde_json::Value::Null), (true, &serde_json::Value::Null), (true, &old), (true, &meant)]
            {
                turn += 1;
                let tag = if turn % 2 == 0 { "v3" } else { "v2" };
                let manifest = exported(&app, tag, clean, change).await?;
                // Held by somebody else's change first, some of the times: then the manifest changes no template.
                if turn % 3 == 0 {
                    app.set_image(tag).await?;
                }
                for _ in 0..3 {
                    written(&app, way, &manifest).await?;
                    if !app.is_held().await? {
                        failed.push(format!("{way:?} clean={clean} {change}: {}", mark(&app).await?));
                        break;
                    }
                }
                release_by_hand(&app).await?;
            }
        }
        ensure!(failed.is_empty(), "released by a manifest: {failed:#?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_mark_of_an_earlier_version_keeps_the_guard_and_releases_nothing() {
    with_guarded("hold-upgrade", |app| async move {
        // As a version before marks named a generation left it.
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await?;
        app.kubectl(&["annotate", "deployment/web", "trimtab.dev/held=released"]).await?;
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan=web"]).await?;
        let manifest = exported(&app, "v2", true, &serde_json::Value::Null).await?;
        ensure!(manifest.contains(r#""trimtab.dev/held":"released""#), "{manifest}");
        for _ in 0..3 {
            app.kubectl_with(&["replace", "-f", "-"], &manifest).await?;
            ensure!(app.is_held().await?, "released by {}", mark(&app).await?);
        }
        release_by_hand(&app).await?;
        ensure!(mark(&app).await?.starts_with("released at generation "), "{}", mark(&app).await?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nobody_is_named_who_did_not_make_the_change() {
    with_guarded("hold-author", |app| async move {
        app.kubectl(&["annotate", "deployment/web", "trimtab.dev/held=by bob"]).await?;
        ensure!(mark(&app).await?.is_empty(), "{}", mark(&app).await?);
        let forged = r#"{"metadata":{"annotations":{"trimtab.dev/held":"by bob"}}}"#;
        app.kubectl(&["patch", "deployment/web", "--subresource=status", "--type=merge", "-p", forged]).await?;
        app.set_image("v2").await?;
        ensure!(mark(&app).await? == "by trimtab-admin", "{}", mark(&app).await?);
        // Whoever keeps releases holds in their author's name what a person has paused while it rolled, and nothing else is that pause.
        release_by_hand(&app).await?;
        let annotate = ["annotate", "deployment/web", "trimtab.dev/held=paused, by ann", "--overwrite"];
        app.kubectl(&annotate).await?;
        ensure!(mark(&app).await?.starts_with("released at "), "{}", mark(&app).await?);
        app.kubectl(&["rollout", "pause", "deployment/web"]).await?;
        app.kubectl(&annotate).await?;
        ensure!(mark(&app).await? == "paused, by ann", "{}", mark(&app).await?);
        app.kubectl(&["rollout", "resume", "deployment/web"]).await?;
        ensure!(mark(&app).await? == "by ann" && app.is_held().await?, "{}", mark(&app).await?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_undo_brings_no_opt_out_back() {
    with_guarded("hold-undo", |app| async move {
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await?;
        app.set_image("v2").await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan=web"]).await?;
        app.set_image("v3").await?;
        release_by_hand(&app).await?;
        app.kubectl(&["rollout", "undo", "deployment/web"]).await?;
        let guard = app.deployment().await?.annotations().get("trimtab.dev/plan").cloned();
        ensure!(guard.as_deref() == Some("web") && app.is_held().await?, "opted out by an undo: {guard:?}");
        // Nor does a manifest of that time, however often it is written.
        let opted_out = serde_json::json!({"/metadata/annotations trimtab.dev/plan": ""});
        for image in ["v3", "v4"] {
            let manifest = exported(&app, image, true, &opted_out).await?;
            for way in [["replace", "-f", "-"], ["apply", "-f", "-"]] {
                for _ in 0..3 {
                    written(&app, &way, &manifest).await?;
                    let guard = app.deployment().await?.annotations().get("trimtab.dev/plan").cloned();
                    ensure!(guard.as_deref() == Some("web") && app.is_held().await?, "{way:?} of {image}: {guard:?}");
                }
            }
        }
        // By a write of its own it is possible.
        app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await?;
        let guard = app.deployment().await?.annotations().get("trimtab.dev/plan").cloned();
        ensure!(guard.as_deref() == Some(""), "{guard:?}");
        Ok(())
    })
    .await;
}

/// Whoever created the Deployment, a manifest that is applied to it opts nothing out and releases nothing; a write of its own does both,
/// also one by what created it.
#[tokio::test]
async fn a_manifest_that_is_applied_decides_nothing_whatever_created_the_deployment() {
    with_guarded("hold-created", |app| async move {
        let console = "--field-manager=console";
        for created in [["create", console, "-f", "-"], ["apply", "--server-side", "-f", "-"]] {
            app.kubectl(&["delete", "deployment/web", "service/web", "--wait"]).await?;
            app.kubectl_with(&created, &app.deployment_yaml("v1")).await?;
            app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
            app.kubectl(&["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan=web"]).await?;
            let guard = async || {
                let guard = app.deployment().await?.annotations().get("trimtab.dev/plan").cloned();
                Ok::<String, anyhow::Error>(guard.unwrap_or_default())
            };
            let opted_out = serde_json::json!({"/metadata/annotations trimtab.dev/plan": ""});
            let released =
                serde_json::json!({"/metadata/annotations trimtab.dev/held": "released", "/spec paused": false});
            for (image, change) in [("v1", &opted_out), ("v2", &opted_out), ("v2", &released)] {
                let manifest = exported(&app, image, true, change).await?;
                for way in ["apply", "apply"] {
                    written(&app, &[way, "-f", "-"], &manifest).await?;
                    ensure!(guard().await? == "web", "{created:?}: opted out by {way} of {manifest}");
                    ensure!(app.is_held().await? == (image == "v2"), "{created:?}: released by {way} of {manifest}");
                }
            }
            let patch = async |body: &str| app.kubectl(&["patch", "deployment/web", console, "-p", body]).await;
            patch(r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#).await?;
            ensure!(!app.is_held().await?, "{created:?}: a write of its own releases");
            patch(r#"{"metadata":{"annotations":{"trimtab.dev/plan":""}}}"#).await?;
            ensure!(guard().await?.is_empty(), "{created:?}: a write of its own opts out");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_write_of_a_subresource_gets_nothing_past_the_hold() {
    with_guarded("hold-status", |app| async move {
        app.set_image("v2").await?;
        for body in [
            r#"{"metadata":{"annotations":{"trimtab.dev/held":"released","trimtab.dev/plan":""}},"spec":{"paused":false}}"#,
            r#"{"metadata":{"annotations":{"trimtab.dev/held":null,"trimtab.dev/plan":null}}}"#,
        ] {
            app.kubectl(&["patch", "deployment/web", "--subresource=status", "--type=merge", "-p", body]).await?;
            let annotations = app.deployment().await?.annotations().clone();
            let guard = annotations.get("trimtab.dev/plan").map(String::as_str);
            ensure!(guard == Some("web") && mark(&app).await? == "by trimtab-admin", "{annotations:?}");
        }
        app.kubectl(&["scale", "deployment/web", "--replicas=3"]).await?;
        let both = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;
        app.kubectl(&["patch", "deployment/web", "--dry-run=server", "-p", both]).await?;
        ensure!(app.is_held().await?, "let go: {}", mark(&app).await?);
        Ok(())
    })
    .await;
}

/// A mutator that runs beside ours and changes the template of labelled Deployments.
fn mutator(name: &str) -> String {
    format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints:
    objectSelector: {{matchLabels: {{mutate-me: {name}}}}}
    resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{{spec: Object.spec{{template: Object.spec.template{{metadata: Object.spec.template.metadata{{annotations: {{"by": "{name}"}}}}}}}}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}}}
"#
    )
}

/// One mutator sorts before our policy and one behind it: whichever runs first, what it changes is held.
async fn check_mutator(name: &str) {
    let policy = mutator(name);
    let label = format!("mutate-me={name}");
    with_guarded("hold-mutator", |app| async move {
        app.apply(&policy).await?;
        let result = eventually("the mutator to be in force", Duration::from_secs(30), async || {
            app.kubectl(&["label", "--overwrite", "deployment/web", &label]).await?;
            app.kubectl(&["label", "--overwrite", "deployment/web", &format!("look={}", uuid_like())]).await?;
            let deployment = app.deployment().await?;
            let template = deployment.spec.map(|s| s.template).and_then(|t| t.metadata).and_then(|m| m.annotations);
            Ok(template.is_some_and(|annotations| annotations.contains_key("by")).then_some(()))
        })
        .await;
        let held = app.is_held().await;
        app.kubectl_with(&["delete", "-f", "-"], &policy).await?;
        result?;
        ensure!(held?, "what another mutator changed was not held");
        Ok(())
    })
    .await;
}

fn uuid_like() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos().to_string()
}

#[tokio::test]
async fn a_template_changed_by_a_mutator_before_ours_is_held() {
    check_mutator("aaa-trimtab-test").await;
}

#[tokio::test]
async fn a_template_changed_by_a_mutator_behind_ours_is_held() {
    check_mutator("zzz-trimtab-test").await;
}

#[tokio::test]
async fn a_write_that_changes_what_has_no_replicas_does_not_wake_it_and_the_next_one_does() {
    with_guarded("hold-asleep", |app| async move {
        app.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
        let both = r#"{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"web","image":"trimtab.local/sample:v2"}]}}}}"#;
        let size = async || anyhow::Ok(app.deployment().await?.spec.and_then(|spec| spec.replicas));
        app.kubectl(&["patch", "deployment/web", "-p", both]).await?;
        ensure!(app.is_held().await? && size().await? == Some(0), "{:?} replicas, {}", size().await?, mark(&app).await?);
        let wish = async || anyhow::Ok(app.deployment().await?.annotations().get("trimtab.dev/wake-to").cloned());
        let noted = wish().await?;
        ensure!(noted.as_deref().is_some_and(|note| note.starts_with("3 at generation ")), "{noted:?}");
        // No write of the status changes it.
        let forged = r#"{"metadata":{"annotations":{"trimtab.dev/wake-to":"9 at generation 1"}},"spec":{"replicas":9}}"#;
        app.kubectl(&["patch", "deployment/web", "--subresource=status", "--type=merge", "-p", forged]).await?;
        ensure!(wish().await? == noted, "{:?}", wish().await?);
        app.kubectl(&["patch", "deployment/web", "-p", both]).await?;
        ensure!(app.is_held().await? && size().await? == Some(3), "{:?} replicas, {}", size().await?, mark(&app).await?);
        ensure!(wish().await?.is_none(), "{:?}", wish().await?);
        // Nor does anybody else write one.
        app.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
        for more in [&["--subresource=status"][..], &[]] {
            let write = ["patch", "deployment/web", "--type=merge", "-p", forged_at_0()];
            app.kubectl(&[&write[..], more].concat()).await?;
            ensure!(wish().await?.is_none(), "{more:?}: {:?}", wish().await?);
        }
        Ok(())
    })
    .await;
}

/// A note that nobody but the policy may write.
fn forged_at_0() -> &'static str {
    r#"{"metadata":{"annotations":{"trimtab.dev/wake-to":"9 at generation 1"}}}"#
}
