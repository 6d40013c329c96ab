//! At which versions objects came about and sources were written lately, as the watches showed it. Kept in memory and for a minute: times
//! of the API server are of whole seconds, and this tells what came first within one. What is forgotten is told by times alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trimtab::Heard;
use trimtab_config::Object;
use trimtab_plan::{Meta, Watched};
use trimtab_reload::Birth;

use crate::memory::{Bounds, Memory};

/// How long it is kept. A workload is noted a few seconds after it was made, and later where very many are made at once.
const KEPT: Duration = Duration::from_mins(1);
/// Of how many objects, and of how many of a namespace. Whoever makes or writes very many pushes out only their own.
const MOST: usize = 8_192;
const OF_A_NAMESPACE: usize = 4_096;

/// What came about lately, by uid. Cheap to clone.
#[derive(Clone)]
pub(super) struct Births(Arc<Mutex<Memory<Box<str>, Known>>>);

/// What is known of an object.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// `None`: it came about before anybody watched.
    birth: Option<Birth>,
    /// A version after which it came about, where a list brought it and no more is known.
    passed: Option<u64>,
    /// The version that was heard of last.
    heard: u64,
    /// Whether a Job was made of it.
    made_of: bool,
}

impl Default for Births {
    fn default() -> Self {
        let bounds = Bounds { of_a_namespace: OF_A_NAMESPACE, all: MOST, unused: Some(KEPT) };
        Self(Arc::new(Mutex::new(Memory::new(bounds))))
    }
}

impl Births {
    fn lock(&self) -> MutexGuard<'_, Memory<Box<str>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of an object, which is the youngest of all by that.
    fn note(&self, now: Instant, namespace: &str, uid: &str, change: impl FnOnce(&mut Known)) {
        let mut all = self.lock();
        let mut known = all.get(namespace, uid).copied().unwrap_or_default();
        change(&mut known);
        all.put(now, namespace, uid.into(), known, 1);
    }

    fn born(&self, now: Instant, meta: &Meta, birth: Birth) {
        self.note(now, &meta.namespace, &meta.uid, |known| {
            (known.birth, known.heard) = (Some(birth), version(meta));
        });
    }

    /// Hears of the objects of a watch that come. One that a list brought may have been written since it was made.
    pub(super) fn of_new<T: Watched>(&self) -> impl Fn(&Heard<'_, T>) + Send + Sync + 'static {
        let births = self.clone();
        move |heard| {
            let meta = heard.new.meta();
            let is_new = heard.old.is_none_or(|old| old.meta().uid != meta.uid);
            if is_new && !heard.listed {
                let made = Some(version(meta));
                births.born(Instant::now(), meta, Birth { made, data: made });
            } else if is_new && heard.passed > 0 {
                births.note(Instant::now(), &meta.namespace, &meta.uid, |known| known.passed = Some(heard.passed));
            }
        }
    }

    /// A source was made, or written.
    pub(super) fn heard(&self, old: Option<&Object>, new: &Object, listed: bool) {
        let (meta, now) = (&new.metadata, Some(version(&new.metadata)));
        let Some(old) = old.filter(|old| old.metadata.uid == meta.uid) else {
            self.born(Instant::now(), meta, Birth { made: now.filter(|_| !listed), data: now });
            return;
        };
        if old.content != new.content {
            let made = self.made_at(&meta.namespace, &meta.uid);
            self.born(Instant::now(), meta, Birth { made, data: now });
        } else if let Some(known) = self.lock().get_mut(&meta.namespace, meta.uid.as_str()) {
            known.heard = version(meta);
        }
    }

    /// A Job was made of what is kept under this uid.
    pub(super) fn made_of(&self, namespace: &str, kept: &str) {
        self.note(Instant::now(), namespace, kept, |known| known.made_of = true);
    }

    /// Whether a Job was made of what is kept under this uid; `None` if that was made before anybody watched, or is forgotten.
    pub(super) fn is_made_of(&self, namespace: &str, kept: &str) -> Option<bool> {
        let known = *self.lock().get(namespace, kept)?;
        (known.made_of || known.birth.is_some()).then_some(known.made_of)
    }

    /// When an object came about. One that has been written since it was last heard of may have other data since then.
    pub(super) fn of(&self, object: &Meta) -> Option<Birth> {
        let known = *self.lock().get(&object.namespace, object.uid.as_str())?;
        let (birth, now) = (known.birth?, version(object));
        Some(if known.heard < now { Birth { data: Some(now), ..birth } } else { birth })
    }

    /// When the object of this uid was made; of one that a list brought only that it was after `since`, if that is known.
    pub(super) fn made_after(&self, namespace: &str, uid: &str, since: Option<u64>) -> Option<u64> {
        let known = *self.lock().get(namespace, uid)?;
        let (made, since) = (known.birth.and_then(|birth| birth.made), since.unwrap_or(u64::MAX));
        // Whatever was written until the watch passed this is older.
        made.or(known.passed.filter(|passed| *passed >= since).map(|passed| passed.saturating_add(1)))
    }

    /// When the object of this uid was made.
    pub(super) fn made_at(&self, namespace: &str, uid: &str) -> Option<u64> {
        self.lock().get(namespace, uid)?.birth?.made
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
        let make =
            |namespace: &str, uid| new(&Heard { old: None, new: &view(namespace, uid), listed: false, passed: 0 });
        let count = |namespace: &str| births.lock().of(namespace).count();
        make("calm", 0);
        (0..2 * MOST).for_each(|n| make("crowd", n));
        assert!(births.made_at("calm", "0").is_some(), "a crowd pushed out another namespace's");
        assert_eq!(count("crowd"), OF_A_NAMESPACE);
        (0..OF_A_NAMESPACE).for_each(|n| make("other", n));
        assert!(count("calm") + count("crowd") + count("other") <= MOST);
        assert!(births.made_at("calm", "0").is_some());
    }

    #[test]
    fn what_is_old_makes_room_wherever_it_is() {
        let (births, begin) = (Births::default(), Instant::now());
        let make = |seconds: u64, namespace: &str, uid| {
            let (meta, made) = (view(namespace, uid).0.metadata, Some(1));
            births.born(begin + Duration::from_secs(seconds), &meta, Birth { made, data: made });
        };
        // More than are kept of all, of namespaces that rest since; and one that is gone, of which a Job was made.
        (0..400).for_each(|n| (0..21).for_each(|uid| make(0, &format!("idle-{n}"), uid)));
        births.made_of("gone", "kept");
        (0..100).for_each(|uid| make(61, "busy", uid));
        let forgotten = (0..100).filter(|uid| births.made_at("busy", &uid.to_string()).is_none()).count();
        assert_eq!(forgotten, 0, "of what is seconds old");
        assert_eq!(births.made_at("idle-7", "20"), None);
        make(130, "busy", 0);
        assert_eq!(births.is_made_of("gone", "kept"), None, "what is made of something is kept for ever");
    }

    #[test]
    fn what_was_made_of_something_is_known_with_its_birth() {
        let births = Births::default();
        assert_eq!(births.is_made_of("ns", "7"), None);
        births.of_new::<ConfigMapView>()(&Heard { old: None, new: &view("ns", 7), listed: false, passed: 0 });
        assert_eq!(births.is_made_of("ns", "7"), Some(false));
        births.made_of("ns", "7");
        births.made_of("ns", "before");
        assert_eq!((births.is_made_of("ns", "7"), births.made_at("ns", "7")), (Some(true), Some(1)));
        assert_eq!((births.is_made_of("ns", "before"), births.made_at("ns", "before")), (Some(true), None));
    }

    #[test]
    fn of_what_a_list_brings_it_is_known_what_it_came_after() {
        let births = Births::default();
        let new = births.of_new::<ConfigMapView>();
        let check = |uid, passed, since, expected| {
            new(&Heard { old: None, new: &view("ns", uid), listed: true, passed });
            assert_eq!(births.made_after("ns", &uid.to_string(), since), expected, "{passed} {since:?}");
        };
        check(1, 40, Some(30), Some(41));
        check(2, 40, Some(40), Some(41));
        check(3, 40, Some(41), None);
        check(4, 40, None, None);
        check(5, 0, Some(0), None);
        assert_eq!((births.made_at("ns", "1"), births.is_made_of("ns", "1")), (None, None));
        // What was heard before says more.
        new(&Heard { old: None, new: &view("ns", 7), listed: false, passed: 0 });
        assert_eq!(births.made_after("ns", "7", Some(5)), Some(1));
    }

    #[test]
    fn one_that_is_written_all_the_time_takes_one_place() {
        let births = Births::default();
        births.of_new::<ConfigMapView>()(&Heard { old: None, new: &view("", 7), listed: false, passed: 0 });
        let write =
            |n: u64| births.heard(Some(&map(n, &n.to_string(), "")), &map(n + 1, &(n + 1).to_string(), ""), false);
        (0..2 * MOST as u64).for_each(write);
        assert!(births.made_at("", "7").is_some(), "writes of one object pushed out another");
        assert_eq!(births.lock().of("").count(), 2);
    }
}
