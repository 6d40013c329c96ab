//! Reloads without a restart: which pods are told, which are waited for, and when the workload restarts after all.

use super::*;

/// A noted workload that mounts ConfigMap `web` and reads it anew by HTTP.
fn mounting() -> World {
    let hot = json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-mode": "http", "trimtab.dev/reload-http": ":8080/-/reload"});
    let mut world = World::new(hot);
    world.workload["spec"]["template"]["spec"] = json!({"volumes": [{"name": "v", "configMap": {"name": "web"}}],
        "containers": [{"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/etc/web"}]}]});
    world.apply();
    world
}

fn reloaded() -> Answer {
    Answer::Object(json!({"reloaded": true}))
}

#[test]
fn hot_reloads_ask_one_pod_and_then_the_others() {
    let mut world = mounting();
    world.set("cm/web", json!({"a": "2"}));
    world.pods = vec![pod(0, "a"), pod(1, "a")];
    let first = world.decide();
    assert_eq!((first.asks.len(), first.writes.len(), first.housekeeping.len()), (1, 0, 1), "{first:?}");
    // As many as wait are not told in the time of one: 48 at once, each of some seconds.
    let Question::Custom { input, .. } = &first.asks[0].question else { panic!("{first:?}") };
    let own = input["timeoutSeconds"].as_u64().unwrap();
    assert!(u64::from(first.asks[0].timeout_seconds) > own + 1_300 * 4 / 48, "{:?}", first.asks);
    world.answers.insert(first.asks[0].id.clone(), reloaded());
    let second = world.decide();
    assert_eq!(second.asks.len(), 2);
    let failed = world.clone();
    world.answers.insert(second.asks[1].id.clone(), reloaded());
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
    let mut world = mounting();
    world.set("cm/web", json!({"a": "2"}));
    world.now = "2026-01-01T00:05:00Z".parse().unwrap();
    let with = |pods: Vec<Value>| World { pods, ..world.clone() };
    let (mut unready, mut evicted) = (pod(1, "a"), pod(1, "a"));
    unready["status"]["conditions"] = json!([]);
    evicted["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    // One that has ended is no pod any more.
    let mut beside = with(vec![pod(0, "a"), evicted]);
    let id = beside.decide().asks[0].id.clone();
    beside.answers.insert(id, reloaded());
    check(&beside, "HotReloaded");
    // One that is not ready may become so.
    let mut beside = with(vec![pod(0, "a"), unready.clone()]);
    let plan = beside.decide();
    assert_eq!((plan.asks.len(), matches!(plan.wake, Wake::At(_))), (1, true), "{plan:?}");
    beside.answers.insert(plan.asks[0].id.clone(), reloaded());
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

/// A version that says nothing new ends what is asked about the one before: nobody else wakes the workload for it.
#[test]
fn a_pod_that_was_asked_about_what_is_not_live_any_more_is_asked_anew() {
    let mut world = mounting();
    world.set("cm/web", json!({"a": "2"}));
    world.pods = vec![pod(0, "a"), pod(1, "a")];
    let changed = Answer::Object(json!({"changed": true}));
    let first = world.decide().asks[0].id.clone();
    let mut one = world.clone();
    one.answers.insert(first.clone(), changed.clone());
    let plan = one.decide();
    assert!(plan.asks.iter().all(|ask| ask.id != first), "its answer is kept: {:?}", plan.asks);
    assert!(matches!(plan.wake, Wake::At(at) if at <= one.now + jiff::SignedDuration::from_secs(2)), "{:?}", plan.wake);
    // The next decision knows of no answer.
    one.answers.clear();
    assert_eq!(one.decide().asks[0].id, first);
    // The same of one among several, and what the others have answered counts.
    world.answers.insert(first.clone(), reloaded());
    let second = world.decide().asks[1].id.clone();
    world.answers.insert(second.clone(), changed.clone());
    let plan = world.decide();
    assert_eq!(plan.asks.iter().map(|ask| &ask.id).collect::<Vec<_>>(), [&first]);
    assert!(matches!(plan.wake, Wake::At(_)));
    world.answers.insert(second, reloaded());
    world.answers.insert(first, changed);
    let plan = world.decide();
    assert_eq!(plan.asks.len(), 1, "the process of the other pod would be told once more: {:?}", plan.asks);
}

/// The kubelet brings the files by itself too.
#[test]
fn a_refused_hint_to_the_kubelet_holds_up_nothing() {
    let mut world = mounting();
    world.set("cm/web", json!({"a": "2"}));
    world.pods = vec![pod(0, "a")];
    let plan = world.decide();
    assert!(plan.writes.iter().all(|write| write.target.kind.kind != "Pod"), "{:?}", plan.writes);
    assert!(plan.housekeeping.iter().all(|chore| chore.about.kind.kind == "Deployment"));
    let id = plan.asks[0].id.clone();
    for (answer, expected) in [(reloaded(), "HotReloaded"), (Answer::Failed("status 500".to_owned()), OURS)] {
        let mut answered = world.clone();
        answered.answers.insert(id.clone(), answer);
        let plan = answered.decide();
        assert_eq!((plan.writes.len(), plan.housekeeping.len()), (1, 0), "{plan:?}");
        assert_eq!(plan.writes[0].target.kind.kind, "Deployment");
        check(&answered, expected);
    }
}

/// Neither how often a template mounts a source nor how many pods there are has a bound.
#[test]
fn questions_to_pods_are_few_and_short() {
    let mut world = mounting();
    world.set("cm/web", json!({"a": "2"}));
    world.pods = (0..60).map(|second| pod(second, "a")).collect();
    world.now = "2026-01-01T00:05:00Z".parse().unwrap();
    world.sources.insert("cm/web".parse().unwrap(), config_map(json!({"a": "2"}), 59));
    let first = world.decide();
    assert_eq!(first.asks.len(), 1);
    world.answers.insert(first.asks[0].id.clone(), reloaded());
    assert_eq!(world.decide().asks.len(), 33);
    let mount = |n: usize| json!({"name": "v", "mountPath": format!("/etc/{n}")});
    let with = |mounts: usize, sources: usize, items: usize| {
        let items: Vec<Value> = (0..items).map(|n| json!({"key": format!("{n}"), "path": "a"})).collect();
        let mut part = json!({"configMap": {"name": "web"}});
        if !items.is_empty() {
            part["configMap"]["items"] = items.into();
        }
        let mut world = world.clone();
        let spec = &mut world.workload["spec"]["template"]["spec"];
        spec["volumes"] = json!([{"name": "v", "projected": {"sources": vec![part; sources]}}]);
        spec["containers"][0]["volumeMounts"] = (0..mounts).map(mount).collect();
        world
    };
    check(&with(100, 1, 0), "HotReloading");
    let began = std::time::Instant::now();
    for many in [with(2_000, 1, 0), with(1_000, 1_000, 0), with(1, 3_000, 0), with(500, 1, 10_000)] {
        check(&many, OURS);
        let told = many.decide().notices.iter().any(|notice| notice.note.contains("too many places"));
        assert!(told);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Those that are to restart after all, and nobody has shown yet that the others do.
#[test]
fn hot_reloads_that_fall_back_restart_as_many_at_once_as_may() {
    let named = |world: &World, number: usize| {
        let mut world = world.clone();
        let name = format!("w{number}");
        world.workload["metadata"]["name"] = json!(name);
        world.options.max_per_source = 10;
        world
    };
    let mut fixed = World::noted(json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-mode": "signal"}));
    fixed.set("cm/web", json!({"a": "2"}));
    let mut refused = mounting();
    refused.set("cm/web", json!({"a": "2"}));
    refused.pods = vec![pod(0, "a")];
    let hears = refused.clone();
    let id = refused.decide().asks[0].id.clone();
    refused.answers.insert(id.clone(), Answer::Failed("status 500".to_owned()));
    // Its turn is not come: what its pods have answered is kept until then.
    let wait = Turn::Wait("others".to_owned(), None);
    let waits = trimtab_reload::decide(refused.now, &Snapshot { turn: Some(wait), ..refused.snapshot() });
    assert_eq!(waits.asks.iter().map(|ask| &ask.id).collect::<Vec<_>>(), [&id]);
    for world in [&fixed, &refused] {
        let mut board = Board::default();
        let mut look = |world: &World, number: usize, decided: bool| {
            let world = named(world, number);
            let member = Member::seen(world.now, &world.snapshot(), decided).unwrap();
            let id = member.id.clone();
            board.put(world.now, &world.options, member);
            board.turn(world.now, &world.options, &id)
        };
        let went = (0..20).filter(|number| look(world, *number, true) == Turn::Go).count();
        assert_eq!(went, 10);
        // Seen by another, who knows nothing of answers, and then again by itself.
        _ = look(world, 0, false);
        assert_eq!(look(world, 0, true), Turn::Go);
        assert!(matches!(look(world, 15, true), Turn::Wait(..)));
    }
    // What is told to read its files takes no place.
    let member = Member::seen(hears.now, &hears.snapshot(), true).unwrap();
    let mut board = Board::default();
    let options = Options { max_per_source: 1, ..hears.options.clone() };
    board.put(hears.now, &options, member);
    let other = named(&fixed, 1);
    let member = Member::seen(other.now, &other.snapshot(), true).unwrap();
    board.put(other.now, &options, member);
    assert_eq!(board.turn(other.now, &options, "deployment/w1"), Turn::Go);
}
