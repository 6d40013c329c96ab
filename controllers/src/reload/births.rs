//! At which versions objects came about and sources were written lately, as the watches showed it. Kept in memory and for a minute: times of the API
//! server are of whole seconds, and this tells what came first within one. What is forgotten is told by times alone.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trimtab::Heard;
use trimtab_config::Object;
use trimtab_plan::{Meta, Watched};
use trimtab_reload::Birth;

/// How long it is kept. A workload is noted a few seconds after it was made, and later where very many are made at once.
const KEPT: Duration = Duration::from_mins(1);
/// Of how many objects.
const MOST: usize = 8_192;

/// What came about lately, by uid. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Births(Arc<Mutex<Young>>);

#[derive(Default)]
struct Young {
    all: HashMap<Box<str>, Known>,
    order: VecDeque<(Instant, Box<str>)>,
    /// What Jobs were made of, by its uid.
    made_of: BTreeSet<Box<str>>,
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
        while let Some((since, uid)) = self.order.pop_front() {
            if now.duration_since(since) < KEPT && self.order.len() < MOST {
                self.order.push_front((since, uid));
                break;
            }
            // What was noted once more stays until then.
            if self.all.get(&uid).is_some_and(|known| known.since == since) {
                self.all.remove(&uid);
            }
        }
        let uid: Box<str> = meta.uid.as_str().into();
        self.all.insert(uid.clone(), Known { birth, heard: version(meta), since: now });
        self.order.push_back((now, uid));
    }
}

impl Births {
    fn young(&self) -> MutexGuard<'_, Young> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of the objects of a watch that come. One that a list brought may have been written since it was made.
    pub(super) fn of_new<T: Watched>(&self) -> impl Fn(&Heard<'_, T>) + Send + Sync + 'static {
        let births = self.clone();
        move |heard| {
            let meta = heard.new.meta();
            if !heard.listed && heard.old.is_none_or(|old| old.meta().uid != meta.uid) {
                let made = Some(version(meta));
                births.young().note(meta, Birth { made, data: made });
            }
        }
    }

    /// A source was made, or written.
    pub(super) fn heard(&self, old: Option<&Object>, new: &Object, listed: bool) {
        let (mut young, now) = (self.young(), Some(version(&new.metadata)));
        match old.filter(|old| old.metadata.uid == new.metadata.uid) {
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
        }
    }

    /// A Job was made of what is kept under this uid.
    pub(super) fn made_of(&self, kept: &str) {
        let mut young = self.young();
        // They are forgotten soon: what was made of them is looked after at once.
        if young.made_of.len() >= MOST {
            young.made_of.pop_first();
        }
        young.made_of.insert(kept.into());
    }

    /// Whether a Job was made of what is kept under this uid; `None` if that was made before anybody watched.
    pub(super) fn is_made_of(&self, kept: &str) -> Option<bool> {
        let young = self.young();
        let made = young.made_of.contains(kept);
        (made || young.all.contains_key(kept)).then_some(made)
    }

    /// When an object came about. One that has been written since it was last heard of may have other data since then.
    pub(super) fn of(&self, object: &Meta) -> Option<Birth> {
        let known = self.young().all.get(object.uid.as_str()).copied()?;
        let now = version(object);
        Some(if known.heard < now { Birth { data: Some(now), ..known.birth } } else { known.birth })
    }

    /// When the object of this uid was made.
    pub(super) fn made_at(&self, uid: &str) -> Option<u64> {
        self.young().all.get(uid)?.birth.made
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

    #[test]
    fn few_are_kept() {
        let births = Births::default();
        let new = births.of_new::<ConfigMapView>();
        for n in 0..3 * MOST {
            let mut view = ConfigMapView(map(1, "1", "x"));
            view.0.metadata.uid = n.to_string();
            new(&Heard { old: None, new: &view, listed: false });
        }
        let young = births.young();
        assert!(young.order.len() <= MOST + 1 && young.all.len() == young.order.len());
    }
}
