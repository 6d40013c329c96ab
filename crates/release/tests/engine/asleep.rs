//! A Deployment that is scaled to 0, by a person or by its autoscaler, and wakes again: what was changed meanwhile is
//! tried like any other change, beside the stable revision.

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::{Phase, Stage, names};

use crate::histories::config;
use crate::model::{Cluster, RELEASES, REPLICA_SETS};
use crate::world::{brief, check_end, check_faults, four_with, half, sizes};

/// `app:1` is stable on four pods, and `app:0` is in the history; a change back to it goes through the steps.
pub fn second() -> Cluster {
    let mut cluster = four_with(half()).with_history();
    cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
    cluster.settle().unwrap();
    cluster
}

/// `app:0` is stable again, in a ReplicaSet that is older than that of `app:1`.
fn rolled_back() -> Cluster {
    let mut cluster = second();
    cluster.set_image("app:0");
    cluster.request("promote-full:back");
    cluster.settle().unwrap();
    assert_eq!((cluster.status().unwrap().phase, cluster.image()), (Phase::Stable, "app:0"));
    cluster
}

pub fn check_ends(cluster: &mut Cluster, phase: Phase, images: &[(&str, usize)], why: &str) {
    let status = check_end(cluster).unwrap_or_else(|error| panic!("{why}: {error}"));
    assert_eq!(status.phase, phase, "{why}: {}", brief(&status));
    let wanted: Vec<(String, usize)> = images.iter().map(|(image, n)| ((*image).to_owned(), *n)).collect();
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), wanted, "{why}: {:?}", sizes(cluster));
}

/// Goes on, round by round, after a write that asks for the change and for 4 pods of it: all of stable are there before one of those.
pub fn check_wakes_stable_first(cluster: &mut Cluster, stable: &str, changed: &str, why: &str) {
    for _ in 0..40 {
        cluster.rest_of_round();
        let images = cluster.images();
        let first = !images.contains_key(changed) || images.get(stable).copied() == Some(4);
        assert!(first, "{why}: {images:?}");
        cluster.advance(1);
        cluster.reconcile();
    }
    let mut both = [(stable, 4), (changed, 4)];
    both.sort_unstable();
    check_ends(cluster, Phase::Paused, &both, why);
}

fn result(cluster: &Cluster, release: &str) -> Value {
    cluster.get(RELEASES, release).map_or(json!(null), |release| release["status"]["result"].clone())
}

/// Settles, round by round, and sees that no pod but a stable one comes up first.
pub fn wakes_on(cluster: &mut Cluster, stable: &str, why: &str) {
    for _ in 0..30 {
        cluster.advance(1);
        cluster.round();
        let images = cluster.images();
        assert!(images.is_empty() || images.contains_key(stable), "{why}: {images:?} without {stable}");
    }
}

pub fn change_and_wake(cluster: &mut Cluster, image: &str, replicas: i32) {
    cluster.edit(|deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        deployment["spec"]["replicas"] = json!(replicas);
    });
}

pub fn set_of(cluster: &Cluster, image: &str) -> String {
    let has = |rs: &&Value| rs["spec"]["template"]["spec"]["containers"][0]["image"] == json!(image);
    cluster.list(REPLICA_SETS).find(has).unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Changed while it sleeps, woken again: first stable, then the canary.
fn check_woken(world: fn() -> Cluster, stable: &str, changed: &str) {
    let why = format!("{changed} while {stable} sleeps");
    let mut cluster = world();
    let before = cluster.list(RELEASES).count();
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.set_image(changed);
    check_ends(&mut cluster, Phase::Waiting, &[], &why);
    assert!(cluster.held(), "{why}");
    assert!(cluster.status().unwrap().message.contains("no replicas"), "{why}: {:?}", cluster.status());
    assert_eq!(cluster.list(RELEASES).count(), before, "{why}: nothing is recorded as released");
    cluster.scale(4);
    wakes_on(&mut cluster, stable, &why);
    check_ends(&mut cluster, Phase::Paused, &[(stable, 4), (changed, 4)], &why);
    cluster.request("promote:woken");
    check_ends(&mut cluster, Phase::Stable, &[(changed, 4)], &why);
    check_faults(&cluster).unwrap();
}

#[test]
fn a_change_of_a_sleeping_deployment_is_tried_when_it_wakes_beside_stable() {
    check_woken(second, "app:1", "app:2");
    check_woken(rolled_back, "app:0", "app:2");
}

#[test]
fn a_change_back_to_history_comes_up_no_earlier_than_stable() {
    let check = |world: fn() -> Cluster, stable: &str, changed: &str| {
        let why = format!("{changed} while {stable} sleeps");
        let mut cluster = world();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.set_image(changed);
        check_ends(&mut cluster, Phase::Waiting, &[], &why);
        cluster.scale(4);
        wakes_on(&mut cluster, stable, &why);
        let mut both = [(stable, 4), (changed, 4)];
        both.sort_unstable();
        check_ends(&mut cluster, Phase::Paused, &both, &why);
        cluster.request("abort:woken");
        check_ends(&mut cluster, Phase::TakenBack, &[(stable, 4)], &why);
        // It sleeps and wakes with the rejected change still in it.
        cluster.scale(0);
        check_ends(&mut cluster, Phase::TakenBack, &[], &why);
        cluster.scale(4);
        wakes_on(&mut cluster, stable, &why);
        check_ends(&mut cluster, Phase::TakenBack, &[(stable, 4)], &why);
    };
    check(second, "app:1", "app:0");
    check(rolled_back, "app:0", "app:1");
}

#[test]
fn one_that_wakes_while_nobody_looks_is_put_right_and_then_the_canary_follows() {
    for (world, stable, changed) in [
        (second as fn() -> Cluster, "app:1", "app:0"),
        (rolled_back, "app:0", "app:1"),
        (rolled_back, "app:0", "app:2"),
    ] {
        let why = format!("{changed} while {stable} sleeps");
        let mut cluster = world();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.set_image(changed);
        cluster.scale(4);
        for _ in 0..10 {
            cluster.advance(1);
            cluster.rest_of_round();
        }
        assert!(!cluster.images().is_empty(), "{why}: the Deployment has brought something up");
        cluster.settle().unwrap();
        let mut both = [(stable, 4), (changed, 4)];
        both.sort_unstable();
        check_ends(&mut cluster, Phase::Paused, &both, &why);
    }
}

/// Kubernetes would bring up what equals the template.
#[test]
fn one_write_of_a_change_and_of_replicas_wakes_stable_first() {
    let worlds =
        [(second as fn() -> Cluster, "app:1", "app:0"), (rolled_back, "app:0", "app:1"), (second, "app:1", "app:2")];
    for (world, stable, changed) in worlds {
        for choice in ["Hold", "Promote"] {
            let why = format!("{changed} while {stable} sleeps ({choice})");
            let mut cluster = world();
            cluster.edit_plan(|plan| plan["spec"]["whileScaledToZero"] = json!(choice));
            cluster.scale(0);
            cluster.settle().unwrap();
            change_and_wake(&mut cluster, changed, 4);
            assert_eq!(cluster.replicas(), 0, "{why}");
            check_wakes_stable_first(&mut cluster, stable, changed, &why);
            assert_eq!(cluster.annotation(names::WAKE_TO), None, "{why}");
        }
    }
}

#[test]
fn what_sleeps_is_woken_as_it_is_asked_also_where_nothing_of_stable_is_left() {
    let mut cluster = four_with(half()).stable();
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.edit(|deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
        deployment["spec"]["replicas"] = json!(4);
    });
    let sets: Vec<String> =
        cluster.list(REPLICA_SETS).map(|rs| rs["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    sets.iter().for_each(|name| cluster.delete(REPLICA_SETS, name));
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], "woken with nothing to compare with");
}

#[test]
fn what_sleeps_is_woken_as_it_is_asked_also_with_what_is_stable() {
    let mut cluster = second();
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.edit(|deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:1");
        deployment["spec"]["replicas"] = json!(4);
    });
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)], "changed back and woken");
}

#[test]
fn a_plan_can_choose_that_it_is_promoted_untried_and_the_record_says_so() {
    let mut cluster = second();
    cluster.edit_plan(|plan| plan["spec"]["whileScaledToZero"] = json!("Promote"));
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Stable, &[], "promoted");
    let status = &cluster.get(RELEASES, "web-2").unwrap()["status"];
    assert_eq!(status["result"], json!("Promoted"));
    assert_eq!(status["skippedSteps"], json!("the Deployment has no replicas (whileScaledToZero: Promote)"));
    cluster.scale(4);
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], "woken");
}

#[test]
fn a_person_can_promote_or_undo_it_while_it_sleeps() {
    for changed in ["app:2", "app:0"] {
        let asleep = || {
            let mut cluster = second();
            cluster.scale(0);
            cluster.settle().unwrap();
            cluster.set_image(changed);
            cluster.settle().unwrap();
            cluster
        };
        let mut cluster = asleep();
        cluster.request("promote-full:1");
        check_ends(&mut cluster, Phase::Stable, &[], changed);
        assert_eq!(result(&cluster, "web-2"), json!("Promoted"));
        cluster.scale(4);
        check_ends(&mut cluster, Phase::Stable, &[(changed, 4)], changed);

        let mut cluster = asleep();
        cluster.request("undo:1");
        check_ends(&mut cluster, Phase::Stable, &[], changed);
        cluster.scale(4);
        check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)], changed);
        assert_eq!(sizes(&cluster).len(), 2, "the history is whole: {:?}", sizes(&cluster));

        let mut cluster = asleep();
        for verb in ["promote", "abort", "pause", "resume"] {
            cluster.request(&format!("{verb}:2"));
            check_ends(&mut cluster, Phase::Waiting, &[], verb);
            assert_eq!(cluster.status().unwrap().handled_request, Some(format!("{verb}:2")), "it is answered");
        }
    }
}

#[test]
fn a_release_that_is_put_to_sleep_in_a_step_goes_on_in_it_when_it_wakes() {
    for steps in [half(), json!([{"setWeight": 50}, {"pause": {"duration": "1m"}}, {"setWeight": 80}])] {
        let mut cluster = four_with(steps).stable();
        cluster.set_image("app:2");
        for _ in 0..10 {
            cluster.advance(1);
            cluster.round();
        }
        assert_eq!(cluster.status().unwrap().release.unwrap().stage, Stage::Steps);
        cluster.scale(0);
        check_ends(&mut cluster, Phase::Paused, &[], "asleep in a step");
        assert_eq!(result(&cluster, "web-1"), json!("Running"));
        cluster.scale(4);
        wakes_on(&mut cluster, "app:1", "in a step");
        assert!(cluster.images().contains_key("app:2"), "{:?}", cluster.status());
        cluster.request("promote-full:1");
        check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], "woken");
    }
}

#[test]
fn a_crash_that_was_brought_in_while_it_slept_serves_nobody() {
    for steps in [half(), json!([])] {
        let mut cluster = four_with(steps).stable();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.set_image("app:crash");
        check_ends(&mut cluster, Phase::Waiting, &[], "asleep");
        cluster.scale(4);
        check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)], "woken");
    }
}

#[test]
fn where_no_history_is_kept_the_change_is_promoted_when_it_wakes_and_the_record_says_why() {
    let mut setup = four_with(half());
    setup.history = 0;
    let mut cluster = setup.stable();
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Waiting, &[], "asleep");
    assert_eq!(sizes(&cluster).len(), 0, "the Deployment's controller has removed what was stable");
    cluster.scale(4);
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], "woken");
    let why = cluster.get(RELEASES, "web-1").unwrap()["status"]["skippedSteps"].to_string();
    assert!(why.contains("nothing of the stable revision is left"), "{why}");
}

#[test]
fn what_a_deployment_was_created_with_at_0_is_what_its_first_change_is_compared_with() {
    let mut cluster = Cluster::new();
    cluster.deploy(0, (json!(1), json!(0)), "app:1");
    cluster.plan(crate::model::WEB, json!({"strategy": {"canary": {"steps": half()}}}));
    check_ends(&mut cluster, Phase::Stable, &[], "created at 0");
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Waiting, &[], "changed at 0");
    cluster.scale(3);
    wakes_on(&mut cluster, "app:1", "created at 0");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 3), ("app:2", 3)], "woken");
}

fn changes() -> impl Strategy<Value = Vec<(&'static str, u8)>> {
    let one = (prop::sample::select(vec!["sleep", "wake", "app:0", "app:1", "app:2", "app:3"]), 0..4u8);
    prop::collection::vec(one, 1..8)
}

/// Whatever is changed and however often it sleeps, in any order of what Kubernetes and the manager do: what runs at the
/// end is stable, and a change is beside it or was taken back.
fn check_any(begin: bool, changes: &[(&str, u8)]) -> Result<(), String> {
    let mut cluster = if begin { second() } else { rolled_back() };
    let stable = cluster.image().to_owned();
    for (change, rounds) in changes {
        match *change {
            "sleep" => cluster.scale(0),
            "wake" => cluster.scale(4),
            image => cluster.set_image(image),
        }
        cluster.watch.floor = 0;
        for _ in 0..*rounds {
            cluster.advance(1);
            cluster.rest_of_round();
            if rounds % 2 == 0 {
                cluster.reconcile();
            }
        }
    }
    cluster.scale(4);
    cluster.watch.floor = 0;
    let status = check_end(&mut cluster)?;
    let released = cluster.list(RELEASES).filter(|r| r["status"]["result"] == json!("Promoted")).count();
    let before = if begin { 1 } else { 2 };
    if released != before {
        return Err(format!("something was promoted: {}", brief(&status)));
    }
    if cluster.images().get(&stable) != Some(&4) {
        return Err(format!("{stable} does not run: {:?}, {}", cluster.images(), brief(&status)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn however_it_sleeps_nothing_is_promoted_unjudged(begin in any::<bool>(), changes in changes()) {
        check_any(begin, &changes).map_err(TestCaseError::fail)?;
    }
}

/// The plan has no steps, or they are taken out while the first waits for its pods; so many rounds after that the Deployment falls asleep.
#[test]
fn one_that_falls_asleep_in_mid_promotion_without_steps_promotes_nothing_unjudged() {
    let begun = [(json!([]), false, 0), (half(), false, 1), (half(), true, 1)];
    for (rounds, (steps, twice, more)) in (0..14).flat_map(|rounds| begun.clone().map(|begun| (rounds, begun))) {
        let rounds = rounds + more;
        let why = format!("asleep after {rounds} rounds, begun with {steps}, edited twice: {twice}");
        let mut cluster = four_with(steps.clone()).stable();
        cluster.set_image("app:hang");
        if steps != json!([]) {
            (0..5).for_each(|_| _ = cluster.round());
            if twice {
                let other = json!([{"setWeight": 50}, {"pause": {"duration": "5m"}}]);
                cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = other);
                cluster.round();
            }
            cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
        }
        check_asleep(&mut cluster, rounds, &why);
    }
}

/// Nothing of stable is left to try it beside, so there are no steps: it is promoted by its pods, or not at all.
#[test]
fn where_no_history_is_kept_one_that_falls_asleep_again_promotes_nothing_unjudged() {
    for rounds in 0..12 {
        let mut setup = four_with(half());
        setup.history = 0;
        let mut cluster = setup.stable();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.set_image("app:hang");
        cluster.settle().unwrap();
        cluster.scale(4);
        for _ in 0..rounds {
            cluster.advance(1);
            cluster.round();
        }
        cluster.scale(0);
        check_ends(&mut cluster, Phase::Waiting, &[], &format!("asleep after {rounds} rounds"));
        let promoted = cluster.list(RELEASES).any(|release| release["status"]["result"] == json!("Promoted"));
        assert!(!promoted, "asleep after {rounds} rounds: {:?}", cluster.status());
        cluster.set_image("app:2");
        cluster.scale(4);
        check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)], &format!("woken after {rounds} rounds"));
    }
}

/// They are taken out while it sleeps: nothing has judged it when it wakes.
#[test]
fn steps_that_are_taken_out_while_it_sleeps_promote_nothing_unjudged() {
    for again in [false, true] {
        let why = format!("put to sleep again: {again}");
        let mut cluster = four_with(half()).stable();
        cluster.set_image("app:hang");
        (0..5).for_each(|_| _ = cluster.round());
        cluster.watch.floor = 0;
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
        cluster.settle().unwrap();
        if again {
            cluster.scale(4);
            check_asleep(&mut cluster, 6, &why);
        } else {
            cluster.scale(4);
            wakes_on(&mut cluster, "app:1", &why);
            check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)], &why);
        }
    }
}

/// It sleeps after so many rounds, which promotes nothing; it wakes, which takes it back.
fn check_asleep(cluster: &mut Cluster, rounds: u8, why: &str) {
    for _ in 0..rounds {
        cluster.advance(1);
        cluster.round();
    }
    cluster.watch.floor = 0;
    cluster.scale(0);
    check_ends(cluster, Phase::Waiting, &[], why);
    assert!(cluster.held() && cluster.status().unwrap().release.is_none(), "{why}");
    let promoted = cluster.list(RELEASES).any(|release| release["status"]["result"] == json!("Promoted"));
    assert!(!promoted, "{why}");
    cluster.scale(4);
    wakes_on(cluster, "app:1", why);
    check_ends(cluster, Phase::TakenBack, &[("app:1", 4)], why);
    // Asked for in full, it is promoted all the same.
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.request(&format!("promote-full:{rounds}"));
    check_ends(cluster, Phase::Stable, &[], why);
}

/// One write changes it again and puts it to sleep, and nobody looks before its pods are gone: nothing of it was ever available.
#[test]
fn one_that_is_changed_and_falls_asleep_in_mid_promotion_promotes_nothing_unjudged() {
    for rounds in 2..14 {
        let why = format!("asleep after {rounds} rounds");
        let mut cluster = four_with(json!([])).stable();
        cluster.set_image("app:hang");
        (0..rounds).for_each(|_| {
            cluster.advance(1);
            cluster.round();
        });
        cluster.watch.floor = 0;
        change_and_wake(&mut cluster, "app:3", 0);
        (0..2).for_each(|_| _ = cluster.rest_of_round());
        check_ends(&mut cluster, Phase::Waiting, &[], &why);
        let stable = cluster.status().unwrap().stable.unwrap().replica_set;
        assert_eq!(stable, set_of(&cluster, "app:1"), "{why}");
        cluster.scale(4);
        check_ends(&mut cluster, Phase::Stable, &[("app:3", 4)], &why);
    }
}
