//! What one write asks for that changes a Deployment without replicas and gives it some: who may ask, what comes up first, and that
//! it is fulfilled or told on every way. What sleeps and is scaled by itself is in `asleep`.

use serde_json::{Value, json};
use trimtab_crds::{Phase, names};

use crate::asleep::{change_and_wake, check_ends, check_wakes_stable_first, second, set_of, wakes_on};
use crate::model::{Cluster, DEPLOYMENTS, PLANS, REPLICA_SETS, WEB};
use crate::world::{brief, half, sizes};

/// Its plan was made anew, and knows of nothing yet: what is stable is learned before anything comes up.
#[test]
fn what_sleeps_is_woken_stable_first_also_by_a_plan_that_is_made_anew() {
    for (world, stable, changed) in [(second as fn() -> Cluster, "app:1", "app:0"), (second, "app:1", "app:3")] {
        let why = format!("{changed} while {stable} sleeps");
        let mut cluster = world();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.set_image("app:2");
        cluster.settle().unwrap();
        cluster.delete(PLANS, WEB);
        cluster.settle().unwrap();
        change_and_wake(&mut cluster, changed, 4);
        cluster.plan(WEB, json!({"strategy": {"canary": {"steps": half()}}, "rollbackWindow": 0}));
        check_wakes_stable_first(&mut cluster, stable, changed, &why);
    }
}

/// Nothing of stable is left: an older revision is no better than what was asked for.
#[test]
fn what_sleeps_is_woken_as_it_is_asked_and_not_with_an_older_revision_where_nothing_of_stable_is_left() {
    let mut cluster = second();
    cluster.scale(0);
    cluster.settle().unwrap();
    change_and_wake(&mut cluster, "app:2", 4);
    let stable = set_of(&cluster, "app:1");
    cluster.delete(REPLICA_SETS, &stable);
    for _ in 0..40 {
        cluster.rest_of_round();
        assert!(!cluster.images().contains_key("app:0"), "{:?}", cluster.images());
        cluster.advance(1);
        cluster.reconcile();
    }
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], "woken with nothing to compare with");
    assert_eq!(sizes(&cluster).len(), 2, "the history is whole: {:?}", sizes(&cluster));
}

/// The wish is the policy's to write. Whoever else writes it, wherever it is stored, exported or copied to, wakes nothing.
#[test]
fn nobody_but_the_policy_says_how_many_replicas_what_sleeps_is_woken_to() {
    let asleep = |held: bool| {
        let mut cluster = second();
        cluster.scale(0);
        cluster.settle().unwrap();
        if held {
            cluster.set_image("app:2");
            cluster.settle().unwrap();
        }
        cluster
    };
    let check = |mut cluster: Cluster, why: &str| {
        cluster.settle().unwrap();
        assert_eq!(cluster.replicas(), 0, "{why}");
        assert_eq!(cluster.annotation(names::WAKE_TO), None, "{why}");
    };
    let forge = |deployment: &mut Value| {
        deployment["metadata"]["annotations"][names::WAKE_TO] = json!("3 at generation 1");
    };
    for held in [false, true] {
        let mut by_status = asleep(held);
        by_status.update_status(DEPLOYMENTS, WEB, forge);
        check(by_status, &format!("by a write of the status, held: {held}"));
        let mut by_hand = asleep(held);
        by_hand.edit(forge);
        check(by_hand, &format!("by hand, held: {held}"));
        let mut with_change = asleep(held);
        with_change.edit(|deployment| {
            forge(deployment);
            deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:3");
        });
        check(with_change, &format!("with a change, held: {held}"));
    }
    // Nothing looks while it is asked for, so the mark is copied, and can be exported.
    let mut cluster = asleep(false);
    change_and_wake(&mut cluster, "app:0", 4);
    cluster.rest_of_round();
    let exported = cluster.export().unwrap();
    check_ends(&mut cluster, Phase::Paused, &[("app:0", 4), ("app:1", 4)], "woken");
    cluster.request("promote-full:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:0", 4)], "promoted");
    cluster.set_image("app:2");
    cluster.request("promote-full:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], "promoted");
    cluster.scale(0);
    cluster.settle().unwrap();
    let mut undone = cluster.clone();
    undone.kubectl_undo();
    check(undone, "by an undo");
    for again in 0..2 {
        cluster.replace_by_manifest(&exported);
        check(cluster.clone(), &format!("by an export, written {again} times before"));
    }
}

/// A status that is written meanwhile neither takes the wish off nor changes it.
#[test]
fn a_wish_stays_until_it_is_fulfilled_whatever_is_written_meanwhile() {
    let mut cluster = second();
    cluster.scale(0);
    cluster.settle().unwrap();
    change_and_wake(&mut cluster, "app:2", 4);
    cluster.update_status(DEPLOYMENTS, WEB, |deployment| {
        deployment["metadata"]["annotations"] = json!({"team": "shop"});
        deployment["spec"]["replicas"] = json!(7);
    });
    cluster.edit(|deployment| deployment["metadata"]["annotations"]["team"] = json!("cart"));
    cluster.set_image("app:3");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:3", 4)], "woken");
    assert_eq!(cluster.annotation(names::WAKE_TO), None);
}

/// A policy lets nobody have so many replicas: the write that asked for them passed at 0.
#[test]
fn what_a_person_asks_for_is_heard_while_waking_is_refused() {
    for (request, phase, image) in [("undo:1", Phase::Stable, "app:1"), ("promote-full:1", Phase::Blocked, "app:2")] {
        let mut cluster = second();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.adversity.limits_replicas = Some(3);
        change_and_wake(&mut cluster, "app:2", 4);
        cluster.settle().unwrap();
        let status = cluster.status().unwrap();
        assert_eq!(status.phase, Phase::Blocked, "{request}: {}", brief(&status));
        cluster.request(request);
        cluster.settle().unwrap();
        let status = cluster.status().unwrap();
        assert_eq!(status.handled_request.as_deref(), Some(request), "{}", brief(&status));
        assert_eq!((status.phase, cluster.image()), (phase, image), "{request}: {}", brief(&status));
        assert_eq!(cluster.held(), phase == Phase::Blocked, "{request}: {}", brief(&status));
        cluster.allow_all();
        cluster.advance(600);
        let pods: &[(&str, usize)] = if phase == Phase::Blocked { &[("app:2", 4)] } else { &[] };
        check_ends(&mut cluster, Phase::Stable, pods, request);
    }
}

/// One that nothing looks at for a while, and that is asked for and changed back meanwhile.
#[test]
fn a_release_in_a_step_is_woken_as_it_is_asked() {
    let mut cluster = second();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.scale(0);
    check_ends(&mut cluster, Phase::Paused, &[], "asleep in a step");
    change_and_wake(&mut cluster, "app:3", 4);
    cluster.set_image("app:2");
    wakes_on(&mut cluster, "app:1", "in a step");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)], "woken");
}

#[test]
fn a_change_that_nothing_looks_after_tells_how_many_replicas_were_asked_for() {
    let obstacles = [
        ("without a plan", (|cluster| cluster.delete(PLANS, WEB)) as fn(&mut Cluster)),
        ("newer", |cluster| cluster.edit_plan(|plan| plan["spec"]["traffic"] = json!({"router": "x"}))),
        ("Recreate", |cluster| cluster.edit(|d| d["spec"]["strategy"]["type"] = json!("Recreate"))),
        ("opted out", |cluster| cluster.opt_out()),
    ];
    for (why, arise) in obstacles {
        let mut cluster = second();
        cluster.scale(0);
        cluster.settle().unwrap();
        change_and_wake(&mut cluster, "app:2", 4);
        arise(&mut cluster);
        cluster.settle().unwrap();
        assert_eq!((cluster.replicas(), cluster.image(), cluster.paused()), (0, "app:2", true), "{why}");
        let notices = cluster.reconcile().plan.notices;
        let told = cluster.status().map(|status| status.message).unwrap_or_default();
        let told = notices.into_iter().fold(told, |all, notice| all + &notice.note);
        assert!(told.contains("kubectl scale deployment web --replicas=4"), "{why}: {told}");
    }
}
