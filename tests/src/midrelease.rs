//! A release that is disturbed in its middle: when that is, who leads meanwhile, and what must hold at its end all the same. Not
//! what disturbs it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use trimtab_crds::{Phase, Release, ReleasePlan, ReleaseResult};
use trimtab_testkit::eventually;

use crate::{App, PodWatch};

const PATIENCE: Duration = Duration::from_secs(90);

impl App {
    /// Waits for the pause after the first of four steps.
    ///
    /// # Errors
    ///
    /// If it does not come.
    pub async fn wait_first_pause(&self) -> Result<ReleasePlan> {
        self.wait_plan("the first pause", |plan| {
            plan.status.as_ref().is_some_and(|s| s.step.as_deref() == Some("2/4") && s.phase == Phase::Paused)
        })
        .await
    }
}

/// Who leads, as a lease tells.
#[derive(Clone)]
pub struct Leader {
    leases: Api<Lease>,
    name: &'static str,
}

impl Leader {
    /// By the lease of this name.
    pub fn by(leases: Api<Lease>, name: &'static str) -> Self {
        Self { leases, name }
    }

    /// Its identity; empty if nobody leads.
    ///
    /// # Errors
    ///
    /// If there is no such lease.
    pub async fn holder(&self) -> Result<String> {
        let spec = self.leases.get(self.name).await?.spec;
        Ok(spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
    }

    /// Waits for the leader after that one; how long it took.
    ///
    /// # Errors
    ///
    /// If nobody else comes to lead.
    pub async fn takeover(&self, before: &str) -> Result<Duration> {
        let started = Instant::now();
        eventually("another to lead", PATIENCE, async || {
            let now = self.holder().await?;
            Ok((!now.is_empty() && now != before).then_some(()))
        })
        .await?;
        Ok(started.elapsed())
    }
}

/// Holds a record to what it says of an undisturbed release of two weights, each with a pause: promoted, each step once and in order.
///
/// # Errors
///
/// If it says something else.
pub fn each_step_once(release: &Release) -> Result<()> {
    let status = release.status.as_ref().context("the record has no status")?;
    ensure!(status.result == ReleaseResult::Promoted, "{status:?}");
    let steps: Vec<&str> = status.steps.iter().filter_map(|step| step.step.split(' ').next()).collect();
    ensure!(steps == ["setWeight", "pause", "setWeight", "pause"], "each step once, in order: {steps:?}");
    ensure!(status.steps.iter().all(|step| step.finished_at.is_some()), "{:?}", status.steps);
    Ok(())
}

/// Holds a release of an image to what its four pods went through: each was made once, and none was missed.
///
/// # Errors
///
/// If there were more or fewer.
pub fn each_pod_once(watch: &PodWatch, tag: &str) -> Result<()> {
    let history = watch.history();
    let made = history.created_with(&format!(":{tag}"));
    ensure!(made == 4, "{made} new pods were made");
    ensure!(history.fewest_available >= 4, "only {} were available", history.fewest_available);
    Ok(())
}
