//! What is behind the handles of a store: the objects of one kind, whatever their type, so that keeping them is there once
//! and not once for each kind.

use std::any::Any;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use trimtab_plan::{Kind, Meta, Watched};

use super::{Unreadable, version};
use crate::gate::View;

/// An object of any watched type.
pub(crate) trait Held: Any + Send + Sync {
    /// Its metadata.
    fn meta(&self) -> &Meta;
}

impl<T: Watched> Held for T {
    fn meta(&self) -> &Meta {
        Watched::meta(self)
    }
}

/// An object as a store has it.
pub(crate) type Object = Arc<dyn Held>;

/// The object as the type that it was read as; `None` if it was read as another, which a store of `T` does not hold.
pub(crate) fn typed<T: Watched>(object: Object) -> Option<Arc<T>> {
    let object: Arc<dyn Any + Send + Sync> = object;
    object.downcast().ok()
}

/// Likewise, of a borrowed object.
pub(crate) fn typed_ref<T: Watched>(object: &Object) -> Option<&T> {
    let object: &dyn Any = &**object;
    object.downcast_ref()
}

fn order(a: &Meta, b: &Meta) -> Ordering {
    (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
}

/// An object in its place; ordered and found by name alone, so that names are not held twice.
struct Entry {
    object: Object,
    /// The list in which it was last seen, to find what a new list no longer has.
    epoch: u32,
}

impl Entry {
    fn name(&self) -> &str {
        &self.object.meta().name
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.name()
    }
}

type Index = HashMap<Box<str>, Vec<Object>>;

/// Where an object is: namespace and name.
type Place = (String, String);

struct Contents {
    namespaces: HashMap<Box<str>, BTreeSet<Entry>>,
    len: usize,
    indexes: Vec<Index>,
    unreadable: BTreeMap<Place, (Arc<Unreadable>, u32)>,
}

/// Computes the values under which an index has an object.
pub(crate) type IndexFn = Box<dyn Fn(&Object) -> Vec<String> + Send + Sync>;

/// One watch's part of a store: everything, or one namespace.
struct Scope {
    namespace: Option<String>,
    seen: AtomicU64,
    synced: std::sync::atomic::AtomicBool,
}

/// The store behind its handles.
pub(crate) struct Shared {
    kind: Kind,
    contents: RwLock<Contents>,
    index_fns: RwLock<Vec<IndexFn>>,
    scopes: Vec<Scope>,
}

/// What became of the object in one place.
pub(crate) struct Change {
    pub(crate) old: Option<Object>,
    pub(crate) new: Option<Object>,
}

/// What became of an object that cannot be read, or could not be until now.
pub(crate) struct Unread {
    /// The last version that could be read, if the store had one until now.
    pub(crate) old: Option<Object>,
    /// The object as far as it can be read.
    pub(crate) now: Arc<Unreadable>,
}

impl Shared {
    /// A store fed by one watch per entry of `namespaces`, or by a single one of all namespaces where that is empty.
    pub(crate) fn new(kind: Kind, namespaces: &[String]) -> Self {
        let scope = |namespace: Option<String>| Scope {
            namespace,
            seen: AtomicU64::new(0),
            synced: std::sync::atomic::AtomicBool::new(false),
        };
        let scopes = if namespaces.is_empty() || !kind.namespaced {
            vec![scope(None)]
        } else {
            namespaces.iter().map(|namespace| scope(Some(namespace.clone()))).collect()
        };
        let contents = Contents { namespaces: HashMap::new(), len: 0, indexes: vec![], unreadable: BTreeMap::new() };
        Self { kind, contents: RwLock::new(contents), index_fns: RwLock::new(vec![]), scopes }
    }

    /// Adds an index and returns its position. Only while the store is still empty.
    pub(crate) fn add_index(&self, values: IndexFn) -> usize {
        let mut functions = self.index_fns.write().unwrap_or_else(PoisonError::into_inner);
        functions.push(values);
        self.write().indexes.push(HashMap::new());
        functions.len() - 1
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Object> {
        self.read().namespaces.get(namespace)?.get(name).map(|entry| entry.object.clone())
    }

    /// What `look` sees of the objects that an index has under `value`; `indexes` are those of whoever asks.
    pub(super) fn under<R>(
        &self,
        indexes: &[(&'static str, usize)],
        index: &'static str,
        value: &str,
        look: impl FnOnce(&[Object]) -> R,
    ) -> R {
        let Some((_, position)) = indexes.iter().find(|(name, _)| *name == index) else {
            tracing::error!(index, kind = self.kind.kind, "no such index was declared");
            return look(&[]);
        };
        let contents = self.read();
        look(contents.indexes.get(*position).and_then(|i| i.get(value)).map_or(&[], Vec::as_slice))
    }

    /// The objects that an index has under `value`, sorted by namespace and name.
    pub(super) fn sorted_under(
        &self,
        indexes: &[(&'static str, usize)],
        index: &'static str,
        value: &str,
    ) -> Vec<Object> {
        let mut found = self.under(indexes, index, value, <[Object]>::to_vec);
        found.sort_by(|a, b| order(a.meta(), b.meta()));
        found
    }

    /// All objects of a namespace, sorted by name.
    pub(super) fn list_namespace(&self, namespace: &str) -> Vec<Object> {
        let contents = self.read();
        contents.namespaces.get(namespace).into_iter().flatten().map(|entry| entry.object.clone()).collect()
    }

    /// How many objects a namespace has.
    pub(super) fn count_namespace(&self, namespace: &str) -> usize {
        self.read().namespaces.get(namespace).map_or(0, BTreeSet::len)
    }

    /// All objects, sorted by namespace and name.
    pub(super) fn list(&self) -> Vec<Object> {
        let contents = self.read();
        let mut namespaces: Vec<_> = contents.namespaces.iter().collect();
        namespaces.sort_by_key(|(namespace, _)| *namespace);
        namespaces.into_iter().flat_map(|(_, entries)| entries).map(|entry| entry.object.clone()).collect()
    }

    /// What is known of an object that could not be read.
    pub(super) fn unreadable(&self, namespace: &str, name: &str) -> Option<Arc<Unreadable>> {
        let contents = self.read();
        contents.unreadable.get(&(namespace.to_owned(), name.to_owned())).map(|(object, _)| object.clone())
    }

    /// What is known of the objects of a namespace that could not be read.
    pub(super) fn unreadable_in(&self, namespace: &str) -> Vec<Arc<Unreadable>> {
        let contents = self.read();
        let of_namespace = contents.unreadable.iter().filter(|((of, _), _)| of == namespace);
        of_namespace.map(|(_, (object, _))| object.clone()).collect()
    }

    pub(crate) fn scopes(&self) -> impl Iterator<Item = (usize, Option<&str>)> {
        self.scopes.iter().enumerate().map(|(i, scope)| (i, scope.namespace.as_deref()))
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.scopes.iter().all(|scope| scope.synced.load(Relaxed))
    }

    pub(crate) fn set_synced(&self, scope: usize) {
        if let Some(scope) = self.scopes.get(scope) {
            scope.synced.store(true, Relaxed);
        }
    }

    /// The newest version that the watch of `namespace` has passed; of all watches, the oldest such, without one.
    pub(crate) fn last_seen(&self, namespace: Option<&str>) -> u64 {
        let covers = |scope: &&Scope| match (&scope.namespace, namespace) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        self.scopes.iter().filter(covers).map(|scope| scope.seen.load(Relaxed)).min().unwrap_or(0)
    }

    /// The newest version that the watch of this scope has passed.
    pub(crate) fn seen(&self, scope: usize) -> u64 {
        self.scopes.get(scope).map_or(0, |scope| scope.seen.load(Relaxed))
    }

    /// Notes that the watch of this scope has passed `version`. `reset` is for a list after the cluster went back.
    pub(crate) fn saw(&self, scope: usize, version: u64, reset: bool) {
        if let Some(scope) = self.scopes.get(scope) {
            if reset { scope.seen.store(version, Relaxed) } else { _ = scope.seen.fetch_max(version, Relaxed) }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.read().len
    }

    /// Lets an object in. `None` if nothing changed: it is older than what is there, or the same.
    ///
    /// `listed` says that the object comes from a list: then it may be older than what is there (the cluster was
    /// restored from a backup), since a list is the truth about what exists.
    pub(crate) fn put(&self, new: Object, epoch: u32, listed: bool) -> Option<Change> {
        let meta = new.meta();
        let old = self.get(&meta.namespace, &meta.name);
        if let Some(old) = &old {
            let (old, same_object) = (old.meta(), old.meta().uid == meta.uid);
            let unchanged = same_object && old.resource_version == meta.resource_version;
            let older = version(&old.resource_version) > version(&meta.resource_version);
            if unchanged || (older && !listed) {
                self.touch(&meta.namespace, &meta.name, epoch);
                return None;
            }
        }
        self.replace(old.as_ref(), Some(&new), epoch);
        Some(Change { old, new: Some(new) })
    }

    /// Marks an object as seen in the present list.
    fn touch(&self, namespace: &str, name: &str, epoch: u32) {
        if let Some(entries) = self.write().namespaces.get_mut(namespace)
            && let Some(object) = entries.get(name).filter(|e| e.epoch != epoch).map(|e| e.object.clone())
        {
            entries.replace(Entry { object, epoch });
        }
    }

    /// Takes an object out. `None` if it was not there, or what is there is newer than what was deleted.
    pub(crate) fn remove(&self, deleted: &Meta) -> Option<Change> {
        let old = self.get(&deleted.namespace, &deleted.name)?;
        let newer = version(&old.meta().resource_version) > version(&deleted.resource_version);
        if newer && old.meta().uid != deleted.uid {
            return None;
        }
        self.replace(Some(&old), None, 0);
        Some(Change { old: Some(old), new: None })
    }

    /// Puts an object that could not be read aside.
    pub(crate) fn put_unreadable(&self, object: Unreadable, epoch: u32) -> Option<Unread> {
        let place = (object.meta.namespace.clone(), object.meta.name.clone());
        let now = Arc::new(object);
        let known = self.write().unreadable.insert(place, (now.clone(), epoch));
        let old = self.get(&now.meta.namespace, &now.meta.name);
        if let Some(old) = &old {
            self.replace(Some(old), None, epoch);
        }
        let repeated = known.is_some_and(|(known, _)| known.meta.resource_version == now.meta.resource_version);
        (old.is_some() || !repeated).then_some(Unread { old, now })
    }

    /// Forgets that the object in this place could not be read: it can be now, or it is gone.
    pub(crate) fn clear_unreadable(&self, meta: &Meta) -> Option<Arc<Unreadable>> {
        if self.read().unreadable.is_empty() {
            return None;
        }
        let place = (meta.namespace.clone(), meta.name.clone());
        self.write().unreadable.remove(&place).map(|(object, _)| object)
    }

    /// Forgets the unreadable objects that the list `epoch` of a scope did not have.
    pub(crate) fn sweep_unreadable(&self, scope: usize, epoch: u32) -> Vec<Arc<Unreadable>> {
        let Some(scope) = self.scopes.get(scope) else { return vec![] };
        let unreadable = &mut self.write().unreadable;
        let gone =
            |place: &Place, seen: u32| seen != epoch && scope.namespace.as_deref().is_none_or(|own| own == place.0);
        unreadable.extract_if(.., |place, (_, seen)| gone(place, *seen)).map(|(_, (object, _))| object).collect()
    }

    /// Exchanges one object for another in its place and in all indexes.
    fn replace(&self, old: Option<&Object>, new: Option<&Object>, epoch: u32) {
        // The values are computed before locking: the functions are the controllers'.
        let values = |object: Option<&Object>| -> Vec<Vec<String>> {
            let functions = self.index_fns.read().unwrap_or_else(PoisonError::into_inner);
            object.map_or_else(Vec::new, |object| functions.iter().map(|f| f(object)).collect())
        };
        let (old_values, new_values) = (values(old), values(new));
        let mut contents = self.write();
        let contents = &mut *contents;
        if let Some(old) = old {
            for (index, values) in contents.indexes.iter_mut().zip(old_values) {
                values.iter().for_each(|value| unindex(index, value, old));
            }
        }
        if let Some(new) = new {
            for (index, mut values) in contents.indexes.iter_mut().zip(new_values) {
                values.sort_unstable();
                values.dedup();
                values.into_iter().for_each(|value| index.entry(value.into()).or_default().push(new.clone()));
            }
        }
        match (old, new) {
            (_, Some(new)) => {
                let meta = new.meta();
                if !contents.namespaces.contains_key(meta.namespace.as_str()) {
                    contents.namespaces.insert(meta.namespace.as_str().into(), BTreeSet::new());
                }
                if let Some(entries) = contents.namespaces.get_mut(meta.namespace.as_str()) {
                    let replaced = entries.replace(Entry { object: new.clone(), epoch });
                    contents.len += usize::from(replaced.is_none());
                }
            }
            (Some(old), None) => contents.take_out(old.meta()),
            (None, None) => {}
        }
    }

    /// Takes out what the list `epoch` of a scope did not have, and returns it: these objects are gone, though no
    /// event told of their deletion.
    pub(crate) fn sweep(&self, scope: usize, epoch: u32) -> Vec<Change> {
        let Some(scope) = self.scopes.get(scope) else { return vec![] };
        let stale: Vec<Object> = {
            let contents = self.read();
            let inside = |namespace: &str| scope.namespace.as_deref().is_none_or(|own| own == namespace);
            let entries = contents.namespaces.iter().filter(|(namespace, _)| inside(namespace));
            let entries = entries.flat_map(|(_, entries)| entries);
            entries.filter(|entry| entry.epoch != epoch).map(|entry| entry.object.clone()).collect()
        };
        let gone = |old: Object| {
            self.replace(Some(&old), None, epoch);
            Change { old: Some(old), new: None }
        };
        stale.into_iter().map(gone).collect()
    }
}

impl Contents {
    fn take_out(&mut self, meta: &Meta) {
        let Some(entries) = self.namespaces.get_mut(meta.namespace.as_str()) else { return };
        self.len -= usize::from(entries.take(meta.name.as_str()).is_some());
        if entries.is_empty() {
            self.namespaces.remove(meta.namespace.as_str());
        }
    }
}

fn unindex(index: &mut Index, value: &str, object: &Object) {
    let Some(objects) = index.get_mut(value) else { return };
    // What changes has mostly changed a moment ago, and stands near the end.
    if let Some(at) = objects.iter().rposition(|other| Arc::ptr_eq(other, object)) {
        objects.swap_remove(at);
    }
    if objects.is_empty() {
        index.remove(value);
    }
}

impl View for Shared {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn covers(&self, namespace: &str) -> bool {
        self.scopes.iter().any(|scope| scope.namespace.as_deref().is_none_or(|own| own == namespace))
    }

    fn last_seen(&self, namespace: &str) -> u64 {
        Shared::last_seen(self, Some(namespace).filter(|n| !n.is_empty()))
    }

    fn meta(&self, namespace: &str, name: &str) -> Option<Meta> {
        self.get(namespace, name).map(|object| object.meta().clone())
    }

    fn version_of(&self, namespace: &str, name: &str) -> Option<String> {
        self.get(namespace, name).map(|object| object.meta().resource_version.clone())
    }
}
