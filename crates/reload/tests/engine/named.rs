//! Sources by all the ways in which a workload names them, through their lives, and what is named in vain.

use super::*;

/// What is said of a workload with these annotations, beside everything else.
fn check_told(annotations: Value, expected: &[&str]) {
    let plan = World::noted(annotations.clone()).decide();
    let told: Vec<&str> = plan.notices.iter().map(|notice| notice.reason).collect();
    assert_eq!(told, expected, "{annotations}");
    let said = |reason: &&&str| plan.because.iter().any(|because| because.reason == **reason);
    assert_eq!(expected.iter().filter(said).count(), expected.len(), "{:?}", plan.because);
}

#[test]
fn what_an_annotation_asks_for_in_vain_is_told() {
    let ours = |value: &str| json!({"trimtab.dev/reload": value});
    check_told(ours("cm/web"), &[]);
    check_told(ours("auto"), &[]);
    check_told(ours("cm/wbe"), &["SourceMissing"]);
    check_told(ours("cm/web,secret/bd"), &["SourceMissing"]);
    check_told(json!({"configmap.reloader.stakater.com/reload": "wbe"}), &[]);
    check_told(json!({"trimtab.dev/reload": "auto", "trimtab.dev/plan": "web"}), &["ReloadIgnored"]);
    check_told(json!({"trimtab.dev/reload": "auto", "trimtab.dev/config-track": "Referenced"}), &["ReloadIgnored"]);
    check_told(json!({"trimtab.dev/reload": "auto", "trimtab.dev/plan": ""}), &[]);
    let world = World::new(json!({"trimtab.dev/reload": "off", "trimtab.dev/plan": "web"}));
    assert!(!world.options.asks_in_vain(&world.workload()));
}

/// Reloader falls back to the annotations of the pod template for each kind of sources on its own.
#[test]
fn annotations_of_the_template_count_for_a_kind_that_the_workload_s_own_say_nothing_of() {
    let check = |own: Value, template: Value, expected: &str| {
        let mut world = World::new(own.clone());
        world.workload["spec"]["template"]["metadata"]["annotations"] = template.clone();
        world.set("cm/app", json!({"a": "1"}));
        world.apply();
        world.set("cm/app", json!({"a": "2"}));
        let said = world.decide().because.first().map(|because| because.reason);
        assert_eq!(said, Some(expected), "{own} {template}");
    };
    let maps = json!({"configmap.reloader.stakater.com/reload": "app"});
    check(json!({"secret.reloader.stakater.com/reload": "tls"}), maps.clone(), "Restarting");
    check(json!({"secret.reloader.stakater.com/auto": "true"}), maps.clone(), "Restarting");
    check(json!({}), maps.clone(), "Restarting");
    check(json!({}), json!({"configmap.reloader.stakater.com/reload": "a.+p,ap{2}"}), "Restarting");
    // These are about both kinds, or about ConfigMaps.
    check(json!({AUTO: "true"}), maps.clone(), "UpToDate");
    check(json!({"reloader.stakater.com/search": "true"}), maps.clone(), "UpToDate");
    check(json!({"configmap.reloader.stakater.com/reload": "other"}), maps, "UpToDate");
}

#[test]
fn nothing_is_decided_before_it_is_known_what_expressions_fit() {
    let world = World::new(json!({"configmap.reloader.stakater.com/reload": "w.+"}));
    let mut seen = world.snapshot();
    seen.survey = Survey { comparing: true, ..Survey::default() };
    let plan = decide(world.now, &seen);
    assert!(plan.writes.is_empty() && plan.notices.is_empty(), "{plan:?}");
    assert_eq!(plan.because.first().map(|because| because.reason), Some("Comparing"));
    assert!(matches!(plan.wake, Wake::At(_)), "{plan:?}");
}

/// Restarts so far after each of these, where both flags of Reloader's are given.
fn check_life(annotations: Value, tag: bool, expected: [usize; 7]) {
    check_life_of(World::new(annotations), tag, expected);
}

fn check_life_of(mut world: World, tag: bool, expected: [usize; 7]) {
    let annotations = world.workload["metadata"]["annotations"].clone();
    world.options.on_create = true;
    world.options.on_delete = true;
    world.remove("cm/web");
    world.apply();
    let (mut restarts, mut seen) = (0, vec![]);
    let steps = ["a", "b", "b", "-", "b", "c", "-"];
    for value in steps {
        // Far enough from the one before: who changes a source again and again is another matter.
        world.now += jiff::SignedDuration::from_hours(2);
        if value == "-" {
            world.remove("cm/web");
        } else {
            world.set("cm/web", json!({"a": value}));
            if tag {
                world.tag("cm/web", "reloader.stakater.com/match", "true");
            }
        }
        // What is noted behind a restart must not restart anything.
        for _ in 0..3 {
            restarts += usize::from(world.apply().because.iter().any(|because| because.reason == "Restarting"));
        }
        seen.push(restarts);
    }
    assert_eq!(seen, expected, "{annotations}");
    assert!(world.decide().writes.is_empty(), "{annotations}: {:?}", world.decide().writes);
}

#[test]
fn a_source_s_life_restarts_as_often_however_it_is_named() {
    let (named, secrets) = ("configmap.reloader.stakater.com/reload", "secret.reloader.stakater.com/reload");
    // Created, changed, written as it is, deleted, created as it was, changed, deleted.
    let life = [1, 2, 2, 3, 4, 5, 6];
    check_life(json!({named: "web"}), false, life);
    check_life(json!({named: "w.*"}), false, life);
    check_life(json!({named: "other,[v-w]eb,x.*"}), false, life);
    check_life(json!({named: "w.*,web"}), false, life);
    check_life(json!({AUTO: "true"}), false, life);
    check_life(json!({"configmap.reloader.stakater.com/auto": "true"}), false, life);
    check_life(json!({"reloader.stakater.com/search": "true"}), true, life);
    // Ours: what comes restarts pods that could start without it, what goes does not, and what comes back as it was does not.
    for wish in ["auto", "configmaps", "cm/web"] {
        let ours = || World::new(json!({"trimtab.dev/reload": wish}));
        check_life_of(ours(), false, [0, 1, 1, 1, 1, 2, 2]);
        check_life_of(ours().optional(), false, [1, 2, 2, 2, 2, 3, 3]);
    }
    check_life(json!({"reloader.stakater.com/search": "true"}), false, [0; 7]);
    check_life(json!({secrets: "w.*"}), false, [0; 7]);
}

#[test]
fn an_expression_that_is_new_restarts_nothing_for_what_is_there() {
    let named = "configmap.reloader.stakater.com/reload";
    let mut world = World::new(json!({named: "x.*"}));
    world.options.on_create = true;
    world.set("cm/web", json!({"a": "1"}));
    world.apply();
    check(&world, "UpToDate");
    world.workload["metadata"]["annotations"][named] = "x.*,w.*".into();
    check(&world, "Noting");
    world.apply();
    check(&world, "UpToDate");
    world.set("cm/web-2", json!({"a": "1"}));
    check(&world, "Restarting STAKATER_WEB_2_CONFIGMAP");
}

#[test]
fn what_expressions_named_and_is_gone_does_not_pile_up() {
    let mut world = World::new(json!({"configmap.reloader.stakater.com/reload": "app-.*"}));
    for generation in 0..100 {
        let name = format!("cm/app-{generation}");
        world.sources.insert(name.parse().unwrap(), config_map(json!({"a": "1"}), 1 + generation % 50));
        world.apply();
        world.remove(&name);
        world.apply();
    }
    let noted = world.workload["metadata"]["annotations"][APPLIED].as_str().unwrap();
    assert!(noted.matches("cm/app-").count() <= 33, "{noted}");
}
