//! Reading one's own writes: what a store must have seen before a key is decided again. Not how the wait is done; that
//! is the queue's.

use std::sync::Arc;

use trimtab_plan::{Kind, Meta, ObjectRef};

use crate::store::version;

/// A store, whatever it holds.
pub(crate) trait View: Send + Sync {
    /// The kind of what it holds.
    fn kind(&self) -> Kind;
    /// Whether a watch behind it covers this namespace.
    fn covers(&self, namespace: &str) -> bool;
    /// The newest resource version that the watch of this namespace has passed.
    fn last_seen(&self, namespace: &str) -> u64;
    /// The metadata of an object.
    fn meta(&self, namespace: &str, name: &str) -> Option<Meta>;
    /// The resource version of an object.
    fn version_of(&self, namespace: &str, name: &str) -> Option<String>;
}

/// A store that a controller reads, and what it is limited to.
#[derive(Clone)]
pub(crate) struct Watching {
    pub(crate) view: Arc<dyn View>,
    pub(crate) selector: crate::Selector,
}

/// What a store must show for a write to count as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The object at this version or later.
    Version(String),
    /// The object gone, or marked as being deleted.
    Deleted,
}

/// A write whose effect on the stores is awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) target: ObjectRef,
    pub(crate) effect: Effect,
    /// The labels of the object afterwards, to tell whether a watch with a selector will show it.
    pub(crate) labels: std::collections::BTreeMap<String, String>,
}

/// Waits for one write in one store.
pub(crate) struct Gate {
    view: Arc<dyn View>,
    target: ObjectRef,
    effect: Effect,
}

impl Gate {
    /// The gates for what was written, in those of the stores that will show it.
    pub(crate) fn all(watching: &[Watching], written: &[Written]) -> Vec<Self> {
        let gates = |w: &Written| {
            let stores = watching.iter().filter(|s| same(&s.view.kind(), &w.target.kind) && shows(s, w));
            let gate = |s: &Watching| Self { view: s.view.clone(), target: w.target.clone(), effect: w.effect.clone() };
            stores.map(gate).collect::<Vec<_>>()
        };
        written.iter().flat_map(gates).filter(|gate| !gate.passed()).collect()
    }

    /// Whether the store has seen the write.
    pub(crate) fn passed(&self) -> bool {
        let (namespace, name) = (self.target.namespace.as_str(), self.target.name.as_str());
        match &self.effect {
            Effect::Deleted => self.view.meta(namespace, name).is_none_or(|meta| meta.deletion_timestamp.is_some()),
            Effect::Version(text) => {
                let wanted = version(text);
                let own = self.view.version_of(namespace, name);
                if wanted == 0 {
                    return own.as_deref() == Some(text);
                }
                own.is_some_and(|own| version(&own) >= wanted) || self.view.last_seen(namespace) >= wanted
            }
        }
    }
}

/// Versions of one kind are the same objects.
fn same(a: &Kind, b: &Kind) -> bool {
    a.group == b.group && a.kind == b.kind
}

/// Whether the store's watch will show the effect: waiting for one that never comes would stall the key.
fn shows(store: &Watching, written: &Written) -> bool {
    let (namespace, name) = (written.target.namespace.as_str(), written.target.name.as_str());
    let shown = || store.view.version_of(namespace, name).is_some() || store.selector.surely_matches(&written.labels);
    store.view.covers(namespace) && shown()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Selector;

    const PODS: Kind = Kind::namespaced("", "v1", "Pod", "pods");

    /// A store that watches the namespace `n` and is at version 5.
    struct Empty;

    impl View for Empty {
        fn kind(&self) -> Kind {
            PODS
        }
        fn covers(&self, namespace: &str) -> bool {
            namespace == "n"
        }
        fn last_seen(&self, _: &str) -> u64 {
            5
        }
        fn meta(&self, _: &str, _: &str) -> Option<Meta> {
            None
        }
        fn version_of(&self, _: &str, _: &str) -> Option<String> {
            None
        }
    }

    #[test]
    fn only_what_a_store_will_show_is_waited_for() {
        let gates = |kind: Kind, namespace: &str, version: &str, selector: Selector| {
            let effect = Effect::Version(version.to_owned());
            let written = Written { target: kind.object(namespace, "x"), effect, labels: BTreeMap::new() };
            Gate::all(&[Watching { view: Arc::new(Empty), selector }], &[written]).len()
        };
        let maps = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
        assert_eq!(gates(PODS, "n", "6", Selector::all()), 1);
        assert_eq!(gates(PODS, "n", "5", Selector::all()), 0, "seen already");
        assert_eq!(gates(PODS, "elsewhere", "6", Selector::all()), 0);
        assert_eq!(gates(PODS, "n", "6", Selector::labels("app=web")), 0);
        assert_eq!(gates(maps, "n", "6", Selector::all()), 0);
    }
}
