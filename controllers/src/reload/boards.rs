//! The boards of all namespaces, and which workloads may have something to do: kept up to date by what the watches show. Whose
//! turn it is, is for `trimtab-reload` to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trimtab_crds::names;
use trimtab_reload::{Board, Progress, Workload as View};

use crate::workload::Workload;

/// One board for each namespace in which a workload has something to do.
#[derive(Default)]
pub(super) struct Boards(Mutex<BTreeMap<String, Arc<Mutex<Board>>>>);

impl Boards {
    /// Looks at the board of a namespace, or changes it. What is read of stores meanwhile is not older than what is on it.
    pub(super) fn with<R>(&self, namespace: &str, look: impl FnOnce(&mut Board) -> R) -> R {
        let board = lock(&self.0).entry(namespace.to_owned()).or_default().clone();
        let mut own = lock(&board);
        let result = look(&mut own);
        if own.is_empty() {
            drop(own);
            let mut all = lock(&self.0);
            // Nobody else has it, so nobody puts anything on it.
            if Arc::strong_count(&board) == 2 && lock(&board).is_empty() {
                all.remove(namespace);
            }
        }
        result
    }
}

/// The workloads that may have something to do or be doing it: all that a change concerned, until they were found to be up
/// to date.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<BTreeMap<String, Few>>>);

/// Those of a namespace.
#[derive(Default)]
struct Few {
    /// Each, and whether it has changed since it was last looked at.
    all: BTreeMap<Workload, bool>,
    /// Those that were seen rolling after a reload and have not been looked at since: they have places, whoever asks first.
    rolling: BTreeSet<Workload>,
}

impl Busy {
    /// Notes workloads that a change concerns before any of them is decided about.
    pub(super) fn add(&self, keys: &[Workload]) {
        let mut all = lock(&self.0);
        for key in keys {
            all.entry(key.namespace.clone()).or_default().all.insert(key.clone(), true);
        }
    }

    /// Notes a workload that has changed itself; whom that wakes.
    pub(super) fn changed(&self, view: &View) -> Vec<Workload> {
        let key = Workload::of(view.kind, &view.metadata);
        let settled = matches!(view.progress, Progress::Settled | Progress::Scaling);
        let rolling = !settled && view.annotation(names::RELOAD_LOG).is_some();
        let mut all = lock(&self.0);
        let few = all.entry(key.namespace.clone()).or_default();
        few.all.insert(key.clone(), true);
        if rolling {
            few.rolling.insert(key.clone());
        }
        vec![key]
    }

    /// Says whether a workload has changed since this was last asked, before it is looked at.
    pub(super) fn take_changed(&self, key: &Workload) -> bool {
        let mut all = lock(&self.0);
        let changed = all.get_mut(&key.namespace).and_then(|few| few.all.get_mut(key));
        changed.is_some_and(std::mem::take)
    }

    /// The workloads of a namespace that were seen rolling since this was last asked.
    pub(super) fn take_rolling(&self, namespace: &str) -> BTreeSet<Workload> {
        lock(&self.0).get_mut(namespace).map(|few| std::mem::take(&mut few.rolling)).unwrap_or_default()
    }

    /// Forgets one that is up to date.
    pub(super) fn remove(&self, key: &Workload) {
        let mut all = lock(&self.0);
        if let Some(few) = all.get_mut(&key.namespace) {
            // What has changed meanwhile is looked at anew.
            if few.all.get(key) == Some(&false) {
                few.all.remove(key);
                few.rolling.remove(key);
            }
            if few.all.is_empty() {
                all.remove(&key.namespace);
            }
        }
    }

    /// Whether a workload may be busy.
    pub(super) fn has(&self, key: &Workload) -> bool {
        lock(&self.0).get(&key.namespace).is_some_and(|few| few.all.contains_key(key))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use trimtab_crds::names::DEPLOYMENT;

    use super::*;

    fn key(name: &str) -> Workload {
        Workload { kind: DEPLOYMENT, namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_changes_while_it_is_looked_at_stays_busy() {
        let busy = Busy::default();
        busy.add(&[key("a")]);
        assert!(busy.take_changed(&key("a")) && !busy.take_changed(&key("a")));
        busy.add(&[key("a")]);
        busy.remove(&key("a"));
        assert!(busy.has(&key("a")));
        assert!(busy.take_changed(&key("a")));
        busy.remove(&key("a"));
        assert!(!busy.has(&key("a")) && lock(&busy.0).is_empty());
    }

    #[test]
    fn boards_of_namespaces_without_work_are_not_kept() {
        let boards = Boards::default();
        assert!(boards.with("ns", |board| board.is_empty()));
        assert!(lock(&boards.0).is_empty());
    }
}
