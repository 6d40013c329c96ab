//! What people with each role can do to a workload with a plan, and what they cannot, each tried as such a person: the rows of
//! `docs/reference/security.md` that are about releases. What the roles are is the chart's, see `chart/roles.rs`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use trimtab_crds::Phase;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Configured, Ended, Shape, binary, rights, with_app};

const RBAC: &str = "rbac.authorization.k8s.io";
const PATIENCE: Duration = Duration::from_secs(30);

const RELEASE: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;
const FORGED: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"by bob"}},"spec":{"paused":true}}"#;
const STATUS: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released","trimtab.dev/plan":""}}}"#;

/// Somebody with a role in the namespace, and a token of their own to show for it.
struct Person {
    name: &'static str,
    account: String,
    kubeconfig: PathBuf,
}

impl Drop for Person {
    fn drop(&mut self) {
        // Nobody reads it any more.
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// Makes somebody with rules of their own in the namespace.
async fn person(app: &App, name: &'static str, rules: Value) -> Result<Person> {
    let metadata = json!({"name": name, "namespace": app.namespace()});
    let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": metadata, "rules": &rules});
    let text = |value: &Value| value.as_array().and_then(|all| all.last()?.as_str()).unwrap_or_default().to_owned();
    let last = &rules[rules.as_array().map_or(0, |all| all.len().saturating_sub(1))];
    let asked = [text(&last["verbs"]), text(&last["resources"]), text(&last["apiGroups"])];
    bound(app, name, vec![role], json!({"apiGroup": RBAC, "kind": "Role", "name": name}), asked).await
}

/// Makes somebody with the role `edit` that every cluster has.
async fn editor(app: &App) -> Result<Person> {
    let role = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": "edit"});
    let asked = ["patch", "replicasets", "apps"].map(str::to_owned);
    bound(app, "editor", vec![], role, asked).await
}

async fn bound(
    app: &App,
    name: &'static str,
    mut objects: Vec<Value>,
    role: Value,
    asked: [String; 3],
) -> Result<Person> {
    let (client, namespace) = (app.cluster_client().await?, app.namespace());
    let metadata = json!({"name": name, "namespace": namespace});
    objects.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}));
    objects.push(json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": metadata, "roleRef": role,
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }));
    rights::apply(&client, namespace, &objects).await?;
    let token = rights::with_token(&client, app.kubeconfig(), namespace, name).await?;
    let kubeconfig = std::env::temp_dir().join(format!("{namespace}-{name}.kubeconfig"));
    std::fs::write(&kubeconfig, token)?;
    let person = Person { name, account: format!("system:serviceaccount:{namespace}:{name}"), kubeconfig };
    let [verb, resource, group] = asked;
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let subresource = format!("--subresource={subresource}");
    // The API server's own view of roles is a moment late.
    eventually("the role to be in force", PATIENCE, async || {
        let asked = as_person(app, &person, &["auth", "can-i", &verb, &resource, &subresource]).await;
        Ok(asked.is_ok_and(|said| said.contains("yes")).then_some(()))
    })
    .await?;
    Ok(person)
}

/// A workload with a change that is held.
async fn held(app: &App) -> Result<()> {
    app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    app.kubectl(&["annotate", "deployment/web", "trimtab.dev/plan=web"]).await?;
    app.set_image("v2").await?;
    app.apply(&app.plan_yaml()).await.map(drop)
}

/// kubectl as a person: the last kubeconfig on its command line counts.
async fn as_person(app: &App, person: &Person, arguments: &[&str]) -> Result<String> {
    let who = format!("--kubeconfig={}", person.kubeconfig.display());
    app.kubectl(&[arguments, &[who.as_str()][..]].concat()).await
}

async fn mark(app: &App) -> Result<String> {
    Ok(app.deployment().await?.annotations().get("trimtab.dev/held").cloned().unwrap_or_default())
}

/// Kubernetes refuses it, by its own rules.
async fn check_refused(app: &App, person: &Person, arguments: &[&str]) -> Result<()> {
    let name = person.name;
    let refused = as_person(app, person, arguments).await.err().with_context(|| format!("{name} may {arguments:?}"))?;
    ensure!(refused.to_string().contains("forbidden"), "{refused}");
    ensure!(app.is_held().await?, "let go by {name} with {arguments:?}");
    Ok(())
}

/// It is done, and lets nothing go.
async fn check_harmless(app: &App, person: &Person, arguments: &[&str]) -> Result<()> {
    let (before, name) = (mark(app).await?, person.name);
    as_person(app, person, arguments).await?;
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
        let view = person(&app, "view", json!([see])).await?;
        let operate = person(&app, "operate", json!([see, ask])).await?;
        for name in [&view, &operate] {
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
        check_refused(&app, &view, &["annotate", "releaseplan/web", "trimtab.dev/request=promote:1"]).await?;
        check_harmless(&app, &operate, &["annotate", "releaseplan/web", "trimtab.dev/request=promote:1"]).await
    })
    .await;
}

#[tokio::test]
async fn who_may_patch_deployments_releases_on_purpose_and_under_their_own_name() {
    with_app("role-edit", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        held(&app).await?;
        let apps = |resources: &[&str]| json!([{"apiGroups": ["apps"], "resources": resources, "verbs": ["get", "patch", "update"]}]);
        let keeper = person(&app, "status", apps(&["deployments/status"])).await?;
        let scaler = person(&app, "scale", apps(&["deployments/scale"])).await?;
        let deployer = person(&app, "deployer", apps(&["deployments", "deployments/status", "deployments/scale"])).await?;
        let status = ["patch", "deployment/web", "--subresource=status", "--type=merge", "-p", STATUS];
        let scale = ["patch", "deployment/web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":3}}"#];
        for (name, arguments) in [(&keeper, status), (&deployer, status), (&scaler, scale), (&deployer, scale)] {
            check_harmless(&app, name, &arguments).await?;
        }
        check_refused(&app, &keeper, &["patch", "deployment/web", "-p", RELEASE]).await?;
        check_refused(&app, &scaler, &["patch", "deployment/web", "-p", RELEASE]).await?;
        check_harmless(&app, &deployer, &["patch", "deployment/web", "-p", FORGED]).await?;
        check_harmless(&app, &deployer, &["patch", "deployment/web", "--dry-run=server", "-p", RELEASE]).await?;
        as_person(&app, &deployer, &["patch", "deployment/web", "-p", RELEASE]).await?;
        let who = mark(&app).await?;
        ensure!(who.ends_with(&format!(" by {}", deployer.account)), "{who}");
        // What rolls is not stopped in another's name: a pause is their own.
        as_person(&app, &deployer, &["patch", "deployment/web", "-p", FORGED]).await?;
        ensure!(!app.is_held().await? && mark(&app).await? == who, "{}", mark(&app).await?);
        as_person(&app, &deployer, &["annotate", "--overwrite", "deployment/web", "trimtab.dev/plan="]).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn who_keeps_releases_stops_what_rolls_in_the_name_of_its_author() {
    with_app("role-keeper", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        held(&app).await?;
        let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "patch"]});
        let rules = json!([rule("apps", "deployments"), rule("trimtab.dev", "releaseplans/status")]);
        let keeper = person(&app, "keeper", rules).await?;
        as_person(&app, &keeper, &["patch", "deployment/web", "-p", RELEASE]).await?;
        as_person(&app, &keeper, &["patch", "deployment/web", "-p", FORGED]).await?;
        ensure!(app.is_held().await? && mark(&app).await? == "by bob", "{}", mark(&app).await?);
        Ok(())
    })
    .await;
}

/// A Job that somebody wishes to have made by a manager, who may make Jobs where they may not.
const KEPT: &str = r#"
apiVersion: apps/v1
kind: ControllerRevision
metadata:
  name: reloaded-job-mine
  labels: {trimtab.dev/reloaded-job: "true"}
  annotations: {trimtab.dev/replaces: 00000000-0000-0000-0000-000000000000, trimtab.dev/digest: "j1:0"}
revision: 1
data:
  apiVersion: batch/v1
  kind: Job
  spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "trimtab.local/sample:evil"}]}}}
"#;

/// Half of the pods, then a person.
fn half() -> Shape {
    Shape { steps: "[{setWeight: 50}, {pause: {}}]", with_plan: false, ..Shape::default() }
}

#[tokio::test]
async fn who_may_edit_has_no_change_of_the_deployment_run_untried_and_no_job_made() {
    with_app("role-editor", half(), |app| async move {
        let manager = app.manager()?;
        app.apply(&app.plan_yaml()).await?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let stable_pods = watch.history().living(":v1");
        let stable = app.replica_sets().await?.first().context("no ReplicaSet")?.name_any();
        let editor = editor(&app).await?;
        as_person(&app, &editor, &["set", "image", "deployment/web", "web=trimtab.local/sample:v2"]).await?;
        app.wait_phase(Phase::Paused).await?;
        // What keeps the progress is not theirs.
        for arguments in [
            &["patch", "releaseplan/web", "--subresource=status", "--type=merge", "-p", "{}"][..],
            &["delete", "release", "web-1"],
        ] {
            check_refused(&app, &editor, arguments).await?;
        }
        // The canary is theirs to resize, for a moment: it has the size that its step asks for.
        let canary = app.replica_sets().await?.iter().map(ResourceExt::name_any).find(|name| *name != stable);
        let canary = canary.context("no canary")?;
        as_person(&app, &editor, &["scale", "replicaset", &canary, "--replicas=1"]).await?;
        eventually("the canary's size", PATIENCE, async || {
            let set = app.replica_sets().await?.into_iter().find(|set| set.name_any() == canary).context("gone")?;
            Ok((set.spec.and_then(|spec| spec.replicas) == Some(4)).then_some(()))
        })
        .await?;
        // Nor does it leave the plan, or come to the Deployment, which would take stable pods away for it.
        let ownerless = r#"[{"op": "remove", "path": "/metadata/ownerReferences"}]"#;
        as_person(&app, &editor, &["patch", "replicaset", &canary, "--type=json", "-p", ownerless]).await?;
        app.wait_event("CanaryReclaimed").await?;
        // The stable ReplicaSet says that it holds what the Deployment is changed to: that is not believed.
        let image =
            r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"trimtab.local/sample:v3"}]"#;
        as_person(&app, &editor, &["patch", "replicaset", &stable, "--type=json", "-p", image]).await?;
        as_person(&app, &editor, &["set", "image", "deployment/web", "web=trimtab.local/sample:v3"]).await?;
        app.wait_reason("StableChanged").await?;
        ensure!(app.is_held().await?, "let go: {}", mark(&app).await?);
        ensure!(watch.history().living(":v1") == stable_pods, "stable pods were touched");
        ensure!(watch.history().created_with(":v3") == 0, "a change runs that nobody tried");
        // Nor is a Job made of what somebody wrote who may write ControllerRevisions, by the manager or by the way out.
        app.kubectl_with(&["create", "-f", "-"], KEPT).await?;
        app.wait_event("KeptJobUnproven").await?;
        manager.kill()?;
        let line = ["uninstall", "--yes", "--take-back", "-n", app.namespace(), "--lease-name=none", "--timeout=60s"];
        let ended = Ended::of(&binary("trimtab")?, app.kubeconfig(), &line).await?;
        ensure!(ended.out.contains("no Job is made of it"), "{}{}", ended.out, ended.err);
        ensure!(app.api::<Job>().list(&ListParams::default()).await?.items.is_empty(), "a Job was made");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn who_may_change_config_maps_has_them_tried_and_takes_no_copy_from_pods() {
    with_app("role-config", half(), |app| async move {
        let _manager = app.manager()?;
        let configured = Configured::new(&app, "a").await?;
        app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
        app.wait_phase(Phase::Paused).await?;
        app.request("promote-full").await?;
        app.wait_phase(Phase::Stable).await?;
        configured.wait_counts(&[("a", 4)]).await?;
        let verbs = json!(["get", "list", "create", "update", "patch", "delete"]);
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
        let person = person(&app, "config", rules).await?;
        let copies = app.api::<ConfigMap>().list(&ListParams::default().labels("trimtab.dev/config-copy")).await?;
        let copy = copies.items.first().context("no copy")?.name_any();
        let data = r#"{"data":{"app.conf":"evil"}}"#;
        for (arguments, words) in [
            (&["delete", "configmap", copy.as_str()][..], "pods that come back read this copy"),
            (&["patch", "configmap", copy.as_str(), "-p", data], "immutable"),
            (&["label", "configmap", copy.as_str(), "trimtab.dev/config-copy-"], "stay"),
        ] {
            let refused = as_person(&app, &person, arguments).await.err().with_context(|| format!("{arguments:?}"))?;
            ensure!(refused.to_string().contains(words), "{refused}");
        }
        let changed = r#"{"data":{"app.conf":"b"},"binaryData":{"blob":"AP+AYg=="}}"#;
        as_person(&app, &person, &["patch", "configmap", "web", "--type=merge", "-p", changed]).await?;
        app.wait_phase(Phase::Paused).await?;
        configured.wait_counts(&[("a", 4), ("b", 4)]).await?;
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        configured.wait_counts(&[("a", 4)]).await
    })
    .await;
}
