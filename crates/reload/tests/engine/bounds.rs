//! What annotations hold that somebody writes to harm: as much as fits into one, and what is read of it.

use super::*;

const NAMED: &str = "configmap.reloader.stakater.com/reload";

/// What a workload with these annotations is told, and how many expressions were compiled for it, however often it was looked at.
fn check_bound(annotations: Value, told: &[&str], compiled: usize) {
    let world = World::new(annotations);
    let source = Source::config_map("web");
    for look in 0..20 {
        let workload = world.workload();
        // As watches ask of every object.
        assert!(world.options.opted_in(&workload));
        world.options.has_patterns(&workload);
        assert!(world.options.literals(&workload).len() <= 1_000);
        world.options.patterns(&workload).may_fit(&source);
        assert!(look > 0 || world.options.expressions.compiled() == 0, "a watch compiles");
        world.decide();
    }
    assert!(world.options.expressions.compiled() <= compiled, "{}", world.options.expressions.compiled());
    let plan = world.decide();
    let problems = world.options.problems(&world.workload(), &world.fits(&world.workload()));
    for part in told {
        let in_event = plan.notices.iter().any(|notice| notice.reason == "BadAnnotation" && notice.note.contains(part));
        assert!(in_event || problems.iter().any(|problem| problem.contains(part)), "{part:?} in {problems:?}");
    }
    assert_eq!(problems.is_empty(), told.is_empty(), "{problems:?}");
    assert!(plan.notices.iter().all(|notice| notice.note.len() < 600));
}

#[test]
fn no_annotation_makes_a_look_long() {
    let many = |entry: &dyn Fn(usize) -> String| (0..45_000).map(entry).collect::<Vec<_>>().join(",");
    check_bound(json!({NAMED: "web,plugin-.*"}), &[], 1);
    check_bound(
        json!({NAMED: many(&|_| r"\w_".to_owned())}),
        &[NAMED, "more than 100 entries", "more than 32 expressions"],
        1,
    );
    check_bound(json!({NAMED: many(&|n| format!("{n}.+"))}), &[NAMED, "the first 32 count"], 32);
    check_bound(json!({NAMED: many(&|n| format!("web-{n}"))}), &["more than 100 entries"], 0);
    check_bound(json!({NAMED: format!("{}+", "a".repeat(200_000))}), &[NAMED, "longer than 128 letters"], 0);
    check_bound(json!({NAMED: "((a{50}){50}){50}"}), &["no regular expression"], 1);
    check_bound(json!({NAMED: "(".repeat(127)}), &["no regular expression"], 1);
    check_bound(json!({NAMED: format!("web,{}", "a".repeat(200_000))}), &[NAMED, "can be called"], 0);
    let ours = |value: String| json!({"trimtab.dev/reload": value});
    check_bound(ours(many(&|n| format!("cm/{n}"))), &["trimtab.dev/reload has more than 100 entries"], 0);
    let exclude = json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-exclude": many(&|n| format!("cm/{n}"))});
    check_bound(exclude, &["trimtab.dev/reload-exclude has more than 100 entries"], 0);
    let after = json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-after": many(&|n| format!("deploy/{n}"))});
    check_bound(after, &["trimtab.dev/reload-after names more than 32 workloads"], 0);
    // What we write ourselves, and others may too.
    let log = format!("[{}]", many(&|n| format!(r#"{{"at":"2026-01-01T00:00:00Z","to":"cm/{n}=aa"}}"#)));
    let applied = many(&|n| format!("cm/{n}=aa"));
    check_bound(json!({AUTO: "true", "trimtab.dev/reload-log": log, APPLIED: applied}), &[], 0);
}

/// A template that reads more sources than can be looked after, with names that make one variable.
#[test]
fn a_template_of_thousands_of_sources_is_looked_at_quickly_and_told() {
    let mut world = World::new(json!({AUTO: "true"}));
    let reads: Vec<Value> =
        (0..20_000).map(|n| json!({"configMapRef": {"name": format!("a{}{n}", ".".repeat(n % 7))}})).collect();
    world.workload["spec"]["template"]["spec"]["containers"][0]["envFrom"] = reads.into();
    let began = std::time::Instant::now();
    let plan = world.decide();
    assert!(plan.notices.iter().any(|notice| notice.note.contains("1000 sources or more")), "{:?}", plan.notices);
    // A square of it took minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}
