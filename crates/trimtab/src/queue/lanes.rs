//! The order in which ready keys are taken: first in, first out inside a namespace; namespaces in turn; and one turn in
//! eight for the low lane, so that it never starves. Not whether a key is ready.

use std::collections::{HashMap, VecDeque};

/// Which lane a key waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// What was there at the start: there can be very many, and nobody waits for them.
    Low,
    /// What just happened.
    Normal,
}

/// The low lane gets at least every so-manieth turn.
const LOW_EVERY: u32 = 8;

/// The ready keys. An entry is a key and its ticket; a key that moved to another lane leaves a void ticket behind.
pub(super) struct Lanes<K> {
    low: Turns<K>,
    normal: Turns<K>,
    taken: u32,
}

impl<K> Lanes<K> {
    pub(super) fn new() -> Self {
        Self { low: Turns::new(), normal: Turns::new(), taken: 0 }
    }

    pub(super) fn push(&mut self, lane: Lane, namespace: &str, key: K, ticket: u64) {
        match lane {
            Lane::Low => self.low.push(namespace, key, ticket),
            Lane::Normal => self.normal.push(namespace, key, ticket),
        }
    }

    pub(super) fn pop(&mut self) -> Option<(K, u64)> {
        self.taken = self.taken.wrapping_add(1);
        if self.taken.is_multiple_of(LOW_EVERY) {
            self.low.pop().or_else(|| self.normal.pop())
        } else {
            self.normal.pop().or_else(|| self.low.pop())
        }
    }
}

/// One lane: namespaces take turns.
struct Turns<K> {
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<(K, u64)>>,
}

impl<K> Turns<K> {
    fn new() -> Self {
        Self { order: VecDeque::new(), waiting: HashMap::new() }
    }

    fn push(&mut self, namespace: &str, key: K, ticket: u64) {
        if let Some(keys) = self.waiting.get_mut(namespace) {
            keys.push_back((key, ticket));
        } else {
            self.order.push_back(namespace.to_owned());
            self.waiting.insert(namespace.to_owned(), VecDeque::from([(key, ticket)]));
        }
    }

    fn pop(&mut self) -> Option<(K, u64)> {
        let namespace = self.order.pop_front()?;
        let keys = self.waiting.get_mut(&namespace)?;
        let taken = keys.pop_front();
        if keys.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        taken
    }
}
