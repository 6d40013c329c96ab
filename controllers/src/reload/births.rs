//! At which versions objects came about and sources were written lately, as the watches showed it. Kept in memory and for a minute: times
//! of the API server are of whole seconds, and this tells what came first within one. What is forgotten is told by times alone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trimtab::Heard;
use trimtab_config::Object;
use trimtab_plan::{Meta, Watched};
use trimtab_reload::Birth;

/// How long it is kept. A workload is noted a few seconds after it was made, and later where very many are made at once.
const KEPT: Duration = Duration::from_mins(1);
/// Of how many objects, and of how many of a namespace. Whoever makes or writes very many pushes out only their own.
const MOST: usize = 8_192;
const OF_A_NAMESPACE: usize = 4_096;

/// What came about lately, by uid. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Births(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    namespaces: HashMap<Box<str>, Young>,
    /// How much that is together.
    total: usize,
}

/// What came about in a namespace.
#[derive(Default)]
struct Young {
    all: HashMap<Box<str>, Known>,
    /// Each once, the oldest first; since when that was.
    order: VecDeque<(Instant, Box<str>)>,
    /// What Jobs were made of, by its uid, the oldest first.
    made_of: VecDeque<Box<str>>,
}

/// What is known of an object.
#[derive(Clone, Copy)]
struct Known {
    birth: Birth,
    /// The version that was heard of last.
    heard: u64,
    since: Instant,
}

impl Young {
    fn note(&mut self, meta: &Meta, birth: Birth) {
        let now = Instant::now();
        let known = Known { birth, heard: version(meta), since: now };
        let new = self.all.insert(meta.uid.as_str().into(), known).is_none();
        if new {
            self.order.push_back((now, meta.uid.as_str().into()));
        }
        while self.order.len() > OF_A_NAMESPACE || self.order.front().is_some_and(|(since, _)| is_old(*since, now)) {
            self.forget_one(now);
        }
    }

    /// Forgets the oldest, unless it was noted once more meanwhile: then that is its age.
    fn forget_one(&mut self, now: Instant) {
        let Some((since, uid)) = self.order.pop_front() else { return };
        match self.all.get(&uid) {
            Some(known) if known.since > since && !is_old(known.since, now) => self.order.push_back((known.since, uid)),
            _ => _ = self.all.remove(&uid),
        }
    }

    fn len(&self) -> usize {
        self.all.len() + self.made_of.len()
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.duration_since(since) >= KEPT
}

impl Births {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a namespace, and lets the one that has most forget something if there is too much.
    fn with(&self, namespace: &str, change: impl FnOnce(&mut Young)) {
        let mut all = self.lock();
        let All { namespaces, total } = &mut *all;
        let own = namespaces.entry(namespace.into()).or_default();
        *total -= own.len();
        change(own);
        *total += own.len();
        if own.len() == 0 {
            namespaces.remove(namespace);
        }
        while *total > MOST
            && let Some(most) = namespaces.values_mut().max_by_key(|young| young.len())
        {
            *total -= most.len();
            match most.made_of.len() > most.all.len() {
                true => _ = most.made_of.pop_front(),
                false => most.forget_one(Instant::now()),
            }
            *total += most.len();
        }
    }

    /// Hears of the objects of a watch that come. One that a list brought may have been written since it was made.
    pub(super) fn of_new<T: Watched>(&self) -> impl Fn(&Heard<'_, T>) + Send + Sync + 'static {
        let births = self.clone();
        move |heard| {
            let meta = heard.new.meta();
            if !heard.listed && heard.old.is_none_or(|old| old.meta().uid != meta.uid) {
                let made = Some(version(meta));
                births.with(&meta.namespace, |young| young.note(meta, Birth { made, data: made }));
            }
        }
    }

    /// A source was made, or written.
    pub(super) fn heard(&self, old: Option<&Object>, new: &Object, listed: bool) {
        let now = Some(version(&new.metadata));
        self.with(&new.metadata.namespace, |young| match old.filter(|old| old.metadata.uid == new.metadata.uid) {
            None => young.note(&new.metadata, Birth { made: now.filter(|_| !listed), data: now }),
            Some(old) => {
                let known = young.all.get_mut(new.metadata.uid.as_str());
                if old.content != new.content {
                    let made = known.and_then(|known| known.birth.made);
                    young.note(&new.metadata, Birth { made, data: now });
                } else if let Some(known) = known {
                    known.heard = version(&new.metadata);
                }
            }
        });
    }

    /// A Job was made of what is kept under this uid.
    pub(super) fn made_of(&self, namespace: &str, kept: &str) {
        self.with(namespace, |young| {
            // They are forgotten soon: what was made of them is looked after at once.
            if young.made_of.len() >= OF_A_NAMESPACE {
                young.made_of.pop_front();
            }
            if !young.made_of.iter().any(|known| **known == *kept) {
                young.made_of.push_back(kept.into());
            }
        });
    }

    /// Whether a Job was made of what is kept under this uid; `None` if that was made before anybody watched.
    pub(super) fn is_made_of(&self, namespace: &str, kept: &str) -> Option<bool> {
        let all = self.lock();
        let young = all.namespaces.get(namespace)?;
        let made = young.made_of.iter().any(|known| **known == *kept);
        (made || young.all.contains_key(kept)).then_some(made)
    }

    /// When an object came about. One that has been written since it was last heard of may have other data since then.
    pub(super) fn of(&self, object: &Meta) -> Option<Birth> {
        let known = self.lock().namespaces.get(object.namespace.as_str())?.all.get(object.uid.as_str()).copied()?;
        let now = version(object);
        Some(if known.heard < now { Birth { data: Some(now), ..known.birth } } else { known.birth })
    }

    /// When the object of this uid was made.
    pub(super) fn made_at(&self, namespace: &str, uid: &str) -> Option<u64> {
        self.lock().namespaces.get(namespace)?.all.get(uid)?.birth.made
    }
}

fn version(meta: &Meta) -> u64 {
    meta.resource_version.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trimtab_config::ConfigMapView;

    use super::*;

    fn map(version: u64, value: &str, label: &str) -> Object {
        let metadata =
            json!({"name": "web", "uid": "u", "resourceVersion": version.to_string(), "labels": {"l": label}});
        let text = json!({"metadata": metadata, "data": {"a": value}}).to_string();
        serde_json::from_str::<ConfigMapView>(&text).unwrap().0
    }

    #[test]
    fn only_writes_of_data_count() {
        let births = Births::default();
        let of = |births: &Births, version| births.of(&map(version, "", "").metadata);
        let known = |made, data| Some(Birth { made, data });
        births.heard(None, &map(5, "1", "x"), false);
        births.heard(Some(&map(5, "1", "x")), &map(7, "1", "y"), false);
        assert_eq!(of(&births, 7), known(Some(5), Some(5)));
        // The store is ahead of what was heard: it may be data that was written.
        assert_eq!(of(&births, 8), known(Some(5), Some(8)));
        births.heard(Some(&map(7, "1", "y")), &map(9, "2", "y"), false);
        assert_eq!(of(&births, 9), known(Some(5), Some(9)));
        // When it was made that was there before anybody watched, or that a list brought, is not known.
        let births = Births::default();
        births.heard(Some(&map(5, "1", "x")), &map(7, "1", "y"), false);
        assert_eq!(of(&births, 7), None);
        births.heard(Some(&map(7, "1", "y")), &map(9, "2", "y"), false);
        assert_eq!(of(&births, 9), known(None, Some(9)));
        let births = Births::default();
        births.heard(None, &map(5, "1", "x"), true);
        assert_eq!(of(&births, 5), known(None, Some(5)));
    }

    fn view(namespace: &str, uid: usize) -> ConfigMapView {
        let mut view = ConfigMapView(map(1, "1", "x"));
        (view.0.metadata.namespace, view.0.metadata.uid) = (namespace.to_owned(), uid.to_string());
        view
    }

    #[test]
    fn few_are_kept_and_a_crowd_pushes_out_its_own() {
        let births = Births::default();
        let new = births.of_new::<ConfigMapView>();
        let make = |namespace: &str, uid| new(&Heard { old: None, new: &view(namespace, uid), listed: false });
        make("calm", 0);
        (0..2 * MOST).for_each(|n| make("crowd", n));
        assert!(births.made_at("calm", "0").is_some(), "a crowd pushed out another namespace's");
        {
            let all = births.lock();
            let crowd = &all.namespaces["crowd"];
            assert!(crowd.order.len() <= OF_A_NAMESPACE && crowd.all.len() == crowd.order.len());
        }
        (0..OF_A_NAMESPACE).for_each(|n| make("other", n));
        let all = births.lock();
        assert!(all.namespaces.values().map(Young::len).sum::<usize>() <= MOST);
        drop(all);
        assert!(births.made_at("calm", "0").is_some());
    }

    #[test]
    fn one_that_is_written_all_the_time_takes_one_place() {
        let births = Births::default();
        births.of_new::<ConfigMapView>()(&Heard { old: None, new: &view("", 7), listed: false });
        let write =
            |n: u64| births.heard(Some(&map(n, &n.to_string(), "")), &map(n + 1, &(n + 1).to_string(), ""), false);
        (0..2 * MOST as u64).for_each(write);
        assert!(births.made_at("", "7").is_some(), "writes of one object pushed out another");
        assert_eq!(births.lock().namespaces[""].order.len(), 2);
    }
}
