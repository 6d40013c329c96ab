//! What is read of a ReleasePlan, from whatever version of Trimtab it is. Not the plan's type: fields and values that this
//! program does not know are no hindrance here.

use serde_json::Value;

/// What is read of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanFacts {
    /// Its name.
    pub name: String,
    /// The Deployment that it targets.
    pub target: String,
    /// The step, for people: `2/5`.
    pub step: Option<String>,
    /// The stable ReplicaSet.
    pub stable: Option<String>,
    /// Digest of the template that was taken back, and why it was.
    pub rejected: Option<(String, String)>,
    /// The release under way.
    pub release: Option<ReleaseUnderWay>,
}

/// What is read of a release under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseUnderWay {
    /// Digest of the new template.
    pub digest: String,
    /// Who made the change.
    pub by: String,
    /// Why it is being taken back, if it is because it was found bad or a person said so.
    pub taken_back: Option<String>,
}

/// Verdicts that say nothing against the template that is asked for now.
const NO_FAULT: [&str; 4] = ["Superseded", "ChangedBack", "OptedOut", "ScaledToZero"];

impl PlanFacts {
    /// Reads a plan; `None` without a name and a target.
    pub fn read(plan: &Value) -> Option<Self> {
        let text = |pointer: &str| plan.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let taken_back = || {
            let stage = text("/status/release/stage")?;
            let reason = text("/status/release/verdict/reason").unwrap_or_default();
            let back = stage == "TakingBack" && !NO_FAULT.contains(&reason.as_str());
            back.then(|| text("/status/release/verdict/message").unwrap_or(reason))
        };
        let release = text("/status/release/digest").map(|digest| ReleaseUnderWay {
            digest,
            by: text("/status/release/by").unwrap_or_default(),
            taken_back: taken_back(),
        });
        let rejected = text("/status/rejected/digest")
            .map(|digest| (digest, text("/status/rejected/verdict/message").unwrap_or_default()));
        Some(Self {
            name: text("/metadata/name")?,
            target: text("/spec/targetRef/name")?,
            step: text("/status/step"),
            stable: text("/status/stable/replicaSet"),
            rejected,
            release,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_of_another_version_is_read_all_the_same() {
        let plan = json!({
            "metadata": {"name": "web"},
            "spec": {"targetRef": {"kind": "Deployment", "name": "web"}, "strategy": {"blueGreen": {}}},
            "status": {"phase": "Dreaming", "step": "1/3", "stable": {"replicaSet": "web-1", "age": 7},
                "release": {"digest": "v9:a", "stage": "Analysing", "by": "ann"}},
        });
        let facts = PlanFacts::read(&plan).unwrap();
        assert_eq!((facts.step.as_deref(), facts.stable.as_deref()), (Some("1/3"), Some("web-1")));
        assert_eq!(facts.release.unwrap().taken_back, None);
        assert_eq!(PlanFacts::read(&json!({"metadata": {"name": "web"}})), None);
    }

    #[test]
    fn only_a_verdict_on_the_template_counts_as_taken_back() {
        let check = |reason: &str, expected: Option<&str>| {
            let plan = json!({
                "metadata": {"name": "web"}, "spec": {"targetRef": {"name": "web"}},
                "status": {"release": {"digest": "d", "stage": "TakingBack", "verdict": {"reason": reason, "message": "why"}}},
            });
            assert_eq!(PlanFacts::read(&plan).unwrap().release.unwrap().taken_back.as_deref(), expected);
        };
        check("CanaryFailed", Some("why"));
        check("Aborted", Some("why"));
        check("Superseded", None);
    }
}
