//! Questions that decisions ask of slow parties, and the answers to them. A bounded number is under way at once; an
//! answer wakes its key and is kept for as long as the key's plans ask for it, unless they write what it tells of. Not a cache: a
//! new id asks anew.

mod memory;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use kube::Client;
use tokio::task::AbortHandle;
use trimtab_plan::{Answer, Answers, Ask, ObjectRef, Question};

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
    state: Mutex<State<K>>,
}

struct State<K> {
    slots: HashMap<K, BTreeMap<String, Slot>>,
    /// The number of the next question.
    next: u64,
}

impl<K> Default for State<K> {
    fn default() -> Self {
        Self { slots: HashMap::new(), next: 0 }
    }
}

enum Slot {
    /// With the number of the question: one that is sent anew has the id of the one before, whose answer may still come.
    Asked(u64, AbortHandle),
    /// With what it takes of its namespace's share.
    Answered(Answer, #[expect(dead_code, reason = "it is given back with the answer")] Weight),
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Self::Asked(_, task) = self {
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

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers to a key's questions so far.
    pub(crate) fn answers(&self, key: &K) -> Answers {
        let answer = |(id, slot): (&String, &Slot)| match slot {
            Slot::Answered(answer, _) => Some((id.clone(), answer.clone())),
            Slot::Asked(..) => None,
        };
        self.lock().slots.get(key).map(|slots| slots.iter().filter_map(answer).collect()).unwrap_or_default()
    }

    /// Asks what a plan asks: new questions are sent, those no longer asked are dropped. Those about objects that are not as they
    /// were known are sent anew, also where they are under way: nobody knows which state the answer would tell.
    pub(crate) fn submit(self: &Arc<Self>, key: &K, asks: &[Ask], outdated: &[&ObjectRef]) {
        let holds = |ask: &Ask| !outdated.iter().any(|object| ask.question.tells_of(object));
        let mut state = self.lock();
        if asks.is_empty() {
            state.slots.remove(key);
            return;
        }
        let State { slots, next } = &mut *state;
        let slots = slots.entry(key.clone()).or_default();
        slots.retain(|id, _| asks.iter().any(|ask| ask.id == *id && holds(ask)));
        for ask in asks {
            if !slots.contains_key(&ask.id) {
                let task = tokio::spawn(self.clone().ask(key.clone(), ask.clone(), *next));
                slots.insert(ask.id.clone(), Slot::Asked(*next, task.abort_handle()));
                *next += 1;
            }
        }
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &K) {
        self.lock().slots.remove(key);
    }

    async fn answer(&self, question: &Question) -> Answer {
        match (question, &self.answerer) {
            (Question::Get(object), _) => self.reader.get(object).await,
            (Question::Rehearse { write, keep }, _) => self.reader.rehearse(write, keep).await,
            (Question::Custom { name, input, .. }, Some(answerer)) => {
                answerer.answer(self.reader.clone(), name, input.clone()).await
            }
            (Question::Custom { name, .. }, None) => Answer::Failed(format!("nothing answers the question {name:?}")),
        }
    }

    async fn ask(self: Arc<Self>, key: K, ask: Ask, number: u64) {
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
        if self.land(&key, &ask.id, number, answer) {
            self.queue.wake(key, Trigger::Answered, Lane::Normal);
        }
    }

    /// Notes the answer to the question of this number; whether it still counts. A task that was given up ends only where it waits.
    fn land(&self, key: &K, id: &str, number: u64, answer: Answer) -> bool {
        let (answer, weight) = self.memory.keep(key.namespace(), answer);
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(key).and_then(|slots| slots.get_mut(id)) else { return false };
        let is_own = matches!(slot, Slot::Asked(own, _) if *own == number);
        if is_own {
            *slot = Slot::Answered(answer, weight);
        }
        is_own
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use trimtab_plan::{About, Kind};

    use super::*;

    const WIDGET: Kind = Kind::namespaced("example.com", "v1", "Widget", "widgets");

    /// Waits until a question is answered, and gives the answer.
    async fn answer(asks: &Asks<ObjectRef>, key: &ObjectRef, id: &str) -> Answer {
        loop {
            if let Some(answer) = asks.answers(key).remove(id) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }

    fn question(id: &str, about: Option<About>) -> Ask {
        let question = Question::Custom { name: "count", input: json!(null), about };
        Ask { id: id.to_owned(), question, timeout_seconds: 1 }
    }

    fn about_web() -> About {
        About {
            group: "example.com".to_owned(),
            kind: "Widget".to_owned(),
            namespace: "n".to_owned(),
            name: "web".to_owned(),
        }
    }

    fn asks(answerer: Answerer) -> Arc<Asks<ObjectRef>> {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let (client, metrics) = (Client::try_from(config).unwrap(), Metrics::default());
        let queue = Arc::new(Queue::new("test", metrics.clone()));
        Arc::new(Asks::new(client, queue, 4, metrics).answered_by(Some(answerer)))
    }

    #[tokio::test]
    async fn an_answer_lands_only_where_its_own_question_is() {
        let asks = asks(Answerer::new(|_, _, _| std::future::pending()));
        let (key, widget) = (WIDGET.object("n", "key"), WIDGET.object("n", "web"));
        let scale = [question("scale", Some(about_web()))];
        let (before, after) = (Answer::Object(json!(2)), Answer::Object(json!(5)));
        // It is under way when what it tells of is written, and when its key is forgotten and comes again.
        asks.submit(&key, &scale, &[]);
        asks.submit(&key, &scale, &[&widget]);
        assert!(!asks.land(&key, "scale", 0, before.clone()), "of before the write");
        asks.forget(&key);
        assert!(!asks.land(&key, "scale", 1, before.clone()), "nobody asks");
        asks.submit(&key, &scale, &[]);
        assert!(!asks.land(&key, "scale", 1, before), "of before it was forgotten");
        assert_eq!(asks.answers(&key), Answers::new());
        assert!(asks.land(&key, "scale", 2, after.clone()), "the question itself was given up");
        assert_eq!(asks.answers(&key), Answers::from([("scale".to_owned(), after)]));
        assert!(!asks.land(&key, "scale", 2, Answer::NotFound), "it is answered");
    }

    #[tokio::test]
    async fn what_is_written_is_asked_about_anew() {
        let asked = Arc::new(AtomicUsize::new(0));
        let asks = asks(Answerer::new(move |_, _, _| {
            let asked = asked.clone();
            async move { Answer::Object(json!(asked.fetch_add(1, Ordering::Relaxed))) }
        }));
        let (key, widget) = (WIDGET.object("n", "key"), WIDGET.object("n", "web"));
        let (scale, metric) = (question("scale", Some(about_web())), question("metric", None));
        asks.submit(&key, std::slice::from_ref(&scale), &[]);
        assert_eq!(answer(&asks, &key, "scale").await, Answer::Object(json!(0)));
        let both = [scale, metric];
        asks.submit(&key, &both, &[&WIDGET.object("n", "other"), &WIDGET.object("m", "web")]);
        assert_eq!(answer(&asks, &key, "metric").await, Answer::Object(json!(1)));
        assert_eq!(answer(&asks, &key, "scale").await, Answer::Object(json!(0)), "it is kept");
        asks.submit(&key, &both, &[&widget]);
        assert!(!asks.answers(&key).contains_key("scale"), "it may be of before the write");
        assert_eq!(answer(&asks, &key, "scale").await, Answer::Object(json!(2)));
        assert_eq!(answer(&asks, &key, "metric").await, Answer::Object(json!(1)), "it tells of no object");
    }
}
