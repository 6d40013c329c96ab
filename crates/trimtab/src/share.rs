//! Shares: how much of what all namespaces use one of them may have at once. It is never the whole, so that what one namespace
//! does delays only itself. Not what is shared, and no deadline: whoever waits says for how long.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A namespace may have so many times what is then still free: three quarters of the whole where nobody else wants any.
pub(crate) const MOST_OF_IT: usize = 3;
/// The same where what is shared is computed with: half of the whole.
pub(crate) const HALF_OF_IT: usize = 1;

/// Whether a namespace that holds `held` may have one more of `free`. The more namespaces want some, the less each may have,
/// and the last one is for a namespace that has none.
fn may_take(held: usize, free: usize, greed: usize) -> bool {
    free > 0 && (held == 0 || (free > 1 && held < free.saturating_mul(greed)))
}

/// How much of something namespaces have at a time.
pub struct Held {
    free: usize,
    greed: usize,
    by_namespace: HashMap<String, usize>,
}

impl Held {
    /// Nothing of so much, of which a namespace may have `greed` times what is then still free.
    pub(crate) fn none_of(all: usize, greed: usize) -> Self {
        Self { free: all, greed, by_namespace: HashMap::new() }
    }

    /// Nothing of so much, of which one namespace has at most half: for what holds memory or a connection.
    pub fn half_of(all: usize) -> Self {
        Self::none_of(all, HALF_OF_IT)
    }

    /// Whether the share of a namespace allows one more.
    pub fn may_take(&self, namespace: &str) -> bool {
        may_take(self.by_namespace.get(namespace).copied().unwrap_or(0), self.free, self.greed)
    }

    /// Counts one more.
    pub fn take(&mut self, namespace: &str) {
        self.free = self.free.saturating_sub(1);
        *self.by_namespace.entry(namespace.to_owned()).or_default() += 1;
    }

    /// Counts one less. Does nothing for a namespace that has nothing.
    pub fn give_back(&mut self, namespace: &str) {
        let Some(held) = self.by_namespace.get_mut(namespace) else { return };
        *held -= 1;
        self.free += 1;
        if *held == 0 {
            self.by_namespace.remove(namespace);
        }
    }
}

/// A number of turns that namespaces share; cheap to clone. Namespaces that wait are served in turn, and inside of one who came
/// first is served first.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    all: usize,
    state: Mutex<State>,
}

struct State {
    held: Held,
    /// Namespaces in which somebody waits.
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<oneshot::Sender<Turn>>>,
}

/// One of the turns; it is given back when this goes.
pub struct Turn {
    shares: Option<Arc<Inner>>,
    namespace: String,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("free", &self.free).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Shares {
    /// So many turns, of which one namespace has at most three quarters: for what mostly waits.
    pub fn of_waits(turns: usize) -> Self {
        Self::new(turns, MOST_OF_IT)
    }

    /// So many turns, of which one namespace has at most half: for what computes, or holds memory.
    pub fn of_work(turns: usize) -> Self {
        Self::new(turns, HALF_OF_IT)
    }

    fn new(turns: usize, greed: usize) -> Self {
        let all = turns.max(1);
        let state = State { held: Held::none_of(all, greed), order: VecDeque::new(), waiting: HashMap::new() };
        Self(Arc::new(Inner { all, state: Mutex::new(state) }))
    }

    /// Whether nobody has a turn.
    pub fn is_idle(&self) -> bool {
        self.0.lock().held.free == self.0.all
    }

    /// A turn for a namespace, as soon as its share allows one.
    pub async fn turn(&self, namespace: &str) -> Turn {
        let receive = {
            let mut state = self.0.lock();
            if !state.waiting.contains_key(namespace) && state.held.may_take(namespace) {
                return state.take(&self.0, namespace);
            }
            state.wait(namespace)
        };
        match receive.await {
            Ok(turn) => turn,
            // Senders live in the state, which this holds.
            Err(_) => Turn { shares: None, namespace: namespace.to_owned() },
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, shares: &Arc<Inner>, namespace: &str) -> Turn {
        self.held.take(namespace);
        Turn { shares: Some(shares.clone()), namespace: namespace.to_owned() }
    }

    fn wait(&mut self, namespace: &str) -> oneshot::Receiver<Turn> {
        let (send, receive) = oneshot::channel();
        let waiting = self.waiting.entry(namespace.to_owned()).or_insert_with(|| {
            self.order.push_back(namespace.to_owned());
            VecDeque::new()
        });
        // Those who gave up waiting are forgotten now and then, so that there are never many more than wait.
        if waiting.len() >= 64 && waiting.len().is_power_of_two() {
            waiting.retain(|waits| !waits.is_closed());
        }
        waiting.push_back(send);
        receive
    }

    /// Hands out what is free.
    fn grant(&mut self, shares: &Arc<Inner>) {
        while let Some(at) = self.order.iter().position(|namespace| self.held.may_take(namespace)) {
            let Some(namespace) = self.order.remove(at) else { return };
            let next = self.waiting.get_mut(&namespace).and_then(VecDeque::pop_front);
            if self.waiting.get(&namespace).is_some_and(|waiting| !waiting.is_empty()) {
                self.order.push_back(namespace.clone());
            } else {
                self.waiting.remove(&namespace);
            }
            let Some(next) = next else { continue };
            let turn = self.take(shares, &namespace);
            if let Err(mut unwanted) = next.send(turn) {
                // It is given back here: its own end would wait for the lock that is held.
                unwanted.shares = None;
                self.held.give_back(&namespace);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shares) = self.shares.take() else { return };
        let mut state = shares.lock();
        state.held.give_back(&self.namespace);
        state.grant(&shares);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    /// How many of `turns` each of these namespaces has once all of them want as many as they can get.
    fn shared(turns: usize, greed: usize, namespaces: &[&str]) -> Vec<usize> {
        let shares = Shares::new(turns, greed);
        let mut held: Vec<Vec<Turn>> = namespaces.iter().map(|_| vec![]).collect();
        for (namespace, held) in namespaces.iter().zip(&mut held) {
            while let Some(turn) = shares.turn(namespace).now_or_never() {
                held.push(turn);
            }
        }
        held.iter().map(Vec::len).collect()
    }

    #[test]
    fn nobody_has_the_whole() {
        assert_eq!(shared(32, MOST_OF_IT, &["a"]), [24]);
        assert_eq!(shared(8, MOST_OF_IT, &["a", "b"]), [6, 1]);
        assert_eq!(shared(4, HALF_OF_IT, &["a", "b", "c"]), [2, 1, 1]);
        assert_eq!(shared(2, MOST_OF_IT, &["a", "b"]), [1, 1]);
        assert_eq!(shared(1, MOST_OF_IT, &["a", "b"]), [1, 0]);
        assert_eq!(shared(0, MOST_OF_IT, &["a"]), [1], "of nothing one is made");
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_who_gave_up_is_not() {
        let shares = Shares::of_work(2);
        let (first, second) = (shares.turn("a").await, shares.turn("b").await);
        let order = Arc::new(Mutex::new(vec![]));
        let mut tasks = vec![];
        for namespace in ["a", "a", "b"] {
            let (shares, order) = (shares.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let turn = shares.turn(namespace).await;
                order.lock().unwrap().push(namespace);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        assert!(tokio::time::timeout(Duration::from_millis(1), shares.turn("c")).await.is_err());
        drop(first);
        drop(second);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["a", "b", "a"]);
        assert!(shares.turn("c").now_or_never().is_some(), "what was given to nobody is free");
    }

    #[tokio::test]
    async fn a_turn_that_comes_too_late_is_not_lost() {
        let shares = Shares::of_work(1);
        let held = shares.turn("a").await;
        let mut late = Box::pin(shares.turn("b"));
        assert!(late.as_mut().now_or_never().is_none());
        drop(held);
        drop(late);
        assert!(shares.turn("c").now_or_never().is_some());
    }
}
