//! Java properties as `java.util.Properties` reads them: escapes, continued lines, three separators. Names and texts, no
//! nesting.

use serde_json::{Map, Value};

use super::Unreadable;
use crate::meter;

pub(super) fn parse(text: &str) -> Result<Value, Unreadable> {
    let mut map = Map::new();
    for entry in entries(text) {
        let (name, value) = entry.read()?;
        map.insert(name, Value::String(value));
    }
    Ok(Value::Object(map))
}

/// The line on which the entry begins that counts for a name: the last one.
pub(super) fn line(text: &str, path: &[String]) -> Option<u32> {
    let name = path.first()?;
    let named = |entry: &Entry| entry.read().is_ok_and(|(read, _)| read == *name);
    entries(text).into_iter().rfind(named).map(|entry| entry.line)
}

/// An entry: a line with those that continue it, still escaped.
struct Entry {
    line: u32,
    text: String,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries = vec![];
    let mut open: Option<Entry> = None;
    for (index, line) in lines(text).into_iter().enumerate() {
        let line = line.trim_start_matches([' ', '\t', '\x0c']);
        // Inside of an entry a line is never a comment.
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let continued = line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        let kept = if continued { line.strip_suffix('\\').unwrap_or(line) } else { line };
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if open.is_none() {
            meter::part();
        }
        open.get_or_insert_with(|| Entry { line: number, text: String::new() }).text.push_str(kept);
        if !continued {
            entries.extend(open.take());
        }
    }
    entries.extend(open);
    entries
}

/// Lines that end with `\n`, `\r\n` or `\r`.
fn lines(text: &str) -> Vec<&str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).collect()
}

impl Entry {
    /// Name and value, without escapes.
    fn read(&self) -> Result<(String, String), Unreadable> {
        let mut escaped = false;
        let end = self.text.find(|c: char| {
            let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
            escaped = !escaped && c == '\\';
            ends
        });
        let (name, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        let blank = [' ', '\t', '\x0c'];
        let rest = rest.trim_start_matches(blank);
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(blank);
        Ok((self.unescape(name)?, self.unescape(value)?))
    }

    fn unescape(&self, text: &str) -> Result<String, Unreadable> {
        // In units of UTF-16, since escapes may be halves of a pair.
        let mut units: Vec<u16> = vec![];
        let mut rest = text.chars();
        let mut pair = [0; 2];
        while let Some(c) = rest.next() {
            let meant = match c {
                // A backslash that nothing follows stands for itself.
                '\\' => match rest.next().unwrap_or('\\') {
                    'u' => {
                        units.push(self.unit(rest.by_ref().take(4).collect())?);
                        continue;
                    }
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    'f' => '\x0c',
                    other => other,
                },
                other => other,
            };
            units.extend(meant.encode_utf16(&mut pair).iter());
        }
        String::from_utf16(&units).map_err(|_| self.unreadable("\\u escapes give half a character"))
    }

    /// The unit that four hexadecimal digits stand for.
    fn unit(&self, digits: String) -> Result<u16, Unreadable> {
        let whole = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let unit = whole.then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
        unit.ok_or_else(|| self.unreadable("\\u is not followed by four hexadecimal digits"))
    }

    fn unreadable(&self, what: &str) -> Unreadable {
        Unreadable { line: Some(self.line), message: format!("the value is not a properties file: {what}") }
    }
}
