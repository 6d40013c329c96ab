//! Restarts that are decided twice on what was seen before the first of them.

use super::*;

/// The watch may not have shown the restart yet, or the process that made it is another.
#[test]
fn a_restart_that_is_decided_twice_is_made_once() {
    let check = |mut world: World| {
        world.set("cm/web", json!({"a": "2"}));
        let first = world.decide();
        world.now += jiff::SignedDuration::from_secs(11);
        let again = world.decide();
        let body = |plan: &Plan<()>| match &plan.writes[0].verb {
            Verb::Merge { body, .. } | Verb::Strategic { body, .. } => body.clone(),
            other => panic!("{other:?}"),
        };
        let (first, again) = (body(&first), body(&again));
        assert!(first["spec"].is_object());
        let seen = &world.workload["metadata"]["resourceVersion"];
        assert!(first["spec"] == again["spec"] || again["metadata"]["resourceVersion"] == *seen, "{first} {again}");
    };
    for (annotations, kind) in [
        (json!({AUTO: "true"}), "Deployment"),
        (json!({"trimtab.dev/reload": "auto"}), "Deployment"),
        (json!({AUTO: "true"}), "Rollout"),
        (json!({AUTO: "true", "reloader.stakater.com/rollout-strategy": "restart"}), "Rollout"),
    ] {
        for strategy in [Strategy::Default, Strategy::EnvVars, Strategy::Annotations] {
            let mut world = World::new(annotations.clone());
            (world.kind, world.options.strategy) = (kind, strategy);
            world.apply();
            check(world.clone());
            // Brought back by an undo.
            let template = world.workload["spec"]["template"].clone();
            world.set("cm/web", json!({"a": "2"}));
            let mut undone = world.clone();
            undone.apply();
            undone.workload["status"]["restartedAt"] = undone.workload["spec"]["restartAt"].clone();
            let newer = undone.workload["spec"]["template"].clone();
            undone.set("cm/web", json!({"a": "3"}));
            undone.apply();
            undone.workload["spec"]["template"] = if kind == "Rollout" { template } else { newer };
            undone.workload["status"]["restartedAt"] = undone.workload["spec"]["restartAt"].clone();
            check(undone);
        }
    }
}
