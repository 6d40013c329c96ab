//! Answers that several ask for at once: measured once, by the first that asks. What fails is asked again by the next, after
//! a moment in which the server is left alone. Not a cache of objects: what is older than the step asked for is asked anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OnceCell, Semaphore};

/// How many requests one server gets at once. A slow server delays only those that wait for it.
const AT_ONCE: usize = 16;
/// How many answers and servers are remembered at most, before those that are old are forgotten.
const REMEMBERED: usize = 10_000;
/// How long an answer may be of use.
const KEPT: SignedDuration = SignedDuration::from_mins(10);

type Cell<T> = Arc<OnceCell<T>>;

/// Answers by what was asked.
pub(super) struct Shared<T> {
    answers: Mutex<HashMap<String, (Timestamp, Cell<T>)>>,
    servers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { answers: Mutex::default(), servers: Mutex::default() }
    }
}

impl<T: Clone> Shared<T> {
    /// The answer to a question: one that was begun at `since` or later, or a new one, for which `server` is asked.
    pub(super) async fn get<F: Future<Output = T>>(
        &self,
        question: &str,
        since: Timestamp,
        server: &str,
        measure: impl FnOnce() -> F,
    ) -> T {
        let cell = self.cell(question, since);
        let answer = async {
            let turns = self.turns(server);
            // The semaphore is never closed.
            let _turn = turns.acquire().await;
            measure().await
        };
        cell.get_or_init(|| answer).await.clone()
    }

    fn cell(&self, question: &str, since: Timestamp) -> Cell<T> {
        let mut all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // The time that plans count by, as `since` does.
        let now = trimtab::clock::now();
        if let Some((begun, cell)) = all.get(question)
            && *begun >= since
        {
            return cell.clone();
        }
        if all.len() >= REMEMBERED {
            all.retain(|_, (begun, _)| now.duration_since(*begun) < KEPT);
        }
        let cell = Cell::default();
        all.insert(question.to_owned(), (now, cell.clone()));
        cell
    }

    fn turns(&self, server: &str) -> Arc<Semaphore> {
        let mut all = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        all.entry(server.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
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
        let (shared, count) = (Shared::<usize>::default(), AtomicUsize::new(0));
        let measure = || async { count.fetch_add(1, Ordering::SeqCst) };
        let since = Timestamp::now();
        let both = tokio::join!(shared.get("q", since, "s", measure), shared.get("q", since, "s", measure),);
        assert_eq!(both, (0, 0));
        let later = Timestamp::now().checked_add(SignedDuration::from_secs(1)).unwrap();
        assert_eq!(shared.get("q", later, "s", measure).await, 1);
        assert_eq!(shared.get("other", since, "s", measure).await, 2);
    }
}
