//! The question whether a source is as policies ask, and its answer. Bodies are not in it: whoever answers reads them, and
//! what it says holds nothing of a Secret but its keys.

use serde::{Deserialize, Serialize};
use trimtab_crds::ConfigPolicySpec;
use trimtab_plan::{Answer, Question};

use crate::Source;

/// The name of the question.
pub const VALIDATE: &str = "validate";

/// Whether a source is as policies ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Validate {
    /// Where source, copy and policies are.
    pub namespace: String,
    /// The source that pods read, as manifests name it.
    pub source: Source,
    /// The object of the source's kind that they read in its place, where it is not the live one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// The version of what they read that is asked about: another one is not judged.
    pub resource_version: String,
    /// The copy that holds what pods read now, which expressions see as `old`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The policies that select the source.
    pub policies: Vec<NamedPolicy>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedPolicy {
    /// Its name.
    pub name: String,
    /// What it asks.
    pub spec: ConfigPolicySpec,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Judgement {
    /// The source is another version by now, and nothing was judged: ask about that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// What is not as a rule asks. Empty: all is well.
    #[serde(default)]
    pub findings: Vec<PolicyFinding>,
    /// Rules that cannot be used. Their policies judged nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<PolicyProblem>,
}

/// A value that is not as a rule asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFinding {
    /// The policy.
    pub policy: String,
    /// The key.
    pub key: String,
    /// The line of the value, from 1, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The rule.
    pub rule: String,
    /// What is wrong, in one sentence.
    pub message: String,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyProblem {
    /// The policy.
    pub policy: String,
    /// The rule; `*` if it is all of them.
    pub rule: String,
    /// What is wrong with it and what to do, in one sentence.
    pub message: String,
}

impl Validate {
    /// The question as it is asked.
    pub fn question(&self) -> Question {
        // Maps with names for keys: this cannot fail.
        let input = serde_json::to_value(self).unwrap_or_default();
        Question::Custom { name: VALIDATE, input, about: None }
    }
}

impl Judgement {
    /// Reads an answer. `None`: the source is gone.
    ///
    /// # Errors
    ///
    /// If the question could not be answered; the text says why.
    pub fn read(answer: &Answer) -> Result<Option<Self>, String> {
        match answer {
            Answer::Object(object) => serde_json::from_value(object.clone()).map(Some).map_err(|e| e.to_string()),
            Answer::NotFound => Ok(None),
            Answer::Failed(why) => Err(why.clone()),
        }
    }

    /// Whether the source may be released.
    pub fn allows(&self) -> bool {
        !self.changed && self.findings.is_empty() && self.bad.is_empty()
    }
}

impl std::fmt::Display for PolicyFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {} (rule {} of ConfigPolicy {})", self.message, self.rule, self.policy)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_read_and_nothing_else_is_allowed() {
        let read = |value| Judgement::read(&Answer::Object(value)).unwrap().unwrap();
        assert!(read(json!({"findings": []})).allows());
        assert!(!read(json!({"changed": true})).allows());
        assert!(!read(json!({"findings": [], "bad": [{"policy": "p", "rule": "r", "message": "m"}]})).allows());
        let judged = read(
            json!({"findings": [{"policy": "p", "key": "a.yaml", "line": 3, "rule": "r", "message": "it is odd"}]}),
        );
        assert!(!judged.allows());
        let finding = &judged.findings[0];
        assert_eq!(finding.to_string(), "a.yaml, line 3: it is odd (rule r of ConfigPolicy p)");
        assert_eq!(Judgement::read(&Answer::NotFound), Ok(None));
        assert!(Judgement::read(&Answer::Failed("no".to_owned())).is_err());
        assert!(Judgement::read(&Answer::Object(json!({"spec": {}}))).is_err());
    }
}
