//! What is known of sets of expressions, and which sources came that they may not have been compared with: bounded in bytes, of
//! a namespace and of all. Not how they are compared.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use trimtab_config::Source;
use trimtab_reload::{Fits, PatternsId};

use crate::memory::{Bounds, Memory};

/// The most bytes of what is known of a namespace's sets.
pub(super) const OF_A_NAMESPACE: usize = 4 << 20;
/// The most bytes of what is known of all.
pub(super) const ALL: usize = 32 << 20;
/// The most bytes of the sources that came to a namespace, for sets that have not been compared with them.
pub(super) const CAME_OF_A_NAMESPACE: usize = 128 << 10;
/// The most bytes of those that came to all.
pub(super) const CAME: usize = 4 << 20;
/// About how many bytes a set takes beside what it knows, and a name beside its letters.
const EMPTY: usize = 512;
const NAME: usize = 96;

/// What a set of expressions fits.
#[derive(Clone)]
pub(super) struct Set {
    pub(super) fits: Arc<Fits>,
    /// The last source that it was compared with on its way through all of them; `None` before the first.
    pub(super) reached: Option<Source>,
    /// Whether it is through.
    pub(super) through: bool,
    /// The number of the first source that came and that it has not been compared with.
    pub(super) next: u64,
    /// Sources that were not there and that it was compared with.
    pub(super) gone: BTreeSet<Source>,
}

impl Set {
    fn bytes(&self) -> usize {
        let names = self.gone.iter().chain(&self.reached).map(bytes).sum::<usize>();
        EMPTY + names + self.fits.bytes()
    }
}

fn bytes(source: &Source) -> usize {
    NAME + source.name.len()
}

/// All that is known.
pub(super) struct Sets {
    sets: Memory<PatternsId, Arc<Set>>,
    /// The sources that came to namespaces in which something is known, by their numbers.
    came: Memory<u64, Source>,
    /// The number of the next source that comes, of all namespaces: none is given twice.
    next: u64,
}

impl Default for Sets {
    fn default() -> Self {
        let bounds = |of_a_namespace, all| Bounds { of_a_namespace, all, unused: None };
        let came = Memory::new(bounds(CAME_OF_A_NAMESPACE, CAME));
        Self { sets: Memory::new(bounds(OF_A_NAMESPACE, ALL)), came, next: 0 }
    }
}

impl Sets {
    /// A source came to a namespace.
    pub(super) fn came(&mut self, namespace: &str, source: Source) {
        if self.sets.of(namespace).next().is_none() {
            return;
        }
        let (number, weight) = (self.next, bytes(&source));
        self.next += 1;
        for (namespace, number, _) in self.came.put(Instant::now(), namespace, number, source, weight) {
            // Those that have not seen it begin anew.
            self.forget(&namespace, |set| set.next <= number);
        }
    }

    fn forget(&mut self, namespace: &str, which: impl Fn(&Set) -> bool) {
        let some: Vec<PatternsId> = self.sets.of(namespace).filter(|(_, set)| which(set)).map(|(id, _)| *id).collect();
        some.iter().for_each(|id| _ = self.sets.remove(namespace, id));
    }

    /// What is known of a set, if that is all there is to know of its namespace.
    pub(super) fn ready(&self, namespace: &str, id: PatternsId) -> Option<Arc<Set>> {
        let newest = self.came.of(namespace).next_back().map(|(number, _)| *number);
        let set = self.sets.get(namespace, &id)?;
        Some(set).filter(|set| set.through && newest.is_none_or(|number| set.next > number)).cloned()
    }

    /// The same for a look at a workload: what looks use is forgotten last.
    pub(super) fn used(&mut self, namespace: &str, id: PatternsId) -> Option<Arc<Set>> {
        self.sets.touch(Instant::now(), namespace, &id);
        self.ready(namespace, id)
    }

    /// What is known of a set, `none` at first, and what came since.
    pub(super) fn begin(&mut self, namespace: &str, id: PatternsId, none: Fits) -> (Arc<Set>, Vec<(u64, Source)>) {
        let known = self.sets.get(namespace, &id).cloned();
        let set = known.unwrap_or_else(|| {
            let fits = Arc::new(none);
            let set = Set { fits, reached: None, through: false, next: self.next, gone: BTreeSet::new() };
            let (weight, set) = (set.bytes(), Arc::new(set));
            self.note(namespace, id, &set, weight);
            set
        });
        let came = self.came.of(namespace).filter(|(number, _)| **number >= set.next);
        let came = came.map(|(number, source)| (*number, source.clone())).collect();
        (set, came)
    }

    /// Notes what a look has found that began with `base`. If that is not what is known any more, nothing is noted: another look
    /// was quicker, or what came meanwhile is forgotten already.
    pub(super) fn end(&mut self, namespace: &str, id: PatternsId, base: &Arc<Set>, (set, weight): (Set, usize)) {
        if self.sets.get(namespace, &id).is_some_and(|known| Arc::ptr_eq(known, base)) {
            self.note(namespace, id, &Arc::new(set), weight);
        }
    }

    /// How many sets of a namespace are known, how many letters the names have that they know, and those that came.
    #[cfg(test)]
    pub(super) fn letters(&self, namespace: &str) -> (usize, usize, usize) {
        let length = |source: &Source| source.name.len();
        let of = |set: &Set| set.gone.iter().chain(set.fits.sources()).map(length).sum::<usize>();
        let sets: Vec<usize> = self.sets.of(namespace).map(|(_, set)| of(set)).collect();
        let came = self.came.of(namespace).map(|(_, source)| length(source)).sum();
        (sets.len(), sets.into_iter().sum(), came)
    }

    fn note(&mut self, namespace: &str, id: PatternsId, set: &Arc<Set>, weight: usize) {
        let forgotten = self.sets.put(Instant::now(), namespace, id, set.clone(), weight);
        let others: BTreeSet<Arc<str>> = forgotten.into_iter().map(|(namespace, ..)| namespace).collect();
        others.iter().map(AsRef::as_ref).chain([namespace]).for_each(|namespace| self.forget_came(namespace));
    }

    /// Forgets what came to a namespace, as far as every set was compared with it.
    fn forget_came(&mut self, namespace: &str) {
        let oldest = self.sets.of(namespace).map(|(_, set)| set.next).min();
        let seen = |number: &u64| oldest.is_none_or(|oldest| *number < oldest);
        let seen: Vec<u64> = self.came.of(namespace).map(|(number, _)| *number).take_while(seen).collect();
        seen.iter().for_each(|number| _ = self.came.remove(namespace, number));
    }
}

/// A set, and what it takes.
pub(super) fn weighed(set: Set) -> (Set, usize) {
    let weight = set.bytes();
    (set, weight)
}
