//! JSON documents in a file, one after the other, and where in it an error is: the line, and the field that stands there. Not
//! what the documents say.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The whole of a file, or of standard input where it is called `-`; and what it is called in errors.
pub fn read(path: &Path) -> Result<(String, String)> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    Ok((name, text))
}

/// One document of a file.
#[derive(Debug, Clone, Copy)]
pub struct Document<'t> {
    file: &'t str,
    text: &'t str,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its column there, from 0.
    column: usize,
}

/// The documents of a file.
pub fn split<'t>(file: &'t str, text: &'t str) -> Result<Vec<Document<'t>>> {
    let mut found = vec![];
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    while let Some(next) = stream.next() {
        let raw = next.map_err(|error| {
            let place = format!("{file}:{}:{}", error.line(), error.column());
            anyhow!("{place}: this is no JSON: {}: mend it there", bare(&error))
        })?;
        let text_of = raw.get();
        let before = &text[..stream.byte_offset() - text_of.len()];
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        found.push(Document { file, text: text_of, line: 1 + before.matches('\n').count(), column });
    }
    Ok(found)
}

impl Document<'_> {
    /// Reads it; an error names the line and the field. `remedy` says what to do for any of them.
    pub fn parse<T: DeserializeOwned>(&self, remedy: &str) -> Result<T> {
        serde_json::from_str(self.text).map_err(|error| {
            let (line, column) = (error.line().max(1), error.column());
            let at = offset(self.text, line, column);
            let path = field(&self.text[..at]);
            let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
            let column = if line == 1 { column + self.column } else { column };
            anyhow!("{}:{}:{column}: {place}{}: {remedy}", self.file, self.line + line - 1, bare(&error))
        })
    }

    /// Where it begins, for messages: `file:3`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// An error's sentence without the place, which is told before it.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(before, _)| before.to_owned())
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let mut at = (start + column).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The path of the field at the end of a piece of JSON: `spec.metrics[0].type`. The error stands behind the value, so the last
/// key or index is the field that it is about.
fn field(before: &str) -> String {
    let (mut path, mut last) = (Vec::<String>::new(), String::new());
    let mut chars = before.char_indices();
    let mut index: Vec<Option<usize>> = vec![];
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let mut escaped = false;
                let end = chars.by_ref().find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                let Some((end, _)) = end else { continue };
                let is_key = before[end + 1..].trim_start().starts_with(':');
                if is_key && let (Some(None), Some(top)) = (index.last(), path.last_mut()) {
                    before[at + 1..end].clone_into(top);
                }
            }
            '{' => (path.push(String::new()), index.push(None)).0,
            '[' => (path.push("[0]".to_owned()), index.push(Some(0))).0,
            ',' => {
                if let (Some(Some(n)), Some(top)) = (index.last_mut(), path.last_mut()) {
                    *n += 1;
                    *top = format!("[{n}]");
                }
            }
            '}' | ']' => {
                // What was just closed is what an error about a whole object is about.
                path.pop();
                index.pop();
            }
            _ => {}
        }
    }
    for part in path.iter().filter(|part| !part.is_empty()) {
        if !last.is_empty() && !part.starts_with('[') {
            last.push('.');
        }
        last.push_str(part);
    }
    last
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use trimtab_scale::ScaleSnapshot;

    use super::*;

    fn fails(text: &str, expected: &str) {
        let documents = split("s.json", text).unwrap();
        let error = documents.last().unwrap().parse::<ScaleSnapshot>("see the reference").unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_error_names_its_line_and_field() {
        fails(
            "{\"spec\": {\n  \"targetRef\": {\"kind\": \"Deployment\", \"name\": \"web\"},\n  \"maxReplicas\": \"ten\"}}",
            "s.json:3:22: spec.maxReplicas: invalid type: string \"ten\", expected i32: see the reference",
        );
        fails(
            "{}\n {\"spec\": {\"targetRef\": {\"kind\": \"Deployment\"}}}",
            "s.json:2:46: spec.targetRef: missing field `name`: see the reference",
        );
        fails(
            "{\"observations\": [{\"total\": {\"values\": [\"1\"]}},\n{\"total\": {\"values\": [\"1\", \"x\"]}}]}",
            "s.json:2:31: observations[1].total.values: \"x\" is no quantity: write it as 250m or 3: see the reference",
        );
    }

    #[test]
    fn documents_follow_each_other_on_lines_or_not() {
        let found = split("s", "{\"a\": 1}\n\n{\n\"a\": 2}{\"a\": 3}").unwrap();
        assert_eq!(found.iter().map(|d| (d.line, d.column)).collect::<Vec<_>>(), [(1, 0), (3, 0), (4, 7)]);
        let values: Vec<Value> = found.iter().map(|d| d.parse("").unwrap()).collect();
        assert_eq!(values[2]["a"], 3);
        let broken = split("s", "{\"a\": 1}\n{\"a\" 2}").unwrap_err().to_string();
        assert_eq!(broken, "s:2:6: this is no JSON: expected `:`: mend it there");
    }
}
