//! Declaring what a controller watches: kinds, selectors, indexes, and the keys that a change wakes. Watches of one type
//! and selector are shared by all controllers. Not the watching itself.

use std::any::TypeId;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use trimtab_plan::{Kind, Meta, Watched};

use crate::gate::Watching;
use crate::informer::{Brought, Source, Subscriber};
use crate::metrics::Metrics;
use crate::queue::{Lane, Queue, Trigger, What};
use crate::store::{Change, Object, Store, Unread, typed_ref, version};
use crate::{Key, Selector};

/// Wakes keys of a controller for what no watch shows: what its stores together say of another key. Cheap to clone.
pub struct KeyWaker<K: Key>(Arc<Queue<K>>);

impl<K: Key> Clone for KeyWaker<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Key> KeyWaker<K> {
    /// Lets a key be decided about anew.
    pub fn wake(&self, key: K) {
        self.0.wake(key, Trigger::Turn, Lane::Normal);
    }
}

/// All watches of a process.
pub(crate) struct Registry {
    namespaces: Vec<String>,
    metrics: Metrics,
    sources: HashMap<(TypeId, Selector), Arc<Source>>,
    pub(crate) informers: Vec<Arc<Source>>,
}

impl Registry {
    pub(crate) fn new(namespaces: Vec<String>, metrics: Metrics) -> Self {
        Self { namespaces, metrics, sources: HashMap::new(), informers: vec![] }
    }

    /// The source of a type and selector, and its place among the informers.
    fn source<T: Watched>(&mut self, selector: Selector) -> Arc<Source> {
        let id = (TypeId::of::<T>(), selector.clone());
        if let Some(source) = self.sources.get(&id) {
            return source.clone();
        }
        let source = Arc::new(Source::new::<T>(&self.namespaces, selector, self.metrics.clone()));
        self.sources.insert(id, source.clone());
        self.informers.push(source.clone());
        source
    }
}

/// What a controller watches; given to the function that builds it.
pub struct Watches<K: Key> {
    pub(crate) registry: Registry,
    pub(crate) queue: Arc<Queue<K>>,
    pub(crate) watching: Vec<Watching>,
    pub(crate) informers: Vec<Arc<Source>>,
}

impl<K: Key> Watches<K> {
    pub(crate) fn new(registry: Registry, queue: Arc<Queue<K>>) -> Self {
        Self { registry, queue, watching: vec![], informers: vec![] }
    }

    /// The metrics of the process, for those that a controller has itself.
    pub fn metrics(&self) -> &Metrics {
        &self.registry.metrics
    }

    /// What wakes keys for what no watch shows.
    pub fn waker(&self) -> KeyWaker<K> {
        KeyWaker(self.queue.clone())
    }

    /// Watches a kind, as far as `T` projects it.
    pub fn watch<T: Watched>(&mut self, selector: Selector) -> Watch<'_, K, T> {
        let source = self.registry.source::<T>(selector);
        Watch { watches: self, source, indexes: vec![], urgent: None, same: None, of: PhantomData }
    }
}

/// A change of an object that is there.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a, T> {
    /// The object before, if it was there.
    pub old: Option<&'a T>,
    /// The object now.
    pub new: &'a T,
    /// Whether a new list brought it, after the watch had failed: then its version is that of its last write, and what was
    /// written meanwhile is not known. Else it is of one write.
    pub listed: bool,
    /// The version that the watch had passed before. An object that was not there then came about after it; zero if that is
    /// not known, or if the object is older all the same, as in a cluster that was restored from a backup.
    pub passed: u64,
}

/// Whether a change is one that somebody is waiting for: asked of the object before, if there was one, and after.
type Urgent = Arc<dyn Fn(Option<&Object>, &Object) -> bool + Send + Sync>;

/// Whether an object is for a controller as it was before: asked of the object before and after.
type Same = Arc<dyn Fn(&Object, &Object) -> bool + Send + Sync>;

/// One kind that a controller watches; ends with [`Watch::store`].
pub struct Watch<'w, K: Key, T: Watched> {
    watches: &'w mut Watches<K>,
    source: Arc<Source>,
    indexes: Vec<(&'static str, usize)>,
    urgent: Option<Urgent>,
    same: Option<Same>,
    of: PhantomData<fn() -> T>,
}

impl<K: Key, T: Watched> Watch<'_, K, T> {
    /// Keeps an index: `values` gives the values under which [`Store::by_index`] finds an object.
    #[must_use]
    pub fn index(mut self, name: &'static str, values: impl Fn(&T) -> Vec<String> + Send + Sync + 'static) -> Self {
        let values = move |object: &Object| typed_ref(object).map(&values).unwrap_or_default();
        self.indexes.push((name, self.source.shared.add_index(Box::new(values))));
        self
    }

    /// Begins to watch when there is the first object that another watch of the controller, of `U` without a selector,
    /// shows: a controller that nobody uses costs nothing then. Until the list is complete, [`Store::is_synced`] is false,
    /// and nothing waits for it: whoever reads the store has to ask. Has no effect on what is watched already.
    #[must_use]
    pub fn once_any<U: Watched>(self) -> Self {
        self.source.rest();
        let (source, other) = (self.source.clone(), self.watches.registry.source::<U>(Selector::default()));
        other.subscribe(Subscriber {
            changed: Box::new(move |_, _| source.begin()),
            unreadable: Box::new(|_, _| {}),
            advanced: Box::new(|| {}),
        });
        self
    }

    /// Lets the keys that are woken by such a change go before others: somebody is waiting for it, and it is quickly begun.
    /// Says so for what is declared behind it.
    #[must_use]
    pub fn urgent_when(mut self, urgent: impl Fn(Option<&T>, &T) -> bool + Send + Sync + 'static) -> Self {
        let urgent = move |old: Option<&Object>, new: &Object| {
            typed_ref(new).is_some_and(|new| urgent(old.and_then(typed_ref), new))
        };
        self.urgent = Some(Arc::new(urgent));
        self
    }

    /// Wakes nobody for a change after which an object says the same as before to the controller. Says so for what is declared
    /// behind it. The store has the object as it is now all the same.
    #[must_use]
    pub fn sleeps_while(mut self, same: impl Fn(&T, &T) -> bool + Send + Sync + 'static) -> Self {
        let same = move |old: &Object, new: &Object| {
            typed_ref(old).zip(typed_ref(new)).is_some_and(|(old, new)| same(old, new))
        };
        self.same = Some(Arc::new(same));
        self
    }

    /// Calls this for every change after the first list, before it wakes anybody. Not for what is gone.
    #[must_use]
    pub fn hears(self, heard: impl Fn(&Heard<'_, T>) + Send + Sync + 'static) -> Self {
        let shared = self.source.shared.clone();
        let changed = move |change: &Change, brought: Brought| {
            let Some(new) = change.new.as_ref().filter(|_| brought != Brought::First) else { return };
            let listed = brought == Brought::Listed;
            let own = new.meta();
            // The versions in a list count at its end. Those of a watch count at once, and nobody has to ask.
            let passed = if listed { shared.last_seen(Some(&own.namespace)) } else { 0 };
            let passed = if version(&own.resource_version) > passed { passed } else { 0 };
            if let Some(new) = typed_ref(new) {
                heard(&Heard { old: change.old.as_ref().and_then(typed_ref), new, listed, passed });
            }
        };
        self.source.subscribe(Subscriber {
            changed: Box::new(changed),
            unreadable: Box::new(|_, _| {}),
            advanced: Box::new(|| {}),
        });
        self
    }

    /// Wakes these keys when an object changes; asked of the object before the change and of the one after.
    #[must_use]
    pub fn wakes(self, keys: impl Fn(&T) -> Vec<K> + Send + Sync + 'static) -> Self {
        let keys = move |object: &Object| typed_ref(object).map(&keys).unwrap_or_default();
        let (queue, urgent, same) = (self.watches.queue.clone(), self.urgent.clone(), self.same.clone());
        let waker = Waker { keys: Box::new(keys), queue, urgent, same };
        let (waker, kind) = (Arc::new(waker), T::KIND.kind);
        let other = waker.clone();
        self.source.subscribe(Subscriber {
            changed: Box::new(move |change, brought| waker.changed(kind, change, brought == Brought::First)),
            unreadable: Box::new(move |unread, brought| other.unreadable(kind, unread, brought == Brought::First)),
            advanced: Box::new(|| {}),
        });
        self
    }

    /// Wakes these keys when everything that existed at the start has been seen: for those who wait for it, as after
    /// [`Watch::once_any`].
    #[must_use]
    pub fn wakes_once_listed(self, keys: impl Fn() -> Vec<K> + Send + Sync + 'static) -> Self {
        let (queue, shared, told) = (self.watches.queue.clone(), self.source.shared.clone(), AtomicBool::new(false));
        let advanced = move || {
            if shared.is_synced() && !told.swap(true, Relaxed) {
                keys().into_iter().for_each(|key| queue.wake(key, Trigger::Start, Lane::Low));
            }
        };
        self.source.subscribe(Subscriber {
            changed: Box::new(|_, _| {}),
            unreadable: Box::new(|_, _| {}),
            advanced: Box::new(advanced),
        });
        self
    }

    /// Wakes these keys when an object turns out to be unreadable, changes while it is, or is gone after that.
    #[must_use]
    pub fn wakes_unreadable(self, keys: impl Fn(&Meta) -> Vec<K> + Send + Sync + 'static) -> Self {
        let queue = self.watches.queue.clone();
        let unreadable = move |unread: &Unread, brought: Brought| {
            let (meta, first) = (&unread.now.meta, brought == Brought::First);
            keys(meta).into_iter().for_each(|key| wake_unreadable(&queue, key, T::KIND.kind, meta, first));
        };
        self.source.subscribe(Subscriber {
            changed: Box::new(|_, _| {}),
            unreadable: Box::new(unreadable),
            advanced: Box::new(|| {}),
        });
        self
    }

    /// The store that the watch fills.
    pub fn store(self) -> Store<T> {
        let queue = self.watches.queue.clone();
        self.source.subscribe(Subscriber {
            changed: Box::new(|_, _| {}),
            unreadable: Box::new(|_, _| {}),
            advanced: Box::new(move || queue.store_advanced()),
        });
        let selector = self.source.selector().clone();
        self.watches.watching.push(Watching { view: self.source.shared.clone(), selector });
        self.watches.informers.push(self.source.clone());
        Store::new(self.source.shared.clone(), self.indexes)
    }
}

/// The keys that a controller has for an object.
type Keys<K> = Box<dyn Fn(&Object) -> Vec<K> + Send + Sync>;

/// Wakes the keys that a function of the controller has for an object.
struct Waker<K: Key> {
    keys: Keys<K>,
    queue: Arc<Queue<K>>,
    urgent: Option<Urgent>,
    same: Option<Same>,
}

impl<K: Key> Waker<K> {
    fn changed(&self, kind: &'static str, change: &Change, first: bool) {
        if let (Some(same), Some(old), Some(new)) = (&self.same, &change.old, &change.new)
            && same(old, new)
        {
            return;
        }
        let objects = [&change.old, &change.new];
        let woken: BTreeSet<K> = objects.into_iter().flatten().flat_map(|object| (self.keys)(object)).collect();
        let lane = match self.urgent.as_ref().zip(change.new.as_ref()) {
            _ if first => Lane::Low,
            Some((urgent, new)) if urgent(change.old.as_ref(), new) => Lane::Urgent,
            _ => Lane::Normal,
        };
        woken.into_iter().for_each(|key| self.queue.wake(key, trigger(kind, change, first), lane));
    }

    /// An object that turns unreadable is gone from the store: those who read it there have to know.
    fn unreadable(&self, kind: &'static str, unread: &Unread, first: bool) {
        let woken = unread.old.iter().flat_map(|object| (self.keys)(object));
        woken.for_each(|key| wake_unreadable(&self.queue, key, kind, &unread.now.meta, first));
    }
}

fn wake_unreadable<K: Key>(queue: &Queue<K>, key: K, kind: &'static str, meta: &Meta, first: bool) {
    let trigger = Trigger::Changed {
        kind,
        name: meta.name.as_str().into(),
        what: What::Unreadable,
        version: meta.resource_version.as_str().into(),
    };
    queue.wake(key, trigger, if first { Lane::Low } else { Lane::Normal });
}

fn trigger(kind: &'static str, change: &Change, first: bool) -> Trigger {
    let Some(meta) = change.new.as_ref().or(change.old.as_ref()).map(|object| object.meta()).filter(|_| !first) else {
        return Trigger::Start;
    };
    Trigger::Changed {
        kind,
        name: meta.name.as_str().into(),
        what: what(change),
        version: meta.resource_version.as_str().into(),
    }
}

fn what(change: &Change) -> What {
    let (old, new) = match (&change.old, &change.new) {
        (None, _) => return What::Created,
        (_, None) => return What::Deleted,
        (Some(old), Some(new)) => (old.meta(), new.meta()),
    };
    let specified = old.uid != new.uid
        || old.generation != new.generation
        // Kinds without a generation do not tell their parts apart.
        || new.generation == 0
        || old.labels != new.labels
        || old.annotations != new.annotations
        || old.owner_references != new.owner_references
        || old.deletion_timestamp != new.deletion_timestamp;
    if specified { What::Specified } else { What::Changed }
}

/// The kinds that informers watch, without repetition.
pub(crate) fn kinds(informers: &[Arc<Source>]) -> Vec<Kind> {
    informers.iter().map(|informer| informer.kind()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(serde::Deserialize)]
    struct View {
        metadata: Meta,
    }

    impl Watched for View {
        const KIND: Kind = Kind::namespaced("", "v1", "Pod", "pods");
        fn meta(&self) -> &Meta {
            &self.metadata
        }
    }

    #[test]
    fn a_status_change_is_told_from_a_specified_one() {
        let view = |generation, label: &str| {
            let labels = [("l".to_owned(), label.to_owned())].into();
            let view: Object = Arc::new(View { metadata: Meta { generation, labels, ..Meta::default() } });
            Some(view)
        };
        let of = |old, new| what(&Change { old, new });
        assert_eq!(of(view(1, "a"), view(1, "a")), What::Changed);
        assert_eq!(of(view(1, "a"), view(2, "a")), What::Specified);
        assert_eq!(of(view(1, "a"), view(1, "b")), What::Specified);
        assert_eq!(of(view(0, "a"), view(0, "a")), What::Specified);
        assert_eq!(of(None, view(1, "a")), What::Created);
        assert_eq!(of(view(1, "a"), None), What::Deleted);
    }
}
