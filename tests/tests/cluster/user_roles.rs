//! What people with each role can do to a workload with a plan, and what they cannot, each tried as such a person: the rows of
//! `docs/reference/security.md` that are about releases. What the roles are is the chart's, see `chart/roles.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use serde_json::{Value, json};
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, rights, with_app};

const PATIENCE: Duration = Duration::from_secs(30);

const RELEASE: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;
const FORGED: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"by bob"}},"spec":{"paused":true}}"#;
const STATUS: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released","trimtab.dev/plan":""}}}"#;

/// Binds a person of this name to rules of their own in the namespace.
async fn person(app: &App, name: &str, rules: Value) -> Result<()> {
    let (api, namespace) = ("rbac.authorization.k8s.io", app.namespace());
    let metadata = json!({"name": name, "namespace": namespace});
    let role = json!({"apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata, "rules": &rules});
    let binding = json!({
        "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": api, "kind": "User", "name": format!("{name}-{namespace}")}],
    });
    let (last, text) = (&rules[rules.as_array().map_or(0, |all| all.len().saturating_sub(1))], |value: &Value| {
        value.as_array().and_then(|all| all.last()?.as_str()).unwrap_or_default().to_owned()
    });
    let (verb, resource, group) = (text(&last["verbs"]), text(&last["resources"]), text(&last["apiGroups"]));
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    let (resource, subresource) = (format!("{resource}.{group}"), format!("--subresource={subresource}"));
    rights::apply(&app.cluster_client().await?, namespace, &[role, binding]).await?;
    // The API server's own view of roles is a moment late.
    eventually("the role to be in force", PATIENCE, async || {
        let asked = as_person(app, name, &["auth", "can-i", &verb, &resource, &subresource]).await;
        Ok(asked.is_ok_and(|said| said.contains("yes")).then_some(()))
    })
    .await
}

/// A workload with a change that is held.
async fn held(app: &App) -> Result<()> {
    app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    app.kubectl(&["annotate", "deployment/web", "trimtab.dev/plan=web"]).await?;
    app.set_image("v2").await?;
    app.apply(&app.plan_yaml()).await.map(drop)
}

/// kubectl as a person.
async fn as_person(app: &App, name: &str, arguments: &[&str]) -> Result<String> {
    let who = format!("--as={name}-{}", app.namespace());
    app.kubectl(&[arguments, &[who.as_str()][..]].concat()).await
}

async fn mark(app: &App) -> Result<String> {
    Ok(app.deployment().await?.annotations().get("trimtab.dev/held").cloned().unwrap_or_default())
}

/// Kubernetes refuses it, by its own rules.
async fn check_refused(app: &App, name: &str, arguments: &[&str]) -> Result<()> {
    let refused = as_person(app, name, arguments).await.err().with_context(|| format!("{name} may {arguments:?}"))?;
    ensure!(refused.to_string().contains("forbidden"), "{refused}");
    ensure!(app.is_held().await?, "let go by {name} with {arguments:?}");
    Ok(())
}

/// It is done, and lets nothing go.
async fn check_harmless(app: &App, name: &str, arguments: &[&str]) -> Result<()> {
    let before = mark(app).await?;
    as_person(app, name, arguments).await?;
    let after = mark(app).await?;
    ensure!(app.is_held().await? && before == after, "{name} with {arguments:?}: {before} became {after}");
    let guard = app.deployment().await?.annotations().get("trimtab.dev/plan").cloned();
    ensure!(guard.as_deref() == Some("web"), "guarded by {guard:?}");
    Ok(())
}

#[tokio::test]
async fn who_may_view_or_operate_changes_no_deployment() {
    with_app("role-operate", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        held(&app).await?;
        let kinds = json!(["releaseplans", "releases", "configpolicies", "autoscalers"]);
        let see = json!({"apiGroups": ["trimtab.dev"], "resources": kinds, "verbs": ["get", "list", "watch"]});
        let ask = json!({"apiGroups": ["trimtab.dev"], "resources": ["releaseplans"], "verbs": ["patch"]});
        person(&app, "view", json!([see])).await?;
        person(&app, "operate", json!([see, ask])).await?;
        for name in ["view", "operate"] {
            as_person(&app, name, &["get", "releaseplan/web"]).await?;
            check_refused(&app, name, &["patch", "deployment/web", "-p", RELEASE]).await?;
            check_refused(
                &app,
                name,
                &["patch", "releaseplan/web", "--subresource=status", "--type=merge", "-p", r#"{"status":{}}"#],
            )
            .await?;
            check_refused(&app, name, &["delete", "releaseplan/web"]).await?;
        }
        check_refused(&app, "view", &["annotate", "releaseplan/web", "trimtab.dev/request=promote:1"]).await?;
        check_harmless(&app, "operate", &["annotate", "releaseplan/web", "trimtab.dev/request=promote:1"]).await
    })
    .await;
}

#[tokio::test]
async fn who_may_patch_deployments_releases_on_purpose_and_under_their_own_name() {
    with_app("role-edit", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        held(&app).await?;
        let apps = |resources: &[&str]| json!([{"apiGroups": ["apps"], "resources": resources, "verbs": ["get", "patch", "update"]}]);
        person(&app, "status", apps(&["deployments/status"])).await?;
        person(&app, "scale", apps(&["deployments/scale"])).await?;
        person(&app, "deployer", apps(&["deployments", "deployments/status", "deployments/scale"])).await?;
        let status = ["patch", "deployment/web", "--subresource=status", "--type=merge", "-p", STATUS];
        let scale = ["patch", "deployment/web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":3}}"#];
        for (name, arguments) in [("status", status), ("deployer", status), ("scale", scale), ("deployer", scale)] {
            check_harmless(&app, name, &arguments).await?;
        }
        check_refused(&app, "status", &["patch", "deployment/web", "-p", RELEASE]).await?;
        check_refused(&app, "scale", &["patch", "deployment/web", "-p", RELEASE]).await?;
        check_harmless(&app, "deployer", &["patch", "deployment/web", "-p", FORGED]).await?;
        check_harmless(&app, "deployer", &["patch", "deployment/web", "--dry-run=server", "-p", RELEASE]).await?;
        as_person(&app, "deployer", &["patch", "deployment/web", "-p", RELEASE]).await?;
        let who = mark(&app).await?;
        ensure!(who.ends_with(&format!(" by deployer-{}", app.namespace())), "{who}");
        // What rolls is not stopped in another's name: a pause is their own.
        as_person(&app, "deployer", &["patch", "deployment/web", "-p", FORGED]).await?;
        ensure!(!app.is_held().await? && mark(&app).await? == who, "{}", mark(&app).await?);
        as_person(&app, "deployer", &["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn who_keeps_releases_stops_what_rolls_in_the_name_of_its_author() {
    with_app("role-keeper", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        held(&app).await?;
        let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "patch"]});
        person(&app, "keeper", json!([rule("apps", "deployments"), rule("trimtab.dev", "releaseplans/status")])).await?;
        as_person(&app, "keeper", &["patch", "deployment/web", "-p", RELEASE]).await?;
        as_person(&app, "keeper", &["patch", "deployment/web", "-p", FORGED]).await?;
        ensure!(app.is_held().await? && mark(&app).await? == "by bob", "{}", mark(&app).await?);
        Ok(())
    })
    .await;
}
