//! The way out, rule by rule, on worlds made by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use trimtab_crds::{mark::LET_GO, names};
use trimtab_plan::{Meta, PatchOp, Verb, Write};
use trimtab_release::{DeploymentView, ReplicaSetView};
use trimtab_uninstall::{Copy, KeptJob, Mode, Next, Other, PlanFacts, Snapshot, State, decide, survey};

const OLD: &str = "sample:v1";
const NEW: &str = "sample:v2";

fn template(image: &str, pins: &str) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    });
    if !pins.is_empty() {
        template["metadata"]["annotations"] = json!({names::CONFIG: pins});
    }
    template
}

fn deployment(image: &str, annotations: Value, paused: bool) -> DeploymentView {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 7, "annotations": annotations},
        "spec": {
            "replicas": 4, "paused": paused, "template": template(image, ""),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        },
        "status": {"observedGeneration": 7, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 4},
    }))
    .unwrap()
}

/// A ReplicaSet, of the Deployment or of its plan.
fn set(name: &str, image: &str, owner: &str, replicas: i32, available: i32) -> ReplicaSetView {
    let mut template = template(image, "");
    template["metadata"]["labels"][names::POD_TEMPLATE_HASH] = json!(name);
    let owner = match owner {
        "plan" => {
            json!({"apiVersion": "trimtab.dev/v1alpha1", "kind": "ReleasePlan", "name": "web", "uid": "p", "controller": true})
        }
        _ => json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}),
    };
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1, "resourceVersion": "9",
            "annotations": {names::CANARY_OF: "web"}, "ownerReferences": [owner]},
        "spec": {"replicas": replicas, "template": template},
        "status": {"observedGeneration": 1, "replicas": replicas, "availableReplicas": available},
    }))
    .unwrap()
}

fn world(deployment: DeploymentView, sets: Vec<ReplicaSetView>, status: Value) -> Snapshot {
    let plan = json!({
        "metadata": {"name": "web"}, "spec": {"targetRef": {"name": "web"}},
        "status": status,
    });
    Snapshot {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        deployment: Some(Arc::new(deployment)),
        plan: PlanFacts::read(&plan),
        replica_sets: sets.into_iter().map(Arc::new).collect(),
        copies: vec![],
    }
}

fn annotate(meta: &mut Meta, name: &str, value: &str) {
    let mut all: BTreeMap<&str, &str> = meta.annotations.iter().collect();
    all.insert(name, value);
    meta.annotations = serde_json::from_value(json!(all)).unwrap();
}

fn guarded() -> Value {
    json!({names::PLAN: "web"})
}

fn held() -> Value {
    json!({names::PLAN: "web", names::HELD: "by ann"})
}

fn stable() -> ReplicaSetView {
    set("web-old", OLD, "deployment", 4, 4)
}

fn status(digest: &str) -> Value {
    json!({"stable": {"replicaSet": "web-old"}, "step": "1/3", "release": {"digest": digest, "by": "ann", "stage": "Steps"}})
}

fn digest(image: &str) -> String {
    trimtab_release::template_digest(&template(image, ""))
}

/// A change in mid-release, whose canary has so many pods, and so many of them available.
fn releasing(pods: i32, available: i32) -> Snapshot {
    let sets = vec![stable(), set("web-new", NEW, "plan", pods, available)];
    world(deployment(NEW, held(), true), sets, status(&digest(NEW)))
}

fn ops(write: &Write) -> Vec<Value> {
    let Verb::Patch { ops, .. } = &write.verb else { panic!("no patch: {write:?}") };
    ops.iter().map(|op| serde_json::to_value(op).unwrap()).collect()
}

fn annotations(write: &Write) -> Value {
    let Verb::Merge { body, .. } = &write.verb else { panic!("no merge: {write:?}") };
    body["metadata"]["annotations"].clone()
}

fn sets_value(write: &Write, path: &str) -> Option<Value> {
    ops(write).into_iter().find(|op| op["op"] == "add" && op["path"] == path).map(|op| op["value"].clone())
}

#[test]
fn what_is_stable_is_freed_by_two_writes_and_no_pod_is_touched() {
    let mut seen = world(deployment(OLD, guarded(), false), vec![stable()], Value::Null);
    assert_eq!(survey(&seen).unwrap().state, State::Guarded);
    let next = decide(Mode::Resume, &seen);
    let [opt_out, unmark] = &next.writes[..] else { panic!("{next:?}") };
    // The policy puts a mark back that goes missing. A manager that is started again before the second write reads that it was no
    // person's wish, and guards the Deployment again.
    assert_eq!(sets_value(opt_out, "/metadata/annotations/trimtab.dev~1plan"), Some(json!("")));
    assert_eq!(sets_value(opt_out, "/metadata/annotations/trimtab.dev~1held"), Some(json!(LET_GO)));
    assert_eq!(annotations(unmark), json!({names::PLAN: null, names::HELD: null}));
    assert_eq!(next.waits_for, None);
    // An undo brings the annotations of a ReplicaSet back: none of them may guard the Deployment again.
    let mut old = stable();
    annotate(&mut old.metadata, names::PLAN, "web");
    seen = world(deployment(OLD, json!({}), false), vec![old], Value::Null);
    let next = decide(Mode::Resume, &seen);
    assert_eq!(next.writes.len(), 1);
    assert_eq!(annotations(&next.writes[0]), json!({names::PLAN: null, names::HELD: null}));
    assert_eq!(next.writes[0].target.name, "web-old");
    seen = world(deployment(OLD, json!({}), false), vec![stable()], Value::Null);
    assert_eq!((decide(Mode::Resume, &seen), survey(&seen)), (Next::default(), None));
}

#[test]
fn what_a_person_opted_out_stays_so() {
    let seen = world(deployment(OLD, json!({names::PLAN: ""}), false), vec![stable()], Value::Null);
    assert_eq!(survey(&seen).unwrap().state, State::OptedOut);
    assert_eq!(decide(Mode::Resume, &seen), Next::default());
    // What Trimtab has let go itself is nobody's wish.
    let let_go = json!({names::PLAN: "", names::HELD: LET_GO});
    let seen = world(deployment(OLD, let_go, false), vec![stable()], Value::Null);
    let next = decide(Mode::Resume, &seen);
    let [unmark] = &next.writes[..] else { panic!("{next:?}") };
    assert_eq!(annotations(unmark), json!({names::PLAN: null, names::HELD: null}));
}

#[test]
fn a_change_that_waits_is_let_go_as_it_was_seen() {
    let seen = world(deployment(NEW, held(), true), vec![stable()], Value::Null);
    let standing = survey(&seen).unwrap();
    assert_eq!((standing.state, standing.waits, standing.by.as_deref()), (State::Held, true, Some("ann")));
    let next = decide(Mode::Resume, &seen);
    let [release, unmark] = &next.writes[..] else { panic!("{next:?}") };
    assert!(ops(release).contains(&json!({"op": "test", "path": "/metadata/generation", "value": 7})));
    assert_eq!(sets_value(release, "/spec/paused"), Some(json!(false)));
    assert_eq!(sets_value(release, "/metadata/annotations/trimtab.dev~1plan"), Some(json!("")));
    assert_eq!(annotations(unmark)[names::PLAN], Value::Null);
}

#[test]
fn what_a_person_paused_stays_paused() {
    let mark = json!({names::PLAN: "web", names::HELD: "paused, by ann"});
    let seen = world(deployment(NEW, mark, true), vec![stable()], Value::Null);
    let next = decide(Mode::Resume, &seen);
    assert_eq!(sets_value(&next.writes[0], "/spec/paused"), None);
    let next = decide(Mode::TakeBack, &seen);
    assert_eq!(sets_value(&next.writes[1], "/spec/paused"), Some(json!(true)));
    // Also what was paused in mid-promotion and taken back then, before it could be held again.
    let mark = json!({names::PLAN: "web", names::HELD: "released at generation 6 by trimtab"});
    let aborted = json!({"stable": {"replicaSet": "web-old"}, "release": {"digest": digest(NEW), "by": "ann",
        "stage": "TakingBack", "verdict": {"reason": "Aborted", "message": "aborted"}}});
    let sets = vec![stable(), set("web-new", NEW, "deployment", 1, 1)];
    let seen = world(deployment(NEW, mark, true), sets, aborted);
    for mode in [Mode::Resume, Mode::TakeBack] {
        let next = decide(mode, &seen);
        assert_eq!(sets_value(&next.writes[1], "/spec/paused"), Some(json!(true)), "{mode:?}: {next:?}");
    }
}

#[test]
fn a_whole_canary_is_given_to_the_deployment_before_that_is_let_go() {
    let next = decide(Mode::Resume, &releasing(2, 2));
    let [given] = &next.writes[..] else { panic!("{next:?}") };
    assert_eq!(given.target.name, "web-new");
    assert_eq!(sets_value(given, "/metadata/annotations/deployment.kubernetes.io~1max-replicas"), Some(json!("5")));
    assert!(ops(given).contains(&json!({"op": "test", "path": "/status/availableReplicas", "value": 2})));
    // The Deployment has it, and does not say that it knows it.
    let mut given = set("web-new", NEW, "deployment", 2, 2);
    annotate(&mut given.metadata, names::REVISION, "2");
    let sets = vec![stable(), given];
    let mut seen = world(deployment(NEW, held(), true), sets.clone(), status(&digest(NEW)));
    assert_eq!(survey(&seen).unwrap().state, State::HandedOver);
    let next = decide(Mode::Resume, &seen);
    assert!(next.writes.is_empty() && next.waits_for.is_some(), "{next:?}");
    let mut knows = deployment(NEW, held(), true);
    annotate(&mut knows.metadata, names::REVISION, "2");
    seen = world(knows, sets, status(&digest(NEW)));
    assert_eq!(sets_value(&decide(Mode::Resume, &seen).writes[0], "/spec/paused"), Some(json!(false)));
}

#[test]
fn only_available_pods_of_a_canary_are_given() {
    let next = decide(Mode::Resume, &releasing(3, 1));
    assert_eq!((next.writes.len(), sets_value(&next.writes[0], "/spec/replicas")), (1, Some(json!(1))));
    // None is of use: the canary goes first, so that the Deployment makes the only ReplicaSet of this template.
    let next = decide(Mode::Resume, &releasing(3, 0));
    assert_eq!((next.writes.len(), sets_value(&next.writes[0], "/spec/replicas")), (1, Some(json!(0))));
    let next = decide(Mode::Resume, &releasing(0, 0));
    assert!(matches!(next.writes[..], [Write { verb: Verb::Delete { .. }, .. }]), "{next:?}");
}

#[test]
fn taken_back_the_deployment_asks_for_stable_before_the_canary_goes() {
    let next = decide(Mode::TakeBack, &releasing(2, 2));
    let [opt_out, template, _unmark] = &next.writes[..] else { panic!("{next:?}") };
    assert_eq!(annotations(opt_out), json!({names::PLAN: ""}), "else the policy holds the template anew");
    let written = sets_value(template, "/spec/template").unwrap();
    assert_eq!(written["spec"]["containers"][0]["image"], OLD);
    assert_eq!(written["metadata"]["labels"], json!({"app": "web"}), "the hash is not the Deployment's");
    assert_eq!(sets_value(template, "/spec/paused"), Some(json!(false)));
}

#[test]
fn a_canary_serves_until_the_deployments_own_pods_do() {
    let check = |own_available: i32, expected: i32| {
        let sets = vec![set("web-old", OLD, "deployment", 4, own_available), set("web-new", NEW, "plan", 3, 3)];
        let seen = world(deployment(OLD, json!({}), false), sets, Value::Null);
        assert_eq!(survey(&seen).unwrap().state, State::CanaryLeft);
        let next = decide(Mode::Resume, &seen);
        assert_eq!(sets_value(&next.writes[0], "/spec/replicas"), Some(json!(expected)));
    };
    check(4, 0);
    check(2, 2);
}

#[test]
fn what_was_found_bad_is_taken_back_whatever_is_asked() {
    let bad = json!({"stable": {"replicaSet": "web-old"},
        "rejected": {"digest": digest(NEW), "verdict": {"message": "the canary crashed"}}});
    let seen = world(deployment(NEW, held(), true), vec![stable()], bad);
    let standing = survey(&seen).unwrap();
    assert_eq!(standing.state, State::TakenBack);
    assert!(standing.says.contains("the canary crashed"), "{}", standing.says);
    for mode in [Mode::Resume, Mode::TakeBack] {
        let next = decide(mode, &seen);
        assert_eq!(sets_value(&next.writes[1], "/spec/template").unwrap()["spec"]["containers"][0]["image"], OLD);
    }
}

#[test]
fn without_a_stable_template_a_person_is_told_what_to_do() {
    let sets = vec![set("a", "x:1", "deployment", 2, 2), set("b", "x:2", "deployment", 2, 2)];
    let seen = world(deployment(NEW, held(), true), sets, Value::Null);
    let next = decide(Mode::TakeBack, &seen);
    assert!(next.blocked.as_ref().is_some_and(|why| why.contains("kubectl rollout resume")), "{next:?}");
    assert!(next.is_over() && next.writes.is_empty());
}

#[test]
fn the_canary_of_a_deployment_that_is_gone_goes() {
    let mut seen = releasing(2, 2);
    seen.deployment = None;
    assert_eq!(survey(&seen).unwrap().state, State::CanaryLeft);
    assert!(matches!(decide(Mode::Resume, &seen).writes[..], [Write { verb: Verb::Delete { .. }, .. }]));
}

#[test]
fn copies_live_as_long_as_what_names_them() {
    let pins = "cm/conf=4f7c19ab20";
    let mut own = deployment(OLD, json!({}), false);
    own.spec.template = trimtab_release::Template::from_value(&template(OLD, pins));
    let mut rs = stable();
    rs.spec.template = trimtab_release::Template::from_value(&template(OLD, pins));
    let mut seen = world(own, vec![rs], Value::Null);
    let copy = |owners: Value| Copy {
        kind: trimtab_config::SourceKind::ConfigMap,
        metadata: serde_json::from_value(json!({"name": "conf-4f7c19ab20", "namespace": "shop", "uid": "c",
            "resourceVersion": "3", "ownerReferences": owners}))
        .unwrap(),
    };
    let of_set = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-old", "uid": "web-old"}]);
    seen.copies = vec![copy(of_set)];
    assert_eq!(survey(&seen).unwrap().state, State::Frozen);
    let next = decide(Mode::Resume, &seen);
    let added = sets_value(&next.writes[0], "/metadata/ownerReferences/-").unwrap();
    assert_eq!((&added["kind"], &added["uid"]), (&json!("Deployment"), &json!("d")));
    let whole = json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-old", "uid": "web-old"},
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d"},
    ]);
    seen.copies = vec![copy(whole)];
    assert_eq!(decide(Mode::Resume, &seen), Next::default());
}

#[test]
fn every_write_to_a_template_is_held_to_the_generation_that_was_seen() {
    for next in [decide(Mode::TakeBack, &releasing(1, 1)), decide(Mode::Resume, &releasing(0, 0))] {
        for write in &next.writes {
            let Verb::Patch { ops, .. } = &write.verb else { continue };
            let tests = |path: &str| ops.iter().any(|op| matches!(op, PatchOp::Test { path: p, .. } if p == path));
            assert!(tests("/metadata/uid") && tests("/metadata/generation"), "{write:?}");
        }
    }
}

#[test]
fn a_job_is_made_of_nothing_that_the_manager_is_not_known_to_have_kept() {
    let kept = |there, proven| {
        let metadata = json!({"name": "reloaded-job-db", "namespace": "shop", "uid": "k"});
        let metadata = serde_json::from_value(metadata).unwrap();
        Other::Job(KeptJob { metadata, job: "db".to_owned(), body: json!({"kind": "Job"}), there, proven })
    };
    let made = kept(false, true).decide();
    assert!(matches!(made.writes[..], [Write { verb: Verb::Create { .. }, .. }, _]), "{made:?}");
    for there in [true, false] {
        let next = kept(there, false).decide();
        assert!(next.writes.is_empty() && next.is_over(), "{next:?}");
        let why = next.blocked.unwrap();
        assert!(why.contains("kubectl create") && why.contains("kubectl delete controllerrevision"), "{why}");
    }
}
