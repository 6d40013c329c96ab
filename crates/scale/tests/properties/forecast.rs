//! A forecast is a floor that does not flicker: not while it is made anew, and not where that fails once.

use jiff::SignedDuration;
use serde_json::{Value, json};
use trimtab_plan::{Answer, Answers, Applied, Outcome, Question, Verb};
use trimtab_scale::{conclude, reconcile};

use super::world::{at, seen};

/// One autoscaler whose metric asks for 5 pods and whose forecast for 6.
struct World {
    second: i64,
    status: Value,
    size: i32,
    answers: Answers,
    /// How many seconds a forecast takes, and whether it fails then.
    takes: i64,
    fails: bool,
    asked: Vec<(String, i64)>,
    forecasts: usize,
}

impl World {
    fn new(size: i32) -> Self {
        let (answers, asked) = (Answers::new(), vec![]);
        Self { second: 0, status: Value::Null, size, answers, takes: 4, fails: false, asked, forecasts: 0 }
    }

    /// One second, in which it is decided until nothing new is known.
    fn tick(&mut self) {
        self.second += 1;
        for _ in 0..8 {
            let due = |asked: &(String, i64)| asked.1 <= self.second;
            for (id, _) in self.asked.extract_if(.., |asked| due(asked)).collect::<Vec<_>>() {
                self.forecasts += 1;
                let view = json!({"peak": 6.0, "reason": "ForecastActive", "message": "6 are expected"});
                let failed = Answer::Failed("the history could not be read".to_owned());
                self.answers.insert(id, if self.fails { failed } else { Answer::Object(view) });
            }
            if !self.round() {
                return;
            }
        }
    }

    fn round(&mut self) -> bool {
        let metric = json!({"type": "Prometheus", "prometheus": {"name": "rps", "address": "http://p", "query": "x",
            "target": {"type": "AverageValue", "averageValue": "1"}}});
        let spec = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 9,
            "metrics": [metric], "forecast": {"metric": "rps"}, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
        let (now, mut seen) = (at(self.second), seen(&spec, &self.status, Some(self.size)));
        seen.answers = self.answers.clone();
        let plan = reconcile(now, &seen);
        let mut outcome = Outcome::default();
        for write in &plan.writes {
            if let Verb::Scale { replicas, .. } = write.verb {
                self.size = replicas;
            }
            outcome.applied.push(Applied { resource_version: String::new(), changed: true });
        }
        let before = self.status.clone();
        if let Some(status) = conclude(now, &seen, &plan, &outcome) {
            self.status = status.status;
        }
        self.answers.retain(|id, _| plan.asks.iter().any(|ask| ask.id == *id));
        self.asked.retain(|(id, _)| plan.asks.iter().any(|ask| ask.id == *id));
        let mut woken = before != self.status;
        for ask in &plan.asks {
            let Question::Custom { name, .. } = &ask.question else { panic!("{ask:?}") };
            if self.answers.contains_key(&ask.id) || self.asked.iter().any(|(id, _)| *id == ask.id) {
                continue;
            }
            if *name == "forecast" {
                self.asked.push((ask.id.clone(), self.second + self.takes));
            } else {
                woken = true;
                self.answers.insert(ask.id.clone(), Answer::Object(json!({"total": {"values": ["5"]}})));
            }
        }
        woken
    }

    fn condition(&self) -> Value {
        let all = self.status["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|condition| condition["type"] == "ForecastActive").unwrap_or_default()
    }
}

#[test]
fn a_floor_stays_while_it_is_found_anew() {
    let mut world = World::new(6);
    let mut since = Value::Null;
    while world.second < 900 {
        world.tick();
        assert_eq!(world.size, 6, "at {}: {:#}", world.second, world.status);
        let condition = world.condition();
        if since.is_null() && !condition.is_null() {
            since = condition["lastTransitionTime"].clone();
        }
        assert_eq!(condition["lastTransitionTime"], since, "at {}: {condition}", world.second);
        assert!(since.is_null() || condition["status"] == "True", "at {}: {condition}", world.second);
    }
    assert!(!since.is_null());
    assert_eq!(world.forecasts, 4, "one for each step, and the first");
}

#[test]
fn a_forecast_that_fails_counts_on_for_two_steps() {
    let mut world = World::new(6);
    let until = |world: &mut World, size: i32| {
        let from = world.second;
        while world.size != size && world.second < from + 3600 {
            world.tick();
        }
        SignedDuration::from_secs(world.second - from)
    };
    (0..400).for_each(|_| world.tick());
    world.fails = true;
    let lasted = until(&mut world, 5);
    // The step that it was made in, and two more.
    assert!((601..=910).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(world.condition()["reason"], "ForecastUnknown");
    world.fails = false;
    assert!(until(&mut world, 6).as_secs() <= 305);
}

#[test]
fn before_the_first_forecast_nothing_becomes_smaller() {
    let mut world = World::new(7);
    (0..5).for_each(|_| world.tick());
    assert_eq!(world.size, 6, "{:#}", world.status);
    let mut grows = World::new(2);
    grows.tick();
    assert!(grows.size > 2, "what grows does not wait: {:#}", grows.status);
}
