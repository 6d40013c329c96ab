//! Answers that several ask for at once: measured once, by the first that asks. What fails is asked again by the next, after
//! a moment in which the server is left alone. Not a cache of objects: what is older than the step asked for is asked anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use trimtab::Shares;

/// How many requests one server gets at once, of one namespace half of them. A slow server delays only those that wait for it.
pub(super) const AT_ONCE: usize = 16;
/// How many servers are remembered at most, before those that nobody asks are forgotten.
pub(super) const SERVERS: usize = 10_000;
/// How much of what was answered for one namespace is remembered: answers, and samples in them.
pub(super) const OF_A_NAMESPACE: usize = 50_000;
/// How long an answer may be of use: the longest step is some minutes.
const KEPT: SignedDuration = SignedDuration::from_mins(10);

type Cell<T> = Arc<OnceCell<T>>;
/// What was asked, as a digest: it may be long, and others must not come by an answer that is not theirs.
type Key = [u8; 32];

/// Answers by what was asked.
pub(super) struct Shared<T> {
    /// The turns in which all servers are asked.
    turns: Shares,
    /// How many samples an answer has.
    samples: fn(&T) -> usize,
    answers: Mutex<Answers<T>>,
    servers: Mutex<HashMap<String, Shares>>,
}

struct Answers<T> {
    all: HashMap<Key, Remembered<T>>,
    namespaces: HashMap<Box<str>, Own>,
    swept: Timestamp,
}

/// What is remembered of a namespace.
#[derive(Default)]
struct Own {
    /// The oldest first; what was asked anew stands here twice.
    order: VecDeque<(Timestamp, Key)>,
    /// How much it is.
    total: usize,
}

struct Remembered<T> {
    begun: Timestamp,
    cell: Cell<T>,
    /// Whose it is: who asked first.
    namespace: Box<str>,
    weight: usize,
}

impl<T> Answers<T> {
    /// Forgets the oldest of a namespace, as long as there is more than it may have or the oldest is of no use any more.
    fn forget(&mut self, namespace: &str, now: Timestamp) {
        let Some(Own { order, total }) = self.namespaces.get_mut(namespace) else { return };
        while let Some((begun, key)) = order.front()
            && (*total > OF_A_NAMESPACE || order.len() > OF_A_NAMESPACE || now.duration_since(*begun) >= KEPT)
        {
            // It may have been asked anew since.
            if self.all.get(key).is_some_and(|known| known.begun == *begun && *known.namespace == *namespace) {
                *total = total.saturating_sub(self.all.remove(key).map_or(0, |known| known.weight));
            }
            order.pop_front();
        }
        if order.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        if now.duration_since(self.swept) >= KEPT {
            self.swept = now;
            let all: Vec<Box<str>> = self.namespaces.keys().cloned().collect();
            all.iter().for_each(|namespace| self.forget(namespace, now));
        }
    }

    fn insert(&mut self, key: Key, namespace: &str, now: Timestamp) -> Cell<T> {
        let cell = Cell::default();
        let remembered = Remembered { begun: now, cell: cell.clone(), namespace: namespace.into(), weight: 1 };
        if let Some(old) = self.all.insert(key, remembered)
            && let Some(own) = self.namespaces.get_mut(&old.namespace)
        {
            own.total = own.total.saturating_sub(old.weight);
        }
        let own = self.namespaces.entry(namespace.into()).or_default();
        own.order.push_back((now, key));
        own.total += 1;
        self.forget(namespace, now);
        self.sweep(now);
        cell
    }

    fn weigh(&mut self, key: &Key, cell: &Cell<T>, samples: usize, now: Timestamp) {
        let Some(known) = self.all.get_mut(key).filter(|known| Arc::ptr_eq(&known.cell, cell) && known.weight == 1)
        else {
            return;
        };
        known.weight += samples;
        let namespace = known.namespace.clone();
        if let Some(own) = self.namespaces.get_mut(&namespace) {
            own.total += samples;
        }
        self.forget(&namespace, now);
    }
}

impl<T: Clone> Shared<T> {
    /// Of questions that are asked in these turns; `samples` says how much an answer takes.
    pub(super) fn in_turns(turns: Shares, samples: fn(&T) -> usize) -> Self {
        let answers = Answers { all: HashMap::new(), namespaces: HashMap::new(), swept: Timestamp::UNIX_EPOCH };
        Self { turns, samples, answers: Mutex::new(answers), servers: Mutex::default() }
    }

    /// The answer to a question: one that was begun at `since` or later, or a new one, for which `server` is asked, in the turn
    /// of a namespace.
    pub(super) async fn get<F: Future<Output = T>>(
        &self,
        question: &str,
        since: Timestamp,
        (server, namespace): (&str, &str),
        measure: impl FnOnce() -> F,
    ) -> T {
        let key: Key = Sha256::digest(question).into();
        if let Some(known) = self.known(&key, since) {
            return known;
        }
        // Before the measuring, which several wait for: nobody waits for a turn of another namespace.
        let _turns = (self.turns.turn(namespace).await, self.of_server(server).turn(namespace).await);
        if let Some(known) = self.known(&key, since) {
            return known;
        }
        let cell = self.cell(key, since, namespace);
        let answer = cell.get_or_init(measure).await.clone();
        self.answers().weigh(&key, &cell, (self.samples)(&answer), trimtab::clock::now());
        answer
    }

    fn answers(&self) -> MutexGuard<'_, Answers<T>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, key: Key, since: Timestamp, namespace: &str) -> Cell<T> {
        let mut all = self.answers();
        // The time that plans count by, as `since` does.
        let now = trimtab::clock::now();
        match all.all.get(&key) {
            Some(known) if known.begun >= since => known.cell.clone(),
            _ => all.insert(key, namespace, now),
        }
    }

    /// The answer to a question, if it is there already.
    fn known(&self, key: &Key, since: Timestamp) -> Option<T> {
        let all = self.answers();
        all.all.get(key).filter(|known| known.begun >= since)?.cell.get().cloned()
    }

    fn of_server(&self, server: &str) -> Shares {
        let mut all = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SERVERS {
            all.retain(|_, turns| !turns.is_idle());
        }
        all.entry(server.to_owned()).or_insert_with(|| Shares::of_work(AT_ONCE)).clone()
    }
}

/// How long one request to a server of metrics may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_several_ask_is_measured_once_in_a_step() {
        let (shared, count) = (Shared::<usize>::in_turns(Shares::of_work(64), |_| 0), AtomicUsize::new(0));
        let measure = || async { count.fetch_add(1, Ordering::SeqCst) };
        let since = Timestamp::now();
        let both =
            tokio::join!(shared.get("q", since, ("s", "n"), measure), shared.get("q", since, ("s", "n"), measure),);
        assert_eq!(both, (0, 0));
        let later = Timestamp::now().checked_add(SignedDuration::from_secs(1)).unwrap();
        assert_eq!(shared.get("q", later, ("s", "n"), measure).await, 1);
        assert_eq!(shared.get("other", since, ("s", "n"), measure).await, 2);
    }

    #[tokio::test]
    async fn a_slow_server_delays_only_its_own_namespace() {
        let (shared, since) = (Arc::new(Shared::<usize>::in_turns(Shares::of_work(1_000), |_| 0)), Timestamp::now());
        let mut crowd = tokio::task::JoinSet::new();
        for number in 0..AT_ONCE * 4 {
            let shared = shared.clone();
            crowd.spawn(async move {
                let never = || std::future::pending();
                shared.get(&format!("slow{number}"), since, ("s", "hostile"), never).await
            });
        }
        tokio::task::yield_now().await;
        let patience = Duration::from_secs(20);
        let same = tokio::time::timeout(patience, shared.get("quick", since, ("s", "calm"), || async { 1 })).await;
        assert_eq!(same, Ok(1), "the same server, another namespace");
        let other = tokio::time::timeout(patience, shared.get("other", since, ("t", "hostile"), || async { 2 })).await;
        assert_eq!(other, Ok(2), "another server");
        let own = shared.get("late", since, ("s", "hostile"), || async { 3 });
        assert!(tokio::time::timeout(Duration::from_millis(50), own).await.is_err(), "it waits for its own");
    }

    #[tokio::test]
    async fn nobody_waits_behind_another_namespace_for_what_both_ask() {
        let (shared, since) = (Arc::new(Shared::<usize>::in_turns(Shares::of_work(1_000), |_| 0)), Timestamp::now());
        let ask = |question: String| {
            let shared = shared.clone();
            async move { shared.get(&question, since, ("s", "hostile"), std::future::pending).await }
        };
        let mut crowd = tokio::task::JoinSet::new();
        (0..AT_ONCE).for_each(|number| _ = crowd.spawn(ask(format!("slow{number}"))));
        tokio::task::yield_now().await;
        // It has no turn left.
        crowd.spawn(ask("both".to_owned()));
        tokio::task::yield_now().await;
        let calm = shared.get("both", since, ("s", "calm"), || async { 1 });
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), calm).await, Ok(1));
    }

    #[tokio::test]
    async fn of_a_namespace_so_much_is_remembered_and_the_oldest_goes() {
        let shared = Shared::<usize>::in_turns(Shares::of_work(64), |samples| *samples);
        let (since, third) = (Timestamp::now(), OF_A_NAMESPACE / 3);
        let ask = async |question: &str, namespace: &str, is: usize| {
            shared.get(question, since, ("s", namespace), || async move { is }).await
        };
        ask("calm", "calm", third).await;
        for number in 0..4 {
            ask(&format!("q{number}"), "hostile", third).await;
        }
        assert_eq!(ask("q3", "hostile", 7).await, third, "the newest is there");
        assert_eq!(ask("q0", "hostile", 7).await, 7, "the oldest has to be asked anew");
        assert_eq!(ask("calm", "calm", 7).await, third, "another namespace has its own");
        for number in 0..2 * OF_A_NAMESPACE {
            ask(&number.to_string(), "hostile", 0).await;
        }
        let all = shared.answers();
        assert!(all.all.len() <= OF_A_NAMESPACE + 1, "{}", all.all.len());
        assert!(all.namespaces["hostile"].order.len() <= OF_A_NAMESPACE + 1);
    }
}
