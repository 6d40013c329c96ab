//! What is remembered of namespaces: bounded in weight, of each and of all together, and in age. Whoever has too much forgets its
//! own, first what was used longest ago. Not what it is, nor what it weighs.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// What all that is remembered of a namespace may weigh.
    pub(crate) of_a_namespace: usize,
    /// What all of it may weigh together.
    pub(crate) all: usize,
    /// How long something is remembered that is not used.
    pub(crate) unused: Option<Duration>,
}

/// What is remembered, by namespace and key. Each step costs what a few look-ups do, however much there is.
#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    bounds: Bounds,
    namespaces: HashMap<Arc<str>, Own<K, V>>,
    by_weight: BTreeSet<(usize, Arc<str>)>,
    /// Whose each is; what was used longest ago is first.
    order: BTreeMap<u64, Arc<str>>,
    total: usize,
    next: u64,
}

/// What is remembered of a namespace.
#[derive(Debug)]
struct Own<K, V> {
    all: HashMap<K, Remembered<V>>,
    order: BTreeMap<u64, K>,
    weight: usize,
}

#[derive(Debug)]
struct Remembered<V> {
    value: V,
    weight: usize,
    /// Where it stands in the order.
    place: u64,
    used: Instant,
}

impl<K: Clone + Eq + Hash, V> Memory<K, V> {
    /// Nothing yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            namespaces: HashMap::new(),
            by_weight: BTreeSet::new(),
            order: BTreeMap::new(),
            total: 0,
            next: 0,
        }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, namespace: &str, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        Some(&self.namespaces.get(namespace)?.all.get(key)?.value)
    }

    /// What is remembered under a key; to change it makes it neither heavier nor younger.
    pub(crate) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, namespace: &str, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        Some(&mut self.namespaces.get_mut(namespace)?.all.get_mut(key)?.value)
    }

    /// All that is remembered of a namespace; what was used longest ago is first.
    pub(crate) fn of(&self, namespace: &str) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let own = self.namespaces.get(namespace).into_iter();
        own.flat_map(|own| own.order.values().filter_map(|key| Some((key, &own.all.get(key)?.value))))
    }

    /// Remembers something of this weight, in place of what was remembered under its key. Gives what is forgotten for it.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        namespace: &str,
        key: K,
        value: V,
        weight: usize,
    ) -> Vec<(Arc<str>, K, V)> {
        self.remove(namespace, &key);
        let name = match self.namespaces.get_key_value(namespace) {
            Some((name, _)) => name.clone(),
            None => namespace.into(),
        };
        let place = self.next;
        self.next += 1;
        let none = || Own { all: HashMap::new(), order: BTreeMap::new(), weight: 0 };
        let own = self.namespaces.entry(name.clone()).or_insert_with(none);
        own.order.insert(place, key.clone());
        own.all.insert(key, Remembered { value, weight, place, used: now });
        self.order.insert(place, name);
        self.weigh(namespace, weight, 0);
        self.forget(now, namespace)
    }

    /// Notes that something is used, so that others are forgotten before it.
    pub(crate) fn touch<Q: Eq + Hash + ?Sized>(&mut self, now: Instant, namespace: &str, key: &Q)
    where
        K: Borrow<Q>,
    {
        let Some(own) = self.namespaces.get_mut(namespace) else { return };
        let Some(known) = own.all.get_mut(key) else { return };
        let old = std::mem::replace(&mut known.place, self.next);
        known.used = now;
        if let (Some(key), Some(name)) = (own.order.remove(&old), self.order.remove(&old)) {
            own.order.insert(self.next, key);
            self.order.insert(self.next, name);
        }
        self.next += 1;
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, namespace: &str, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let own = self.namespaces.get_mut(namespace)?;
        let known = own.all.remove(key)?;
        own.order.remove(&known.place);
        self.order.remove(&known.place);
        self.weigh(namespace, 0, known.weight);
        Some(known.value)
    }

    /// Counts what a namespace has more and less, and lets go of one that has nothing.
    fn weigh(&mut self, namespace: &str, more: usize, less: usize) {
        let Some((name, own)) = self.namespaces.get_key_value(namespace) else { return };
        let (name, old, is_empty) = (name.clone(), own.weight, own.all.is_empty());
        let new = old + more - less;
        self.total = self.total + more - less;
        self.by_weight.remove(&(old, name.clone()));
        if is_empty {
            self.namespaces.remove(namespace);
            return;
        }
        if let Some(own) = self.namespaces.get_mut(namespace) {
            own.weight = new;
        }
        self.by_weight.insert((new, name));
    }

    /// Forgets what is old, wherever it is; then what a namespace has too much of; then of the one with most.
    fn forget(&mut self, now: Instant, namespace: &str) -> Vec<(Arc<str>, K, V)> {
        let mut forgotten = vec![];
        while let Some(name) = self.old(now) {
            forgotten.extend(self.forget_first(&name));
        }
        while self.namespaces.get(namespace).is_some_and(|own| own.weight > self.bounds.of_a_namespace) {
            forgotten.extend(self.forget_first(namespace));
        }
        while self.total > self.bounds.all
            && let Some((_, most)) = self.by_weight.last().cloned()
        {
            forgotten.extend(self.forget_first(&most));
        }
        forgotten
    }

    /// Whose is what was used longest ago of all, if that is too long.
    fn old(&self, now: Instant) -> Option<Arc<str>> {
        let unused = self.bounds.unused?;
        let (place, name) = self.order.first_key_value()?;
        let own = self.namespaces.get(name)?;
        let known = own.all.get(own.order.get(place)?)?;
        (now.saturating_duration_since(known.used) >= unused).then(|| name.clone())
    }

    fn forget_first(&mut self, namespace: &str) -> Option<(Arc<str>, K, V)> {
        let (name, own) = self.namespaces.get_key_value(namespace)?;
        let (name, key) = (name.clone(), own.order.first_key_value()?.1.clone());
        let value = self.remove(namespace, &key)?;
        Some((name, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { of_a_namespace: 100, all: 250, unused: Some(Duration::from_secs(60)) };

    /// What is known of each namespace once all of this was put, a second after one another: `namespace/key/weight`.
    fn check(puts: &[String], expected: &[(&str, usize)]) -> Memory<String, ()> {
        let (mut memory, begin) = (Memory::new(BOUNDS), Instant::now());
        for (second, put) in puts.iter().enumerate() {
            let [namespace, key, weight] = put.split('/').collect::<Vec<_>>().try_into().unwrap();
            let now = begin + Duration::from_secs(second as u64);
            memory.put(now, namespace, key.to_owned(), (), weight.parse().unwrap());
            sound(&memory);
        }
        for (namespace, weight) in expected {
            let is = memory.namespaces.get(*namespace).map_or(0, |own| own.weight);
            assert_eq!(is, *weight, "{namespace} after {puts:?}");
        }
        memory
    }

    /// All that is counted is what there is, and within the bounds.
    fn sound(memory: &Memory<String, ()>) {
        let mut total = 0;
        for (name, own) in &memory.namespaces {
            let weight: usize = own.all.values().map(|known| known.weight).sum();
            assert!(own.weight == weight && weight <= BOUNDS.of_a_namespace && !own.all.is_empty());
            assert!(own.order.len() == own.all.len() && memory.by_weight.contains(&(weight, name.clone())));
            assert!(own.order.iter().all(|(place, key)| own.all[key].place == *place && memory.order[place] == *name));
            total += weight;
        }
        assert!(total == memory.total && total <= BOUNDS.all && memory.by_weight.len() == memory.namespaces.len());
        assert_eq!(memory.order.len(), memory.namespaces.values().map(|own| own.all.len()).sum::<usize>());
    }

    fn puts(namespace: &str, count: usize, weight: usize) -> Vec<String> {
        (0..count).map(|n| format!("{namespace}/{n}/{weight}")).collect()
    }

    #[test]
    fn a_namespace_pushes_out_its_own_and_the_one_with_most_makes_room() {
        check(&puts("crowd", 30, 10), &[("crowd", 100)]);
        let mut all = puts("calm", 1, 10);
        all.extend(puts("crowd", 30, 10));
        check(&all, &[("calm", 10), ("crowd", 100)]);
        let mut all = puts("calm", 1, 10);
        ["a", "b", "c"].iter().for_each(|name| all.extend(puts(name, 2, 50)));
        let memory = check(&all, &[("calm", 10), ("a", 100), ("b", 50), ("c", 50)]);
        assert!(memory.get("c", "1").is_some(), "what was put last is there");
        // What is heavier than a namespace may have is not remembered, and one that comes again counts once.
        check(&["a/x/101".to_owned()], &[("a", 0)]);
        check(&["a/x/60".to_owned(), "a/x/70".to_owned()], &[("a", 70)]);
    }

    #[test]
    fn what_is_old_is_forgotten_wherever_it_is() {
        let mut all: Vec<String> = ["a", "b"].iter().flat_map(|name| puts(name, 10, 10)).collect();
        all.extend(puts("calm", 70, 0));
        check(&all, &[("a", 0), ("b", 0)]);
    }

    #[test]
    fn what_is_used_stays() {
        let mut memory = check(&puts("a", 10, 10), &[("a", 100)]);
        memory.touch(Instant::now(), "a", "0");
        memory.touch(Instant::now(), "b", "0");
        let forgotten = memory.put(Instant::now(), "a", "new".to_owned(), (), 20);
        sound(&memory);
        assert_eq!(forgotten.iter().map(|(_, key, ())| key.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(memory.of("a").next_back().map(|(key, ())| key.as_str()), Some("new"));
        assert!(memory.remove("a", "0").is_some() && memory.get("a", "0").is_none());
        sound(&memory);
    }
}
