//! Writing: the only place from which the process changes anything but leases and events. One field manager for each
//! controller, a fence before each write, one bounded policy for trying again, and faults on purpose for tests.
//!
//! Not deciding: whether something is to be written is the plan's business.

mod copy;
mod failure;
mod pruned;
mod request;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};
use trimtab_plan::{Applied, Class, Failure, Outcome, PatchOp, StatusWrite, Subresource, Verb, Write};

use crate::body;
use crate::faults::Faults;
use crate::gate::{Effect, Watching, Written};
use crate::lease::Fence;
use crate::metrics::Metrics;
pub(crate) use pruned::Told;
pub(crate) use request::rehearsal;
pub use writer::Writer;

/// The longest that one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// How often a request is sent at most; more is for the queue, which lets others go first.
const TRIES: u32 = 3;
/// The longest that a server that is overloaded is waited for; more is for the queue.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest that anything waits because the server asks for it, whatever it asks.
const LONGEST_PATIENCE: Duration = Duration::from_secs(120);
/// What the pause is where the server does not say.
const PAUSE: Duration = Duration::from_millis(200);

/// What all writes of a process share.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) client: Client,
    pub(crate) fence: Fence,
    pub(crate) faults: Arc<dyn Faults>,
    pub(crate) metrics: Metrics,
    pub(crate) count: Arc<AtomicU64>,
    pub(crate) pruned: Told,
}

/// Performs the writes of one controller.
pub(crate) struct Applier {
    pub(crate) process: Process,
    pub(crate) controller: &'static str,
    pub(crate) manager: String,
    /// The stores that the controller reads, to tell whether a write changed anything.
    pub(crate) watching: Vec<Watching>,
}

/// What the writes of a reconcile leave behind, whatever came of them.
#[derive(Default)]
pub(crate) struct Trail {
    /// What was written.
    pub(crate) written: Vec<Written>,
    /// Until when the server wants to be left alone.
    pub(crate) not_before: Option<Instant>,
}

/// What the server answered: the code, the pause that it asks for, the body.
type Answered = (StatusCode, Option<Duration>, Bytes);

/// The part of an answer that is of use.
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    metadata: AnswerMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AnswerMeta {
    resource_version: String,
    deletion_timestamp: Option<String>,
    labels: std::collections::BTreeMap<String, String>,
}

impl Applier {
    /// Performs writes in order up to the first that fails. What was written is added to the trail.
    pub(crate) async fn apply(&self, writes: &[Write], deadline: Instant, trail: &mut Trail) -> Outcome {
        let mut outcome = Outcome::default();
        for (index, write) in writes.iter().enumerate() {
            match self.write(index, write, deadline, trail).await {
                Ok((applied, _)) => outcome.applied.push(applied),
                Err(failure) => {
                    outcome.failed = Some(failure);
                    break;
                }
            }
        }
        outcome
    }

    /// Writes a status, if it is still that object's. The text says what the server dropped of it.
    pub(crate) async fn status(
        &self,
        status: &StatusWrite,
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<(Applied, Option<String>), Failure> {
        let uid = PatchOp::test("/metadata/uid", status.uid.as_str());
        let ops = vec![uid, PatchOp::add("/status", status.status.clone())];
        let verb = Verb::Patch { ops, subresource: Some(Subresource::Status) };
        let write = Write { target: status.target.clone(), verb, why: "say how it stands".to_owned() };
        let (applied, answer) = self.write(0, &write, deadline, trail).await?;
        let kind = &status.target.kind;
        let dropped = self.process.pruned.check(kind, &status.status, &answer);
        if dropped.is_some() {
            self.process.metrics.status_pruned(kind.kind);
        }
        Ok((applied, dropped))
    }

    async fn write(
        &self,
        index: usize,
        write: &Write,
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<(Applied, Bytes), Failure> {
        let n = self.process.count.fetch_add(1, Ordering::Relaxed) + 1;
        let before = self.known_version(write);
        self.process.faults.before(n, write);
        let answer = match self.completed(index, write, deadline).await {
            Ok(write) => self.send(index, &write, deadline, trail).await,
            Err(failure) => Err(failure),
        };
        self.process.faults.after(n, write);
        let body = match answer {
            Ok(body) => body,
            // Gone already is what was wanted.
            Err(failure) if failure.reason == "NotFound" && matches!(write.verb, Verb::Delete { .. } | Verb::Evict) => {
                self.process.metrics.noop_write(self.controller);
                return Ok((Applied { resource_version: String::new(), changed: false }, Bytes::new()));
            }
            Err(failure) => return Err(failure),
        };
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        let version = answer.metadata.resource_version.clone();
        let changed = version.is_empty() || before.as_deref() != Some(version.as_str());
        if !changed {
            self.process.metrics.noop_write(self.controller);
        }
        trail.written.push(effect(write, answer));
        Ok((Applied { resource_version: version, changed }, body))
    }

    /// The version of the target, where a store has it.
    fn known_version(&self, write: &Write) -> Option<String> {
        let target = &write.target;
        let views = self.watching.iter().map(|watching| &watching.view);
        let mut same = views.filter(|v| v.kind().group == target.kind.group && v.kind().kind == target.kind.kind);
        same.find_map(|view| view.version_of(&target.namespace, &target.name))
    }

    /// Sends a write and gives the answer's body. Sends it again only where the server said that it did not look at it.
    async fn send(&self, index: usize, write: &Write, deadline: Instant, trail: &mut Trail) -> Result<Bytes, Failure> {
        if trail.not_before.is_some_and(|at| Instant::now() < at) {
            let message = "the API server is overloaded and asked to be left alone: this waits until then";
            return Err(failure::new(index, Class::Transient, "TooManyRequests", message));
        }
        let request = request::request(write, &self.manager)
            .map_err(|error| failure::new(index, Class::Blocked, "Invalid", error))?;
        let mut tries = 1;
        loop {
            let Ok(left) = self.process.fence.check() else {
                let message = "this process does not lead any more, or cannot be sure to; another one goes on";
                return Err(failure::new(index, Class::Fatal, "Fenced", message));
            };
            let until = deadline.min(Instant::now() + left.min(REQUEST));
            let (code, pause, body) = self.exchange(index, &request, until).await?;
            if code.is_success() {
                return Ok(body);
            }
            // An eviction is answered 429 as long as a disruption budget forbids it: that is no overload.
            let overloaded = code == StatusCode::TOO_MANY_REQUESTS && !matches!(write.verb, Verb::Evict);
            let asked = pause.filter(|_| overloaded);
            let pause = pause.unwrap_or(PAUSE * tries);
            if !overloaded || tries >= TRIES || pause > LONGEST_PAUSE || Instant::now() + pause >= deadline {
                trail.not_before = asked.map(|pause| Instant::now() + pause);
                return Err(failure::refused(index, &write.verb, code, &body));
            }
            sleep(pause).await;
            tries += 1;
        }
    }

    /// One request and its answer.
    async fn exchange(&self, index: usize, request: &Request<Vec<u8>>, until: Instant) -> Result<Answered, Failure> {
        let started = Instant::now();
        let exchange = async {
            let response =
                self.process.client.send(request.clone().map(Body::from)).await.map_err(|error| error.to_string())?;
            let (parts, body) = response.into_parts();
            let bytes = body::read(body, body::OBJECT).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((parts.status, retry_after(&parts.headers), bytes))
        };
        let answer = timeout_at(until, exchange).await;
        let code = match &answer {
            Ok(Ok((code, ..))) => Some(code.as_u16()),
            _ => None,
        };
        self.process.metrics.request_done(method(request), Metrics::HOST, code, started.elapsed());
        let contact = self.process.metrics.contact();
        match answer {
            Ok(Ok(answer)) => {
                contact.answered(answer.0);
                Ok(answer)
            }
            Ok(Err(error)) => {
                contact.unanswered(&error);
                Err(failure::new(index, Class::Transient, "Unreachable", error))
            }
            Err(_) => {
                contact.unanswered("a write timed out");
                let message = "no answer from the API server in time; whether the write was made is not known";
                Err(failure::new(index, Class::Transient, "Timeout", message))
            }
        }
    }
}

fn method(request: &Request<Vec<u8>>) -> &'static str {
    match *request.method() {
        http::Method::POST => "POST",
        http::Method::PATCH => "PATCH",
        http::Method::DELETE => "DELETE",
        _ => "GET",
    }
}

/// How long a server asks to be left alone, by its `Retry-After` in seconds, as far as that is heeded.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PATIENCE))
}

/// What the stores will show of a write.
fn effect(write: &Write, answer: Answer) -> Written {
    let removes = matches!(write.verb, Verb::Delete { .. } | Verb::Evict);
    // A deletion that a finalizer holds up is a new version of the object, others answer without one.
    let version = answer.metadata.resource_version;
    let marked = answer.metadata.deletion_timestamp.is_some() && !version.is_empty();
    let effect = if removes && !marked { Effect::Deleted } else { Effect::Version(version) };
    Written { target: write.target.clone(), effect, labels: answer.metadata.labels }
}
