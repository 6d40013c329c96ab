//! Workloads of all kinds behind one face: found by name, by what they read, or by namespace. Not what is decided of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use trimtab::{Selector, Store, Watched, Watches};
use trimtab_plan::Kind;
use trimtab_reload::{Options, Progress, Workload as View};

use crate::sources;
use crate::workload::Workload;

/// The workloads of one kind.
trait OfKind: Send + Sync {
    fn kind(&self) -> Kind;
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<View>>;
    fn by_index(&self, index: &'static str, value: &str) -> Vec<Arc<View>>;
}

impl<T: Watched + AsRef<Arc<View>>> OfKind for Store<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }

    fn get(&self, namespace: &str, name: &str) -> Option<Arc<View>> {
        Store::get(self, namespace, name).map(|view| view.as_ref().as_ref().clone())
    }

    fn by_index(&self, index: &'static str, value: &str) -> Vec<Arc<View>> {
        Store::by_index(self, index, value).iter().map(|view| view.as_ref().as_ref().clone()).collect()
    }
}

/// Workloads of all kinds that are watched.
#[derive(Clone, Default)]
pub(super) struct Workloads(Vec<Arc<dyn OfKind>>);

impl Workloads {
    /// Watches one more kind.
    pub(super) fn watch<T>(&mut self, watches: &mut Watches<Workload>, options: &Arc<Options>, busy: &Busy)
    where
        T: Watched + AsRef<Arc<View>>,
    {
        let (reading, matching, listed, woken) = (options.clone(), options.clone(), options.clone(), options.clone());
        let busy = busy.clone();
        let store = watches
            .watch::<T>(Selector::default())
            .index("source", move |view| {
                let view: &View = view.as_ref();
                let literals = if reading.opted_in(view) { reading.literals(view) } else { BTreeSet::new() };
                literals.iter().map(|source| sources::id(&view.metadata.namespace, source)).collect()
            })
            .index("pattern", move |view| {
                let view: &View = view.as_ref();
                let some = matching.opted_in(view) && matching.has_patterns(view);
                some.then(|| view.metadata.namespace.clone()).into_iter().collect()
            })
            .index("namespace", move |view| {
                let view: &View = view.as_ref();
                listed.opted_in(view).then(|| view.metadata.namespace.clone()).into_iter().collect()
            })
            .wakes(move |view| {
                let view: &View = view.as_ref();
                match woken.opted_in(view) {
                    true => busy.woken_by(view),
                    false if woken.asks_in_vain(view) => vec![Workload::of(view.kind, &view.metadata)],
                    false => vec![],
                }
            })
            .store();
        self.0.push(Arc::new(store));
    }

    pub(super) fn get(&self, key: &Workload) -> Option<Arc<View>> {
        let of_kind = self.0.iter().find(|store| store.kind() == key.kind)?;
        of_kind.get(&key.namespace, &key.name)
    }

    /// The workloads that opted in and that an index has under `value`, each with its key.
    pub(super) fn by_index(&self, index: &'static str, value: &str) -> Vec<(Workload, Arc<View>)> {
        let keyed = |store: &Arc<dyn OfKind>| {
            let kind = store.kind();
            let key = move |view: Arc<View>| (Workload::of(kind, &view.metadata), view);
            store.by_index(index, value).into_iter().map(key).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(keyed).collect()
    }
}

/// How many of the workloads that wait for their turn are woken when one is done. The others look again by themselves.
const WOKEN: usize = 64;

/// The workloads that may have something to do or be doing it: all that a change concerned, until they were found to be up
/// to date. So the board of a namespace is made of a few, and not of all that there are.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<BTreeMap<String, BTreeSet<Workload>>>>);

impl Busy {
    /// Notes workloads before any of them is decided about.
    pub(super) fn add(&self, keys: &[Workload]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            all.entry(key.namespace.clone()).or_default().insert(key.clone());
        }
    }

    /// Forgets one that is up to date.
    pub(super) fn remove(&self, key: &Workload) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = all.get_mut(&key.namespace) {
            keys.remove(key);
            if keys.is_empty() {
                all.remove(&key.namespace);
            }
        }
    }

    /// Whether a workload may be busy.
    pub(super) fn has(&self, key: &Workload) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&key.namespace).is_some_and(|keys| keys.contains(key))
    }

    /// The workloads of a namespace that may be busy.
    pub(super) fn of(&self, namespace: &str) -> Vec<Workload> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(namespace).into_iter().flatten().cloned().collect()
    }

    /// Whom a change of a workload wakes: itself, and those that wait for their turn once it is done.
    fn woken_by(&self, view: &View) -> Vec<Workload> {
        let key = Workload::of(view.kind, &view.metadata);
        let done = view.progress != Progress::Rolling && view.annotation(trimtab_crds::names::RELOAD_LOG).is_some();
        let waiting = if done { self.of(&key.namespace) } else { vec![] };
        self.add(std::slice::from_ref(&key));
        waiting.into_iter().filter(|other| *other != key).take(WOKEN).chain([key.clone()]).collect()
    }
}
