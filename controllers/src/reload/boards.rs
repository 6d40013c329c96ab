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
pub(super) struct Busy(Arc<Mutex<Marks>>);

#[derive(Default)]
struct Marks {
    namespaces: BTreeMap<String, Few>,
    /// The number of the next change.
    next: u64,
}

/// Those of a namespace.
#[derive(Default)]
struct Few {
    /// Each, and how it has changed.
    all: BTreeMap<Workload, Mark>,
    /// Those that were seen rolling after a reload and have not been looked at since: they have places, whoever asks first.
    rolling: BTreeSet<Workload>,
}

/// The last change of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    number: u64,
    /// Whether it has been looked at since.
    seen: bool,
    /// Whether something may have changed for it: until a look has said otherwise.
    wants: bool,
}

impl Marks {
    fn of(&mut self, key: &Workload) -> Option<&mut Mark> {
        self.namespaces.get_mut(&key.namespace)?.all.get_mut(key)
    }

    fn note(&mut self, key: &Workload) -> &mut Few {
        let mark = Mark { number: self.next, seen: false, wants: true };
        self.next += 1;
        let few = self.namespaces.entry(key.namespace.clone()).or_default();
        few.all.insert(key.clone(), mark);
        few
    }
}

impl Busy {
    /// Notes workloads that a change concerns before any of them is decided about.
    pub(super) fn add(&self, keys: &[Workload]) {
        let mut all = lock(&self.0);
        keys.iter().for_each(|key| _ = all.note(key));
    }

    /// Notes a workload that has changed itself; whom that wakes.
    pub(super) fn changed(&self, view: &View) -> Vec<Workload> {
        let key = Workload::of(view.kind, &view.metadata);
        let settled = matches!(view.progress, Progress::Settled | Progress::Scaling);
        let rolling = !settled && view.annotation(names::RELOAD_LOG).is_some();
        let mut all = lock(&self.0);
        let few = all.note(&key);
        if rolling {
            few.rolling.insert(key.clone());
        }
        vec![key]
    }

    /// The number of a workload's last change, if it has changed.
    pub(super) fn last_change(&self, key: &Workload) -> Option<u64> {
        Some(lock(&self.0).of(key)?.number)
    }

    /// Notes that a workload is looked at as it is since a change, if that is still its last one.
    pub(super) fn take_since(&self, key: &Workload, change: Option<u64>) -> bool {
        let mut all = lock(&self.0);
        match all.of(key) {
            Some(mark) if Some(mark.number) == change => mark.seen = true,
            Some(_) => return false,
            // Nothing is forgotten that has changed and was not looked at.
            None => {}
        }
        true
    }

    /// Says whether a workload has changed since this was last asked, before it is looked at.
    pub(super) fn take_changed(&self, key: &Workload) -> bool {
        let mut all = lock(&self.0);
        let mark = all.of(key);
        mark.is_some_and(|mark| !std::mem::replace(&mut mark.seen, true))
    }

    /// The workloads of a namespace that were seen rolling since this was last asked.
    pub(super) fn take_rolling(&self, namespace: &str) -> BTreeSet<Workload> {
        lock(&self.0).namespaces.get_mut(namespace).map(|few| std::mem::take(&mut few.rolling)).unwrap_or_default()
    }

    /// Forgets one that is up to date.
    pub(super) fn remove(&self, key: &Workload) {
        let mut all = lock(&self.0);
        if let Some(few) = all.namespaces.get_mut(&key.namespace) {
            // What has changed meanwhile is looked at anew.
            if few.all.get(key).is_some_and(|mark| mark.seen) {
                few.all.remove(key);
                few.rolling.remove(key);
            }
            if few.all.is_empty() {
                all.namespaces.remove(&key.namespace);
            }
        }
    }

    /// Notes whether something has changed for a workload that was looked at. Of what has changed since, that says nothing.
    pub(super) fn note_wants(&self, key: &Workload, wants: bool) {
        if let Some(mark) = lock(&self.0).of(key).filter(|mark| mark.seen) {
            mark.wants = wants;
        }
    }

    /// Whether something may have changed for a workload, so that its pods matter. While it only rolls, its own status says how
    /// far it is.
    pub(super) fn may_want(&self, key: &Workload) -> bool {
        lock(&self.0).of(key).is_some_and(|mark| mark.wants)
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
        assert!(busy.take_changed(&key("a")));
        busy.remove(&key("a"));
        assert!(lock(&busy.0).namespaces.is_empty());
    }

    #[test]
    fn pods_matter_until_a_look_has_found_nothing_to_do() {
        let (busy, check) = (Busy::default(), |busy: &Busy, expected| assert_eq!(busy.may_want(&key("a")), expected));
        check(&busy, false);
        busy.add(&[key("a")]);
        check(&busy, true);
        // The pods of a look were read before what it finds is noted.
        assert!(busy.take_changed(&key("a")));
        check(&busy, true);
        busy.note_wants(&key("a"), true);
        check(&busy, true);
        busy.note_wants(&key("a"), false);
        check(&busy, false);
        busy.add(&[key("a")]);
        busy.note_wants(&key("a"), false);
        assert!(busy.take_changed(&key("a")));
        check(&busy, true);
    }

    #[test]
    fn a_look_counts_unless_something_has_changed_since() {
        let busy = Busy::default();
        assert!(busy.take_since(&key("a"), busy.last_change(&key("a"))));
        busy.add(&[key("a")]);
        let before = busy.last_change(&key("a"));
        assert!(busy.take_since(&key("a"), before) && !busy.take_changed(&key("a")));
        busy.add(&[key("a")]);
        assert!(!busy.take_since(&key("a"), before) && busy.take_changed(&key("a")));
        busy.add(&[key("b")]);
        assert!(!busy.take_since(&key("b"), None));
    }

    #[test]
    fn boards_of_namespaces_without_work_are_not_kept() {
        let boards = Boards::default();
        assert!(boards.with("ns", |board| board.is_empty()));
        assert!(lock(&boards.0).is_empty());
    }
}
