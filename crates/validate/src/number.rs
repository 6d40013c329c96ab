//! Expressions that give a number: the formulas of autoscalers. As bounded as those that check a configuration.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::cel::Expression;
use crate::isolated::isolated;

/// Formulas that are kept ready; a formula is evaluated every few seconds.
pub(crate) const KEPT: usize = 128;

/// What became of a formula.
type Made = Result<Arc<Expression>, String>;

static KNOWN: LazyLock<Mutex<HashMap<String, Made>>> = LazyLock::new(Mutex::default);

/// The formula, made ready once.
fn made(source: &str, names: &[&str]) -> Made {
    let id = format!("{} {source}", names.join(","));
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = known().get(&id) {
        return made.clone();
    }
    let made = Expression::naming(source, names).map(Arc::new);
    let mut all = known();
    // Rarely so many: to make some of them again costs less than to know which were used last.
    if all.len() >= KEPT {
        all.clear();
    }
    all.insert(id, made.clone());
    made
}

/// The number that a CEL expression gives of some variables. Blocks the calling thread until the deadline at most.
///
/// # Errors
///
/// If the expression is not CEL, uses what it may not, takes too much work, or gives no number. The text says which.
pub fn number(source: &str, variables: Value, deadline: Duration) -> Result<f64, String> {
    let source = source.to_owned();
    let work = move || {
        let Value::Object(variables) = variables else { return Err("the variables are no object".to_owned()) };
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        made(&source, &names)?.number(&variables)
    };
    isolated(deadline, work).unwrap_or_else(|failed| Err(failed.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(source: &str, expected: Result<f64, &str>) {
        let variables = json!({"metrics": {"queue": {"value": 90.0}, "cpu": {"replicas": 3.0}}, "replicas": 2.0});
        let found = number(source, variables, Duration::from_secs(5));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{source}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{source}: {found}"),
            (found, expected) => panic!("{source}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn formulas_give_numbers_or_say_why_not() {
        check("metrics.queue.value / 20.0 + metrics.cpu.replicas", Ok(7.5));
        check("metrics.queue.value > 50.0 ? 9.0 : replicas", Ok(9.0));
        check("has(metrics.queue.average) ? 1.0 : 4.0", Ok(4.0));
        check("metrics.queue.value / 20", Err("write 20.0"));
        check("metrics.other.value", Err("nothing is known of"));
        check("metrics.queue", Err("no number"));
        check("1 +", Err("not CEL"));
        check("'a'.matches('(a+)+$') ? 1.0 : 2.0", Ok(1.0));
    }

    #[test]
    fn a_formula_is_made_once_and_few_are_kept() {
        let first = made("replicas + 1.5", &["replicas"]).unwrap();
        assert!(Arc::ptr_eq(&first, &made("replicas + 1.5", &["replicas"]).unwrap()));
        for count in 0..KEPT * 2 {
            made(&format!("replicas + {count}.25"), &["replicas"]).unwrap();
        }
        assert!(KNOWN.lock().unwrap().len() <= KEPT);
    }
}
