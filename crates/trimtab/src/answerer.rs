//! Answers to questions that the framework has none to: a controller's own, given beside its reconciles. They may read the
//! API server, run programs in containers (see `exec`), and ask what a write would come to; they write nothing to the API
//! server.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use trimtab_plan::{Answer, ObjectRef, Write};

use crate::apply::rehearsal;
use crate::metrics::Metrics;
use crate::{body, path};

/// The bytes of events that are read for one answer.
const MOST_EVENTS: usize = 4 << 20;

/// Reads single objects from the API server, and what programs in containers say; counted in the process's metrics. What it
/// reads is kept nowhere.
#[derive(Clone)]
pub struct Reader {
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that counts its requests in these metrics.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// The whole object, as the API server has it now. An answer of [`Answer::Failed`] holds nothing of it.
    pub async fn get(&self, object: &ObjectRef) -> Answer {
        self.get_as::<Value>(object).await.map_or_else(Into::into, Answer::Object)
    }

    /// The same, as far as a type names it: for objects of which little is kept.
    ///
    /// # Errors
    ///
    /// Why there is none. The text holds nothing of the object.
    pub async fn get_as<T: DeserializeOwned>(&self, object: &ObjectRef) -> Result<T, Unanswered> {
        self.read(&object.to_string(), path::object(object, ""), body::OBJECT).await
    }

    /// What the API server has at a path, for APIs that are not objects: discovery, metrics. Not more than `most` bytes of it.
    /// What the path is made of is encoded by [`Reader::encoded`]; a name that is not one segment of it is refused.
    ///
    /// # Errors
    ///
    /// Why there is nothing. The text holds nothing of what there is.
    pub async fn get_path<T: DeserializeOwned>(&self, path: &str, most: usize) -> Result<T, Unanswered> {
        self.read(path, path.to_owned(), most).await
    }

    /// Text as it stands in a path or a query.
    pub fn encoded(text: &str) -> String {
        let mut encoded = String::new();
        path::push_encoded(&mut encoded, text);
        encoded
    }

    /// Whether an answer of [`Answer::Failed`] says that the API server refused this process a permission.
    pub fn is_forbidden(why: &str) -> bool {
        why.contains(": 403 Forbidden: ")
    }

    /// What the API server would make of a write, as far as `keep` names it. It stores nothing.
    pub(crate) async fn rehearse(&self, write: &Write, keep: &[&'static str]) -> Answer {
        let what = format!("what would become of {}", write.target);
        let (method, request) = match rehearsal(write, "trimtab") {
            Ok((method, request)) => (method, request.map(Body::from)),
            Err(error) => return Answer::Failed(format!("{what} could not be read: {error}")),
        };
        let kept = |object: Value| {
            let places = keep.iter().filter_map(|place| Some(((*place).to_owned(), object.pointer(place)?.clone())));
            Answer::Object(Value::Object(places.collect()))
        };
        self.answered(&what, method, request, body::OBJECT).await.map_or_else(Into::into, kept)
    }

    async fn read<T: DeserializeOwned>(&self, what: &str, path: String, most: usize) -> Result<T, Unanswered> {
        let failed = |error: String| Unanswered::Failed(format!("{what} could not be read: {error}"));
        if !path::is_plain(&path) {
            return Err(failed(path::NOT_PLAIN.to_owned()));
        }
        let request = Request::get(path).body(Body::empty()).map_err(|error| failed(error.to_string()))?;
        self.answered(what, "GET", request, most).await
    }

    /// What happened at a path since a version, as the API server still knows it: the events of a watch that it ends by itself,
    /// `[{type, object}]`. The path says from when and for how long. [`Answer::NotFound`] says that it does not know any more, and
    /// [`Answer::Failed`] that it did not tell.
    pub async fn events(&self, path: &str) -> Answer {
        let failed = |error: String| Answer::Failed(format!("{path} could not be read: {error}"));
        if !path::is_plain(path) {
            return failed(path::NOT_PLAIN.to_owned());
        }
        let bytes = match Request::get(path).body(Body::empty()) {
            Ok(request) => self.fetched("GET", request, MOST_EVENTS).await,
            Err(error) => return failed(error.to_string()),
        };
        let (_, bytes) = match bytes {
            Ok(answer) => answer,
            Err(Unanswered::NotFound) => return Answer::NotFound,
            Err(Unanswered::Failed(error) | Unanswered::TooLong(error)) => return failed(error),
        };
        let events = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().collect::<Result<Vec<_>, _>>();
        let error = |events: &[Value]| {
            events.iter().find(|event| event["type"] == "ERROR").map(|event| event["object"].clone())
        };
        match events.map(|events| (error(&events), events)) {
            Ok((None, events)) => Answer::Object(Value::Array(events)),
            Ok((Some(error), _)) if error["code"] == StatusCode::GONE.as_u16() => Answer::NotFound,
            Ok((Some(error), _)) => {
                failed(error["message"].as_str().unwrap_or("an error without a message").to_owned())
            }
            Err(_) => failed("the answer is no list of events".to_owned()),
        }
    }

    async fn answered<T: DeserializeOwned>(
        &self,
        what: &str,
        method: &'static str,
        request: Request<Body>,
        most: usize,
    ) -> Result<T, Unanswered> {
        let failed = |error: String| Unanswered::Failed(format!("{what} could not be read: {error}"));
        let (code, bytes) = self.fetched(method, request, most).await.map_err(|missed| match missed {
            Unanswered::Failed(error) => failed(error),
            Unanswered::TooLong(error) => Unanswered::TooLong(format!("{what} could not be read: {error}")),
            Unanswered::NotFound => Unanswered::NotFound,
        })?;
        // What serde says of it may quote it.
        let misread = |error: serde_json::Error| match error.classify() {
            Category::Data => failed(format!("{code}: line {}: it is not as expected", error.line())),
            _ => failed(format!("{code}: {error}")),
        };
        serde_json::from_slice(&bytes).map_err(misread)
    }

    /// The bytes of a success, with its code. Why there are none does not say of what.
    async fn fetched(
        &self,
        method: &'static str,
        request: Request<Body>,
        most: usize,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let failed = |error: String| Unanswered::Failed(error);
        let counted = self.metrics.request_started(method);
        let response = self.client.send(request).await.map_err(|error| failed(error.to_string()))?;
        let code = response.status();
        counted.answered(code.as_u16());
        let most = if code.is_success() { most } else { body::REFUSAL };
        let bytes = body::read(response.into_body(), most).await;
        if matches!(code, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(Unanswered::NotFound);
        }
        let bytes = bytes.map_err(|error| match error {
            body::Unread::TooLong(_) => Unanswered::TooLong(error.to_string()),
            body::Unread::Broken(_) => failed(error.to_string()),
        })?;
        if !code.is_success() {
            return Err(failed(match serde_json::from_slice::<Refusal>(&bytes) {
                Ok(refusal) => format!("{code}: {}", refusal.message),
                Err(_) => format!("{code}: the answer is no Status"),
            }));
        }
        Ok((code, bytes))
    }
}

/// What is read of a refusal.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// There is nothing of that name, or nothing of that version any more.
    NotFound,
    /// It could not be read, or is not what was expected.
    Failed(String),
    /// It has more than may be read.
    TooLong(String),
}

impl From<Unanswered> for Answer {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotFound => Self::NotFound,
            Unanswered::Failed(why) | Unanswered::TooLong(why) => Self::Failed(why),
        }
    }
}

type Function = dyn Fn(Reader, &'static str, Value) -> BoxFuture<'static, Answer> + Send + Sync;

/// Answers a controller's custom questions; cheap to clone.
///
/// # Assumptions
/// It runs in the pool of asks: within the question's deadline, so many at once as [`crate::ControllerOptions::asks`] says,
/// on the threads of the reconciles, so what takes long belongs on one of its own. What it answers is kept for as long as
/// the question is asked and is part of snapshots: it must hold nothing secret.
///
/// # Errors
/// There are none to return: [`Answer::Failed`] says why. A panic is such an answer.
#[derive(Clone)]
pub struct Answerer(Arc<Function>);

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer").finish_non_exhaustive()
    }
}

impl Answerer {
    /// An answerer that calls this function with a reader, and the question's name and input.
    pub fn new<F>(answer: impl Fn(Reader, &'static str, Value) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self(Arc::new(move |reader, name, input| Box::pin(answer(reader, name, input))))
    }

    /// The answer to a question.
    pub async fn answer(&self, reader: Reader, name: &'static str, input: Value) -> Answer {
        (self.0)(reader, name, input).await
    }
}
