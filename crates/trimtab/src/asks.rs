//! Questions that decisions ask of slow parties, and the answers to them. A bounded number is under way at once; an
//! answer wakes its key and is kept for as long as the key's plans ask for it. Not a cache: a new id asks anew.

mod memory;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use kube::Client;
use tokio::task::AbortHandle;
use trimtab_plan::{Answer, Answers, Ask, Question};

use crate::Key;
use crate::answerer::{Answerer, Reader};
use crate::metrics::Metrics;
use crate::queue::{Lane, Queue, Trigger};
use crate::share::Shares;
use memory::{Memory, Weight};

/// The questions of one controller.
pub(crate) struct Asks<K> {
    reader: Reader,
    answerer: Option<Answerer>,
    queue: Arc<Queue<K>>,
    limit: Shares,
    memory: Memory,
    state: Mutex<HashMap<K, BTreeMap<String, Slot>>>,
}

enum Slot {
    Asked(AbortHandle),
    /// With what it takes of its namespace's share.
    Answered(Answer, #[expect(dead_code, reason = "it is given back with the answer")] Weight),
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Self::Asked(task) = self {
            task.abort();
        }
    }
}

impl<K: Key> Asks<K> {
    /// At most `limit` questions are under way at once, and of one namespace three quarters of them.
    pub(crate) fn new(client: Client, queue: Arc<Queue<K>>, limit: usize, metrics: Metrics) -> Self {
        let (reader, limit) = (Reader::new(client, metrics), Shares::of_waits(limit));
        Self { reader, answerer: None, queue, limit, memory: Memory::default(), state: Mutex::default() }
    }

    /// The same with an answerer of custom questions.
    pub(crate) fn answered_by(self, answerer: Option<Answerer>) -> Self {
        Self { answerer, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, BTreeMap<String, Slot>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers to a key's questions so far.
    pub(crate) fn answers(&self, key: &K) -> Answers {
        let answer = |(id, slot): (&String, &Slot)| match slot {
            Slot::Answered(answer, _) => Some((id.clone(), answer.clone())),
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

    async fn answer(&self, question: &Question) -> Answer {
        match (question, &self.answerer) {
            (Question::Get(object), _) => self.reader.get(object).await,
            (Question::Rehearse { write, keep }, _) => self.reader.rehearse(write, keep).await,
            (Question::Custom { name, input }, Some(answerer)) => {
                answerer.answer(self.reader.clone(), name, input.clone()).await
            }
            (Question::Custom { name, .. }, None) => Answer::Failed(format!("nothing answers the question {name:?}")),
        }
    }

    async fn ask(self: Arc<Self>, key: K, ask: Ask) {
        // The deadline includes the wait for a turn: to the controller it is all the same.
        let answer = async {
            let _turn = self.limit.turn(key.namespace()).await;
            // A panic harms its own question alone; what it says may hold what was read.
            let answer = AssertUnwindSafe(self.answer(&ask.question)).catch_unwind().await;
            answer.unwrap_or_else(|_| Answer::Failed("the answerer panicked".to_owned()))
        };
        let deadline = Duration::from_secs(u64::from(ask.timeout_seconds.max(1)));
        let answer = match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Answer::Failed(format!("no answer within {} s", ask.timeout_seconds)),
        };
        let (answer, weight) = self.memory.keep(key.namespace(), answer);
        {
            let mut state = self.lock();
            let Some(slot) = state.get_mut(&key).and_then(|slots| slots.get_mut(&ask.id)) else { return };
            *slot = Slot::Answered(answer, weight);
        }
        self.queue.wake(key, Trigger::Answered, Lane::Normal);
    }
}
