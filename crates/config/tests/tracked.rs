//! StatefulSets and DaemonSets whose revisions carry their configuration: histories of changes and undos against a small
//! model of the API server and of the controller that keeps revisions. What counts is what a pod that starts reads.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_config::{
    ConfigMapView, DigestKey, Known, Pins, RevisionView, Source, SourceView, StatefulSetView, TrackedSnapshot, track,
};
use trimtab_crds::names;
use trimtab_plan::Verb;

const NOW: &str = "2026-01-01T00:00:00Z";

/// StatefulSet `db` that reads ConfigMap `web`, which its pods need not have.
struct World {
    set: Value,
    revisions: Vec<Value>,
    config_maps: BTreeMap<String, Value>,
    told: Vec<&'static str>,
    because: String,
    count: usize,
}

impl World {
    fn new(live: Option<&str>) -> Self {
        let reads = json!([{"configMapRef": {"name": "web", "optional": true}}]);
        let set = json!({
            "metadata": {"name": "db", "namespace": "ns", "uid": "db", "resourceVersion": "1",
                "annotations": {names::CONFIG_TRACK: "Referenced"}},
            "spec": {"template": {"metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db:1", "envFrom": reads}]}}},
        });
        let mut world = Self {
            set,
            revisions: vec![],
            config_maps: BTreeMap::new(),
            told: vec![],
            because: String::new(),
            count: 0,
        };
        world.keep_revision();
        world.set(live);
        world
    }

    fn set(&mut self, value: Option<&str>) {
        match value {
            Some(value) => {
                let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "web", "resourceVersion": "1"},
                    "data": {"v": value}});
                self.config_maps.insert("web".to_owned(), object);
            }
            None => _ = self.config_maps.remove("web"),
        }
        self.settle();
    }

    fn image(&mut self, image: &str) {
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        self.keep_revision();
        self.settle();
    }

    /// As `kubectl rollout undo` does it: the template of a revision is written back, whatever it was.
    fn undo_to(&mut self, index: usize) {
        let mut template = self.revisions[index]["data"]["spec"]["template"].clone();
        template.as_object_mut().unwrap().remove("$patch");
        self.set["spec"]["template"] = template;
        self.keep_revision();
        self.settle();
    }

    /// To the revision before: the last but one.
    fn undo(&mut self) {
        self.undo_to(self.revisions.len() - 2);
    }

    /// As a StatefulSet's controller does: a template that was there before becomes the latest revision again.
    fn keep_revision(&mut self) {
        let mut template = self.set["spec"]["template"].clone();
        template["$patch"] = "replace".into();
        template["metadata"]["creationTimestamp"] = Value::Null;
        let data = json!({"spec": {"template": template}});
        let old = self.revisions.iter().position(|revision| revision["data"] == data);
        let revision = old.map(|index| self.revisions.remove(index)).unwrap_or_else(|| {
            self.count += 1;
            let name = format!("db-{}", self.count);
            let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "db", "controller": true});
            json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": [owner]}, "data": data})
        });
        self.revisions.push(revision);
    }

    fn view(object: &Value) -> SourceView {
        SourceView::ConfigMap(Arc::new(serde_json::from_str::<ConfigMapView>(&object.to_string()).unwrap()))
    }

    fn snapshot(&self) -> TrackedSnapshot {
        let web = Source::config_map("web");
        let copies = self.config_maps.iter().filter(|(name, _)| *name != "web").map(|(_, object)| Self::view(object));
        let known = Known {
            live: self.config_maps.get("web").map(Self::view),
            copies: copies.collect(),
            strangers: vec![],
            unseen: false,
        };
        TrackedSnapshot {
            kind: names::STATEFUL_SET,
            workload: serde_json::from_value::<StatefulSetView>(self.set.clone()).unwrap().0,
            revisions: self
                .revisions
                .iter()
                .map(|revision| Arc::new(serde_json::from_value::<RevisionView>(revision.clone()).unwrap()))
                .collect(),
            sources: BTreeMap::from([(web, known)]),
            quiet_period: Duration::ZERO,
            digest_key: DigestKey::default(),
        }
    }

    /// Decides and writes until nothing is to be written any more.
    fn settle(&mut self) {
        for _ in 0..8 {
            let now: Timestamp = NOW.parse().unwrap();
            let plan = track(now, &self.snapshot());
            self.because = plan.because.iter().map(|because| because.reason).collect::<Vec<_>>().join(" ");
            self.told.extend(plan.notices.iter().map(|notice| notice.reason));
            if plan.writes.is_empty() {
                return;
            }
            for write in plan.writes {
                self.write(&write.target.name, write.verb);
            }
        }
        panic!("it goes on writing: {:#}", self.set);
    }

    fn write(&mut self, name: &str, verb: Verb) {
        match verb {
            Verb::Merge { body, .. } => {
                let template = self.set["spec"]["template"].clone();
                merge(&mut self.set, &body);
                if self.set["spec"]["template"] != template {
                    self.keep_revision();
                }
            }
            Verb::CopyFrom { mut body, .. } => {
                body["metadata"]["name"] = name.into();
                body["metadata"]["namespace"] = "ns".into();
                body["metadata"]["uid"] = name.into();
                body["data"] = self.config_maps["web"]["data"].clone();
                assert!(self.config_maps.insert(name.to_owned(), body).is_none(), "{name} is there already");
            }
            Verb::Patch { ops, .. } => {
                let owners = serde_json::to_value(&ops).unwrap();
                let owners = owners.as_array().unwrap().iter().find(|op| op["path"] == "/metadata/ownerReferences");
                self.config_maps.get_mut(name).unwrap()["metadata"]["ownerReferences"] =
                    owners.unwrap()["value"].clone();
            }
            Verb::Delete { .. } => _ = self.config_maps.remove(name).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What a pod reads that is made now of a revision's template.
    fn read_by(&self, revision: &Value) -> String {
        let pins = Pins::of(revision["data"]["spec"]["template"]["metadata"]["annotations"][names::CONFIG].as_str());
        let web = Source::config_map("web");
        let pin = pins.get(&web);
        let object = self.config_maps.get(&pin.map_or_else(|| "web".to_owned(), |pin| pin.copy_name(&web)));
        let how = if pin.is_some() { "" } else { "live " };
        format!("{how}{}", object.map_or("nothing", |object| object["data"]["v"].as_str().unwrap()))
    }

    fn shown(&self) -> String {
        let latest = self.revisions.last().unwrap();
        let image = latest["data"]["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        format!("{image} {}", self.read_by(latest))
    }
}

fn merge(into: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        if value.is_object() {
            if !into[name].is_object() {
                into[name] = json!({});
            }
            merge(&mut into[name], value);
        } else if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

/// One move, and what a pod that starts then is and reads.
fn check(world: &mut World, step: &str, expected: &str) {
    match step.split_once(' ') {
        Some(("set", value)) => world.set(Some(value)),
        Some(("image", image)) => world.image(image),
        Some(("undo", index)) => world.undo_to(index.parse().unwrap()),
        _ if step == "undo" => world.undo(),
        _ if step == "remove" => world.set(None),
        _ => panic!("{step}"),
    }
    assert_eq!(world.shown(), expected, "after {step}: {:#}", world.set);
}

#[test]
fn the_first_undo_brings_configuration_back_with_the_template() {
    let mut world = World::new(Some("a"));
    assert_eq!((world.shown().as_str(), world.because.as_str()), ("db:1 live a", "ConfigUnprotected"));
    assert_eq!(world.told, ["ConfigUnprotected"]);
    check(&mut world, "set b", "db:1 b");
    assert_eq!(world.because, "Frozen");
    check(&mut world, "undo", "db:1 a");
    assert_eq!(world.told, ["ConfigUnprotected", "ConfigBroughtBack"]);
    // An undo of the undo, as kubectl knows it: the revision before is the template without pins.
    check(&mut world, "undo", "db:1 live b");
    check(&mut world, "undo", "db:1 a");
    check(&mut world, "set c", "db:1 c");
    check(&mut world, "undo", "db:1 a");
}

#[test]
fn every_template_without_a_pin_is_remembered_with_what_it_read() {
    let mut world = World::new(Some("a"));
    check(&mut world, "image db:2", "db:2 live a");
    check(&mut world, "set b", "db:2 b");
    check(&mut world, "image db:3", "db:3 b");
    check(&mut world, "undo 0", "db:1 a");
    check(&mut world, "set c", "db:1 c");
    // Its template is that of db:2 without a pin, which its revision is still there of.
    let unpinned = world.revisions.iter().position(|revision| world.read_by(revision) == "live c").unwrap();
    check(&mut world, &format!("undo {unpinned}"), "db:2 a");
}

#[test]
fn what_was_not_there_is_not_there_again() {
    let mut world = World::new(None);
    assert_eq!(world.shown(), "db:1 live nothing");
    check(&mut world, "set a", "db:1 a");
    check(&mut world, "undo", "db:1 nothing");
}

#[test]
fn a_workload_that_is_written_whole_is_not_taken_for_an_undo() {
    let mut world = World::new(Some("a"));
    let manifest = world.set.clone();
    world.set(Some("b"));
    // As `kubectl replace` of the first manifest, which knows nothing of us.
    world.set["metadata"]["annotations"] = json!({names::CONFIG_TRACK: "Referenced"});
    world.set["spec"] = manifest["spec"].clone();
    world.keep_revision();
    world.settle();
    assert_eq!(world.shown(), "db:1 live b");
    check(&mut world, "set c", "db:1 c");
    check(&mut world, "undo", "db:1 b");
}

#[test]
fn somebody_who_takes_pins_out_again_and_again_is_not_fought() {
    let mut world = World::new(Some("a"));
    let template = world.set["spec"]["template"].clone();
    world.set(Some("b"));
    let mut shown = vec![];
    for _ in 0..4 {
        world.set["spec"]["template"] = template.clone();
        world.keep_revision();
        world.settle();
        shown.push(world.shown());
    }
    assert_eq!(shown[1..], ["db:1 live b", "db:1 live b", "db:1 live b"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever came before: an undo gives pods what those of that revision read, as long as nobody undid to it before.
    #[test]
    fn an_undo_gives_what_the_revision_s_pods_read(moves in prop::collection::vec((0u8..2, 0u8..5), 1..8), back in 0usize..8) {
        let mut world = World::new(Some("0"));
        let mut read = BTreeMap::new();
        let note = |world: &World, read: &mut BTreeMap<String, String>| {
            let name = world.revisions.last().unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
            read.insert(name, world.shown().replace("live ", ""));
        };
        note(&world, &mut read);
        for (what, value) in moves {
            match what {
                0 => world.set(Some(&value.to_string())),
                _ => world.image(&format!("db:{value}")),
            }
            note(&world, &mut read);
        }
        let index = back % world.revisions.len();
        let name = world.revisions[index]["metadata"]["name"].as_str().unwrap().to_owned();
        world.undo_to(index);
        // A template that was there with different configuration in turn: what its pods read last counts.
        prop_assert_eq!(world.shown().replace("live ", ""), read[&name].clone());
        // No copy is kept that nothing names, and none is missing.
        let owned = world.config_maps.values().filter(|map| map["metadata"]["name"] != "web");
        prop_assert!(owned.into_iter().all(|map| map["metadata"]["ownerReferences"].as_array().is_some_and(|o| !o.is_empty())));
        prop_assert!(world.revisions.iter().all(|revision| !world.read_by(revision).ends_with("nothing")));
    }
}
