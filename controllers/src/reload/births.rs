//! At which versions young objects came about, as the watches showed it. Kept in memory and for a minute: times of the API
//! server are of whole seconds, and this tells what came first within one. What is forgotten is told by times alone.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    all: HashMap<Box<str>, Birth>,
    order: VecDeque<(Instant, Box<str>)>,
    /// What Jobs were made of, by its uid.
    made_of: BTreeSet<Box<str>>,
}

impl Births {
    /// An object was made.
    pub(super) fn made(&self, meta: &Meta) {
        let version = version(meta);
        let mut young = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some((at, uid)) = young.order.pop_front() {
            if now.duration_since(at) < KEPT && young.order.len() < MOST {
                young.order.push_front((at, uid));
                break;
            }
            young.all.remove(&uid);
        }
        let uid: Box<str> = meta.uid.as_str().into();
        young.all.insert(uid.clone(), Birth { made: version, data: version });
        young.order.push_back((now, uid));
    }

    /// Hears of the objects of a watch that come.
    pub(super) fn of_new<T: Watched>(&self) -> impl Fn(Option<&T>, &T) + Send + Sync + 'static {
        let births = self.clone();
        move |old, new| {
            if old.is_none() {
                births.made(new.meta());
            }
        }
    }

    /// A source was made, or written.
    pub(super) fn heard(&self, old: Option<&Object>, new: &Object) {
        match old.filter(|old| old.metadata.uid == new.metadata.uid) {
            None => self.made(&new.metadata),
            Some(old) if old.content != new.content => {
                let mut young = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(birth) = young.all.get_mut(new.metadata.uid.as_str()) {
                    birth.data = version(&new.metadata);
                }
            }
            Some(_) => {}
        }
    }

    /// A Job was made of what is kept under this uid.
    pub(super) fn made_of(&self, kept: &str) {
        let mut young = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // They are forgotten soon: what was made of them is looked after at once.
        if young.made_of.len() >= MOST {
            young.made_of.pop_first();
        }
        young.made_of.insert(kept.into());
    }

    /// Whether a Job was made of what is kept under this uid; `None` if that was made before anybody watched.
    pub(super) fn is_made_of(&self, kept: &str) -> Option<bool> {
        let young = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let made = young.made_of.contains(kept);
        (made || young.all.contains_key(kept)).then_some(made)
    }

    /// When an object came about.
    pub(super) fn of(&self, uid: &str) -> Option<Birth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all.get(uid).copied()
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
        births.heard(None, &map(5, "1", "x"));
        births.heard(Some(&map(5, "1", "x")), &map(7, "1", "y"));
        assert_eq!(births.of("u"), Some(Birth { made: 5, data: 5 }));
        births.heard(Some(&map(7, "1", "y")), &map(9, "2", "y"));
        assert_eq!(births.of("u"), Some(Birth { made: 5, data: 9 }));
        // What was there before anybody watched is not known.
        let births = Births::default();
        births.heard(Some(&map(5, "1", "x")), &map(7, "2", "x"));
        assert_eq!(births.of("u"), None);
    }

    #[test]
    fn few_are_kept() {
        let births = Births::default();
        for n in 0..3 * MOST {
            births.made(&Meta { uid: n.to_string(), ..Meta::default() });
        }
        let young = births.0.lock().unwrap();
        assert!(young.all.len() <= MOST + 1 && young.all.len() == young.order.len());
    }
}
