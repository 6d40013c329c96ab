//! Kubernetes events: what a decision wants people to be told, written beside the reconciles and never in their way.
//!
//! Not a log and not reliable: events are dropped, and counted, when there are too many or the server does not take
//! them. Whatever must be known is in a status.

mod event;
mod series;

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
use series::{Book, Key, Said, Series};

/// So many notices wait to be written; more are dropped.
const MOST_WAITING: usize = 2048;

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
    waiting: mpsc::Sender<(&'static str, Notice)>,
    metrics: Metrics,
}

impl Recorder {
    /// Starts to write events in the name of `identity` for as long as the fence is open.
    pub fn start(client: Client, identity: impl Into<String>, fence: Fence, metrics: Metrics) -> (Self, Publisher) {
        let (waiting, told) = mpsc::channel(MOST_WAITING);
        let stop = CancellationToken::new();
        let writer = Writer {
            client,
            identity: identity.into(),
            fence,
            metrics: metrics.clone(),
            book: Book::default(),
            // Names must differ from those of the process before: it counts on from the time.
            number: u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default(),
        };
        let task = tokio::spawn(writer.run(told, stop.clone()));
        (Self { waiting, metrics }, Publisher { stop, task })
    }

    /// Takes a notice. Never waits: if too many are waiting, this one is dropped and counted.
    pub fn notice(&self, controller: &'static str, notice: Notice) {
        if self.waiting.try_send((controller, notice)).is_err() {
            self.metrics.event_dropped();
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
    book: Book,
    number: u64,
}

/// How a request ended.
enum Sent {
    Done,
    Gone,
    Failed,
}

impl Writer {
    async fn run(mut self, mut told: mpsc::Receiver<(&'static str, Notice)>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                told = told.recv() => match told {
                    Some((controller, notice)) => {
                        self.say(controller, notice).await;
                        _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                    }
                    None => break,
                },
                _ = look.tick() => self.write_series(false).await,
            }
        }
        told.close();
        while let Some((controller, notice)) = told.recv().await {
            self.say(controller, notice).await;
        }
        self.write_series(true).await;
    }

    async fn say(&mut self, controller: &'static str, notice: Notice) {
        let key = Key::of(controller, notice);
        let name = self.next_name(&key);
        let wall = crate::clock::now();
        match self.book.say(&key, &name, Instant::now(), wall) {
            Said::Again => {}
            Said::TooMany => self.metrics.event_dropped(),
            Said::First => {
                let event = event::event(&key, &name, &self.identity, wall, None);
                if matches!(self.create(&event).await, Sent::Failed | Sent::Gone) {
                    self.metrics.event_dropped();
                    self.book.forget(&key);
                }
            }
        }
    }

    async fn write_series(&mut self, all: bool) {
        for (key, series) in self.book.due(Instant::now(), all) {
            match self.patch(&key, &series).await {
                Sent::Done => {}
                Sent::Failed => self.metrics.event_dropped(),
                // Events live for an hour, a series as long as it goes on.
                Sent::Gone => self.create_again(&key, &series).await,
            }
        }
    }

    async fn create_again(&mut self, key: &Key, series: &Series) {
        let name = self.next_name(key);
        let event = event::event(key, &name, &self.identity, series.first, Some(series));
        if matches!(self.create(&event).await, Sent::Done) {
            self.book.rename(key, &name);
        } else {
            self.metrics.event_dropped();
            self.book.forget(key);
        }
    }

    fn next_name(&mut self, key: &Key) -> String {
        self.number = self.number.wrapping_add(1);
        event::name(&key.about, self.number)
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
