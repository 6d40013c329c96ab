//! What decides is what was recorded or is proven by its content: not what anybody may have written into a ReplicaSet, or
//! into an object that bears the name of ours.

use serde_json::{Value, json};
use trimtab_crds::{Phase, names};
use trimtab_plan::{Class, Failure, Outcome};
use trimtab_release::conclude;

use crate::model::{Cluster, RELEASES, REPLICA_SETS};
use crate::world::{Setup, check_end, check_ends, four_with, half};

fn mark(template: &mut Value) {
    template["spec"]["containers"][0]["env"] = json!([{"name": "MODE", "value": "mine"}]);
}

/// Somebody changes the stable ReplicaSet.
fn patch_stable(cluster: &mut Cluster) {
    let name = cluster.status().unwrap().stable.unwrap().replica_set;
    cluster.update(REPLICA_SETS, &name, "mallory", |rs| mark(&mut rs["spec"]["template"]));
}

#[test]
fn a_change_of_both_replica_set_and_deployment_does_not_count_as_changed_back() {
    let patched = || {
        let mut cluster = four_with(half()).stable();
        patch_stable(&mut cluster);
        cluster.edit(|d| mark(&mut d["spec"]["template"]));
        check_ends(&mut cluster, Phase::Blocked, &[("app:1", 4)]);
        assert!(cluster.held() && cluster.paused());
        assert!(cluster.status().unwrap().message.contains("promote --full"), "{:?}", cluster.status());
        assert_eq!(cluster.list(RELEASES).count(), 0);
        cluster
    };
    let mut cluster = patched();
    cluster.request("promote:1");
    check_ends(&mut cluster, Phase::Blocked, &[("app:1", 4)]);
    assert_eq!(cluster.status().unwrap().handled_request.as_deref(), Some("promote:1"), "it is answered");
    // A person may want it as it is, and that is on record.
    cluster.request("promote-full:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    assert_eq!(cluster.get(RELEASES, "web-1").unwrap()["status"]["skippedSteps"], json!("promoted in full by request"));
    // Any other change is tried as usual.
    let mut cluster = patched();
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
}

#[test]
fn a_change_of_both_in_mid_release_ends_it_and_is_not_released() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    patch_stable(&mut cluster);
    cluster.edit(|d| {
        d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:1");
        mark(&mut d["spec"]["template"]);
    });
    check_ends(&mut cluster, Phase::Blocked, &[("app:1", 4)]);
    assert!(cluster.held() && cluster.paused());
}

#[test]
fn a_change_of_the_replica_set_alone_is_no_release() {
    let mut cluster = four_with(half()).stable();
    patch_stable(&mut cluster);
    check_end(&mut cluster).unwrap();
    assert_eq!(cluster.list(RELEASES).count(), 0);
    assert_eq!(cluster.status().unwrap().phase, Phase::Stable);
}

#[test]
fn new_defaults_of_an_api_server_are_no_change() {
    let mut cluster = four_with(half()).stable();
    let before = cluster.status().unwrap().stable.unwrap();
    patch_stable(&mut cluster);
    cluster.policy = false;
    cluster.edit(|d| mark(&mut d["spec"]["template"]));
    cluster.policy = true;
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    let after = cluster.status().unwrap().stable.unwrap();
    assert_eq!((cluster.list(RELEASES).count(), after.replica_set), (0, before.replica_set));
    assert_ne!(after.digest, before.digest, "what is recorded follows");
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
}

/// `app:2` is stable, `app:1` was before it, and only Release `web-1` has its template still.
fn only_recorded() -> Cluster {
    let mut cluster = Setup { history: 0, ..four_with(json!([])) }.stable();
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
    assert_eq!(cluster.list(REPLICA_SETS).count(), 1);
    cluster
}

#[test]
fn undo_brings_back_what_was_recorded_and_nothing_else() {
    let check = |change: fn(&mut Value), part: &str| {
        let mut cluster = only_recorded();
        let mut record = cluster.get(RELEASES, "web-1").unwrap().clone();
        change(&mut record);
        cluster.delete(RELEASES, "web-1");
        cluster.create(RELEASES, "web-1", record);
        cluster.request("undo:1");
        let mut told = vec![];
        for _ in 0..10 {
            cluster.advance(1);
            told.extend(cluster.reconcile().plan.notices.into_iter().map(|notice| notice.note));
            cluster.rest_of_round();
        }
        check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
        assert!(told.iter().any(|note| note.contains(part)), "{part}: {told:?}");
    };
    check(|record| mark(&mut record["spec"]["stableTemplate"]), "does not hold the template");
    check(|record| record["metadata"]["ownerReferences"] = json!([]), "is not owned by this plan");
    check(|record| record["metadata"]["ownerReferences"][0]["controller"] = json!(false), "is not owned by this plan");
    check(|record| record["spec"]["stableTemplate"] = json!({}), "holds no template");
    let mut cluster = only_recorded();
    cluster.request("undo:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
}

/// A Release that is nobody's, or another plan's.
fn stranger(target: &str) -> Value {
    json!({"metadata": {}, "spec": {"plan": "web", "target": target, "sequence": 1, "digest": "x", "stableDigest": "y"}})
}

#[test]
fn a_number_that_something_else_bears_is_passed_over() {
    for target in ["web", "another"] {
        let mut cluster = four_with(half()).stable();
        cluster.create(RELEASES, "web-1", stranger(target));
        cluster.create(RELEASES, "web-2", stranger(target));
        cluster.set_image("app:2");
        check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
        assert_eq!(cluster.status().unwrap().release.unwrap().name, "web-3", "{target}");
        assert_eq!(cluster.get(RELEASES, "web-1").unwrap()["status"], json!(null), "{target}: it is left alone");
        cluster.request("promote:1");
        check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
        assert_eq!(cluster.get(RELEASES, "web-3").unwrap()["status"]["result"], json!("Promoted"));
    }
}

#[test]
fn a_stranger_s_replica_set_of_the_canary_s_name_is_named_and_told_whose_turn_it_is() {
    let mut cluster = four_with(half()).stable();
    let mut tried = cluster.clone();
    tried.set_image("app:2");
    tried.settle().unwrap();
    let name = tried.canaries().pop().unwrap();
    let template = json!({"metadata": {"labels": {"app": "other"}}, "spec": {"containers": []}});
    let body = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Somebody", "name": "s",
                      "uid": "uid-s", "controller": true}]}, "spec": {"replicas": 0, "template": template}});
    cluster.create(REPLICA_SETS, &name, body);
    cluster.set_image("app:2");
    for _ in 0..10 {
        cluster.advance(1);
        cluster.reconcile();
        cluster.tick_deployment();
    }
    let status = cluster.status().unwrap();
    assert_eq!(status.phase, Phase::Blocked, "{}", status.message);
    assert!(status.message.contains(&name) && status.message.contains("delete or rename it"), "{}", status.message);
    cluster.delete(REPLICA_SETS, &name);
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
}

#[test]
fn a_name_that_is_taken_unseen_is_told_in_the_status() {
    let mut cluster = four_with(json!([])).stable();
    cluster.set_image("app:2");
    let (now, seen) = (cluster.now, cluster.snapshot());
    let plan = trimtab_release::decide(now, &seen);
    let index = plan.writes.iter().position(|write| write.target.kind == names::RELEASE).unwrap();
    let failure = Failure {
        index,
        class: Class::Transient,
        reason: "AlreadyExists".to_owned(),
        message: "it exists".to_owned(),
        lasting: false,
    };
    let outcome = Outcome { failed: Some(failure), ..Outcome::default() };
    let status = conclude(now, &seen, &plan, &outcome).unwrap().status;
    let message = status["message"].as_str().unwrap();
    assert_eq!(status["phase"], json!("Blocked"));
    assert!(message.contains("web-1 exists already") && message.contains("delete or rename it"), "{message}");
}

#[test]
fn a_record_that_somebody_else_wrote_stands_in_no_way() {
    let mut cluster = only_recorded();
    cluster.edit_plan(|plan| plan["spec"]["historyLimit"] = json!(1));
    // It says that it keeps what is stable, and is the last of all.
    cluster.forge_release();
    for image in ["app:3", "app:4"] {
        cluster.set_image(image);
        check_ends(&mut cluster, Phase::Stable, &[(image, 4)]);
    }
    assert!(cluster.get(RELEASES, "forged").is_some(), "it is not ours to delete");
    cluster.request("undo:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:3", 4)]);
}

#[test]
fn the_template_of_stable_is_found_beside_a_record_that_only_says_to_keep_it() {
    let mut cluster = Setup { history: 0, ..four_with(half()) }.stable();
    cluster.configure("a");
    cluster.request("promote-full:1");
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.forge_release();
    cluster.request("undo:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
}
