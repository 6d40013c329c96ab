//! Workloads without a plan that read configuration, of every kind that is reloaded; what was made of them since a moment.
//! What is to become of a change is for the tests to say.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::Patch;
use serde_json::{Value, json};
use trimtab_testkit::eventually;

use crate::{App, ManagerProcess, PodWatch};

const PATIENCE: Duration = Duration::from_secs(90);

/// A workload to make.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its kind, as in a manifest.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Annotations, as YAML: `a: "b", c: "d"`.
    pub annotations: String,
    /// Pods.
    pub replicas: u32,
    /// Annotations of the pod template, as YAML.
    pub template: String,
    /// The variables of the container, as YAML.
    pub env: String,
    /// What it reads into variables, as YAML.
    pub env_from: String,
    /// More of its spec, one field a line.
    pub spec: String,
}

impl Reading {
    /// A Deployment with two pods that reads ConfigMap `web` and Secret `db`.
    pub fn deployment(name: &str) -> Self {
        Self {
            kind: "Deployment",
            name: name.to_owned(),
            annotations: "reloader.stakater.com/auto: \"true\"".to_owned(),
            replicas: 2,
            template: String::new(),
            env: String::new(),
            env_from: "{configMapRef: {name: web}}, {secretRef: {name: db}}".to_owned(),
            spec: String::new(),
        }
    }

    /// The same of another kind.
    #[must_use]
    pub fn of(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// The same with these annotations.
    #[must_use]
    pub fn annotated(self, annotations: &str) -> Self {
        Self { annotations: annotations.to_owned(), ..self }
    }

    /// Its manifest.
    pub fn yaml(&self) -> String {
        let Self { kind, name, annotations, replicas, template, env, env_from, spec } = self;
        let group = if matches!(*kind, "Job" | "CronJob") { "batch/v1" } else { "apps/v1" };
        let counted = matches!(*kind, "Deployment" | "StatefulSet");
        let selected = counted || *kind == "DaemonSet";
        let mut lines = vec![];
        if counted {
            lines.push(format!("replicas: {replicas}"));
        }
        if selected {
            lines.push(format!("selector: {{matchLabels: {{app: {name}}}}}"));
        }
        lines.extend(spec.lines().map(str::to_owned));
        let restart = if selected { "Always" } else { "Never" };
        let pod = format!(
            "{{metadata: {{labels: {{app: {name}}}, annotations: {{{template}}}}}, spec: {{restartPolicy: {restart}, \
             terminationGracePeriodSeconds: 0, containers: [{{name: web, image: \"trimtab.local/sample:v1\", \
             imagePullPolicy: Never, env: [{env}], envFrom: [{env_from}]}}]}}}}"
        );
        lines.push(match *kind {
            "CronJob" => format!("schedule: \"0 0 1 1 *\"\n  jobTemplate: {{spec: {{template: {pod}}}}}"),
            _ => format!("template: {pod}"),
        });
        format!(
            "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  {}\n",
            lines.join("\n  ")
        )
    }
}

/// Workloads of a namespace.
#[derive(Clone)]
pub struct Reloads {
    app: App,
}

impl Reloads {
    /// In a namespace with ConfigMap `web` and Secret `db`, and without what tests of releases need.
    ///
    /// # Errors
    ///
    /// If kubectl fails.
    pub async fn new(app: &App) -> Result<Self> {
        app.kubectl(&["delete", "deployment/web", "--wait=true", "--cascade=foreground"]).await?;
        let reloads = Self { app: app.clone() };
        reloads.set("web", "a").await?;
        app.make_secret().await?;
        Ok(reloads)
    }

    /// Starts a manager with the reloader alone.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn manager(&self, extra: &[&str]) -> Result<ManagerProcess> {
        self.manager_with(None, extra).await
    }

    /// The same with a fault.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn manager_with(&self, fault: Option<&str>, extra: &[&str]) -> Result<ManagerProcess> {
        let mut arguments = vec!["--controllers=reload"];
        if !extra.iter().any(|argument| argument.starts_with("--config-quiet-period")) {
            arguments.push("--config-quiet-period=0s");
        }
        arguments.extend(extra);
        self.app.manager_with(fault, &arguments)
    }

    /// Makes workloads and waits until their pods are there.
    ///
    /// # Errors
    ///
    /// If they do not become available.
    pub async fn make(&self, workloads: &[Reading]) -> Result<()> {
        let yaml: Vec<String> = workloads.iter().map(Reading::yaml).collect();
        self.app.write(&yaml.join("---\n")).await?;
        for workload in workloads {
            if matches!(workload.kind, "Deployment" | "StatefulSet" | "DaemonSet") {
                self.settled(workload.kind, &workload.name).await?;
            }
        }
        Ok(())
    }

    /// Waits until a workload's rollout is done.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub async fn settled(&self, kind: &str, name: &str) -> Result<()> {
        let object = format!("{}/{name}", kind.to_lowercase());
        self.app.kubectl(&["rollout", "status", &object, "--timeout=90s"]).await.map(drop)
    }

    /// Changes a ConfigMap.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn set(&self, name: &str, value: &str) -> Result<()> {
        let yaml =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{VALUE: \"{value}\"}}\n");
        self.app.write(&yaml).await
    }

    /// Changes the Secret.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn set_password(&self, password: &str) -> Result<()> {
        let patch = json!({"stringData": {"password": password}});
        self.app.change("secret/db", "kubectl-patch", Patch::Merge(patch)).await
    }

    /// An object, as JSON.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn get(&self, object: &str) -> Result<Value> {
        self.app.get(object).await
    }

    /// An annotation of a workload.
    ///
    /// # Errors
    ///
    /// If there is no such workload.
    pub async fn annotation(&self, object: &str, name: &str) -> Result<Option<String>> {
        Ok(self.get(object).await?["metadata"]["annotations"][name].as_str().map(str::to_owned))
    }

    /// A variable of a workload's container, by name.
    ///
    /// # Errors
    ///
    /// If there is no such workload.
    pub async fn variable(&self, object: &str, name: &str) -> Result<Option<String>> {
        let found = self.get(object).await?;
        let variables =
            found["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        let variable = variables.into_iter().find(|variable| variable["name"] == name);
        Ok(variable.and_then(|variable| variable["value"].as_str().map(str::to_owned)))
    }

    /// Waits until a variable of the first container has this value, or is gone, and the object's controller has acted on
    /// that. Without the second, two changes may reach a slow controller as one, and [`Reloads::restarts`] misses the first.
    ///
    /// # Errors
    ///
    /// If it never is.
    pub async fn wait_variable(&self, object: &str, name: &str, value: Option<&str>) -> Result<()> {
        eventually(&format!("{name} of {object} to be {value:?}"), PATIENCE, async || {
            let is = self.variable(object, name).await?;
            ensure!(is.as_deref() == value, "it is {is:?}");
            let found = self.get(object).await?;
            let (made, seen) = (&found["metadata"]["generation"], &found["status"]["observedGeneration"]);
            ensure!(seen.as_i64() >= made.as_i64(), "its controller has seen generation {seen} of {made}");
            Ok(Some(()))
        })
        .await
    }

    /// The pod template of a workload.
    ///
    /// # Errors
    ///
    /// If there is no such workload.
    pub async fn template(&self, object: &str) -> Result<Value> {
        Ok(self.get(object).await?["spec"]["template"].clone())
    }

    /// How often a Deployment was restarted: a ReplicaSet for each, beside the first.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub async fn restarts(&self, deployment: &str) -> Result<usize> {
        let sets = self.app.replica_sets().await?;
        let of = |set: &&ReplicaSet| set.owner_references().iter().any(|owner| owner.name == deployment);
        Ok(sets.iter().filter(of).count().saturating_sub(1))
    }

    /// Waits until a workload's record names the live revision of every source that it lists; the record.
    ///
    /// # Errors
    ///
    /// If it never does.
    pub async fn noted(&self, object: &str) -> Result<String> {
        eventually(&format!("{object} to be noted"), PATIENCE, async || {
            self.annotation(object, "trimtab.dev/reload-applied").await
        })
        .await
    }

    /// Waits until the record is another one than this.
    ///
    /// # Errors
    ///
    /// If it never is.
    pub async fn noted_anew(&self, object: &str, before: &str) -> Result<String> {
        eventually(&format!("{object} to be noted anew"), PATIENCE, async || {
            Ok(self.annotation(object, "trimtab.dev/reload-applied").await?.filter(|record| record != before))
        })
        .await
    }

    /// Watches the pods of the namespace.
    ///
    /// # Errors
    ///
    /// If the ones that are there are not seen.
    pub async fn watch(&self) -> Result<(PodWatch, BTreeSet<String>)> {
        let pods = self.app.pods().await?.iter().filter_map(ResourceExt::uid).collect::<BTreeSet<_>>();
        let watch = PodWatch::start(self.app.api());
        eventually("the pods that are there", PATIENCE, async || {
            Ok(pods.iter().all(|uid| watch.history().created.contains_key(uid)).then_some(()))
        })
        .await?;
        let before = watch.history().created.keys().cloned().collect();
        Ok((watch, before))
    }
}
