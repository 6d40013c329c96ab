//! A whole decision: from what was measured to the size that is to be set, stage by stage. What one metric asks for is in
//! `metric`, what is left of it in `stabilise` and `bounds`; here is the order of the stages, and what holds a size.

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{
    CanaryLoad, DurationText, MetricSpec, MetricStage, MetricType, NextChange, PendingScale, ScaleDecision,
    ScaleHistory, ScaleMode, ScaleStage, ScaleStageName, UnknownSince,
};
use trimtab_schedule::Schedules;

use crate::activity::Activity;
use crate::bounds::{Range, limit};
use crate::groups::after;
use crate::metric::{Setting, Unknown, asked_by, canary_ratio, stage};
use crate::next::{Held, earliest, limit_ends, window_ends};
use crate::stabilise::{Windows, stabilise};
use crate::{ScaleSnapshot, Scheduled, formula, history};

/// For how long nothing must have been active before a workload goes to sleep, if the spec does not say it.
const COOL_DOWN: SignedDuration = SignedDuration::from_mins(5);

/// What is to be done with the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It is to be set.
    Set(i32),
}

/// A condition that follows from a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `AbleToScale`, `ScalingActive`, …
    pub type_: &'static str,
    /// Whether it is true.
    pub holds: bool,
    /// A stable code.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub verdict: Verdict,
    /// The size that is wanted, also where it must not be set.
    pub desired: i32,
    /// How it came about.
    pub decision: ScaleDecision,
    /// What the next decision must know, with a change that is about to be written as pending.
    pub history: ScaleHistory,
    /// What is said of it.
    pub findings: Vec<Finding>,
    /// Where things stand, in one sentence.
    pub message: String,
}

/// Decides how many pods a workload has.
pub fn decide_scale(now: Timestamp, seen: &ScaleSnapshot) -> Decision {
    decide_scale_with(now, seen, &Scheduled::read(now, &Schedules::read(&seen.spec.schedules), &seen.spec))
}

/// The same where it is known what the schedules say: for whoever decides many times by one spec.
pub fn decide_scale_with(now: Timestamp, seen: &ScaleSnapshot, scheduled: &Scheduled) -> Decision {
    let windows = Windows::of(seen.spec.behavior.as_ref(), seen.options.downscale_stabilization_seconds);
    let effect = &scheduled.effect;
    let range =
        Range { current: seen.target.replicas, min: effect.min.replicas, max: effect.max.replicas, doubled: None };
    let mut course = Course {
        now,
        seen,
        windows,
        range,
        history: history::found(now, seen, windows),
        setting: Setting::of(now, seen),
        metrics: vec![],
        stages: vec![],
        findings: vec![],
        next: vec![],
    };
    if !scheduled.problems.is_empty() {
        course.find("SchedulesValid", false, "InvalidSchedule", scheduled.problems.clone());
    }
    course.next.push(scheduled.next.clone());
    let opens = scheduled.next.as_ref().filter(|_| scheduled.opens).map(|next| next.message.clone());
    let because = effect.is_scheduled().then(|| effect.because.clone());
    let choice = Choice { exact: effect.exact().filter(|_| because.is_some()), opens };
    let desired = course.size(because, &choice);
    course.end(desired)
}

/// What is found where others scale the same target.
pub(crate) fn contested_by(others: &[String]) -> Option<Finding> {
    let rest = "two must not set one size: delete it, or set mode: Recommend here";
    let message = format!("{} scales the same target: {rest}", others.join(", "));
    let finding = Finding { type_: "Contested", holds: true, reason: "OtherAutoscaler".to_owned(), message };
    (!others.is_empty()).then_some(finding)
}

/// What schedules leave to metrics.
struct Choice {
    /// Nothing: it is this size.
    exact: Option<i32>,
    /// A window that ends the sleep comes next; what it says.
    opens: Option<String>,
}

/// A decision in the making.
struct Course<'s> {
    now: Timestamp,
    seen: &'s ScaleSnapshot,
    windows: Windows,
    range: Range,
    history: ScaleHistory,
    setting: Setting<'s>,
    metrics: Vec<MetricStage>,
    stages: Vec<ScaleStage>,
    findings: Vec<Finding>,
    next: Vec<Option<NextChange>>,
}

impl Course<'_> {
    fn find(&mut self, type_: &'static str, holds: bool, reason: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { type_, holds, reason: reason.into(), message: message.into() });
    }

    fn stage(&mut self, stage: ScaleStageName, replicas: i32, reason: &str, message: impl Into<String>) {
        self.stages.push(ScaleStage { stage, replicas, reason: reason.to_owned(), message: message.into() });
    }

    /// The size that is wanted, before what a release leaves of it. Where schedules say which, and nobody names a metric, none is
    /// looked at.
    fn size(&mut self, scheduled: Option<String>, choice: &Choice) -> i32 {
        let Range { current, min, max, .. } = self.range;
        if let Some(why) = scheduled {
            self.stage(ScaleStageName::Schedule, current, "ScheduleActive", why);
        }
        if current == 0 && min > 0 && !self.history.asleep {
            let why =
                "the target has 0 replicas, which somebody set: set its replicas to 1 or more to have it scaled again";
            self.find("ScalingActive", false, "ScalingDisabled", why);
            self.unlooked();
            return 0;
        }
        if current > max {
            return self.outside(max, "TooManyReplicas", "there are more than the largest size");
        }
        if current < min && current > 0 {
            return self.outside(min, "TooFewReplicas", "there are fewer than the smallest size");
        }
        if let Some(size) = choice.exact.filter(|_| self.seen.spec.metrics.is_empty()) {
            return self.exactly(size, "a schedule sets the size, and no metric is asked for");
        }
        let combined = match self.combined() {
            Ok(combined) => combined,
            Err(unknown) => return self.unknown(&unknown, choice),
        };
        self.find("ScalingActive", true, "ValidMetricFound", "the metrics tell how many pods are needed");
        let wanted = self.forecast(combined);
        let wanted = self.activation(wanted);
        self.limited(wanted)
    }

    /// The size that schedules set: what is measured, or is not known, has no say.
    fn exactly(&mut self, size: i32, why: &str) -> i32 {
        self.stage(ScaleStageName::Bounded, size, "DesiredWithinRange", format!("{size} by a schedule"));
        self.find("ScalingActive", true, "ScheduleActive", why);
        self.find("ScalingLimited", false, "DesiredWithinRange", "within the allowed range");
        self.unlooked();
        size
    }

    /// The size where it is not known what the metrics ask for together: it stays. What sleeps is woken by any metric that is
    /// active, whatever becomes of a formula.
    fn unknown(&mut self, unknown: &Unknown, choice: &Choice) -> i32 {
        let Range { current, min, max, .. } = self.range;
        self.stage(ScaleStageName::Combined, current, unknown.reason, unknown.message.clone());
        if let Some(size) = choice.exact {
            return self.exactly(size, "a schedule sets the size, and no metric has a say in it");
        }
        match &choice.opens {
            _ if unknown.reason == "NothingWakes" && min > 0 => {
                self.find("ScalingActive", true, "WokenUp", format!("there are to be at least {min} pods from now on"));
            }
            Some(opens) if unknown.reason == "NothingWakes" => {
                self.find("ScalingActive", true, "Asleep", format!("it sleeps until it is woken by {opens}"));
            }
            _ => {
                let reason = self.failed_reason(unknown);
                self.find("ScalingActive", false, reason, format!("{}: {}", unknown.reason, unknown.message));
            }
        }
        history::interrupt(self.now, self.seen, &mut self.history);
        let activity = self.activity();
        self.inactive_since(if min > 0 { Activity::Untold } else { activity });
        if current > 0 {
            return current;
        }
        let Activity::Active(index) = activity else { return min };
        let woken = min.max(1).min(max);
        let name = self.metrics[index].name.clone();
        self.stage(ScaleStageName::Activation, woken, "Active", format!("{name} is active"));
        woken
    }

    /// The size is outside of what is allowed: it goes there at once, without any metric.
    fn outside(&mut self, bound: i32, reason: &'static str, why: &str) -> i32 {
        self.stage(ScaleStageName::Bounded, bound, reason, why);
        self.find("ScalingLimited", true, reason, why);
        self.unlooked();
        bound
    }

    /// No metric was looked at: nothing is recommended, and whether anything is active is not known.
    fn unlooked(&mut self) {
        history::interrupt(self.now, self.seen, &mut self.history);
        self.history.inactive_since = None;
        if self.metrics.is_empty() {
            // Nor is it known whether one is still unknown.
            self.history.unknown.clear();
        }
    }

    fn specs(&self) -> Vec<MetricSpec> {
        let own = &self.seen.spec.metrics;
        if own.is_empty() { vec![MetricSpec::default_cpu()] } else { own.clone() }
    }

    /// What the metrics ask for together.
    fn combined(&mut self) -> Result<i32, Unknown> {
        let (specs, current) = (self.specs(), self.range.current);
        // Those that the spec has no more.
        self.history.unknown.retain(|one| usize::try_from(one.index).is_ok_and(|index| index < specs.len()));
        for (index, spec) in specs.iter().enumerate() {
            let mut found = stage(&self.setting, spec, self.seen.observations.get(index));
            // Without pods only what is measured elsewhere says anything.
            if current == 0 && !spec.can_wake() {
                (found.replicas, found.reason) = (None, "Asleep".to_owned());
                found.message = "there are no pods to measure".to_owned();
            }
            self.unknown_since(index, &mut found);
            self.metrics.push(found);
        }
        let waiting = |stage: &&MetricStage| stage.reason != "Asleep";
        let counting: Vec<&MetricStage> = self.metrics.iter().filter(waiting).collect();
        if counting.is_empty() {
            let message = "no metric can tell of a workload without pods whether it is needed: add an Object, External or \
                           Prometheus metric, or set its replicas by hand";
            return Err(Unknown::new("NothingWakes", message.to_owned()));
        }
        // What is not known wakes nothing, however many are known besides: all would be woken by a server that is away.
        if let (0, ..=0, Activity::Unknown(index)) = (current, self.range.min, self.activity()) {
            return Err(not_known(Some(&self.metrics[index]), "nothing that is known is active"));
        }
        if let Some(formula) = &self.seen.spec.formula {
            let evaluated = formula::evaluate(formula, &self.metrics, current)?;
            let asked = self.seen.asked.unwrap_or(evaluated);
            // Whatever a formula makes of what is not known, or only assumed.
            let unknown = counting.iter().any(|stage| stage.replicas.is_none() || stage.reason == "Fallback");
            if unknown && asked < current {
                let message = format!("the formula asks for {asked}, but not all metrics are known");
                return Err(Unknown::new("MetricUnknown", message));
            }
            self.combine((asked, evaluated), "Formula", format!("the formula asks for {asked}"));
            return Ok(asked);
        }
        let unknown = counting.iter().find(|stage| stage.replicas.is_none());
        let largest = counting.iter().filter(|stage| stage.replicas.is_some()).max_by_key(|stage| stage.replicas);
        let largest = largest.and_then(|stage| Some((stage.replicas?, stage.name.clone())));
        let asked = largest.map(|(largest, name)| (self.seen.asked.unwrap_or(largest), largest, name));
        match (asked, unknown) {
            (None, unknown) => Err(not_known(unknown.copied(), "no metric is known")),
            // What is not known never makes a workload smaller.
            (Some((asked, ..)), Some(unknown)) if asked < current => {
                Err(not_known(Some(unknown), "a metric is not known, and the others ask for less"))
            }
            (Some((asked, largest, name)), _) => {
                // Of a negative value less than nothing follows.
                let (asked, largest) = (asked.max(0), largest.max(0));
                self.combine((asked, largest), "LargestMetric", format!("{name} asks for {asked}"));
                Ok(asked)
            }
        }
    }

    /// Notes what the metrics ask for, and whether that is of when the size was set, and not what would follow from the pods that
    /// there are by now.
    fn combine(&mut self, (asked, now): (i32, i32), reason: &str, message: String) {
        if asked == now {
            return self.stage(ScaleStageName::Combined, asked, reason, message);
        }
        let message = format!("{asked} were asked for when the size was set, and nothing was measured since");
        self.stage(ScaleStageName::Combined, asked, "MeasuredBefore", message);
    }

    /// Notes since when a metric is unknown, and what is assumed of it after a while.
    fn unknown_since(&mut self, index: usize, found: &mut MetricStage) {
        let place = crate::metric::int(index);
        if found.replicas.is_some() || found.reason == "Asleep" {
            self.history.unknown.retain(|one| one.index != place);
            return;
        }
        let known = self.history.unknown.iter().find(|one| one.index == place && one.name == found.name);
        let since = known.map_or(self.now, |one| one.since);
        self.history.unknown.retain(|one| one.index != place);
        self.history.unknown.push(UnknownSince { name: found.name.clone(), index: place, since });
        self.history.unknown.sort_by_key(|one| one.index);
        let Some(fallback) = &self.seen.spec.fallback else { return };
        let Some(wait) = duration(&fallback.after) else { return };
        let from = after(since, wait);
        if self.now < from {
            let message = format!("{} is then assumed to ask for {}", found.name, fallback.replicas);
            self.next.push(Some(NextChange { at: from, reason: "Fallback".to_owned(), message }));
            return;
        }
        let asked = fallback.replicas.max(self.range.current);
        found.message = format!("assumed after {wait:#}: {}: {}", found.reason, found.message);
        (found.replicas, found.reason) = (Some(asked), "Fallback".to_owned());
    }

    /// HPA's reason for a metric that is not known.
    fn failed_reason(&self, unknown: &Unknown) -> &'static str {
        // What only pods could tell is missed where nothing else tells anything.
        let counts = |stage: &MetricStage| stage.reason != "Asleep" || unknown.reason == "NothingWakes";
        let first = self.metrics.iter().find(|stage| stage.replicas.is_none() && counts(stage));
        if first.is_some_and(|stage| stage.reason == "InvalidSelector") {
            return "InvalidSelector";
        }
        match first.map(|stage| stage.type_) {
            Some(MetricType::Resource) => "FailedGetResourceMetric",
            Some(MetricType::ContainerResource) => "FailedGetContainerResourceMetric",
            Some(MetricType::Pods) => "FailedGetPodsMetric",
            Some(MetricType::Object) => "FailedGetObjectMetric",
            Some(MetricType::External) => "FailedGetExternalMetric",
            Some(MetricType::Prometheus) => "FailedGetPrometheusMetric",
            None => "InvalidFormula",
        }
    }

    /// What the forecast makes of a number: it can only raise it.
    fn forecast(&mut self, wanted: i32) -> i32 {
        let (Some(spec), Some(view)) = (&self.seen.spec.forecast, &self.seen.forecast) else { return wanted };
        let on = view.reason == "ForecastActive";
        let (reason, message) = (view.reason.clone(), view.message.clone());
        self.find("ForecastActive", on, reason.clone(), message);
        let metric = self.specs().into_iter().find(|metric| metric.name() == spec.metric);
        let floor = metric.zip(view.peak).and_then(|(metric, peak)| asked_by(&metric, peak));
        let Some(floor) = floor else { return wanted };
        let raised = wanted.max(floor);
        self.stage(ScaleStageName::Forecast, raised, &reason, format!("{floor} will be needed soon"));
        raised
    }

    fn activity(&self) -> Activity {
        Activity::of(&self.specs(), &self.metrics)
    }

    /// Since when each metric has said that the workload is not needed. A time in which that was not known is none of it.
    fn inactive_since(&mut self, activity: Activity) -> Option<Timestamp> {
        let since = (activity == Activity::Inactive).then(|| self.history.inactive_since.unwrap_or(self.now));
        self.history.inactive_since = since;
        since
    }

    /// What keeps a workload from sleep, or wakes it.
    fn activation(&mut self, wanted: i32) -> i32 {
        if self.range.min > 0 {
            self.history.inactive_since = None;
            return wanted;
        }
        let current = self.range.current;
        let activity = self.activity();
        if activity == Activity::Untold {
            let why = "no metric tells when it is needed again: an Object, External or Prometheus metric would";
            self.stage(ScaleStageName::Activation, wanted.max(1), "NothingWakes", why);
            return wanted.max(1);
        }
        let told = match activity {
            Activity::Active(index) => Some((index, "Active", "is active")),
            Activity::Unknown(index) => Some((index, "MetricUnknown", "is not known: it may be active")),
            Activity::Inactive | Activity::Untold => None,
        };
        if let Some((index, reason, what)) = told {
            let name = self.metrics[index].name.clone();
            self.stage(ScaleStageName::Activation, wanted.max(1), reason, format!("{name} {what}"));
        }
        let Some(since) = self.inactive_since(activity) else { return wanted.max(1) };
        if current == 0 {
            self.stage(ScaleStageName::Activation, 0, "Asleep", "nothing is active");
            return 0;
        }
        let cool_down = self.seen.spec.cool_down.as_ref().and_then(duration).unwrap_or(COOL_DOWN);
        let from = after(since, cool_down);
        if self.now < from {
            let message = "nothing is active; it goes to sleep then".to_owned();
            self.next.push(Some(NextChange { at: from, reason: "CoolDown".to_owned(), message: message.clone() }));
            self.stage(ScaleStageName::Activation, wanted.max(1), "CoolingDown", message);
            return wanted.max(1);
        }
        self.stage(ScaleStageName::Activation, 0, "Inactive", format!("nothing was active for {cool_down:#}"));
        0
    }

    /// What recent recommendations, limits of speed, and the smallest and largest size leave of a number.
    fn limited(&mut self, wanted: i32) -> i32 {
        let Range { current, min, max, .. } = self.range;
        let past = history::points(self.seen, self.now, &self.history);
        // A release keeps what there is: that fewer seemed enough while pods came and went is no reason to have fewer later.
        let noted = if self.seen.release.is_some() { wanted.max(current) } else { wanted };
        history::record(self.now, self.seen, self.windows, &mut self.history, noted);
        if current == 0 {
            // Whoever waits for the first pod waits for all that the backlog needs: no limit of speed begins at nothing.
            let woken = wanted.clamp(min.min(max), max);
            let reason = if woken > 0 { "WokenUp" } else { "Asleep" };
            self.stage(ScaleStageName::Bounded, woken, reason, format!("{woken} of at most {max}"));
            self.find(
                "ScalingLimited",
                woken != wanted,
                if woken < wanted { "TooManyReplicas" } else { "DesiredWithinRange" },
                "",
            );
            return woken;
        }
        let (stabilised, reason) = stabilise(self.now, self.windows, &past, current, wanted);
        let message = match reason {
            "ReadyForNewScale" => "recent recommendations agree",
            "ScaleUpStabilized" => "recent recommendations were lower: the lowest of them counts",
            _ => "recent recommendations were higher: the highest of them counts",
        };
        self.stage(ScaleStageName::Stabilised, stabilised, reason, message);
        self.find("AbleToScale", true, reason, message);
        let range = Range { doubled: self.seen.asked.and(self.seen.desired), ..self.range };
        let limited = limit(self.now, self.seen.spec.behavior.as_ref(), &self.history, range, stabilised);
        let message = format!("{stabilised} is wanted, of {current}");
        self.stage(ScaleStageName::RateLimited, limited.rated, limited.reason, message);
        let message = match limited.reason {
            "TooManyReplicas" => format!("{stabilised} are wanted, and there are to be no more than {max}"),
            "TooFewReplicas" => format!("{stabilised} are wanted, and there are to be no fewer than {min}"),
            _ => format!("between {min} and {max}"),
        };
        self.stage(ScaleStageName::Bounded, limited.bounded, limited.reason, message);
        let is_limited = limited.reason != "DesiredWithinRange";
        let message = match limited.reason {
            "TooFewReplicas" => format!("no fewer than {min}"),
            "TooManyReplicas" => format!("no more than {max}"),
            "ScaleUpLimit" => format!("no faster than to {}", limited.rated),
            "ScaleDownLimit" => format!("no faster than down to {}", limited.rated),
            _ => "within the allowed range".to_owned(),
        };
        self.find("ScalingLimited", is_limited, limited.reason, message);
        let held = Held { current, wanted, stabilised, rated: limited.rated };
        self.next.push(window_ends(held, self.windows, &past, self.now));
        self.next.push(limit_ends(held, self.seen, &self.history, self.now));
        limited.bounded
    }

    /// What a release under way leaves of a number.
    fn released(&mut self, desired: i32) -> i32 {
        let (Some(release), current) = (&self.seen.release, self.range.current) else { return desired };
        if desired >= current {
            return desired;
        }
        let message = format!("{} is under way ({}): no pods are taken away meanwhile", release.name, release.phase);
        self.stage(ScaleStageName::Release, current, "ReleaseUnderWay", message);
        current
    }

    fn canary(&self) -> Option<CanaryLoad> {
        let release = self.seen.release.as_ref()?;
        let pods = self.seen.pods.iter().filter(|pod| pod.canary && pod.ready.is_some_and(|r| r.is == Some(true)));
        let specs = self.specs();
        let ratios = specs.iter().enumerate().filter_map(|(index, spec)| {
            Some((canary_ratio(&self.setting, spec, self.seen.observations.get(index))?, spec.name()))
        });
        let worst = ratios.max_by(|a, b| a.0.total_cmp(&b.0));
        Some(CanaryLoad {
            release: release.name.clone(),
            pods: crate::metric::int(pods.count()),
            saturated: worst.as_ref().is_some_and(|(ratio, _)| *ratio > 1.0 + self.setting.tolerance.up),
            ratio: worst.as_ref().map(|(ratio, _)| format!("{ratio:.2}")),
            metric: worst.map(|(_, name)| name),
        })
    }

    fn end(mut self, desired: i32) -> Decision {
        let (current, mode) = (self.range.current, self.seen.spec.mode);
        let desired = self.released(desired);
        // What is agreed on is sleep, whoever wrote it: only a 0 that comes while there are to be pods is somebody's.
        if current == 0 && desired == 0 && self.range.min <= 0 {
            self.history.asleep = true;
        }
        let mut verdict = if desired == current { Verdict::Keep } else { Verdict::Set(desired) };
        let mut held = None;
        if let Verdict::Set(to) = verdict
            && self.waits(to)
        {
            verdict = Verdict::Keep;
            held = Some(
                "it was set since it was measured, and by somebody else: again once it is measured anew".to_owned(),
            );
        }
        if mode != ScaleMode::Auto {
            verdict = Verdict::Keep;
            held = Some(if mode == ScaleMode::Recommend { "only recommended" } else { "paused" }.to_owned());
        }
        if let Some(finding) = contested_by(&self.seen.others) {
            if mode == ScaleMode::Auto {
                verdict = Verdict::Keep;
                held = Some(finding.message.clone());
            }
            self.findings.push(finding);
        } else if let Some(message) = self.overwritten() {
            self.find("Contested", true, "ReplicasOverwritten", message);
        }
        if let Verdict::Set(to) = verdict {
            self.history.pending = Some(PendingScale { at: self.now, from: current, to });
        }
        let next = earliest(std::mem::take(&mut self.next));
        let message = sentence(current, desired, &self.stages, held.as_deref());
        let canary = self.canary();
        Decision {
            verdict,
            desired,
            decision: ScaleDecision {
                at: self.now,
                from: current,
                to: desired,
                metrics: self.metrics,
                stages: self.stages,
                next,
                canary,
            },
            history: self.history,
            findings: self.findings,
            message,
        }
    }

    /// Whether somebody else has set the size after it was set for what is measured: whoever makes another one of it each time is
    /// answered once for each measurement. A change of which it is not known what came of it is made again.
    fn waits(&self, to: i32) -> bool {
        let Range { current, min, max, .. } = self.range;
        let (Some(_), Some(set), None) = (self.seen.asked, self.seen.desired, &self.seen.history.pending) else {
            return false;
        };
        set == to || (set != current && (min..=max).contains(&current))
    }

    /// Whether somebody else has set the size since the last decision.
    fn overwritten(&self) -> Option<String> {
        let (desired, writer) = (self.seen.desired?, self.seen.writer.as_ref()?);
        let current = self.range.current;
        let ours = writer.starts_with("trimtab-") || self.seen.history.pending.is_some();
        if ours || desired == current || self.seen.spec.mode != ScaleMode::Auto {
            return None;
        }
        Some(format!(
            "{writer} set {current} replicas where {desired} were wanted: remove spec.replicas from what it applies, or the \
             two go on correcting each other"
        ))
    }
}

fn not_known(stage: Option<&MetricStage>, why: &str) -> Unknown {
    match stage {
        Some(stage) => {
            Unknown::new("MetricUnknown", format!("{why}: {}: {}: {}", stage.name, stage.reason, stage.message))
        }
        None => Unknown::new("MetricUnknown", why.to_owned()),
    }
}

fn duration(text: &DurationText) -> Option<SignedDuration> {
    SignedDuration::try_from(text.get()?).ok()
}

/// Where things stand: the size, and what had the last word in it.
fn sentence(current: i32, desired: i32, stages: &[ScaleStage], held: Option<&str>) -> String {
    let numbered: Vec<&ScaleStage> = stages.iter().filter(|one| one.stage != ScaleStageName::Schedule).collect();
    let changed = |index: &usize| *index == 0 || numbered[index - 1].replicas != numbered[*index].replicas;
    let last = (0..numbered.len()).rfind(changed);
    let why = last.map_or_else(String::new, |index| format!(": {}", numbered[index].message));
    let pods = |count: i32| if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") };
    let what = if current == desired { pods(current) } else { format!("{current} to {}", pods(desired)) };
    match held {
        Some(held) => format!("{what}{why} ({held})"),
        None => what + &why,
    }
}
