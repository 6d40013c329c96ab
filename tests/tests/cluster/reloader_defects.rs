//! What goes wrong with Reloader 1.4, each as a test that passes here. Collisions of its digests and of its variables are
//! cases of `crates/reload/tests/engine.rs`, and the rest is on a cluster, in the order of their numbers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use trimtab_testkit::{eventually, with_namespace};
use trimtab_tests::{Account, App, ManagerProcess, Reading, Reloads, Shape, cluster, with_app};

const PATIENCE: Duration = Duration::from_secs(90);
const VARIABLE: &str = "STAKATER_WEB_CONFIGMAP";
const OF_B: &str = "5bfc06431598f174247ce975a634e1f228ad1f8d";
const OF_C: &str = "72bf8ad5cebee08d2accc188c8f9fe55f703c456";

fn shape() -> Shape {
    Shape { replicas: 1, with_plan: false, ..Shape::default() }
}

fn one(name: &str) -> Reading {
    Reading { replicas: 1, ..Reading::deployment(name) }
}

/// A policy of the API server that refuses our patches of one Deployment, until it is taken away.
struct Refused<'a> {
    app: &'a App,
    name: String,
}

impl<'a> Refused<'a> {
    async fn new(app: &'a App, deployment: &str) -> Result<Self> {
        let name = format!("refuse-{}", app.namespace());
        let yaml = format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             matchConstraints:\n    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}\n    \
             resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments], \
             resourceNames: [{deployment}]}}]\n  validations:\n  - expression: \"!request.options.?fieldManager.orValue('').startsWith('trimtab-')\"\n    \
             message: not now\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\n\
             metadata: {{name: {name}}}\nspec: {{policyName: {name}, validationActions: [Deny]}}\n",
            namespace = app.namespace(),
        );
        app.apply(&yaml).await?;
        let refused = Self { app, name };
        eventually("patches to be refused", PATIENCE, async || Ok(refused.refuses(deployment).await.then_some(())))
            .await?;
        Ok(refused)
    }

    async fn refuses(&self, deployment: &str) -> bool {
        let object = format!("deployment/{deployment}");
        let patch = [
            "patch",
            &object,
            "--dry-run=server",
            "--field-manager=trimtab-test",
            "-p",
            r#"{"spec": {"minReadySeconds": 1}}"#,
        ];
        self.app.kubectl(&patch).await.is_err()
    }

    async fn end(self) -> Result<()> {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            self.app.kubectl(&["delete", kind, &self.name]).await?;
        }
        Ok(())
    }
}

/// D2: a retried old event writes back an older digest. D3: one workload that fails holds up or loses the others.
/// D4: what fails is silence.
#[tokio::test]
async fn a_refused_patch_is_made_later_with_what_is_live_then_and_holds_up_nobody() {
    with_app("refused", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[one("a"), one("b")]).await?;
        let manager = reloads.manager(&["--reload-max-per-source=0", "--reload-max-per-namespace=0"]).await?;
        for object in ["deployment/a", "deployment/b"] {
            reloads.noted(object).await?;
        }
        let refused = Refused::new(&app, "a").await?;
        reloads.set("web", "b").await?;
        reloads.wait_variable("deployment/b", VARIABLE, Some(OF_B)).await?;
        says(&manager, &app, "a", "not now").await?;
        reloads.set("web", "c").await?;
        reloads.wait_variable("deployment/b", VARIABLE, Some(OF_C)).await?;
        ensure!(reloads.variable("deployment/a", VARIABLE).await?.is_none(), "the policy did not refuse");
        refused.end().await?;
        reloads.wait_variable("deployment/a", VARIABLE, Some(OF_C)).await?;
        reloads.settled("deployment", "a").await?;
        ensure!(reloads.restarts("a").await? == 1 && reloads.restarts("b").await? == 2);
        Ok(())
    })
    .await;
}

/// Waits until a person who asks why is told.
async fn says(manager: &ManagerProcess, app: &App, name: &str, text: &str) -> Result<()> {
    let path = format!("/debug/why/deployment/{}/{name}", app.namespace());
    eventually(&format!("{name} to say {text:?}"), PATIENCE, async || {
        let (_, why) = manager.get(&path).await?;
        ensure!(why.contains(text), "{why}");
        Ok(Some(()))
    })
    .await
}

/// D5: a deletion that was missed concerns objects of no name in all namespaces.
#[tokio::test]
async fn a_deletion_that_nobody_saw_concerns_its_own_workloads_once() {
    with_app("deleted", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let other = one("other");
        let other = Reading { env_from: "{configMapRef: {name: rest, optional: true}}".to_owned(), ..other };
        let own = Reading { env_from: "{configMapRef: {name: web, optional: true}}".to_owned(), ..one("own") };
        reloads.make(&[own, other]).await?;
        let flags = ["--reload-on-delete=true"];
        let manager = reloads.manager(&flags).await?;
        reloads.noted("deployment/own").await?;
        let rest = reloads.noted("deployment/other").await?;
        reloads.set("web", "b").await?;
        reloads.wait_variable("deployment/own", VARIABLE, Some(OF_B)).await?;
        manager.kill()?;
        app.kubectl(&["delete", "configmap/web"]).await?;
        let _manager = reloads.manager(&flags).await?;
        reloads.wait_variable("deployment/own", VARIABLE, None).await?;
        reloads.settled("deployment", "own").await?;
        ensure!(reloads.restarts("other").await? == 0 && reloads.noted("deployment/other").await? == rest);
        // Without the variable the template is the first one again: that is its ReplicaSet.
        ensure!(reloads.restarts("own").await? == 1, "restarted {} times", reloads.restarts("own").await?);
        Ok(())
    })
    .await;
}

/// D6: pauses of several Deployments at once are a race. D7: and end only with the process that began them.
#[tokio::test]
async fn many_pauses_at_once_end_all_also_after_a_kill() {
    with_app("pauses", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let pause = "reloader.stakater.com/auto: \"true\", deployment.reloader.stakater.com/pause-period: 2s";
        let names: Vec<String> = (0..8).map(|n| format!("app-{n}")).collect();
        reloads.make(&names.iter().map(|name| one(name).annotated(pause)).collect::<Vec<_>>()).await?;
        let flags = ["--reload-max-per-source=0", "--reload-max-per-namespace=0"];
        let manager = reloads.manager(&flags).await?;
        for name in &names {
            reloads.noted(&format!("deployment/{name}")).await?;
        }
        reloads.set("web", "b").await?;
        for name in &names {
            reloads.wait_variable(&format!("deployment/{name}"), VARIABLE, Some(OF_B)).await?;
        }
        manager.kill()?;
        let _manager = reloads.manager(&flags).await?;
        for name in &names {
            eventually(&format!("{name} to roll on"), PATIENCE, async || {
                Ok(reloads.get(&format!("deployment/{name}")).await?["spec"]["paused"].is_null().then_some(()))
            })
            .await?;
            reloads.settled("deployment", name).await?;
            ensure!(reloads.restarts(name).await? == 1);
        }
        Ok(())
    })
    .await;
}

/// D8: every change lists all workloads of the cluster.
#[tokio::test]
async fn a_change_costs_one_request_for_each_workload_that_reads_it_and_none_where_nobody_does() {
    with_app("requests", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[one("a"), one("b"), one("c").annotated("")]).await?;
        let client = app.cluster_client().await?;
        let account = Account::create(&client, app.namespace(), app.kubeconfig()).await?;
        let arguments = ["--controllers=reload", "--config-quiet-period=0s"];
        let _manager = ManagerProcess::start(account.kubeconfig(), app.namespace(), None, &arguments)?;
        for object in ["deployment/a", "deployment/b"] {
            reloads.noted(object).await?;
        }
        let idle = settled(&account).await?;
        for n in 0..20 {
            reloads.set("unread", &n.to_string()).await?;
        }
        reloads.set("web", "b").await?;
        for object in ["deployment/a", "deployment/b"] {
            reloads.wait_variable(object, VARIABLE, Some(OF_B)).await?;
        }
        let busy = settled(&account).await?;
        // A patch and an event each.
        ensure!(busy - idle <= 4, "{} requests for two restarts", busy - idle);
        account.remove().await
    })
    .await;
}

/// The requests so far, once there are no more.
async fn settled(account: &Account) -> Result<u64> {
    eventually("the manager to settle", PATIENCE, async || {
        let before = account.requests().await?.rest;
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok((account.requests().await?.rest == before).then_some(before))
    })
    .await
}

/// D9: a Job whose new copy cannot be created is lost, and a suspended CronJob is run (see `reload.rs` for that).
#[tokio::test]
async fn a_job_that_cannot_be_made_yet_is_made_later() {
    with_app("lost", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[one("once").of("Job")]).await?;
        let _manager = reloads.manager(&[]).await?;
        reloads.noted("job/once").await?;
        let old = reloads.get("job/once").await?["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        app.apply(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {count/jobs.batch: \"0\"}}\n",
        )
        .await?;
        eventually("the quota to count", PATIENCE, async || {
            let used = reloads.get("resourcequota/none").await?["status"]["used"]["count/jobs.batch"].clone();
            Ok((used == "1").then_some(()))
        })
        .await?;
        reloads.set("web", "b").await?;
        eventually("the Job to be gone", PATIENCE, async || {
            Ok(app.api::<Job>().get_opt("once").await?.is_none().then_some(()))
        })
        .await?;
        app.kubectl(&["delete", "resourcequota/none"]).await?;
        eventually("the Job to be made anew", PATIENCE, async || {
            Ok(app.api::<Job>().get_opt("once").await?.filter(|job| job.uid().unwrap_or_default() != old))
        })
        .await
        .map(drop)
    })
    .await;
}

#[tokio::test]
async fn the_variable_of_reloader_s_chart_limits_the_manager_to_its_namespace() {
    with_app("own", shape(), |own| async move {
        let reloads = Reloads::new(&own).await?;
        reloads.make(&[one("own").annotated("trimtab.dev/reload: auto")]).await?;
        let cluster = cluster().await?;
        with_namespace(&cluster.client().await?, "other", async |other| {
            let workload = one("other").annotated("trimtab.dev/reload: auto").yaml();
            own.kubectl_with(&["--namespace", other.name(), "create", "-f", "-"], &workload).await?;
            let arguments =
                ["--controllers=reload", "--admin-addr=127.0.0.1:0", "--metrics-addr=0", "--leader-elect=false"];
            let environment = [("KUBERNETES_NAMESPACE", own.namespace())];
            let kubeconfig = cluster.kubeconfig();
            let _manager = ManagerProcess::with_environment(kubeconfig, own.namespace(), &environment, &arguments)?;
            reloads.noted("deployment/own").await?;
            reloads.set("web", "b").await?;
            eventually("own to be restarted", PATIENCE, async || {
                Ok((reloads.restarts("own").await? == 1).then_some(()))
            })
            .await?;
            // What it looks after at all it has noted by now.
            let read = ["--namespace", other.name(), "get", "deployment/other", "-o", "yaml"];
            let yaml = own.kubectl(&read).await?;
            ensure!(!yaml.contains("trimtab.dev/reload-applied"), "a workload of another namespace is noted: {yaml}");
            Ok(())
        })
        .await
    })
    .await;
}
