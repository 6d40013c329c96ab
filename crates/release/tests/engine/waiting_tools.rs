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
