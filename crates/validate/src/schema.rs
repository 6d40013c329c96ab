//! JSON Schema, with its work counted: every visit of a subschema that holds, and every look at a value. A `$ref` stays inside the schema; patterns are regular in the strict sense.

mod counted;

use counted::{Counted, Seen};
use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};

use crate::meter;

/// How large a schema may be, in bytes of JSON.
pub(crate) const SIZE: usize = 64 << 10;
/// How large a compiled regular expression of a schema may be, in bytes.
pub(crate) const PATTERN: usize = 128 << 10;
/// How many regular expressions a schema may have.
pub(crate) const PATTERNS: usize = 100;
/// How many times its text a schema takes once it is ready, about.
const READY: usize = 16;
/// The keyword that is put into every subschema, to count that it is visited.
const STEP: &str = "x-trimtab-step";

/// Keywords whose values hold no schemas.
const DATA: [&str; 6] = ["const", "enum", "default", "examples", "dependentRequired", "$vocabulary"];

/// A schema that is ready.
pub(crate) struct Schema {
    validator: Validator<Counted>,
    /// About how many bytes it takes.
    pub(crate) size: usize,
}

/// Why a value is not valid.
pub(crate) struct Invalid {
    /// Where: a JSON pointer.
    pub(crate) pointer: String,
    pub(crate) message: String,
}

struct Step;

impl<'i> Keyword<'i, Counted> for Step {
    fn validate(&self, _: Seen<'i>) -> Result<(), ValidationError<'i>> {
        meter::step();
        Ok(())
    }

    fn is_valid(&self, _: Seen<'i>) -> bool {
        meter::step();
        true
    }
}

impl Schema {
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let length = schema.to_string().len();
        if length > SIZE {
            return Err(format!("the schema has more than {} KiB", SIZE >> 10));
        }
        if let Some(reference) = outside(schema) {
            return Err(format!("the schema refers to {reference:?}: only references inside of it (#…) are followed"));
        }
        let patterns = patterns(schema);
        if patterns > PATTERNS {
            return Err(format!("the schema has more than {PATTERNS} patterns: divide it"));
        }
        let mut counted = schema.clone();
        count(&mut counted);
        let options = jsonschema::options_for::<Counted>()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN).dfa_size_limit(PATTERN))
            .with_keyword(STEP, |_, _, _| Ok(Box::new(Step)));
        let built = options.build(&counted);
        let size = length * READY + patterns * (PATTERN / 2);
        built.map(|validator| Self { validator, size }).map_err(|error| format!("the schema is not valid: {error}"))
    }

    /// Whether a value is valid; if not, the first reason.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Invalid> {
        self.validator.validate(Seen(value)).map_err(|error| {
            let pointer = error.instance_path().as_str().to_owned();
            // A list or a map would be shown in full.
            let said = match error.instance().as_ref() {
                Value::Array(_) | Value::Object(_) => error.masked_with("the value").to_string(),
                _ => error.to_string(),
            };
            let said = [format!(",\"{STEP}\":true"), format!("\"{STEP}\":true,"), format!("\"{STEP}\":true")]
                .iter()
                .fold(said, |said, own| said.replace(own, ""));
            let message = if pointer.is_empty() { said } else { format!("{pointer}: {said}") };
            Invalid { pointer, message }
        })
    }
}

/// A reference that leads outside, if there is one.
fn outside(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match (name.as_str(), value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) if !to.starts_with('#') => Some(to.as_str()),
            (name, _) if DATA.contains(&name) => None,
            _ => outside(value),
        }),
        Value::Array(items) => items.iter().find_map(outside),
        _ => None,
    }
}

/// How many regular expressions a schema has, or might have.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => fields.iter().fold(0, |sum, (name, value)| {
            let own = match (name.as_str(), value) {
                ("patternProperties", Value::Object(named)) => named.len(),
                ("pattern", Value::String(_)) => 1,
                _ => 0,
            };
            sum + own + patterns(value)
        }),
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

/// Puts the step into every subschema. One that is `true` or `false` looks at nothing: it gets an equal one that does.
fn count(schema: &mut Value) {
    if let Value::Bool(holds) = schema {
        let step = json!({STEP: true});
        *schema = if *holds { step } else { json!({"not": step}) };
        return;
    }
    let Value::Object(fields) = schema else { return };
    for (name, value) in fields.iter_mut() {
        match (name.as_str(), value) {
            (name, _) if DATA.contains(&name) => {}
            // Their values are no schemas, or are looked at for each part of a value.
            (name, Value::Bool(_)) if !["not", "if"].contains(&name) => {}
            // Of these the names are the user's, and the values are schemas.
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies",
                Value::Object(named),
            ) => named.values_mut().for_each(count),
            (_, value @ (Value::Object(_) | Value::Bool(_))) => count(value),
            (_, Value::Array(items)) => items.iter_mut().for_each(count),
            _ => {}
        }
    }
    step_first(fields);
}

fn step_first(fields: &mut Map<String, Value>) {
    fields.insert(STEP.to_owned(), Value::Bool(true));
}
