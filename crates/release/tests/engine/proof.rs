//! `Guarded` is the API server's word: asked about every workload that names its plan, again from time to time, and never
//! taken from the annotation alone.

use std::time::Duration;

use serde_json::json;
use trimtab_plan::{Answer, Wake};
use trimtab_release::Proof;

use crate::configuration::configured;
use crate::model::Cluster;
use crate::world::four_with;

const PROOF: Proof = Proof { period: Duration::from_secs(300), doubted: None };

/// A stable workload whose hold is asked about.
fn asked() -> Cluster {
    let mut cluster = four_with(json!([{"setWeight": 50}, {"pause": {}}])).stable();
    cluster.proof = Some(PROOF);
    cluster
}

/// What the condition says once what is asked is answered.
fn check(cluster: &mut Cluster, expected: (&str, &str)) {
    for _ in 0..3 {
        cluster.reconcile();
    }
    assert_eq!(said(cluster), (expected.0.to_owned(), expected.1.to_owned()));
}

fn said(cluster: &mut Cluster) -> (String, String) {
    says(cluster, "Guarded")
}

fn says(cluster: &mut Cluster, type_: &str) -> (String, String) {
    let status = cluster.status().unwrap();
    let guarded = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (guarded.status.clone(), guarded.reason.clone())
}

#[test]
fn the_hold_is_claimed_where_the_api_server_holds() {
    let mut cluster = asked();
    check(&mut cluster, ("True", "Guarded"));
    cluster.set_image("app:2");
    check(&mut cluster, ("True", "Guarded"));
    assert!(cluster.held());
}

#[test]
fn a_policy_that_goes_or_comes_is_noticed_when_its_time_comes() {
    let mut cluster = asked();
    cluster.policy = false;
    check(&mut cluster, ("False", "HoldNotInForce"));
    cluster.policy = true;
    check(&mut cluster, ("False", "HoldNotInForce"));
    let Wake::At(_) = cluster.reconcile().wake else { panic!("nothing would ask again") };
    cluster.advance(30);
    check(&mut cluster, ("True", "Guarded"));
    cluster.policy = false;
    check(&mut cluster, ("True", "Guarded"));
    cluster.advance(300);
    check(&mut cluster, ("False", "HoldNotInForce"));
}

#[test]
fn what_another_workload_shows_is_asked_about_at_once() {
    let mut cluster = asked();
    check(&mut cluster, ("True", "Guarded"));
    cluster.policy = false;
    cluster.advance(1);
    check(&mut cluster, ("True", "Guarded"));
    cluster.proof = Some(Proof { doubted: Some(cluster.now), ..PROOF });
    cluster.advance(1);
    check(&mut cluster, ("False", "HoldNotInForce"));
}

#[test]
fn what_cannot_be_asked_changes_no_word_and_claims_nothing() {
    let mut cluster = asked();
    check(&mut cluster, ("True", "Guarded"));
    cluster.advance(300);
    fail(&mut cluster);
    assert_eq!(said(&mut cluster), ("True".to_owned(), "Guarded".to_owned()));
    // One of which nothing was known before.
    let mut fresh = asked();
    let plan = fresh.plan_name().unwrap();
    fresh.update_status(crate::model::PLANS, &plan, |plan| plan["status"]["conditions"] = json!([]));
    fail(&mut fresh);
    assert_eq!(said(&mut fresh), ("False".to_owned(), "HoldNotProven".to_owned()));
}

/// The question is asked, and cannot be answered.
fn fail(cluster: &mut Cluster) {
    cluster.reconcile();
    for answer in cluster.answers.values_mut() {
        *answer = Answer::Failed("refused".to_owned());
    }
    assert!(matches!(cluster.reconcile().wake, Wake::At(_)), "nothing would ask again");
}

#[test]
fn configuration_is_called_frozen_where_pods_would_read_their_copies() {
    let mut cluster = configured();
    cluster.proof = Some(PROOF);
    check(&mut cluster, ("True", "Guarded"));
    assert_eq!(says(&mut cluster, "ConfigProtected"), ("True".to_owned(), "Frozen".to_owned()));
    cluster.policy = false;
    cluster.advance(300);
    check(&mut cluster, ("False", "HoldNotInForce"));
    assert_eq!(says(&mut cluster, "ConfigProtected"), ("False".to_owned(), "FreezeNotInForce".to_owned()));
    cluster.policy = true;
    cluster.advance(30);
    check(&mut cluster, ("True", "Guarded"));
    assert_eq!(says(&mut cluster, "ConfigProtected"), ("True".to_owned(), "Frozen".to_owned()));
}
