//! Plans that are made again from a manifest, and Deployments that Trimtab itself let go: no request comes back with a manifest, and
//! only a person opts out.

use serde_json::json;
use trimtab_crds::{Phase, names};

use crate::model::{Cluster, Cut, DEPLOYMENTS, Fate, PLANS, RELEASES, WEB};
use crate::obstacles::set_strategy;
use crate::world::{brief, check_end, check_ends, four_with, half};

/// `kubectl replace --force`, or a manager that is killed after its first write; what Trimtab let go, it guards again.
#[test]
fn a_plan_that_is_made_again_guards_its_deployment_again() {
    for rounds in 0..3 {
        let mut cluster = four_with(half()).stable();
        cluster.delete(PLANS, WEB);
        (0..rounds).for_each(|_| drop(cluster.reconcile()));
        cluster.plan(WEB, json!({"strategy": {"canary": {"steps": half()}}}));
        check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
        assert_eq!(cluster.annotation(names::PLAN), Some(WEB), "after {rounds} reconciles");
        assert_eq!(cluster.annotation(names::HELD), None, "after {rounds} reconciles");
        cluster.set_image("app:2");
        check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
    }
}

#[test]
fn a_deployment_that_no_longer_recreates_its_pods_is_guarded_again_and_a_person_s_wish_is_kept() {
    let mut cluster = four_with(half()).stable();
    set_strategy(&mut cluster, "Recreate");
    check_ends(&mut cluster, Phase::Blocked, &[("app:1", 4)]);
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Blocked, &[("app:2", 4)]);
    set_strategy(&mut cluster, "RollingUpdate");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
    assert_eq!(cluster.list(RELEASES).count(), 0, "what rolled meanwhile is no release");
    // The mark of before says nothing of a person's own opt-out.
    set_strategy(&mut cluster, "Recreate");
    check_ends(&mut cluster, Phase::Blocked, &[("app:2", 4)]);
    cluster.edit(|d| {
        d["spec"]["strategy"]["type"] = json!("RollingUpdate");
        d["metadata"]["annotations"][names::PLAN] = json!(WEB);
    });
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
    cluster.opt_out();
    check_ends(&mut cluster, Phase::Waiting, &[("app:2", 4)]);
    cluster.delete(PLANS, WEB);
    cluster.plan(WEB, json!({"strategy": {"canary": {"steps": half()}}}));
    check_ends(&mut cluster, Phase::Waiting, &[("app:2", 4)]);
}

/// What is decided on what was seen takes the guard off nothing that has been held since.
#[test]
fn a_change_that_comes_while_the_guard_is_taken_off_is_held_and_told() {
    for recreates in [false, true] {
        let mut cluster = four_with(half()).stable();
        if recreates {
            set_strategy(&mut cluster, "Recreate");
        } else {
            cluster.delete(PLANS, WEB);
        }
        let (now, seen) = (cluster.now, cluster.snapshot());
        cluster.set_image("app:2");
        assert_eq!(cluster.act(now, &seen, Cut::No, |_, _| {}).plan.writes.len(), 1, "recreates: {recreates}");
        check_end(&mut cluster).unwrap();
        assert!(cluster.held(), "recreates: {recreates}");
        assert_eq!(cluster.annotation(names::PLAN), Some(WEB), "recreates: {recreates}");
        if recreates {
            set_strategy(&mut cluster, "RollingUpdate");
            check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
        }
    }
}

/// A change is held at its step, and the manifest of its plan remembers the request by which the one before was promoted.
fn remembering() -> Cluster {
    let mut cluster = four_with(half()).with_history_of("app:1", "app:2");
    for image in ["app:3", "app:4"] {
        cluster.set_image(image);
        cluster.settle().unwrap();
        if image == "app:3" {
            cluster.request("promote-full:1");
            cluster.settle().unwrap();
        }
    }
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused);
    cluster
}

#[test]
fn a_plan_that_is_made_again_carries_out_no_request_that_its_manifest_remembers() {
    for rounds in 0..4 {
        for fails in 0..3 {
            let mut cluster = remembering();
            cluster.refuse_writes(DEPLOYMENTS, "patch", Fate::Fails, Some(fails));
            cluster.make_plan_again(rounds);
            let done = check_end(&mut cluster).unwrap();
            let case = format!("{rounds} rounds, {fails} writes fail: {}", done.message);
            assert_eq!(done.phase, Phase::Paused, "{case}");
            assert_eq!(done.handled_request.as_deref(), Some("promote-full:1"), "{case}");
            cluster.request("promote-full:2");
            assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Stable, "{case}");
        }
    }
}

#[test]
fn what_is_asked_of_a_new_plan_before_anybody_looks_is_a_request() {
    let mut cluster = remembering();
    cluster.make_plan_again(0);
    cluster.request("promote-full:2");
    assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Stable);
    assert_eq!(cluster.image(), "app:4");
}

/// For histories: a plan that is made again answers the request of its manifest at once, and promotes nothing by it.
pub fn check_made_again(cluster: &Cluster) -> Result<(), String> {
    let mut copy = cluster.clone();
    let remembered = copy.plan_of_web().and_then(|plan| plan["metadata"]["annotations"][names::REQUEST].as_str());
    let Some(remembered) = remembered.map(str::to_owned) else { return Ok(()) };
    copy.allow_all();
    copy.reconcile();
    let status = copy.status().unwrap_or_default();
    let skips = status.release.as_ref().and_then(|release| release.skips_steps.as_deref());
    let in_full = skips == Some("promoted in full by request");
    if status.handled_request.as_deref() != Some(remembered.as_str()) || status.undo.is_some() || in_full {
        return Err(format!("a manifest's request {remembered} is not refused: {}", brief(&status)));
    }
    Ok(())
}
