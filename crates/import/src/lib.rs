//! Existing HorizontalPodAutoscalers and KEDA ScaledObjects as `Autoscaler`s, and everything of them that cannot be carried
//! over, by name. Text in, text out: no client, no file, no clock. The objects that are read may hold credentials (KEDA's
//! trigger metadata does); what is not understood is named by its field and never by its value.

mod autoscaler;
mod document;
mod fields;
mod hpa;
mod keda;
mod legacy;
mod metric;
mod output;
mod remarks;

use serde_json::Value;

pub use output::{json, yaml};
pub use remarks::{Remark, Weight};

/// What is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A HorizontalPodAutoscaler.
    Hpa,
    /// A ScaledObject of KEDA.
    Keda,
}

impl Source {
    /// The kind of its objects.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Hpa => "HorizontalPodAutoscaler",
            Self::Keda => "ScaledObject",
        }
    }

    /// What the command that converts it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hpa => "hpa",
            Self::Keda => "keda",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::Hpa => "autoscaling",
            Self::Keda => "keda.sh",
        }
    }

    /// Whether an object is one.
    fn has(self, object: &Value) -> bool {
        let group = object["apiVersion"].as_str().and_then(|version| version.split('/').next());
        object["kind"].as_str() == Some(self.kind()) && group == Some(self.group())
    }
}

/// How to convert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Let the result only recommend, so that it can run beside the object that it comes from.
    pub recommend: bool,
    /// The namespace of objects that name none.
    pub namespace: Option<String>,
}

/// A converted object.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The name, which is that of the object it comes from.
    pub name: String,
    /// The namespace, if it names one.
    pub namespace: Option<String>,
    /// The `Autoscaler`.
    pub autoscaler: Value,
    /// What is lost, and what differs.
    pub remarks: Vec<Remark>,
}

/// Why nothing was converted, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub(crate) String);

impl Refused {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Converts every object of the kind in a text: YAML or JSON, several documents, lists. Objects of other kinds beside them are
/// left alone; a text that holds no other is refused.
pub fn import(text: &str, source: Source, options: &Options) -> Result<Vec<Imported>, Refused> {
    let objects = document::objects(text)?;
    let ours: Vec<&Value> = objects.iter().filter(|object| source.has(object)).collect();
    if ours.is_empty() {
        return Err(document::nothing(&objects, source));
    }
    ours.into_iter().map(|object| import_object(object, source, options)).collect()
}

/// Converts one object.
pub fn import_object(object: &Value, source: Source, options: &Options) -> Result<Imported, Refused> {
    if !source.has(object) {
        return Err(document::nothing(std::slice::from_ref(object), source));
    }
    match source {
        Source::Hpa => hpa::convert(object, options),
        Source::Keda => keda::convert(object, options),
    }
}
