//! What the pods of a workload have of its changes, and so how the workload stands on the board of its namespace. Not whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use trimtab_plan::Plan;

use crate::hot::{self, Hot};
use crate::pods::{Fresh, behind_until, freshness};
use crate::{Change, Member, PodView, Progress, Snapshot, Turnover, Workload};

/// What pods have of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Have {
    /// The watch of pods may not have shown those that have them, until then.
    Open(Timestamp),
    /// There are none yet.
    NotThere,
    /// There are none, and none are wanted.
    Idle,
    /// All have them.
    All,
    /// The rollout that is under way starts them with the changes.
    Rolling,
    /// Some lack them.
    Lack,
}

/// What the pods of a workload have of its changes.
pub(crate) fn have(
    now: Timestamp,
    workload: &Workload,
    changes: &[Change],
    pods: &[Arc<PodView>],
    made: &BTreeMap<String, u64>,
) -> Have {
    let behind = behind_until(now, pods, changes, made);
    if let Some(until) = behind.filter(|_| workload.rolls() && !workload.idle) {
        return Have::Open(until);
    }
    let rolling = workload.progress == Progress::Rolling;
    match freshness(pods, changes, made) {
        Fresh::NoPods if matches!(workload.progress, Progress::Rolling | Progress::Scaling) => Have::NotThere,
        Fresh::NoPods if workload.idle => Have::Idle,
        Fresh::All => Have::All,
        Fresh::Newest if rolling => Have::Rolling,
        Fresh::No if rolling && begins(workload, changes, pods) => Have::Rolling,
        Fresh::Newest | Fresh::No | Fresh::NoPods => Have::Lack,
    }
}

/// Whether the rollout that is under way may be that by which the template begins to read what changed, and no pod of it has been
/// seen: then all pods are of an earlier template, and say nothing.
fn begins(workload: &Workload, changes: &[Change], pods: &[Arc<PodView>]) -> bool {
    let revisions = || pods.iter().filter(|pod| pod.stays()).map(|pod| pod.revision()).collect::<BTreeSet<_>>();
    changes.iter().all(|change| change.begun)
        && match workload.turnover {
            Turnover::NotBegun => true,
            // Its status was seen before its pods.
            Turnover::Mixed => revisions().len() < 2,
            Turnover::Whole => false,
        }
}

impl Member {
    /// A workload as it stands on the board by what is seen of it; where it is not the one that is decided about, nobody knows what
    /// its pods have answered.
    pub fn seen(now: Timestamp, seen: &Snapshot, decided: bool) -> Option<Self> {
        let workload = seen.workload.as_deref().filter(|workload| seen.options.opted_in(workload))?;
        let mut member = Self::new(workload, &seen.survey);
        if seen.survey.changes.is_empty() {
            return Some(member);
        }
        let have = have(now, workload, &seen.survey.changes, &seen.pods, &seen.made);
        member.waits = have != Have::Lack;
        if have == Have::Lack && workload.rolls() && workload.is_hot() {
            // What its pods are asked is the decision's.
            let hot = hot::reload(now, seen, workload, &mut Plan::new(()));
            member.rolls_for_changes = matches!(hot, Hot::Restart | Hot::Failed(_));
            member.unheard = !decided;
        }
        Some(member)
    }
}
