//! Storm control: of all workloads of a namespace that want to restart, which may now. Every workload's own decision
//! computes the same board, so no two of them take the same place. Not whether a workload wants to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use trimtab_config::{Pins, Source};
use trimtab_crds::names;

use crate::breaker::tripped;
use crate::record::{MEMORY, Record};
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
    /// Whether it is of a kind that rolls, and is not reloaded without a restart.
    #[serde(skip)]
    rolls_for_changes: bool,
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
        let hot = workload.annotation(names::RELOAD_MODE).is_some_and(|mode| mode.trim() != "restart");
        let rolls = ![names::CRON_JOB, names::JOB].contains(&workload.kind);
        Self { id: workload.id(), survey, last, after, rolls_for_changes: rolls && !hot, record }
    }

    /// Whether it may have a place on the board: it wants to restart, or has been and is not settled.
    pub fn counts(&self) -> bool {
        !self.survey.changes.is_empty() || self.last.as_ref().is_some_and(|last| last.progress != Progress::Settled)
    }

    /// Whether it is restarting for a change. What it does long afterwards has other reasons.
    fn rolls(&self, now: Timestamp) -> bool {
        let recent = |last: &Last| last.at.checked_add(MEMORY).is_ok_and(|end| now < end);
        self.last.as_ref().is_some_and(|last| last.progress != Progress::Settled && recent(last))
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
        let calm: Vec<_> =
            self.survey.changes.iter().filter(|change| tripped(now, &self.record, change).is_none()).collect();
        let written = calm.iter().filter_map(|change| change.written()).max();
        self.rolls_for_changes && !calm.is_empty() && quiet_until(now, written, options).is_none()
    }

    /// When its place is free at the latest, if its rollout is not over: then that counts as failed or, where it was unsettled
    /// before already, as one for other reasons.
    pub(crate) fn deadline(&self, options: &Options) -> Option<Timestamp> {
        let last = self.last.as_ref().filter(|last| last.progress != Progress::Settled)?;
        if last.unsettled { last.at.checked_add(MEMORY).ok() } else { last.at.checked_add(options.deadline).ok() }
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
    if let Some(before) = waits_for(now, &members, my) {
        return Verdict::After(format!("waits for {before}, which it comes after"));
    }
    let failures: Vec<(&Member, String)> =
        board.iter().filter_map(|member| Some((member, member.failure(now, options)?))).collect();
    if let Some(failure) = halts(&failures, my) {
        return Verdict::Halted(failure.to_owned());
    }
    let mut used = Places::default();
    board.iter().filter(|member| member.rolls(now)).for_each(|member| used.take(last_sources(member)));
    // Those that would not go even if they may take no place from those that would.
    let goes = |member: &&Member| {
        !member.rolls(now)
            && member.is_ready(now, options)
            && waits_for(now, &members, member).is_none()
            && halts(&failures, member).is_none()
    };
    let mut waiting: Vec<&Member> = board.iter().filter(|member| member.id == me || goes(member)).collect();
    waiting.sort_by_key(|member| (member.age(), &member.id));
    for member in waiting {
        let sources: Vec<&Source> = member.survey.changes.iter().map(|change| &change.source).collect();
        // One that is rolling has its place already.
        let full = if member.rolls(now) { None } else { used.full(options, &sources) };
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
fn halts<'f>(failures: &'f [(&Member, String)], my: &Member) -> Option<&'f str> {
    let same = |last: &Last| my.survey.changes.iter().any(|change| last.to.get(&change.source) == Some(&change.to.pin));
    let mut others = failures.iter().filter(|(other, _)| other.id != my.id && other.last.as_ref().is_some_and(same));
    others.next().map(|(_, why)| why.as_str())
}

/// A workload that this one comes after and that is not done with the same changes.
fn waits_for<'a>(now: Timestamp, members: &BTreeMap<&str, &'a Member>, my: &Member) -> Option<&'a str> {
    let before = my.after.iter().filter_map(|id| members.get(id.as_str()));
    let busy =
        |other: &&&Member| other.rolls(now) || my.survey.changes.iter().any(|change| other.wants(&change.source));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trimtab_config::Pin;

    use super::*;
    use crate::record::Applied;
    use crate::{Change, How, Is};

    fn now() -> Timestamp {
        Timestamp::from_second(10_000).unwrap()
    }

    fn options(per_source: usize, per_namespace: usize) -> Options {
        Options {
            max_per_source: per_source,
            max_per_namespace: per_namespace,
            quiet_period: Duration::ZERO,
            ..Options::default()
        }
    }

    /// A workload that waits for revision `bb` of a ConfigMap.
    fn waiting(name: &str, source: &str) -> Member {
        let change = Change {
            source: Source::config_map(source),
            how: How::Native,
            is: Is::Changed,
            to: Applied { pin: Pin::parse("bb").unwrap(), written: Timestamp::from_second(9_000).ok() },
            by: None,
            dated: true,
            trigger: None,
        };
        Member {
            id: format!("deployment/{name}"),
            survey: Survey { changes: vec![change], ..Survey::default() },
            last: None,
            after: BTreeSet::new(),
            rolls_for_changes: true,
            record: Record::default(),
        }
    }

    /// One that was restarted for it so many seconds ago.
    fn restarted(name: &str, source: &str, seconds: i64, progress: Progress) -> Member {
        let to = Pins::parse(&format!("cm/{source}=bb"));
        let at = Timestamp::from_second(10_000 - seconds).unwrap();
        let last = Some(Last { at, to, progress, unsettled: false });
        Member { last, survey: Survey::default(), ..waiting(name, source) }
    }

    fn after(member: Member, ids: &[&str]) -> Member {
        Member { after: ids.iter().map(|id| format!("deployment/{id}")).collect(), ..member }
    }

    /// Who of a board may go.
    fn check(options: &Options, board: &[Member], expected: &[&str]) {
        let goes = |member: &&Member| {
            !member.survey.changes.is_empty() && verdict(now(), options, board, &member.id) == Verdict::Go
        };
        let may: Vec<&str> = board.iter().filter(goes).map(|m| m.id.trim_start_matches("deployment/")).collect();
        assert_eq!(may, expected);
    }

    #[test]
    fn as_many_go_as_may_and_those_under_way_have_their_places() {
        let mut board = vec![waiting("a", "x"), waiting("b", "x"), waiting("c", "x"), waiting("d", "y")];
        check(&options(0, 0), &board, &["a", "b", "c", "d"]);
        check(&options(2, 0), &board, &["a", "b", "d"]);
        check(&options(0, 2), &board, &["a", "b"]);
        board.push(restarted("e", "x", 10, Progress::Rolling));
        check(&options(2, 0), &board, &["a", "d"]);
        board.push(restarted("f", "x", 10, Progress::Settled));
        check(&options(2, 0), &board, &["a", "d"]);
        // What rolls long after its reload does so for other reasons.
        let mut old = restarted("g", "y", 4_000, Progress::Rolling);
        old.last.as_mut().unwrap().unsettled = true;
        board.push(old);
        check(&options(1, 0), &board, &["d"]);
    }

    #[test]
    fn a_failure_halts_those_that_wait_for_the_same_and_nobody_else() {
        let failed = restarted("e", "x", 10, Progress::Failed("late".to_owned()));
        let board = vec![waiting("a", "x"), waiting("b", "y"), failed];
        check(&options(5, 0), &board, &["b"]);
        let says = verdict(now(), &options(5, 0), &board, "deployment/a");
        assert_eq!(says, Verdict::Halted("deployment/e: late".to_owned()));
        // Those that are halted take no places from the others.
        check(&options(0, 2), &board, &["b"]);
        let slow = [waiting("a", "x"), restarted("e", "x", 601, Progress::Rolling)];
        check(&options(5, 0), &slow, &[]);
    }

    #[test]
    fn the_order_is_kept_and_one_without_a_beginning_is_named() {
        let board = [after(waiting("a", "x"), &["b"]), waiting("b", "x")];
        check(&options(5, 0), &board, &["b"]);
        let board = [after(waiting("a", "x"), &["b"]), restarted("b", "x", 10, Progress::Rolling)];
        check(&options(5, 0), &board, &[]);
        let board = [after(waiting("a", "x"), &["b", "gone"]), restarted("b", "x", 10, Progress::Settled)];
        check(&options(5, 0), &board, &["a"]);
        let board = [after(waiting("a", "x"), &["b"]), after(waiting("b", "x"), &["a"]), waiting("c", "x")];
        check(&options(1, 0), &board, &["c"]);
        let says = verdict(now(), &options(1, 0), &board, "deployment/a");
        assert_eq!(says, Verdict::Cycle("deployment/a → deployment/b → deployment/a".to_owned()));
    }

    /// Whatever order they decide in, no more are under way than may.
    #[test]
    fn the_limit_holds_when_all_decide_at_once_again_and_again() {
        let options = options(3, 0);
        let mut board: Vec<Member> = (0..20).map(|n| waiting(&format!("w{n}"), "x")).collect();
        for _ in 0..80 {
            let may: Vec<String> = board
                .iter()
                .filter(|m| !m.survey.changes.is_empty() && verdict(now(), &options, &board, &m.id) == Verdict::Go)
                .map(|m| m.id.clone())
                .collect();
            let rolling = board.iter().filter(|member| member.rolls(now())).count();
            assert!(rolling + may.len() <= 3, "{rolling} and {may:?}");
            // One of those under way is done, or the last of those that may begins.
            if let Some(done) = board.iter_mut().find(|member| member.rolls(now())).filter(|_| rolling == 3) {
                done.last = None;
            } else if let Some(next) = may.last().and_then(|id| board.iter_mut().find(|member| member.id == *id)) {
                let name = next.id.trim_start_matches("deployment/").to_owned();
                *next = restarted(&name, "x", 1, Progress::Rolling);
            }
        }
        assert!(board.iter().all(|member| member.survey.changes.is_empty()));
    }
}
