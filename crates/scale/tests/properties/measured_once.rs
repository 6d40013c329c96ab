//! What is measured once is good for one change: until it is measured anew, no size follows from it that does not follow from what it
//! asked for then, however many pods come or go, and whoever sets the size besides.

use serde_json::{Value, json};

use super::played::{Event, Fate, Part, Shape, World};

/// A metric whose value should be 100: with it the HPA multiplies the pods that are ready.
fn each_value() -> Value {
    let target = json!({"type": "Value", "value": "100"});
    json!([{"type": "External", "name": "queue", "external": {"metric": {"name": "queue"}, "target": target}}])
}

fn world(pods: i32, load: i64, spec: Value) -> World {
    let shape = Shape { watched: true, least: 1, night: false, of_pods: false, formula: false, behavior: Value::Null };
    let mut world = World::new(shape);
    (world.pace, world.replicas, world.ready, world.load) = (1, Some(pods), Some(pods), Some(load));
    (world.shared, world.spec) = (true, json!({"maxReplicas": 100, "metrics": each_value()}));
    for (field, value) in spec.as_object().unwrap() {
        world.spec[field] = value.clone();
    }
    world
}

/// The sizes that are written while nothing is measured anew: it is woken for its own writes, for whoever sets the size besides, and
/// for each pod that comes and is ready.
fn in_a_step(world: &mut World) -> Vec<i32> {
    let mut sizes = vec![];
    for round in 0.. {
        let found = world.round();
        sizes.extend(found.plan.writes.iter().filter_map(|write| match write.verb {
            trimtab_plan::Verb::Scale { replicas, .. } => Some(replicas),
            _ => None,
        }));
        let (pods, ready) = (world.replicas.unwrap(), world.ready.unwrap());
        let comes = ready < pods;
        world.ready = Some(if comes { ready + 1 } else { pods });
        if !found.woken && !comes && ready == pods || round > 200 {
            break;
        }
    }
    sizes
}

fn check(mut world: World, expected: &[&[i32]]) {
    for (step, sizes) in expected.iter().enumerate() {
        world.second += 15;
        assert_eq!(in_a_step(&mut world), *sizes, "in step {step} {:#}", world.status);
    }
}

#[test]
fn pods_that_become_ready_are_no_measurement() {
    check(world(3, 600, json!({})), &[&[6], &[], &[]]);
    check(world(3, 600, json!({"behavior": {}})), &[&[6], &[], &[]]);
    // At most double for each measurement.
    check(world(1, 1600, json!({})), &[&[4], &[8], &[16], &[]]);
    // A process that died before it could say what it had done, and a size that could not be set.
    let mut killed = world(3, 600, json!({}));
    killed.happen(Event::Refuse(Part::Status, Fate::Fails, true));
    check(killed, &[&[6], &[], &[]]);
    let mut refused = world(3, 600, json!({}));
    refused.happen(Event::Refuse(Part::Size, Fate::Fails, true));
    check(refused, &[&[6, 6], &[], &[]]);
    // A formula that multiplies what there is.
    check(world(3, 600, json!({"formula": "replicas + 1.0"})), &[&[4], &[5], &[6]]);
    check(world(3, 600, json!({"formula": "double(replicas) * metrics.queue.ratio"})), &[&[6], &[], &[]]);
}

#[test]
fn pods_that_go_are_no_measurement() {
    let at_once = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
    check(world(8, 400, at_once.clone()), &[&[4], &[], &[]]);
    let mut at_once = at_once;
    at_once["minReplicas"] = json!(0);
    // Those that were just made are not taken for missing.
    let mut asleep = world(0, 500, at_once);
    asleep.status = json!({"history": {"asleep": true}});
    (asleep.second, asleep.ready) = (15, Some(0));
    let sizes: Vec<i32> = (0..8).filter_map(|_| asleep.round().stored.map(|[_, _, stored]| stored)).collect();
    assert_eq!(sizes, [5], "{:#}", asleep.status);
}

#[test]
fn who_sets_another_size_again_and_again_is_answered_once_in_a_step() {
    for behavior in [Value::Null, json!({})] {
        let mut contested = world(3, 500, json!({"behavior": behavior}));
        (contested.shared, contested.load, contested.reverts) = (false, Some(167), Some(3));
        check(contested, &[&[6], &[6], &[6]]);
    }
    // Beyond the bounds too.
    let mut beyond = world(9, 900, json!({"maxReplicas": 5}));
    beyond.reverts = Some(9);
    check(beyond, &[&[5], &[5]]);
}

#[test]
fn what_people_ask_for_counts_at_once() {
    let mut world = world(3, 600, json!({}));
    world.second = 15;
    assert_eq!(in_a_step(&mut world), [6]);
    // Other bounds, although a size was just set.
    world.spec["minReplicas"] = json!(8);
    assert_eq!(in_a_step(&mut world), [8]);
    world.spec["maxReplicas"] = json!(7);
    world.spec["minReplicas"] = json!(1);
    assert_eq!(in_a_step(&mut world), [7]);
    // A size that somebody sets, where none was set in this step.
    world.second += 15;
    assert_eq!(in_a_step(&mut world), [0; 0]);
    world.happen(Event::SetSize(2));
    world.ready = Some(2);
    assert_eq!(in_a_step(&mut world).len(), 1, "{:#}", world.status);
}
