//! Informers: one task per kind, selector and namespace keeps a list and a watch going and feeds a store. Each has its
//! own backoff, so that a watch that fails (a missing permission, a missing CRD) leaves all others running.
//!
//! ```text
//! list (streamed, or in pages where the server cannot) → watch from there ─┬─ closed by the server → watch again
//!            ↑                                                             ├─ broken → back off, watch again
//!            └───────────────────────────────────── 410: version too old ──┘
//! ```
//! A list goes into the store as it comes, over what is there; what it did not have is deleted at its end, and told of
//! like any deletion. So there is never a second copy, and no deletion is missed.

mod health;
mod place;
mod source;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use kube::client::Body;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use trimtab_plan::{Kind, Watched};

use crate::queue::Backoff;
use source::Delivery;
pub(crate) use source::{Source, Subscriber};
use wire::{Event, Lines, Page, Target, WATCH_SECONDS};

/// A watch on which nothing comes for longer than the server keeps one is dead, whatever TCP says.
const IDLE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);
/// A streamed list on which nothing comes for this long does not come from a server that knows streamed lists.
const IDLE_LIST: Duration = Duration::from_secs(30);
/// How long a page of a list may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Gauges need not be newer than this.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Marks the bookmark that ends a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A source, whatever it holds.
pub(crate) trait Informer: Send + Sync {
    /// The kind that is watched.
    fn kind(&self) -> Kind;
    /// Waits until everything that existed at the start has been seen.
    fn wait_synced(&self) -> BoxFuture<'_, ()>;
    /// What is wrong with its watches.
    fn problems(&self) -> Vec<String>;
    /// Starts its tasks, which do not end by themselves.
    fn start(self: Arc<Self>, client: &Client, tasks: &mut JoinSet<()>) -> Vec<AbortHandle>;
}

impl<T: Watched> Informer for Source<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }

    fn wait_synced(&self) -> BoxFuture<'_, ()> {
        async {
            for health in &self.health {
                health.wait_synced().await;
            }
        }
        .boxed()
    }

    fn problems(&self) -> Vec<String> {
        let problem = |(scope, namespace): (usize, Option<&str>)| {
            let problem = self.health.get(scope)?.problem()?;
            let place = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
            Some(format!("{}{place}: {problem}", T::KIND.kind))
        };
        self.shared.scopes().filter_map(problem).collect()
    }

    fn start(self: Arc<Self>, client: &Client, tasks: &mut JoinSet<()>) -> Vec<AbortHandle> {
        let mut start = |(scope, namespace): (usize, Option<&str>)| {
            let watch = Watch {
                source: self.clone(),
                client: client.clone(),
                scope,
                namespace: namespace.map(str::to_owned),
                epoch: 0,
                listed: false,
                streamed_lists: true,
                heard: false,
                reported: Instant::now(),
            };
            tasks.spawn(watch.run())
        };
        self.shared.scopes().map(&mut start).collect()
    }
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the version to go on from is too old")]
    Expired,
    #[error("the server knows no streamed lists")]
    NoStreamedLists,
    #[error("no answer in time")]
    Silent,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Broken(String),
}

impl From<kube::Error> for Ended {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            kube::Error::Api(status) => {
                Self::Refused(format!("{} {}: {}", status.code, status.reason, status.message.trim()))
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<http::Error> for Ended {
    fn from(error: http::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// One watch.
struct Watch<T> {
    source: Arc<Source<T>>,
    client: Client,
    scope: usize,
    namespace: Option<String>,
    /// The number of the list that the watch rests on.
    epoch: u32,
    /// Whether the store has a list to go on from.
    listed: bool,
    streamed_lists: bool,
    /// Whether the server said anything useful since the last failure.
    heard: bool,
    reported: Instant,
}

impl<T: Watched> Watch<T> {
    async fn run(mut self) {
        let mut failures: u32 = 0;
        self.source.wait_needed().await;
        loop {
            self.heard = false;
            let started = Instant::now();
            let ended = self.session().await;
            if self.heard {
                failures = 0;
            }
            match ended {
                Ok(()) if self.heard || started.elapsed() > Duration::from_secs(1) => continue,
                Err(Ended::NoStreamedLists) => {
                    self.streamed_lists = false;
                    continue;
                }
                Err(Ended::Expired) => {
                    self.listed = false;
                    self.source.metrics.watch_relisted(T::KIND.kind);
                    if failures == 0 {
                        failures = 1;
                        continue;
                    }
                }
                Ok(()) => {}
                Err(error) => self.failed(&error),
            }
            failures = failures.saturating_add(1);
            sleep(Backoff::WATCH.jittered(failures)).await;
        }
    }

    fn failed(&self, error: &Ended) {
        self.source.metrics.watch_restarted(T::KIND.kind);
        let text = error.to_string();
        tracing::warn!(kind = T::KIND.kind, namespace = self.namespace, error = text, "watch failed");
        if let Some(health) = self.source.health.get(self.scope) {
            health.failed(text);
        }
    }

    fn target(&self) -> (Kind, Option<String>, crate::Selector) {
        (T::KIND, self.namespace.clone(), self.source.selector.clone())
    }

    /// One list, if needed, and one watch.
    async fn session(&mut self) -> Result<(), Ended> {
        let (kind, namespace, selector) = self.target();
        let target = Target { kind, namespace: namespace.as_deref(), selector: &selector };
        if !self.listed && !self.streamed_lists {
            self.list(target).await?;
        }
        let listing = !self.listed;
        let request = if listing {
            self.epoch += 1;
            target.watch_from_start()?
        } else {
            // Versions only grow in a watch, so the clock of the store's scope is the place to go on from.
            target.watch(&self.source.shared.seen(self.scope).to_string())?
        };
        // As client-go counts it: the request of a watch ends when its stream begins.
        let counted = self.source.metrics.request_started("GET");
        let answer = timeout(PAGE_TIMEOUT, self.client.request_stream(request)).await;
        match &answer {
            Ok(Ok(_)) => counted.answered(200),
            Ok(Err(kube::Error::Api(status))) => counted.answered(status.code),
            _ => drop(counted),
        }
        let stream = match answer {
            Err(_) => return Err(Ended::Silent),
            Ok(Err(kube::Error::Api(status))) if listing && matches!(status.code, 400 | 422) => {
                return Err(Ended::NoStreamedLists);
            }
            Ok(stream) => stream?,
        };
        let mut lines = Lines::new(Box::pin(stream));
        loop {
            let listing = !self.listed;
            let idle = if listing { IDLE_LIST } else { IDLE };
            match timeout(idle, lines.next(|line| self.line(line))).await {
                Ok(Ok(Some(done))) => done?,
                // The server ended a list before its end: that is a failure. A watch ends all the time.
                Ok(Ok(None)) if listing => return Err(Ended::Broken("the list ended early".to_owned())),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(Ended::Broken(error.to_string())),
                Err(_) if listing => return Err(Ended::NoStreamedLists),
                Err(_) => return Err(Ended::Silent),
            }
        }
    }

    /// Takes in one line of a watch.
    fn line(&mut self, line: &[u8]) -> Result<(), Ended> {
        let broken = |error: serde_json::Error| Ended::Broken(format!("a line that is no event: {error}"));
        let delivery = Delivery { scope: self.scope, epoch: self.epoch, listing: !self.listed };
        match wire::split(line).map_err(broken)? {
            Event::Put(object) => self.source.put(object, delivery),
            Event::Deleted(object) => {
                let meta = wire::meta(object).map_err(broken)?;
                self.source.delete(&meta, delivery);
            }
            Event::Bookmark(object) => self.bookmark(&wire::meta(object).map_err(broken)?),
            Event::Error(status) => return Err(ended(status)),
        }
        self.heard = true;
        if self.reported.elapsed() > REPORT_EVERY {
            self.reported = Instant::now();
            self.source.report(self.scope);
        }
        Ok(())
    }

    fn bookmark(&mut self, meta: &trimtab_plan::Meta) {
        let version = meta.resource_version.as_str();
        if self.listed {
            self.source.saw(self.scope, crate::store::version(version));
        } else if meta.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true") {
            self.source.listed(self.scope, self.epoch, version);
            self.listed = true;
        }
    }

    /// Lists in pages.
    async fn list(&mut self, target: Target<'_>) -> Result<(), Ended> {
        self.epoch += 1;
        let delivery = Delivery { scope: self.scope, epoch: self.epoch, listing: true };
        let mut next = String::new();
        loop {
            let bytes = timeout(PAGE_TIMEOUT, self.fetch(target.page(&next)?)).await.map_err(|_| Ended::Silent)??;
            let page = Page::read(&bytes).map_err(|error| Ended::Broken(format!("a page that is no list: {error}")))?;
            page.items().for_each(|object| self.source.put(object, delivery));
            self.heard = true;
            if page.metadata.next.is_empty() {
                self.source.listed(self.scope, self.epoch, &page.metadata.resource_version);
                self.listed = true;
                return Ok(());
            }
            next = page.metadata.next;
        }
    }

    async fn fetch(&self, request: http::Request<Vec<u8>>) -> Result<bytes::Bytes, Ended> {
        let counted = self.source.metrics.request_started("GET");
        let response = self.client.send(request.map(Body::from)).await?;
        let status = response.status();
        counted.answered(status.as_u16());
        let bytes = response.into_body().collect_bytes().await?;
        if status.is_success() { Ok(bytes) } else { Err(ended(&bytes)) }
    }
}

/// What an error of the server means.
fn ended(status: &[u8]) -> Ended {
    match serde_json::from_slice::<kube::core::Status>(status) {
        Ok(status) => Ended::from(kube::Error::Api(status.boxed())),
        Err(_) => Ended::Broken(String::from_utf8_lossy(status).chars().take(200).collect()),
    }
}
