//! The answers of Kubernetes' own HorizontalPodAutoscaler, and ours, case by case. The files in `golden/` are written by the
//! program in `cluster/hpa-vectors`, which runs the HPA's code; nothing in them is ours. What we have and the HPA does not
//! have (schedules, sleep, releases) is in `properties.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so")]

use std::fmt::Debug;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use trimtab_crds::{AutoscalerSpec, Milli, ScaleDecision, ScaleHistory, ScaleStageName};
use trimtab_scale::{Decision, Observation, Options, ScaleSnapshot, TargetView, Verdict, decide_scale, settle};

/// One decision.
#[derive(Deserialize)]
struct Line {
    case: String,
    now: Timestamp,
    snapshot: ScaleSnapshot,
    hpa: Answer,
}

/// One autoscaler over some time.
#[derive(Deserialize)]
struct Run {
    case: String,
    spec: AutoscalerSpec,
    #[serde(default)]
    options: Options,
    ticks: Vec<Tick>,
}

#[derive(Deserialize)]
struct Tick {
    now: Timestamp,
    target: TargetView,
    observations: Vec<Observation>,
    hpa: Answer,
}

/// What the HPA did.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    /// The size that it set; none if it set none.
    set: Option<i32>,
    /// The reasons of its conditions; empty if it set none of the kind.
    able: String,
    limited: String,
    active: String,
    metrics: Vec<Metric>,
}

/// What it made of one metric, in thousandths.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metric {
    replicas: Option<i32>,
    utilization: Option<i32>,
    average: Option<i64>,
    value: Option<i64>,
}

/// The lines of a file, with what all of them share put back: the target, and where no metric is named, this one.
fn lines<T: for<'de> Deserialize<'de>>(text: &str, metric: Option<Value>) -> Vec<T> {
    let read = |line: &str| -> serde_json::Result<T> {
        let mut value: Value = serde_json::from_str(line)?;
        let place = if value.get("snapshot").is_some() { "/snapshot/spec" } else { "/spec" };
        let spec = value.pointer_mut(place).unwrap();
        spec["targetRef"] = json!({"kind": "Deployment", "name": "web"});
        if let Some(metric) = &metric {
            spec["metrics"] = json!([metric]);
        }
        serde_json::from_value(value)
    };
    text.lines().map(|line| read(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn found<'d>(decision: &'d Decision, type_: &str) -> &'d str {
    decision.findings.iter().find(|finding| finding.type_ == type_).map_or("", |finding| &finding.reason)
}

/// Compares one decision with the HPA's; all that differs, in words.
fn differences(decision: &Decision, hpa: &Answer) -> Vec<String> {
    let mut all = vec![];
    let mut same = |what: &str, ours: &dyn Debug, theirs: &dyn Debug| {
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        if ours != theirs {
            all.push(format!("{what}: {ours}, the HPA {theirs}"));
        }
    };
    let set = match decision.verdict {
        Verdict::Set(size) => Some(size),
        Verdict::Keep => None,
    };
    same("the size that is set", &set, &hpa.set);
    // Where the size is outside of its bounds, the HPA says nothing of its conditions.
    if !hpa.active.is_empty() {
        same("ScalingActive", &found(decision, "ScalingActive"), &hpa.active.as_str());
        same("AbleToScale", &found(decision, "AbleToScale"), &hpa.able.as_str());
        same("ScalingLimited", &found(decision, "ScalingLimited"), &hpa.limited.as_str());
    }
    for (ours, theirs) in decision.decision.metrics.iter().zip(&hpa.metrics) {
        same(&format!("{} asks for", ours.name), &ours.replicas, &theirs.replicas);
        if theirs.replicas.is_some() {
            same(&format!("{} utilization", ours.name), &ours.average_utilization, &theirs.utilization);
            if theirs.average.is_some() {
                same(&format!("{} average", ours.name), &ours.average_value, &theirs.average.map(Milli));
            }
            if theirs.value.is_some() {
                same(&format!("{} value", ours.name), &ours.value, &theirs.value.map(Milli));
            }
        }
    }
    all
}

fn explained(case: &str, snapshot: &ScaleSnapshot, decision: &Decision, hpa: &Answer, differs: &[String]) -> String {
    let stages: Vec<String> = decision.decision.stages.iter().map(|stage| format!("  {stage:?}")).collect();
    let metrics: Vec<String> = decision.decision.metrics.iter().map(|metric| format!("  {metric:?}")).collect();
    format!(
        "{case}: {}\nstages:\n{}\nmetrics:\n{}\nfindings: {:?}\nhpa: {hpa:?}\nsnapshot: {}\n",
        differs.join("; "),
        stages.join("\n"),
        metrics.join("\n"),
        decision.findings,
        serde_json::to_string(snapshot).unwrap_or_default(),
    )
}

/// Fails with the first cases that differ, and how many there are.
fn none_differ(different: &[String], count: usize) {
    let first: Vec<&str> = different.iter().take(3).map(String::as_str).collect();
    assert!(different.is_empty(), "{} of {count} differ from the HPA:\n{}", different.len(), first.join("\n"));
}

fn check(text: &str, metric: Option<Value>) {
    let lines: Vec<Line> = lines(text, metric);
    let mut different = vec![];
    for line in &lines {
        let decision = decide_scale(line.now, &line.snapshot);
        let differs = differences(&decision, &line.hpa);
        if !differs.is_empty() {
            different.push(explained(&line.case, &line.snapshot, &decision, &line.hpa, &differs));
        }
    }
    assert!(!lines.is_empty());
    none_differ(&different, lines.len());
}

#[test]
fn metrics_ask_for_what_the_hpa_asks_for() {
    check(include_str!("golden/metrics.jsonl"), None);
}

#[test]
fn limits_leave_what_the_hpa_leaves() {
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    let metric = json!({"type": "External", "external": {"metric": {"name": "m"}, "target": target}});
    check(include_str!("golden/limits.jsonl"), Some(metric));
}

#[test]
fn what_is_remembered_over_time_has_the_same_effect_as_what_the_hpa_remembers() {
    let runs: Vec<Run> = lines(include_str!("golden/runs.jsonl"), None);
    let mut different = vec![];
    let mut count = 0;
    for run in &runs {
        let (mut history, mut previous) = (ScaleHistory::default(), None);
        for (number, tick) in run.ticks.iter().enumerate() {
            let snapshot = ScaleSnapshot {
                spec: run.spec.clone(),
                target: tick.target,
                pods: vec![],
                observations: tick.observations.clone(),
                history,
                options: run.options,
                previous,
                forecast: None,
                release: None,
                others: vec![],
                desired: None,
                asked: None,
                writer: None,
            };
            let decision = decide_scale(tick.now, &snapshot);
            let differs = differences(&decision, &tick.hpa);
            count += 1;
            if !differs.is_empty() {
                let case = format!("{} tick {number} at {}", run.case, tick.now);
                different.push(explained(&case, &snapshot, &decision, &tick.hpa, &differs));
                break;
            }
            previous = Some(tick.now);
            history = decision.history;
            if let Verdict::Set(size) = decision.verdict {
                history = settle(history, &run.spec, size);
                nothing_follows(&snapshot, &history, &decision.decision, size);
            }
        }
    }
    none_differ(&different, count);
}

/// Whatever wakes it between two ticks, a size that was set is no reason to set one beyond what was asked for. The HPA looks once in
/// each tick; here an end of a window counts when it comes.
fn nothing_follows(tick: &ScaleSnapshot, history: &ScaleHistory, set: &ScaleDecision, size: i32) {
    let combined = set.stages.iter().find(|stage| stage.stage == ScaleStageName::Combined);
    let target = TargetView { replicas: size, ..tick.target };
    let asked = combined.map_or(size, |stage| stage.replicas);
    let mut woken = ScaleSnapshot {
        history: history.clone(),
        target,
        asked: Some(asked),
        desired: Some(size),
        previous: Some(set.at),
        ..tick.clone()
    };
    for number in 1..=5 {
        let now = set.at + jiff::SignedDuration::from_millis(number);
        let decision = decide_scale(now, &woken);
        if let Verdict::Set(to) = decision.verdict {
            assert!((asked.min(size)..=asked.max(size)).contains(&to), "{decision:#?}");
            assert!(size < to || tick.target.replicas > size, "a growth ends in another direction: {decision:#?}");
        }
        woken.history = decision.history;
    }
}

/// The HPA lets some numbers wrap around, and then makes a workload smaller for more load, or never larger again. That is not
/// followed: the number is the one that was meant.
#[test]
fn what_wraps_around_in_the_hpa_is_counted_here() {
    for line in lines::<Line>(include_str!("golden/wrapped.jsonl"), None) {
        let decision = decide_scale(line.now, &line.snapshot);
        let current = line.snapshot.target.replicas;
        let theirs = line.hpa.set.unwrap_or(current);
        let rated = decision.decision.stages.iter().any(|stage| stage.stage == ScaleStageName::RateLimited);
        let differs = [format!("{} is not above {theirs}", decision.desired)];
        assert!(
            rated && decision.desired > current && decision.desired > theirs,
            "{}",
            explained(&line.case, &line.snapshot, &decision, &line.hpa, &differs)
        );
    }
}
