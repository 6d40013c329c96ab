//! Whether the policies are in force: no object says so, since a policy may be missing, bound to less, or unknown to the API
//! server. So the API server is asked what would become of a change and of a pod, and believed for a while. Not the
//! policies themselves.
//!
//! One question for each workload, not for each process: a binding can leave out a namespace or what bears a label, and rights
//! to read policies, which belong to no namespace, are then not needed.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_config::{Pin, Source, SourceKind};
use trimtab_crds::{mark::Mark, names};
use trimtab_plan::{Answer, Answers, Ask, Condition, Question, Severity, Verb, Write};

use crate::{PlanView, draft::Draft, report::condition};

/// The type of the condition about the hold.
const GUARDED: &str = "Guarded";
/// The type of the condition about configuration.
const PROTECTED: &str = "ConfigProtected";
/// What is said where the policies are not in force.
const NOT_HELD: &str = "HoldNotInForce";
const NOT_FROZEN: &str = "FreezeNotInForce";
/// How long an answer may take, in seconds.
const TIMEOUT: u32 = 20;
/// When a question is asked again that could not be answered, or whose answer was bad.
const AGAIN: Duration = Duration::from_secs(30);
/// What of the Deployment the answer is read from.
const PAUSED: &str = "/spec/paused";
const MARK: &str = "/metadata/annotations/trimtab.dev~1held";
/// What of the pod the answer is read from.
const MAP: &str = "/spec/volumes/0/configMap/name";
const SECRET: &str = "/spec/volumes/0/secret/secretName";

/// Until when an answer of the API server is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// For so long.
    pub period: Duration,
    /// When the API server was last seen to let go what it had held, of whomever: no answer from before is believed.
    pub doubted: Option<Timestamp>,
}

/// Whether the API server was seen to let go what it should hold of a plan's workload.
pub fn is_let_go(plan: &PlanView) -> bool {
    let conditions = plan.status.iter().flat_map(|status| &status.conditions);
    let mut bad = conditions.map(|condition| (condition.type_.as_str(), condition.reason.as_str()));
    bad.any(|bad| [(GUARDED, NOT_HELD), (PROTECTED, NOT_FROZEN)].contains(&bad))
}

/// A condition's value, reason and message.
type Said = (bool, &'static str, String);

/// What the API server says, as far as it is known.
enum Word {
    InForce,
    NotInForce,
    /// Not answered yet, or why it could not be.
    Silent(Option<String>),
}

/// The condition that says whether changes are held, and the question that it rests on.
pub(crate) fn hold(draft: &mut Draft<'_>) -> Condition {
    let world = draft.world;
    let named = world.deployment.metadata.annotation(names::PLAN) == Some(world.plan.metadata.name.as_str());
    let (value, reason, message) = if named {
        let known = before(draft, GUARDED, "Guarded", NOT_HELD);
        let question = change(draft);
        let word = ask(draft, "hold", known, question, is_held);
        said(word, known, [("Guarded", IS_HELD), (NOT_HELD, IS_NOT_HELD), ("HoldNotProven", "changes are held")])
    } else {
        (false, "NotGuarded", "changes of the Deployment roll at once".to_owned())
    };
    if reason == NOT_HELD {
        draft.tell(Severity::Warning, NOT_HELD, "Check", message.clone());
    }
    condition(world.now, world.plan, GUARDED, value, reason, &message)
}

const IS_HELD: &str = "changes of the Deployment are held until they are released";
const IS_NOT_HELD: &str = "the API server lets changes of the Deployment roll at once: the policy trimtab-hold or its binding is missing or leaves the \
     Deployment out, or the API server is older than 1.36: kubectl apply -f crds/policy-hold.yaml";
const IS_NOT_FROZEN: &str = "the API server lets pods read the live objects although their template names copies: the policy trimtab-freeze or its \
     binding is missing or leaves the pods out, or the API server is older than 1.36: kubectl apply -f \
     crds/policy-freeze.yaml";

/// What is said of the configuration of stable pods, where they would read their copies: the API server's word on it.
pub(crate) fn freeze(draft: &mut Draft<'_>, protected: Said) -> Said {
    if !protected.0 {
        return protected;
    }
    let Some((question, source, copy)) = pod(draft) else { return protected };
    let known = before(draft, PROTECTED, "Frozen", NOT_FROZEN);
    let place = if source.kind == SourceKind::ConfigMap { MAP } else { SECRET };
    let read = |answer: &Answer| match answer {
        Answer::Object(kept) if kept[place] == json!(copy) => Some(true),
        Answer::Object(kept) if kept[place] == json!(source.name) => Some(false),
        _ => None,
    };
    // A question for each copy: an answer about the one before says nothing of this.
    let about = format!("freeze-{copy}");
    let word = ask(draft, &about, known, question, read);
    let said = said(
        word,
        known,
        [("Frozen", &protected.2), (NOT_FROZEN, IS_NOT_FROZEN), ("FreezeNotProven", "pods read their copies")],
    );
    if said.1 == NOT_FROZEN {
        draft.tell(Severity::Warning, NOT_FROZEN, "Check", said.2.clone());
    }
    said
}

fn said(word: Word, known: Option<bool>, words: [(&'static str, &str); 3]) -> Said {
    let [good, bad, unknown] = words;
    match (word, known) {
        (Word::InForce, _) | (Word::Silent(_), Some(true)) => (true, good.0, good.1.to_owned()),
        (Word::NotInForce, _) | (Word::Silent(_), Some(false)) => (false, bad.0, bad.1.to_owned()),
        (Word::Silent(None), None) => (false, unknown.0, format!("whether {} is being found out", unknown.1)),
        (Word::Silent(Some(why)), None) => {
            (false, unknown.0, format!("whether {} could not be found out: {why}", unknown.1))
        }
    }
}

/// What was said before, while nothing newer is known.
fn before(draft: &Draft<'_>, type_: &str, good: &str, bad: &str) -> Option<bool> {
    let known = draft.status.conditions.iter().find(|known| known.type_ == type_)?;
    [(good, true), (bad, false)].into_iter().find_map(|(reason, value)| (known.reason == reason).then_some(value))
}

/// Asks, unless the answer is here and not too old.
fn ask(
    draft: &mut Draft<'_>,
    about: &str,
    known: Option<bool>,
    question: Question,
    read: impl Fn(&Answer) -> Option<bool>,
) -> Word {
    let world = draft.world;
    let Some(proof) = world.seen.proof else { return Word::InForce };
    // Whoever installs the policy does not wait for long to read that it works.
    let period = if known == Some(false) { proof.period.min(AGAIN) } else { proof.period };
    let about = format!("{about}/{}/", world.deployment.metadata.uid);
    let (id, end) = turn(world.now, Proof { period, ..proof }, &about, &world.seen.answers);
    let word = match world.seen.answers.get(&id) {
        None => Word::Silent(None),
        Some(answer) => match (read(answer), answer) {
            (Some(true), _) => Word::InForce,
            (Some(false), _) => Word::NotInForce,
            (None, Answer::Failed(why)) => Word::Silent(Some(why.clone())),
            (None, _) => Word::Silent(Some("the answer names nothing of what was asked".to_owned())),
        },
    };
    if matches!(word, Word::Silent(Some(_))) {
        // An answer that is not asked for is dropped, and asked for anew the next time.
        draft.plan.wake_by(world.now.checked_add(AGAIN).unwrap_or(world.now));
    } else {
        draft.plan.asks.push(Ask { id, question, timeout_seconds: TIMEOUT });
        draft.plan.wake_by(end);
    }
    word
}

/// The question whose answer still counts, or a new one, and when it no longer does: its name says when it was asked.
fn turn(now: Timestamp, proof: Proof, about: &str, answers: &Answers) -> (String, Timestamp) {
    let now = now.as_second();
    let period = i64::try_from(proof.period.as_secs()).unwrap_or(i64::MAX);
    let asked = answers.keys().filter_map(|id| id.strip_prefix(about)?.parse::<i64>().ok());
    let asked = asked.filter(|at| (0..period).contains(&now.saturating_sub(*at)));
    let asked = asked.filter(|at| proof.doubted.is_none_or(|doubted| *at >= doubted.as_second())).max().unwrap_or(now);
    let end = Timestamp::from_second(asked.saturating_add(period)).unwrap_or(Timestamp::MAX);
    (format!("{about}{asked}"), end)
}

/// What would become of another template that is to roll at once, whatever the Deployment is like now.
fn change(draft: &Draft<'_>) -> Question {
    let meta = &draft.world.deployment.metadata;
    let template = json!({"metadata": {"annotations": {names::RESTARTED: "rehearsal"}}});
    let body = json!({
        "metadata": {"uid": meta.uid, "annotations": {names::HELD: null}},
        "spec": {"paused": false, "template": template}
    });
    let verb = Verb::Merge { body, subresource: None };
    let why = "ask whether a change would be held".to_owned();
    let write = Write { target: draft.world.deployment_ref(), verb, why };
    Question::Rehearse { write: Box::new(write), keep: vec![PAUSED, MARK] }
}

fn is_held(answer: &Answer) -> Option<bool> {
    let Answer::Object(object) = answer else { return None };
    let paused = object[PAUSED] == json!(true);
    Some(matches!(Mark::read(object[MARK].as_str(), paused), Some(Mark::Held { .. })))
}

/// What would become of a pod of the stable revision, with a further volume that reads one of its sources: the question, that
/// source, and the copy which the pod is to read. It has all that its namespace asks of pods.
fn pod(draft: &Draft<'_>) -> Option<(Question, Source, String)> {
    let world = draft.world;
    let stable = world.stable_set(&draft.status).filter(|rs| rs.spec.template.has_text())?;
    let (source, pin) = stable.spec.template.config.0.iter().find(|(_, pin)| **pin != Pin::Absent)?;
    let mut body = stable.spec.template.value();
    let volume = match source.kind {
        SourceKind::ConfigMap => json!({"configMap": {"name": source.name, "optional": true}}),
        SourceKind::Secret => json!({"secret": {"secretName": source.name, "optional": true}}),
    };
    let mut volume = volume;
    volume["name"] = json!("trimtab-rehearsal");
    let volumes = body.pointer("/spec/volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    body.pointer_mut("/spec")?.as_object_mut()?.insert("volumes".to_owned(), [vec![volume], volumes].concat().into());
    let stem: String = world.deployment.metadata.name.chars().take(200).collect();
    let target = names::POD.object(&world.deployment.metadata.namespace, &format!("{stem}-rehearsal"));
    let write = Write::create(target, body, "ask whether a pod would read its copies");
    let question = Question::Rehearse { write: Box::new(write), keep: vec![MAP, SECRET] };
    Some((question, source.clone(), pin.copy_name(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: Value, expected: bool) {
        assert_eq!(is_held(&Answer::Object(object.clone())), Some(expected), "{object}");
    }

    #[test]
    fn only_a_pause_with_a_mark_proves_the_hold() {
        check(json!({PAUSED: true, MARK: "by trimtab"}), true);
        check(json!({PAUSED: true, MARK: "paused, by trimtab"}), true);
        check(json!({PAUSED: false, MARK: "by trimtab"}), false);
        check(json!({PAUSED: true, MARK: "released at generation 1 by alice"}), false);
        check(json!({PAUSED: true}), false);
        check(json!({}), false);
        assert_eq!(is_held(&Answer::NotFound), None);
    }

    #[test]
    fn an_answer_counts_for_a_period_from_when_it_was_asked() {
        let proof = Proof { period: Duration::from_secs(600), doubted: None };
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let known: Answers = [("hold/u/1000".to_owned(), Answer::NotFound)].into();
        for (now, asked) in [(1000, 1000), (1599, 1000), (1600, 1600), (999, 999)] {
            let expected = (format!("hold/u/{asked}"), at(asked + 600));
            assert_eq!(turn(at(now), proof, "hold/u/", &known), expected, "{now}");
        }
        assert_eq!(turn(at(1001), proof, "hold/other/", &known).0, "hold/other/1001");
        // Not where the API server was seen to let something go since.
        for (doubted, asked) in [(900, 1000), (1001, 1100)] {
            let proof = Proof { doubted: Some(at(doubted)), ..proof };
            assert_eq!(turn(at(1100), proof, "hold/u/", &known).0, format!("hold/u/{asked}"));
        }
    }
}
