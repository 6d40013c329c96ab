//! What is known of a size that something else sets stays known where nobody could look: one autoscaler is played for many rounds, from
//! a size that was contested.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_crds::AutoscalerStatus;
use trimtab_plan::{Answer, Outcome, Plan, Verb, Wake};
use trimtab_scale::{HPAS, SAMPLES, Seen, Unread, conclude, late, reconcile};

use super::world::{at, seconds, seen};

const HPA: &str = "HorizontalPodAutoscaler web";

/// One autoscaler that wants five pods where there are two.
struct Played {
    now: Timestamp,
    status: Value,
    /// How often people were told that the size is contested.
    told: usize,
    /// The sizes that were set.
    sizes: Vec<i32>,
}

/// What there is to see.
#[derive(Clone, Copy, Default)]
struct There {
    /// Whether something else is seen to scale the target.
    hpa: bool,
    unread: &'static [&'static str],
    no_target: bool,
    crowd: bool,
}

impl There {
    fn seen(self, status: &Value) -> Seen {
        let window = |name: &str, start: &str, end: &str| json!({"name": name, "start": start, "end": end, "timeZone": "UTC", "replicas": 5});
        let spec = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 9,
            "schedules": [window("on", "0 * * * *", "30 * * * *"), window("off", "30 * * * *", "0 * * * *")]});
        let mut seen = seen(&spec, status, (!self.no_target).then_some(2));
        seen.others = if self.hpa { vec![HPA.to_owned()] } else { vec![] };
        // The manager began long ago.
        seen.unread = Unread { kinds: self.unread.to_vec(), since: (!self.unread.is_empty()).then(|| at(-900)) };
        if self.crowd {
            let pod = json!({"name": "p", "phase": "Running", "containers": []});
            seen.pods.resize(SAMPLES + 1, Arc::new(serde_json::from_value(pod).unwrap()));
        }
        seen
    }
}

impl Played {
    fn new() -> Self {
        Self { now: at(0), status: json!({}), told: 0, sizes: vec![] }
    }

    /// One round, of what was decided or of what was said instead.
    fn round(&mut self, there: There, decide: fn(Timestamp, &Seen) -> Plan<Option<AutoscalerStatus>>) -> Wake {
        let mut seen = there.seen(&self.status);
        for ask in reconcile(self.now, &seen).asks {
            seen.answers.insert(ask.id, Answer::Failed("nobody answers".to_owned()));
        }
        let plan = decide(self.now, &seen);
        self.told += plan.notices.iter().filter(|notice| notice.reason == "Contested").count();
        self.sizes.extend(plan.writes.iter().filter_map(|write| match &write.verb {
            Verb::Scale { replicas, .. } => Some(*replicas),
            _ => None,
        }));
        if let Some(write) = conclude(self.now, &seen, &plan, &Outcome::default()) {
            self.status = write.status;
        }
        plan.wake
    }

    /// As many rounds as a time has steps.
    fn play(&mut self, there: There, time: i64) {
        let until = self.now + seconds(time);
        while self.now < until {
            self.now += seconds(15);
            self.round(there, reconcile);
        }
    }

    fn condition(&self, type_: &str) -> Value {
        let all = self.status["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
    }

    fn contested(&self) -> [String; 2] {
        ["status", "reason"].map(|name| self.condition("Contested")[name].as_str().unwrap_or_default().to_owned())
    }
}

const BY_HPA: There = There { hpa: true, unread: &[], no_target: false, crowd: false };
const NO_HPAS: There = There { hpa: false, unread: &[HPAS], no_target: false, crowd: false };

/// A contested size, what comes between, and a long time without HPAs: none is set in any round.
fn check(between: &[There], is_late: bool) {
    let mut played = Played::new();
    played.play(BY_HPA, 60);
    let since = played.condition("Contested")["lastTransitionTime"].clone();
    assert_eq!(played.contested(), ["True", "OtherAutoscaler"]);
    for there in between {
        played.play(*there, 30);
    }
    if is_late {
        played.round(NO_HPAS, late);
    }
    played.play(NO_HPAS, 180);
    let (contested, status) = (played.contested(), &played.status);
    assert_eq!(played.sizes, [0; 0], "{status:#}");
    assert_eq!(contested, ["True", "OtherAutoscaler"], "{status:#}");
    assert_eq!(played.condition("Contested")["lastTransitionTime"], since, "{status:#}");
    let [able, ready] = ["AbleToScale", "Ready"].map(|type_| played.condition(type_));
    assert_eq!([&able["reason"], &ready["reason"]], ["NotRead", "NotRead"], "{status:#}");
    assert_eq!(played.told, 1, "people are told once");
    // They are read at last, and there is none any more.
    played.play(There::default(), 5);
    assert_eq!((played.sizes.as_slice(), played.contested()), ([5].as_slice(), [String::new(), String::new()]));
}

#[test]
fn what_cannot_be_read_makes_no_contested_size_ones_own() {
    let lost = There { no_target: true, ..BY_HPA };
    let no_pods = There { unread: &["Pods", HPAS], ..NO_HPAS };
    check(&[], false);
    check(&[], true);
    check(&[no_pods], false);
    check(&[There { unread: &["Pods"], ..BY_HPA }], false);
    check(&[lost], false);
    check(&[There { no_target: true, ..NO_HPAS }], false);
    check(&[There { crowd: true, ..BY_HPA }, no_pods, lost], true);
}

#[test]
fn what_else_scales_a_target_is_looked_at_where_no_size_is_decided() {
    for there in
        [There { no_target: true, ..BY_HPA }, There { crowd: true, ..BY_HPA }, There { unread: &["Pods"], ..BY_HPA }]
    {
        let mut played = Played::new();
        played.play(there, 60);
        assert_eq!((played.told, played.contested()), (1, ["True", "OtherAutoscaler"].map(str::to_owned)));
        assert_eq!(played.condition("Ready")["reason"], played.condition("AbleToScale")["reason"]);
        played.play(NO_HPAS, 60);
        assert_eq!((played.sizes.as_slice(), played.contested()[0].as_str()), ([].as_slice(), "True"));
    }
    // What is seen to be gone is forgotten.
    let mut played = Played::new();
    played.play(BY_HPA, 60);
    played.play(There { no_target: true, ..There::default() }, 30);
    assert_eq!(played.condition("Contested"), Value::Null, "{:#}", played.status);
}

#[test]
fn what_is_seen_to_scale_a_target_is_named_though_more_may_not_be_seen() {
    let mut played = Played::new();
    played.play(There { hpa: true, ..NO_HPAS }, 180);
    assert_eq!((played.told, played.contested()), (1, ["True", "OtherAutoscaler"].map(str::to_owned)));
    assert_eq!(played.condition("AbleToScale")["status"], "True", "{:#}", played.status);
    assert_eq!(played.sizes, [0; 0]);
}

#[test]
fn a_size_that_somebody_overwrites_stays_told_where_no_size_is_decided() {
    let mut played = Played::new();
    let overwritten = json!({"type": "Contested", "status": "True", "reason": "ReplicasOverwritten", "message": "kubectl set 2",
        "lastTransitionTime": at(-60)});
    played.status = json!({"currentReplicas": 2, "desiredReplicas": 2, "conditions": [overwritten]});
    played.play(There { no_target: true, ..There::default() }, 60);
    assert_eq!(played.condition("Contested")["reason"], "ReplicasOverwritten", "{:#}", played.status);
    // It holds no size back, then as ever.
    played.play(There::default(), 5);
    assert_eq!(played.sizes, [5]);
}

#[test]
fn it_is_told_since_when_nobody_knows_what_else_sets_a_size() {
    let mut played = Played::new();
    played.play(NO_HPAS, 5);
    let since = played.condition("Contested")["lastTransitionTime"].clone();
    assert_eq!(played.contested(), ["Unknown", "NotRead"]);
    played.play(NO_HPAS, 330);
    played.play(There { no_target: true, ..NO_HPAS }, 60);
    played.play(NO_HPAS, 330);
    assert_eq!(played.contested(), ["Unknown", "NotRead"]);
    assert_eq!(played.condition("Contested")["lastTransitionTime"], since, "{:#}", played.status);
}

#[test]
fn a_crowd_that_goes_away_is_seen_to_be_gone() {
    let mut played = Played::new();
    let crowd = There { crowd: true, ..There::default() };
    for _ in 0..3 {
        // Pods that nobody owns wake nobody.
        let Wake::At(next) = played.round(crowd, reconcile) else { panic!("nothing wakes it: {:#}", played.status) };
        assert_eq!(played.condition("AbleToScale")["reason"], "TooLarge");
        assert!(next > played.now && next <= played.now + seconds(15), "{next}");
        played.now = next;
    }
    played.round(There::default(), reconcile);
    assert_eq!(played.sizes, [5], "{:#}", played.status);
}
