//! Decisions as they are recorded: what one saw and when, and what it decided, as JSON. It is what people replay, and what a
//! manager's log of decisions holds line by line. Not how either is read from a file or shown to a person.

use jiff::Timestamp;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Decision, Finding, ScaleSnapshot, Verdict, decide_scale};

/// Everything that a decision rests on. `decide_scale` of it is the same on every machine and at any time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// When it was decided.
    pub now: Timestamp,
    /// What was seen.
    #[serde(flatten)]
    pub snapshot: ScaleSnapshot,
}

impl Recorded {
    /// Decides it again.
    pub fn decide(&self) -> Decision {
        decide_scale(self.now, &self.snapshot)
    }
}

/// A condition in Kubernetes' words.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Finding", 4)?;
        out.serialize_field("type", self.type_)?;
        out.serialize_field("status", if self.holds { "True" } else { "False" })?;
        out.serialize_field("reason", &self.reason)?;
        out.serialize_field("message", &self.message)?;
        out.end()
    }
}

/// `Keep`, or `Set`: then the size that is to be set is the one that is wanted.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Keep => "Keep",
            Self::Set(_) => "Set",
        })
    }
}

/// What a record holds beside what was seen: `verdict`, `desired`, `message`, `decision`, `conditions`, `history`.
impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Decision", 6)?;
        out.serialize_field("verdict", &self.verdict)?;
        out.serialize_field("desired", &self.desired)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("decision", &self.decision)?;
        out.serialize_field("conditions", &self.findings)?;
        out.serialize_field("history", &self.history)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded() -> Recorded {
        serde_json::from_value(json!({
            "now": "2026-03-02T09:00:00Z",
            "spec": {"targetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 10, "metrics": [{"type": "External",
                "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": 20}}}]},
            "target": {"replicas": 2, "statusReplicas": 2},
            "observations": [{"total": {"values": ["100"]}}],
        }))
        .unwrap()
    }

    #[test]
    fn a_record_is_decided_again_to_the_same_bit() {
        let first = recorded();
        let text = serde_json::to_string(&first).unwrap();
        let again: Recorded = serde_json::from_str(&text).unwrap();
        assert_eq!(again, first);
        assert_eq!(again.decide(), first.decide());
        let told = |record: &Recorded| serde_json::to_string(&record.decide()).unwrap();
        assert_eq!(told(&again), told(&first));
    }

    #[test]
    fn a_decision_is_told_in_kubernetes_words() {
        let told = serde_json::to_value(recorded().decide()).unwrap();
        assert_eq!((&told["verdict"], &told["desired"]), (&json!("Set"), &json!(4)));
        assert_eq!(told["decision"]["metrics"][0]["replicas"], json!(5));
        assert_eq!(told["conditions"][0]["status"], json!("True"));
        assert_eq!(told["history"]["pending"], json!({"at": "2026-03-02T09:00:00Z", "from": 2, "to": 4}));
    }
}
