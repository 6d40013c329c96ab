//! JSON, and the lines of its parts. Read by serde_json, which bounds the nesting.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::counted::Counted;
use super::{Unreadable, line_at};

pub(super) fn parse(text: &str) -> Result<Value, Unreadable> {
    serde_json::from_str(text).map(|Counted(value)| value).map_err(|error| {
        let line = u32::try_from(error.line()).ok().filter(|line| *line > 0);
        Unreadable { line, message: format!("the value is not JSON: {error}") }
    })
}

/// The line of the part that a path leads to, or of the last one on the way.
pub(super) fn line(text: &str, path: &[String]) -> Option<u32> {
    let mut part: &str = serde_json::from_str::<&RawValue>(text).ok()?.get();
    for token in path {
        let Some(next) = child(part, token) else { break };
        part = next;
    }
    // A part is a piece of the text itself: where it begins is the difference of the addresses.
    line_at(text, (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?)
}

fn child<'a>(part: &'a str, token: &str) -> Option<&'a str> {
    if part.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(part).ok()?;
        return items.get(token.parse::<usize>().ok()?).map(|item| item.get());
    }
    let fields: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(part).ok()?;
    fields.get(token).map(|field| field.get())
}
