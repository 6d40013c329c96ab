//! Which pods' samples count. A pod that is starting uses CPU that says nothing of the load; one without a sample must not be
//! taken for idle. Not what is made of the samples.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::LeftOut;

use crate::{Phase, PodSample, PodView};

/// The times that say when a pod's CPU counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Startup {
    /// After its start a pod's CPU counts only while it is ready and was so for a whole sample.
    pub cpu_initialization: SignedDuration,
    /// A pod that became unready within this time from its start was never ready.
    pub initial_readiness_delay: SignedDuration,
}

/// Pods by how they count.
#[derive(Debug, Default)]
pub(crate) struct Groups<'s> {
    /// How many count with their own sample.
    pub ready: usize,
    /// Not ready yet.
    pub unready: BTreeMap<&'s str, LeftOut>,
    /// Without a sample.
    pub missing: BTreeMap<&'s str, LeftOut>,
    /// Being deleted, or failed.
    pub ignored: BTreeMap<&'s str, LeftOut>,
}

/// Sorts pods by how they count. Only CPU is different while a pod starts.
pub(crate) fn group<'s>(
    now: Timestamp,
    pods: &[&'s PodView],
    samples: &BTreeMap<&'s str, PodSample>,
    stale: &dyn Fn(&str) -> bool,
    cpu: Option<Startup>,
) -> Groups<'s> {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.name.as_str();
        if pod.deleting || pod.phase == Phase::Failed {
            let why = if pod.deleting { LeftOut::Deleting } else { LeftOut::Failed };
            groups.ignored.insert(name, why);
        } else if pod.phase == Phase::Pending {
            groups.unready.insert(name, LeftOut::Pending);
        } else if let Some(sample) = samples.get(name) {
            match cpu.and_then(|startup| unready(now, pod, sample, startup)) {
                Some(why) => _ = groups.unready.insert(name, why),
                None => groups.ready += 1,
            }
        } else {
            let why = if stale(name) { LeftOut::StaleSample } else { LeftOut::NoSample };
            groups.missing.insert(name, why);
        }
    }
    groups
}

/// Why a running pod's CPU does not count.
fn unready(now: Timestamp, pod: &PodView, sample: &PodSample, startup: Startup) -> Option<LeftOut> {
    let (Some(ready), Some(started)) = (pod.ready, pod.started_at) else { return Some(LeftOut::ReadinessUnknown) };
    let unready = ready.is == Some(false);
    if after(started, startup.cpu_initialization) > now {
        if unready {
            return Some(LeftOut::Starting);
        }
        let window = SignedDuration::from_secs(sample.window_seconds.into());
        return (sample.at < after(ready.since, window)).then_some(LeftOut::SampleBeforeReady);
    }
    (unready && after(started, startup.initial_readiness_delay) > ready.since).then_some(LeftOut::NeverReady)
}

/// A time so much later; the end of time if there is none.
pub(crate) fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}
