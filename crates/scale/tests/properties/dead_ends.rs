//! No dead end: whatever becomes of a write, a status, a metric or the target, the autoscaler looks again at a time of its own or says
//! what somebody has to do, says when a write of it is refused, and has the size that is asked for once nothing stands in the way.

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use trimtab_plan::{Answer, Applied, Class, Failure, Outcome, Plan, Subresource, Verb, Wake};
use trimtab_scale::{Seen, conclude, reconcile};

use super::world::{self, at, external};

/// What happens between two decisions.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// From now on this becomes of the note of a change, of the size, or of the status: once, or until all is allowed.
    Refuse(Part, Fate, bool),
    AllowAll,
    /// An admission lets no size above this be stored.
    Cap(Option<i32>),
    Load(Option<i64>),
    /// Somebody sets the size.
    SetSize(i32),
    DeleteTarget,
    CreateTarget(i32),
    Mode(&'static str),
    Steps(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Note,
    Size,
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Denied,
    Fails,
    /// It is done, and the answer is lost.
    Lost,
    Conflicts,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let part = prop::sample::select(vec![Part::Note, Part::Size, Part::Status]);
    let fate = prop::sample::select(vec![Fate::Denied, Fate::Fails, Fate::Lost, Fate::Conflicts]);
    let event = prop_oneof![
        4 => (part, fate, any::<bool>()).prop_map(|(part, fate, once)| Event::Refuse(part, fate, once)),
        1 => Just(Event::AllowAll),
        1 => prop::option::of(1..5i32).prop_map(Event::Cap),
        3 => prop::option::of(0..12i64).prop_map(Event::Load),
        2 => (0..12i32).prop_map(Event::SetSize),
        1 => Just(Event::DeleteTarget),
        1 => (0..6i32).prop_map(Event::CreateTarget),
        1 => prop::sample::select(vec!["Auto", "Recommend", "Paused"]).prop_map(Event::Mode),
        6 => (1..30u8).prop_map(Event::Steps),
    ];
    prop::collection::vec(event, 0..25)
}

/// One autoscaler of 1 to 9 pods, which asks for as many as its load is.
struct World {
    second: i64,
    status: Value,
    replicas: Option<i32>,
    load: Option<i64>,
    mode: &'static str,
    cap: Option<i32>,
    refusals: Vec<(Part, Fate, bool)>,
}

impl World {
    fn seen(&self) -> Seen {
        let spec = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 9,
            "mode": self.mode, "metrics": [external("queue")]});
        world::seen(&spec, &self.status, self.replicas)
    }

    /// What becomes of the next write of this part.
    fn fate(&mut self, part: Part) -> Option<Fate> {
        let index = self.refusals.iter().position(|(of, ..)| *of == part)?;
        let (_, fate, once) = self.refusals[index];
        if once {
            self.refusals.remove(index);
        }
        Some(fate)
    }

    /// One step: asks, decides, writes, concludes. What was decided, and which write failed.
    fn step(&mut self) -> (Plan<Option<trimtab_crds::AutoscalerStatus>>, Option<Failure>) {
        self.second += 15;
        let (now, mut seen): (Timestamp, Seen) = (at(self.second), self.seen());
        for ask in reconcile(now, &seen).asks {
            let answer = match self.load {
                Some(load) => Answer::Object(json!({"total": {"values": [load.to_string()]}})),
                None => Answer::Failed("nobody answers".to_owned()),
            };
            seen.answers.insert(ask.id, answer);
        }
        let plan = reconcile(now, &seen);
        let mut outcome = Outcome::default();
        for (index, write) in plan.writes.iter().enumerate() {
            let part = if matches!(write.verb, Verb::Scale { .. }) { Part::Size } else { Part::Note };
            let fate = self.fate(part);
            if fate.is_none() || fate == Some(Fate::Lost) {
                match &write.verb {
                    Verb::Scale { replicas } => {
                        self.replicas = Some(self.cap.map_or(*replicas, |cap| cap.min(*replicas)))
                    }
                    Verb::Merge { body, subresource: Some(Subresource::Status) } => {
                        self.status["history"] = body["status"]["history"].clone();
                    }
                    other => panic!("{other:?}"),
                }
            }
            let Some(fate) = fate else {
                outcome.applied.push(Applied { resource_version: String::new(), changed: true });
                continue;
            };
            let (class, reason) = match fate {
                Fate::Denied => (Class::Blocked, "Forbidden"),
                Fate::Conflicts => (Class::Transient, "Conflict"),
                Fate::Fails | Fate::Lost => (Class::Transient, "InternalError"),
            };
            outcome.failed = Some(Failure {
                index,
                class,
                reason: reason.to_owned(),
                message: "words of it".to_owned(),
                lasting: false,
            });
            break;
        }
        if let Some(status) = conclude(now, &seen, &plan, &outcome) {
            let fate = self.fate(Part::Status);
            if fate.is_none() || fate == Some(Fate::Lost) {
                self.status = status.status;
            }
        }
        (plan, outcome.failed)
    }

    fn condition(&self, type_: &str) -> Value {
        let all = self.status["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Refuse(part, fate, once) => self.refusals.push((part, fate, once)),
            Event::AllowAll => (self.refusals, self.cap) = (vec![], None),
            Event::Cap(cap) => self.cap = cap,
            Event::Load(load) => self.load = load,
            Event::SetSize(size) => self.replicas = self.replicas.map(|_| size),
            Event::DeleteTarget => self.replicas = None,
            Event::CreateTarget(size) => self.replicas = self.replicas.or(Some(size)),
            Event::Mode(mode) => self.mode = mode,
            Event::Steps(_) => {}
        }
    }

    /// A step, and what must hold of it.
    fn check_step(&mut self) -> Result<(), String> {
        let status_is_written = !self.refusals.iter().any(|(part, ..)| *part == Part::Status);
        let (plan, failed) = self.step();
        // Of a status that cannot be written people are told by an event.
        let told = plan.because.iter().any(|because| because.message.contains("create it"));
        if plan.wake == Wake::OnChange && !told {
            return Err(format!("nothing leads on: {:?} {:#}", plan.because, self.status));
        }
        let Some(failure) = failed.filter(|_| status_is_written) else { return Ok(()) };
        let (able, ready) = (self.condition("AbleToScale"), self.condition("Ready"));
        let named = able["message"].as_str().is_some_and(|text| text.contains(&failure.message));
        if able["status"] != "False" || ready["status"] != "False" || !named {
            return Err(format!("a refused write is not told: {failure:?} {:#}", self.status));
        }
        Ok(())
    }
}

fn check(events: &[Event], load: i64) -> Result<(), String> {
    let mut world = World {
        second: 0,
        status: json!({}),
        replicas: Some(2),
        load: Some(2),
        mode: "Auto",
        cap: None,
        refusals: vec![],
    };
    for event in events {
        world.happen(*event);
        let steps = if let Event::Steps(steps) = event { *steps } else { 1 };
        for _ in 0..steps {
            world.check_step()?;
        }
    }
    // Nothing stands in the way any more.
    (world.refusals, world.cap, world.load, world.mode) = (vec![], None, Some(load), "Auto");
    world.replicas = world.replicas.or(Some(1)).map(|size| size.max(1));
    for _ in 0..60 {
        world.check_step()?;
    }
    let wanted = i32::try_from(load.clamp(1, 9)).unwrap();
    let ready = world.condition("Ready");
    if world.replicas != Some(wanted) || ready["status"] != "True" {
        return Err(format!("{:?} pods where {wanted} are asked for: {:#}", world.replicas, world.status));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_becomes_of_its_writes_an_autoscaler_leads_on_and_says_so(events in events(), load in 0..12i64) {
        check(&events, load).map_err(TestCaseError::fail)?;
    }
}
