//! What a watch feeds: a store, and those who want to know of its changes. Not how the watch is kept up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use trimtab_plan::{Meta, Watched, place};

use super::health::Health;
use super::upkeep::{Brought, Delivery, Scope, Upkeep};
use super::wire;
use crate::Selector;
use crate::body;
use crate::metrics::Metrics;
use crate::store::{Change, Object, Shared, Unread, Unreadable, version};

/// Told of something, and how it came to be known.
type Told<E> = Box<dyn Fn(&E, Brought) + Send + Sync>;

/// Told of what happens in a store.
pub(crate) struct Subscriber {
    pub(crate) changed: Told<Change>,
    pub(crate) unreadable: Told<Unread>,
    pub(crate) advanced: Box<dyn Fn() + Send + Sync>,
}

/// A kind and selector that are watched, once, for all controllers.
///
/// It knows the type of its objects only by the function that reads them, so that keeping a watch up is there once.
pub(crate) struct Source {
    pub(crate) shared: Arc<Shared>,
    pub(super) upkeep: Upkeep,
    /// What cannot be read is said in words.
    read: fn(&[u8]) -> Result<Object, String>,
    subscribers: RwLock<Vec<Subscriber>>,
}

fn read<T: Watched>(object: &[u8]) -> Result<Object, String> {
    Ok(Arc::new(parse::<T>(object)?))
}

fn parse<T: Watched>(object: &[u8]) -> Result<T, String> {
    if object.len() > T::LARGEST {
        return Err(format!("it has more than {}: divide it", body::size(T::LARGEST)));
    }
    serde_json::from_slice::<T>(object).map_err(|error| describe(T::KIND.kind, object, &error))
}

/// Reads an object as watches do, for whoever has it from elsewhere; `None` where not even its name can be read.
///
/// # Errors
///
/// What is known of an object that cannot be read.
pub fn read_object<T: Watched>(object: &[u8]) -> Result<T, Option<Box<Unreadable>>> {
    parse(object).map_err(|error| {
        let meta = wire::meta(object).ok()?;
        Some(Box::new(Unreadable { meta, error, conditions: wire::conditions(object) }))
    })
}

impl Source {
    pub(crate) fn new<T: Watched>(namespaces: &[String], selector: Selector, metrics: Metrics) -> Self {
        let shared = Arc::new(Shared::new(T::KIND, namespaces));
        let scope = |(_, namespace): (usize, Option<&str>)| Scope {
            namespace: namespace.map(str::to_owned),
            health: Health::default(),
        };
        let upkeep = Upkeep::new(T::KIND, selector, shared.scopes().map(scope).collect(), metrics);
        Self { shared, upkeep, read: read::<T>, subscribers: RwLock::new(vec![]) }
    }

    pub(crate) fn selector(&self) -> &Selector {
        &self.upkeep.selector
    }

    /// Nobody needs it yet: nothing waits for it, and it begins when it is needed.
    pub(crate) fn rest(&self) {
        if self.subscribers.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.upkeep.rest();
        }
    }

    /// Somebody needs it from now on.
    pub(crate) fn begin(&self) {
        self.upkeep.begin();
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        self.subscribers.write().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    /// Calls the controllers' functions. They are not ours: a panic in one must not end the watch.
    fn tell(&self, what: impl Fn(&Subscriber)) {
        for subscriber in self.subscribers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if catch_unwind(AssertUnwindSafe(|| what(subscriber))).is_err() {
                tracing::error!(
                    kind = self.upkeep.kind.kind,
                    "a function that maps objects to keys panicked; event skipped"
                );
            }
        }
    }

    fn put_read(&self, object: Object, delivery: Delivery) {
        let seen = version(&object.meta().resource_version);
        _ = self.shared.clear_unreadable(object.meta());
        // Indexing calls the controllers' functions as well.
        let put = AssertUnwindSafe(|| self.shared.put(object, delivery.epoch, delivery.listing));
        let Ok(change) = catch_unwind(put) else {
            tracing::error!(kind = self.upkeep.kind.kind, "an index function panicked; object skipped");
            return;
        };
        self.advance(seen, delivery);
        if let Some(change) = change {
            let brought = self.upkeep.brought(delivery);
            self.tell(|subscriber| (subscriber.changed)(&change, brought));
        }
    }

    fn put_unreadable(&self, object: &[u8], error: String, delivery: Delivery) {
        let kind = self.upkeep.kind.kind;
        let Ok(meta) = wire::meta(object) else {
            tracing::error!(kind, "an object without a readable name was skipped");
            return;
        };
        tracing::warn!(kind, namespace = meta.namespace, name = meta.name, error, "an object cannot be read");
        let seen = version(&meta.resource_version);
        let unread = self
            .shared
            .put_unreadable(Unreadable { meta, error, conditions: wire::conditions(object) }, delivery.epoch);
        self.advance(seen, delivery);
        if let Some(unread) = unread {
            let brought = self.upkeep.brought(delivery);
            self.tell(|subscriber| (subscriber.unreadable)(&unread, brought));
        }
    }

    fn gone(&self, change: Option<Change>, unreadable: Option<Arc<Unreadable>>, brought: Brought) {
        if let Some(change) = change {
            self.tell(|subscriber| (subscriber.changed)(&change, brought));
        }
        if let Some(now) = unreadable {
            let unread = Unread { old: None, now };
            self.tell(|subscriber| (subscriber.unreadable)(&unread, brought));
        }
    }

    /// Events of a watch come in the order of versions, those of a list do not: its version counts at its end.
    fn advance(&self, seen: u64, delivery: Delivery) {
        if !delivery.listing {
            self.saw(delivery.scope, seen);
        }
    }

    /// An object was listed, created or changed.
    pub(super) fn put(&self, object: &[u8], delivery: Delivery) {
        match (self.read)(object) {
            Ok(read) => self.put_read(read, delivery),
            Err(error) => self.put_unreadable(object, error, delivery),
        }
    }

    /// An object was deleted.
    pub(super) fn delete(&self, meta: &Meta, delivery: Delivery) {
        let unreadable = self.shared.clear_unreadable(meta);
        let change = self.shared.remove(meta);
        self.advance(version(&meta.resource_version), delivery);
        self.gone(change, unreadable, Brought::Event);
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
        if let Some(health) = self.upkeep.health(scope) {
            health.set_synced();
        }
        swept.into_iter().for_each(|change| self.gone(Some(change), None, Brought::Listed));
        unreadable.into_iter().for_each(|object| self.gone(None, Some(object), Brought::Listed));
        self.tell(|subscriber| (subscriber.advanced)());
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;
    use trimtab_plan::Kind;

    use super::*;

    #[derive(Deserialize)]
    struct Small {
        metadata: Meta,
    }

    impl Watched for Small {
        const KIND: Kind = Kind::namespaced("example.com", "v1", "Small", "smalls");
        const LARGEST: usize = 2048;

        fn meta(&self) -> &Meta {
            &self.metadata
        }
    }

    #[test]
    fn what_is_too_large_is_not_read_and_told() {
        let source = Source::new::<Small>(&[], Selector::default(), Metrics::new());
        let put = |name: &str, length: usize| {
            let metadata = json!({"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"});
            let object = json!({"metadata": metadata, "spec": "x".repeat(length)}).to_string();
            source.put(object.as_bytes(), Delivery { scope: 0, epoch: 1, listing: false });
        };
        put("small", 1000);
        put("large", 2048);
        assert_eq!(source.shared.len(), 1);
        let store = crate::store::Store::<Small>::new(source.shared.clone(), vec![]);
        let told = store.unreadable("n", "large").map(|unreadable| unreadable.error.clone());
        assert_eq!(told.as_deref(), Some("it has more than 2 KiB: divide it"));
        assert!(store.get("n", "small").is_some() && store.unreadable("n", "small").is_none());
    }
}
