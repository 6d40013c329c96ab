//! A policy, read once: its regular expressions, schemas and expressions made ready. What does not compile is told by rule.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trimtab_crds::{ConfigPolicySpec, ConfigRule};

use crate::cel::Expression;
use crate::data::sentence;
use crate::isolated::{attempt, isolated};
use crate::meter;
use crate::pattern::Pattern;
use crate::schema::Schema;

/// Rules of a policy; the API server keeps the same limit.
pub(crate) const RULES: usize = 50;
/// How large a policy may be once it is ready, in bytes, as far as that is known.
pub(crate) const POLICY: usize = 8 << 20;
/// How it is said that the making of a rule was ended.
const NOT_COMPILED: &str = "not compiled: ";
/// What a rule takes at least.
const RULE: usize = 4 << 10;

/// A rule that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRule {
    /// The rule.
    pub rule: String,
    /// What is wrong with it and what to do, in one sentence.
    pub message: String,
}

impl BadRule {
    /// Whether it stays so, however often it is tried: not where there was no time, or no thread.
    pub fn is_lasting(&self) -> bool {
        !self.message.starts_with(NOT_COMPILED)
    }
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
    pub(crate) pattern: Option<Pattern>,
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
    isolated(deadline, move || all(rules)).unwrap_or_else(|failed| Err(bad(format!("{NOT_COMPILED}{failed}"))))
}

fn all(rules: Vec<ConfigRule>) -> Result<Compiled, Vec<BadRule>> {
    let (mut good, mut bad) = (vec![], vec![]);
    for spec in rules {
        meter::refill();
        let name = spec.name.clone();
        match attempt(|| rule(spec)) {
            Ok(Ok(rule)) => good.push(rule),
            Ok(Err(message)) => bad.push(BadRule { rule: name, message: sentence(&message) }),
            Err(failed) => bad.push(BadRule { rule: name, message: format!("{NOT_COMPILED}{failed}") }),
        }
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let compiled = Compiled(Arc::new(good));
    match compiled.size() <= POLICY {
        true => Ok(compiled),
        false => {
            let message = format!("its schemas and patterns take more than {} MiB: divide the policy", POLICY >> 20);
            Err(vec![BadRule { rule: "*".to_owned(), message }])
        }
    }
}

impl Compiled {
    /// Whether this and another are the same one, and not only alike.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let rule = |rule: &Rule| {
            let pattern = rule.pattern.as_ref().map_or(0, Pattern::size);
            RULE + pattern + rule.schema.as_ref().map_or(0, |schema| schema.size)
        };
        self.0.iter().map(rule).sum()
    }
}

fn rule(spec: ConfigRule) -> Result<Rule, String> {
    if spec.format.is_none() && spec.pattern.is_none() && spec.cel.is_none() {
        return Err("it asks for nothing: give it at least one of format, pattern and cel".to_owned());
    }
    if spec.schema.is_some() && spec.format.is_none() {
        return Err("a schema needs a format: say how the value is read".to_owned());
    }
    let schema = spec.schema.as_ref().map(Schema::new).transpose()?;
    let pattern = spec.pattern.as_deref().map(Pattern::whole).transpose()?;
    let cel = spec.cel.as_deref().map(Expression::new).transpose()?;
    Ok(Rule { spec, schema, pattern, cel })
}
