//! Others beside us: what they change, deny or delete while a release is under way changes nothing of the promises, and people read
//! who has to do what. Policies of the API server stand for webhooks, injectors and policy engines.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::DeleteParams};
use serde_json::{Value, json};
use trimtab_crds::{Phase, ReleaseResult};
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, message, rights, with_app};

const PATIENCE: Duration = Duration::from_secs(60);

/// A policy with its binding, for the test's namespace alone. Both go with that.
async fn policy(app: &App, name: &str, kind: &str, mut spec: Value) -> Result<()> {
    let name = format!("{name}-{}", app.namespace());
    let api = "admissionregistration.k8s.io/v1";
    spec["failurePolicy"] = json!("Fail");
    spec["matchConstraints"]["namespaceSelector"] =
        json!({"matchLabels": {"kubernetes.io/metadata.name": app.namespace()}});
    let mut binding = json!({"policyName": name});
    if kind == "ValidatingAdmissionPolicy" {
        binding["validationActions"] = json!(["Deny"]);
    } else {
        spec["reinvocationPolicy"] = json!("IfNeeded");
    }
    let object =
        |kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let objects = [object(kind, spec), object(&format!("{kind}Binding"), binding)];
    rights::apply(&app.cluster_client().await?, app.namespace(), &objects).await
}

fn on(group: &str, operations: &[&str], resource: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": operations, "resources": [resource]}]})
}

fn json_patch(expression: &str) -> Value {
    json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}])
}

/// A sidecar in every pod; other resources for pods of the Deployment's own ReplicaSets, as a VerticalPodAutoscaler gives them, which
/// finds no Deployment behind a canary; an annotation in every Deployment's template; default requests.
async fn mutators(app: &App) -> Result<()> {
    let sidecar = "object.spec.containers.exists(c, c.name == 'proxy') ? [] : [JSONPatch{op: 'add', path: '/spec/containers/-', \
                   value: Object.spec.containers{name: 'proxy', image: 'trimtab.local/sample:proxy', imagePullPolicy: 'Never'}}]";
    let pods = || on("", &["CREATE"], "pods");
    policy(
        app,
        "sidecar",
        "MutatingAdmissionPolicy",
        json!({"matchConstraints": pods(), "mutations": json_patch(sidecar)}),
    )
    .await?;
    // Hashes of our own ReplicaSets begin with a letter that Kubernetes' never hold.
    let sized = "has(object.metadata.labels) && 'pod-template-hash' in object.metadata.labels \
                 && !object.metadata.labels['pod-template-hash'].startsWith('t') \
                 ? [JSONPatch{op: 'add', path: '/spec/containers/0/resources', value: {'requests': {'cpu': '11m'}}}] : []";
    policy(
        app,
        "sized",
        "MutatingAdmissionPolicy",
        json!({"matchConstraints": pods(), "mutations": json_patch(sized)}),
    )
    .await?;
    let stamp = "has(object.spec.template.metadata.annotations) && 'platform' in object.spec.template.metadata.annotations ? [] \
                 : [JSONPatch{op: 'add', path: '/spec/template/metadata/annotations', value: {'platform': 'checked'}}]";
    let deployments = on("apps", &["CREATE", "UPDATE"], "deployments");
    policy(
        app,
        "stamp",
        "MutatingAdmissionPolicy",
        json!({"matchConstraints": deployments, "mutations": json_patch(stamp)}),
    )
    .await?;
    app.apply(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: defaults}\nspec:\n  limits:\n  - {type: Container, defaultRequest: \
         {cpu: 5m}}\n",
    )
    .await
    .map(drop)
}

/// The request of the application's container for processor time, and the names of all containers, of the pods of an image.
async fn made(app: &App, tag: &str) -> Result<Vec<(String, Vec<String>)>> {
    let image = format!("trimtab.local/sample:{tag}");
    let living = app.pods().await?.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let specs = living.filter_map(|pod| pod.spec).filter(|spec| spec.containers[0].image.as_ref() == Some(&image));
    let cpu = |spec: &k8s_openapi::api::core::v1::PodSpec| {
        let requests = spec.containers[0].resources.clone().unwrap_or_default().requests.unwrap_or_default();
        requests.get("cpu").map(|cpu| cpu.0.clone()).unwrap_or_default()
    };
    Ok(specs.map(|spec| (cpu(&spec), spec.containers.iter().map(|c| c.name.clone()).collect())).collect())
}

#[tokio::test]
async fn what_others_change_in_pods_and_templates_changes_nothing_of_a_release() {
    let shape = Shape { with_plan: false, steps: "[{setWeight: 50}, {pause: {}}]", ..Shape::default() };
    with_app("beside-change", shape, |app| async move {
        mutators(&app).await?;
        let with_sidecar = |cpu: &str| (cpu.to_owned(), vec!["web".to_owned(), "proxy".to_owned()]);
        // Until the policies are in force each try is a restart of its own.
        eventually("the policies to be in force", PATIENCE, async || {
            let id = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
            app.kubectl(&["set", "env", "deployment/web", &format!("TRY={id}")]).await?;
            app.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
            app.wait_settled(4).await?;
            let stamped =
                app.kubectl(&["get", "deployment/web", "-o=jsonpath={.spec.template.metadata.annotations}"]).await?;
            let made = made(&app, "v1").await?;
            Ok((stamped.contains("checked") && made.iter().all(|pod| *pod == with_sidecar("11m"))).then_some(()))
        })
        .await?;
        let _manager = app.manager()?;
        app.apply(&app.plan_yaml()).await?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let stable = watch.history().living(":v1");
        app.set_image("v2").await?;
        app.wait_phase(Phase::Paused).await?;
        // What is tried has what the template asks for, and not what somebody recommends for what is stable.
        let tried = made(&app, "v2").await?;
        ensure!(tried == vec![with_sidecar("5m"); 4], "{tried:?}");
        ensure!(watch.history().living(":v1") == stable, "stable pods were touched");
        app.request("promote").await?;
        app.wait_stable("v2").await?;
        app.wait_settled(4).await?;
        ensure!(watch.history().created_with(":v2") == 4, "pods of the new revision were made again");
        // The next change is held and tried like any other: nothing of what others added counts as one.
        app.kubectl(&["label", "deployment/web", "team=a"]).await?;
        ensure!(!app.is_held().await?, "a label counts as a change of the template");
        app.set_image("broken-crash").await?;
        app.wait_phase(Phase::TakenBack).await?;
        app.wait_settled(4).await?;
        app.request("undo").await?;
        app.wait_stable("v2").await?;
        let results: Vec<_> =
            app.releases().await?.iter().filter_map(|r| r.status.as_ref()).map(|s| s.result).collect();
        ensure!(results == [ReleaseResult::Promoted, ReleaseResult::TakenBack], "{results:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_others_deny_is_named_and_an_abort_is_heard() {
    let shape = Shape { steps: "[{setWeight: 50}, {pause: {}}]", ..Shape::default() };
    with_app("beside-deny", shape, |app| async move {
        let _manager = app.manager()?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let stable = watch.history().living(":v1");
        // Pod Security: the pods of the change are denied, and nothing else is.
        let enforce = "pod-security.kubernetes.io/enforce=baseline";
        app.kubectl(&["label", "--overwrite", &format!("namespace/{}", app.namespace()), enforce]).await?;
        let host = r#"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#;
        app.kubectl(&["patch", "deployment/web", "-p", host]).await?;
        app.wait_plan("the words of Pod Security", |plan| message(plan).contains("violates PodSecurity")).await?;
        app.request("undo").await?;
        app.wait_stable("v1").await?;
        // A policy engine denies our writes of one kind.
        let denied = json!({
            "matchConstraints": on("apps", &["UPDATE"], "replicasets"),
            "validations": [{
                "expression": format!(
                    "!request.userInfo.username.startsWith('system:serviceaccount:{}:') || object.spec.replicas <= oldObject.spec.replicas",
                    app.namespace()
                ),
                "message": "ask the platform team",
            }],
        });
        policy(&app, "deny", "ValidatingAdmissionPolicy", denied).await?;
        let set = app.replica_sets().await?.first().context("no ReplicaSet")?.name_any();
        let as_ours = format!("--as=system:serviceaccount:{}:probe", app.namespace());
        let probe = ["patch", "replicaset", &set, "--dry-run=server", "-p", r#"{"spec":{"replicas":9}}"#, &as_ours];
        eventually("the policy to be in force", PATIENCE, async || {
            let said = app.kubectl(&[&probe[..], &["--as-group=system:masters"]].concat()).await;
            Ok(said.is_err_and(|why| why.to_string().contains("ask the platform team")).then_some(()))
        })
        .await?;
        app.set_image("v2").await?;
        let plan = app.wait_reason("WriteRefused").await?;
        let told = message(&plan);
        ensure!(told.contains("ask the platform team") && told.contains("has to allow it"), "{told}");
        app.request("abort").await?;
        app.wait_phase(Phase::TakenBack).await?;
        ensure!(watch.history().living(":v1") == stable, "stable pods were touched");
        let kind = "validatingadmissionpolicybinding";
        app.kubectl(&["delete", kind, &format!("deny-{}", app.namespace())]).await?;
        app.request("retry").await?;
        app.wait_phase(Phase::Paused).await?;
        app.request("promote").await?;
        app.wait_stable("v2").await?;
        app.wait_settled(4).await
    })
    .await;
}

/// A ConfigMap whose name ends in a digest, as generators name them, and the Deployment that reads it.
async fn generated(app: &App, digest: &str) -> Result<()> {
    app.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: app-config-{digest}}}\ndata: {{app.conf: \"{digest}\"}}\n"
    ))
    .await?;
    let patch = format!(
        r#"{{"spec":{{"template":{{"spec":{{"volumes":[{{"name":"config","configMap":{{"name":"app-config-{digest}"}}}}],
            "containers":[{{"name":"web","volumeMounts":[{{"name":"config","mountPath":"/etc/web"}}]}}]}}}}}}}}"#
    );
    app.kubectl(&["patch", "deployment/web", "-p", &patch]).await.map(drop)
}

async fn deadline(app: &App, text: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"progressDeadline":"{text}"}}}}"#);
    app.kubectl(&["patch", "releaseplan/web", "--type=merge", "-p", &patch]).await.map(drop)
}

/// One stable pod is gone and does not come back: its configuration was pruned. Simulated pods do not miss it by themselves.
async fn lose_a_stable_pod(app: &App, digest: &str) -> Result<String> {
    app.kubectl(&["delete", "configmap", &format!("app-config-{digest}")]).await?;
    let reads = |pod: &Pod| {
        serde_json::to_string(&pod.spec).is_ok_and(|spec| spec.contains(&format!("\"app-config-{digest}\"")))
    };
    let pod = app.pods().await?.into_iter().find(reads).context("no stable pod")?.name_any();
    if app.real {
        app.api::<Pod>().delete(&pod, &DeleteParams::default()).await?;
    } else {
        app.kubectl(&["annotate", "pod", &pod, "trimtab.dev/simulate=unready"]).await?;
    }
    Ok(pod)
}

/// The take-back gets nowhere, and says what stable pods miss.
async fn abort_and_stall(app: &App, digest: &str) -> Result<()> {
    app.request("abort").await?;
    app.wait_phase(Phase::TakingBack).await?;
    deadline(app, "3s").await?;
    let plan = app.wait_reason("TakeBackStalled").await?;
    let told = message(&plan);
    let wanted = format!("stable pods read ConfigMap app-config-{digest}, which is not there: create it again");
    ensure!(told.contains(&wanted) && told.contains("kubectl trimtab promote web"), "{told}");
    app.kubectl(&["wait", "--for=condition=Stalled", "releaseplan/web", "--timeout=10s"]).await.map(drop)
}

/// After fluxcd/flux2#3378: the ConfigMap of stable is pruned in mid-release.
#[tokio::test]
async fn a_take_back_whose_configuration_was_pruned_says_what_is_missing_and_has_ways_out() {
    let shape = Shape {
        with_plan: false,
        replicas: 3,
        steps: "[{setCanaryScale: {replicas: 1}}, {pause: {}}]",
        plan: "config: {}",
        ..Shape::default()
    };
    with_app("beside-pruned", shape, |app| async move {
        generated(&app, "h1").await?;
        app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        app.wait_settled(3).await?;
        let _manager = app.manager()?;
        app.apply(&app.plan_yaml()).await?;
        app.wait_phase(Phase::Stable).await?;
        generated(&app, "h2").await?;
        app.wait_phase(Phase::Paused).await?;
        let lost = lose_a_stable_pod(&app, "h1").await?;
        app.wait_plan("what stable pods read", |plan| {
            let conditions = plan.status.iter().flat_map(|status| &status.conditions);
            let about = |c: &trimtab_plan::Condition| c.type_ == "ConfigProtected" && c.status == "False";
            conditions.into_iter().any(|c| about(c) && c.message.contains("app-config-h1") && !c.message.contains("h2"))
        })
        .await?;
        abort_and_stall(&app, "h1").await?;
        ensure!(app.pods().await?.len() == 4, "what serves stays until stable is back");
        // Tried again, and stopped again.
        app.request("retry").await?;
        app.wait_phase(Phase::Paused).await?;
        deadline(&app, "10m").await?;
        abort_and_stall(&app, "h1").await?;
        // An undo is kept until stable is back, which it is once the ConfigMap is.
        let undo = app.request("undo").await?;
        app.wait_plan("the undo to be heard", |plan| {
            plan.status.as_ref().is_some_and(|status| status.handled_request.as_deref() == Some(&undo))
        })
        .await?;
        app.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-config-h1}\ndata: {app.conf: \"h1\"}\n")
            .await?;
        if !app.real {
            app.kubectl(&["annotate", "pod", &lost, "trimtab.dev/simulate-"]).await?;
        }
        app.wait_phase(Phase::Stable).await?;
        app.wait_settled(3).await?;
        // The other way: what is new is kept.
        deadline(&app, "10m").await?;
        generated(&app, "h2").await?;
        app.wait_phase(Phase::Paused).await?;
        lose_a_stable_pod(&app, "h1").await?;
        abort_and_stall(&app, "h1").await?;
        app.request("promote").await?;
        app.wait_phase(Phase::Stable).await?;
        app.wait_settled(3).await?;
        let results: Vec<_> =
            app.releases().await?.iter().filter_map(|r| r.status.as_ref()).map(|s| s.result).collect();
        ensure!(results == [ReleaseResult::TakenBack, ReleaseResult::Promoted], "{results:?}");
        Ok(())
    })
    .await;
}
