//! What the controller sees of one autoscaler, and what has to be found out before it can be decided: the target, its metrics, what is to
//! come. What follows from it is in `reconcile`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trimtab_crds::{AutoscalerStatus, MetricSpec, ScaleStageName};
use trimtab_plan::{Answer, Answers, Ask, Kind, ObjectRef, Plan};

use crate::beat::Beat;
use crate::questions::{
    self, ForecastQuestion, FoundScale, MetricQuestion, ScaleQuestion, ask_forecast, ask_metric, ask_scale,
};
use crate::views::query_of;
use crate::{AutoscalerView, Options, PodView, ReleaseView, ScaleSnapshot, Scaled, TargetView, Unread};

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
pub(crate) enum Target {
    Found(ObjectRef, Arc<Scaled>, String),
    Asked,
    Lost(&'static str, String),
}

impl Seen {
    pub(crate) fn specs(&self) -> Vec<MetricSpec> {
        let own = &self.autoscaler.spec.metrics;
        if own.is_empty() { vec![MetricSpec::default_cpu()] } else { own.clone() }
    }

    /// How many samples of pods its metrics have.
    pub(crate) fn samples(&self) -> usize {
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
    pub(crate) fn bounded(&self, target: Target, plan: &mut Plan<Option<AutoscalerStatus>>, now: Timestamp) -> Target {
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

    pub(crate) fn interval_ms(&self) -> i64 {
        let own = self.autoscaler.spec.interval.as_ref().and_then(trimtab_crds::DurationText::get);
        let own = own.and_then(|own| i64::try_from(own.as_millis()).ok());
        own.unwrap_or_else(|| i64::from(self.options.interval_seconds) * 1000)
    }

    /// Whether so many ask in this namespace that what all its pods use is best read at once.
    fn is_wide(&self) -> bool {
        self.neighbours >= WIDE && self.crowd <= self.neighbours.saturating_mul(EACH)
    }

    /// When it decides: together with those that measure the same, or whose pods' use is read at once with that of its own.
    pub(crate) fn beat(&self, selector: &str) -> Beat {
        let namespace = &self.autoscaler.metadata.namespace;
        let specs = self.specs();
        if self.is_wide() && specs.iter().any(|metric| metric.resource.is_some() || metric.container_resource.is_some())
        {
            return Beat::new(self.interval_ms(), &format!("{namespace}/what pods use"));
        }
        let first = specs.first().map(|metric| questions::source(metric, namespace, selector));
        Beat::new(self.interval_ms(), &first.unwrap_or_default())
    }

    /// When it looks again where no metric says when it decides.
    pub(crate) fn next_look(&self, now: Timestamp) -> Timestamp {
        let beat = self.scale_beat();
        beat.start(beat.step(now) + 1)
    }

    pub(crate) fn scale_beat(&self) -> Beat {
        Beat::new(self.interval_ms(), &self.autoscaler.metadata.uid)
    }

    pub(crate) fn target(&self, plan: &mut Plan<Option<AutoscalerStatus>>, now: Timestamp) -> Target {
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
    pub(crate) fn snapshot(
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
                wide: self.is_wide(),
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
            asked: self.asked_before((beat.start(step), now), target.replicas),
            writer: target.writer.clone(),
        })
    }

    /// What the metrics asked for when the size was set, if that was within the present step, and by the present spec: what was
    /// measured is of before, and says nothing of the pods that there are since. A time to come, where a clock was put back, says nothing.
    fn asked_before(&self, (since, now): (Timestamp, Timestamp), size: i32) -> Option<i32> {
        let status = self.autoscaler.status.as_ref()?;
        let is_since = |at: Timestamp| since <= at && at <= now;
        // Where a process died before it could say that it was done, only the note of it tells.
        if let Some(made) = status.history.pending.as_ref().filter(|noted| noted.to == size && is_since(noted.at)) {
            return Some(made.to);
        }
        let is_present = status.observed_generation == Some(self.autoscaler.metadata.generation);
        status.last_scale_time.filter(|at| is_present && is_since(*at))?;
        let stages = status.decision.as_ref().map_or(&[][..], |decision| &decision.stages);
        let combined = stages.iter().find(|stage| stage.stage == ScaleStageName::Combined);
        Some(combined.map_or(status.desired_replicas, |combined| combined.replicas))
    }

    pub(crate) fn forecast(
        &self,
        now: Timestamp,
        plan: &mut Plan<Option<AutoscalerStatus>>,
    ) -> Option<crate::ForecastView> {
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
