//! What tools that wait for a plan read of it, from the beginning of a release to its end. Their rules are in `health`.

use serde_json::json;
use trimtab_crds::Phase;

use crate::health::{Health, argo, kstatus};
use crate::model::{Cluster, WEB};
use crate::world::{check_end, four_with};

/// Both read the status that the model's controller wrote last.
fn check(cluster: &mut Cluster, phase: Phase, health: Health, argo_says: &str) {
    let status = check_end(cluster).unwrap();
    let generation = cluster.plan_of_web().unwrap()["metadata"]["generation"].as_i64().unwrap();
    assert_eq!(status.phase, phase, "{}", status.message);
    assert_eq!((kstatus(generation, &status), argo(generation, &status)), (health, argo_says), "{}", status.message);
}

#[test]
fn tools_that_wait_read_a_release_from_its_beginning_to_its_end() {
    let steps = json!([{"setWeight": 50}, {"pause": {}}]);
    let mut cluster = four_with(steps.clone()).stable();
    check(&mut cluster, Phase::Stable, Health::Current, "Healthy");
    cluster.set_image("app:2");
    check(&mut cluster, Phase::Paused, Health::InProgress, "Progressing");
    cluster.request("abort:1");
    check(&mut cluster, Phase::TakenBack, Health::Failed, "Degraded");
    cluster.request("undo:2");
    check(&mut cluster, Phase::Stable, Health::Current, "Healthy");
    cluster.edit_plan(|plan| plan["spec"]["onFailure"] = json!("Pause"));
    cluster.set_image("app:crash");
    check(&mut cluster, Phase::Paused, Health::Failed, "Degraded");
    cluster.request("abort:3");
    check(&mut cluster, Phase::TakenBack, Health::Failed, "Degraded");
    cluster.opt_out();
    check(&mut cluster, Phase::Waiting, Health::Failed, "Degraded");
    cluster.delete_deployment();
    cluster.advance(60);
    check(&mut cluster, Phase::Waiting, Health::Failed, "Degraded");
    let mut first = Cluster::new();
    first.deploy(4, (json!(1), json!(0)), "app:crash");
    first.plan(WEB, json!({"strategy": {"canary": {"steps": []}}}));
    check(&mut first, Phase::Waiting, Health::Failed, "Degraded");
    let mut asleep = four_with(steps).stable();
    asleep.scale(0);
    asleep.settle().unwrap();
    asleep.set_image("app:2");
    check(&mut asleep, Phase::Waiting, Health::Current, "Healthy");
}

#[test]
fn an_edit_that_is_not_seen_yet_counts_as_in_progress() {
    let mut cluster = four_with(json!([])).stable();
    let status = cluster.status().unwrap();
    let generation = status.observed_generation.unwrap();
    assert_eq!(kstatus(generation, &status), Health::Current);
    assert_eq!(kstatus(generation + 1, &status), Health::InProgress);
}

/// A Deployment without a plan, and the limits of how it rolls.
fn unguarded(image: &str) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.deploy(3, (json!(1), json!(0)), image);
    cluster
}

#[test]
fn what_kubernetes_once_called_complete_is_stable_also_where_a_pod_is_broken_since() {
    let mut cluster = unguarded("app:1");
    cluster.settle().unwrap();
    cluster.sicken(0);
    cluster.settle().unwrap();
    cluster.plan(WEB, json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}}));
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Stable, "{}", cluster.status().unwrap().message);
    // Likewise one that a person released past the plan, and that was complete while nobody looked.
    cluster.heal();
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.release_by_hand();
    for _ in 0..20 {
        cluster.advance(1);
        cluster.rest_of_round();
    }
    cluster.sicken(0);
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert_eq!(status.phase, Phase::Stable, "{}", status.message);
    // A change that is held is tried beside it.
    cluster.set_image("app:3");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused, "{}", cluster.status().unwrap().message);
}

#[test]
fn a_rollout_without_a_deadline_of_its_own_has_the_plan_s() {
    let unlimited = |d: &mut serde_json::Value| d["spec"]["progressDeadlineSeconds"] = json!(i32::MAX);
    let mut cluster = unguarded("app:hang");
    cluster.edit(unlimited);
    cluster.plan(WEB, json!({}));
    check(&mut cluster, Phase::Waiting, Health::Failed, "Degraded");
    let mut cluster = four_with(json!([])).stable();
    cluster.edit(unlimited);
    cluster.settle().unwrap();
    cluster.set_image("app:hang");
    cluster.release_by_hand();
    check(&mut cluster, Phase::Blocked, Health::Failed, "Degraded");
}

/// A rollout in which one pod after the other is replaced, each of which takes its time: its Deployment never has more available pods
/// than in the beginning.
#[test]
fn a_first_rollout_that_goes_on_has_not_stalled_however_long_it_takes() {
    for unlimited in [false, true] {
        let mut cluster = unguarded("app:1");
        cluster.settle().unwrap();
        cluster.start_seconds = 6;
        cluster.edit(|d| {
            d["spec"]["progressDeadlineSeconds"] = json!(if unlimited { i32::MAX } else { 600 });
            d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
        });
        cluster.rest_of_round();
        cluster.plan(WEB, json!({"progressDeadline": "10s"}));
        for _ in 0..60 {
            cluster.advance(1);
            cluster.round();
            let status = cluster.status().unwrap();
            let generation = status.observed_generation.unwrap();
            assert_ne!(kstatus(generation, &status), Health::Failed, "{}", status.message);
        }
        check(&mut cluster, Phase::Stable, Health::Current, "Healthy");
        assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:2".to_owned(), 3)]);
    }
}
