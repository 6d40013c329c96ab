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
        let printed = app.set_image("v2").await?;
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
