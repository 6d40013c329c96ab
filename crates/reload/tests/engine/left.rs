//! Workloads that are not reloaded any more: what reloads said of them and did to them is taken back, and nothing else is done.

use super::*;

const PAUSE: &str = "deployment.reloader.stakater.com/pause-period";
const PAUSED_AT: &str = "deployment.reloader.stakater.com/paused-at";

/// Takes the writes as the API server does, conditions merged by type, and says the reasons.
fn settle(world: &mut World) -> Vec<&'static str> {
    let plan = world.decide();
    for write in &plan.writes {
        let (Verb::Merge { body, .. } | Verb::Strategic { body, .. }) = &write.verb else { panic!("{write:?}") };
        // Lists of conditions are merged by type: there is one of ours.
        merge(&mut world.workload, body);
    }
    plan.because.iter().map(|because| because.reason).collect()
}

fn condition(world: &World) -> &Value {
    &world.workload["status"]["conditions"][0]["status"]
}

/// A workload about which something stands in the way, once somebody else looks after it, or nobody.
fn check_taken_back(change: impl Fn(&mut Value), expected: &[&str]) {
    let mut world = World::noted(json!({"trimtab.dev/reload": "auto"}));
    world.workload["status"]["conditions"] =
        json!([{"type": "ReloadBlocked", "status": "True", "reason": "WaveFailed", "message": "m"}]);
    change(&mut world.workload["metadata"]["annotations"]);
    assert_eq!(settle(&mut world), expected);
    assert_eq!(condition(&world), "False");
    assert!(world.decide().writes.is_empty(), "it is said again and again");
}

#[test]
fn what_stood_in_the_way_is_taken_back_where_a_plan_or_nobody_takes_over() {
    check_taken_back(|annotations| annotations["trimtab.dev/plan"] = "web".into(), &["ReloadIgnored", "LetGo"]);
    let plan_alone = |annotations: &mut Value| *annotations = json!({"trimtab.dev/plan": "web"});
    check_taken_back(plan_alone, &["LetGo"]);
    check_taken_back(|annotations| *annotations = json!({}), &["LetGo"]);
    // Who is left alone altogether is left alone with that too.
    let mut world = World::new(json!({}));
    world.workload["status"]["conditions"] = json!([{"type": "ReloadBlocked", "status": "True"}]);
    assert!(world.options.concerns(&world.workload()));
    world.options.ignored_namespaces.insert("ns".to_owned());
    assert!(!world.options.concerns(&world.workload()));
}

#[test]
fn a_pause_of_reloads_ends_though_a_plan_has_taken_over() {
    let mut world = World::noted(json!({AUTO: "true", PAUSE: "5m"}));
    world.set("cm/web", json!({"a": "2"}));
    world.apply();
    assert_eq!(world.workload["spec"]["paused"], true);
    world.workload["metadata"]["annotations"]["trimtab.dev/plan"] = "web".into();
    assert_eq!(settle(&mut world), ["LetGo", "Paused"]);
    world.now = "2026-01-01T01:05:00Z".parse().unwrap();
    assert_eq!(settle(&mut world), ["LetGo", "Resuming"]);
    assert_eq!(world.workload["spec"]["paused"], false);
    assert!(world.workload["metadata"]["annotations"].get(PAUSED_AT).is_none());
    assert!(!world.options.concerns(&world.workload()));
}
