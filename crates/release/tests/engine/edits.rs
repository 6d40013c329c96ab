//! Edits of a plan's steps in mid-release: they skip no pause and promote nothing, and what waits for a person goes on waiting.

use serde_json::{Value, json};
use trimtab_crds::{Phase, ReleasePlanStatus, Stage};

use crate::model::Cluster;
use crate::world::{brief, check_end, four_with};

fn edit(cluster: &mut Cluster, steps: &Value) {
    cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = steps.clone());
}

/// `app:2` waits at the first pause of these steps.
fn waiting(steps: Value) -> Cluster {
    let mut cluster = four_with(steps).stable();
    cluster.set_image("app:2");
    assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Paused);
    cluster
}

fn check(before: Value, after: Value, step: &str) {
    let case = format!("{before} becomes {after}");
    let mut cluster = waiting(before);
    edit(&mut cluster, &after);
    let status = check_end(&mut cluster).unwrap();
    assert_eq!((status.phase, status.step.as_deref()), (Phase::Paused, Some(step)), "{case}: {}", brief(&status));
}

#[test]
fn an_edit_of_a_plan_s_steps_skips_no_pause_and_promotes_nothing() {
    check(json!([{"setWeight": 50}, {"pause": {}}]), json!([{"setWeight": 20}, {"pause": {}}]), "2/2");
    let scale = json!({"setCanaryScale": {"replicas": 1}});
    check(json!([scale, {"pause": {}}]), json!([scale, {"pause": {}}, {"pause": {"duration": "5m"}}]), "2/3");
    let later = json!({"setWeight": 50});
    check(json!([scale, {"pause": {}}, later]), json!([scale, {"pause": {}}, later, {"pause": {}}]), "2/4");
    check(
        json!([{"setWeight": 20}, {"pause": {}}]),
        json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 100}]),
        "2/3",
    );
    check(json!([{"setWeight": 20}, {"pause": {}}]), json!([{"pause": {}}, {"setWeight": 50}]), "1/2");
}

#[test]
fn steps_that_are_all_taken_out_are_promoted_but_not_while_a_person_is_waited_for() {
    for none in [json!([]), json!([{"setWeight": 100}])] {
        let mut cluster = waiting(json!([{"setWeight": 20}, {"pause": {}}]));
        cluster.request("pause:1");
        cluster.settle().unwrap();
        edit(&mut cluster, &none);
        let status = check_end(&mut cluster).unwrap();
        assert_eq!(status.phase, Phase::Paused, "{none}: {}", brief(&status));
        assert_eq!(cluster.images()["app:2"], 1, "its size stays");
        cluster.request("resume:2");
        assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Stable, "{none}");
    }
}

#[test]
fn what_failed_and_what_a_person_paused_stay_so_whatever_steps_are_edited() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"pause": {}}])).stable();
    cluster.edit_plan(|plan| plan["spec"]["onFailure"] = json!("Pause"));
    cluster.set_image("app:crash");
    for steps in [json!([{"setWeight": 10}]), json!([]), json!([{"setWeight": 60}, {"pause": {"duration": "1s"}}])] {
        check_end(&mut cluster).unwrap();
        edit(&mut cluster, &steps);
        let status = check_end(&mut cluster).unwrap();
        let release = status.release.clone().unwrap();
        assert!(release.paused && release.verdict.is_some(), "{steps}: {}", brief(&status));
    }
}

#[test]
fn a_promote_goes_one_step_on_in_the_steps_as_they_are_now() {
    let mut cluster = waiting(json!([{"setWeight": 50}, {"pause": {}}]));
    edit(&mut cluster, &json!([{"setWeight": 20}, {"pause": {}}]));
    cluster.request("promote:1");
    assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Paused);
}

/// Whether only a person leads on to promotion, whatever else is in the steps.
fn ends_with_a_person(steps: &Value) -> bool {
    let before = |step: &&Value| step["setWeight"] != json!(100);
    steps.as_array().is_some_and(|all| all.iter().take_while(before).last() == Some(&json!({"pause": {}})))
}

/// For histories: this edit alone promotes nothing, and what is paused stays paused.
pub fn check_edit(cluster: &Cluster, steps: &Value) -> Result<(), String> {
    let mut copy = cluster.clone();
    let in_steps = |status: &ReleasePlanStatus| status.release.clone().filter(|one| one.stage == Stage::Steps);
    let quiet = copy.status().is_some_and(|status| {
        let asked = copy.plan_of_web().and_then(|plan| plan["metadata"]["annotations"]["trimtab.dev/request"].as_str());
        asked.is_none() || asked == status.handled_request.as_deref()
    });
    let Some(before) = copy.status().as_ref().and_then(in_steps).filter(|_| quiet && copy.paused()) else {
        return Ok(());
    };
    edit(&mut copy, steps);
    copy.settle()?;
    let status = copy.status().unwrap_or_default();
    let promoted = copy.list(crate::model::RELEASES).any(|release| {
        release["metadata"]["name"] == json!(before.name) && release["status"]["result"] == json!("Promoted")
    });
    let let_go = promoted || status.release.as_ref().is_some_and(|one| one.stage == Stage::Promoting);
    let resumed = in_steps(&status).is_some_and(|one| before.paused && one.name == before.name && !one.paused);
    if (let_go && (before.paused || ends_with_a_person(steps))) || resumed {
        return Err(format!("an edit to {steps} led on from {before:?}: {}", brief(&status)));
    }
    Ok(())
}
