//! Answers that several ask for at once: measured once, by the first that asks. What fails is asked again by the next, after
//! a moment in which the server is left alone. Not a cache of objects: what is older than the step asked for is asked anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use trimtab::Shares;

use crate::memory::{Bounds, Memory};

/// How many requests one server gets at once, of one namespace half of them. A slow server delays only those that wait for it.
pub(super) const AT_ONCE: usize = 16;
/// How many servers are remembered at most, before those that nobody asks are forgotten.
pub(super) const SERVERS: usize = 10_000;
/// How long an answer may be of use: the longest step is some minutes.
const KEPT: Duration = Duration::from_mins(10);
/// What is taken by an answer that says nothing: its key, and its places in what is remembered.
const EACH: usize = 512;

/// How many bytes of lists of what pods use are remembered for one namespace, and for all.
pub(super) const LISTS_OF_ONE: usize = 12 << 20;
pub(super) const LISTS_OF_ALL: usize = 48 << 20;
pub(super) const LISTS: Bounds = Bounds { of_a_namespace: LISTS_OF_ONE, all: LISTS_OF_ALL, unused: Some(KEPT) };
/// How many bytes of what metrics are is remembered for one namespace, and for all.
pub(super) const KNOWN_OF_ONE: usize = 4 << 20;
pub(super) const KNOWN_OF_ALL: usize = 16 << 20;
pub(super) const OBSERVATIONS: Bounds = Bounds { of_a_namespace: KNOWN_OF_ONE, all: KNOWN_OF_ALL, unused: Some(KEPT) };

type Cell<T> = Arc<OnceCell<T>>;
/// What was asked, as a digest: it may be long, and others must not come by an answer that is not theirs.
type Key = [u8; 32];

/// Answers by what was asked.
pub(super) struct Shared<T> {
    /// The turns in which all servers are asked.
    turns: Shares,
    /// How many bytes an answer takes.
    weight: fn(&T) -> usize,
    answers: Mutex<Answers<T>>,
    servers: Mutex<HashMap<String, Shares>>,
}

struct Answers<T> {
    all: Memory<Key, Remembered<T>>,
    /// Whose each is: who asked first.
    whose: HashMap<Key, Box<str>>,
}

struct Remembered<T> {
    begun: Timestamp,
    cell: Cell<T>,
    is_weighed: bool,
}

impl<T> Answers<T> {
    fn get(&self, key: &Key) -> Option<&Remembered<T>> {
        self.all.get(self.whose.get(key)?, key)
    }

    /// Remembers something, whoever it was of before.
    fn put(&mut self, key: Key, namespace: &str, remembered: Remembered<T>, weight: usize) {
        if let Some(old) = self.whose.insert(key, namespace.into()).filter(|old| **old != *namespace) {
            self.all.remove(&old, &key);
        }
        for (_, forgotten, _) in self.all.put(Instant::now(), namespace, key, remembered, EACH + weight) {
            self.whose.remove(&forgotten);
        }
    }

    fn begin(&mut self, key: Key, namespace: &str, now: Timestamp) -> Cell<T> {
        let cell = Cell::default();
        self.put(key, namespace, Remembered { begun: now, cell: cell.clone(), is_weighed: false }, 0);
        cell
    }

    fn weigh(&mut self, key: Key, cell: &Cell<T>, weight: usize) {
        let same = |known: &&Remembered<T>| Arc::ptr_eq(&known.cell, cell) && !known.is_weighed;
        let Some(begun) = self.get(&key).filter(same).map(|known| known.begun) else { return };
        let Some(namespace) = self.whose.get(&key).cloned() else { return };
        self.put(key, &namespace, Remembered { begun, cell: cell.clone(), is_weighed: true }, weight);
    }
}

impl<T: Clone> Shared<T> {
    /// Of questions that are asked in these turns; `weight` says how many bytes an answer takes.
    pub(super) fn in_turns(turns: Shares, bounds: Bounds, weight: fn(&T) -> usize) -> Self {
        let answers = Answers { all: Memory::new(bounds), whose: HashMap::new() };
        Self { turns, weight, answers: Mutex::new(answers), servers: Mutex::default() }
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
        self.answers().weigh(key, &cell, (self.weight)(&answer));
        answer
    }

    fn answers(&self) -> MutexGuard<'_, Answers<T>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, key: Key, since: Timestamp, namespace: &str) -> Cell<T> {
        let mut all = self.answers();
        // The time that plans count by, as `since` does.
        let now = trimtab::clock::now();
        match all.get(&key) {
            Some(known) if known.begun >= since => known.cell.clone(),
            _ => all.begin(key, namespace, now),
        }
    }

    /// The answer to a question, if it is there already.
    fn known(&self, key: &Key, since: Timestamp) -> Option<T> {
        let all = self.answers();
        all.get(key).filter(|known| known.begun >= since)?.cell.get().cloned()
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

    use jiff::SignedDuration;

    use super::*;

    #[tokio::test]
    async fn what_several_ask_is_measured_once_in_a_step() {
        let (shared, count) =
            (Shared::<usize>::in_turns(Shares::of_work(64), OBSERVATIONS, |_| 0), AtomicUsize::new(0));
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
        let (shared, since) =
            (Arc::new(Shared::<usize>::in_turns(Shares::of_work(1_000), OBSERVATIONS, |_| 0)), Timestamp::now());
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
        let (shared, since) =
            (Arc::new(Shared::<usize>::in_turns(Shares::of_work(1_000), OBSERVATIONS, |_| 0)), Timestamp::now());
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

    /// What is remembered, in bytes, once so many namespaces have asked so many questions with answers of so many bytes.
    async fn check(namespaces: usize, questions: usize, bytes: usize) -> usize {
        let shared = Shared::<usize>::in_turns(Shares::of_work(64), OBSERVATIONS, |bytes| *bytes);
        let since = Timestamp::now();
        for namespace in 0..namespaces {
            for number in 0..questions {
                let (question, namespace) = (format!("{namespace}/{number}"), format!("ns{namespace}"));
                shared.get(&question, since, ("s", &namespace), || async move { bytes }).await;
            }
        }
        let all = shared.answers();
        let kept = all.whose.iter().filter(|(key, namespace)| all.all.get(namespace, *key).is_some()).count();
        assert_eq!(kept, all.whose.len(), "what is forgotten is nobody's");
        kept * (EACH + bytes)
    }

    #[tokio::test]
    async fn what_is_remembered_of_metrics_is_bounded_in_bytes_for_a_namespace_and_for_all() {
        // Of few that are long, and of many that say nothing.
        for (questions, bytes) in [(20, 1 << 20), (2 * OBSERVATIONS.of_a_namespace / EACH, 0)] {
            let kept = check(1, questions, bytes).await;
            assert!(kept <= OBSERVATIONS.of_a_namespace && kept > OBSERVATIONS.of_a_namespace / 2, "{kept}");
        }
        let kept = check(20, 4, 1 << 20).await;
        assert!(kept <= OBSERVATIONS.all && kept > OBSERVATIONS.all / 2, "{kept}");
        assert_eq!(check(1, 3, OBSERVATIONS.of_a_namespace).await, 0, "one that is longer is not remembered");
    }

    #[tokio::test]
    async fn the_oldest_of_a_namespace_is_asked_anew() {
        let shared = Shared::<usize>::in_turns(Shares::of_work(64), OBSERVATIONS, |bytes| *bytes);
        let (since, third) = (Timestamp::now(), OBSERVATIONS.of_a_namespace / 3);
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
        // What another asks anew is that one's then.
        let later = Timestamp::now().checked_add(SignedDuration::from_secs(1)).unwrap();
        assert_eq!(shared.get("calm", later, ("s", "hostile"), || async { 8 }).await, 8);
        assert!(shared.answers().all.of("calm").next().is_none());
    }
}
