//! ReplicaSets that lose their owner, or that somebody puts into a held Deployment. Kubernetes takes what nobody owns for the Deployment's
//! where its selector fits, and then takes stable pods away without a look at which are available.

use serde_json::json;
use trimtab_crds::Phase;

use crate::model::{Cluster, REPLICA_SETS};
use crate::world::{check_ends, four_with, half, sizes};

/// Four of `app:1`, and `app:2` in a step of half, with a canary.
fn beside_a_canary() -> Cluster {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:1".to_owned(), 4), ("app:2".to_owned(), 4)]);
    cluster
}

fn new_plan(cluster: &mut Cluster) {
    cluster.plan("web-again", json!({"strategy": {"canary": {"steps": half()}}, "whileScaledToZero": "Hold"}));
}

/// A held Deployment would take a ReplicaSet that nobody owns as its own, and stable pods away for it.
#[test]
fn a_canary_whose_owner_is_taken_away_takes_no_stable_pod_with_it() {
    let mut orphaned = beside_a_canary();
    orphaned.orphan_plan(false);
    for _ in 0..20 {
        orphaned.advance(1);
        orphaned.round();
        let stable = orphaned.images().get("app:1").copied();
        assert_eq!(stable, Some(4), "{:?}", orphaned.images());
    }
    assert!(orphaned.held() && orphaned.paused());
    let told = orphaned.reconcile().plan.notices;
    assert!(told.iter().any(|notice| notice.note.contains("kubectl delete replicaset web-")), "{told:?}");

    let mut lost = beside_a_canary();
    lost.lose_owners();
    let told = lost.reconcile().plan.notices;
    assert!(told.iter().any(|notice| notice.reason == "CanaryReclaimed"), "{told:?}");
    check_ends(&mut lost, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
    lost.request("promote-full:1");
    check_ends(&mut lost, Phase::Stable, &[("app:2", 4)]);
}

#[test]
fn what_is_left_of_a_canary_whose_plan_is_gone_goes_with_the_next_plan_or_the_deployment() {
    let mut cluster = beside_a_canary();
    cluster.orphan_plan(false);
    cluster.settle().unwrap();
    let mut gone = cluster.clone();
    new_plan(&mut cluster);
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
    new_plan(&mut gone);
    gone.delete_deployment();
    gone.settle().unwrap();
    assert_eq!(gone.list(REPLICA_SETS).count(), 0, "{:?}", sizes(&gone));
}

/// Kubernetes has taken stable pods away for it by then; they come back, and it goes on as if nobody had.
#[test]
fn what_somebody_puts_into_a_held_deployment_is_kept_out_of_it() {
    let check = |what: &str, put: fn(&mut Cluster)| {
        let mut cluster = four_with(half()).with_history_of("app:0", "app:1");
        cluster.set_image("app:2");
        cluster.settle().unwrap();
        put(&mut cluster);
        let mut told = vec![];
        for _ in 0..10 {
            cluster.advance(1);
            told.extend(cluster.reconcile().plan.notices.into_iter().map(|notice| notice.reason));
            cluster.rest_of_round();
        }
        assert!(told.contains(&"KeptOut"), "{what}: {told:?}");
        check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
    };
    check("a look-alike is made", Cluster::make_look_alike);
    check("an old ReplicaSet is scaled", Cluster::scale_old_set);
}

/// What was a canary once is the Deployment's: whoever deletes that and lets its pods stay has them stay.
#[test]
fn a_deployment_that_is_made_anew_beside_its_pods_keeps_them() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.request("promote-full:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
    let made = cluster.made.clone();
    cluster.orphan_deployment();
    cluster.settle().unwrap();
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:2".to_owned(), 4)], "its pods went with it");
    cluster.deploy(4, (json!(1), json!(0)), "app:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
    assert_eq!(cluster.made, made, "pods were made anew");
}

/// Whoever makes a ReplicaSet need not give it annotations, and a patch of one that is not there is refused.
#[test]
fn a_replica_set_without_annotations_is_kept_aside_as_any_other() {
    let mut cluster = four_with(half()).stable();
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.make_look_alike();
    cluster.update(REPLICA_SETS, "web-alike", "bob", |rs| {
        rs["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:odd");
    });
    cluster.set_image("app:2");
    cluster.rest_of_round();
    assert!(cluster.get(REPLICA_SETS, "web-alike").unwrap()["metadata"]["annotations"].is_null());
    cluster.settle().unwrap();
    cluster.scale(4);
    for _ in 0..20 {
        cluster.advance(1);
        cluster.round();
        assert!(!cluster.images().contains_key("app:odd"), "{:?}", cluster.images());
    }
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
}

/// What serves alone goes on serving until its Deployment has made others in its place.
#[test]
fn what_is_stable_and_is_taken_out_of_its_deployment_serves_until_others_do() {
    let mut cluster = four_with(half()).stable();
    let name = cluster.status().unwrap().stable.unwrap().replica_set;
    (cluster.watch.orphans, cluster.watch.floor) = (true, 0);
    cluster.update(REPLICA_SETS, &name, "bob", |rs| {
        _ = rs["metadata"].as_object_mut().map(|meta| meta.remove("ownerReferences"));
        rs["metadata"]["labels"] = json!({});
        rs["metadata"]["annotations"]["trimtab.dev/canary-of"] = json!("web");
    });
    for _ in 0..20 {
        cluster.advance(1);
        cluster.reconcile();
        cluster.rest_of_round();
        let serving = cluster.pods.iter().filter(|pod| pod.ready_since.is_some()).count();
        assert!(serving >= 4, "{serving} pods serve");
    }
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
}
