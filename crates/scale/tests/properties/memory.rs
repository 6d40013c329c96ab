//! What decisions leave to those after them: it is bounded, it is the same again as JSON, and a process that is ended at any
//! moment and begins again with it decides as if nothing had been.

use proptest::prelude::*;
use serde_json::json;
use trimtab_crds::{PendingScale, ScaleHistory};
use trimtab_scale::{Observation, ScaleSnapshot, Verdict, decide_scale, settle};

use super::world::{at, behaviors, external, histories, snapshot, total};

/// How a tick goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// As it should.
    Fine,
    /// The process ends after it kept what it is about to do, and does it the next time.
    BeforeTheWrite,
    /// The process ends right after it has set the size, and has kept nothing of that.
    AfterTheWrite,
}

/// What is kept outside of the process.
struct World {
    seen: ScaleSnapshot,
}

impl World {
    fn kept(history: &ScaleHistory) -> ScaleHistory {
        serde_json::from_str(&serde_json::to_string(history).unwrap()).unwrap()
    }

    /// The size after a tick.
    fn tick(&mut self, second: i64, observed: &Observation, end: End) -> i32 {
        let now = at(second);
        self.seen.observations = vec![observed.clone()];
        if end == End::BeforeTheWrite {
            self.seen.history = Self::kept(&decide_scale(now, &self.seen).history);
            self.seen.previous = Some(now);
        }
        let decision = decide_scale(now, &self.seen);
        self.seen.previous = Some(now);
        self.seen.history = decision.history;
        if let Verdict::Set(to) = decision.verdict {
            (self.seen.target.replicas, self.seen.target.status_replicas) = (to, to);
            if end != End::AfterTheWrite {
                self.seen.history = settle(std::mem::take(&mut self.seen.history), &self.seen.spec, to);
            }
        }
        if end == End::AfterTheWrite {
            self.seen.history = Self::kept(&self.seen.history);
        }
        self.seen.target.replicas
    }
}

fn ends() -> impl Strategy<Value = End> {
    prop::sample::select(vec![End::Fine, End::Fine, End::BeforeTheWrite, End::AfterTheWrite])
}

fn observed() -> impl Strategy<Value = Observation> {
    prop_oneof![8 => (0..30_000i64).prop_map(total), 1 => Just(Observation::Total { values: vec![], at: None })]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_process_that_ends_at_any_moment_changes_nothing(
        ticks in prop::collection::vec((observed(), ends(), prop::sample::select(vec![1i64, 15, 15, 60, 300])), 1..50),
        behavior in behaviors(), least in 0..3i32, size in 1..20i32,
    ) {
        let spec = json!({"minReplicas": least, "maxReplicas": 25, "metrics": [external("m")], "behavior": behavior, "coolDown": "60s"});
        let seen = snapshot(spec, size);
        let (mut undisturbed, mut killed) = (World { seen: seen.clone() }, World { seen });
        let mut second = 0;
        for (observed, end, step) in &ticks {
            let expected = undisturbed.tick(second, observed, End::Fine);
            prop_assert_eq!(killed.tick(second, observed, *end), expected, "at {}", second);
            second += step;
        }
    }

    #[test]
    fn the_same_again_is_the_same(
        behavior in behaviors(), history in histories(), size in 0..40i32, least in 0..3i32, observed in observed(),
    ) {
        let spec = json!({"minReplicas": least, "maxReplicas": 30, "metrics": [external("m")], "behavior": behavior});
        let mut seen = snapshot(spec, size);
        seen.history = history;
        seen.observations = vec![observed];
        let first = decide_scale(at(0), &seen);
        // The size is as it was: what was about to be written was not.
        seen.history = settle(first.history.clone(), &seen.spec, size);
        seen.previous = Some(at(0));
        let second = decide_scale(at(0), &seen);
        prop_assert_eq!((first.verdict, first.desired), (second.verdict, second.desired));
        prop_assert_eq!(first.history, second.history);
    }

    #[test]
    fn it_is_the_same_as_json(
        history in histories(), asleep in prop::bool::ANY, lasting in prop::bool::ANY, pending in prop::option::of((0..9i32, 0..9i32)),
    ) {
        let mut history = history;
        history.asleep = asleep;
        history.pending = pending.map(|(from, to)| PendingScale { at: at(0), from, to });
        if let Some(last) = history.recommendations.last_mut() {
            last.lasting = lasting;
        }
        let text = serde_json::to_string(&history).unwrap();
        prop_assert_eq!(serde_json::from_str::<ScaleHistory>(&text).unwrap(), history);
    }
}

#[test]
fn it_is_bounded_and_forgetting_makes_nothing_smaller() {
    let window = json!({"stabilizationWindowSeconds": 3600, "policies": [{"type": "Percent", "value": 1, "periodSeconds": 1800}]});
    let up =
        json!({"stabilizationWindowSeconds": 3600, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]});
    let spec =
        json!({"maxReplicas": 1_000_000, "metrics": [external("m")], "behavior": {"scaleUp": up, "scaleDown": window}});
    let mut seen = snapshot(spec, 5000);
    let mut largest = 0;
    for second in 0..3000 {
        // Less and less, each time something else; and now and then much.
        let load = if second % 7 == 6 { 5000 + second } else { 5000 - second };
        largest = largest.max(load);
        seen.observations = vec![total(load * 1000)];
        let decision = decide_scale(at(second), &seen);
        assert!(decision.desired >= 5000, "{second}: {}", decision.message);
        assert!(decision.history.recommendations.len() <= 200, "{second}");
        assert!(decision.history.ups.len() + decision.history.downs.len() <= 400, "{second}");
        assert!(serde_json::to_string(&decision.history).unwrap().len() < 40_000);
        seen.history = decision.history;
        seen.previous = Some(at(second));
        if let Verdict::Set(to) = decision.verdict {
            seen.history = settle(seen.history, &seen.spec, to);
            (seen.target.replicas, seen.target.status_replicas) = (to, to);
        }
    }
    assert!(largest > 5000);
}
