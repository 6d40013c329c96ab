//! An application in a namespace: a Deployment, a Service and a ReleasePlan, and what a user does to them with kubectl.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{apps::v1::Deployment, apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};
use trimtab_crds::{Phase, Release, ReleasePlan, names};
use trimtab_testkit::{Cluster, TestNamespace, eventually};

use crate::directly;
use crate::told::condition;
use crate::{ManagerProcess, PodWatch, rights};

/// How long anything in a test may take before it counts as never. Generous: nothing waits for it in a good run.
const LONG: Duration = Duration::from_secs(90);

/// The shape of an application.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Pods.
    pub replicas: i32,
    /// `maxSurge`, as YAML.
    pub max_surge: &'static str,
    /// `maxUnavailable`, as YAML.
    pub max_unavailable: &'static str,
    /// The plan's steps, as YAML.
    pub steps: &'static str,
    /// More of the plan's spec, as YAML, one field a line.
    pub plan: &'static str,
    /// `minReadySeconds`: makes promotion slow enough to do something in the middle of it.
    pub min_ready: u32,
    /// Whether a plan is made at all.
    pub with_plan: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            replicas: 4,
            max_surge: "25%",
            max_unavailable: "25%",
            steps: "[{setWeight: 20}, {pause: {duration: 500ms}}, {setWeight: 50}]",
            plan: "rollbackWindow: 1",
            min_ready: 0,
            with_plan: true,
        }
    }
}

/// An application in a namespace of its own.
#[derive(Clone)]
pub struct App {
    cluster: Arc<Cluster>,
    namespace: TestNamespace,
    /// Its shape when it was deployed.
    pub shape: Shape,
    /// Whether pods really run.
    pub real: bool,
}

impl App {
    pub(crate) fn new(cluster: Arc<Cluster>, namespace: TestNamespace, shape: Shape, real: bool) -> Self {
        Self { cluster, namespace, shape, real }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// The client of its namespace, with the administrator's rights.
    pub(crate) fn client(&self) -> kube::Client {
        self.namespace.client()
    }

    /// The objects of a kind in its namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        self.namespace.api()
    }

    pub(crate) async fn deploy(&self) -> Result<()> {
        self.write(&self.deployment_yaml("v1")).await?;
        if self.shape.with_plan {
            self.write(&self.plan_yaml()).await?;
        }
        Ok(())
    }

    /// The manifest of its Deployment and Service, with the sample image of this tag.
    pub fn deployment_yaml(&self, tag: &str) -> String {
        let Shape { replicas, max_surge, max_unavailable, min_ready, .. } = &self.shape;
        let probe = if self.real {
            "readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}"
        } else {
            "env: [{name: NODES, value: simulated}]"
        };
        // Zeros are left out: the API server drops them, and kubectl would write them again with every apply.
        let min_ready =
            if *min_ready > 0 { format!("minReadySeconds: {min_ready}") } else { "# no minReadySeconds".to_owned() };
        let pre_stop = if self.real { 3 } else { 0 };
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  {min_ready}\n  \
             strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: {max_surge}, maxUnavailable: {max_unavailable}}}}}\n  \
             selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
             terminationGracePeriodSeconds: 10\n      containers:\n      - name: web\n        \
             image: trimtab.local/sample:{tag}\n        imagePullPolicy: Never\n        \
             lifecycle: {{preStop: {{sleep: {{seconds: {pre_stop}}}}}}}\n        {probe}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  selector: {{app: web}}\n  \
             ports: [{{port: 80, targetPort: 8080}}]\n"
        )
    }

    /// The manifest of its plan.
    pub fn plan_yaml(&self) -> String {
        let Shape { steps, plan, .. } = &self.shape;
        format!(
            "apiVersion: trimtab.dev/v1alpha1\nkind: ReleasePlan\nmetadata: {{name: web}}\nspec:\n  \
             targetRef: {{name: web}}\n  {}\n  strategy:\n    canary:\n      steps: {steps}\n",
            plan.replace('\n', "\n  ")
        )
    }

    /// Starts a manager for this namespace alone.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn manager(&self) -> Result<ManagerProcess> {
        self.manager_with(None, &[])
    }

    /// Starts a manager with a fault or further arguments.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn manager_with(&self, fault: Option<&str>, extra: &[&str]) -> Result<ManagerProcess> {
        let arguments = ManagerProcess::arguments(self.namespace(), extra);
        self.manager_exactly(fault, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts a manager with exactly these arguments, as an account that has exactly the rights that follow from them.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn manager_exactly(&self, fault: Option<&str>, arguments: &[&str]) -> Result<ManagerProcess> {
        let kubeconfig = rights::kubeconfig_for(self.cluster.kubeconfig(), self.namespace(), arguments)?;
        let started = ManagerProcess::with_arguments(&kubeconfig, self.namespace(), fault, arguments);
        Ok(started?.removing(kubeconfig))
    }

    /// Gives every account of its namespace a right more, as those do who install other kinds and metrics.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn grant(&self, name: &str, group: &str, resource: &str, verbs: &[&str]) -> Result<()> {
        rights::grant_also(&self.cluster_client().await?, self.namespace(), name, (group, resource, verbs)).await
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    ///
    /// If the kubeconfig makes none.
    pub async fn cluster_client(&self) -> Result<kube::Client> {
        self.cluster.client().await
    }

    /// The address of the cluster's Prometheus, if it has one.
    pub fn prometheus(&self) -> Option<String> {
        self.cluster.prometheus().map(str::to_owned)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.cluster.kubeconfig()
    }

    /// Runs kubectl in the namespace; its output, warnings included.
    ///
    /// # Errors
    ///
    /// If kubectl fails; the error has what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "").await
    }

    /// Runs kubectl with standard input.
    ///
    /// # Errors
    ///
    /// If kubectl fails; the error has what it printed.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(self.cluster.kubectl())
            .arg(format!("--kubeconfig={}", self.cluster.kubeconfig().display()))
            .arg(format!("--namespace={}", self.namespace()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("kubectl takes no input")?.write_all(input.as_bytes()).await?;
        let output = child.wait_with_output().await?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {arguments:?}: {text}");
        Ok(text)
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    ///
    /// If kubectl fails.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], yaml).await
    }

    /// Changes the image as `kubectl set image` does, to the sample image of this tag.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn set_image(&self, tag: &str) -> Result<()> {
        self.change("deployment/web", "kubectl-set", directly::image(&format!("trimtab.local/sample:{tag}"))).await
    }

    /// Asks something of the plan; the request as it was written.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn request(&self, verb: &str) -> Result<String> {
        let id = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let request = format!("{verb}:{id}");
        let patch = json!({"metadata": {"annotations": {"trimtab.dev/request": request}}});
        self.change("releaseplan/web", "kubectl-annotate", Patch::Merge(patch)).await?;
        Ok(request)
    }

    /// The plan as it is.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn plan(&self) -> Result<ReleasePlan> {
        Ok(self.api::<ReleasePlan>().get("web").await?)
    }

    /// The Deployment as it is.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn deployment(&self) -> Result<Deployment> {
        Ok(self.api::<Deployment>().get("web").await?)
    }

    /// All pods, sorted by name.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        Ok(self.api::<Pod>().list(&ListParams::default()).await?.items)
    }

    /// All ReplicaSets.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn replica_sets(&self) -> Result<Vec<ReplicaSet>> {
        Ok(self.api::<ReplicaSet>().list(&ListParams::default()).await?.items)
    }

    /// The records, by number.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn releases(&self) -> Result<Vec<Release>> {
        let mut all = self.api::<Release>().list(&ListParams::default()).await?.items;
        all.sort_by_key(|release| release.spec.sequence);
        Ok(all)
    }

    /// Waits until the plan is as the closure says.
    ///
    /// # Errors
    ///
    /// If that does not happen; the error has the plan's status.
    pub async fn wait_plan(&self, what: &str, mut is: impl FnMut(&ReleasePlan) -> bool) -> Result<ReleasePlan> {
        eventually(what, LONG, async || {
            let plan = self.plan().await?;
            if is(&plan) { Ok(Some(plan)) } else { bail!("{:?}", plan.status) }
        })
        .await
    }

    /// Waits for a phase.
    ///
    /// # Errors
    ///
    /// If it does not come.
    pub async fn wait_phase(&self, phase: Phase) -> Result<ReleasePlan> {
        self.wait_plan(&format!("phase {phase:?}"), |plan| plan.status.as_ref().is_some_and(|s| s.phase == phase)).await
    }

    /// Waits until this image is what is stable and nothing is under way.
    ///
    /// # Errors
    ///
    /// If that does not happen.
    pub async fn wait_stable(&self, tag: &str) -> Result<ReleasePlan> {
        let image = format!("trimtab.local/sample:{tag}");
        self.wait_plan(&format!("{image} to be stable"), |plan| {
            plan.status
                .as_ref()
                .is_some_and(|s| s.phase == Phase::Stable && s.release.is_none() && s.message.contains(&image))
        })
        .await
    }

    /// Waits for the reason that the plan's Ready condition gives.
    ///
    /// # Errors
    ///
    /// If it does not come.
    pub async fn wait_reason(&self, reason: &str) -> Result<ReleasePlan> {
        self.wait_plan(&format!("reason {reason}"), |plan| condition(plan, "Ready").is_some_and(|c| c.1 == reason))
            .await
    }

    /// Starts to watch the pods, once this many are available.
    ///
    /// # Errors
    ///
    /// If they do not become available.
    pub async fn watch_pods(&self) -> Result<PodWatch> {
        let watch = PodWatch::start(self.api());
        let wanted = usize::try_from(self.shape.replicas)?;
        eventually("the first pods", LONG, async || Ok((watch.history().available.len() == wanted).then_some(())))
            .await?;
        watch.judge_from_now();
        Ok(watch)
    }

    /// Waits until as many pods are available as the Deployment asks for, and no others exist.
    ///
    /// # Errors
    ///
    /// If that does not happen.
    pub async fn wait_settled(&self, pods: usize) -> Result<()> {
        eventually("the pods to settle", LONG, async || {
            let all = self.pods().await?;
            let living = all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
            if all.len() == pods && living == pods {
                Ok(Some(()))
            } else {
                bail!("{} pods, {living} living", all.len())
            }
        })
        .await
    }

    /// Waits until the reloader has noted what a workload's pods have.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn wait_noted(&self, object: &str) -> Result<()> {
        eventually(&format!("{object} to be noted"), LONG, async || {
            Ok(self.get(object).await?["metadata"]["annotations"][names::RELOAD_APPLIED].is_string().then_some(()))
        })
        .await
    }

    /// Whether the Deployment says that a change of it is held.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn is_held(&self) -> Result<bool> {
        let deployment = self.deployment().await?;
        let mark = deployment.annotations().get("trimtab.dev/held");
        let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
        Ok(paused && mark.is_some_and(|mark| !trimtab_crds::mark::is_released(mark)))
    }
}
