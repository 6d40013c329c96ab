//! Workloads of all kinds behind one face: found by name, by what they read, or by namespace. Not what is decided of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use trimtab::{Selector, Store, Watched, Watches};
use trimtab_plan::Kind;
use trimtab_reload::{Options, Workload as View};

use super::births::Births;
use super::boards::Busy;
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
    pub(super) fn watch<T>(
        &mut self,
        watches: &mut Watches<Workload>,
        options: &Arc<Options>,
        busy: &Busy,
        births: &Births,
    ) where
        T: Watched + AsRef<Arc<View>>,
    {
        let (reading, matching, listed, woken) = (options.clone(), options.clone(), options.clone(), options.clone());
        let (busy, births) = (busy.clone(), births.clone());
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
            .hears(births.of_new())
            .sleeps_while(|old, new| {
                let (old, new): (&View, &View) = (old.as_ref(), new.as_ref());
                new.is_as(old)
            })
            .wakes(move |view| {
                let view: &View = view.as_ref();
                match woken.opted_in(view) {
                    true => busy.changed(view),
                    false if woken.concerns(view) => vec![Workload::of(view.kind, &view.metadata)],
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

    /// The key of a workload by what people call it: `deployment/web`.
    pub(super) fn key(&self, namespace: &str, id: &str) -> Option<Workload> {
        let (kind, name) = id.split_once('/')?;
        let kind = self.0.iter().map(|store| store.kind()).find(|own| own.kind.eq_ignore_ascii_case(kind))?;
        Some(Workload { kind, namespace: namespace.to_owned(), name: name.to_owned() })
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
