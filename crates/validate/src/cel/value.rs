//! JSON as CEL sees it: whole numbers are `int` where they fit, as in Kubernetes' own CEL. Not the other way round.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};

/// A JSON value as a CEL value. The nesting is that of the parsers, which bound it.
pub(super) fn cel(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(is) => Value::Bool(*is),
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => number.as_f64().map_or(Value::Null, Value::Float),
        },
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(cel).collect())),
        serde_json::Value::Object(fields) => {
            let field = |(name, value): (&String, _)| (Key::String(Arc::new(name.clone())), cel(value));
            Value::Map(Map { map: Arc::new(fields.iter().map(field).collect::<HashMap<_, _>>()) })
        }
    }
}

/// About how many bytes a value takes.
pub(super) fn size(value: &Value) -> usize {
    16 + match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(map) => map.map.values().map(|value| 32 + size(value)).sum(),
        _ => 0,
    }
}
