//! What a watch feeds: a store, and those who want to know of its changes. Not how the watch is kept up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use trimtab_plan::{Meta, Watched};

use super::health::Health;
use super::{place, wire};
use crate::Selector;
use crate::metrics::Metrics;
use crate::store::{Change, Shared, Unread, Unreadable, version};

/// Told of something; the flag says whether it is part of the first list.
type Told<E> = Box<dyn Fn(&E, bool) + Send + Sync>;

/// Told of what happens in a store.
pub(crate) struct Subscriber<T> {
    pub(crate) changed: Told<Change<T>>,
    pub(crate) unreadable: Told<Unread<T>>,
    pub(crate) advanced: Box<dyn Fn() + Send + Sync>,
}

/// A kind and selector that are watched, once, for all controllers.
pub(crate) struct Source<T> {
    pub(crate) shared: Arc<Shared<T>>,
    pub(crate) selector: Selector,
    pub(crate) health: Vec<Health>,
    pub(super) metrics: Metrics,
    /// Whether anybody needs it already.
    needed: tokio::sync::watch::Sender<bool>,
    subscribers: RwLock<Vec<Subscriber<T>>>,
}

/// What a delivered object was in: the list of this number, or the watch after it.
#[derive(Clone, Copy)]
pub(super) struct Delivery {
    pub(super) scope: usize,
    pub(super) epoch: u32,
    pub(super) listing: bool,
}

impl<T: Watched> Source<T> {
    pub(crate) fn new(namespaces: &[String], selector: Selector, metrics: Metrics) -> Self {
        let shared = Arc::new(Shared::new(namespaces));
        let health = shared.scopes().map(|_| Health::default()).collect();
        metrics.init_kind(T::KIND.kind);
        let needed = tokio::sync::watch::Sender::new(true);
        Self { shared, selector, health, metrics, needed, subscribers: RwLock::new(vec![]) }
    }

    /// Nobody needs it yet: nothing waits for it, and it begins when it is needed.
    pub(crate) fn rest(&self) {
        if self.subscribers.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            _ = self.needed.send_replace(false);
            self.health.iter().for_each(Health::set_synced);
        }
    }

    /// Somebody needs it from now on.
    pub(crate) fn begin(&self) {
        self.needed.send_if_modified(|needed| !std::mem::replace(needed, true));
    }

    pub(super) async fn wait_needed(&self) {
        // The sender lives as long as the source.
        _ = self.needed.subscribe().wait_for(|needed| *needed).await;
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber<T>) {
        self.subscribers.write().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    /// Calls the controllers' functions. They are not ours: a panic in one must not end the watch.
    fn tell(&self, what: impl Fn(&Subscriber<T>)) {
        for subscriber in self.subscribers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if catch_unwind(AssertUnwindSafe(|| what(subscriber))).is_err() {
                tracing::error!(kind = T::KIND.kind, "a function that maps objects to keys panicked; event skipped");
            }
        }
    }

    fn first(&self, delivery: Delivery) -> bool {
        delivery.listing && self.health.get(delivery.scope).is_some_and(|health| !health.synced())
    }

    /// An object was listed, created or changed.
    pub(super) fn put(&self, object: &[u8], delivery: Delivery) {
        match serde_json::from_slice::<T>(object) {
            Ok(read) => self.put_read(read, delivery),
            Err(error) => self.put_unreadable(object, &error, delivery),
        }
    }

    fn put_read(&self, object: T, delivery: Delivery) {
        let seen = version(&object.meta().resource_version);
        _ = self.shared.clear_unreadable(object.meta());
        // Indexing calls the controllers' functions as well.
        let put = AssertUnwindSafe(|| self.shared.put(object, delivery.epoch, delivery.listing));
        let Ok(change) = catch_unwind(put) else {
            tracing::error!(kind = T::KIND.kind, "an index function panicked; object skipped");
            return;
        };
        self.advance(seen, delivery);
        if let Some(change) = change {
            let first = self.first(delivery);
            self.tell(|subscriber| (subscriber.changed)(&change, first));
        }
    }

    fn put_unreadable(&self, object: &[u8], error: &serde_json::Error, delivery: Delivery) {
        let kind = T::KIND.kind;
        let Ok(meta) = wire::meta(object) else {
            tracing::error!(kind, "an object without a readable name was skipped");
            return;
        };
        let error = describe(kind, object, error);
        tracing::warn!(kind, namespace = meta.namespace, name = meta.name, error, "an object cannot be read");
        let seen = version(&meta.resource_version);
        let unread = self
            .shared
            .put_unreadable(Unreadable { meta, error, conditions: wire::conditions(object) }, delivery.epoch);
        self.advance(seen, delivery);
        if let Some(unread) = unread {
            let first = self.first(delivery);
            self.tell(|subscriber| (subscriber.unreadable)(&unread, first));
        }
    }

    /// An object was deleted.
    pub(super) fn delete(&self, meta: &Meta, delivery: Delivery) {
        let unreadable = self.shared.clear_unreadable(meta);
        let change = self.shared.remove(meta);
        self.advance(version(&meta.resource_version), delivery);
        self.gone(change, unreadable);
    }

    fn gone(&self, change: Option<Change<T>>, unreadable: Option<Arc<Unreadable>>) {
        if let Some(change) = change {
            self.tell(|subscriber| (subscriber.changed)(&change, false));
        }
        if let Some(now) = unreadable {
            let unread = Unread { old: None, now };
            self.tell(|subscriber| (subscriber.unreadable)(&unread, false));
        }
    }

    /// Events of a watch come in the order of versions, those of a list do not: its version counts at its end.
    fn advance(&self, seen: u64, delivery: Delivery) {
        if !delivery.listing {
            self.saw(delivery.scope, seen);
        }
    }

    /// The watch has passed a version.
    pub(super) fn saw(&self, scope: usize, seen: u64) {
        self.shared.saw(scope, seen, false);
        self.tell(|subscriber| (subscriber.advanced)());
    }

    /// A list is complete: what it did not have is gone.
    pub(super) fn listed(&self, scope: usize, epoch: u32, list_version: &str) {
        let swept = self.shared.sweep(scope, epoch);
        let unreadable = self.shared.sweep_unreadable(scope, epoch);
        self.shared.saw(scope, version(list_version), true);
        self.shared.set_synced(scope);
        if let Some(health) = self.health.get(scope) {
            health.set_synced();
        }
        swept.into_iter().for_each(|change| self.gone(Some(change), None));
        unreadable.into_iter().for_each(|object| self.gone(None, Some(object)));
        self.tell(|subscriber| (subscriber.advanced)());
        self.report(scope);
    }

    /// Updates the gauges of the store.
    pub(super) fn report(&self, scope: usize) {
        self.metrics.watch_active(T::KIND.kind);
        self.metrics.store_state(T::KIND.kind, self.shared.len(), self.shared.last_seen(None));
        if let Some(health) = self.health.get(scope) {
            health.heard();
        }
    }
}

/// What is wrong, and where. Not by column: that moves with every version of the object, and says little to people.
fn describe(kind: &str, object: &[u8], error: &serde_json::Error) -> String {
    let place = place::path(object, error.line(), error.column());
    // The text of the error quotes values, which must not leave a Secret.
    if kind == "Secret" {
        return format!("{place}: not as expected");
    }
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    if place.is_empty() { what.to_owned() } else { format!("{place}: {what}") }
}
