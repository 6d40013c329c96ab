//! The loop: load comes, the pods that serve share it, a decision is made of what they measure, and its size is set. Each
//! decision is the manager's own, with the history that the one before it left. Not what it amounts to, which is in `score`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{AutoscalerSpec, MetricSpec, MetricType, Milli, ScaleHistory, ScaleMode};
use trimtab_scale::{
    Decision, Missing, Observation, Options, PodSample, ScaleSnapshot, Scheduled, Verdict, decide_scale_with,
};
use trimtab_schedule::{Limits, Problem, Schedules};

use crate::demand::{Demand, Shared, Unfit, demands, metrics};
use crate::pods::{Pods, scale};
use crate::{Feed, Row};

/// Over how long a pod's sample is measured, in seconds: as metrics-server does it.
const WINDOW: u32 = 15;

/// How it is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// How long a pod takes from being asked for to serving.
    pub pod_start: SignedDuration,
    /// How many pods there are at the beginning; as many as the load needs then, if left out.
    pub initial: Option<i32>,
    /// How finely time passes. What happens between two steps is seen at the second of them.
    pub step: SignedDuration,
    /// What a pod requests of each resource; 1 of those that are not named.
    pub requests: BTreeMap<String, Milli>,
    /// When it begins; with the first row if left out.
    pub from: Option<Timestamp>,
    /// When it ends; with the last row if left out.
    pub to: Option<Timestamp>,
    /// What holds for the whole cluster.
    pub options: Options,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pod_start: SignedDuration::from_secs(30),
            initial: None,
            step: SignedDuration::from_secs(15),
            requests: BTreeMap::new(),
            from: None,
            to: None,
            options: Options::default(),
        }
    }
}

/// How things are from a step to the next one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick {
    /// The step.
    pub at: Timestamp,
    /// The pods that were asked for.
    pub size: i32,
    /// The pods that serve.
    pub serving: i32,
    /// How many pods would have the load at their target: that of the metric that needs most. None if nothing is known.
    pub needed: Option<f64>,
}

impl Tick {
    /// The load of the pods that serve by their target: 1 is as it should be. Infinite where there is load and no pod.
    pub fn ratio(&self) -> Option<f64> {
        let needed = self.needed?;
        Some(if needed <= 0.0 { 0.0 } else { needed / f64::from(self.serving) })
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Each step.
    pub ticks: Vec<Tick>,
    /// How long a step is.
    pub step: SignedDuration,
    /// How many decisions were made.
    pub decisions: usize,
    /// The size at the beginning.
    pub initial: i32,
    /// What a pod takes at its target, where there is one metric that is shared by pods: its name and the number.
    pub unit: Option<(String, f64)>,
    /// What is not as it would be, in sentences.
    pub notes: Vec<String>,
}

/// How often an autoscaler decides.
pub fn interval(spec: &AutoscalerSpec, options: &Options) -> SignedDuration {
    let own = spec.interval.as_ref().and_then(|text| SignedDuration::try_from(text.get()?).ok());
    own.filter(SignedDuration::is_positive).unwrap_or(SignedDuration::from_secs(options.interval_seconds.max(1).into()))
}

/// The same spec as Kubernetes' HorizontalPodAutoscaler has it: without what that does not know.
pub fn as_hpa(spec: &AutoscalerSpec) -> AutoscalerSpec {
    let mut hpa = spec.clone();
    hpa.min_replicas = hpa.min_replicas.max(1);
    hpa.max_replicas = hpa.max_replicas.max(hpa.min_replicas);
    hpa.schedules.clear();
    hpa.improvements.clear();
    (hpa.formula, hpa.forecast, hpa.cool_down, hpa.interval) = (None, None, None, None);
    (hpa.startup, hpa.fallback) = (None, None);
    for metric in &mut hpa.metrics {
        (metric.activation, metric.stale_after) = (None, None);
    }
    hpa
}

/// Tries a spec on a feed.
pub fn run(spec: &AutoscalerSpec, feed: &Feed, setup: &Setup) -> Result<Course, Unfit> {
    let (from, to) = (setup.from.unwrap_or(feed.start()), setup.to.unwrap_or(feed.end()));
    let (from, to) = (from.max(feed.start()), to.min(feed.end()));
    if from >= to {
        return Err(Unfit::NoTime { from, to, start: feed.start(), end: feed.end() });
    }
    let demands = demands(spec, feed, &setup.requests)?;
    let interval = interval(spec, &setup.options);
    let step = setup.step.min(interval).max(SignedDuration::from_secs(1));
    let mut row = 0;
    let load = |demands: &[Demand], row: Option<&Row>, serving: usize| {
        let each = demands.iter().filter_map(|d| Some(d.pods(value(row, d)?, serving)));
        each.max_by(f64::total_cmp)
    };
    let first = feed.at(from, &mut row);
    let initial = setup.initial.unwrap_or_else(|| initial(spec, from, load(&demands, first, 1)));
    let mut world = World::new(spec, setup, initial, from);
    let (mut now, mut due) = (from, from);
    let mut ticks = vec![];
    let mut decisions = 0;
    while now <= to {
        world.pods.serve(now, &mut world.seen.pods);
        let measured = feed.at(now, &mut row);
        if now >= due {
            world.observe(now, &demands, measured);
            world.decide(now);
            decisions += 1;
            due = due.saturating_add(interval).unwrap_or(Timestamp::MAX);
        }
        let serving = world.pods.serving();
        let (size, served) = (world.seen.target.replicas, i32::try_from(serving).unwrap_or(i32::MAX));
        ticks.push(Tick { at: now, size, serving: served, needed: load(&demands, measured, serving) });
        now = now.saturating_add(step).unwrap_or(Timestamp::MAX);
    }
    let unit = match demands.as_slice() {
        [Demand { name, shared: Shared::ByPods(each) | Shared::Total(each), .. }] => Some((name.clone(), *each)),
        _ => None,
    };
    Ok(Course { ticks, step, decisions, initial, unit, notes: notes(spec, &demands) })
}

fn value(row: Option<&Row>, demand: &Demand) -> Option<f64> {
    row?.values.get(demand.column).copied().flatten()
}

/// As many pods as the load needs at the beginning, within what is allowed then.
fn initial(spec: &AutoscalerSpec, at: Timestamp, needed: Option<f64>) -> i32 {
    let own = Limits { min: spec.min_replicas, max: spec.max_replicas };
    let effect = Schedules::read(&spec.schedules).0.effect(at, own);
    let needed = needed.unwrap_or_default().ceil() as i32;
    needed.min(effect.max.replicas).max(effect.min.replicas).max(1)
}

fn notes(spec: &AutoscalerSpec, demands: &[Demand]) -> Vec<String> {
    let mut notes = vec![];
    for demand in demands.iter().filter(|demand| matches!(demand.shared, Shared::Fixed(_))) {
        notes.push(format!(
            "{} has a target of type Value: its column does not answer to the number of pods, so what is asked for by it is \
             what would have been asked for had it made no difference",
            demand.name
        ));
    }
    if spec.forecast.is_some() {
        notes.push("the forecast is left out: it needs weeks that lie before these".to_owned());
    }
    if spec.mode != ScaleMode::Auto {
        notes.push(format!("mode is {:?}; it is tried as if it were Auto", spec.mode));
    }
    notes
}

/// What the schedules say, asked anew only when a window opens or closes.
struct Windows {
    read: (Schedules, Vec<Problem>),
    said: Scheduled,
    until: Option<Timestamp>,
}

impl Windows {
    fn new(spec: &AutoscalerSpec, at: Timestamp) -> Self {
        let read = Schedules::read(&spec.schedules);
        let (said, until) = (Scheduled::read(at, &read, spec), Self::until(&read.0, at, spec));
        Self { read, said, until }
    }

    fn until(schedules: &Schedules, at: Timestamp, spec: &AutoscalerSpec) -> Option<Timestamp> {
        let own = Limits { min: spec.min_replicas, max: spec.max_replicas };
        schedules.upcoming(at, Timestamp::MAX, own).next().map(|change| change.at)
    }

    fn at(&mut self, now: Timestamp, spec: &AutoscalerSpec) -> &Scheduled {
        if self.until.is_some_and(|until| until <= now) {
            self.said = Scheduled::read(now, &self.read, spec);
            self.until = Self::until(&self.read.0, now, spec);
        }
        &self.said
    }
}

/// What decisions see, kept from one to the next: only what changes is made anew.
struct World {
    seen: ScaleSnapshot,
    scheduled: Windows,
    pods: Pods,
    kinds: Vec<MetricType>,
    /// The samples of the pods that serve, and of which generation they are.
    samples: Vec<(u64, BTreeMap<String, PodSample>)>,
}

impl World {
    fn new(spec: &AutoscalerSpec, setup: &Setup, initial: i32, from: Timestamp) -> Self {
        let metrics: Vec<MetricSpec> = metrics(spec);
        let mut pods = Pods::new(&spec.target_ref.name, &metrics, &setup.requests, setup.pod_start);
        let mut views = vec![];
        let size = usize::try_from(initial).unwrap_or_default();
        pods.found(from, size, &mut views);
        let missing = || Observation::Missing { why: Missing::NotAsked, message: String::new() };
        let seen = ScaleSnapshot {
            spec: AutoscalerSpec { mode: ScaleMode::Auto, ..spec.clone() },
            target: scale(size),
            pods: views,
            observations: metrics.iter().map(|_| missing()).collect(),
            history: ScaleHistory::default(),
            options: setup.options,
            previous: None,
            forecast: None,
            release: None,
            others: vec![],
            desired: None,
            asked: None,
            writer: None,
        };
        let samples = metrics.iter().map(|_| (0, BTreeMap::new())).collect();
        Self {
            seen,
            scheduled: Windows::new(spec, from),
            pods,
            kinds: metrics.iter().map(|metric| metric.type_).collect(),
            samples,
        }
    }

    /// Measures what the pods do.
    fn observe(&mut self, now: Timestamp, demands: &[Demand], row: Option<&Row>) {
        let kept = self.seen.observations.iter_mut().zip(&mut self.samples);
        for ((observation, (generation, spare)), (demand, kind)) in kept.zip(demands.iter().zip(&self.kinds)) {
            if let Observation::Pods(samples) = observation {
                std::mem::swap(samples, spare);
            }
            let by_pod = matches!(kind, MetricType::Resource | MetricType::ContainerResource | MetricType::Pods);
            let serving = self.pods.serving();
            let part = if by_pod { serving.max(1) as f64 } else { 1.0 };
            let measured = value(row, demand).and_then(|value| Milli::of(value / part));
            *observation = match measured {
                None => {
                    let message = "nothing was recorded for this time".to_owned();
                    Observation::Missing { why: Missing::NoMetrics, message }
                }
                Some(value) if !by_pod => Observation::Total { values: vec![value], at: Some(now) },
                Some(value) => {
                    let sample = PodSample { value, at: now, window_seconds: WINDOW };
                    if *generation == self.pods.generation {
                        spare.values_mut().for_each(|old| *old = sample);
                    } else {
                        let serve = self.seen.pods.iter().take(serving);
                        *spare = serve.map(|pod| (pod.name.clone(), sample)).collect();
                        *generation = self.pods.generation;
                    }
                    Observation::Pods(std::mem::take(spare))
                }
            };
        }
    }

    /// Decides, and does what was decided.
    fn decide(&mut self, now: Timestamp) {
        let Decision { verdict, desired, history, .. } =
            decide_scale_with(now, &self.seen, self.scheduled.at(now, &self.seen.spec));
        self.seen.history = history;
        self.seen.previous = Some(now);
        self.seen.desired = Some(desired);
        if let Verdict::Set(to) = verdict {
            let size = usize::try_from(to).unwrap_or_default();
            self.pods.resize(now, size, &mut self.seen.pods);
            self.seen.target = scale(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_schedules_say_is_the_same_as_if_they_were_asked_each_time() {
        let spec: AutoscalerSpec = serde_json::from_value(serde_json::json!({
            "targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9, "schedules": [
                {"name": "a", "start": "*/20 1-5 * * *", "duration": "15m", "timeZone": "Europe/Berlin", "minReplicas": 4},
                {"name": "b", "start": "30 * * * *", "duration": "45m", "timeZone": "UTC", "maxReplicas": 6, "priority": 2},
                {"name": "c", "start": "0 2 * * *", "end": "30 3 * * *", "timeZone": "Europe/Berlin", "replicas": 3},
                {"name": "wrong", "start": "0 2 * *", "duration": "1h", "timeZone": "UTC", "replicas": 3}]
        }))
        .unwrap();
        // Across the night in which clocks change.
        let mut now: Timestamp = "2026-03-28T20:00:07Z".parse().unwrap();
        let mut windows = Windows::new(&spec, now);
        for _ in 0..2000 {
            let fresh = Scheduled::read(now, &Schedules::read(&spec.schedules), &spec);
            assert_eq!(*windows.at(now, &spec), fresh, "{now}");
            now += SignedDuration::from_secs(37);
        }
    }
}
