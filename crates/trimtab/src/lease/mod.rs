//! Leader election over a `coordination.k8s.io/v1` Lease, and the fence that keeps a former leader from writing.
//!
//! The semantics are client-go's, so that both can compete for one Lease: whether a lease has lapsed is judged by how
//! long *this* process has seen no change, never by the holder's clock; updates are guarded by the resourceVersion;
//! the holder gives up when it could not renew for the renew deadline. Two things are stricter: the right to write
//! counts from the start of the request that renewed, and a Lease that somebody deletes is not free before its holder
//! could know.
//!
//! Not a lock: a write that is on its way when the lease lapses still arrives. The time between the renew deadline and
//! the lease duration is there for it.

mod elector;
mod fence;
#[cfg(test)]
mod model;
mod server;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use kube::{Client, Config};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::moment as now;
use crate::metrics::Metrics;
use crate::permissions::Permission;
use elector::{Asked, Elector, Pace, Step, Timing};
pub use fence::{Fence, Fenced};
use server::Server;

/// Which Lease, who asks, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease; also the `name` of `leader_election_master_status`.
    pub name: String,
    /// Who this process is; must never be shared by two processes, not even one after the other. See [`identity`].
    pub identity: String,
    /// How long the others wait after the last change that they saw.
    pub lease_duration: Duration,
    /// How long the holder may write after its last renewal.
    pub renew_deadline: Duration,
    /// The pause between attempts.
    pub retry_period: Duration,
    /// Where the API server is. With it the election has a thread and a connection of its own, so that no amount of work in
    /// the process makes a leader miss its renewals; without it, both are the process's.
    pub connection: Option<Config>,
}

impl Options {
    /// client-go's durations: 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            connection: None,
        }
    }

    fn check(&self) -> Result<(), InvalidOptions> {
        if self.identity.is_empty() {
            return Err(InvalidOptions("the identity is empty"));
        }
        if self.lease_duration <= self.renew_deadline {
            return Err(InvalidOptions("the lease duration must be longer than the renew deadline"));
        }
        if self.renew_deadline <= self.retry_period.mul_f64(JITTER) {
            return Err(InvalidOptions("the renew deadline must be longer than 1.2 retry periods"));
        }
        if self.retry_period.is_zero() {
            return Err(InvalidOptions("the retry period is zero"));
        }
        Ok(())
    }
}

/// The durations of an election contradict each other, or it has no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leader election cannot work like this: {0}")]
pub struct InvalidOptions(&'static str);

/// Why an election cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum CannotElect {
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The system gives no thread.
    #[error("leader election gets no thread of its own")]
    Thread(#[from] std::io::Error),
}

/// client-go's jitter factor: a candidate pauses for up to 2.2 retry periods.
const JITTER: f64 = 1.2;

/// A name for this process that no other has: the host's (in a pod, the pod's) and 64 random bits.
pub fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    format!("{}_{:016x}", host.as_deref().unwrap_or("trimtab").trim(), random())
}

/// The state of an election as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody else leads, or nobody yet.
    Following {
        /// Who leads, if known.
        holder: Option<String>,
    },
    /// This process leads.
    Leading,
    /// This process led and does not any more: it must end, it will not be elected again.
    Lost,
    /// This process has stopped taking part.
    Released,
}

/// A running election. Dropping it closes the fence without telling the others, who then wait out the lease.
#[derive(Debug)]
pub struct Election {
    fence: Fence,
    state: watch::Receiver<State>,
    /// Sets the lease free and ends.
    stop: CancellationToken,
    /// Ends as it is.
    abandon: CancellationToken,
    ended: oneshot::Receiver<()>,
}

/// What taking part needs, in the namespace of the Lease.
pub const PERMISSION: Permission =
    Permission { group: "coordination.k8s.io", resource: "leases", verbs: &["get", "create", "update"] };

impl Election {
    /// Starts to take part; `client` should be one of [`crate::client()`]. It is not used where the options have a connection.
    ///
    /// # Errors
    ///
    /// [`CannotElect`] before anything is sent.
    pub fn run(client: Client, mut options: Options, metrics: Metrics) -> Result<Self, CannotElect> {
        options.check()?;
        let fence = Fence::closed();
        let (tell, state) = watch::channel(State::Following { holder: None });
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let (end, ended) = oneshot::channel();
        let connection = options.connection.take();
        let (closes, stops, left) = (fence.clone(), stop.clone(), abandon.clone());
        let part = move |client| async move {
            let candidate = Candidate::new(client, options, closes.clone(), tell, metrics);
            left.run_until_cancelled(candidate.take_part(stops)).await;
            // It may have been in the middle of a renewal when it was abandoned.
            closes.close_at(None);
            _ = end.send(());
        };
        match connection {
            Some(config) => thread(config, part)?,
            None => _ = tokio::spawn(part(client)),
        }
        Ok(Self { fence, state, stop, abandon, ended })
    }

    /// What every write has to ask.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// What to watch to learn of the election's turns.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Closes the fence, sets the lease free if it is held, and ends. Call it when all writes have ended: the next
    /// leader starts at once.
    pub async fn release(mut self) {
        self.stop.cancel();
        if (&mut self.ended).await.is_err() {
            tracing::error!("leader election ended by a panic");
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.fence.close_at(None);
        self.abandon.cancel();
    }
}

/// Runs a part in an election on a thread of its own. Tasks of one runtime wait for each other, and its clock for all of them:
/// on a processor that is too small for the work, ten seconds can pass before a renewal gets its turn.
fn thread<F: Future<Output = ()>>(
    config: Config,
    part: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            match crate::client(config) {
                Ok(client) => part(client).await,
                // Whoever waits for the election learns of its end.
                Err(error) => tracing::error!(%error, "leader election has no connection"),
            }
        });
    };
    std::thread::Builder::new().name("lease".to_owned()).spawn(run)?;
    Ok(())
}

/// The shell around the [`Elector`]: it sends, sleeps and tells.
struct Candidate {
    server: Server,
    elector: Elector,
    options: Options,
    fence: Fence,
    tell: watch::Sender<State>,
    metrics: Metrics,
}

impl Candidate {
    fn new(client: Client, options: Options, fence: Fence, tell: watch::Sender<State>, metrics: Metrics) -> Self {
        let timing = Timing { lease_duration: options.lease_duration, renew_deadline: options.renew_deadline };
        Self {
            server: Server::new(client, &options, metrics.contact()),
            elector: Elector::new(options.identity.clone(), timing),
            options,
            fence,
            tell,
            metrics,
        }
    }

    async fn take_part(mut self, stop: CancellationToken) {
        self.metrics.leading(&self.options.name, false);
        let ended = stop.run_until_cancelled(self.elect()).await.is_some();
        self.fence.close_at(None);
        self.metrics.leading(&self.options.name, false);
        if ended {
            tracing::error!(lease = %self.options.name, "leader lease lost");
            self.tell.send_replace(State::Lost);
        } else {
            self.give_up().await;
            self.tell.send_replace(State::Released);
        }
    }

    /// Ends when the lease is lost.
    async fn elect(&mut self) {
        loop {
            let step = self.elector.step(now(), crate::clock::now());
            let pace = match step {
                Step::Lost => return,
                Step::Wait => Pace::Jittered,
                step => self.ask(step).await,
            };
            self.publish();
            let pause = match pace {
                Pace::Now => continue,
                Pace::Retry => self.options.retry_period,
                // Of candidates that look again when the lease lapses one gets it, the others are told of a conflict.
                Pace::Jittered => jittered(self.options.retry_period).min(self.until_lapse()),
            };
            tokio::time::sleep(pause.min(self.left())).await;
        }
    }

    /// Sends a request and takes in its answer. A leader waits no longer than its right lasts.
    async fn ask(&mut self, step: Step) -> Pace {
        let asked = if step == Step::Get { Asked::Read } else { Asked::Write };
        let started = now();
        let timeout = self.left().min(self.options.renew_deadline / 2);
        let answer = self.server.send(step, timeout).await;
        self.elector.answer(asked, started, now(), answer)
    }

    /// How long the right to write lasts; without one nothing hurries.
    fn left(&self) -> Duration {
        self.elector.deadline().map_or(Duration::MAX, |deadline| deadline.saturating_sub(now()))
    }

    /// How long until the lease that somebody else holds lapses, if it is not renewed.
    fn until_lapse(&self) -> Duration {
        let left = self.elector.lapses().and_then(|lapses| lapses.checked_sub(now()));
        left.filter(|left| !left.is_zero()).unwrap_or(Duration::MAX)
    }

    /// Tells the fence first: it is what counts.
    fn publish(&self) {
        let deadline = self.elector.deadline();
        self.fence.close_at(deadline);
        let state = match deadline {
            Some(_) => State::Leading,
            None => State::Following { holder: self.elector.holder().map(str::to_owned) },
        };
        let changed = self.tell.send_if_modified(|old| std::mem::replace(old, state.clone()) != state);
        if !changed {
            return;
        }
        self.metrics.leading(&self.options.name, state == State::Leading);
        match state {
            State::Following { holder: Some(holder) } => {
                tracing::info!(lease = %self.options.name, holder, "another process leads");
            }
            State::Leading => {
                tracing::info!(lease = %self.options.name, identity = %self.options.identity, "leader lease acquired");
            }
            _ => {}
        }
    }

    /// Sets the lease free. A renewal may have been on its way: then the first update conflicts, and the lease is read
    /// and set free once more. If that does not work the others wait out the lease, as after a crash.
    async fn give_up(&mut self) {
        for _ in 0..4 {
            let step = self.elector.release(crate::clock::now());
            let writes = match step {
                Step::Lost | Step::Wait => return,
                Step::Get => false,
                _ => true,
            };
            let answer = self.server.send(step, self.options.renew_deadline / 4).await;
            if writes && matches!(answer, elector::Answer::Is(_)) {
                tracing::info!(lease = %self.options.name, "leader lease released");
                return;
            }
            self.elector.answer(Asked::Read, now(), now(), answer);
        }
    }
}

fn jittered(period: Duration) -> Duration {
    let share = (random() >> 11) as f64 / (1_u64 << 53) as f64;
    period.mul_f64(1.0 + JITTER * share)
}

/// Randomness enough to spread candidates and to tell processes apart: the standard library's hash keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_cannot_work_are_refused() {
        let good = Options::new("default", "trimtab");
        assert!(good.check().is_ok());
        let bad = [
            Options { identity: String::new(), ..good.clone() },
            Options { lease_duration: good.renew_deadline, ..good.clone() },
            Options { retry_period: good.renew_deadline, ..good.clone() },
            Options { retry_period: Duration::ZERO, ..good.clone() },
        ];
        assert!(bad.iter().all(|options| options.check().is_err()));
    }

    #[test]
    fn identities_differ() {
        assert_ne!(identity(), identity());
    }

    #[test]
    fn jitter_stays_in_bounds() {
        let period = Duration::from_secs(2);
        assert!((0..1000).map(|_| jittered(period)).all(|p| p >= period && p <= period.mul_f64(2.2)));
    }
}
