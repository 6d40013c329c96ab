//! The order in which ready keys are taken: first in, first out inside a namespace; namespaces in turn; and of eight turns
//! one for the low lane and one for the normal lane, so that neither starves. Not whether a key is ready.

use std::collections::{HashMap, VecDeque};

/// Which lane a key waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// What was there at the start: there can be very many, and nobody waits for them.
    Low,
    /// What just happened.
    Normal,
    /// What somebody is waiting for, and is quickly begun.
    Urgent,
}

/// Turns go round in circles of so many, of which the low and the normal lane have one each.
const ROUND: u32 = 8;

/// The ready keys. An entry is a key and its ticket; a key that moved to another lane leaves a void ticket behind.
pub(super) struct Lanes<K> {
    low: Turns<K>,
    normal: Turns<K>,
    urgent: Turns<K>,
    taken: u32,
}

impl<K> Lanes<K> {
    pub(super) fn new() -> Self {
        Self { low: Turns::new(), normal: Turns::new(), urgent: Turns::new(), taken: 0 }
    }

    pub(super) fn push(&mut self, lane: Lane, namespace: &str, key: K, ticket: u64) {
        match lane {
            Lane::Low => self.low.push(namespace, key, ticket),
            Lane::Normal => self.normal.push(namespace, key, ticket),
            Lane::Urgent => self.urgent.push(namespace, key, ticket),
        }
    }

    /// The next key of a namespace that may have one taken.
    pub(super) fn pop(&mut self, may: impl Fn(&str) -> bool) -> Option<(K, u64)> {
        self.taken = self.taken.wrapping_add(1);
        let Self { low, normal, urgent, taken } = self;
        let order = match *taken % ROUND {
            0 => [low, urgent, normal],
            4 => [normal, urgent, low],
            _ => [urgent, normal, low],
        };
        order.into_iter().find_map(|turns| turns.pop(&may))
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

    fn pop(&mut self, may: impl Fn(&str) -> bool) -> Option<(K, u64)> {
        // Those that have had their share keep their places.
        let next = self.order.iter().position(|namespace| may(namespace))?;
        let namespace = self.order.remove(next)?;
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
