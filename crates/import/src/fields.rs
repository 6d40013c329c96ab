//! Reading the fields of an object so that none goes by unseen: what nobody asked for is named in the end.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::remarks::Remarks;

/// The fields of a part of an object.
pub(crate) struct Fields<'a> {
    path: String,
    fields: Option<&'a Map<String, Value>>,
    seen: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    /// Those of a value. One that has none, or is not there, has nothing to read.
    pub(crate) fn new(value: Option<&'a Value>, path: impl Into<String>) -> Self {
        Self { path: path.into(), fields: value.and_then(Value::as_object), seen: BTreeSet::new() }
    }

    /// What a field is called from the object's root.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A field's value, unless it is null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        self.seen.insert(name);
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    /// The fields of a field.
    pub(crate) fn part(&mut self, name: &'static str) -> Fields<'a> {
        let path = self.path(name);
        Fields::new(self.get(name), path)
    }

    /// The items of a list.
    pub(crate) fn items(&mut self, name: &'static str) -> &'a [Value] {
        self.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// A text; numbers and booleans are texts too where KEDA wants texts. Empty is as good as left out.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(is) => Some(is.to_string()),
            _ => None,
        }
    }

    /// A boolean, also where it is written as a text.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        truth(&self.text(name)?)
    }

    /// A whole number. One that is none is named as lost.
    pub(crate) fn number(&mut self, name: &'static str, remarks: &mut Remarks) -> Option<i32> {
        let value = self.get(name)?;
        let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        let number = number.and_then(|number| i32::try_from(number).ok());
        if number.is_none() {
            remarks.lost(self.path(name), "it is not a whole number: it counts as left out");
        }
        number
    }

    /// Names every field that nobody has read, with what to do about it.
    pub(crate) fn rest(self, remarks: &mut Remarks, advice: &str) {
        for (name, value) in self.fields.into_iter().flatten() {
            if !self.seen.contains(name.as_str()) && !value.is_null() {
                remarks.lost(self.path(name), advice);
            }
        }
    }
}

/// A text as Go's `strconv.ParseBool` reads it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
