//! One workload on the board of its namespace: what it waits for, what it was last reloaded for, and when it may go as far as
//! it alone is concerned. Not whose turn it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use trimtab_config::{Pin, Pins, Source};
use trimtab_crds::names;

use crate::breaker::tripped;
use crate::record::{MEMORY, Record};
use crate::{Change, Options, Progress, Survey, Workload};

/// How many workloads another may come after. Whatever is named beyond is not waited for.
pub(crate) const MOST_BEFORE: usize = 32;

/// One workload on the board.
#[derive(Debug, Clone)]
pub struct Member {
    /// What people call it: `deployment/web`.
    pub id: Arc<str>,
    /// What changed for it.
    pub(crate) changes: Vec<Change>,
    /// What it was last reloaded for, while that is remembered; its rollout may still be under way.
    pub(crate) last: Option<Last>,
    /// The workloads that are reloaded before it.
    pub after: BTreeSet<Arc<str>>,
    /// Whether its expressions are being compared, so that nobody knows yet what else it wants.
    pub(crate) comparing: bool,
    /// Whether it is of a kind that rolls, and is not reloaded without a restart.
    pub(crate) rolls_for_changes: bool,
    /// Whether nobody knows that of the answers of its pods.
    pub(crate) unheard: bool,
    /// Whether nothing is done for its changes yet: its pods may have them, or get them.
    pub(crate) waits: bool,
    pub(crate) record: Record,
}

/// A workload's last reload.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    /// When.
    pub(crate) at: Timestamp,
    /// For which revisions.
    pub(crate) to: Pins,
    /// How far its rollout is.
    pub(crate) progress: Progress,
    /// Whether it was unsettled before already.
    pub(crate) unsettled: bool,
}

impl Member {
    /// A workload as it stands on the board.
    pub fn new(workload: &Workload, survey: &Survey) -> Self {
        let record = Record::of(workload);
        let last = record.last().map(|reload| Last {
            at: reload.at,
            to: reload.to.clone(),
            // What is scaled afterwards has nothing to do with what it was reloaded for.
            progress: match &workload.progress {
                Progress::Scaling => Progress::Settled,
                other => other.clone(),
            },
            unsettled: reload.unsettled,
        });
        Self {
            id: workload.id().into(),
            changes: survey.changes.clone(),
            last,
            after: after(workload).map(Arc::from).take(MOST_BEFORE).collect(),
            comparing: survey.comparing,
            rolls_for_changes: workload.rolls() && !workload.is_hot(),
            unheard: false,
            waits: false,
            record,
        }
    }

    /// Whether it may have a place on the board: it wants to restart, may want to, or has been restarted and is not settled.
    pub fn counts(&self) -> bool {
        self.comparing || self.wants_any() || self.last.as_ref().is_some_and(|last| last.progress != Progress::Settled)
    }

    /// Until when it counts as restarting for a change, if it is. What it does long afterwards has other reasons. Nothing is in motion
    /// where its controller has given up, and one that was unsettled before never counts as failed: nobody waits for that.
    pub(crate) fn rolls_until(&self, now: Timestamp, options: &Options) -> Option<Timestamp> {
        let last = self.last.as_ref()?;
        let length = match &last.progress {
            Progress::Settled | Progress::Scaling | Progress::Failed(_) => return None,
            Progress::Rolling if last.unsettled => options.deadline.min(MEMORY),
            Progress::Rolling => MEMORY,
        };
        last.at.checked_add(length).ok().filter(|end| now < *end)
    }

    pub(crate) fn rolls(&self, now: Timestamp, options: &Options) -> bool {
        self.rolls_until(now, options).is_some()
    }

    /// Whether it wants to restart for a change that is known.
    pub fn wants_any(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(crate) fn wants(&self, source: &Source) -> bool {
        self.changes.iter().any(|change| change.source == *source)
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.changes.iter().map(|change| &change.source)
    }

    /// The revisions that it waits for.
    pub fn revisions(&self) -> impl Iterator<Item = (&Source, &Pin)> {
        self.changes.iter().map(|change| (&change.source, &change.to.pin))
    }

    /// Since when what it wants is there to be had. What a reload has broken is mended first.
    pub(crate) fn age(&self) -> Option<Timestamp> {
        let broken = |last: &Last| !last.unsettled && matches!(last.progress, Progress::Failed(_));
        if self.last.as_ref().is_some_and(broken) {
            return None;
        }
        self.changes.iter().filter_map(Change::written).max()
    }

    /// Whether it would restart if it may; if not, when that may be otherwise without anything having changed.
    pub(crate) fn is_ready(&self, now: Timestamp, options: &Options) -> Result<(), Option<Timestamp>> {
        if !self.rolls_for_changes || self.waits || self.changes.is_empty() {
            return Err(None);
        }
        let trips: Vec<_> = self.changes.iter().map(|change| tripped(now, &self.record, change)).collect();
        let calm = || self.changes.iter().zip(&trips).filter(|(_, trip)| trip.is_none()).map(|(change, _)| change);
        let quiet = quiet_until(now, calm().filter_map(Change::written).max(), options);
        if calm().next().is_some() && quiet.is_none() {
            return Ok(());
        }
        Err(trips.iter().flatten().map(|trip| trip.until).chain(quiet).min())
    }

    /// When its rollout counts as failed, if it is under way.
    pub(crate) fn deadline(&self, options: &Options) -> Option<Timestamp> {
        let last = self.last.as_ref().filter(|last| last.progress == Progress::Rolling && !last.unsettled)?;
        last.at.checked_add(options.deadline).ok()
    }

    /// Why what it was last reloaded for counts as a failure, if it does.
    pub(crate) fn failure(&self, now: Timestamp, options: &Options) -> Option<String> {
        let last = self.last.as_ref().filter(|last| !last.unsettled)?;
        let late = last.at.checked_add(options.deadline).is_ok_and(|deadline| now >= deadline);
        match &last.progress {
            Progress::Settled | Progress::Scaling => None,
            Progress::Failed(why) => Some(format!("{}: {}", self.id, why.trim_end_matches('.'))),
            Progress::Rolling if late => {
                Some(format!("{} is not available {} min after it", self.id, options.deadline.as_secs() / 60))
            }
            Progress::Rolling => None,
        }
    }
}

/// The workloads that the annotation of another names to be reloaded before it, without bound.
pub(crate) fn after(workload: &Workload) -> impl Iterator<Item = String> {
    let named = workload.annotation(names::RELOAD_AFTER).unwrap_or_default();
    named.split(',').filter_map(|entry| id(entry.trim()))
}

/// Reads `deployment/web`, `deploy/web`, `Deployment/web`.
fn id(entry: &str) -> Option<String> {
    let (kind, name) = entry.split_once('/')?;
    let kind = match kind.to_ascii_lowercase().as_str() {
        "deployment" | "deploy" | "deployments" => "deployment",
        "statefulset" | "sts" | "statefulsets" => "statefulset",
        "daemonset" | "ds" | "daemonsets" => "daemonset",
        "rollout" | "rollouts" => "rollout",
        _ => return None,
    };
    Some(format!("{kind}/{name}"))
}

/// Until when a change may be followed by others that belong to it. Times of writes are of whole seconds, rounded down.
pub(crate) fn quiet_until(now: Timestamp, written: Option<Timestamp>, options: &Options) -> Option<Timestamp> {
    let quiet = options.quiet_period;
    let written = written.filter(|_| !quiet.is_zero())?;
    let until = written.checked_add(quiet + std::time::Duration::from_secs(1)).ok()?;
    // A server whose clock is ahead must not hold up anything.
    let ahead = now.checked_add(quiet + std::time::Duration::from_secs(5)).ok()?;
    (now < until && until <= ahead).then_some(until)
}
