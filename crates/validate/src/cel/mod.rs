//! CEL expressions of rules, bounded: by the length and nesting of their source, by the functions that they may call, and by
//! the work and the memory that they may use. Runs on the thread of `isolated` only.

mod bounds;
mod metered;
mod value;

use std::sync::{Arc, OnceLock};

use cel::parser::Parser;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};

use crate::pattern::Patterns;

/// The longest expression, in bytes; the API server keeps the same limit.
pub(crate) const SOURCE: usize = 1024;
/// How deeply brackets may nest.
pub(crate) const BRACKETS: usize = 32;
/// The most operators of one sign in a row, as in `!!!!x`.
pub(crate) const SIGNS: usize = 16;

/// What a rule may name.
const RULE: [&str; 4] = ["value", "text", "old", "key"];

/// An expression that is ready.
pub(crate) struct Expression {
    source: String,
    expression: IdedExpr,
    patterns: Patterns,
}

/// What CEL knows by itself: the same for all.
fn env() -> Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    ENV.get_or_init(|| Arc::new(Env::stdlib())).clone()
}

impl Expression {
    /// One of a rule.
    pub(crate) fn new(source: &str) -> Result<Self, String> {
        Self::naming(source, &RULE)
    }

    /// One that may name these variables.
    pub(crate) fn naming(source: &str, names: &[&str]) -> Result<Self, String> {
        shallow(source)?;
        let mut expression = Parser::new().parse(source).map_err(|errors| {
            let first = errors.errors.first().map(|error| format!("column {}: {}", error.pos.1, error.msg));
            format!("the expression is not CEL: {}", first.unwrap_or_default())
        })?;
        bounds::check(&expression, names)?;
        metered::count(&mut expression);
        Ok(Self { source: source.to_owned(), expression, patterns: Patterns::default() })
    }

    /// Whether the expression is true of a value; if not, why.
    pub(crate) fn check(
        &self,
        key: &str,
        text: &str,
        value: &serde_json::Value,
        old: Option<&serde_json::Value>,
    ) -> Result<(), String> {
        let mut context = Context::with_env(env());
        metered::functions(&mut context, &self.patterns).map_err(|error| error.to_string())?;
        context.add_variable_from_value("value", value::cel(value));
        context.add_variable_from_value("old", old.map_or(Value::Null, value::cel));
        context.add_variable_from_value("text", text);
        context.add_variable_from_value("key", key);
        match Value::resolve(&self.expression, &context) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err(format!("not true: {}", self.source)),
            Ok(_) => Err(format!("neither true nor false: {}", self.source)),
            Err(error) => Err(format!("{}, in: {}", why(&error), self.source)),
        }
    }
}

impl Expression {
    /// The number that the expression gives of some variables.
    pub(crate) fn number(&self, variables: &serde_json::Map<String, serde_json::Value>) -> Result<f64, String> {
        // Formulas are about numbers: what patterns they have is made each time, so that many of them take little memory.
        let mut context = Context::with_env(env());
        metered::functions(&mut context, &Patterns::default()).map_err(|error| error.to_string())?;
        for (name, value) in variables {
            context.add_variable_from_value(name.as_str(), value::cel(value));
        }
        match Value::resolve(&self.expression, &context) {
            Ok(Value::Float(number)) => Ok(number),
            Ok(Value::Int(number)) => Ok(number as f64),
            Ok(Value::UInt(number)) => Ok(number as f64),
            Ok(_) => Err(format!("it gives no number: {}", self.source)),
            // Which of the two it is depends on the operator.
            Err(ExecutionError::NoSuchOverload(_) | ExecutionError::UnsupportedBinaryOperator(..)) => {
                Err(format!("numbers of two kinds do not go together: write 20.0 where 20 stands, in: {}", self.source))
            }
            Err(ExecutionError::NoSuchKey(key)) => Err(format!(
                "nothing is known of {key:?} now; has(...) tells whether there is something: {}",
                self.source
            )),
            Err(error) => Err(format!("{}, in: {}", why(&error), self.source)),
        }
    }
}

/// What went wrong, without the values that it went wrong with: those may be long.
fn why(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no {key:?}; has(value.x) tells whether there is an x"),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::ValuesNotComparable(..) => "the two values cannot be compared".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "a division by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::UndeclaredReference(name) => format!("there is no {name:?} here"),
        ExecutionError::FunctionError { function, message } => {
            format!("{}: {}", function.trim_start_matches('@'), crate::data::sentence(message))
        }
        _ => "the types of the values do not fit".to_owned(),
    }
}

/// Whether a source is short and shallow enough to be parsed.
fn shallow(source: &str) -> Result<(), String> {
    if source.len() > SOURCE {
        return Err(format!("the expression has more than {SOURCE} bytes: divide it into several rules"));
    }
    let (mut depth, mut deepest, mut signs) = (0_usize, 0, 0_usize);
    // Brackets inside of texts count too: that errs on the safe side.
    for c in source.chars().filter(|c| !c.is_whitespace()) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        signs = if matches!(c, '!' | '-') { signs + 1 } else { 0 };
        if signs > SIGNS {
            return Err(format!("the expression has more than {SIGNS} signs in a row"));
        }
        deepest = deepest.max(depth);
    }
    if deepest > BRACKETS {
        return Err(format!("the expression nests brackets more than {BRACKETS} deep: divide it into several rules"));
    }
    Ok(())
}
