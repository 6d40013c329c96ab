//! Questions that decisions ask of slow parties, and the answers to them. A bounded number is under way at once; an
//! answer wakes its key and is kept for as long as the key's plans ask for it. Not a cache: a new id asks anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use trimtab_plan::{Answer, Answers, Ask, ObjectRef, Question};

use crate::Key;
use crate::metrics::Metrics;
use crate::path;
use crate::queue::{Lane, Queue, Trigger};

/// The questions of one controller.
pub(crate) struct Asks<K> {
    client: Client,
    queue: Arc<Queue<K>>,
    limit: Arc<Semaphore>,
    metrics: Metrics,
    state: Mutex<HashMap<K, BTreeMap<String, Slot>>>,
}

enum Slot {
    Asked(AbortHandle),
    Answered(Answer),
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Self::Asked(task) = self {
            task.abort();
        }
    }
}

impl<K: Key> Asks<K> {
    pub(crate) fn new(client: Client, queue: Arc<Queue<K>>, limit: usize, metrics: Metrics) -> Self {
        Self { client, queue, limit: Arc::new(Semaphore::new(limit.max(1))), metrics, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, BTreeMap<String, Slot>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers to a key's questions so far.
    pub(crate) fn answers(&self, key: &K) -> Answers {
        let answer = |(id, slot): (&String, &Slot)| match slot {
            Slot::Answered(answer) => Some((id.clone(), answer.clone())),
            Slot::Asked(_) => None,
        };
        self.lock().get(key).map(|slots| slots.iter().filter_map(answer).collect()).unwrap_or_default()
    }

    /// Asks what a plan asks: new questions are sent, those no longer asked are dropped.
    pub(crate) fn submit(self: &Arc<Self>, key: &K, asks: &[Ask]) {
        let mut state = self.lock();
        if asks.is_empty() {
            state.remove(key);
            return;
        }
        let slots = state.entry(key.clone()).or_default();
        slots.retain(|id, _| asks.iter().any(|ask| ask.id == *id));
        for ask in asks {
            if !slots.contains_key(&ask.id) {
                let task = tokio::spawn(self.clone().ask(key.clone(), ask.clone()));
                slots.insert(ask.id.clone(), Slot::Asked(task.abort_handle()));
            }
        }
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    async fn ask(self: Arc<Self>, key: K, ask: Ask) {
        // The deadline includes the wait for a turn: to the controller it is all the same.
        let answer = async {
            let _turn = self.limit.acquire().await;
            match &ask.question {
                Question::Get(object) => get(&self.client, object, &self.metrics).await,
            }
        };
        let deadline = Duration::from_secs(u64::from(ask.timeout_seconds.max(1)));
        let answer = match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Answer::Failed(format!("no answer within {} s", ask.timeout_seconds)),
        };
        {
            let mut state = self.lock();
            let Some(slot) = state.get_mut(&key).and_then(|slots| slots.get_mut(&ask.id)) else { return };
            *slot = Slot::Answered(answer);
        }
        self.queue.wake(key, Trigger::Answered, Lane::Normal);
    }
}

async fn get(client: &Client, object: &ObjectRef, metrics: &Metrics) -> Answer {
    let failed = |error: String| Answer::Failed(format!("{object} could not be read: {error}"));
    let request = match Request::get(path::object(object, "")).body(Body::empty()) {
        Ok(request) => request,
        Err(error) => return failed(error.to_string()),
    };
    let counted = metrics.request_started("GET");
    let response = match client.send(request).await {
        Ok(response) => {
            counted.answered(response.status().as_u16());
            response
        }
        Err(error) => return failed(error.to_string()),
    };
    let code = response.status();
    let bytes = match response.into_body().collect_bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return failed(error.to_string()),
    };
    if code == http::StatusCode::NOT_FOUND {
        return Answer::NotFound;
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) if code.is_success() => Answer::Object(value),
        Ok(value) => failed(format!("{code}: {}", value["message"].as_str().unwrap_or_default())),
        Err(error) => failed(format!("{code}: {error}")),
    }
}
