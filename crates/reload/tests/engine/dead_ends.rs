//! No dead end: of several workloads that are to be reloaded for one source, one at a time and in an order, some workload always
//! leads on, by a write, a time or a rollout that is under way, or people are told who has to do what; and once nothing stands in the
//! way all of them have the change.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use trimtab_plan::{Plan, Severity, Verb, Wake};
use trimtab_reload::{Board, Member, Snapshot};

use super::{AUTO, World, merge};

const AFTER: &str = "trimtab.dev/reload-after";
/// How many workloads there are.
const MANY: usize = 4;

/// What happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The source holds something else.
    Change(u8),
    /// Everybody decides once, in this order.
    Decide(bool),
    /// The rollout of one goes on to its end, if its pods work.
    Roll(usize),
    /// Whether pods of one become available.
    Works(usize, bool),
    /// Writes to one are not simply carried out: denied, or done with the answer lost; so often, or until all is allowed.
    Refuse(usize, bool, Option<u8>),
    /// Its controller gives up.
    GiveUp(usize),
    /// Somebody changes its template, and a rollout begins that has no pods yet.
    Edit(usize),
    Order(usize, usize),
    NoOrder(usize),
    Wait(u16),
    Remove(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = || 0..MANY;
    let event = prop_oneof![
        3 => (1..5u8).prop_map(Event::Change),
        8 => any::<bool>().prop_map(Event::Decide),
        5 => one().prop_map(Event::Roll),
        2 => (one(), any::<bool>()).prop_map(|(which, works)| Event::Works(which, works)),
        2 => (one(), any::<bool>(), prop::option::of(1..4u8)).prop_map(|(which, lost, times)| Event::Refuse(which, lost, times)),
        1 => one().prop_map(Event::GiveUp),
        1 => one().prop_map(Event::Edit),
        2 => (one(), one()).prop_map(|(which, after)| Event::Order(which, after)),
        1 => one().prop_map(Event::NoOrder),
        3 => (1..900u16).prop_map(Event::Wait),
        1 => one().prop_map(Event::Remove),
    ];
    prop::collection::vec(event, 0..60)
}

/// One workload of a wave.
#[derive(Clone)]
struct One {
    world: World,
    works: bool,
    /// Whether a rollout is under way.
    rolls: bool,
    /// Whether the next writes get lost on their way back, and how many; none stands for all.
    refused: Option<(bool, Option<u8>)>,
}

struct Wave(Vec<Option<One>>, RefCell<Board>);

impl Wave {
    fn new() -> Self {
        let one = |number: usize| {
            let mut world = World::new(json!({AUTO: "true"}));
            let name = format!("w{number}");
            world.workload["metadata"]["name"] = json!(name);
            world.workload["metadata"]["uid"] = json!(name);
            world.options.max_per_source = 1;
            world.apply();
            Some(One { world, works: true, rolls: false, refused: None })
        };
        Self((0..MANY).map(one).collect(), RefCell::default())
    }

    fn each(&mut self) -> impl Iterator<Item = &mut One> {
        self.0.iter_mut().flatten()
    }

    fn seen(&self, which: usize) -> Option<Snapshot> {
        let one = self.0[which].as_ref()?;
        let (now, options, mut board) = (one.world.now, &one.world.options, self.1.borrow_mut());
        for (number, other) in self.0.iter().enumerate() {
            let member = other.as_ref().and_then(|other| Member::seen(now, &other.world.snapshot(), number == which));
            match member.filter(Member::counts) {
                Some(member) => board.put(now, options, member),
                None => board.remove(now, options, &format!("deployment/w{number}")),
            }
        }
        let turn = board.turn(now, options, &format!("deployment/w{which}"));
        Some(Snapshot { turn: Some(turn), ..one.world.snapshot() })
    }

    /// One decides and writes. What it decided, and whether a write was refused.
    fn decide(&mut self, which: usize) -> Option<(Plan<()>, bool)> {
        let seen = self.seen(which)?;
        let one = self.0[which].as_mut()?;
        let plan = trimtab_reload::decide(one.world.now, &seen);
        for write in &plan.writes {
            let fate = one.refused;
            if let Some((_, Some(left))) = &mut one.refused {
                *left -= 1;
            }
            one.refused = one.refused.filter(|(_, left)| *left != Some(0));
            if fate.is_some_and(|(lost, _)| !lost) {
                return Some((plan, true));
            }
            let (Verb::Merge { body, .. } | Verb::Strategic { body, .. }) = &write.verb else { panic!("{write:?}") };
            if body["spec"]["template"].is_object() {
                one.begin_rollout();
            }
            // Conditions are merged by their type.
            match body["status"]["conditions"].as_array() {
                Some(new) => one.set_conditions(new),
                None => merge(&mut one.world.workload, body),
            }
            if fate.is_some() {
                return Some((plan, true));
            }
        }
        Some((plan, false))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Change(value) => self.each().for_each(|one| {
                let second = one.world.now.to_string();
                one.world.set("cm/web", json!({"a": value.to_string()}));
                let map = one.world.sources.get_mut(&"cm/web".parse().unwrap()).unwrap();
                map["metadata"]["managedFields"][0]["time"] = json!(second);
            }),
            Event::Decide(backwards) => (0..MANY).for_each(|number| {
                _ = self.decide(if backwards { MANY - 1 - number } else { number });
            }),
            Event::Roll(which) => _ = self.0[which].as_mut().map(One::roll),
            Event::Works(which, works) => _ = self.0[which].as_mut().map(|one| one.works = works),
            Event::Refuse(which, lost, times) => {
                _ = self.0[which].as_mut().map(|one| one.refused = Some((lost, times)));
            }
            Event::Edit(which) => _ = self.0[which].as_mut().map(One::begin_rollout),
            Event::GiveUp(which) => _ = self.0[which].as_mut().map(One::give_up),
            Event::Order(which, after) => self.order(which, Some(after)),
            Event::NoOrder(which) => self.order(which, None),
            Event::Wait(seconds) => {
                self.each().for_each(|one| one.world.now += jiff::SignedDuration::from_secs(seconds.into()));
            }
            Event::Remove(which) => self.0[which] = None,
        }
    }

    fn order(&mut self, which: usize, after: Option<usize>) {
        let Some(one) = self.0[which].as_mut() else { return };
        let annotations = one.world.workload["metadata"]["annotations"].as_object_mut().unwrap();
        match after {
            Some(after) => _ = annotations.insert(AFTER.to_owned(), json!(format!("deployment/w{after}"))),
            None => _ = annotations.remove(AFTER),
        }
    }

    /// Somebody of those that want the change leads on, or is told who has to do what.
    fn check_leads_on(&self) -> Result<(), String> {
        let waiting = |which: &usize| self.seen(*which).is_some_and(|seen| !seen.survey.changes.is_empty());
        let waiting: Vec<usize> = (0..MANY).filter(waiting).collect();
        let mut said = vec![];
        for which in &waiting {
            let (Some(seen), Some(one)) = (self.seen(*which), self.0[*which].as_ref()) else { continue };
            let plan = trimtab_reload::decide(one.world.now, &seen);
            let told = plan.notices.iter().any(|notice| notice.severity == Severity::Warning);
            if !plan.writes.is_empty() || !plan.asks.is_empty() || plan.wake != Wake::OnChange || told {
                return Ok(());
            }
            said.push((*which, plan.because));
        }
        // A rollout that is under way ends, or its controller gives up.
        let rolls = self.0.iter().flatten().any(|one| one.rolls);
        if waiting.is_empty() || rolls { Ok(()) } else { Err(format!("a dead end: {said:?}")) }
    }
}

impl One {
    fn begin_rollout(&mut self) {
        let meta = &mut self.world.workload["metadata"];
        meta["generation"] = json!(meta["generation"].as_i64().unwrap() + 1);
        self.world.workload["status"]["conditions"] = json!([]);
        self.rolls = true;
    }

    fn set_conditions(&mut self, new: &[Value]) {
        let status = &mut self.world.workload["status"];
        let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
        all.retain(|old| new.iter().all(|one| one["type"] != old["type"]));
        all.extend(new.iter().cloned());
        status["conditions"] = json!(all);
    }

    fn roll(&mut self) {
        if self.works {
            let generation = self.world.workload["metadata"]["generation"].clone();
            self.world.workload["status"]["observedGeneration"] = generation;
            self.set_conditions(&[
                json!({"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}),
            ]);
            self.rolls = false;
        }
    }

    fn give_up(&mut self) {
        if self.rolls && !self.works {
            let why = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"});
            self.set_conditions(&[why]);
            self.rolls = false;
        }
    }
}

fn check_wave(events: &[Event]) -> Result<(), String> {
    let mut wave = Wave::new();
    for event in events {
        wave.happen(*event);
        wave.check_leads_on().map_err(|why| format!("after {event:?}: {why}"))?;
    }
    // Nothing stands in the way any more, and the source is corrected.
    for number in 0..MANY {
        wave.order(number, None);
    }
    for one in wave.each() {
        (one.works, one.refused) = (true, None);
        one.rolls = true;
    }
    wave.happen(Event::Wait(700));
    (0..MANY).for_each(|number| wave.happen(Event::Roll(number)));
    wave.happen(Event::Change(9));
    for _ in 0..MANY * 4 {
        wave.happen(Event::Wait(2));
        wave.happen(Event::Decide(false));
        (0..MANY).for_each(|number| wave.happen(Event::Roll(number)));
    }
    for which in 0..MANY {
        let Some(seen) = wave.seen(which) else { continue };
        if !seen.survey.changes.is_empty() {
            let plan = trimtab_reload::decide(wave.0[which].as_ref().unwrap().world.now, &seen);
            return Err(format!("w{which} never gets the change: {:?}", plan.because));
        }
    }
    Ok(())
}

#[test]
fn one_that_was_unsettled_before_and_is_given_up_keeps_nobody_waiting_for_ever() {
    let events = [
        Event::Change(2),
        Event::Works(0, false),
        Event::Decide(false),
        Event::Change(3),
        Event::Decide(false),
        Event::GiveUp(0),
    ];
    check_wave(&events).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_becomes_of_a_wave_somebody_leads_on_and_all_have_the_change_in_the_end(events in events()) {
        check_wave(&events).map_err(TestCaseError::fail)?;
    }
}
