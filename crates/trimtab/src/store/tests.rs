//! What a store promises, held against a model that keeps everything and derives the answers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::Deserialize;

use trimtab_plan::Kind;

use super::*;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct View {
    metadata: Meta,
    group: String,
}

impl Watched for View {
    const KIND: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

fn view(namespace: &str, name: &str, version: u64, group: &str) -> View {
    let metadata = Meta {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        uid: name.to_owned(),
        resource_version: version.to_string(),
        ..Meta::default()
    };
    View { metadata, group: group.to_owned() }
}

fn object(namespace: &str, name: &str, version: u64, group: &str) -> Object {
    Arc::new(view(namespace, name, version, group))
}

fn store(namespaces: &[&str]) -> (Arc<Shared>, Store<View>) {
    let namespaces: Vec<String> = namespaces.iter().map(|namespace| (*namespace).to_owned()).collect();
    let shared = Arc::new(Shared::new(View::KIND, &namespaces));
    let index = shared.add_index(Box::new(|object| vec![typed_ref::<View>(object).unwrap().group.clone()]));
    (shared.clone(), Store::new(shared, vec![("group", index)]))
}

fn names(objects: &[Arc<View>]) -> Vec<&str> {
    objects.iter().map(|object| object.metadata.name.as_str()).collect()
}

#[test]
fn an_index_follows_its_objects() {
    let (shared, store) = store(&[]);
    shared.put(object("n", "b", 1, "red"), 1, true);
    shared.put(object("n", "a", 2, "red"), 1, true);
    shared.put(object("m", "z", 3, "red"), 1, true);
    assert_eq!(names(&store.by_index("group", "red")), ["z", "a", "b"]);
    shared.put(object("n", "b", 4, "blue"), 1, false);
    assert_eq!(names(&store.by_index("group", "red")), ["z", "a"]);
    assert_eq!(names(&store.by_index("group", "blue")), ["b"]);
    shared.remove(&view("n", "b", 5, "").metadata);
    assert!(store.by_index("group", "blue").is_empty());
    assert!(store.by_index("never declared", "blue").is_empty());
    assert_eq!(names(&store.list_namespace("n")), ["a"]);
    assert_eq!(store.len(), 2);
}

#[test]
fn a_relist_gives_the_deletions_that_it_implies() {
    let (shared, store) = store(&[]);
    for name in ["a", "b", "c"] {
        shared.put(object("n", name, 1, ""), 1, true);
    }
    assert!(shared.put(object("n", "a", 1, ""), 2, true).is_none(), "what did not change is no news");
    assert!(shared.put(object("n", "c", 7, ""), 2, true).is_some());
    let gone: Vec<_> = shared.sweep(0, 2).into_iter().filter_map(|change| typed(change.old.unwrap())).collect();
    assert_eq!(names(&gone), ["b"]);
    assert_eq!(names(&store.list()), ["a", "c"]);
}

#[test]
fn only_a_list_may_go_back_in_time() {
    let (shared, store) = store(&[]);
    shared.put(object("n", "a", 5, "new"), 1, true);
    assert!(shared.put(object("n", "a", 4, "old"), 1, false).is_none());
    assert_eq!(store.get("n", "a").unwrap().group, "new");
    assert!(shared.put(object("n", "a", 4, "restored"), 2, true).is_some());
    assert_eq!(store.get("n", "a").unwrap().group, "restored");
}

#[test]
fn a_late_deletion_does_not_take_the_recreated_object() {
    let (shared, store) = store(&[]);
    let mut second = view("n", "a", 9, "");
    second.metadata.uid = "second".to_owned();
    shared.put(Arc::new(second), 1, true);
    assert!(shared.remove(&view("n", "a", 5, "").metadata).is_none());
    assert_eq!(store.len(), 1);
}

#[test]
fn each_namespace_is_listed_for_itself() {
    let (shared, store) = store(&["m", "n"]);
    shared.put(object("m", "a", 1, ""), 1, true);
    shared.put(object("n", "b", 1, ""), 1, true);
    shared.set_synced(0);
    shared.saw(0, 7, false);
    assert!(!store.is_synced() && store.last_seen_resource_version().is_empty());
    assert_eq!((Shared::last_seen(&shared, Some("m")), Shared::last_seen(&shared, Some("n"))), (7, 0));
    assert_eq!(shared.sweep(0, 2).len(), 1, "the list of one says nothing of the other");
    assert_eq!(names(&store.list()), ["b"]);
}

#[test]
fn an_unreadable_object_takes_the_place_of_the_readable() {
    let (shared, store) = store(&[]);
    shared.put(object("n", "a", 1, ""), 1, true);
    let unreadable =
        || Unreadable { meta: view("n", "a", 2, "").metadata, error: "broken".to_owned(), conditions: vec![] };
    assert!(shared.put_unreadable(unreadable(), 1).unwrap().old.is_some());
    assert!(shared.put_unreadable(unreadable(), 1).is_none(), "the same again is no news");
    assert!(store.get("n", "a").is_none() && store.unreadable("n", "a").is_some());
    assert_eq!(shared.sweep_unreadable(0, 2).len(), 1);
    assert!(store.unreadable("n", "a").is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Remove(u8),
    Relist(BTreeSet<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8u8, 0..3u8).prop_map(|(name, group)| Step::Put(name, group)),
        2 => (0..8u8).prop_map(Step::Remove),
        1 => prop::collection::btree_set(0..8u8, 0..8).prop_map(Step::Relist),
    ]
}

proptest! {
    #[test]
    fn changes_tell_the_whole_story(steps in prop::collection::vec(step(), 0..60)) {
        let (shared, store) = store(&[]);
        let (mut truth, mut told): (BTreeMap<String, String>, BTreeMap<String, String>) = Default::default();
        let (mut version, mut epoch) = (0, 1);
        let mut tell = |change: Change| {
            if let Some(old) = change.old.and_then(typed::<View>) {
                assert_eq!(told.remove(&old.metadata.name), Some(old.group.clone()), "old is what was told before");
            }
            if let Some(new) = change.new.and_then(typed::<View>) {
                assert_eq!(told.insert(new.metadata.name.clone(), new.group.clone()), None);
            }
        };
        for step in steps {
            version += 1;
            match step {
                Step::Put(name, group) => {
                    truth.insert(name.to_string(), group.to_string());
                    shared.put(object("n", &name.to_string(), version, &group.to_string()), epoch, false).into_iter().for_each(&mut tell);
                }
                Step::Remove(name) => {
                    truth.remove(&name.to_string());
                    shared.remove(&view("n", &name.to_string(), version, "").metadata).into_iter().for_each(&mut tell);
                }
                Step::Relist(names) => {
                    epoch += 1;
                    truth = names.iter().map(|name| (name.to_string(), "listed".to_owned())).collect();
                    for name in truth.keys() {
                        shared.put(object("n", name, version, "listed"), epoch, true).into_iter().for_each(&mut tell);
                    }
                    shared.sweep(0, epoch).into_iter().for_each(&mut tell);
                }
            }
        }
        prop_assert_eq!(&told, &truth);
        prop_assert_eq!(store.len(), truth.len());
        for group in ["0", "1", "2", "listed"] {
            let expected: Vec<&String> = truth.iter().filter(|(_, g)| *g == group).map(|(name, _)| name).collect();
            let found = store.by_index("group", group);
            prop_assert_eq!(names(&found), expected);
        }
    }
}
