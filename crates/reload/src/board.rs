//! Storm control: of all workloads of a namespace that want to restart, which may now. Every workload's own decision
//! computes the same board, so no two of them take the same place. Not whether a workload wants to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use trimtab_config::{Pins, Source};
use trimtab_crds::names;

use crate::breaker::tripped;
use crate::record::Record;
use crate::{Options, Progress, Survey, Workload};

/// One workload on the board.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// What people call it: `deployment/web`.
    pub id: String,
    /// What changed for it.
    pub survey: Survey,
    /// What it was last reloaded for, while that is remembered; its rollout may still be under way.
    pub last: Option<Last>,
    /// The workloads that are reloaded before it.
    pub after: BTreeSet<String>,
    #[serde(skip)]
    record: Record,
}

/// A workload's last reload.
#[derive(Debug, Clone, Serialize)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// For which revisions.
    pub to: Pins,
    /// How far its rollout is.
    pub progress: Progress,
    /// Whether it was unsettled before already.
    pub unsettled: bool,
}

/// What the board says of one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may restart now.
    Go,
    /// It waits for others to be done.
    Wait(String),
    /// It waits for workloads that it comes after.
    After(String),
    /// The workloads before it did not become available.
    Halted(String),
    /// The order has no beginning.
    Cycle(String),
}

impl Member {
    /// A workload as it stands on the board.
    pub fn new(workload: &Workload, survey: Survey) -> Self {
        let record = Record::of(workload);
        let last = record.last().map(|reload| Last {
            at: reload.at,
            to: reload.to.clone(),
            progress: workload.progress.clone(),
            unsettled: reload.unsettled,
        });
        let after = workload.annotation(names::RELOAD_AFTER).unwrap_or_default();
        let after = after.split(',').filter_map(|entry| id(entry.trim())).collect();
        Self { id: workload.id(), survey, last, after, record }
    }

    /// Whether it has a place on the board: it wants to restart, or has been and is not settled.
    pub fn counts(&self) -> bool {
        !self.survey.changes.is_empty() || self.rolls()
    }

    fn rolls(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.progress != Progress::Settled)
    }

    fn wants(&self, source: &Source) -> bool {
        self.survey.changes.iter().any(|change| change.source == *source)
    }

    /// Since when what it wants is there to be had.
    fn age(&self) -> Option<Timestamp> {
        self.survey.changes.iter().filter_map(crate::Change::written).max()
    }

    /// Whether it would restart if it may.
    fn is_ready(&self, now: Timestamp, options: &Options) -> bool {
        let changes = &self.survey.changes;
        !changes.is_empty()
            && quiet_until(now, changes.iter().filter_map(crate::Change::written).max(), options).is_none()
            && !changes.iter().any(|change| tripped(now, &self.record, change).is_some())
    }

    /// When its rollout counts as failed, if it is under way.
    pub(crate) fn deadline(&self, options: &Options) -> Option<Timestamp> {
        let last = self.last.as_ref().filter(|last| last.progress == Progress::Rolling && !last.unsettled)?;
        last.at.checked_add(options.deadline).ok()
    }

    /// Why what it was last reloaded for counts as a failure, if it does.
    fn failure(&self, now: Timestamp, options: &Options) -> Option<String> {
        let last = self.last.as_ref().filter(|last| !last.unsettled)?;
        let late = last.at.checked_add(options.deadline).is_ok_and(|deadline| now >= deadline);
        match &last.progress {
            Progress::Settled => None,
            Progress::Failed(why) => Some(format!("{}: {}", self.id, why.trim_end_matches('.'))),
            Progress::Rolling if late => {
                Some(format!("{} is not available {} min after it", self.id, options.deadline.as_secs() / 60))
            }
            Progress::Rolling => None,
        }
    }
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

/// What the board says of the workload `me`.
pub(crate) fn verdict(now: Timestamp, options: &Options, board: &[Member], me: &str) -> Verdict {
    let members: BTreeMap<&str, &Member> = board.iter().map(|member| (member.id.as_str(), member)).collect();
    let Some(my) = members.get(me) else { return Verdict::Go };
    if let Some(cycle) = cycle(&members, me) {
        return Verdict::Cycle(cycle);
    }
    if let Some(before) = waits_for(&members, my) {
        return Verdict::After(format!("waits for {before}, which it comes after"));
    }
    if let Some(failure) = failed(now, options, board, my) {
        return Verdict::Halted(failure);
    }
    let mut used = Places::default();
    board.iter().filter(|member| member.rolls()).for_each(|member| used.take(last_sources(member)));
    let mut waiting: Vec<&Member> = board
        .iter()
        .filter(|member| !member.rolls() || member.id == me)
        .filter(|member| member.is_ready(now, options) && waits_for(&members, member).is_none())
        .collect();
    waiting.sort_by_key(|member| (member.age(), &member.id));
    for member in waiting {
        let sources: Vec<&Source> = member.survey.changes.iter().map(|change| &change.source).collect();
        // One that is rolling has its place already.
        let full = if member.rolls() { None } else { used.full(options, &sources) };
        if member.id == me {
            return full.map_or(Verdict::Go, Verdict::Wait);
        }
        if full.is_none() {
            used.take(sources.into_iter());
        }
    }
    Verdict::Go
}

fn last_sources(member: &Member) -> impl Iterator<Item = &Source> {
    member.last.iter().flat_map(|last| last.to.0.keys())
}

#[derive(Default)]
struct Places<'a> {
    all: usize,
    by_source: BTreeMap<&'a Source, usize>,
}

impl<'a> Places<'a> {
    fn take(&mut self, sources: impl Iterator<Item = &'a Source>) {
        self.all += 1;
        sources.for_each(|source| *self.by_source.entry(source).or_default() += 1);
    }

    /// Why there is no place left, if there is none.
    fn full(&self, options: &Options, sources: &[&Source]) -> Option<String> {
        if options.max_per_namespace > 0 && self.all >= options.max_per_namespace {
            return Some(format!("{} workloads of the namespace are restarting, as many as may at once", self.all));
        }
        let full = |source: &&&Source| {
            options.max_per_source > 0 && self.by_source.get(**source).is_some_and(|n| *n >= options.max_per_source)
        };
        let source = sources.iter().find(full)?;
        Some(format!("{} workloads are restarting for {source}, as many as may at once", options.max_per_source))
    }
}

/// The failure of another workload that was restarted for one of the changes that this one waits for.
fn failed(now: Timestamp, options: &Options, board: &[Member], my: &Member) -> Option<String> {
    let same = |last: &Last| my.survey.changes.iter().any(|change| last.to.get(&change.source) == Some(&change.to.pin));
    let others = board.iter().filter(|other| other.id != my.id && other.last.as_ref().is_some_and(same));
    others.filter_map(|other| other.failure(now, options)).next()
}

/// A workload that this one comes after and that is not done with the same changes.
fn waits_for<'a>(members: &BTreeMap<&str, &'a Member>, my: &Member) -> Option<&'a str> {
    let before = my.after.iter().filter_map(|id| members.get(id.as_str()));
    let busy = |other: &&&Member| other.rolls() || my.survey.changes.iter().any(|change| other.wants(&change.source));
    before.filter(busy).map(|other| other.id.as_str()).next()
}

/// The way from `me` back to itself, if its order has no beginning.
fn cycle(members: &BTreeMap<&str, &Member>, me: &str) -> Option<String> {
    fn walk<'a>(members: &BTreeMap<&str, &'a Member>, at: &'a str, me: &str, way: &mut Way<'a>) -> bool {
        if at == me && !way.path.is_empty() {
            return true;
        }
        if !way.seen.insert(at) {
            return false;
        }
        way.path.push(at);
        let mut after = members.get(at).into_iter().flat_map(|member| &member.after);
        let found = after.any(|next| walk(members, next, me, way));
        if !found {
            way.path.pop();
        }
        found
    }
    let mut way = Way::default();
    let start = members.get(me)?;
    walk(members, &start.id, me, &mut way).then(|| format!("{} → {me}", way.path.join(" → ")))
}

/// A walk along an order.
#[derive(Default)]
struct Way<'a> {
    path: Vec<&'a str>,
    seen: BTreeSet<&'a str>,
}
