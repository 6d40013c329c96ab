//! No dead end: whatever becomes of a write, a status, a metric or the target, the autoscaler looks again at a time of its own or says
//! what somebody has to do, says when a write of it is refused, and has the size that is asked for once nothing stands in the way. And
//! it comes to rest: what it writes itself is no reason to write again.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use trimtab_plan::Wake;

use super::played::{Event, MOST, Round, Shape, World, outside, refusals, shapes};
use super::world::behaviors;

/// More reconciles than a step ever needs: the scale, the metrics, a size, and what is asked anew behind it.
const ROUNDS: usize = 16;

/// What must hold of one reconcile.
fn check_round(world: &World, round: &Round) -> Result<(), String> {
    // Of a status that cannot be written people are told by an event.
    let told = round.plan.because.iter().any(|because| because.message.contains("create it"));
    if round.plan.wake == Wake::OnChange && !told {
        return Err(format!("nothing leads on: {:?} {:#}", round.plan.because, world.status));
    }
    if let Some([there, decided, stored]) = round.stored
        && (there != decided || there == stored && world.cap.is_none())
    {
        return Err(format!("{stored} is written for {there} where {decided} was seen: {:#}", world.status));
    }
    let Some(failure) = round.failed.as_ref().filter(|_| !round.unsaid) else { return Ok(()) };
    // What somebody else wrote in between is read, and decided anew: only what goes on is told.
    if failure.reason == "Conflict" && failure.index > 0 && !round.pending {
        return Ok(());
    }
    let (able, ready) = (world.condition("AbleToScale"), world.condition("Ready"));
    let named = able["message"].as_str().is_some_and(|text| text.contains(&failure.message));
    if able["status"] != "False" || ready["status"] != "False" || !named {
        return Err(format!("a refused write is not told: {failure:?} {:#}", world.status));
    }
    Ok(())
}

/// Reconciles until nothing wakes it any more, and says whether it came to that.
fn settle(world: &mut World) -> Result<(), String> {
    // Where a write is refused, it is the queue that slows it down.
    let is_free = world.refusals.is_empty();
    for _ in 0..if is_free { ROUNDS } else { 5 } {
        let round = world.round();
        check_round(world, &round)?;
        if !round.woken || round.failed.as_ref().is_some_and(|failure| failure.reason != "Conflict") {
            return Ok(());
        }
    }
    match is_free {
        true => Err(format!("it does not come to rest: {:?} pods, {:#}", world.replicas, world.status)),
        false => Ok(()),
    }
}

fn play(world: &mut World, event: Event) -> Result<(), String> {
    world.happen(event);
    if matches!(event, Event::SetSizeUnseen(_)) {
        return Ok(());
    }
    let steps = if let Event::Steps(steps) = event { steps } else { 1 };
    for _ in 0..steps {
        world.second += if matches!(event, Event::Wake) { 0 } else { 15 };
        settle(world)?;
    }
    Ok(())
}

fn check(shape: &Shape, events: &[Event], load: i64) -> Result<(), String> {
    let mut world = World::new(shape.clone());
    world.pace = 1;
    for event in events {
        play(&mut world, *event)?;
    }
    // Nothing stands in the way any more.
    (world.refusals, world.cap, world.crowd) = (vec![], None, false);
    (world.load, world.mode) = (Some(load), "Auto");
    world.happen(Event::CreateTarget(1));
    if !shape.night && shape.least > 0 && world.replicas == Some(0) {
        // Somebody set it, and has to take that back: nothing says that it may ever be so.
        world.happen(Event::SetSize(1));
    }
    // A whole turn of the windows, and on to when the load alone says what is needed.
    let until = world.second + 3600;
    while world.second < until || !(22..28).contains(&world.minute()) {
        world.second += 120;
        settle(&mut world)?;
    }
    let wanted = i32::try_from(load).unwrap().clamp(shape.least, MOST);
    let ready = world.condition("Ready");
    if world.replicas != Some(wanted) || ready["status"] != "True" {
        return Err(format!("{:?} pods where {wanted} are asked for: {:#}", world.replicas, world.status));
    }
    Ok(())
}

/// What does not keep a size from being reached.
fn leaves_all_sizes() -> impl Strategy<Value = Value> {
    let slow = json!({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]});
    prop::sample::select(vec![
        Value::Null,
        json!({"scaleDown": {"stabilizationWindowSeconds": 0}}),
        json!({"scaleUp": slow, "scaleDown": {"stabilizationWindowSeconds": 60}}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_becomes_of_its_writes_an_autoscaler_leads_on_and_says_so(
        shape in shapes(leaves_all_sizes()), events in prop::collection::vec(prop_oneof![outside(), refusals()], 0..25),
        load in 0..12i64,
    ) {
        check(&shape, &events, load).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_asked_about_has_the_sizes_of_what_is_watched(
        shape in shapes(behaviors()), events in prop::collection::vec(outside(), 0..15),
    ) {
        let mut worlds = [true, false].map(|watched| World::new(Shape { watched, ..shape.clone() }));
        for event in events {
            for world in &mut worlds {
                play(world, event).map_err(TestCaseError::fail)?;
            }
            prop_assert_eq!(worlds[0].replicas, worlds[1].replicas, "after {:?}: {:#}", event, worlds[1].status);
        }
    }
}
