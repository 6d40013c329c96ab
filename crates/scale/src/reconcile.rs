//! From what the controller sees to what it writes: the size, and the status. What must be found out first is in `seen`, how a size
//! comes about in `decide`; nothing is asked or written here.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use trimtab_crds::{AutoscalerStatus, ScaleHistory, ScaleMode, names};
use trimtab_plan::{
    Condition, Notice, ObjectRef, Outcome, Plan, Severity, StatusWrite, Subresource, Verb, Write, set_condition,
};

use crate::decide::contested_by;
use crate::seen::{Seen, Target};
use crate::{Decision, Finding, ScaleSnapshot, Scaled, Verdict, decide_scale, settle};

/// How often a status is written that says nothing new but other measurements.
const REFRESH: SignedDuration = SignedDuration::from_mins(5);

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
        verb: Verb::Scale { replicas: to, from: Some(target.replicas) },
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
    let size = decision.decision.from;
    let made = old.history.pending.as_ref().filter(|noted| noted.to == size).map(|noted| noted.at);
    let scaled = matches!(decision.verdict, Verdict::Set(_)).then_some(now).or(made);
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
        last_scale_time: scaled.or(old.last_scale_time),
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
