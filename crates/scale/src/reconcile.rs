//! From what the controller sees to what it writes: what must be found out first, the size, and the status. How a size
//! comes about is in `decide`; nothing is asked or written here.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use trimtab_crds::{AutoscalerStatus, MetricSpec, ScaleHistory, ScaleMode, names};
use trimtab_plan::{
    Answer, Answers, Ask, Condition, Kind, Notice, ObjectRef, Outcome, Plan, Severity, StatusWrite, Subresource, Verb,
    Write, set_condition,
};

use crate::beat::Beat;
use crate::decide::contested_by;
use crate::questions::{
    self, ForecastQuestion, FoundScale, MetricQuestion, ScaleQuestion, ask_forecast, ask_metric, ask_scale,
};
use crate::views::query_of;
use crate::{
    AutoscalerView, Decision, Finding, Options, PodView, ReleaseView, ScaleSnapshot, Scaled, TargetView, Unread,
    Verdict, decide_scale, settle,
};

/// How often a status is written that says nothing new but other measurements.
const REFRESH: SignedDuration = SignedDuration::from_mins(5);
/// How often the future is looked at.
const FORECAST_STEP_MS: i64 = 300_000;
/// For how many of these steps a forecast counts where none is made after it.
const FORECAST_STEPS: i64 = 2;
/// From how many autoscalers in a namespace on the metrics of all its pods are read at once, unless there are more pods than so many for
/// each: most of them are somebody else's then.
const WIDE: usize = 8;
const EACH: usize = 250;

/// How long the selector of the target's pods may be, in bytes of a query: it is part of every question about them.
pub const SELECTOR: usize = 4 << 10;
/// How many samples of pods one autoscaler may have to do with: pods times metrics of pods.
pub const SAMPLES: usize = 20_000;

/// Everything that the controller sees of one autoscaler.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// The autoscaler.
    pub autoscaler: Arc<AutoscalerView>,
    /// The kind of its target, where it is watched.
    pub kind: Option<Kind>,
    /// Its target, where it is watched and there.
    pub target: Option<Arc<Scaled>>,
    /// The pods that the target's selector fits, and those of its canary.
    pub pods: Vec<Arc<PodView>>,
    /// The release of the target that is under way.
    pub release: Option<ReleaseView>,
    /// What else scales the target.
    pub others: Vec<String>,
    /// How many autoscalers there are in the namespace.
    pub neighbours: usize,
    /// How many pods there are in the namespace.
    pub crowd: usize,
    /// The answers to questions.
    #[serde(skip)]
    pub answers: Answers,
    /// What holds for the whole cluster.
    pub options: Options,
    /// What is watched and was not read to its end yet.
    pub unread: Unread,
}

/// The target, as far as it is known.
enum Target {
    Found(ObjectRef, Arc<Scaled>, String),
    Asked,
    Lost(&'static str, String),
}

impl Seen {
    fn specs(&self) -> Vec<MetricSpec> {
        let own = &self.autoscaler.spec.metrics;
        if own.is_empty() { vec![MetricSpec::default_cpu()] } else { own.clone() }
    }

    /// How many samples of pods its metrics have.
    fn samples(&self) -> usize {
        self.autoscaler
            .spec
            .metrics
            .iter()
            .filter(|metric| metric.is_of_pods())
            .count()
            .max(1)
            .saturating_mul(self.pods.len())
    }

    /// Whether deciding takes so long that it is done apart.
    pub fn is_costly(&self) -> bool {
        let spec = &self.autoscaler.spec;
        spec.formula.is_some() || !spec.schedules.is_empty() || self.samples() > SAMPLES / 4
    }

    /// The target with its selector, unless there is too much of it to look at.
    fn bounded(&self, target: Target, plan: &mut Plan<Option<AutoscalerStatus>>, now: Timestamp) -> Target {
        match target {
            Target::Found(_, _, selector) if selector.len() > SELECTOR => {
                let message = format!(
                    "the selector of the target's pods has more than {} KiB, so the size stays as it is: select by fewer labels",
                    SELECTOR >> 10
                );
                Target::Lost("InvalidSelector", message)
            }
            Target::Found(_, _, selector) if !selector.is_empty() && self.samples() > SAMPLES => {
                // Many of them may be nobody's, or somebody else's: those wake nobody when they go.
                plan.wake_by(self.next_look(now));
                // No more are gathered than tell that there are too many.
                let or_more = if self.pods.len() > SAMPLES { " or more" } else { "" };
                let message = format!(
                    "{}{or_more} pods times the metrics that each has are more than {SAMPLES} samples, so the size stays as it is: name \
                     fewer metrics of pods, or sums by Prometheus",
                    self.pods.len()
                );
                Target::Lost("TooLarge", message)
            }
            target => target,
        }
    }

    /// The version of the target that its size is held to. An answer may be as old as a step is long, and somebody may have set
    /// the size since. What is watched is hardly older than the write itself, and its controller writes its status all the time:
    /// held to a version, every other size of a workload that rolls would be refused for nothing.
    fn asked_version(&self, target: &Scaled) -> Option<String> {
        Some(target.metadata.resource_version.clone()).filter(|version| self.kind.is_none() && !version.is_empty())
    }

    fn interval_ms(&self) -> i64 {
        let own = self.autoscaler.spec.interval.as_ref().and_then(trimtab_crds::DurationText::get);
        let own = own.and_then(|own| i64::try_from(own.as_millis()).ok());
        own.unwrap_or_else(|| i64::from(self.options.interval_seconds) * 1000)
    }

    /// When it decides.
    fn beat(&self, selector: &str) -> Beat {
        let namespace = &self.autoscaler.metadata.namespace;
        let first = self.specs().first().map(|metric| questions::source(metric, namespace, selector));
        Beat::new(self.interval_ms(), &first.unwrap_or_default())
    }

    /// When it looks again where no metric says when it decides.
    fn next_look(&self, now: Timestamp) -> Timestamp {
        let beat = self.scale_beat();
        beat.start(beat.step(now) + 1)
    }

    fn scale_beat(&self) -> Beat {
        Beat::new(self.interval_ms(), &self.autoscaler.metadata.uid)
    }

    fn target(&self, plan: &mut Plan<Option<AutoscalerStatus>>, now: Timestamp) -> Target {
        let (meta, asked) = (&self.autoscaler.metadata, &self.autoscaler.spec.target_ref);
        if self.autoscaler.too_large {
            let most = crate::autoscaler::SPEC >> 10;
            let message = format!(
                "the spec has more than {most} KiB, so the size stays as it is: name fewer metrics, labels or schedules, or shorter \
                 queries"
            );
            return Target::Lost("TooLarge", message);
        }
        if !self.autoscaler.newer.spec.is_empty() {
            let paths: Vec<&str> = self.autoscaler.newer.spec.iter().map(String::as_str).collect();
            let message = format!(
                "this version of Trimtab does not know {}: the size stays as it is, until a version runs that does, or the \
                 Autoscaler does without",
                paths.join(", ")
            );
            return Target::Lost("NewerAutoscaler", message);
        }
        if let Some(why) = &self.autoscaler.unread {
            let message = format!(
                "this version of Trimtab cannot read {why}; the size stays as it is, until a version runs that can, or the Autoscaler \
                 does without"
            );
            return Target::Lost("NewerAutoscaler", message);
        }
        let not_found = || {
            let message = format!(
                "there is no {} {} in {}: create it, or correct targetRef",
                asked.kind, asked.name, meta.namespace
            );
            Target::Lost("FailedGetScale", message)
        };
        if let Some(kind) = self.kind {
            return self.target.as_ref().map_or_else(not_found, |target| {
                Target::Found(kind.object(&meta.namespace, &asked.name), target.clone(), query_of(&target.selector))
            });
        }
        let question = ScaleQuestion { target: asked.clone(), namespace: meta.namespace.clone() };
        let ask = ask_scale(&question, self.scale_beat().step(now));
        let answer = self.answers.get(&ask.id).cloned();
        plan.asks.push(ask);
        plan.wake_by(self.next_look(now));
        match answer {
            None => Target::Asked,
            Some(Answer::NotFound) => not_found(),
            Some(Answer::Failed(why)) => Target::Lost("FailedGetScale", why),
            Some(Answer::Object(value)) => match FoundScale::deserialize(&value) {
                Ok(found) => {
                    let kind = Kind::interned(&found.group, &found.version, &found.kind, &found.plural, true);
                    let object = kind.object(&meta.namespace, &asked.name);
                    Target::Found(object, Arc::new(found.scaled(&meta.namespace, &asked.name)), found.selector)
                }
                Err(error) => Target::Lost("FailedGetScale", format!("the scale is not understood: {error}")),
            },
        }
    }

    /// What a decision sees, once everything is known; asks for what is not.
    fn snapshot(
        &self,
        now: Timestamp,
        target: &Scaled,
        selector: &str,
        plan: &mut Plan<Option<AutoscalerStatus>>,
    ) -> Option<ScaleSnapshot> {
        let (meta, spec) = (&self.autoscaler.metadata, &self.autoscaler.spec);
        let beat = self.beat(selector);
        let step = beat.step(now);
        plan.wake_by(beat.start(step + 1));
        let selects = !selector.is_empty();
        let (mut observations, mut late) = (vec![], false);
        for (index, metric) in self.specs().into_iter().enumerate() {
            if !selects && metric.is_of_pods() {
                observations.push(questions::observation(None));
                continue;
            }
            let question = MetricQuestion {
                metric,
                namespace: meta.namespace.clone(),
                selector: selector.to_owned(),
                since: beat.start(step),
                patience_ms: (self.interval_ms() / 2).clamp(500, questions::LONGEST_MS),
                wide: self.neighbours >= WIDE && self.crowd <= self.neighbours.saturating_mul(EACH),
            };
            let ask = ask_metric(index, &question, step);
            let answer = self.answers.get(&ask.id);
            late |= answer.is_none();
            observations.push(questions::observation(answer));
            plan.asks.push(ask);
        }
        let forecast = self.forecast(now, plan);
        // Every question is answered before its step ends, if only by saying that nobody did: nothing is decided, written and
        // decided anew for an answer that is on its way.
        if late {
            return None;
        }
        let status = self.autoscaler.status.as_ref();
        let decided = status.and_then(|status| status.decision.as_ref()).map(|decision| decision.at);
        // Between two steps nothing was recommended that was not already at the beginning of the step.
        let last = if decided.is_some_and(|at| at >= beat.start(step)) { decided } else { Some(beat.start(step - 1)) };
        Some(ScaleSnapshot {
            spec: spec.clone(),
            target: TargetView { replicas: target.replicas, status_replicas: target.status_replicas, selects },
            // Without a selector those of the whole namespace are seen.
            pods: if selects { self.pods.clone() } else { vec![] },
            observations,
            history: status.map(|status| status.history.clone()).unwrap_or_default(),
            options: self.options,
            previous: last,
            forecast,
            release: self.release.clone(),
            others: self.others.clone(),
            desired: status.map(|status| status.desired_replicas),
            writer: target.writer.clone(),
        })
    }

    fn forecast(&self, now: Timestamp, plan: &mut Plan<Option<AutoscalerStatus>>) -> Option<crate::ForecastView> {
        let spec = self.autoscaler.spec.forecast.as_ref()?;
        let metric = self.specs().into_iter().find(|metric| metric.name() == spec.metric);
        let Some(source) = metric.and_then(|metric| metric.prometheus) else {
            let message =
                format!("forecast.metric {:?} is no Prometheus metric of this autoscaler: name one", spec.metric);
            return Some(crate::ForecastView { peak: None, reason: "ForecastInvalid".to_owned(), message });
        };
        let beat = Beat::new(FORECAST_STEP_MS, &source.query);
        let step = beat.step(now);
        let own = spec.horizon.as_ref().and_then(trimtab_crds::DurationText::get).map(|own| own.as_secs());
        let interval = u64::try_from(self.interval_ms() / 1000).unwrap_or(15);
        let horizon = own.unwrap_or_else(|| ready_after(&self.pods) + interval);
        let question = ForecastQuestion {
            address: source.address,
            query: source.query,
            spec: spec.clone(),
            horizon_seconds: u32::try_from(horizon).unwrap_or(3600),
            until: beat.start(step),
            namespace: self.autoscaler.metadata.namespace.clone(),
        };
        let ask = ask_forecast(&question, step);
        let found = self.answers.get(&ask.id).map(questions::expectation);
        let before = match &found {
            Some(Ok(_)) => None,
            _ => questions::forecast_before(&self.answers, &ask.id, FORECAST_STEPS),
        };
        // An answer is kept for as long as it is asked for, and while it is there nobody is asked.
        plan.asks.extend(before.as_ref().map(|(id, _)| Ask { id: (*id).clone(), ..ask.clone() }));
        plan.asks.push(ask);
        match (found, before.map(|(_, view)| view)) {
            (Some(Ok(view)), _) | (None, Some(view)) => Some(view),
            (None, None) => None,
            (Some(Err(why)), Some(view)) => {
                let message = format!("{} (as of some minutes ago: {why})", view.message);
                Some(crate::ForecastView { message, ..view })
            }
            (Some(Err(message)), None) => {
                Some(crate::ForecastView { peak: None, reason: "ForecastUnknown".to_owned(), message })
            }
        }
    }
}

/// How long nine of ten pods took to become ready, in seconds; half a minute if there are none. In steps, so that one pod
/// more does not ask for another forecast.
fn ready_after(pods: &[Arc<PodView>]) -> u64 {
    let took = |pod: &Arc<PodView>| {
        let ready = pod.ready.filter(|ready| ready.is == Some(true))?;
        u64::try_from(ready.since.duration_since(pod.started_at?).as_secs()).ok()
    };
    // One that became ready again long after its start says nothing of starting.
    let mut all: Vec<u64> = pods.iter().filter_map(took).filter(|seconds| *seconds <= 1800).collect();
    all.sort_unstable();
    let ninth = all.len().saturating_mul(9).div_ceil(10).saturating_sub(1);
    all.get(ninth).map_or(30, |seconds| seconds.div_ceil(10) * 10)
}

/// Decides about one autoscaler.
pub fn reconcile(now: Timestamp, seen: &Seen) -> Plan<Option<AutoscalerStatus>> {
    let mut plan = Plan::new(None);
    if seen.unread.holds_after(now, seen.autoscaler.status.as_ref(), &seen.others) {
        // What is read to its end wakes the key.
        plan.because("Starting", format!("not read to the end: {}", seen.unread.kinds.join(", ")));
        plan.wake_by(seen.unread.again(now));
        if seen.unread.is_told(now) {
            leave_undecided(now, seen, "NotRead", &seen.unread.message(), &mut plan);
        }
        return plan;
    }
    let target = seen.target(&mut plan, now);
    let (object, target, selector) = match seen.bounded(target, &mut plan, now) {
        Target::Found(object, target, selector) => (object, target, selector),
        Target::Asked => {
            plan.because("Asking", "the scale of the target is asked for");
            return plan;
        }
        Target::Lost(reason, message) => {
            plan.because(reason, message.clone());
            leave_undecided(now, seen, reason, &message, &mut plan);
            return plan;
        }
    };
    let Some(snapshot) = seen.snapshot(now, &target, &selector, &mut plan) else {
        plan.because("Measuring", "the metrics are asked for");
        return plan;
    };
    let decision = decide_scale(now, &snapshot);
    // Until the first forecast is made nobody knows what it keeps. Nothing but growth goes on without it, for the seconds in which
    // each question is answered.
    let grows = matches!(decision.verdict, Verdict::Set(to) if to > decision.decision.from);
    if snapshot.spec.forecast.is_some() && snapshot.forecast.is_none() && !grows {
        plan.because("Measuring", "the forecast is asked for");
        return plan;
    }
    plan.because(if decision.verdict == Verdict::Keep { "Keep" } else { "Scale" }, decision.message.clone());
    if let Some(next) = &decision.decision.next {
        plan.wake_by(next.at);
    }
    if let Verdict::Set(to) = decision.verdict {
        scale(seen, &object, &target, &decision, to, &mut plan);
    }
    contested(seen, &decision.findings, &mut plan);
    plan.status = Some(status(now, seen, decision));
    plan
}

/// What is said where a decision about an autoscaler was not made in time. Nothing is written but that.
pub fn late(now: Timestamp, seen: &Seen) -> Plan<Option<AutoscalerStatus>> {
    let mut plan = Plan::new(None);
    let message = "the decision took too long and was given up, so the size stays as it is: write a shorter formula and fewer schedules, \
                   here or in the other Autoscalers of the namespace, which share its turns";
    plan.because("TookTooLong", message);
    leave_undecided(now, seen, "TookTooLong", message, &mut plan);
    plan
}

/// What the snapshot of a decision would be now, if everything is known.
pub fn snapshot(now: Timestamp, seen: &Seen) -> Option<ScaleSnapshot> {
    let mut plan = Plan::new(None);
    let target = seen.target(&mut plan, now);
    let Target::Found(_, target, selector) = seen.bounded(target, &mut plan, now) else { return None };
    seen.snapshot(now, &target, &selector, &mut plan)
}

/// The size is written behind a note of it: whoever goes on after a crash knows what was done, and counts it.
fn scale(
    seen: &Seen,
    object: &ObjectRef,
    target: &Scaled,
    decision: &Decision,
    to: i32,
    plan: &mut Plan<Option<AutoscalerStatus>>,
) {
    let meta = &seen.autoscaler.metadata;
    let about = meta.object(names::AUTOSCALER);
    let note = json!({ "status": { "history": decision.history } });
    plan.writes.push(Write {
        target: about.clone(),
        verb: Verb::Merge { body: note, subresource: Some(Subresource::Status) },
        why: "note the change before it is made".to_owned(),
    });
    let from = decision.decision.from;
    plan.writes.push(Write {
        target: object.clone(),
        verb: Verb::Scale { replicas: to, resource_version: seen.asked_version(target) },
        why: format!("scale from {from} to {to}"),
    });
    plan.notices.push(Notice {
        about,
        uid: meta.uid.clone(),
        severity: Severity::Normal,
        reason: "Scaled",
        action: "Scale",
        note: format!("{} {}: {}", object.kind.kind, object.name, decision.message),
    });
}

/// People are told once when somebody else sets the size.
fn contested(seen: &Seen, findings: &[Finding], plan: &mut Plan<Option<AutoscalerStatus>>) {
    let Some(finding) = findings.iter().find(|finding| finding.type_ == "Contested") else { return };
    let meta = &seen.autoscaler.metadata;
    let known = seen.autoscaler.status.as_ref().is_some_and(|status| {
        status.conditions.iter().any(|c| c.type_ == "Contested" && c.status == "True" && c.reason == finding.reason)
    });
    if !known {
        plan.notices.push(Notice {
            about: meta.object(names::AUTOSCALER),
            uid: meta.uid.clone(),
            severity: Severity::Warning,
            reason: "Contested",
            action: "Wait",
            note: finding.message.clone(),
        });
    }
}

/// Nothing is decided, and why not is told. What else scales the target is looked at all the same, where it can be.
fn leave_undecided(
    now: Timestamp,
    seen: &Seen,
    reason: &str,
    message: &str,
    plan: &mut Plan<Option<AutoscalerStatus>>,
) {
    let old = seen.autoscaler.status.clone().unwrap_or_default();
    let mut findings =
        vec![Finding { type_: "AbleToScale", holds: false, reason: reason.to_owned(), message: message.to_owned() }];
    findings.extend(contested_by(&seen.others));
    contested(seen, &findings, plan);
    let conditions = conditions(now, seen, &findings, old.conditions, |condition| seen.unread.leaves(condition));
    plan.status = Some(AutoscalerStatus {
        observed_generation: Some(seen.autoscaler.metadata.generation),
        message: message.to_owned(),
        decision: None,
        conditions,
        ..old
    });
}

/// The status if every write succeeds.
fn status(now: Timestamp, seen: &Seen, decision: Decision) -> AutoscalerStatus {
    let old = seen.autoscaler.status.clone().unwrap_or_default();
    let scaled = matches!(decision.verdict, Verdict::Set(_));
    let history = match decision.verdict {
        Verdict::Set(to) => settle(decision.history, &seen.autoscaler.spec, to),
        Verdict::Keep => decision.history,
    };
    // As the HPA says it before it decides; a decision that sets a size says more.
    let mut findings = decision.findings;
    if !findings.iter().any(|finding| finding.type_ == "AbleToScale") {
        let (reason, message) = ("SucceededGetScale".to_owned(), "the target's scale is known".to_owned());
        findings.push(Finding { type_: "AbleToScale", holds: true, reason, message });
    }
    let is_known = findings.iter().any(|finding| finding.type_ == "Contested");
    let unknown = seen.unread.unknown(now, seen.autoscaler.metadata.generation).filter(|_| !is_known);
    let stays = |condition: &Condition| unknown.as_ref().is_some_and(|unknown| unknown.type_ == condition.type_);
    let mut conditions = conditions(now, seen, &findings, old.conditions, stays);
    if let Some(unknown) = unknown {
        set_condition(&mut conditions, unknown);
    }
    AutoscalerStatus {
        observed_generation: Some(seen.autoscaler.metadata.generation),
        current_replicas: decision.decision.from,
        desired_replicas: decision.desired,
        message: decision.message,
        last_scale_time: if scaled { Some(now) } else { old.last_scale_time },
        decision: Some(decision.decision),
        history,
        conditions,
    }
}

/// The conditions that a decision finds. Every decision finds all that hold: what one does not find is not known any more, and
/// does not stay, but for what nobody looked at.
fn conditions(
    now: Timestamp,
    seen: &Seen,
    findings: &[Finding],
    old: Vec<Condition>,
    stays: impl Fn(&Condition) -> bool,
) -> Vec<Condition> {
    let mut all = old;
    all.retain(|c| c.type_ == "Ready" || findings.iter().any(|finding| finding.type_ == c.type_) || stays(c));
    amend(now, seen, findings, all)
}

/// The conditions with what was found besides.
fn amend(now: Timestamp, seen: &Seen, findings: &[Finding], mut all: Vec<Condition>) -> Vec<Condition> {
    // Whole seconds, as conditions have them.
    let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut set = |type_: &str, holds: bool, reason: &str, message: &str| {
        let condition = Condition {
            type_: type_.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            observed_generation: Some(seen.autoscaler.metadata.generation),
            last_transition_time: at,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        set_condition(&mut all, condition);
    };
    for finding in findings {
        set(finding.type_, finding.holds, &finding.reason, &finding.message);
    }
    let bad = findings.iter().find(|finding| match finding.type_ {
        "AbleToScale" | "ScalingActive" | "SchedulesValid" => !finding.holds,
        "Contested" => finding.reason == "OtherAutoscaler" && seen.autoscaler.spec.mode == ScaleMode::Auto,
        _ => false,
    });
    match bad {
        Some(finding) => set("Ready", false, &finding.reason, &finding.message),
        None => match seen.autoscaler.spec.mode {
            ScaleMode::Auto => set("Ready", true, "Scaling", "the size follows what is measured"),
            ScaleMode::Recommend => set("Ready", true, "Recommending", "what would be set is in desiredReplicas"),
            ScaleMode::Paused => set("Ready", true, "Paused", "the size stays as it is"),
        },
    }
    all
}

/// The status that follows from what came of the plan.
pub fn conclude(
    now: Timestamp,
    seen: &Seen,
    plan: &Plan<Option<AutoscalerStatus>>,
    outcome: &Outcome,
) -> Option<StatusWrite> {
    let mut new = plan.status.clone()?;
    let old = seen.autoscaler.status.as_ref();
    if let Some(failure) = &outcome.failed {
        // Somebody wrote the target after it was read: it is read again, and decided anew. What goes on is told the next time.
        let again = old.is_some_and(|old| old.history.pending.is_some());
        if failure.is_conflict() && failure.index > 0 && !again {
            return None;
        }
        // Behind the note, the next decision finds out from the size whether the change was made.
        let noted = plan.writes.first().filter(|_| failure.index > 0).and_then(|note| match &note.verb {
            Verb::Merge { body, .. } => ScaleHistory::deserialize(&body["status"]["history"]).ok(),
            _ => None,
        });
        new.history = noted.unwrap_or_else(|| old.map(|old| old.history.clone()).unwrap_or_default());
        new.last_scale_time = old.and_then(|old| old.last_scale_time);
        let message = format!("{}: {}", failure.reason, failure.message);
        let finding = Finding { type_: "AbleToScale", holds: false, reason: "FailedUpdateScale".to_owned(), message };
        new.conditions = amend(now, seen, &[finding], new.conditions);
    }
    if old.is_some_and(|old| !tells_more(now, old, &new)) && outcome.applied.is_empty() {
        return None;
    }
    let meta = &seen.autoscaler.metadata;
    let mut status = serde_json::to_value(new).unwrap_or_default();
    // The last decision and the history are of one version as a whole.
    seen.autoscaler.newer.keep_in(&mut status, &["decision", "history"]);
    Some(StatusWrite { target: meta.object(names::AUTOSCALER), uid: meta.uid.clone(), status, lazy: false })
}

/// Whether a status says more than other measurements, or the old one is too old.
fn tells_more(now: Timestamp, old: &AutoscalerStatus, new: &AutoscalerStatus) -> bool {
    let story = |status: &AutoscalerStatus| {
        let decision = status.decision.as_ref();
        let stages = decision
            .map(|d| d.stages.iter().map(|s| (s.stage as u8, s.replicas, s.reason.clone())).collect::<Vec<_>>());
        let metrics = decision.map(|d| d.metrics.iter().map(|m| (m.replicas, m.reason.clone())).collect::<Vec<_>>());
        let canary = decision.and_then(|d| d.canary.as_ref()).map(|canary| (canary.pods, canary.saturated));
        let conditions: Vec<_> =
            status.conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect();
        let sizes =
            (status.observed_generation, status.current_replicas, status.desired_replicas, status.last_scale_time);
        (stages, metrics, canary, conditions, sizes)
    };
    let fresh = old.decision.as_ref().is_none_or(|decision| now.duration_since(decision.at) < REFRESH);
    story(old) != story(new) || old.history != new.history || !fresh
}
