//! What another version of Trimtab wrote: held with a word where it is in a spec, kept where it is in a status.

use serde_json::json;
use trimtab_crds::Phase;

use crate::model::{PLANS, REPLICA_SETS, WEB};
use crate::world::{check_end, four_with};

#[test]
fn a_plan_that_asks_for_more_than_is_known_is_held_with_a_word_and_goes_on_without() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"pause": {}}])).stable();
    cluster.edit_plan(|plan| plan["spec"]["traffic"] = json!({"httpRoute": {"name": "web"}}));
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert_eq!(status.phase, Phase::Blocked);
    assert!(status.message.contains("does not know spec.traffic:"), "{}", status.message);
    assert!(cluster.held(), "it was let go");
    assert_eq!(cluster.list(REPLICA_SETS).count(), 1, "it was tried by half of what is asked for");
    cluster.edit_plan(|plan| _ = plan["spec"].as_object_mut().unwrap().remove("traffic"));
    assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Paused);
}

#[test]
fn a_deployment_is_guarded_also_by_a_plan_that_asks_for_more_than_is_known() {
    let mut cluster = crate::model::Cluster::new();
    cluster.deploy(4, (json!(1), json!(0)), "app:1");
    cluster.plan(WEB, json!({"strategy": {"canary": {"steps": [{"analysis": {"checks": [{"name": "a"}]}}]}}}));
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    let message = cluster.status().unwrap().message;
    assert!(cluster.held() && message.contains("spec.strategy.canary.steps[0].analysis"), "{message}");
}

#[test]
fn what_a_newer_version_noted_is_kept_as_long_as_its_release() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"pause": {}}])).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.update_status(PLANS, WEB, |plan| {
        plan["status"]["traffic"] = json!({"weight": 20});
        plan["status"]["release"]["analysis"] = json!({"runs": 2});
    });
    // A status that another release would have written over it.
    cluster.request("pause:1");
    cluster.settle().unwrap();
    let stored = cluster.get(PLANS, WEB).unwrap()["status"].clone();
    assert_eq!(stored["release"]["paused"], json!(true), "{stored}");
    assert_eq!((&stored["traffic"]["weight"], &stored["release"]["analysis"]["runs"]), (&json!(20), &json!(2)));
    cluster.request("promote-full:2");
    assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Stable);
    let stored = cluster.get(PLANS, WEB).unwrap()["status"].clone();
    assert_eq!((&stored["traffic"]["weight"], stored.get("release")), (&json!(20), None));
}
