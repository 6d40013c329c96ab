//! Metrics under the names that dashboards already have: controller-runtime's and client-go's, and a few of our own.
//!
//! Not a metrics library: callers say what happened (`reconcile_done`, `queue_added`), never which series to touch.
//! Labels are closed sets (controllers, kinds, results) and start at 0, so that a rate is right from the first error
//! on; no label ever holds the name of an object.

mod families;
mod process;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::contact::Contact;
use families::{Families, Labels};
use process::Process;

/// How a reconcile ended, as controller-runtime counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcileResult {
    /// Nothing more to do until something changes.
    Success,
    /// It failed and is tried again with backoff.
    Error,
    /// It is to run again at once.
    Requeue,
    /// It is to run again at a set time.
    RequeueAfter,
}

impl ReconcileResult {
    const ALL: [Self; 4] = [Self::Success, Self::Error, Self::Requeue, Self::RequeueAfter];

    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Requeue => "requeue",
            Self::RequeueAfter => "requeue_after",
        }
    }
}

/// Everything that a process counts; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    families: Families,
    registry: Mutex<Registry>,
    live: Mutex<Live>,
    contact: Contact,
}

/// What has no value of its own but an age at the time of the scrape.
#[derive(Default)]
struct Live {
    next: u64,
    work: BTreeMap<&'static str, BTreeMap<u64, Instant>>,
    activity: BTreeMap<&'static str, Instant>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A panic elsewhere must not take the metrics with it: they are numbers and stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(controller: &'static str) -> Labels<1> {
    [("controller", controller)]
}

fn queue(controller: &'static str) -> Labels<2> {
    [("name", controller), ("controller", controller)]
}

fn of(kind: &'static str) -> Labels<1> {
    [("kind", kind)]
}

impl Metrics {
    /// The API server's name in `rest_client_*`: a process talks to one.
    pub(crate) const HOST: &'static str = "kubernetes";

    /// The content type of what [`Metrics::render`] gives.
    pub const CONTENT_TYPE: &'static str = text::CONTENT_TYPE;

    /// Metrics of a process in which nothing has happened yet.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let families = Families::register(&mut registry);
        Self {
            inner: Arc::new(Inner {
                families,
                registry: Mutex::new(registry),
                live: Mutex::default(),
                contact: Contact::default(),
            }),
        }
    }

    /// Lets a controller register metrics of its own. Counters are registered without `_total`.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut lock(&self.inner.registry))
    }

    /// All metrics in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        self.refresh();
        let mut text = String::new();
        let registry = lock(&self.inner.registry);
        // Writing to a String cannot fail; a metric of the user that refuses to be written ends the text early.
        if encode(&mut text, &registry).is_err() {
            tracing::error!("a registered metric cannot be encoded");
        }
        text::from_open_metrics(&text)
    }

    /// Creates the series of a controller and its queue at 0.
    pub fn init_controller(&self, controller: &'static str, max_concurrent: usize) {
        let f = &self.inner.families;
        for result in ReconcileResult::ALL {
            drop(f.reconciles.get_or_create(&[("controller", controller), ("result", result.label())]));
        }
        for counter in [&f.errors, &f.terminal_errors, &f.panics, &f.timeouts, &f.noop_writes, &f.hot_loops] {
            drop(counter.get_or_create(&one(controller)));
        }
        drop(f.reconcile_time.get_or_create(&one(controller)));
        drop(f.event_latency.get_or_create(&one(controller)));
        f.max_concurrent.get_or_create(&one(controller)).set(i64::try_from(max_concurrent).unwrap_or(i64::MAX));
        drop(f.active_workers.get_or_create(&one(controller)));
        drop(f.depth.get_or_create(&queue(controller)));
        drop(f.adds.get_or_create(&queue(controller)));
        drop(f.retries.get_or_create(&queue(controller)));
        drop(f.queue_duration.get_or_create(&queue(controller)));
        drop(f.work_duration.get_or_create(&queue(controller)));
        lock(&self.inner.live).work.entry(controller).or_default();
    }

    /// Creates the series of a watched kind at 0; its activity clock starts now.
    pub fn init_kind(&self, kind: &'static str) {
        let f = &self.inner.families;
        drop(f.watch_restarts.get_or_create(&of(kind)));
        drop(f.watch_relists.get_or_create(&of(kind)));
        drop(f.pruned.get_or_create(&of(kind)));
        drop(f.store_objects.get_or_create(&of(kind)));
        drop(f.store_version.get_or_create(&of(kind)));
        self.watch_active(kind);
    }

    /// A reconcile ended.
    pub fn reconcile_done(&self, controller: &'static str, result: ReconcileResult, took: Duration) {
        let f = &self.inner.families;
        f.reconciles.get_or_create(&[("controller", controller), ("result", result.label())]).inc();
        f.reconcile_time.get_or_create(&one(controller)).observe(took.as_secs_f64());
        if result == ReconcileResult::Error {
            f.errors.get_or_create(&one(controller)).inc();
        }
    }

    /// A reconcile failed in a way that trying again does not mend. Call it besides `reconcile_done`.
    pub fn reconcile_terminal(&self, controller: &'static str) {
        self.inner.families.terminal_errors.get_or_create(&one(controller)).inc();
    }

    /// A reconcile panicked. Call it besides `reconcile_done`.
    pub fn reconcile_panicked(&self, controller: &'static str) {
        self.inner.families.panics.get_or_create(&one(controller)).inc();
    }

    /// A reconcile took too long and was given up. Call it besides `reconcile_done`.
    pub fn reconcile_timed_out(&self, controller: &'static str) {
        self.inner.families.timeouts.get_or_create(&one(controller)).inc();
    }

    /// A key was put into the queue.
    pub fn queue_added(&self, controller: &'static str) {
        self.inner.families.adds.get_or_create(&queue(controller)).inc();
    }

    /// A key was put back into the queue after a failure.
    pub fn queue_retried(&self, controller: &'static str) {
        self.inner.families.retries.get_or_create(&queue(controller)).inc();
    }

    /// How many keys wait in the queue now.
    pub fn queue_depth(&self, controller: &'static str, depth: usize) {
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        self.inner.families.depth.get_or_create(&queue(controller)).set(depth);
    }

    /// A worker took a key that had waited for `queued`; the work ends when the result is dropped.
    #[must_use = "the work is counted as done when this is dropped"]
    pub fn work_started(&self, controller: &'static str, queued: Duration) -> Work {
        let f = &self.inner.families;
        f.queue_duration.get_or_create(&queue(controller)).observe(queued.as_secs_f64());
        f.active_workers.get_or_create(&one(controller)).inc();
        let started = Instant::now();
        let mut live = lock(&self.inner.live);
        let id = live.next;
        live.next += 1;
        live.work.entry(controller).or_default().insert(id, started);
        drop(live);
        Work { metrics: self.clone(), controller, id, started }
    }

    /// The time from the watch event to the start of the reconcile that it caused.
    pub fn event_to_reconcile(&self, controller: &'static str, waited: Duration) {
        self.inner.families.event_latency.get_or_create(&one(controller)).observe(waited.as_secs_f64());
    }

    /// A write was left out because nothing differed.
    pub fn noop_write(&self, controller: &'static str) {
        self.inner.families.noop_writes.get_or_create(&one(controller)).inc();
    }

    /// An object is slowed down: its decisions make the same writes again and again.
    pub fn hot_loop(&self, controller: &'static str) {
        self.inner.families.hot_loops.get_or_create(&one(controller)).inc();
    }

    /// The server dropped a part of a status.
    pub fn status_pruned(&self, kind: &'static str) {
        self.inner.families.pruned.get_or_create(&of(kind)).inc();
    }

    /// How long the oldest reconcile under way has been running; nothing if none is.
    pub fn oldest_work(&self, controller: &'static str) -> Duration {
        let live = lock(&self.inner.live);
        let ages = live.work.get(controller).into_iter().flatten().map(|(_, started)| started.elapsed());
        ages.max().unwrap_or_default()
    }

    /// How the process's requests fare.
    pub(crate) fn contact(&self) -> Contact {
        self.inner.contact.clone()
    }

    /// A request to the API server was answered with `code`, or with nothing (`None`: `<error>`, as client-go says).
    pub fn request_done(&self, method: &'static str, host: &str, code: Option<u16>, took: Duration) {
        let f = &self.inner.families;
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        let (method, host) = (method.to_owned(), host.to_owned());
        f.request_duration
            .get_or_create(&[("verb", method.clone()), ("host", host.clone())])
            .observe(took.as_secs_f64());
        f.requests.get_or_create(&[("code", code), ("method", method), ("host", host)]).inc();
    }

    /// A request is sent; one that is dropped without an answer counts as an error.
    #[must_use = "the request is counted when this is dropped"]
    pub(crate) fn request_started(&self, method: &'static str) -> Requested {
        Requested { metrics: self.clone(), method, started: Instant::now(), code: None }
    }

    /// Whether this process leads the lease `name`.
    pub fn leading(&self, name: &str, leads: bool) {
        self.inner.families.master.get_or_create(&[("name", name.to_owned())]).set(i64::from(leads));
    }

    /// A reconcile was put off because a store had not seen the process's own last write yet.
    pub fn stale_skip(&self) {
        self.inner.families.stale_skips.inc();
    }

    /// What a store holds: so many objects, as of this resource version.
    pub fn store_state(&self, kind: &'static str, objects: usize, version: u64) {
        let f = &self.inner.families;
        f.store_objects.get_or_create(&of(kind)).set(i64::try_from(objects).unwrap_or(i64::MAX));
        f.store_version.get_or_create(&of(kind)).set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    /// A watch broke and is started again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.inner.families.watch_restarts.get_or_create(&of(kind)).inc();
    }

    /// A watch had to list everything again.
    pub fn watch_relisted(&self, kind: &'static str) {
        self.inner.families.watch_relists.get_or_create(&of(kind)).inc();
    }

    /// A watch heard from the API server: an event, a bookmark, or a finished list.
    pub fn watch_active(&self, kind: &'static str) {
        lock(&self.inner.live).activity.insert(kind, Instant::now());
    }

    /// An event was not published: the queue was full, or the object had too many.
    pub fn event_dropped(&self) {
        self.inner.families.events_dropped.inc();
    }

    /// Sets what is a function of the time of the scrape.
    fn refresh(&self) {
        let f = &self.inner.families;
        {
            let live = lock(&self.inner.live);
            for (&controller, work) in &live.work {
                let ages = || work.values().map(|started| started.elapsed().as_secs_f64());
                f.unfinished.get_or_create(&queue(controller)).set(ages().fold(0.0, |sum, age| sum + age));
                f.longest.get_or_create(&queue(controller)).set(ages().fold(0.0, f64::max));
            }
            for (&kind, at) in &live.activity {
                f.watch_age.get_or_create(&of(kind)).set(at.elapsed().as_secs_f64());
            }
        }
        f.clock_ahead.set(crate::clock::ahead().as_secs_f64());
        let process = Process::read();
        f.resident.set(process.resident_bytes);
        f.cpu.inner().store(process.cpu_seconds.to_bits(), std::sync::atomic::Ordering::Relaxed);
        f.start_time.set(process.start_seconds);
    }
}

/// A key in the hands of a worker; dropping it ends the work, however the work ends.
#[derive(Debug)]
pub struct Work {
    metrics: Metrics,
    controller: &'static str,
    id: u64,
    started: Instant,
}

impl Drop for Work {
    fn drop(&mut self) {
        let inner = &self.metrics.inner;
        if let Some(work) = lock(&inner.live).work.get_mut(self.controller) {
            work.remove(&self.id);
        }
        inner.families.active_workers.get_or_create(&one(self.controller)).dec();
        let took = self.started.elapsed().as_secs_f64();
        inner.families.work_duration.get_or_create(&queue(self.controller)).observe(took);
    }
}

/// A request under way; dropping it counts it, however it ends.
pub(crate) struct Requested {
    metrics: Metrics,
    method: &'static str,
    started: Instant,
    code: Option<u16>,
}

impl Requested {
    /// The server answered with a code.
    pub(crate) fn answered(mut self, code: u16) {
        self.code = Some(code);
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.metrics.request_done(self.method, Metrics::HOST, self.code, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn exercised() -> Metrics {
        let metrics = Metrics::new();
        metrics.init_controller("rollout", 4);
        metrics.init_kind("Pod");
        metrics.leading("trimtab", true);
        metrics.reconcile_done("rollout", ReconcileResult::Error, Duration::from_millis(20));
        metrics.request_done("PATCH", "10.0.0.1:443", Some(200), Duration::from_millis(3));
        metrics.store_state("Pod", 3, 77);
        metrics
    }

    #[test]
    fn every_name_is_the_one_that_dashboards_query() {
        let text = exercised().render();
        for line in [
            "controller_runtime_reconcile_total{controller=\"rollout\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"rollout\",result=\"requeue_after\"} 0",
            "controller_runtime_reconcile_errors_total{controller=\"rollout\"} 1",
            "controller_runtime_terminal_reconcile_errors_total{controller=\"rollout\"} 0",
            "controller_runtime_reconcile_panics_total{controller=\"rollout\"} 0",
            "controller_runtime_reconcile_timeouts_total{controller=\"rollout\"} 0",
            "controller_runtime_reconcile_time_seconds_count{controller=\"rollout\"} 1",
            "controller_runtime_reconcile_time_seconds_bucket{le=\"0.025\",controller=\"rollout\"} 1",
            "controller_runtime_max_concurrent_reconciles{controller=\"rollout\"} 4",
            "controller_runtime_active_workers{controller=\"rollout\"} 0",
            "workqueue_depth{name=\"rollout\",controller=\"rollout\"} 0",
            "workqueue_adds_total{name=\"rollout\",controller=\"rollout\"} 0",
            "workqueue_queue_duration_seconds_count{name=\"rollout\",controller=\"rollout\"} 0",
            "workqueue_work_duration_seconds_count{name=\"rollout\",controller=\"rollout\"} 0",
            "workqueue_unfinished_work_seconds{name=\"rollout\",controller=\"rollout\"} 0.0",
            "workqueue_longest_running_processor_seconds{name=\"rollout\",controller=\"rollout\"} 0.0",
            "workqueue_retries_total{name=\"rollout\",controller=\"rollout\"} 0",
            "rest_client_requests_total{code=\"200\",method=\"PATCH\",host=\"10.0.0.1:443\"} 1",
            "rest_client_request_duration_seconds_count{verb=\"PATCH\",host=\"10.0.0.1:443\"} 1",
            "leader_election_master_status{name=\"trimtab\"} 1",
            "stale_sync_skips_total 0",
            "store_resource_version{kind=\"Pod\"} 77",
            "trimtab_store_objects{kind=\"Pod\"} 3",
            "trimtab_watch_restarts_total{kind=\"Pod\"} 0",
            "trimtab_watch_relists_total{kind=\"Pod\"} 0",
            "trimtab_noop_writes_total{controller=\"rollout\"} 0",
            "trimtab_hot_loops_total{controller=\"rollout\"} 0",
            "trimtab_pruned_status_writes_total{kind=\"Pod\"} 0",
            "trimtab_event_to_reconcile_seconds_count{controller=\"rollout\"} 0",
            "trimtab_events_dropped_total 0",
            "# TYPE controller_runtime_reconcile_total counter",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.lines().any(|l| l == line), "missing: {line}\n{text}");
        }
        assert!(text.contains("trimtab_watch_last_activity_seconds{kind=\"Pod\"} "));
    }

    #[test]
    fn the_process_is_measured() {
        let text = Metrics::new().render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_start_time_seconds ") > 1.7e9);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
    }

    #[test]
    fn work_is_unfinished_until_it_is_dropped() {
        let metrics = exercised();
        let work = metrics.work_started("rollout", Duration::from_secs(1));
        let during = metrics.render();
        assert!(during.contains("active_workers{controller=\"rollout\"} 1"));
        assert!(!during.contains("workqueue_unfinished_work_seconds{name=\"rollout\",controller=\"rollout\"} 0.0\n"));
        drop(work);
        let after = metrics.render();
        assert!(after.contains("active_workers{controller=\"rollout\"} 0"));
        assert!(after.contains("work_duration_seconds_count{name=\"rollout\",controller=\"rollout\"} 1"));
        assert!(after.contains("workqueue_unfinished_work_seconds{name=\"rollout\",controller=\"rollout\"} 0.0\n"));
    }

    #[test]
    fn users_register_their_own() {
        let metrics = Metrics::new();
        let mine: Counter = Counter::default();
        metrics.with_registry(|r| r.register("certs_issued", "Certificates issued", mine.clone()));
        mine.inc();
        assert!(metrics.render().contains("\ncerts_issued_total 1\n"));
    }
}
