//! Reloads without a restart: which pods are told, which are waited for, and when the workload restarts after all.

use super::*;

#[test]
fn hot_reloads_ask_one_pod_and_then_the_others() {
    let hot = json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-mode": "http", "trimtab.dev/reload-http": ":8080/-/reload"});
    let mut world = World::new(hot);
    let spec = json!({"volumes": [{"name": "v", "configMap": {"name": "web"}}],
        "containers": [{"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/etc/web"}]}]});
    world.workload["spec"]["template"]["spec"] = spec;
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    world.pods = vec![pod(0, "a"), pod(1, "a")];
    let first = world.decide();
    assert_eq!((first.asks.len(), first.writes.len()), (1, 1), "{first:?}");
    world.answers.insert(first.asks[0].id.clone(), Answer::Object(json!({"reloaded": true})));
    let second = world.decide();
    assert_eq!(second.asks.len(), 2);
    let failed = world.clone();
    world.answers.insert(second.asks[1].id.clone(), Answer::Object(json!({"reloaded": true})));
    check(&world, "HotReloaded");
    world.apply();
    check(&world, "UpToDate");
    let mut failed = failed;
    failed.answers.insert(second.asks[1].id.clone(), Answer::Failed("status 500".to_owned()));
    check(&failed, OURS);
    // What is read into a variable needs a restart.
    let mut fixed = World::noted(json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-mode": "signal"}));
    fixed.set("cm/web", json!({"a": "2"}));
    check(&fixed, "NeedsRestart Restarting reloaded");
}

/// Pods that cannot be told, beside one that was made before the change and can.
#[test]
fn pods_that_cannot_hear_hold_up_a_hot_reload_for_a_time_only() {
    let hot = json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-mode": "http", "trimtab.dev/reload-http": ":8080/-/reload"});
    let mut world = World::new(hot);
    world.workload["spec"]["template"]["spec"] = json!({"volumes": [{"name": "v", "configMap": {"name": "web"}}],
        "containers": [{"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/etc/web"}]}]});
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    world.now = "2026-01-01T00:05:00Z".parse().unwrap();
    let with = |pods: Vec<Value>| World { pods, ..world.clone() };
    let (mut unready, mut evicted) = (pod(1, "a"), pod(1, "a"));
    unready["status"]["conditions"] = json!([]);
    evicted["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    // One that has ended is no pod any more.
    let mut beside = with(vec![pod(0, "a"), evicted]);
    let id = beside.decide().asks[0].id.clone();
    beside.answers.insert(id, Answer::Object(json!({"reloaded": true})));
    check(&beside, "HotReloaded");
    // One that is not ready may become so.
    let mut beside = with(vec![pod(0, "a"), unready.clone()]);
    let plan = beside.decide();
    assert_eq!((plan.asks.len(), matches!(plan.wake, Wake::At(_))), (1, true), "{plan:?}");
    beside.answers.insert(plan.asks[0].id.clone(), Answer::Object(json!({"reloaded": true})));
    check(&beside, "HotReloading");
    beside.now = "2026-01-01T00:11:00Z".parse().unwrap();
    check(&beside, OURS);
    // What nobody can be told may be what mends them.
    check(&with(vec![unready]), "NeedsRestart Restarting reloaded");
    check(&with(vec![]), "NeedsRestart Restarting reloaded");
}

/// Nobody wakes one that is to restart after all: it has no place among those that wait.
#[test]
fn one_that_restarts_after_all_looks_again_by_itself_whatever_it_waits_for() {
    let mut world = World::noted(json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-mode": "signal"}));
    world.set("cm/web", json!({"a": "2"}));
    let why = || "others".to_owned();
    for turn in [Turn::Wait(why(), None), Turn::After(why(), None), Turn::Halted(why()), Turn::Cycle(why())] {
        let plan = trimtab_reload::decide(world.now, &Snapshot { turn: Some(turn.clone()), ..world.snapshot() });
        assert!(matches!(plan.wake, Wake::At(_)), "{turn:?}: {plan:?}");
    }
}
