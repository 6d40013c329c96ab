//! Stores: what the watches have seen, with indexes. A store is written by its informer alone and read by controllers.
//!
//! Not a cache with an expiry, and never the only copy: everything in it can be listed again. Objects of one name keep
//! their order in time: what is older than what the store has is not let in, except by a list that is newer.

mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use trimtab_plan::{Condition, Meta, Watched};

pub(crate) use shared::{Change, Object, Shared, Unread, typed, typed_ref};

/// Objects of one kind and selector, as last seen. Cheap to clone.
pub struct Store<T> {
    shared: Arc<Shared>,
    /// The indexes of this handle's owner; two controllers may use one name for different indexes of a shared store.
    indexes: Arc<[(&'static str, usize)]>,
    /// What its objects were read as.
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), indexes: self.indexes.clone(), of: PhantomData }
    }
}

impl<T: Watched> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("kind", &T::KIND.kind).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// An object that the watch delivered and that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its metadata, which could be read.
    pub meta: Meta,
    /// What could not be read, and where in the object.
    pub error: String,
    /// The conditions in its status, if they could be read: to tell people of it there without repeating oneself.
    pub conditions: Vec<Condition>,
}

/// Objects of a store of `T`.
fn all<T: Watched>(objects: Vec<Object>) -> Vec<Arc<T>> {
    objects.into_iter().filter_map(typed).collect()
}

impl<T: Watched> Store<T> {
    pub(crate) fn new(shared: Arc<Shared>, indexes: Vec<(&'static str, usize)>) -> Self {
        Self { shared, indexes: indexes.into(), of: PhantomData }
    }

    /// The object of this name; the namespace is empty for kinds without namespaces.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        typed(self.shared.get(namespace, name)?)
    }

    /// The objects that an index has under `value`, sorted by namespace and name.
    ///
    /// An index that was never declared holds nothing; that is logged, since it is a mistake in the program.
    pub fn by_index(&self, index: &'static str, value: &str) -> Vec<Arc<T>> {
        all(self.shared.sorted_under(&self.indexes, index, value))
    }

    /// The same in any order, which costs less where there may be many.
    pub fn any_order_by_index(&self, index: &'static str, value: &str) -> Vec<Arc<T>> {
        all(self.shared.under(&self.indexes, index, value, <[Object]>::to_vec))
    }

    /// How many objects an index has under `value`.
    pub fn count_by_index(&self, index: &'static str, value: &str) -> usize {
        self.shared.under(&self.indexes, index, value, <[Object]>::len)
    }

    /// All objects of a namespace, sorted by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        all(self.shared.list_namespace(namespace))
    }

    /// How many objects a namespace has.
    pub fn count_namespace(&self, namespace: &str) -> usize {
        self.shared.count_namespace(namespace)
    }

    /// All objects, sorted by namespace and name.
    pub fn list(&self) -> Vec<Arc<T>> {
        all(self.shared.list())
    }

    /// What is known of an object that could not be read. While it is here, `get` does not have it.
    pub fn unreadable(&self, namespace: &str, name: &str) -> Option<Arc<Unreadable>> {
        self.shared.unreadable(namespace, name)
    }

    /// What is known of the objects of a namespace that could not be read.
    pub fn unreadable_in(&self, namespace: &str) -> Vec<Arc<Unreadable>> {
        self.shared.unreadable_in(namespace)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether everything that existed at the start has been seen.
    pub fn is_synced(&self) -> bool {
        self.shared.is_synced()
    }

    /// The newest resource version that all watches behind this store have passed; empty before the first list.
    pub fn last_seen_resource_version(&self) -> String {
        match self.shared.last_seen(None) {
            0 => String::new(),
            version => version.to_string(),
        }
    }
}

/// A resource version as a number, which it is since Kubernetes 1.35 promises it (and was always, with etcd).
pub(crate) fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
