//! `trimtab-manager smoke-test`: a real release on the cluster that Trimtab was installed in, seen from outside as a user
//! sees it: a change, its canary, its promotion, and a bad configuration that is taken back. It says one line for each
//! promise and leaves nothing behind. It is a client like any other and knows nothing of how releases are decided.

pub mod args;
mod scratch;
mod serve;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt, api::ListParams};
use serde_json::json;
use trimtab_crds::{Phase, Release, ReleasePlan, ReleaseResult, names};

use crate::excerpts::{Pod, PodStatus};

use args::SmokeArgs;
use scratch::{PODS, Scratch, bad_configuration};

const PERIOD: Duration = Duration::from_millis(200);
/// What is kept of the time for cleaning up.
const CLEANING: Duration = Duration::from_secs(45);

/// Runs the test, or the application of one.
///
/// # Errors
///
/// If a promise was not kept, or something was left behind. What was made is removed in any case.
pub async fn run(args: SmokeArgs) -> Result<()> {
    if args.serve {
        return serve::serve().await;
    }
    let ended = trimtab::shutdown::signalled().context("cannot listen for signals")?;
    let config = kube::Config::infer().await.context("no credentials for a cluster: set KUBECONFIG")?;
    let client = trimtab::client(config).context("the credentials make no client")?;
    let scratch = Scratch::new(client, &args)?;
    println!("a release in namespace {}, {} of {}", scratch.namespace, scratch.name, args.image);
    let time = args.timeout.saturating_sub(CLEANING).max(Duration::from_secs(1));
    let test = Test { scratch, begun: Instant::now(), waits: std::sync::Mutex::default() };
    let outcome = tokio::select! {
        outcome = test.story(&args) => outcome,
        () = tokio::time::sleep(time) => Err(test.too_late(time).await),
        signal = ended => Err(anyhow::anyhow!("{signal}: ended before it was over")),
    };
    if let Err(error) = &outcome {
        println!("✗ {error:#}");
    }
    let removed = test.scratch.remove(CLEANING).await;
    match &removed {
        Ok(()) => test.kept("nothing is left behind", ""),
        Err(error) => println!("✗ cleaning up in {}: {error:#}", test.scratch.namespace),
    }
    outcome.and(removed)
}

/// A test under way.
struct Test {
    scratch: Scratch,
    begun: Instant,
    /// What is waited for right now.
    waits: std::sync::Mutex<String>,
}

impl Test {
    async fn story(&self, args: &SmokeArgs) -> Result<()> {
        self.scratch.make(args).await?;
        let plan =
            self.plan("the application to be stable and guarded", |plan| is_stable(plan) && guarded(plan)).await?;
        self.kept("the application runs, and its changes are held", &message(&plan));
        let first = self.ready("its pods").await?;
        let second = self.promotion(&first).await?;
        self.take_back(args, &second).await?;
        self.records().await
    }

    /// A changed template: held, tried, promoted.
    async fn promotion(&self, stable: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let template = json!({"metadata": {"annotations": {"smoke.trimtab.dev/round": "2"}}});
        self.scratch.change::<Deployment>(json!({"spec": {"template": template}})).await?;
        let plan = self.plan("a canary beside the stable pods", is_paused).await?;
        let during = self.scratch.pods().await?.into_keys().collect::<BTreeSet<_>>();
        let canary: BTreeSet<_> = during.difference(stable).cloned().collect();
        ensure!(canary.len() == 1, "{} pods try the change and not one", canary.len());
        ensure!(stable.is_subset(&during), "a stable pod was replaced before the change was promoted");
        self.kept("a changed template is held, and one pod tries it", &message(&plan));
        self.ask("promote").await?;
        let plan = self.plan("the change to be stable", |plan| is_stable(plan) && sequence(plan) == 1).await?;
        let after = self.ready("the new pods").await?;
        ensure!(canary.is_subset(&after), "the canary's pod was replaced when the change was promoted");
        ensure!(after.is_disjoint(stable), "a pod of the old template still runs");
        self.kept("promoted: the canary's pod is a stable pod now", &message(&plan));
        Ok(after)
    }

    /// A changed ConfigMap that breaks the application: tried, taken back, and no pod reads it.
    async fn take_back(&self, args: &SmokeArgs, stable: &BTreeSet<String>) -> Result<()> {
        self.scratch.change::<ConfigMap>(bad_configuration()).await?;
        self.plan("a release of the changed ConfigMap", |plan| sequence(plan) == 2).await?;
        if args.abort {
            self.plan("a canary with the changed ConfigMap", is_paused).await?;
            self.ask("abort").await?;
        }
        let plan = self.plan("the bad configuration to be taken back", |p| phase(p) == Phase::TakenBack).await?;
        self.kept("a changed ConfigMap is a release, and a bad one is taken back", &message(&plan));
        let after = self.ready("the pods that were stable").await?;
        ensure!(&after == stable, "a stable pod was replaced by the bad configuration");
        for pod in self.scratch.pods().await?.values() {
            self.reads_the_good_one(pod).await?;
        }
        self.kept("no stable pod was touched, and each reads the good configuration", &format!("{PODS} of {PODS}"));
        Ok(())
    }

    async fn reads_the_good_one(&self, pod: &Pod) -> Result<()> {
        let container = pod.spec.containers.iter().flatten().next().context("a pod has no container")?;
        let variable = container.env.iter().flatten().find_map(|e| e.value_from.as_ref()?.config_map_key_ref.as_ref());
        let source = &variable.context("a pod reads no ConfigMap")?.name;
        let live = &self.scratch.name;
        ensure!(source != live, "{} reads {live} itself and not a copy of its own revision", pod.name_any());
        let copy =
            self.scratch.objects::<ConfigMap>().get(source).await.context("cannot read the copy that a pod reads")?;
        let good = copy.data["data"]["fail"].as_str().is_some_and(str::is_empty);
        ensure!(good, "{} reads {source}, which holds the bad configuration", pod.name_any());
        Ok(())
    }

    async fn records(&self) -> Result<()> {
        let list = self.scratch.api::<Release>().list(&ListParams::default()).await?;
        let mut ours: Vec<_> = list.items.into_iter().filter(|r| r.spec.plan == self.scratch.name).collect();
        ours.sort_by_key(|release| release.spec.sequence);
        let results: Vec<_> = ours.iter().map(|release| release.status.as_ref().map(|s| s.result)).collect();
        let expected = [Some(ReleaseResult::Promoted), Some(ReleaseResult::TakenBack)];
        ensure!(results == expected, "the records say {results:?} and not {expected:?}");
        let names: Vec<_> = ours.iter().map(ResourceExt::name_any).collect();
        self.kept("both are on record", &names.join(", "));
        Ok(())
    }

    /// Waits for the plan to be as `is` asks.
    async fn plan(&self, what: &str, is: impl Fn(&ReleasePlan) -> bool) -> Result<ReleasePlan> {
        self.wait_for(what);
        loop {
            let plan =
                self.scratch.api::<ReleasePlan>().get(&self.scratch.name).await.context("cannot read the plan")?;
            if is(&plan) {
                return Ok(plan);
            }
            if phase(&plan) == Phase::Blocked || (phase(&plan) == Phase::TakenBack && sequence(&plan) == 1) {
                bail!("waited for {what}, but: {}", message(&plan));
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Waits until as many pods as there should be are there and ready, and no other.
    async fn ready(&self, what: &str) -> Result<BTreeSet<String>> {
        self.wait_for(what);
        loop {
            let pods = self.scratch.pods().await?;
            if pods.len() == PODS && pods.values().all(is_ready) {
                return Ok(pods.into_keys().collect());
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn ask(&self, verb: &str) -> Result<()> {
        let request = format!("{verb}:{}", self.scratch.name);
        self.scratch.change::<ReleasePlan>(json!({"metadata": {"annotations": {names::REQUEST: request}}})).await
    }

    fn wait_for(&self, what: &str) {
        what.clone_into(&mut self.waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn kept(&self, promise: &str, detail: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        println!("✓ {seconds:5.1} s  {promise}{detail}");
    }

    async fn too_late(&self, time: Duration) -> anyhow::Error {
        let what = self.waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let plan = self.scratch.api::<ReleasePlan>().get(&self.scratch.name).await;
        let said = match plan {
            Ok(plan) if plan.status.is_none() => {
                "no manager has looked at the plan: is one running, and looking after this \
                                                  namespace?"
                    .to_owned()
            }
            Ok(plan) => format!("the plan says: {}", message(&plan)),
            Err(error) => format!("the plan cannot be read: {error}"),
        };
        anyhow::anyhow!("waited {} s in vain for {what}; {said}", time.as_secs())
    }
}

fn phase(plan: &ReleasePlan) -> Phase {
    plan.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

fn sequence(plan: &ReleasePlan) -> i64 {
    plan.status.as_ref().map_or(0, |status| status.sequence)
}

fn message(plan: &ReleasePlan) -> String {
    plan.status.as_ref().map(|status| status.message.clone()).unwrap_or_default()
}

fn is_stable(plan: &ReleasePlan) -> bool {
    let status = plan.status.as_ref();
    phase(plan) == Phase::Stable && status.is_some_and(|s| s.stable.is_some() && s.release.is_none())
}

fn is_paused(plan: &ReleasePlan) -> bool {
    phase(plan) == Phase::Paused
}

fn guarded(plan: &ReleasePlan) -> bool {
    let conditions = plan.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|c| c.type_ == "Guarded" && c.status == "True")
}

fn is_ready(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(PodStatus::is_ready)
}
