//! The manager: everything that a process with controllers runs, in the order in which it has to start and to end. Not
//! what the controllers do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::{FutureExt, future};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trimtab_plan::Kind;

use crate::admin::{Addresses, Admin, CannotListen, Checks, Servers, Version};
use crate::apart::Apart;
use crate::apply::{Applier, Process, Told};
use crate::asks::Asks;
use crate::events::{self, Recorder};
use crate::faults::{self, Faults, UnknownFault};
use crate::gate::Watching;
use crate::hot::Hot;
use crate::informer::Source;
use crate::journal::Journal;
use crate::lasting::Lasting;
use crate::lazy::Lazy;
use crate::lease::{self, CannotElect, Election, Fence, State};
use crate::liveness::Loops;
use crate::metrics::Metrics;
use crate::permissions::{Lacking, Needs, Permission};
use crate::queue::Queue;
use crate::shutdown::Budget;
use crate::watches::{Registry, Watches, kinds};
use crate::worker::Worker;
use crate::{Controller, ControllerOptions};

/// Kept of the shutdown budget for events, lease and servers.
const RESERVE: Duration = Duration::from_secs(3);

/// Decisions of one controller that compute what others wrote, at a time.
const APART: usize = 4;

/// How a manager is run.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Who reports events: the name of the program.
    pub identity: String,
    /// The namespaces to work in; all if empty.
    pub namespaces: Vec<String>,
    /// The lease to lead by; `None` leads at once.
    pub leader_election: Option<lease::Options>,
    /// Where health and reasons are served.
    pub admin_addr: Option<SocketAddr>,
    /// Where metrics are served.
    pub metrics_addr: Option<SocketAddr>,
    /// How long the shutdown may take.
    pub shutdown_budget: Duration,
    /// Served under `/version`.
    pub version: Version,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self {
            identity: "trimtab".to_owned(),
            namespaces: vec![],
            leader_election: None,
            admin_addr: None,
            metrics_addr: None,
            shutdown_budget: Duration::from_secs(25),
            version: Version::number(concat!("v", env!("CARGO_PKG_VERSION"))),
        }
    }
}

/// Why a manager ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// Another process may lead by now.
    #[error("the leader lease was lost; the process must end and start anew")]
    LeaseLost,
    /// The environment asks for a fault that does not exist.
    #[error(transparent)]
    Fault(#[from] UnknownFault),
    /// An address is taken.
    #[error(transparent)]
    Listen(#[from] CannotListen),
    /// There can be no election: its durations do not fit together, say.
    #[error(transparent)]
    Election(#[from] CannotElect),
}

/// Runs controllers.
pub struct Manager {
    client: Client,
    options: ManagerOptions,
    metrics: Metrics,
    journal: Journal,
    ready: Checks,
    live: Checks,
    stop: CancellationToken,
    registry: Registry,
    controllers: Vec<Box<dyn Runner>>,
}

impl Manager {
    /// A manager without controllers. The client should be one of [`crate::client()`].
    pub fn new(client: Client, options: ManagerOptions) -> Self {
        let metrics = Metrics::new();
        let registry = Registry::new(options.namespaces.clone(), metrics.clone());
        Self {
            client,
            options,
            metrics,
            journal: Journal::default(),
            ready: Checks::default(),
            live: Checks::default(),
            stop: CancellationToken::new(),
            registry,
            controllers: vec![],
        }
    }

    /// Adds a controller, which `build` makes from what it declares to watch.
    pub fn controller<C: Controller>(
        &mut self,
        options: ControllerOptions,
        build: impl FnOnce(&mut Watches<C::Key>) -> C,
    ) -> &mut Self {
        let queue = Arc::new(Queue::new(C::NAME, self.metrics.clone()).shared_by(options.workers.max(1)));
        let empty = Registry::new(vec![], self.metrics.clone());
        let mut watches = Watches::new(std::mem::replace(&mut self.registry, empty), queue);
        let controller = build(&mut watches);
        self.metrics.init_controller(C::NAME, options.workers);
        let Watches { registry, queue, watching, informers } = watches;
        self.registry = registry;
        self.controllers.push(Box::new(Registered { controller, options, queue, watching, informers }));
        self
    }

    /// The process's metrics.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The decisions of all controllers.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// The readiness checks, to add others to.
    pub fn ready(&self) -> Checks {
        self.ready.clone()
    }

    /// The liveness checks, to add others to: one that fails has the process started anew.
    pub fn live(&self) -> Checks {
        self.live.clone()
    }

    /// What the process needs to be allowed: the controllers' writes, events, and to list and watch what the controllers
    /// watch. The Lease is not in it: it is needed in one namespace only.
    pub fn permissions(&self) -> Vec<Permission> {
        let mut all: Vec<Permission> =
            self.controllers.iter().flat_map(|controller| controller.permissions()).collect();
        all.extend(watching(&self.registry.informers));
        all.push(events::PERMISSION);
        all
    }

    /// The same with the Lease, by the namespaces where it is needed.
    fn needs(&self) -> Vec<Needs> {
        let (namespaces, permissions) = (self.options.namespaces.clone(), self.permissions());
        let lease = self.options.leader_election.as_ref().map(|election| Needs {
            namespaces: vec![election.namespace.clone()],
            permissions: vec![lease::PERMISSION],
            object: Some(election.name.clone()),
        });
        [Needs { namespaces, permissions, object: None }].into_iter().chain(lease).collect()
    }

    fn loops(&self) -> Loops {
        Loops::new(self.live.clone(), self.stop.clone())
    }

    /// Runs until `shutdown` resolves.
    ///
    /// Stores fill while the process still waits for the lease, so that it can take over at once. At the end no work is
    /// taken any more, what runs is finished as far as the budget allows, then events are flushed, and the lease is
    /// released last.
    ///
    /// # Errors
    ///
    /// [`ManagerError`]; after [`ManagerError::LeaseLost`] the process has to end.
    pub async fn run(mut self, shutdown: impl Future) -> Result<(), ManagerError> {
        let faults = faults::from_env()?;
        let mut shutdown = std::pin::pin!(shutdown.map(drop));
        let mut background = JoinSet::new();
        self.start_informers(&mut background);
        let servers = self.serve()?;
        let election = match self.options.leader_election.clone() {
            None => None,
            Some(options) => Some(Election::run(self.client.clone(), options, self.metrics.clone())?),
        };
        let leads = tokio::select! {
            biased;
            () = &mut shutdown => None,
            elected = elected(election.as_ref()) => Some(elected),
        };
        let budget = match leads {
            None => Budget::new(self.options.shutdown_budget),
            Some(Err(lost)) => return Err(lost),
            Some(Ok(())) => self.lead(election.as_ref(), faults, shutdown).await?,
        };
        if let Some(election) = election {
            budget.spend("release the lease", Duration::ZERO, election.release()).await;
        }
        servers.stop(budget.left().min(Duration::from_secs(1))).await;
        Ok(())
    }

    fn start_informers(&self, background: &mut JoinSet<()>) {
        let start = |informer: &Arc<Source>| informer.clone().start(&self.client, background);
        self.loops().watch("informers", self.registry.informers.iter().flat_map(start).collect());
        let informers = self.registry.informers.clone();
        self.ready.add("watches", move || {
            let problems: Vec<String> = informers.iter().flat_map(|informer| informer.problems()).collect();
            if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
        });
        let contact = self.metrics.contact();
        self.ready.add("api-server", move || contact.check());
        let lacking = Lacking::default();
        background.spawn(lacking.clone().follow(self.client.clone(), self.needs()));
        self.ready.add("permissions", move || lacking.check());
    }

    fn serve(&self) -> Result<Servers, CannotListen> {
        let admin = Admin {
            live: self.live.clone(),
            ready: self.ready.clone(),
            metrics: self.metrics.clone(),
            why: Some(Arc::new(self.journal.clone())),
            version: self.options.version,
        };
        Servers::start(admin, Addresses { admin: self.options.admin_addr, metrics: self.options.metrics_addr })
    }

    /// Works until it is asked to end, or must; gives what is left of the time to end in.
    async fn lead(
        &mut self,
        election: Option<&Election>,
        faults: Arc<dyn Faults>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Budget, ManagerError> {
        let fence = election.map_or_else(Fence::open, Election::fence);
        let (client, metrics) = (self.client.clone(), self.metrics.clone());
        let identity = self.options.identity.clone();
        let (recorder, publisher) = Recorder::start(client.clone(), identity, fence.clone(), metrics.clone());
        let loops = self.loops();
        loops.watch("events", vec![publisher.task()]);
        let (count, pruned) = (Arc::new(AtomicU64::new(0)), Told::default());
        let process = Process { client, fence, faults, metrics, count, pruned };
        let shared = Shared { process, recorder, journal: self.journal.clone(), loops, stop: self.stop.clone() };
        let mut workers = JoinSet::new();
        for controller in self.controllers.drain(..) {
            controller.start(&shared, &mut workers);
        }
        tokio::select! {
            () = shutdown => {}
            () = lost(election) => return Err(ManagerError::LeaseLost),
        }
        let budget = Budget::new(self.options.shutdown_budget);
        shared.stop.cancel();
        budget.spend("finish reconciles", RESERVE, async { while workers.join_next().await.is_some() {} }).await;
        workers.shutdown().await;
        publisher.flush(budget.keeping(RESERVE / 2)).await;
        Ok(budget)
    }
}

/// What one controller needs to be allowed: what it declares, and to list and watch what it watches. It is built as a manager
/// builds it, and needs no cluster: for roles that are generated. A manager with it needs [`crate::permissions::EVENTS`] too,
/// and [`crate::permissions::LEASE`] in the namespace of its lease.
pub fn permissions_of<C: Controller>(build: impl FnOnce(&mut Watches<C::Key>) -> C) -> Vec<Permission> {
    let metrics = Metrics::new();
    let queue = Arc::new(Queue::new(C::NAME, metrics.clone()));
    let mut watches = Watches::new(Registry::new(vec![], metrics), queue);
    let mut all = build(&mut watches).permissions();
    all.extend(watching(&watches.registry.informers));
    all
}

/// To list and watch all that informers watch. They never get a single object.
fn watching(informers: &[Arc<Source>]) -> Vec<Permission> {
    let read = |kind: Kind| Permission { group: kind.group, resource: kind.plural, verbs: &["list", "watch"] };
    kinds(informers).into_iter().map(read).collect()
}

/// Waits for the lease.
async fn elected(election: Option<&Election>) -> Result<(), ManagerError> {
    let Some(election) = election else { return Ok(()) };
    let mut state = election.state();
    match state.wait_for(|state| matches!(state, State::Leading | State::Lost)).await.as_deref() {
        Ok(State::Leading) => Ok(()),
        _ => Err(ManagerError::LeaseLost),
    }
}

/// Waits for the loss of the lease.
async fn lost(election: Option<&Election>) {
    let Some(election) = election else { return future::pending().await };
    // An error means that the election is no more: that is a loss too.
    _ = election.state().wait_for(|state| *state == State::Lost).await;
}

/// What all controllers of a process share.
struct Shared {
    process: Process,
    recorder: Recorder,
    journal: Journal,
    loops: Loops,
    stop: CancellationToken,
}

/// A controller, whatever its types.
trait Runner: Send + Sync {
    /// What it declares to need.
    fn permissions(&self) -> Vec<Permission>;
    /// Starts its workers, which begin when its stores are full and end when they are to stop.
    fn start(self: Box<Self>, shared: &Shared, workers: &mut JoinSet<()>);
}

struct Registered<C: Controller> {
    controller: C,
    options: ControllerOptions,
    queue: Arc<Queue<C::Key>>,
    watching: Vec<Watching>,
    informers: Vec<Arc<Source>>,
}

impl<C: Controller> Runner for Registered<C> {
    fn permissions(&self) -> Vec<Permission> {
        self.controller.permissions()
    }

    fn start(self: Box<Self>, shared: &Shared, workers: &mut JoinSet<()>) {
        let Self { controller, options, queue, watching, informers } = *self;
        let process = shared.process.clone();
        let asks = Asks::new(process.client.clone(), queue.clone(), options.asks, process.metrics.clone());
        let asks = Arc::new(asks.answered_by(options.answerer));
        let worker = Arc::new(Worker {
            controller: Arc::new(controller),
            queue: queue.clone(),
            metrics: process.metrics.clone(),
            applier: Applier { process, controller: C::NAME, manager: format!("trimtab-{}", C::NAME), watching },
            asks,
            journal: shared.journal.clone(),
            recorder: shared.recorder.clone(),
            timeout: options.timeout,
            hot: Hot::new(),
            lasting: Lasting::default(),
            unsaid: Lasting::default(),
            lazy: Lazy::default(),
            apart: Apart::new(APART),
        });
        shared.loops.watch_progress(C::NAME, options.timeout, &worker.metrics);
        let mut tasks = vec![];
        for _ in 0..options.workers.max(1) {
            let (worker, informers, stop) = (worker.clone(), informers.clone(), shared.stop.clone());
            tasks.push(workers.spawn(async move {
                let synced = async {
                    for informer in &informers {
                        informer.wait_synced().await;
                    }
                };
                if stop.run_until_cancelled(synced).await.is_some() {
                    worker.run().await;
                }
            }));
        }
        shared.loops.watch(format!("workers of {}", C::NAME), tasks);
        let stop = shared.stop.clone();
        workers.spawn(async move {
            stop.cancelled().await;
            queue.close();
        });
    }
}
