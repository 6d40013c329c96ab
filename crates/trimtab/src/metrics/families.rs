//! The metric families, their names, help texts and buckets. Not what is counted when: see the parent module.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Label names and values; the values come from closed sets, never from objects.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// `{code,method,host}`: the host is the API server's, of which a process has one or a few.
pub(super) type RequestLabels = [(&'static str, String); 3];

/// `{verb,host}`.
pub(super) type VerbLabels = [(&'static str, String); 2];

/// A gauge of seconds.
pub(super) type Seconds = Gauge<f64, AtomicU64>;

/// controller-runtime's buckets for `controller_runtime_reconcile_time_seconds`.
const RECONCILE_BUCKETS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
];

/// component-base's buckets for `rest_client_request_duration_seconds`.
const REQUEST_BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// From one millisecond to a minute: what people notice.
const LATENCY_BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

fn reconcile_histogram() -> Histogram {
    Histogram::new(RECONCILE_BUCKETS)
}

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

fn latency_histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// controller-runtime's buckets for the `workqueue_*` histograms: 10 ns to 1000 s.
fn queue_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-8, 10.0, 12))
}

type Count<const N: usize> = Family<Labels<N>, Counter>;
type Level<const N: usize> = Family<Labels<N>, Gauge>;
type Spread<const N: usize> = Family<Labels<N>, Histogram>;

/// All families that every process has.
pub(super) struct Families {
    pub(super) reconciles: Count<2>,
    pub(super) errors: Count<1>,
    pub(super) terminal_errors: Count<1>,
    pub(super) panics: Count<1>,
    pub(super) timeouts: Count<1>,
    pub(super) reconcile_time: Spread<1>,
    pub(super) max_concurrent: Level<1>,
    pub(super) active_workers: Level<1>,
    pub(super) depth: Level<2>,
    pub(super) adds: Count<2>,
    pub(super) queue_duration: Spread<2>,
    pub(super) work_duration: Spread<2>,
    pub(super) unfinished: Family<Labels<2>, Seconds>,
    pub(super) longest: Family<Labels<2>, Seconds>,
    pub(super) retries: Count<2>,
    pub(super) requests: Family<RequestLabels, Counter>,
    pub(super) request_duration: Family<VerbLabels, Histogram>,
    pub(super) master: Family<[(&'static str, String); 1], Gauge>,
    pub(super) stale_skips: Counter,
    pub(super) clock_ahead: Seconds,
    pub(super) store_version: Level<1>,
    pub(super) store_objects: Level<1>,
    pub(super) watch_restarts: Count<1>,
    pub(super) watch_relists: Count<1>,
    pub(super) watch_age: Family<Labels<1>, Seconds>,
    pub(super) noop_writes: Count<1>,
    pub(super) hot_loops: Count<1>,
    pub(super) pruned: Count<1>,
    pub(super) event_latency: Spread<1>,
    pub(super) events_dropped: Counter,
    pub(super) resident: Gauge,
    pub(super) cpu: Counter<f64, AtomicU64>,
    pub(super) start_time: Seconds,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            terminal_errors: Family::default(),
            panics: Family::default(),
            timeouts: Family::default(),
            reconcile_time: Family::new_with_constructor(reconcile_histogram),
            max_concurrent: Family::default(),
            active_workers: Family::default(),
            depth: Family::default(),
            adds: Family::default(),
            queue_duration: Family::new_with_constructor(queue_histogram),
            work_duration: Family::new_with_constructor(queue_histogram),
            unfinished: Family::default(),
            longest: Family::default(),
            retries: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_histogram),
            master: Family::default(),
            stale_skips: Counter::default(),
            clock_ahead: Seconds::default(),
            store_version: Family::default(),
            store_objects: Family::default(),
            watch_restarts: Family::default(),
            watch_relists: Family::default(),
            watch_age: Family::default(),
            noop_writes: Family::default(),
            hot_loops: Family::default(),
            pruned: Family::default(),
            event_latency: Family::new_with_constructor(latency_histogram),
            events_dropped: Counter::default(),
            resident: Gauge::default(),
            cpu: Counter::default(),
            start_time: Gauge::default(),
        };
        families.register_controllers(registry);
        families.register_queues(registry);
        families.register_client(registry);
        families.register_stores(registry);
        families.register_process(registry);
        families
    }

    // Counters are registered without `_total`: the encoder adds it.
    fn register_controllers(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("controller_runtime");
        r.register("reconcile", "Total number of reconciliations per controller", self.reconciles.clone());
        r.register("reconcile_errors", "Total number of reconciliation errors per controller", self.errors.clone());
        r.register(
            "terminal_reconcile_errors",
            "Total number of terminal reconciliation errors per controller",
            self.terminal_errors.clone(),
        );
        r.register("reconcile_panics", "Total number of reconciliation panics per controller", self.panics.clone());
        r.register(
            "reconcile_timeouts",
            "Total number of reconciliation timeouts per controller",
            self.timeouts.clone(),
        );
        r.register(
            "reconcile_time_seconds",
            "Length of time per reconciliation per controller",
            self.reconcile_time.clone(),
        );
        r.register(
            "max_concurrent_reconciles",
            "Maximum number of concurrent reconciles per controller",
            self.max_concurrent.clone(),
        );
        r.register("active_workers", "Number of currently used workers per controller", self.active_workers.clone());
    }

    fn register_queues(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("workqueue");
        r.register("depth", "Current depth of workqueue", self.depth.clone());
        r.register("adds", "Total number of adds handled by workqueue", self.adds.clone());
        r.register(
            "queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            self.queue_duration.clone(),
        );
        r.register(
            "work_duration_seconds",
            "How long in seconds processing an item from workqueue takes",
            self.work_duration.clone(),
        );
        r.register(
            "unfinished_work_seconds",
            "How many seconds of work is in progress and not yet observed by work_duration; large values mean stuck workers",
            self.unfinished.clone(),
        );
        r.register(
            "longest_running_processor_seconds",
            "How many seconds the longest running processor has been running",
            self.longest.clone(),
        );
        r.register("retries", "Total number of retries handled by workqueue", self.retries.clone());
    }

    fn register_client(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("rest_client");
        r.register("requests", "Number of HTTP requests by status code, method, and host", self.requests.clone());
        r.register(
            "request_duration_seconds",
            "Request latency in seconds by verb and host",
            self.request_duration.clone(),
        );
        registry.register(
            "leader_election_master_status",
            "Whether this process is the leader of the lease: 0 is a candidate, 1 is the leader",
            self.master.clone(),
        );
    }

    fn register_stores(&self, registry: &mut Registry) {
        registry.register(
            "stale_sync_skips",
            "Number of reconciles put off because a store had not seen the process's own last write yet",
            self.stale_skips.clone(),
        );
        registry.register(
            "trimtab_clock_ahead_seconds",
            "By how much this machine's clock is ahead of the API server's, if by more than 5 s; the server's is used then",
            self.clock_ahead.clone(),
        );
        registry.register(
            "store_resource_version",
            "The newest resource version that a store has seen",
            self.store_version.clone(),
        );
        let r = registry.sub_registry_with_prefix("trimtab");
        r.register("store_objects", "Number of objects in a store", self.store_objects.clone());
        r.register("watch_restarts", "Number of times a watch had to be started again", self.watch_restarts.clone());
        r.register("watch_relists", "Number of times a watch had to list everything again", self.watch_relists.clone());
        r.register(
            "watch_last_activity_seconds",
            "Seconds since a watch last heard from the API server",
            self.watch_age.clone(),
        );
        r.register("noop_writes", "Number of writes left out because nothing differed", self.noop_writes.clone());
        r.register(
            "hot_loops",
            "Number of times an object was slowed down because the same writes were made again and again",
            self.hot_loops.clone(),
        );
        r.register(
            "pruned_status_writes",
            "Number of status writes of which the server dropped a part: its CRD is older than this program",
            self.pruned.clone(),
        );
        r.register(
            "event_to_reconcile_seconds",
            "Time from a watch event to the start of the reconcile that it caused",
            self.event_latency.clone(),
        );
        r.register("events_dropped", "Number of events that were not published", self.events_dropped.clone());
    }

    fn register_process(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("process");
        r.register("resident_memory_bytes", "Resident memory size in bytes", self.resident.clone());
        r.register("cpu_seconds", "Total user and system CPU time spent in seconds", self.cpu.clone());
        r.register(
            "start_time_seconds",
            "Start time of the process since unix epoch in seconds",
            self.start_time.clone(),
        );
    }
}
