//! What is watched, where, and how the watching goes: the part of a source that is the same for every kind.

use trimtab_plan::Kind;

use super::health::Health;
use crate::Selector;
use crate::metrics::Metrics;

/// What a delivered object was in: the list of this number, or the watch after it.
#[derive(Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) scope: usize,
    pub(crate) epoch: u32,
    pub(crate) listing: bool,
}

/// How a change came to be known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    /// By the first list: it is not news.
    First,
    /// By a later list: when it happened is not known.
    Listed,
    /// By an event of the watch.
    Event,
}

/// What one watch covers: everything, or one namespace.
pub(crate) struct Scope {
    pub(crate) namespace: Option<String>,
    pub(crate) health: Health,
}

/// What is watched, and how its watches are doing.
pub(crate) struct Upkeep {
    pub(crate) kind: Kind,
    pub(crate) selector: Selector,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) metrics: Metrics,
    /// Whether anybody needs it already.
    needed: tokio::sync::watch::Sender<bool>,
}

impl Upkeep {
    pub(crate) fn new(kind: Kind, selector: Selector, scopes: Vec<Scope>, metrics: Metrics) -> Self {
        metrics.init_kind(kind.kind);
        Self { kind, selector, scopes, metrics, needed: tokio::sync::watch::Sender::new(true) }
    }

    pub(crate) fn health(&self, scope: usize) -> Option<&Health> {
        self.scopes.get(scope).map(|scope| &scope.health)
    }

    /// Nothing waits for it, and it begins when it is needed.
    pub(crate) fn rest(&self) {
        _ = self.needed.send_replace(false);
        self.scopes.iter().for_each(|scope| scope.health.set_synced());
    }

    /// Somebody needs it from now on.
    pub(crate) fn begin(&self) {
        self.needed.send_if_modified(|needed| !std::mem::replace(needed, true));
    }

    pub(crate) async fn wait_needed(&self) {
        // The sender lives as long as `self`.
        _ = self.needed.subscribe().wait_for(|needed| *needed).await;
    }

    /// How what a delivery has came to be known.
    pub(crate) fn brought(&self, delivery: Delivery) -> Brought {
        match self.health(delivery.scope) {
            _ if !delivery.listing => Brought::Event,
            Some(health) if !health.synced() => Brought::First,
            _ => Brought::Listed,
        }
    }

    /// What is wrong with the watches.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problem = |scope: &Scope| {
            let place = scope.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
            Some(format!("{}{place}: {}", self.kind.kind, scope.health.problem()?))
        };
        self.scopes.iter().filter_map(problem).collect()
    }
}
