//! The decision about one workload: whether it restarts for what has changed, now, later, or not at all. Not what the patch
//! looks like, nor whose turn it is among many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use trimtab_config::Source;
use trimtab_crds::names;
use trimtab_plan::{Answer, Answers, Ask, Failure, Notice, ObjectRef, Plan, Question, Severity, Verb, Write};

use crate::blocked::Blocked;
use crate::board::Turn;
use crate::breaker::{Tripped, tripped};
use crate::hot::Hot;
use crate::member::quiet_until;
use crate::opt_in::MOST_SOURCES;
use crate::record::Record;
use crate::standing::{Have, have};
use crate::{Change, KeptJob, Options, PodView, Survey, Workload, blocked, cron, hot, job, trigger};

/// Everything that a decision about one workload sees.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The workload; gone while its Job is made anew.
    pub workload: Option<Arc<Workload>>,
    /// What changed for it.
    pub survey: Survey,
    /// Whether it is its turn among the workloads of its namespace, if it wants to restart.
    pub turn: Option<Turn>,
    /// Its pods.
    pub pods: Vec<Arc<PodView>>,
    /// The versions at which its pods were made, where somebody watched.
    #[serde(skip)]
    pub made: BTreeMap<String, u64>,
    /// The versions of the sources that changed.
    pub versions: BTreeMap<Source, String>,
    /// Of a CronJob, its Jobs.
    pub jobs: Vec<Run>,
    /// What is kept of a Job that is being made anew.
    pub kept: Option<Arc<KeptJob>>,
    /// Whether the Job was made of it since it was kept, where somebody watched.
    pub made_anew: Option<bool>,
    /// Answers to questions.
    #[serde(skip)]
    pub answers: Answers,
    /// How reloads are set up.
    #[serde(skip)]
    pub options: Arc<Options>,
}

/// A Job of a CronJob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// Whether it has not ended yet.
    pub runs: bool,
}

impl Run {
    /// A Job as a run of its CronJob.
    pub fn of(job: &Workload) -> Self {
        Self { name: job.metadata.name.clone(), runs: !job.ended && job.metadata.deletion_timestamp.is_none() }
    }
}

/// How soon more names are compared with expressions.
const COMPARE_AGAIN: Duration = Duration::from_millis(200);

/// Decides about one workload.
pub fn decide(now: Timestamp, seen: &Snapshot) -> Plan<()> {
    let mut plan = Plan::new(());
    let Some(workload) = seen.workload.as_deref() else {
        job::make_again(now, seen, &mut plan);
        return plan;
    };
    if let Some(by) = Options::looked_after_by(workload) {
        if seen.options.asks_in_vain(workload) {
            let message = format!(
                "{} does not count here: {by} looks after this workload's configuration; take one of the two out",
                names::RELOAD
            );
            tell(workload, Severity::Warning, "ReloadIgnored", "Ignore", message.clone(), &mut plan);
            plan.because("ReloadIgnored", message);
        }
        let_go(now, &seen.options, workload, &mut plan);
        return plan;
    }
    if seen.kept.as_ref().is_some_and(|kept| kept.is_known(&seen.options.proof_key)) {
        job::go_on(seen, workload, &mut plan);
        return plan;
    }
    if !seen.options.opted_in(workload) {
        let_go(now, &seen.options, workload, &mut plan);
        return plan;
    }
    if seen.survey.comparing {
        plan.because(
            "Comparing",
            "its expressions are being compared with the names in its namespace, a part at a time",
        );
        plan.wake_by(now.checked_add(COMPARE_AGAIN).unwrap_or(now));
        return plan;
    }
    let mut problems = seen.options.problems(workload, &seen.survey.fits);
    if seen.survey.full {
        problems.push(format!(
            "it reads or names {MOST_SOURCES} sources or more, and no more are looked after: read fewer"
        ));
    }
    if let Some(problem) = problems.first() {
        tell(workload, Severity::Warning, "BadAnnotation", "Ignore", problem.clone(), &mut plan);
        plan.because("BadAnnotation", problem.clone());
    }
    if !seen.survey.missing.is_empty() {
        let message = format!(
            "{} names {}, which is not there: nothing is reloaded for it; create it, or correct the name",
            names::RELOAD,
            few(&seen.survey.missing, Source::to_string)
        );
        tell(workload, Severity::Warning, "SourceMissing", "Wait", message.clone(), &mut plan);
        plan.because("SourceMissing", message);
    }
    resume(now, &seen.options, workload, &mut plan);
    let blocked = changed(now, seen, workload, &mut plan).or_else(|| unread(seen, workload, &mut plan));
    blocked::set(now, workload, blocked, &mut plan);
    plan
}

/// Takes back what was said of a workload, and done to it, that is not reloaded any more.
fn let_go(now: Timestamp, options: &Options, workload: &Workload, plan: &mut Plan<()>) {
    if options.leaves_behind(workload) {
        plan.because("LetGo", "it is not reloaded any more: what reloads said of it and paused is taken back");
    }
    resume(now, options, workload, plan);
    blocked::set(now, workload, None, plan);
}

/// Says which Secrets a workload is to be reloaded for and never will.
fn unread(seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) -> Option<Blocked> {
    let unread = seen.options.unread(workload, &seen.survey.fits);
    if unread.is_empty() {
        return None;
    }
    let message = format!(
        "changes of {} reload nothing, since the manager runs with --secrets=false: run it with --secrets=true, or name in the \
         annotation what is to reload this workload ({}: configmaps)",
        few(&unread, Source::to_string),
        names::RELOAD
    );
    plan.because("SecretsNotRead", message.clone());
    Some(Blocked { reason: "SecretsNotRead", message })
}

/// Acts on what changed; what stands in the way, if a person has to do something about it.
fn changed(now: Timestamp, seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) -> Option<Blocked> {
    let (options, survey) = (&seen.options, &seen.survey);
    if survey.changes.is_empty() {
        if survey.recorded {
            plan.because("UpToDate", "its pods have the configuration that is live");
        } else {
            plan.because("Noting", "what its pods have is noted; nothing is restarted for it");
            let record = trigger::record(now, workload, survey, false);
            plan.writes.push(trigger::note(workload, &record, "note the configuration that its pods have"));
        }
        return None;
    }
    let record = Record::of(workload);
    let trips: Vec<Option<Tripped>> = survey.changes.iter().map(|change| tripped(now, &record, change)).collect();
    // What changes again and again must not hold up what does not.
    let calm = survey.changes.iter().zip(&trips).filter(|(_, tripped)| tripped.is_none()).map(|(change, _)| change);
    let written = calm.filter_map(Change::written).max();
    if let Some(until) = quiet_until(now, written, options) {
        plan.wake_by(until);
        plan.because("QuietPeriod", "a change was seen; it is acted on once nothing has followed it for a moment");
        return None;
    }
    let have = have(now, workload, &survey.changes, &seen.pods, &seen.made);
    if have != Have::Lack {
        wait(now, seen, workload, have, plan);
        return None;
    }
    if let Some(tripped) = trips.iter().flatten().next().filter(|_| trips.iter().all(Option::is_some)) {
        plan.wake_by(tripped.until);
        plan.because("Flapping", tripped.message.clone());
        return Some(Blocked { reason: "Flapping", message: tripped.message.clone() });
    }
    if workload.kind == names::CRON_JOB {
        cron::run(now, seen, workload, plan);
        return None;
    }
    if workload.kind == names::JOB {
        return job::begin(now, seen, workload, plan);
    }
    match hot::reload(now, seen, workload, plan) {
        Hot::Waits => return None,
        Hot::Done => {
            let record = trigger::record(now, workload, survey, false);
            plan.writes.push(trigger::note(workload, &record, "note that its pods have read the change"));
            let note = format!("its pods have read {} without a restart", sources(survey));
            tell(workload, Severity::Normal, "Reloaded", "Reload", note, plan);
            return None;
        }
        Hot::Failed(why) => tell(workload, Severity::Warning, "HotReloadFailed", "Restart", why, plan),
        Hot::Restart => {}
    }
    in_turn(now, seen, workload, plan)
}

/// Says what is waited for, or notes that pods have what changed.
fn wait(now: Timestamp, seen: &Snapshot, workload: &Workload, have: Have, plan: &mut Plan<()>) {
    let mut note = |message: &str, why: &str| {
        plan.because("AlreadyFresh", message);
        plan.writes.push(trigger::note(workload, &trigger::record(now, workload, &seen.survey, false), why));
    };
    match have {
        Have::Open(until) => {
            plan.wake_by(until);
            let message = "its pods may have the change: they are waited for until the watches must have shown them";
            plan.because("Rolling", message);
        }
        Have::NotThere => {
            plan.because("Rolling", "its pods are not there yet: they tell by their age whether they have the change");
        }
        // Pods that it will have start with the change.
        Have::Idle => {
            note(
                "it has no pods: those that it will have start with the change",
                "note that its pods will have the change",
            );
        }
        Have::All => {
            note("its pods started after the change: they have it", "note that its pods have the change already")
        }
        Have::Rolling => plan.because("Rolling", "the rollout that is under way starts its pods with the change"),
        Have::Lack => {}
    }
}

/// Restarts a workload if it is its turn.
fn in_turn(now: Timestamp, seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) -> Option<Blocked> {
    let turn = seen.turn.clone().unwrap_or(Turn::Go);
    // Of one that was to read its files anew, others do not know whether it still is: it may have no place in the line, where nobody
    // wakes it when others are done.
    let soon = now.checked_add(AGAIN).ok().filter(|_| workload.is_hot() && turn != Turn::Go);
    soon.into_iter().for_each(|time| plan.wake_by(time));
    let (reason, message) = match turn {
        Turn::Go => {
            plan.because("Restarting", format!("restarted for {}", sources(&seen.survey)));
            plan.writes.push(trigger::restart(now, &seen.options, workload, &seen.survey));
            let note = format!("restarting for {}", sources(&seen.survey));
            tell(workload, Severity::Normal, "Reloaded", "Restart", note, plan);
            // What a pod has answered counts no more.
            plan.asks.clear();
            return None;
        }
        Turn::Wait(message, again) => {
            again.into_iter().for_each(|time| plan.wake_by(time));
            plan.because("WaitingForTurn", message);
            return None;
        }
        Turn::After(message, again) => {
            again.into_iter().for_each(|time| plan.wake_by(time));
            plan.because("WaitingForOrder", message);
            return None;
        }
        Turn::Halted(message) => ("WaveFailed", message),
        Turn::Cycle(way) => {
            ("OrderCycle", format!("{} has no beginning: {way}; take one of them out", names::RELOAD_AFTER))
        }
    };
    let message = match reason {
        "WaveFailed" => format!(
            "not restarted for {}, since a workload that was did not become available: {message}; correct the configuration, or \
             that workload",
            sources(&seen.survey)
        ),
        _ => message,
    };
    plan.because(reason, message.clone());
    Some(Blocked { reason, message })
}

/// What people are told where a write was refused: a workload without a plan has no status of ours, and would wait in silence.
pub fn refused(seen: &Snapshot, write: &Write, failure: &Failure) -> Vec<Notice> {
    let kept =
        seen.kept.as_ref().map(|kept| (kept.metadata.object(names::CONTROLLER_REVISION), kept.metadata.uid.clone()));
    let workload = seen.workload.as_ref().map(|workload| (workload.object(), workload.metadata.uid.clone()));
    let told = |(about, uid)| {
        let note = format!("{}: {}: {}: {}", failure.how(), write.why, failure.reason, failure.message);
        Notice { about, uid, severity: Severity::Warning, reason: "WriteRefused", action: "Wait", note }
    };
    workload.or(kept).map(told).into_iter().collect()
}

/// Lets a Deployment roll again that was paused for some time after a change, by us or by Reloader.
fn resume(now: Timestamp, options: &Options, workload: &Workload, plan: &mut Plan<()>) {
    let paused_at = workload.annotation(&options.names.paused_at).filter(|_| workload.kind == names::DEPLOYMENT);
    let Some(paused_at) = paused_at else { return };
    let period = trigger::pause_period(options, workload).unwrap_or_default();
    let until = paused_at.parse::<Timestamp>().ok().and_then(|at| at.checked_add(period).ok()).unwrap_or(now);
    if now < until {
        plan.wake_by(until);
        plan.because("Paused", format!("paused after a change until {until}"));
        return;
    }
    let annotations = serde_json::json!({ options.names.paused_at.as_str(): null });
    let body = serde_json::json!({
        "metadata": {"uid": workload.metadata.uid, "annotations": annotations}, "spec": {"paused": false},
    });
    plan.because("Resuming", "the pause after a change is over");
    let why = "let it roll again after its pause".to_owned();
    plan.writes.push(Write { target: workload.object(), verb: Verb::Merge { body, subresource: None }, why });
}

/// How long after an object could not be read it is tried again.
pub(crate) const AGAIN: Duration = Duration::from_secs(10);

/// The whole of an object, once it is read.
pub(crate) fn read<'s>(
    now: Timestamp,
    seen: &'s Snapshot,
    id: String,
    object: ObjectRef,
    plan: &mut Plan<()>,
) -> Option<&'s Value> {
    match seen.answers.get(&id) {
        Some(Answer::Object(value)) => return Some(value),
        // An answer is forgotten once nobody asks: the next decision asks anew.
        Some(Answer::Failed(_) | Answer::NotFound) => {
            plan.because("Reading", format!("{object} could not be read; tried again"));
            plan.wake_by(now.checked_add(AGAIN).unwrap_or(now));
        }
        None => {
            plan.because("Reading", format!("reading {object}"));
            plan.asks.push(Ask { id, question: Question::Get(object), timeout_seconds: 10 });
        }
    }
    None
}

/// How many sources are told to people by their names.
const TOLD: usize = 8;

/// The first few of some, for people.
fn few<T>(all: &[T], name: impl FnMut(&T) -> String) -> String {
    let more = all.len().saturating_sub(TOLD);
    let told = all.iter().take(TOLD).map(name).collect::<Vec<_>>().join(", ");
    if more == 0 { told } else { format!("{told} and {more} more") }
}

/// The sources that changed and who changed them, for people: `cm/web (by kubectl-edit)`.
pub(crate) fn sources(survey: &Survey) -> String {
    let one = |change: &Change| match &change.by {
        Some(by) => format!("{} (by {by})", change.source),
        None => change.source.to_string(),
    };
    few(&survey.changes, one)
}

pub(crate) fn tell(
    workload: &Workload,
    severity: Severity,
    reason: &'static str,
    action: &'static str,
    note: String,
    plan: &mut Plan<()>,
) {
    let (about, uid) = (workload.object(), workload.metadata.uid.clone());
    plan.notices.push(Notice { about, uid, severity, reason, action, note });
}
