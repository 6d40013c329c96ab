//! What one metric asks for: from what was measured to a number of pods, or why there is none. Not what several ask for
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{
    Improvement, LeftOut, LeftOutPod, MetricSpec, MetricStage, MetricTarget, MetricType, Milli, PodCounts, Quantity,
};

use crate::groups::{Groups, Startup, after, group};
use crate::ratio::{Scale, Tolerance, pods as whole};
use crate::requests::requests;
use crate::{Missing, Observation, Phase, PodSample, PodView, ScaleSnapshot};

/// Pods of which a status says why they were left out, for each metric.
pub(crate) const LEFT_OUT: usize = 10;

/// Why a metric asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// A stable code.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Unknown {
    pub(crate) fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// The circumstances that all metrics of a decision share.
#[derive(Debug)]
pub(crate) struct Setting<'s> {
    pub now: Timestamp,
    pub seen: &'s ScaleSnapshot,
    /// The pods that count.
    pub pods: Vec<&'s PodView>,
    pub tolerance: Tolerance,
    pub startup: Startup,
}

impl<'s> Setting<'s> {
    pub(crate) fn of(now: Timestamp, seen: &'s ScaleSnapshot) -> Self {
        let rules = seen.spec.behavior.as_ref();
        let own = |rules: Option<&trimtab_crds::ScalingRules>| {
            rules.and_then(|rules| rules.tolerance.as_ref()).and_then(Quantity::float).filter(|own| *own >= 0.0)
        };
        let tolerance = Tolerance {
            down: own(rules.and_then(|b| b.scale_down.as_ref())).unwrap_or(seen.options.tolerance),
            up: own(rules.and_then(|b| b.scale_up.as_ref())).unwrap_or(seen.options.tolerance),
        };
        let startup = seen.spec.startup.clone().unwrap_or_default();
        let time = |text: Option<trimtab_crds::DurationText>, seconds: u32| {
            let own = text.and_then(|text| SignedDuration::try_from(text.get()?).ok());
            own.unwrap_or(SignedDuration::from_secs(seconds.into()))
        };
        let startup = Startup {
            cpu_initialization: time(startup.cpu_initialization_period, seen.options.cpu_initialization_seconds),
            initial_readiness_delay: time(
                startup.initial_readiness_delay,
                seen.options.initial_readiness_delay_seconds,
            ),
        };
        // While a release is under way the HPA's count of whatever its selector fits is no answer: it has no releases.
        let owned_only = seen.release.is_some() || seen.spec.improvements.contains(&Improvement::OwnedPods);
        let counts = |pod: &&PodView| !pod.canary && (pod.owned || !owned_only);
        let pods = seen.pods.iter().map(AsRef::as_ref).filter(counts).collect();
        Self { now, seen, pods, tolerance, startup }
    }

    /// What a release under way makes of a number of pods: the same total, told by the size that was asked for, so that
    /// neither surge pods nor the canary's share move it. Pods without a sample count for nothing: what the HPA assumes of
    /// them guards against fewer pods, and there are none fewer meanwhile.
    fn in_release(
        &self,
        ratio: f64,
        samples: &BTreeMap<&str, PodSample>,
        counted: &BTreeMap<&str, i64>,
    ) -> Option<(i32, &'static str, String)> {
        self.seen.release.as_ref()?;
        let window = |sample: &PodSample| after(sample.at, -SignedDuration::from_secs(sample.window_seconds.into()));
        let began = counted.keys().filter_map(|name| samples.get(name)).map(window).min()?;
        // A canary takes its share of what the samples would show, if it was there for all of the time that they are of. Its
        // own load has no part in it: a new revision that is slow must not look like more people.
        let shares = |pod: &&Arc<PodView>| {
            let served = pod.ready.is_some_and(|ready| ready.is == Some(true) && ready.since <= began);
            pod.canary && !pod.deleting && served
        };
        let canary = self.seen.pods.iter().filter(shares).count();
        let total = ratio * (counted.len() + canary) as f64;
        let size = self.seen.target.replicas;
        let ratio = total / f64::from(size);
        Some(if self.tolerance.holds(ratio) { within(size) } else { beyond(ratio, whole(total)) })
    }

    fn improved(&self, by: Improvement) -> bool {
        self.seen.spec.improvements.contains(&by)
    }

    /// When a sample is too old: before this.
    fn oldest(&self, spec: &MetricSpec) -> Timestamp {
        let own = spec.stale_after.as_ref().and_then(|text| SignedDuration::try_from(text.get()?).ok());
        own.map_or(Timestamp::MIN, |age| after(self.now, -age))
    }
}

/// What a metric asks for, with all that led to it.
pub(crate) fn stage(setting: &Setting<'_>, spec: &MetricSpec, observed: Option<&Observation>) -> MetricStage {
    let mut stage = MetricStage {
        name: spec.name(),
        type_: spec.type_,
        replicas: None,
        reason: String::new(),
        message: String::new(),
        average_utilization: None,
        average_value: None,
        value: None,
        ratio: None,
        filled_ratio: None,
        pods: None,
        left_out: vec![],
    };
    match asked(setting, spec, observed, &mut stage) {
        Ok((replicas, reason, message)) => {
            (stage.replicas, stage.reason, stage.message) = (Some(replicas), reason.to_owned(), message);
        }
        Err(unknown) => (stage.reason, stage.message) = (unknown.reason.to_owned(), unknown.message),
    }
    stage
}

type Asked = Result<(i32, &'static str, String), Unknown>;

fn asked(setting: &Setting<'_>, spec: &MetricSpec, observed: Option<&Observation>, stage: &mut MetricStage) -> Asked {
    if spec.is_of_pods() && !setting.seen.target.selects {
        return Err(no_selector());
    }
    let observed = match observed {
        None => return Err(Unknown::new(Missing::NotAsked.code(), "nothing was measured yet".to_owned())),
        Some(Observation::Missing { why, message }) => return Err(Unknown::new(why.code(), message.clone())),
        Some(observed) => observed,
    };
    let source = spec.resource.as_ref().map(|s| (&s.name, None, &s.target));
    let container = |s: &'_ trimtab_crds::ContainerResourceMetric| s.container.clone();
    let named = spec.container_resource.as_ref().map(container);
    let source = source.or(spec.container_resource.as_ref().map(|s| (&s.name, named.as_deref(), &s.target)));
    match (spec.type_, observed) {
        (MetricType::Resource | MetricType::ContainerResource, Observation::Pods(samples)) => {
            let (resource, container, target) = source.ok_or_else(no_source)?;
            let cpu = (resource == "cpu").then_some(setting.startup);
            per_pod(setting, stage, (samples, setting.oldest(spec)), cpu, || {
                let Some(percent) = target.average_utilization.filter(|_| target.average_value.is_none()) else {
                    return Ok(Scale::Each(positive(target.average_value.as_ref())?));
                };
                let percent = Some(percent).filter(|percent| *percent > 0).ok_or_else(no_target)?;
                Ok(Scale::Requests { percent, of: requests(&setting.pods, container, resource)? })
            })
        }
        (MetricType::Pods, Observation::Pods(samples)) => {
            let target = &spec.pods.as_ref().ok_or_else(no_source)?.target;
            per_pod(setting, stage, (samples, setting.oldest(spec)), None, || {
                Ok(Scale::Each(positive(target.average_value.as_ref())?))
            })
        }
        (_, Observation::Total { values, at }) => {
            let target = spec.object.as_ref().map(|s| &s.target).or(spec.external.as_ref().map(|s| &s.target));
            let target = target.or(spec.prometheus.as_ref().map(|s| &s.target)).ok_or_else(no_source)?;
            if at.is_some_and(|at| at < setting.oldest(spec)) {
                return Err(Unknown::new(Missing::Stale.code(), "what is known is too old".to_owned()));
            }
            total(setting, stage, spec.type_, values, target)
        }
        _ => Err(Unknown::new("WrongShape", "the answer is not of the shape that this metric has".to_owned())),
    }
}

/// From a sample for each pod.
fn per_pod<'s>(
    setting: &Setting<'s>,
    stage: &mut MetricStage,
    (samples, oldest): (&'s BTreeMap<String, PodSample>, Timestamp),
    cpu: Option<Startup>,
    scale: impl FnOnce() -> Result<Scale<'s>, Unknown>,
) -> Asked {
    if setting.pods.is_empty() {
        return Err(Unknown::new("NoPods", "the target has no pods".to_owned()));
    }
    // In a release the samples of pods that do not count, a canary's, must not come in as those of pods that nobody knows.
    let all = !setting.improved(Improvement::OwnedPods) && setting.seen.release.is_none();
    let own: BTreeSet<&str> =
        if all { BTreeSet::new() } else { setting.pods.iter().map(|pod| pod.name.as_str()).collect() };
    let fresh: BTreeMap<&str, PodSample> = samples
        .iter()
        .filter(|(name, sample)| sample.at >= oldest && (all || own.contains(name.as_str())))
        .map(|(name, sample)| (name.as_str(), *sample))
        .collect();
    let groups = group(setting.now, &setting.pods, &fresh, &|name| samples.contains_key(name), cpu);
    let mut values: BTreeMap<&str, i64> = fresh.iter().map(|(name, sample)| (*name, sample.value.0)).collect();
    values.retain(|name, _| !groups.ignored.contains_key(name) && !groups.unready.contains_key(name));
    stage.pods = Some(counts(&groups, values.len()));
    stage.left_out = left_out(&groups);
    if values.is_empty() {
        let message = "no pod that is ready has a sample".to_owned();
        return Err(Unknown::new("NoReadySamples", message));
    }
    let scale = scale()?;
    let no_requests = || Unknown::new("NoRequests", "no pod that has a sample requests anything".to_owned());
    let usage = scale.usage(&values).ok_or_else(no_requests)?;
    stage.average_utilization = usage.utilization;
    stage.average_value = Some(Milli(usage.average));
    stage.ratio = Some(usage.ratio.to_string());

    let size = setting.seen.target.replicas;
    if let Some(asked) = setting.in_release(usage.ratio, &fresh, &values) {
        return Ok(asked);
    }
    let fills_unready = !groups.unready.is_empty() && usage.ratio > 1.0;
    if !fills_unready && groups.missing.is_empty() {
        return Ok(match setting.tolerance.holds(usage.ratio) {
            true => within(size),
            false => beyond(usage.ratio, whole(usage.ratio * groups.ready as f64)),
        });
    }
    fill(&groups, &scale, usage.ratio, &mut values, &mut stage.left_out);
    let filled = scale.usage(&values).ok_or_else(no_requests)?.ratio;
    stage.filled_ratio = Some(filled.to_string());
    let turned = (usage.ratio < 1.0 && filled > 1.0) || (usage.ratio > 1.0 && filled < 1.0);
    if setting.tolerance.holds(filled) {
        return Ok(within(size));
    }
    let replicas = whole(filled * values.len() as f64);
    if turned || (filled < 1.0 && replicas > size) || (filled > 1.0 && replicas < size) {
        let message = "with the pods whose samples do not count the other direction would follow: no change".to_owned();
        return Ok((size, "DirectionUncertain", message));
    }
    Ok(beyond(filled, replicas))
}

/// Counts pods without a usable sample with an assumed one, against the change: idle where more pods are asked for, at their
/// target where fewer are.
fn fill<'s>(
    groups: &Groups<'s>,
    scale: &Scale<'_>,
    ratio: f64,
    values: &mut BTreeMap<&'s str, i64>,
    left_out: &mut [LeftOutPod],
) {
    let mut assume = |pod: &'s str, value: i64| {
        values.insert(pod, value);
        if let Some(one) = left_out.iter_mut().find(|one| one.pod == pod) {
            one.assumed = Some(Milli(value));
        }
    };
    for pod in groups.missing.keys() {
        // At exactly 1 nothing is asked for, and nothing is assumed.
        if ratio < 1.0 {
            assume(pod, scale.assumed(pod));
        } else if ratio > 1.0 {
            assume(pod, 0);
        }
    }
    if ratio > 1.0 {
        groups.unready.keys().for_each(|pod| assume(pod, 0));
    }
}

/// From values that count together.
fn total(
    setting: &Setting<'_>,
    stage: &mut MetricStage,
    type_: MetricType,
    values: &[Milli],
    target: &MetricTarget,
) -> Asked {
    if values.is_empty() {
        return Err(Unknown::new(Missing::NoMetrics.code(), "the answer is empty".to_owned()));
    }
    let size = setting.seen.target.replicas;
    // An External metric with both targets goes by the average, an Object metric by its type.
    let each = match (&target.value, &target.average_value) {
        (Some(_), Some(_)) if type_ == MetricType::Object => target.type_ == trimtab_crds::TargetType::AverageValue,
        (_, average) => average.is_some(),
    };
    if !each {
        let goal = positive(target.value.as_ref())?;
        let usage = sum(values);
        let ratio = usage as f64 / goal as f64;
        (stage.value, stage.ratio) = (Some(Milli(usage)), Some(ratio.to_string()));
        if size == 0 {
            return Ok(beyond(ratio, whole(ratio)));
        }
        if setting.tolerance.holds(ratio) {
            return Ok(within(size));
        }
        if !setting.seen.target.selects {
            return Err(no_selector());
        }
        if setting.pods.is_empty() {
            return Err(Unknown::new("NoPods", "the target has no pods".to_owned()));
        }
        let skips = setting.improved(Improvement::SkipDeleting) || setting.seen.release.is_some();
        let serves = |pod: &&&PodView| {
            let ready = pod.ready.is_some_and(|ready| ready.is == Some(true));
            pod.phase == Phase::Running && ready && !(skips && pod.deleting)
        };
        let ready = setting.pods.iter().filter(serves).count();
        stage.pods = Some(PodCounts { ready: int(ready), ..PodCounts::default() });
        // By the size that was asked for: the pods of a rolling update are more, and the total is the same.
        let counted =
            if setting.seen.release.is_some() { ready.min(usize::try_from(size).unwrap_or(0)) } else { ready };
        return Ok(beyond(ratio, whole(ratio * counted as f64)));
    }
    let goal = positive(target.average_value.as_ref())?;
    let usage = if type_ == MetricType::External { sum_of_averages(values) } else { sum(values) };
    let holds = setting.improved(Improvement::HoldInTolerance) || setting.seen.release.is_some();
    let base = if holds { size } else { setting.seen.target.status_replicas };
    let ratio = usage as f64 / (goal as f64 * f64::from(base));
    stage.ratio = Some(ratio.to_string());
    stage.average_value = match base {
        0 => None,
        _ if type_ != MetricType::Object && usage as f64 >= i64::MAX as f64 => Some(Milli(i64::MAX)),
        _ => Some(Milli((usage as f64 / f64::from(base)).ceil() as i64)),
    };
    stage.value = Some(Milli(usage));
    if setting.tolerance.holds(ratio) {
        return Ok(within(base));
    }
    Ok(beyond(ratio, whole(usage as f64 / goal as f64)))
}

/// How the canary of a release fares by a metric that is measured by pod: what is measured by what it should be.
pub(crate) fn canary_ratio(setting: &Setting<'_>, spec: &MetricSpec, observed: Option<&Observation>) -> Option<f64> {
    let Some(Observation::Pods(samples)) = observed else { return None };
    let canary: Vec<&PodView> = setting.seen.pods.iter().map(AsRef::as_ref).filter(|pod| pod.canary).collect();
    let sample = |pod: &&PodView| samples.get(&pod.name).map(|sample| sample.value.0);
    let values: BTreeMap<&str, i64> = canary.iter().filter_map(|pod| Some((pod.name.as_str(), sample(pod)?))).collect();
    let each = |target: &MetricTarget| positive(target.average_value.as_ref()).ok().map(Scale::Each);
    let share = |target: &MetricTarget, container: Option<&str>, resource: &str| {
        let percent = target.average_utilization.filter(|percent| *percent > 0 && target.average_value.is_none());
        match percent {
            Some(percent) => Some(Scale::Requests { percent, of: requests(&canary, container, resource).ok()? }),
            None => each(target),
        }
    };
    let scale = match (&spec.resource, &spec.container_resource, &spec.pods) {
        (Some(source), ..) => share(&source.target, None, &source.name),
        (_, Some(source), _) => share(&source.target, Some(&source.container), &source.name),
        (.., Some(source)) => each(&source.target),
        _ => None,
    };
    Some(scale?.usage(&values)?.ratio)
}

/// The pods that a value of a metric for all of them together asks for, by its averageValue.
pub(crate) fn asked_by(spec: &MetricSpec, value: f64) -> Option<i32> {
    let target = spec.prometheus.as_ref().map(|s| &s.target).or(spec.external.as_ref().map(|s| &s.target))?;
    let goal = positive(target.average_value.as_ref()).ok()?;
    Some(whole((value * 1000.0).round() / goal as f64))
}

/// The sum. What is too large to count is as large as can be, whatever is still to be taken from it.
fn sum(values: &[Milli]) -> i64 {
    let add = |sum: i64, value: &Milli| sum.checked_add(value.0).or((value.0 < 0).then_some(i64::MIN));
    values.iter().try_fold(0, add).unwrap_or(i64::MAX)
}

/// The sum as the HPA makes it for an average: it takes a negative sum for one that was too large to count.
fn sum_of_averages(values: &[Milli]) -> i64 {
    let add = |sum: i64, value: &Milli| sum.checked_add(value.0).filter(|sum| *sum >= 0);
    values.iter().try_fold(0, add).unwrap_or(i64::MAX)
}

fn within(replicas: i32) -> (i32, &'static str, String) {
    (replicas, "WithinTolerance", "within tolerance of its target".to_owned())
}

fn beyond(ratio: f64, replicas: i32) -> (i32, &'static str, String) {
    match ratio > 1.0 {
        true => (replicas, "AboveTarget", "above its target".to_owned()),
        false => (replicas, "BelowTarget", "below its target".to_owned()),
    }
}

fn positive(target: Option<&Quantity>) -> Result<i64, Unknown> {
    target.and_then(Quantity::milli).map(|milli| milli.0).filter(|milli| *milli > 0).ok_or_else(no_target)
}

fn no_selector() -> Unknown {
    let message = "the scale of the target says no selector that can be read, so nobody knows which pods are its own: give its CRD \
                   a labelSelectorPath, or use an averageValue of what is measured for all of them together";
    Unknown::new("InvalidSelector", message.to_owned())
}

fn no_target() -> Unknown {
    Unknown::new("InvalidTarget", "its target is not a number above 0".to_owned())
}

fn no_source() -> Unknown {
    Unknown::new("InvalidTarget", "the field that its type names is not set".to_owned())
}

fn counts(groups: &Groups<'_>, values: usize) -> PodCounts {
    PodCounts {
        ready: int(groups.ready),
        unready: int(groups.unready.len()),
        missing: int(groups.missing.len()),
        ignored: int(groups.ignored.len()),
        stray: int(values.saturating_sub(groups.ready)),
    }
}

fn left_out(groups: &Groups<'_>) -> Vec<LeftOutPod> {
    let all = groups.unready.iter().chain(&groups.missing).chain(&groups.ignored);
    let one = |(pod, reason): (&&str, &LeftOut)| LeftOutPod { pod: (*pod).to_owned(), reason: *reason, assumed: None };
    // As many as help people: how many there are is told beside them, and a status has to fit into an object.
    all.take(LEFT_OUT).map(one).collect()
}

pub(crate) fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
