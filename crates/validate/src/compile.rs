//! A policy, read once: its regular expressions, schemas and expressions made ready. What does not compile is told by rule.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use trimtab_crds::{ConfigPolicySpec, ConfigRule};

use crate::cel::Expression;
use crate::data::sentence;
use crate::isolated::{attempt, isolated};
use crate::meter;
use crate::schema::Schema;

/// How large a compiled regular expression may be, in bytes.
const PATTERN: usize = 1 << 20;
/// The longest pattern, in bytes; the API server keeps the same limit.
const PATTERN_SOURCE: usize = 1024;
/// Rules of a policy; the API server keeps the same limit.
const RULES: usize = 50;

/// A rule that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRule {
    /// The rule.
    pub rule: String,
    /// What is wrong with it and what to do, in one sentence.
    pub message: String,
}

/// A policy that can be applied; cheap to clone.
#[derive(Clone)]
pub struct Compiled(pub(crate) Arc<Vec<Rule>>);

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("rules", &self.0.len()).finish_non_exhaustive()
    }
}

/// One rule.
pub(crate) struct Rule {
    pub(crate) spec: ConfigRule,
    pub(crate) schema: Option<Schema>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) cel: Option<Expression>,
}

/// Makes a policy ready. `deadline` is for all of it; a second is plenty.
///
/// Blocks the calling thread for that long at most.
///
/// # Errors
///
/// The rules that cannot be used, each with the reason. A policy with one such rule checks nothing.
pub fn compile(spec: &ConfigPolicySpec, deadline: Duration) -> Result<Compiled, Vec<BadRule>> {
    let rules = spec.rules.clone();
    let bad = |message: String| vec![BadRule { rule: "*".to_owned(), message }];
    if rules.len() > RULES {
        return Err(bad(format!("a policy has at most {RULES} rules: divide it")));
    }
    isolated(deadline, move || all(rules)).unwrap_or_else(|failed| Err(bad(format!("not compiled: {failed}"))))
}

fn all(rules: Vec<ConfigRule>) -> Result<Compiled, Vec<BadRule>> {
    let (mut good, mut bad) = (vec![], vec![]);
    for spec in rules {
        meter::refill();
        let name = spec.name.clone();
        match attempt(|| rule(spec)) {
            Ok(Ok(rule)) => good.push(rule),
            Ok(Err(message)) => bad.push(BadRule { rule: name, message: sentence(&message) }),
            Err(failed) => bad.push(BadRule { rule: name, message: format!("not compiled: {failed}") }),
        }
    }
    if bad.is_empty() { Ok(Compiled(Arc::new(good))) } else { Err(bad) }
}

fn rule(spec: ConfigRule) -> Result<Rule, String> {
    if spec.format.is_none() && spec.pattern.is_none() && spec.cel.is_none() {
        return Err("it asks for nothing: give it at least one of format, pattern and cel".to_owned());
    }
    if spec.schema.is_some() && spec.format.is_none() {
        return Err("a schema needs a format: say how the value is read".to_owned());
    }
    let schema = spec.schema.as_ref().map(Schema::new).transpose()?;
    let pattern = spec.pattern.as_deref().map(pattern).transpose()?;
    let cel = spec.cel.as_deref().map(Expression::new).transpose()?;
    Ok(Rule { spec, schema, pattern, cel })
}

fn pattern(source: &str) -> Result<Regex, String> {
    if source.len() > PATTERN_SOURCE {
        return Err(format!("the pattern has more than {PATTERN_SOURCE} bytes"));
    }
    let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN).dfa_size_limit(PATTERN).build();
    // Alone first: `a)|(b` must not slip out of the group.
    let whole = build(source).and_then(|_| build(&format!(r"\A(?:{source})\z")));
    whole.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large: repeat less in it".to_owned(),
        // The last line says what is wrong; those before it point into the pattern.
        error => format!("the pattern is no regular expression: {}", error.to_string().lines().last().unwrap_or("")),
    })
}
