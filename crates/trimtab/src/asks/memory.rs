//! What the answers for each namespace take while they are kept: a namespace has a share, and never the whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use trimtab_plan::Answer;

/// How many bytes the answers for one namespace may take, for each controller.
pub(crate) const OF_A_NAMESPACE: usize = 16 << 20;
/// About what a value takes beside its text: a place in a list, or in a map with what the map needs for it.
const VALUE: usize = 32;
const FIELD: usize = 64;

type Totals = Arc<Mutex<HashMap<Box<str>, usize>>>;

/// What is taken, by namespace.
#[derive(Debug, Default)]
pub(super) struct Memory(Totals);

/// What one answer takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Weight {
    namespace: Box<str>,
    size: usize,
    totals: Totals,
}

impl Memory {
    /// Takes room for an answer; if there is none left for its namespace, the answer is that.
    pub(super) fn keep(&self, namespace: &str, answer: Answer) -> (Answer, Weight) {
        let size = weigh(&answer);
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = totals.entry(namespace.into()).or_default();
        let fits = *total + size <= OF_A_NAMESPACE;
        let size = if fits { size } else { 0 };
        *total += size;
        let weight = Weight { namespace: namespace.into(), size, totals: self.0.clone() };
        if fits {
            return (answer, weight);
        }
        let failed = Answer::Failed(format!(
            "what was answered for namespace {namespace} takes more than {} MiB: have fewer objects ask, or about fewer pods",
            OF_A_NAMESPACE >> 20
        ));
        (failed, weight)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(total) = totals.get_mut(&self.namespace) else { return };
        *total = total.saturating_sub(self.size);
        if *total == 0 {
            totals.remove(&self.namespace);
        }
    }
}

fn weigh(answer: &Answer) -> usize {
    match answer {
        Answer::Object(value) => of_value(value),
        Answer::Failed(why) => why.len(),
        Answer::NotFound => 0,
    }
}

fn of_value(value: &Value) -> usize {
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(of_value).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| FIELD + name.len() + of_value(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mebibytes: usize) -> Answer {
        Answer::Object(Value::String("x".repeat((mebibytes << 20) - VALUE)))
    }

    #[test]
    fn what_is_answered_for_a_namespace_is_kept_up_to_its_share() {
        let memory = Memory::default();
        let kept = |namespace: &str, mebibytes| {
            let (answer, weight) = memory.keep(namespace, answer(mebibytes));
            (matches!(answer, Answer::Object(_)), weight)
        };
        let (first, second) = (kept("a", 10), kept("a", 6));
        let beyond = kept("a", 1);
        assert_eq!((first.0, second.0, beyond.0), (true, true, false));
        assert!(kept("b", 10).0, "another namespace has its own");
        drop(beyond);
        assert!(!kept("a", 1).0);
        drop(second);
        assert!(kept("a", 6).0, "what is forgotten is given back");
        drop(first);
        assert!(memory.0.lock().unwrap().is_empty(), "a namespace that asks nothing is not kept");
    }
}
