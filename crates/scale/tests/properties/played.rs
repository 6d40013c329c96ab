//! One autoscaler that is played: its target, what is measured, people, and what becomes of its writes. Its questions are kept and
//! asked anew as the runtime does it, and what it writes into itself wakes it. What must hold of it is checked elsewhere.

use std::sync::Arc;

use jiff::{SignedDuration, Zoned, tz::TimeZone};
use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::AutoscalerStatus;
use trimtab_plan::{Answer, Answers, Applied, Class, Failure, Outcome, Plan, Question, Subresource, Verb};
use trimtab_scale::{PodView, SAMPLES, Seen, conclude, reconcile};

use super::world::{self, at, external, of_pods};

/// The largest size that the autoscaler may set.
pub(crate) const MOST: i32 = 9;

/// What an autoscaler is like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Whether its target is of a kind that is watched. The scale of another one is asked for.
    pub watched: bool,
    pub least: i32,
    /// Whether there are to be no pods in the second half of each hour.
    pub night: bool,
    /// Whether there is a metric of pods besides, which asks for one pod.
    pub of_pods: bool,
    /// Whether a formula over all metrics says what they ask for together.
    pub formula: bool,
    pub behavior: Value,
}

/// What happens between two decisions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// From now on this becomes of the note of a change, of the size, or of the status: once, or until all is allowed.
    Refuse(Part, Fate, bool),
    AllowAll,
    /// An admission lets no size above this be stored.
    Cap(Option<i32>),
    /// More pods than can be looked at bear the target's labels, or no longer: nobody owns them, and they wake nobody.
    Crowd(bool),
    Load(Option<i64>),
    /// Somebody sets the size.
    SetSize(i32),
    /// Somebody sets the size, and what wakes the autoscaler then, if anything does, comes before its next step.
    SetSizeUnseen(i32),
    DeleteTarget,
    CreateTarget(i32),
    /// The object is restored, or made again: it has no status.
    ForgetStatus,
    Mode(&'static str),
    /// Something wakes it before its time.
    Wake,
    Steps(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Note,
    Size,
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Denied,
    Fails,
    /// It is done, and the answer is lost.
    Lost,
    Conflicts,
}

pub(crate) fn shapes(behavior: impl Strategy<Value = Value>) -> impl Strategy<Value = Shape> {
    (any::<bool>(), 0..2i32, any::<bool>(), any::<bool>(), any::<bool>(), behavior).prop_map(
        |(watched, least, night, of_pods, formula, behavior)| Shape {
            watched,
            least,
            night,
            of_pods,
            formula,
            behavior,
        },
    )
}

/// What people and load do.
pub(crate) fn outside() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => prop::option::of(0..12i64).prop_map(Event::Load),
        3 => (0..12i32).prop_map(Event::SetSize),
        1 => Just(Event::DeleteTarget),
        1 => (0..6i32).prop_map(Event::CreateTarget),
        1 => Just(Event::ForgetStatus),
        1 => prop::sample::select(vec!["Auto", "Recommend", "Paused"]).prop_map(Event::Mode),
        2 => Just(Event::Wake),
        6 => (1..12u8).prop_map(Event::Steps),
    ]
}

/// What becomes of writes, and what comes in between.
pub(crate) fn refusals() -> impl Strategy<Value = Event> {
    let part = prop::sample::select(vec![Part::Note, Part::Size, Part::Status]);
    let fate = prop::sample::select(vec![Fate::Denied, Fate::Fails, Fate::Lost, Fate::Conflicts]);
    prop_oneof![
        1 => (0..12i32).prop_map(Event::SetSizeUnseen),
        4 => (part, fate, any::<bool>()).prop_map(|(part, fate, once)| Event::Refuse(part, fate, once)),
        1 => Just(Event::AllowAll),
        1 => prop::option::of(1..5i32).prop_map(Event::Cap),
        1 => any::<bool>().prop_map(Event::Crowd),
    ]
}

/// One reconcile.
pub(crate) struct Round {
    pub plan: Plan<Option<AutoscalerStatus>>,
    pub failed: Option<Failure>,
    /// The change of size that an earlier round noted, and of which it is not known yet what came of it.
    pub pending: bool,
    /// The size that was there, the one that it was decided on, and the one that was stored.
    pub stored: Option<[i32; 3]>,
    /// Whether the status could not be written, if it was to be.
    pub unsaid: bool,
    /// Whether it is decided again at once: a question is answered, or the object has changed.
    pub woken: bool,
}

pub(crate) struct World {
    pub shape: Shape,
    pub second: i64,
    /// How many milliseconds later each reconcile comes than the one before.
    pub pace: i64,
    /// How many there were in this second.
    rounds: (i64, i64),
    pub status: Value,
    pub replicas: Option<i32>,
    pub load: Option<i64>,
    pub mode: &'static str,
    pub cap: Option<i32>,
    pub crowd: bool,
    /// What else the spec has.
    pub spec: Value,
    /// Whether the pods share the load: what is measured of it is less, the more of them are ready when it is asked for.
    pub shared: bool,
    /// How many of the pods are ready, if not all.
    pub ready: Option<i32>,
    /// Somebody sets this size whenever there is another.
    pub reverts: Option<i32>,
    /// The size that the next rounds see, and how many, where the store is behind.
    behind: Option<(i32, u8)>,
    pub refusals: Vec<(Part, Fate, bool)>,
    version: u64,
    answers: Answers,
}

impl World {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            second: 0,
            pace: 0,
            rounds: (0, 0),
            status: Value::Null,
            replicas: Some(2),
            load: Some(2),
            mode: "Auto",
            cap: None,
            crowd: false,
            spec: json!({}),
            shared: false,
            ready: None,
            reverts: None,
            behind: None,
            refusals: vec![],
            version: 1,
            answers: Answers::new(),
        }
    }

    /// The minute of the hour.
    pub(crate) fn minute(&self) -> i8 {
        Zoned::new(at(self.second), TimeZone::UTC).minute()
    }

    fn whole_spec(&self) -> Value {
        let shape = &self.shape;
        let (version, kind) = if shape.watched { ("apps/v1", "Deployment") } else { ("example.com/v1", "Widget") };
        let mut spec = json!({"targetRef": {"apiVersion": version, "kind": kind, "name": "web"}, "minReplicas": shape.least,
            "maxReplicas": MOST, "mode": self.mode, "behavior": shape.behavior});
        let mut queue = external("queue");
        queue["name"] = json!("queue");
        spec["metrics"] = json!([queue]);
        if shape.of_pods {
            spec["metrics"] = json!([queue, of_pods()]);
        }
        if shape.formula {
            let sum = "metrics.queue.value + 0.0 * metrics.requests.replicas";
            spec["formula"] = json!(if shape.of_pods { sum } else { "metrics.queue.value" });
        }
        if shape.night {
            spec["schedules"] =
                json!([{"name": "night", "start": "30 * * * *", "end": "0 * * * *", "timeZone": "UTC", "replicas": 0}]);
        }
        for (field, value) in self.spec.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    }

    fn pods(&self) -> Vec<Arc<PodView>> {
        let is_ready = |number: i32| self.ready.is_none_or(|ready| number < ready);
        let pod = |number: i32| {
            json!({"name": format!("web-{number}"), "startedAt": at(-900),
            "ready": {"is": is_ready(number), "since": at(-800)}})
        };
        let pods = (0..self.replicas.unwrap_or(0)).map(|number| serde_json::from_value(pod(number)).unwrap());
        pods.map(Arc::new).collect()
    }

    /// How many pods share the load.
    fn serving(&self) -> i64 {
        let pods = self.replicas.unwrap_or(0);
        self.ready.map_or(pods, |ready| ready.min(pods)).max(1).into()
    }

    fn seen(&self) -> Seen {
        let mut seen =
            world::seen(&self.whole_spec(), &self.status, self.behind.map(|(size, _)| size).or(self.replicas));
        (seen.pods, seen.answers) = (self.pods(), self.answers.clone());
        if self.crowd {
            let one = serde_json::from_value(json!({"name": "crowd", "phase": "Running"})).unwrap();
            seen.pods.resize(SAMPLES + 1, Arc::new(one));
        }
        if !self.shape.watched {
            (seen.kind, seen.target) = (None, None);
        }
        seen
    }

    fn answer(&self, question: &Question) -> Answer {
        let Question::Custom { name, input, .. } = question else { panic!("{question:?}") };
        let (now, replicas) = (at(self.second), self.replicas);
        match (*name, input["metric"]["type"].as_str(), replicas) {
            ("scale", _, None) => Answer::NotFound,
            ("scale", _, Some(size)) => {
                Answer::Object(json!({"group": "example.com", "version": "v1", "kind": "Widget", "plural": "widgets",
                "uid": "t", "resourceVersion": self.version.to_string(), "replicas": size, "statusReplicas": size,
                "selector": "app=web"}))
            }
            ("metric", Some("Pods"), _) => {
                let sample = json!({"value": "1m", "at": now, "windowSeconds": 15});
                let pods = self.pods().into_iter().map(|pod| (pod.name.clone(), sample.clone()));
                Answer::Object(json!({"pods": pods.collect::<serde_json::Map<_, _>>()}))
            }
            ("metric", ..) => match self.load.map(|load| if self.shared { load / self.serving() } else { load }) {
                Some(load) => Answer::Object(json!({"total": {"values": [load.to_string()]}})),
                None => Answer::Failed("nobody answers".to_owned()),
            },
            other => panic!("{other:?}"),
        }
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

    /// Gathers, decides, writes, concludes, asks.
    pub(crate) fn round(&mut self) -> Round {
        let seen = self.seen();
        let was_behind = self.behind.is_some();
        self.behind = self.behind.and_then(|(size, rounds)| Some((size, rounds.checked_sub(1)?)));
        self.rounds = (self.second, if self.rounds.0 == self.second { self.rounds.1 + 1 } else { 0 });
        let now = at(self.second) + SignedDuration::from_millis(self.rounds.1 * self.pace);
        let (before, size) = (self.status.clone(), self.replicas);
        let pending = !before["history"]["pending"].is_null();
        let plan = reconcile(now, &seen);
        let mut outcome = Outcome::default();
        let mut stored = None;
        for (index, write) in plan.writes.iter().enumerate() {
            let part = if matches!(write.verb, Verb::Scale { .. }) { Part::Size } else { Part::Note };
            let mut fate = self.fate(part);
            if let Verb::Scale { from: Some(from), .. } = &write.verb
                && self.replicas != Some(*from)
            {
                fate = Some(Fate::Conflicts);
            }
            if fate.is_none() || fate == Some(Fate::Lost) {
                match &write.verb {
                    Verb::Scale { replicas, .. } => {
                        self.set_size(self.cap.map_or(*replicas, |cap| cap.min(*replicas)));
                        let decided = plan.status.as_ref().and_then(|status| status.decision.as_ref());
                        stored = Some([size.unwrap(), decided.unwrap().from, self.replicas.unwrap()]);
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
                Fate::Fails => (Class::Transient, "InternalError"),
                Fate::Lost => (Class::Transient, "Timeout"),
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
        let mut unsaid = false;
        if let Some(status) = conclude(now, &seen, &plan, &outcome) {
            let fate = self.fate(Part::Status);
            unsaid = fate.is_some();
            if fate.is_none() || fate == Some(Fate::Lost) {
                self.status = status.status;
            }
        }
        let outdated = outcome.outdated(&plan.writes);
        let asked = |id: &String| {
            plan.asks.iter().any(|ask| ask.id == *id && !outdated.iter().any(|o| ask.question.tells_of(o)))
        };
        self.answers.retain(|id, _| asked(id));
        if stored.is_some()
            && let Some(size) = self.reverts
        {
            self.set_size(size);
        }
        let mut woken = self.status != before || was_behind;
        for ask in &plan.asks {
            if !self.answers.contains_key(&ask.id) {
                woken = true;
                self.answers.insert(ask.id.clone(), self.answer(&ask.question));
            }
        }
        Round { plan, failed: outcome.failed, pending, stored, unsaid, woken }
    }

    fn set_size(&mut self, size: i32) {
        (self.replicas, self.version) = (Some(size), self.version + 1);
    }

    pub(crate) fn condition(&self, type_: &str) -> Value {
        let all = self.status["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
    }

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Refuse(part, fate, once) => self.refusals.push((part, fate, once)),
            Event::AllowAll => (self.refusals, self.cap) = (vec![], None),
            Event::Cap(cap) => self.cap = cap,
            Event::Crowd(is_there) => self.crowd = is_there,
            Event::Load(load) => self.load = load,
            Event::SetSizeUnseen(size) if self.replicas.is_some() => {
                self.behind = self.replicas.filter(|_| self.shape.watched).map(|seen| (seen, 2));
                self.set_size(size);
            }
            Event::SetSize(size) if self.replicas.is_some() => self.set_size(size),
            Event::CreateTarget(size) if self.replicas.is_none() => self.set_size(size),
            Event::DeleteTarget => (self.replicas, self.behind) = (None, None),
            Event::ForgetStatus => self.status = Value::Null,
            Event::Mode(mode) => self.mode = mode,
            Event::SetSize(_) | Event::SetSizeUnseen(_) | Event::CreateTarget(_) | Event::Wake | Event::Steps(_) => {}
        }
    }
}
