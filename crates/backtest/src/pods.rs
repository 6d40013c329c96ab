//! The pods of the model: they start when they are asked for, serve a while later, and the youngest go first. They have no
//! life of their own: none fails, and one that is taken away is gone at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{MetricSpec, Milli};
use trimtab_scale::{ContainerView, Phase, PodView, Readiness, TargetView};

use crate::demand::{REQUEST, target};

/// For how long the first pods have been there: longer than any time in which a start matters.
const LONG: SignedDuration = SignedDuration::from_hours(24);

/// The pods, the oldest first. Those that serve are the first of them, since all take as long to start.
#[derive(Debug)]
pub(crate) struct Pods {
    containers: Arc<[ContainerView]>,
    requests: Arc<BTreeMap<String, Milli>>,
    target: String,
    start: SignedDuration,
    serves_from: Vec<Timestamp>,
    serving: usize,
    made: u64,
    /// Changes whenever other pods serve.
    pub generation: u64,
}

impl Pods {
    pub(crate) fn new(
        target: &str,
        metrics: &[MetricSpec],
        requests: &BTreeMap<String, Milli>,
        start: SignedDuration,
    ) -> Self {
        let requests = requested(metrics, requests);
        Self {
            containers: containers(metrics, &requests).into(),
            requests: Arc::new(requests),
            target: target.to_owned(),
            start,
            serves_from: vec![],
            serving: 0,
            made: 0,
            generation: 0,
        }
    }

    /// How many serve.
    pub(crate) fn serving(&self) -> usize {
        self.serving
    }

    /// The pods that were there before it began.
    pub(crate) fn found(&mut self, now: Timestamp, size: usize, views: &mut Vec<Arc<PodView>>) {
        let since = now.saturating_sub(LONG).unwrap_or(now);
        for _ in 0..size {
            self.add(since, since, views);
        }
        self.serve(now, views);
    }

    /// Makes pods, or takes the youngest away.
    pub(crate) fn resize(&mut self, now: Timestamp, size: usize, views: &mut Vec<Arc<PodView>>) {
        while views.len() < size {
            let serves = now.saturating_add(self.start).unwrap_or(now);
            self.add(now, serves, views);
        }
        views.truncate(size);
        self.serves_from.truncate(size);
        if self.serving > size {
            self.serving = size;
            self.generation += 1;
        }
        self.serve(now, views);
    }

    /// Lets those serve whose start is over.
    pub(crate) fn serve(&mut self, now: Timestamp, views: &mut [Arc<PodView>]) {
        while let Some(from) = self.serves_from.get(self.serving).filter(|from| **from <= now) {
            if let Some(view) = views.get_mut(self.serving) {
                let ready = Some(Readiness { is: Some(true), since: *from });
                *view = Arc::new(PodView { phase: Phase::Running, ready, ..PodView::clone(view) });
            }
            self.serving += 1;
            self.generation += 1;
        }
    }

    fn add(&mut self, now: Timestamp, serves: Timestamp, views: &mut Vec<Arc<PodView>>) {
        self.made += 1;
        self.serves_from.push(serves);
        views.push(Arc::new(PodView {
            name: format!("{}-{:08}", self.target, self.made),
            phase: Phase::Pending,
            deleting: false,
            started_at: Some(now),
            ready: Some(Readiness { is: Some(false), since: now }),
            owned: true,
            canary: false,
            containers: self.containers.clone(),
            requests: Some(self.requests.clone()),
        }));
    }
}

/// The target as its scale subresource tells it.
pub(crate) fn scale(size: usize) -> TargetView {
    let size = i32::try_from(size).unwrap_or(i32::MAX);
    TargetView { replicas: size, status_replicas: size, selects: true }
}

/// A container for each that a metric names, each with a request for each resource that a metric asks for.
fn containers(metrics: &[MetricSpec], requests: &BTreeMap<String, Milli>) -> Vec<ContainerView> {
    let named = metrics.iter().filter_map(|metric| Some(&metric.container_resource.as_ref()?.container));
    let named: BTreeSet<&String> = named.collect();
    named.into_iter().map(|name| ContainerView { name: name.clone(), requests: requests.clone() }).collect()
}

/// What a pod requests of each resource that a metric asks for.
fn requested(metrics: &[MetricSpec], requests: &BTreeMap<String, Milli>) -> BTreeMap<String, Milli> {
    let resources = metrics.iter().filter_map(|metric| target(metric)?.1);
    resources.map(|name| (name.to_owned(), requests.get(name).copied().unwrap_or(REQUEST))).collect()
}
