//! Status: conditions, and the one status write of a reconcile.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Failure, Notice, ObjectRef, Severity};

/// The one status write of a reconcile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusWrite {
    /// The object whose status it is.
    pub target: ObjectRef,
    /// Its uid: a status never goes to a recreated object of the same name.
    pub uid: String,
    /// The whole new status.
    pub status: Value,
    /// Whether it only tells people more: then it may come up to a second later, together with what follows.
    pub lazy: bool,
}

impl StatusWrite {
    /// What people are told of a failure, by an event, since all progress rests on the status; nothing of one that passes by
    /// itself.
    pub fn refused(&self, failure: &Failure) -> Option<Notice> {
        let note = format!(
            "the status of {} cannot be written, and nothing goes on without it: {}; whoever refuses it has to allow it",
            self.target, failure.message
        );
        failure.is_told().then(|| Notice {
            about: self.target.clone(),
            uid: self.uid.clone(),
            severity: Severity::Warning,
            reason: "StatusRefused",
            action: "Wait",
            note,
        })
    }
}

/// A condition as `metav1.Condition` defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Stalled`, … in CamelCase.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation of the spec that this was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// A stable code in CamelCase; never empty.
    pub reason: String,
    /// A sentence for a person.
    pub message: String,
}

/// Sets a condition: keeps its place, and its transition time unless its status changes.
pub fn set_condition(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        None => conditions.push(new),
        Some(old) if old.status == new.status => {
            *old = Condition { last_transition_time: old.last_transition_time, ..new };
        }
        Some(old) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &str, second: i64) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            observed_generation: Some(second),
            last_transition_time: Timestamp::from_second(second).unwrap(),
            reason: "R".to_owned(),
            message: String::new(),
        }
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let mut all = vec![];
        set_condition(&mut all, ready("False", 1));
        set_condition(&mut all, ready("False", 2));
        assert_eq!(all[0].last_transition_time.as_second(), 1);
        assert_eq!(all[0].observed_generation, Some(2));
        set_condition(&mut all, ready("True", 3));
        assert_eq!(all[0].last_transition_time.as_second(), 3);
        assert_eq!(all.len(), 1);
    }
}
