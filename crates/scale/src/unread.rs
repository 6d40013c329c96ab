//! What of the cluster has not been read to its end: nothing is decided on half of it, and what stays so is told. Not why that is, which the
//! manager's log and readiness say.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use trimtab_crds::AutoscalerStatus;
use trimtab_plan::Condition;

/// For how long it is waited without a word: at its start the manager reads everything.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// How often it is looked again, where nothing that is read to its end wakes the key.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// HorizontalPodAutoscalers, as they are told. Without them a size can be decided: all that is not known is whether somebody else does,
/// too.
pub const HPAS: &str = "HorizontalPodAutoscalers (autoscaling/v2)";

/// The kinds that have not been read to their end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Unread {
    /// Their names, for people.
    pub kinds: Vec<&'static str>,
    /// Since when they are wanted.
    pub since: Option<Timestamp>,
}

impl Unread {
    /// Whether it has lasted so long that it is told.
    pub(crate) fn is_told(&self, now: Timestamp) -> bool {
        self.since.is_none_or(|since| now.duration_since(since) >= PATIENCE)
    }

    /// Whether nothing can be decided.
    pub fn holds(&self, now: Timestamp) -> bool {
        !self.kinds.is_empty() && (self.kinds != [HPAS] || !self.is_told(now))
    }

    /// The same with what was found before they were last read: something else set the size then. What is seen to do so now is decided
    /// on.
    pub(crate) fn holds_after(&self, now: Timestamp, status: Option<&AutoscalerStatus>, others: &[String]) -> bool {
        let was_contested = || {
            let mut conditions = status.iter().flat_map(|status| &status.conditions);
            conditions.any(|c| c.type_ == "Contested" && c.status == "True" && c.reason == "OtherAutoscaler")
        };
        self.holds(now) || (!self.kinds.is_empty() && others.is_empty() && was_contested())
    }

    /// Whether what a condition said before stays where no size is decided. It is all that keeps a size from being set which something
    /// else sets, so that nothing but a look takes it back: who writes a size is found by a decision, what else scales it by a list.
    pub(crate) fn leaves(&self, condition: &Condition) -> bool {
        condition.type_ == "Contested" && (self.kinds.contains(&HPAS) || condition.reason == "ReplicasOverwritten")
    }

    /// When it is looked again.
    pub(crate) fn again(&self, now: Timestamp) -> Timestamp {
        let told = self.since.filter(|_| !self.is_told(now)).and_then(|since| since.checked_add(PATIENCE).ok());
        told.or_else(|| now.checked_add(AGAIN).ok()).unwrap_or(now)
    }

    /// What is told.
    pub(crate) fn message(&self) -> String {
        format!(
            "not all {} could be read yet, so the size stays as it is: the manager's log and its readiness say why, a permission that is \
             missing for example",
            self.kinds.join(", ")
        )
    }

    /// What cannot be known without them, where a decision is made all the same.
    pub(crate) fn unknown(&self, now: Timestamp, generation: i64) -> Option<Condition> {
        let message = format!(
            "whether something else sets the size is not known, since {} could not be read: the manager's log and its readiness say why",
            self.kinds.join(", ")
        );
        let condition = Condition {
            type_: "Contested".to_owned(),
            status: "Unknown".to_owned(),
            observed_generation: Some(generation),
            last_transition_time: Timestamp::from_second(now.as_second()).unwrap_or(now),
            reason: "NotRead".to_owned(),
            message,
        };
        (!self.kinds.is_empty()).then_some(condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kinds: &[&'static str], seconds: i64, contested: bool, expected: (bool, bool, i64)) {
        let since = Timestamp::from_second(1_000).unwrap();
        let now = since + SignedDuration::from_secs(seconds);
        let unread = Unread { kinds: kinds.to_vec(), since: Some(since) };
        let condition = Condition {
            type_: "Contested".to_owned(),
            status: "True".to_owned(),
            reason: "OtherAutoscaler".to_owned(),
            observed_generation: None,
            last_transition_time: since,
            message: String::new(),
        };
        let status = AutoscalerStatus {
            conditions: if contested { vec![condition] } else { vec![] },
            ..AutoscalerStatus::default()
        };
        let after = unread.again(now).duration_since(since).as_secs();
        assert_eq!(
            (unread.holds(now), unread.holds_after(now, Some(&status), &[]), after),
            expected,
            "{kinds:?} {seconds}"
        );
    }

    #[test]
    fn nothing_is_decided_on_half_of_what_there_is() {
        check(&["Pods"], 0, false, (true, true, 10));
        check(&["Pods"], 60, false, (true, true, 70));
        check(&["Pods", HPAS], 60, false, (true, true, 70));
        check(&[HPAS], 3, false, (true, true, 10));
        check(&[HPAS], 10, false, (false, false, 20));
        check(&[HPAS], 10, true, (false, true, 20));
        check(&[], 10, true, (false, false, 20));
    }
}
