//! Answers that several ask for at once: measured once, by the first that asks. What fails is asked again by the next, after
//! a moment in which the server is left alone. Not a cache of objects: what is older than the step asked for is asked anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;
use trimtab::Shares;

/// How many requests one server gets at once, of one namespace half of them. A slow server delays only those that wait for it.
pub(super) const AT_ONCE: usize = 16;
/// How many answers and servers are remembered at most, before those that are old are forgotten.
pub(super) const REMEMBERED: usize = 10_000;
/// How long an answer may be of use: the longest step is some minutes.
const KEPT: SignedDuration = SignedDuration::from_mins(10);
/// How long one is kept where there are too many.
const KEPT_OF_MANY: SignedDuration = SignedDuration::from_secs(30);
/// How often what is of no use any more is forgotten.
const SWEPT: SignedDuration = SignedDuration::from_mins(1);

type Cell<T> = Arc<OnceCell<T>>;

/// Answers by what was asked.
pub(super) struct Shared<T> {
    /// The turns in which all servers are asked.
    turns: Shares,
    answers: Mutex<Answers<T>>,
    servers: Mutex<HashMap<String, Shares>>,
}

struct Answers<T> {
    all: HashMap<String, (Timestamp, Cell<T>)>,
    swept: Timestamp,
}

impl<T> Answers<T> {
    fn sweep(&mut self, now: Timestamp) {
        let many = self.all.len() >= REMEMBERED;
        if many || now.duration_since(self.swept) >= SWEPT {
            let kept = if many { KEPT_OF_MANY } else { KEPT };
            self.all.retain(|_, (begun, _)| now.duration_since(*begun) < kept);
            self.swept = now;
        }
    }
}

impl<T: Clone> Shared<T> {
    /// Of questions that are asked in these turns.
    pub(super) fn in_turns(turns: Shares) -> Self {
        let answers = Answers { all: HashMap::new(), swept: Timestamp::UNIX_EPOCH };
        Self { turns, answers: Mutex::new(answers), servers: Mutex::default() }
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
        if let Some(known) = self.known(question, since) {
            return known;
        }
        // Before the measuring, which several wait for: nobody waits for a turn of another namespace.
        let _turn = self.turns.turn(namespace).await;
        let cell = self.cell(question, since);
        let answer = async {
            let _turn = self.of_server(server).turn(namespace).await;
            measure().await
        };
        cell.get_or_init(|| answer).await.clone()
    }

    fn cell(&self, question: &str, since: Timestamp) -> Cell<T> {
        let mut all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // The time that plans count by, as `since` does.
        let now = trimtab::clock::now();
        if let Some((begun, cell)) = all.all.get(question)
            && *begun >= since
        {
            return cell.clone();
        }
        all.sweep(now);
        let cell = Cell::default();
        all.all.insert(question.to_owned(), (now, cell.clone()));
        cell
    }

    /// The answer to a question, if it is there already.
    fn known(&self, question: &str, since: Timestamp) -> Option<T> {
        let all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, cell) = all.all.get(question).filter(|(begun, _)| *begun >= since)?;
        cell.get().cloned()
    }

    fn of_server(&self, server: &str) -> Shares {
        let mut all = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
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
        let (shared, count) = (Shared::<usize>::in_turns(Shares::of_work(64)), AtomicUsize::new(0));
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
        let (shared, since) = (Arc::new(Shared::<usize>::in_turns(Shares::of_work(1_000))), Timestamp::now());
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
}
