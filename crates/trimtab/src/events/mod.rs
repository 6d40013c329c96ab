//! Kubernetes events: what a decision wants people to be told, written beside the reconciles and never in their way.
//!
//! Not a log and not reliable: events are dropped, and counted, when there are too many or the server does not take
//! them. Whatever must be known is in a status. Of what waits one namespace has its share, and what was said before needs no place.

mod event;
mod series;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use trimtab_plan::Notice;

use crate::lease::Fence;
use crate::metrics::Metrics;
use crate::permissions::Permission;
use series::{Book, Key, MOST_WAITING, Said, Series};

/// The pause after each event: in a rush the API server has more important things to do.
const PAUSE: Duration = Duration::from_millis(15);

/// How often repeated notices are looked through for what is to be written.
const LOOK_EVERY: Duration = Duration::from_secs(5);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Pauses before an event is tried again that the server could not take.
const RETRIES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// What writing events needs: in every namespace that the process works in.
pub const PERMISSION: Permission =
    Permission { group: "events.k8s.io", resource: "events", verbs: &["create", "patch"] };

/// Takes notices; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    said: Shared,
    waiting: mpsc::Sender<New>,
    metrics: Metrics,
}

/// An event to be created.
struct New {
    key: Key,
    name: String,
    wall: Timestamp,
}

/// What was said lately, and the number of the next event.
#[derive(Clone)]
struct Shared(Arc<Mutex<(Book, u64)>>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Book, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that no event has yet.
fn next_name(number: &mut u64, key: &Key) -> String {
    *number = number.wrapping_add(1);
    event::name(&key.about, *number)
}

impl Recorder {
    /// Starts to write events in the name of `identity` for as long as the fence is open.
    pub fn start(client: Client, identity: impl Into<String>, fence: Fence, metrics: Metrics) -> (Self, Publisher) {
        let (waiting, told) = mpsc::channel(MOST_WAITING);
        let stop = CancellationToken::new();
        // Names must differ from those of the process before: it counts on from the time.
        let number = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        let said = Shared(Arc::new(Mutex::new((Book::default(), number))));
        let (identity, own) = (identity.into(), metrics.clone());
        let writer = Writer { client, identity, fence, metrics: own, said: said.clone() };
        let task = tokio::spawn(writer.run(told, stop.clone()));
        (Self { said, waiting, metrics }, Publisher { stop, task })
    }

    /// Takes a notice. Never waits: if too many of its namespace are waiting, this one is dropped and counted.
    pub fn notice(&self, controller: &'static str, notice: Notice) {
        let (key, wall) = (Key::of(controller, notice), crate::clock::now());
        let mut said = self.said.lock();
        let (book, number) = &mut *said;
        let name = next_name(number, &key);
        match book.say(&key, &name, Instant::now(), wall) {
            Said::Again => {}
            Said::TooMany => self.metrics.event_dropped(),
            Said::First => {
                if let Err(unsent) = self.waiting.try_send(New { key, name, wall }) {
                    let key = unsent.into_inner().key;
                    book.taken(&key);
                    book.forget(&key);
                    self.metrics.event_dropped();
                }
            }
        }
    }
}

/// The task that writes the events; dropping it stops it.
#[derive(Debug)]
pub struct Publisher {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Its task, which does not end by itself.
    pub(crate) fn task(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    /// Writes what is waiting, within `budget`. Later notices are dropped.
    pub async fn flush(mut self, budget: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(budget, &mut self.task).await.is_err() {
            tracing::warn!(?budget, "events were left unwritten at shutdown");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Writer {
    client: Client,
    identity: String,
    fence: Fence,
    metrics: Metrics,
    said: Shared,
}

/// How a request ended.
enum Sent {
    Done,
    Gone,
    Failed,
}

impl Writer {
    async fn run(self, mut told: mpsc::Receiver<New>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                told = told.recv() => match told {
                    Some(new) => {
                        self.say(new).await;
                        _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                    }
                    None => break,
                },
                _ = look.tick() => self.write_series(false).await,
            }
        }
        told.close();
        while let Some(new) = told.recv().await {
            self.say(new).await;
        }
        self.write_series(true).await;
    }

    async fn say(&self, New { key, name, wall }: New) {
        self.said.lock().0.taken(&key);
        let event = event::event(&key, &name, &self.identity, wall, None);
        let sent = self.create(&event).await;
        let book = &mut self.said.lock().0;
        if matches!(sent, Sent::Failed | Sent::Gone) {
            self.metrics.event_dropped();
            book.forget(&key);
        } else {
            book.created(&key);
        }
    }

    async fn write_series(&self, all: bool) {
        let due = self.said.lock().0.due(Instant::now(), all);
        for (key, series) in due {
            match self.patch(&key, &series).await {
                Sent::Done => {}
                Sent::Failed => self.metrics.event_dropped(),
                // Events live for an hour, a series as long as it goes on.
                Sent::Gone => self.create_again(&key, &series).await,
            }
        }
    }

    async fn create_again(&self, key: &Key, series: &Series) {
        let name = next_name(&mut self.said.lock().1, key);
        let event = event::event(key, &name, &self.identity, series.first, Some(series));
        if matches!(self.create(&event).await, Sent::Done) {
            self.said.lock().0.rename(key, &name);
        } else {
            self.metrics.event_dropped();
            self.said.lock().0.forget(key);
        }
    }

    fn api(&self, namespace: &str) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn create(&self, event: &Event) -> Sent {
        let api = self.api(event.metadata.namespace.as_deref().unwrap_or_default());
        let params = PostParams::default();
        self.send(|| api.create(&params, event)).await
    }

    async fn patch(&self, key: &Key, series: &Series) -> Sent {
        let api = self.api(event::namespace(&key.about));
        let last = MicroTime(series.last);
        let patch = Patch::Merge(json!({ "series": { "count": series.count, "lastObservedTime": last } }));
        let params = PatchParams::default();
        self.send(|| api.patch(&series.name, &params, &patch)).await
    }

    /// Sends a request, again if the server could not take it, and never without the right to write.
    async fn send<F>(&self, request: impl Fn() -> F) -> Sent
    where
        F: Future<Output = kube::Result<Event>>,
    {
        let mut pauses = RETRIES.iter();
        loop {
            let Ok(left) = self.fence.check() else { return Sent::Failed };
            let error = match tokio::time::timeout(REQUEST_TIMEOUT.min(left), request()).await {
                Ok(Ok(_)) => return Sent::Done,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Sent::Gone,
                // It is there: an earlier attempt succeeded whose answer was lost.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => return Sent::Done,
                Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
                    tracing::debug!(code = status.code, message = %status.message, "event refused");
                    return Sent::Failed;
                }
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            let Some(pause) = pauses.next() else {
                tracing::warn!(error, "event not written");
                return Sent::Failed;
            };
            tokio::time::sleep(*pause).await;
        }
    }
}

#[cfg(test)]
mod tests;
