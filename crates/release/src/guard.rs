//! Whether changes are held: no object says so, since a policy may be missing, bound to less, or unknown to the API server.
//! So the API server is asked what would become of a change, and believed for a while. Not the hold itself.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use trimtab_crds::{mark::Mark, names};
use trimtab_plan::{Answer, Ask, Condition, Question, Severity, Verb, Write};

use crate::{draft::Draft, report::condition};

/// The type of the condition.
const GUARDED: &str = "Guarded";
/// How long an answer may take, in seconds.
const TIMEOUT: u32 = 20;
/// When a question that could not be answered is asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// What of the Deployment the answer is read from.
const PAUSED: &str = "/spec/paused";
const MARK: &str = "/metadata/annotations/trimtab.dev~1held";

/// What is known of the hold.
type Said = (bool, &'static str, String);

/// The condition that says whether changes are held, and the question that it rests on.
///
/// One question for each workload, not for each process: a binding can leave out a namespace or what bears a label, and
/// the rights to read policies, which belong to no namespace, are then not needed.
pub(crate) fn judge(draft: &mut Draft<'_>) -> Condition {
    let world = draft.world;
    let plan = &world.plan.metadata.name;
    let named = world.deployment.metadata.annotation(names::PLAN) == Some(plan.as_str());
    let (value, reason, message) = match (named, world.seen.proof_period) {
        (false, _) => (false, "NotGuarded", "changes of the Deployment roll at once".to_owned()),
        (true, None) => held(),
        (true, Some(period)) => ask(draft, period),
    };
    if reason == "HoldNotInForce" {
        draft.tell(Severity::Warning, "HoldNotInForce", "Check", message.clone());
    }
    condition(world.now, world.plan, GUARDED, value, reason, &message)
}

fn held() -> Said {
    (true, "Guarded", "changes of the Deployment are held until they are released".to_owned())
}

fn ask(draft: &mut Draft<'_>, period: Duration) -> Said {
    let world = draft.world;
    let (turn, end) = turn(world.now, period, &world.deployment.metadata.uid);
    let id = format!("hold/{}/{turn}", world.deployment.metadata.uid);
    let ask = Ask { id: id.clone(), question: question(draft), timeout_seconds: TIMEOUT };
    let answer = world.seen.answers.get(&id);
    if let Some(Answer::Failed(why)) = answer {
        // An answer that is not asked for is dropped, and asked for anew the next time.
        draft.plan.wake_by(world.now.checked_add(AGAIN).unwrap_or(world.now));
        return before(draft).unwrap_or_else(|| {
            (false, "HoldNotProven", format!("whether changes are held could not be found out: {why}"))
        });
    }
    draft.plan.asks.push(ask);
    draft.plan.wake_by(end);
    match answer {
        None => before(draft)
            .unwrap_or_else(|| (false, "HoldNotProven", "whether changes are held is being found out".to_owned())),
        Some(answer) if is_held(answer) => held(),
        Some(_) => not_in_force(),
    }
}

fn not_in_force() -> Said {
    let message = "the API server lets changes of the Deployment roll at once: the policy trimtab-hold or its binding is missing or \
                   leaves the Deployment out, or the API server is older than 1.36: kubectl apply -f crds/policy-hold.yaml";
    (false, "HoldNotInForce", message.to_owned())
}

/// What was said before, while nothing newer is known.
fn before(draft: &Draft<'_>) -> Option<Said> {
    let known = draft.status.conditions.iter().find(|known| known.type_ == GUARDED)?;
    match known.reason.as_str() {
        "Guarded" => Some(held()),
        "HoldNotInForce" => Some(not_in_force()),
        _ => None,
    }
}

/// Which turn it is to ask, and when it ends. Not the same moment for all workloads.
fn turn(now: Timestamp, period: Duration, uid: &str) -> (i64, Timestamp) {
    let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1);
    let offset = uid.bytes().fold(0_i64, |sum, byte| (sum * 31 + i64::from(byte)) % period);
    let turn = (now.as_second() + offset).div_euclid(period);
    let end = (turn + 1).saturating_mul(period).saturating_sub(offset);
    (turn, Timestamp::from_second(end).unwrap_or(Timestamp::MAX))
}

/// What would become of another template that is to roll at once, whatever the Deployment is like now.
fn question(draft: &Draft<'_>) -> Question {
    let meta = &draft.world.deployment.metadata;
    let template = json!({"metadata": {"annotations": {names::RESTARTED: "rehearsal"}}});
    let body = json!({
        "metadata": {"uid": meta.uid, "annotations": {names::HELD: null}},
        "spec": {"paused": false, "template": template}
    });
    let verb = Verb::Merge { body, subresource: None };
    let why = "ask whether a change would be held".to_owned();
    Question::Rehearse {
        write: Box::new(Write { target: draft.world.deployment_ref(), verb, why }),
        keep: vec![PAUSED, MARK],
    }
}

fn is_held(answer: &Answer) -> bool {
    let Answer::Object(object) = answer else { return false };
    let paused = object[PAUSED] == json!(true);
    matches!(Mark::read(object[MARK].as_str(), paused), Some(Mark::Held { .. }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(object: Value, expected: bool) {
        assert_eq!(is_held(&Answer::Object(object.clone())), expected, "{object}");
    }

    #[test]
    fn only_a_pause_with_a_mark_proves_the_hold() {
        check(json!({PAUSED: true, MARK: "by trimtab"}), true);
        check(json!({PAUSED: true, MARK: "paused, by trimtab"}), true);
        check(json!({PAUSED: false, MARK: "by trimtab"}), false);
        check(json!({PAUSED: true, MARK: "released at generation 1 by alice"}), false);
        check(json!({PAUSED: true}), false);
        check(json!({}), false);
        assert!(!is_held(&Answer::NotFound));
    }

    #[test]
    fn a_turn_ends_when_the_next_begins() {
        let period = Duration::from_secs(600);
        for uid in ["a", "0f1c", "a-uid"] {
            let now = Timestamp::from_second(1_800_000_123).unwrap();
            let (first, end) = turn(now, period, uid);
            assert!(end > now && end.as_second() - now.as_second() <= 600, "{end}");
            assert_eq!(turn(end, period, uid).0, first + 1);
        }
    }
}
