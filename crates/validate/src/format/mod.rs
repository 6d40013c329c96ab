//! A value's text as the documents that it holds, and the lines that their parts stand on. Nothing is judged here but whether
//! the text can be read.

mod counted;
mod json;
mod properties;
mod toml;
mod yaml;

use serde_json::Value;
use trimtab_crds::ConfigFormat;

use crate::meter;

/// A text that was read.
pub(crate) struct Parsed {
    format: Option<ConfigFormat>,
    /// One document, or as many as a YAML text holds; never none.
    pub(crate) documents: Vec<Value>,
}

/// A text that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The line, from 1.
    pub(crate) line: Option<u32>,
    pub(crate) message: String,
}

/// Reads a text; without a format it is its own document.
pub(crate) fn parse(text: &str, format: Option<ConfigFormat>) -> Result<Parsed, Unreadable> {
    meter::begin_value();
    let documents = match format {
        None => vec![Value::String(text.to_owned())],
        Some(ConfigFormat::Json) => vec![json::parse(text)?],
        Some(ConfigFormat::Yaml) => yaml::parse(text)?,
        Some(ConfigFormat::Toml) => vec![toml::parse(text)?],
        Some(ConfigFormat::Properties) => vec![properties::parse(text)?],
    };
    Ok(Parsed { format, documents })
}

impl Parsed {
    /// The line of a part of a document, given by a JSON pointer; the nearest part around it if it cannot be found.
    pub(crate) fn line(&self, text: &str, document: usize, pointer: &str) -> Option<u32> {
        meter::begin_value();
        let path = tokens(pointer);
        match self.format? {
            ConfigFormat::Json => json::line(text, &path),
            ConfigFormat::Yaml => yaml::line(text, document, &path),
            ConfigFormat::Toml => toml::line(text, &path),
            ConfigFormat::Properties => properties::line(text, &path),
        }
    }

    /// The line on which a document begins, where there are several.
    pub(crate) fn start(&self, text: &str, document: usize) -> Option<u32> {
        if self.documents.len() > 1 { self.line(text, document, "") } else { None }
    }
}

/// The names and indexes of a JSON pointer.
fn tokens(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}

/// The line, from 1, of the byte at an offset.
fn line_at(text: &str, offset: usize) -> Option<u32> {
    let before = text.as_bytes().get(..offset)?;
    u32::try_from(before.iter().filter(|byte| **byte == b'\n').count() + 1).ok()
}
