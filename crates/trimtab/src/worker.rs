//! The worker: one straight line from a key to its status, the same for every controller. What is decided on the way is
//! the controller's; how a key comes here, and when it comes again, is the queue's.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use trimtab_plan::{
    Answers, Applied, Chore, Class, Failure, ObjectRef, Outcome, Plan, StatusWrite, Subresource, Verb, Wake, Write,
};

use crate::apart::{Apart, LONGEST, Lost};
use crate::apply::{Applier, Trail};
use crate::asks::Asks;
use crate::clock;
use crate::events::Recorder;
use crate::gate::{Effect, Gate, Written};
use crate::hot::{self, Heat, Hot};
use crate::housekeeping;
use crate::journal::{Decision, Journal, Reason, WriteRecord, short};
use crate::lasting::Lasting;
use crate::lazy::Lazy;
use crate::metrics::{Metrics, ReconcileResult};
use crate::queue::{Finished, Queue, Taken, Trigger};
use crate::{Controller, Key};

/// A status is written even when the time for the writes is used up.
const STATUS_GRACE: Duration = Duration::from_secs(5);
/// A plan that wants to be woken in the past would otherwise run hot.
const SOONEST_WAKE: Duration = Duration::from_millis(50);

/// Works on the keys of one controller.
pub(crate) struct Worker<C: Controller> {
    pub(crate) controller: Arc<C>,
    pub(crate) queue: Arc<Queue<C::Key>>,
    pub(crate) applier: Applier,
    pub(crate) asks: Arc<Asks<C::Key>>,
    pub(crate) journal: Journal,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
    pub(crate) hot: Hot<C::Key>,
    /// Of the writes.
    pub(crate) lasting: Lasting<C::Key>,
    /// Of the status.
    pub(crate) unsaid: Lasting<C::Key>,
    pub(crate) lazy: Lazy<C::Key>,
    pub(crate) apart: Apart,
}

/// A function of the controller came to no end; the text says how.
enum Broken {
    Panicked(String),
    Late(String),
}

impl Broken {
    fn of(step: &str, lost: Lost) -> Self {
        match lost {
            Lost::Ended => Self::Panicked(format!("{step} was not done: {lost}")),
            Lost::Late => Self::Late(format!("{step} was not done within its time, {} s at most", LONGEST.as_secs())),
        }
    }
}

/// Calls a function of the controller.
fn guard<O>(step: &str, call: impl FnOnce() -> O) -> Result<O, Broken> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|panic| Broken::Panicked(format!("{step} panicked: {}", said(&*panic))))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// What a reconcile left behind, for the journal, the metrics and the queue.
struct Report {
    decision: Decision,
    failed: Option<Class>,
    panicked: bool,
    timed_out: bool,
    wake: Option<Timestamp>,
    trail: Trail,
    /// The objects besides the key's that the decision concerns.
    concerns: Vec<ObjectRef>,
    /// The print of the writes, if there were any.
    print: Option<u64>,
    /// Whether one of them changed anything.
    changed: bool,
}

impl Report {
    fn new(controller: &'static str, now: Timestamp, triggers: &[Trigger]) -> Self {
        let decision = Decision {
            controller,
            first: now,
            last: now,
            times: 1,
            triggers: triggers.iter().map(|trigger| short(&trigger.to_string())).collect(),
            because: vec![],
            writes: vec![],
            error: None,
            wake: None,
            took_micros: 0,
        };
        Self {
            decision,
            failed: None,
            panicked: false,
            timed_out: false,
            wake: None,
            trail: Trail::default(),
            concerns: vec![],
            print: None,
            changed: false,
        }
    }

    fn breaks(&mut self, broken: &Broken) {
        let (Broken::Panicked(error) | Broken::Late(error)) = broken;
        match broken {
            Broken::Panicked(_) => self.panicked = true,
            Broken::Late(_) => self.timed_out = true,
        }
        self.fail(Class::Blocked, error);
    }

    fn fail(&mut self, class: Class, error: &str) {
        self.failed.get_or_insert(class);
        self.decision.error.get_or_insert_with(|| short(error));
    }

    fn wake_by(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn failure(&mut self, failure: &Failure) {
        self.timed_out |= failure.reason == "Timeout";
        self.fail(failure.class, &format!("{}: {}", failure.reason, failure.message));
    }
}

impl<C: Controller> Worker<C> {
    /// Works until the queue is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        while let Some(taken) = self.queue.take().await {
            let key = taken.key.clone();
            let finished = match AssertUnwindSafe(self.work(taken)).catch_unwind().await {
                Ok(finished) => finished,
                Err(panic) => {
                    tracing::error!(controller = C::NAME, %key, error = said(&*panic), "the worker itself panicked");
                    Finished { failed: Some(Class::Blocked), ..Finished::default() }
                }
            };
            self.queue.finish(&key, finished);
        }
    }

    async fn work(&self, taken: Taken<C::Key>) -> Finished {
        let _work = self.metrics.work_started(C::NAME, taken.queued);
        if let Some(waited) = taken.since_event {
            self.metrics.event_to_reconcile(C::NAME, waited);
        }
        let (started, now) = (Instant::now(), clock::now());
        let mut report = Report::new(C::NAME, now, &taken.triggers);
        match self.reconcile(&taken.key, now, started + self.timeout, &mut report).await {
            Ok(true) => self.finish(&taken.key, now, started, report),
            Ok(false) => self.forget(&taken.key, started),
            Err(broken) => {
                report.breaks(&broken);
                self.finish(&taken.key, now, started, report)
            }
        }
    }

    /// Prepare, gather, decide, apply, conclude, say. `false`: there is nothing (any more) to decide about.
    async fn reconcile(
        &self,
        key: &C::Key,
        now: Timestamp,
        deadline: Instant,
        report: &mut Report,
    ) -> Result<bool, Broken> {
        // What is left behind it is for the writes.
        let until = Instant::now() + LONGEST.min(self.timeout / 2);
        self.prepare(key, until).await?;
        let answers = self.asks.answers(key);
        let Some(seen) = self.gathered(key, answers, until).await? else { return Ok(false) };
        report.concerns = guard("concerns", || C::concerns(&seen))?;
        let (seen, plan) = self.decided(key, now, seen, until, report).await?;
        note_plan(&plan, report);
        let mut outcome = self.applier.apply(&plan.writes, deadline, &mut report.trail).await;
        self.note_lasting(key, &plan.writes, &mut outcome);
        note_outcome(&plan.writes, &outcome, report);
        // What the writes made void is void, whatever becomes of what follows from them.
        let asks = || self.asks.submit(key, &plan.asks, &outcome.outdated(&plan.writes));
        let status = guard("conclude", || C::conclude(now, &seen, &plan, &outcome)).inspect_err(|_| asks())?;
        let status = self.unless_it_can_wait(key, now, status, report);
        self.say(key, &status, deadline + STATUS_GRACE, report).await;
        asks();
        if report.failed.is_none() {
            plan.notices.into_iter().for_each(|notice| self.recorder.notice(C::NAME, notice));
        }
        if let Some(failure) = outcome.failed.as_ref().filter(|failure| failure.is_told()) {
            let write = plan.writes.get(failure.index);
            let told = guard("refused", || write.map(|write| C::refused(&seen, write, failure)).unwrap_or_default())?;
            told.into_iter().for_each(|notice| self.recorder.notice(C::NAME, notice));
        }
        let tidied = self.tidy(now, plan.housekeeping, deadline, report).await;
        if status.is_some() || !plan.writes.is_empty() || !tidied.is_empty() {
            report.print = Some(hot::print(&(&plan.writes, &status, &tidied)));
        }
        Ok(true)
    }

    /// Lets the controller make ready apart what others decide the cost of.
    async fn prepare(&self, key: &C::Key, until: Instant) -> Result<(), Broken> {
        if !guard("must_prepare", || self.controller.must_prepare(key))? {
            return Ok(());
        }
        let (controller, own) = (self.controller.clone(), key.clone());
        let work = move || guard("prepare", || controller.prepare(&own));
        let done = self.apart.within(key.namespace(), until, work).await;
        done.unwrap_or_else(|lost| Err(Broken::of("prepare", lost)))
    }

    /// What the controller sees of a key.
    async fn gathered(&self, key: &C::Key, answers: Answers, until: Instant) -> Result<Option<C::Snapshot>, Broken> {
        if !guard("gathers_much", || self.controller.gathers_much(key, &answers))? {
            return guard("gather", || self.controller.gather(key, &answers));
        }
        let (controller, own) = (self.controller.clone(), key.clone());
        let work = move || guard("gather", || controller.gather(&own, &answers));
        let done = self.apart.within(key.namespace(), until, work).await;
        done.unwrap_or_else(|lost| Err(Broken::of("gather", lost)))
    }

    /// The plan, and what it was decided on. Where that takes too long, the controller says so instead, and the key is slowed down.
    async fn decided(
        &self,
        key: &C::Key,
        now: Timestamp,
        seen: C::Snapshot,
        until: Instant,
        report: &mut Report,
    ) -> Result<(Arc<C::Snapshot>, Plan<C::Status>), Broken> {
        let seen = Arc::new(seen);
        if !guard("decide", || C::is_costly(&seen))? {
            let plan = guard("decide", || C::decide(now, &seen))?;
            return Ok((seen, plan));
        }
        let own = seen.clone();
        let work = move || guard("decide", || C::decide(now, &own));
        match self.apart.within(key.namespace(), until, work).await {
            Ok(plan) => Ok((seen, plan?)),
            Err(lost) => {
                let broken = Broken::of("decide", lost);
                let said = if lost == Lost::Late { guard("late", || C::late(now, &seen))? } else { None };
                let Some(plan) = said else { return Err(broken) };
                report.breaks(&broken);
                Ok((seen, plan))
            }
        }
    }

    /// Tidies up, unless this process must not write any more. Says what that changed.
    async fn tidy(&self, now: Timestamp, chores: Vec<Chore>, deadline: Instant, report: &mut Report) -> Vec<Write> {
        if chores.is_empty() || report.failed == Some(Class::Fatal) {
            return vec![];
        }
        let tidied = housekeeping::tidy(&self.applier, chores, deadline, &mut report.trail).await;
        let done: Vec<Write> = tidied.done().into_iter().cloned().collect();
        report.changed |= !done.is_empty();
        for (write, outcome) in &tidied.outcomes {
            note_write(write, outcome.applied.first(), outcome.failed.as_ref(), report);
        }
        tidied.notices.into_iter().for_each(|notice| self.recorder.notice(C::NAME, notice));
        if let Some(again) = tidied.again {
            report.wake_by(now.checked_add(again).unwrap_or(now));
        }
        done
    }

    /// The status, if it is to be written now. One that can wait brings the key back in time.
    fn unless_it_can_wait(
        &self,
        key: &C::Key,
        now: Timestamp,
        status: Option<StatusWrite>,
        report: &mut Report,
    ) -> Option<StatusWrite> {
        let lazy = status.as_ref().is_some_and(|status| status.lazy) && report.failed.is_none();
        let Some(left) = self.lazy.wait(key, lazy, Instant::now()) else { return status };
        report.wake_by(now.checked_add(left).unwrap_or(now));
        None
    }

    /// Marks what failed if it has failed like this for long.
    fn note_lasting(&self, key: &C::Key, writes: &[Write], outcome: &mut Outcome) {
        let failed = outcome.failed.as_mut().and_then(|failure| {
            let write = writes.get(failure.index)?;
            let print = hot::print(&(&write.target, verb(&write.verb), &failure.reason));
            Some((failure, print))
        });
        self.lasting.note(key, failed, Instant::now());
    }

    async fn say(&self, key: &C::Key, status: &Option<StatusWrite>, deadline: Instant, report: &mut Report) {
        let Some(status) = status.as_ref().filter(|_| report.failed != Some(Class::Fatal)) else { return };
        let mut said = self.applier.status(status, deadline, &mut report.trail).await;
        let failed = said.as_mut().err().map(|failure| {
            let print = hot::print(&failure.reason);
            (failure, print)
        });
        self.unsaid.note(key, failed, Instant::now());
        let result = match &said {
            Ok((_, Some(dropped))) => short(&format!("done, but {dropped}")),
            Ok((applied, None)) => short(if applied.changed { "done" } else { "no change" }),
            Err(failure) => short(&failure.message),
        };
        report.changed |= said.as_ref().is_ok_and(|(applied, _)| applied.changed);
        report.concerns.push(status.target.clone());
        let what = format!("status of {}", status.target).into();
        report.decision.writes.push(WriteRecord { what, why: "say how it stands".into(), result });
        if let Err(failure) = said {
            // What would be read there cannot be written there.
            status.refused(&failure).into_iter().for_each(|notice| self.recorder.notice(C::NAME, notice));
            report.failure(&failure);
        }
    }

    /// Notes how it went, and says when the key is to be taken again.
    fn finish(&self, key: &C::Key, now: Timestamp, started: Instant, mut report: Report) -> Finished {
        let took = started.elapsed();
        report.decision.took_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(error) = &report.decision.error {
            tracing::warn!(controller = C::NAME, %key, %error, "reconcile failed");
        }
        let hot = self.is_hot(key, &mut report);
        self.journal.record(&key.object(), &report.concerns, report.decision);
        let result = match (report.failed, report.wake) {
            (Some(_), _) => ReconcileResult::Error,
            (None, Some(_)) => ReconcileResult::RequeueAfter,
            (None, None) => ReconcileResult::Success,
        };
        self.metrics.reconcile_done(C::NAME, result, took);
        if report.panicked {
            self.metrics.reconcile_panicked(C::NAME);
        }
        if report.timed_out {
            self.metrics.reconcile_timed_out(C::NAME);
        }
        if matches!(report.failed, Some(Class::Blocked | Class::Fatal)) {
            self.metrics.reconcile_terminal(C::NAME);
        }
        let own = |written: &Written| match &written.effect {
            Effect::Version(version) => Some(version.as_str().into()),
            Effect::Deleted => None,
        };
        Finished {
            failed: report.failed,
            wake: report.wake.map(|at| started + delay(now, at)),
            gates: Gate::all(&self.applier.watching, &report.trail.written),
            own: report.trail.written.iter().filter_map(own).collect(),
            not_before: report.trail.not_before.filter(|_| report.failed.is_some()),
            hot,
            forget: false,
        }
    }

    /// Whether the key writes the same again and again; says so when that begins.
    fn is_hot(&self, key: &C::Key, report: &mut Report) -> bool {
        // What fails is slowed down already.
        if report.failed.is_some() {
            return false;
        }
        let heat = self.hot.note(key, report.print, report.changed, Instant::now());
        if heat == Heat::Begins {
            self.metrics.hot_loop(C::NAME);
            tracing::warn!(controller = C::NAME, %key, "{}", hot::TOLD);
        }
        if heat != Heat::None {
            report.decision.because.push(Reason { reason: "HotLoop", message: hot::TOLD.into() });
        }
        heat != Heat::None
    }

    fn forget(&self, key: &C::Key, started: Instant) -> Finished {
        self.asks.forget(key);
        self.hot.forget(key);
        self.lasting.forget(key);
        self.unsaid.forget(key);
        self.lazy.forget(key);
        self.journal.forget(C::NAME, &key.object());
        self.metrics.reconcile_done(C::NAME, ReconcileResult::Success, started.elapsed());
        Finished { forget: true, ..Finished::default() }
    }
}

/// From now to a time, and a moment longer, so that the decision does not come before it.
fn delay(now: Timestamp, at: Timestamp) -> Duration {
    match Duration::try_from(at.duration_since(now)) {
        Ok(left) if !left.is_zero() => left + Duration::from_millis(1),
        _ => SOONEST_WAKE,
    }
}

fn note_plan<S>(plan: &Plan<S>, report: &mut Report) {
    report.decision.because = plan.because.iter().map(Reason::from).collect();
    if let Wake::At(at) = plan.wake {
        (report.wake, report.decision.wake) = (Some(at), Some(at));
    }
    let status = |write: &&Write| match &write.verb {
        Verb::Patch { subresource, .. } | Verb::Merge { subresource, .. } | Verb::Strategic { subresource, .. } => {
            *subresource == Some(Subresource::Status)
        }
        _ => false,
    };
    let writes = plan.writes.iter().chain(plan.housekeeping.iter().map(|chore| &chore.write));
    report.concerns.extend(writes.filter(status).map(|write| write.target.clone()));
    report.concerns.extend(plan.notices.iter().map(|notice| notice.about.clone()));
}

fn note_outcome(writes: &[Write], outcome: &Outcome, report: &mut Report) {
    for (index, write) in writes.iter().enumerate() {
        let failed = outcome.failed.as_ref().filter(|failure| failure.index == index);
        note_write(write, outcome.applied.get(index), failed, report);
    }
    report.changed |= outcome.applied.iter().any(|applied| applied.changed);
    if let Some(failure) = &outcome.failed {
        report.failure(failure);
    }
}

fn note_write(write: &Write, applied: Option<&Applied>, failed: Option<&Failure>, report: &mut Report) {
    let result = match (applied, failed) {
        (Some(applied), _) if applied.changed => "done".into(),
        (Some(_), _) => "no change".into(),
        (None, Some(failure)) => short(&format!("{}: {}", failure.reason, failure.message)),
        (None, None) => "not tried".into(),
    };
    let what = format!("{} {}", verb(&write.verb), write.target).into();
    report.decision.writes.push(WriteRecord { what, why: short(&write.why), result });
}

fn verb(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create { .. } => "create",
        Verb::CopyFrom { .. } => "copy to",
        Verb::Apply { .. } => "apply",
        Verb::Patch { .. } | Verb::Merge { .. } | Verb::Strategic { .. } => "patch",
        Verb::Delete { .. } => "delete",
        Verb::Scale { .. } => "scale",
        Verb::Evict => "evict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_never_early_and_never_hot() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(delay(now, now + Duration::from_secs(2)), Duration::from_millis(2_001));
        assert_eq!(delay(now, now), SOONEST_WAKE);
        assert_eq!(delay(now, now - Duration::from_secs(9)), SOONEST_WAKE);
    }

    #[test]
    fn a_panic_says_what_it_said() {
        let text = |call: fn()| guard("decide", call).err().map(|(Broken::Panicked(text) | Broken::Late(text))| text);
        assert_eq!(text(|| panic!("no {}", "luck")).as_deref(), Some("decide panicked: no luck"));
        assert_eq!(text(|| {}), None);
    }
}
