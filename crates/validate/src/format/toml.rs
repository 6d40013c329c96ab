//! TOML, and the lines of its parts. Read by the `toml` crate, which bounds the nesting.

use serde_json::{Number, Value};
use toml::de::{DeTable, DeValue};

use super::{Unreadable, line_at};
use crate::meter;

pub(super) fn parse(text: &str) -> Result<Value, Unreadable> {
    // The tables are built before anything of them is seen, so what can begin a part is counted in the text.
    text.bytes().filter(|byte| b"[{,=".contains(byte)).for_each(|_| meter::part());
    let table: toml::Table = toml::from_str(text).map_err(|error| Unreadable {
        line: error.span().and_then(|span| line_at(text, span.start)),
        message: format!("the value is not TOML: {}", error.message()),
    })?;
    value(toml::Value::Table(table))
}

fn value(read: toml::Value) -> Result<Value, Unreadable> {
    Ok(match read {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => match Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => {
                let message = "the value holds nan or inf, which no rule can be asked about".to_owned();
                return Err(Unreadable { line: None, message });
            }
        },
        toml::Value::Boolean(is) => Value::Bool(is),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(value).collect::<Result<_, _>>()?),
        toml::Value::Table(fields) => {
            let field = |(name, read)| Ok((name, value(read)?));
            Value::Object(fields.into_iter().map(field).collect::<Result<_, Unreadable>>()?)
        }
    })
}

/// The line of the part that a path leads to, or of the last one on the way.
pub(super) fn line(text: &str, path: &[String]) -> Option<u32> {
    let table = DeTable::parse(text).ok()?;
    let (mut tokens, mut offset) = (path.iter(), table.span().start);
    let mut part = tokens.next().and_then(|token| entry(table.get_ref(), token, &mut offset));
    for token in tokens {
        part = match part {
            Some(DeValue::Table(table)) => entry(table, token, &mut offset),
            Some(DeValue::Array(items)) => {
                let item = token.parse().ok().and_then(|index: usize| items.get(index));
                item.map(|item| {
                    offset = item.span().start;
                    item.get_ref()
                })
            }
            _ => break,
        };
    }
    line_at(text, offset)
}

fn entry<'a, 'i>(table: &'a DeTable<'i>, name: &str, offset: &mut usize) -> Option<&'a DeValue<'i>> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
    *offset = key.span().start;
    Some(value.get_ref())
}
