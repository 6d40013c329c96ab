//! Informers: one task per kind, selector and namespace keeps a list and a watch going and feeds a store. Each has its
//! own backoff, so that a watch that fails (a missing permission, a missing CRD) leaves all others running.
//!
//! ```text
//! list (streamed, or in pages where the server cannot) → watch from there ─┬─ closed by the server → watch again
//!            ↑                                                             ├─ broken → back off, watch again
//!            ├──────────────────────────── 410: version too old ───────────┤
//!            └──── the cluster is behind the version: it was restored ─────┘
//! ```
//! A watch from a version that the cluster has not reached is taken, and nothing comes on it until it has. So before a watch
//! that did not end well is asked for again, the version of the cluster is.
//!
//! A list goes into the store as it comes, over what is there; what it did not have is deleted at its end, and told of
//! like any deletion. So there is never a second copy, and no deletion is missed.

mod health;
mod source;
mod upkeep;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::io::AsyncBufRead;
use kube::Client;
use kube::client::Body;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use trimtab_plan::{Kind, Meta};

use crate::apply::retry_after;
use crate::body::{self, Unread};
use crate::contact::Contact;
use crate::queue::Backoff;
pub use source::read_object;
pub(crate) use source::{Source, Subscriber};
pub(crate) use upkeep::Brought;
use upkeep::{Delivery, Scope};
use wire::{Event, Lines, Page, Target};

/// A watch on which nothing comes for this long may be dead, whatever TCP says: the server sends a bookmark every minute. It
/// is begun anew, which costs a request where the server sends none.
const IDLE: Duration = Duration::from_secs(150);
/// A session that was shorter does not show that all is well, whatever came in it.
const STEADY: Duration = Duration::from_secs(5);
/// A streamed list on which nothing comes for this long does not come from a server that knows streamed lists.
const IDLE_LIST: Duration = Duration::from_secs(30);
/// How long a page of a list may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Gauges need not be newer than this.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Marks the bookmark that ends a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl Source {
    /// The kind that is watched.
    pub(crate) fn kind(&self) -> Kind {
        self.upkeep.kind
    }

    /// Waits until everything that existed at the start has been seen.
    pub(crate) async fn wait_synced(&self) {
        for scope in &self.upkeep.scopes {
            scope.health.wait_synced().await;
        }
    }

    /// What is wrong with its watches.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.upkeep.problems()
    }

    /// Starts its tasks, which do not end by themselves.
    pub(crate) fn start(self: Arc<Self>, client: &Client, tasks: &mut JoinSet<()>) -> Vec<AbortHandle> {
        let mut start = |(index, scope): (usize, &Scope)| {
            let watch = Watch {
                client: client.clone(),
                scope: index,
                namespace: scope.namespace.clone(),
                epoch: 0,
                listed: false,
                streamed_lists: true,
                page: wire::PAGE,
                heard: false,
                ended_well: true,
                reported: Instant::now(),
                source: self.clone(),
            };
            tasks.spawn(watch.run())
        };
        self.upkeep.scopes.iter().enumerate().map(&mut start).collect()
    }

    /// Updates the gauges of the store.
    fn report(&self, scope: usize) {
        let (kind, metrics) = (self.upkeep.kind.kind, &self.upkeep.metrics);
        metrics.watch_active(kind);
        metrics.store_state(kind, self.shared.len(), self.shared.last_seen(None));
        if let Some(health) = self.upkeep.health(scope) {
            health.heard();
        }
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
    #[error("the connection may be dead: requests were not answered for a while")]
    Doubtful,
    #[error("a page with one object is too long")]
    TooLong,
    #[error("{0}")]
    Refused(String, Option<Duration>),
    #[error("{0}")]
    Broken(String),
}

impl From<kube::Error> for Ended {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            kube::Error::Api(status) => {
                Self::Refused(format!("{} {}: {}", status.code, status.reason, status.message.trim()), None)
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
struct Watch {
    source: Arc<Source>,
    client: Client,
    scope: usize,
    namespace: Option<String>,
    /// The number of the list that the watch rests on.
    epoch: u32,
    /// Whether the store has a list to go on from.
    listed: bool,
    streamed_lists: bool,
    /// How many objects are asked for at a time, where lists come in pages.
    page: u32,
    /// Whether the server said anything useful since the last failure.
    heard: bool,
    /// Whether the session before this one was ended by the server after something had come on it.
    ended_well: bool,
    reported: Instant,
}

impl Watch {
    async fn run(mut self) {
        let mut failures: u32 = 0;
        self.source.upkeep.wait_needed().await;
        loop {
            self.heard = false;
            let started = Instant::now();
            let ended = self.session().await;
            self.ended_well = self.heard && ended.is_ok();
            // One that breaks off at once, again and again, is no reason to ask again at once: not even with a list in it.
            let steady = started.elapsed() > STEADY && (self.heard || ended.is_ok());
            if steady {
                failures = 0;
            }
            let mut asked = None;
            match ended {
                Ok(()) if steady => continue,
                Ok(()) if failures == 0 => {
                    failures = 1;
                    continue;
                }
                // Nothing is known to be wrong: it is asked again, and what then fails is told.
                Err(Ended::Silent) if self.listed && started.elapsed() > IDLE => continue,
                Err(Ended::Doubtful) => continue,
                Err(Ended::NoStreamedLists) => {
                    self.streamed_lists = false;
                    continue;
                }
                Err(Ended::Expired) => {
                    self.listed = false;
                    self.source.upkeep.metrics.watch_relisted(self.source.kind().kind);
                    if failures == 0 {
                        failures = 1;
                        continue;
                    }
                }
                Ok(()) => {}
                Err(error) => {
                    self.failed(&error);
                    if let Ended::Refused(_, pause) = error {
                        asked = pause;
                    }
                }
            }
            failures = failures.saturating_add(1);
            let pause = Backoff::WATCH.jittered(failures).max(asked.unwrap_or_default());
            let mut mended = self.contact().mended();
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = mended.changed() => {}
            }
        }
    }

    fn failed(&self, error: &Ended) {
        self.source.upkeep.metrics.watch_restarted(self.source.kind().kind);
        let text = error.to_string();
        tracing::warn!(kind = self.source.kind().kind, namespace = self.namespace, error = text, "watch failed");
        if let Some(health) = self.source.upkeep.health(self.scope) {
            health.failed(text);
        }
    }

    fn target(&self) -> (Kind, Option<String>, crate::Selector) {
        (self.source.kind(), self.namespace.clone(), self.source.upkeep.selector.clone())
    }

    /// One list, if needed, and one watch.
    async fn session(&mut self) -> Result<(), Ended> {
        let (kind, namespace, selector) = self.target();
        let target = Target { kind, namespace: namespace.as_deref(), selector: &selector };
        if self.listed && !self.ended_well && self.went_back(target).await? {
            tracing::warn!(kind = kind.kind, namespace, "the cluster went back to an earlier state; listing anew");
            self.source.upkeep.metrics.watch_relisted(kind.kind);
            self.listed = false;
        }
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
        let response = self.ask(request).await?;
        if listing && matches!(response.status().as_u16(), 400 | 422) {
            return Err(Ended::NoStreamedLists);
        }
        let mut mended = self.contact().mended();
        let mut lines = Lines::new(Box::pin(stream(response).await?));
        if !listing && let Some(health) = self.source.upkeep.health(self.scope) {
            health.heard();
        }
        loop {
            let listing = !self.listed;
            let idle = if listing { IDLE_LIST } else { IDLE };
            let next = tokio::select! {
                next = timeout(idle, lines.next(|line| self.line(line))) => next,
                Ok(()) = mended.changed() => return Err(Ended::Doubtful),
            };
            match next {
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

    fn bookmark(&mut self, meta: &Meta) {
        let version = meta.resource_version.as_str();
        if self.listed {
            self.source.saw(self.scope, crate::store::version(version));
        } else if meta.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true") {
            self.list_ended(version);
        }
    }

    fn list_ended(&mut self, version: &str) {
        self.source.listed(self.scope, self.epoch, version);
        self.source.report(self.scope);
        self.listed = true;
    }

    /// Whether the cluster is behind what the watch has passed: a backup was restored. A server that does not say is taken to go on.
    async fn went_back(&self, target: Target<'_>) -> Result<bool, Ended> {
        let fetched = timeout(PAGE_TIMEOUT, self.fetch(target.page(1, "")?)).await.map_err(|_| Ended::Silent)?;
        let bytes = match fetched {
            Err(Ended::TooLong | Ended::Refused(..) | Ended::Expired) => return Ok(false),
            fetched => fetched?,
        };
        let reached = Page::read(&bytes).map_or(0, |page| crate::store::version(&page.metadata.resource_version));
        Ok(reached > 0 && reached < self.source.shared.seen(self.scope))
    }

    /// Lists in pages.
    async fn list(&mut self, target: Target<'_>) -> Result<(), Ended> {
        self.epoch += 1;
        let delivery = Delivery { scope: self.scope, epoch: self.epoch, listing: true };
        let mut next = String::new();
        loop {
            let fetched = timeout(PAGE_TIMEOUT, self.fetch(target.page(self.page, &next)?)).await;
            let bytes = match fetched.map_err(|_| Ended::Silent)? {
                Err(Ended::TooLong) if self.page > 1 => {
                    self.page = (self.page / 8).max(1);
                    continue;
                }
                fetched => fetched?,
            };
            let page = Page::read(&bytes).map_err(|error| Ended::Broken(format!("a page that is no list: {error}")))?;
            page.items().for_each(|object| self.source.put(object, delivery));
            self.heard = true;
            if page.metadata.next.is_empty() {
                self.list_ended(&page.metadata.resource_version);
                return Ok(());
            }
            next = page.metadata.next;
        }
    }

    async fn fetch(&self, request: http::Request<Vec<u8>>) -> Result<bytes::Bytes, Ended> {
        let response = self.ask(request).await?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        match body::read(response.into_body(), body::PAGE).await {
            Ok(bytes) => Ok(bytes),
            Err(Unread::TooLong(_)) => Err(Ended::TooLong),
            Err(broken) => Err(Ended::Broken(broken.to_string())),
        }
    }

    fn contact(&self) -> Contact {
        self.source.upkeep.metrics.contact()
    }

    /// Sends a request; waits for the head of its answer. As client-go counts it, the request of a watch ends there.
    async fn ask(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Body>, Ended> {
        let counted = self.source.upkeep.metrics.request_started("GET");
        let contact = self.contact();
        let mut mended = contact.mended();
        let answer = tokio::select! {
            answer = timeout(PAGE_TIMEOUT, self.client.send(request.map(Body::from))) => answer,
            Ok(()) = mended.changed() => return Err(Ended::Doubtful),
        };
        match answer {
            Ok(Ok(response)) => {
                counted.answered(response.status().as_u16());
                contact.answered(response.status());
                Ok(response)
            }
            Ok(Err(error)) => {
                contact.unanswered(&error.to_string());
                Err(error.into())
            }
            Err(_) => {
                contact.unanswered("a list or watch timed out");
                Err(Ended::Silent)
            }
        }
    }
}

/// The lines of an answer as they come, or why there are none.
async fn stream(response: http::Response<Body>) -> Result<impl AsyncBufRead, Ended> {
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    let body = axum::body::Body::new(response.into_body());
    Ok(body.into_data_stream().map_err(std::io::Error::other).into_async_read())
}

/// What an answer that is no success means.
async fn refused(response: http::Response<Body>) -> Ended {
    let (parts, body) = response.into_parts();
    let bytes = match timeout(PAGE_TIMEOUT, body::read(body, body::REFUSAL)).await {
        Ok(Ok(bytes)) => bytes,
        _ => bytes::Bytes::new(),
    };
    let pause = retry_after(&parts.headers);
    match ended(&bytes) {
        Ended::Refused(text, _) => Ended::Refused(text, pause),
        // Gateways and an overloaded API server answer in plain text.
        Ended::Broken(text) if parts.status.as_u16() != 410 => {
            Ended::Refused(format!("{}: {}", parts.status, text.trim()), pause)
        }
        Ended::Broken(_) => Ended::Expired,
        other => other,
    }
}

/// What an error of the server means.
fn ended(status: &[u8]) -> Ended {
    match serde_json::from_slice::<kube::core::Status>(status) {
        Ok(status) => Ended::from(kube::Error::Api(status.boxed())),
        Err(_) => Ended::Broken(String::from_utf8_lossy(status).chars().take(200).collect()),
    }
}
