//! What differs between two revisions, as a unified diff; of a Secret only which keys differ.

use std::collections::BTreeSet;

use similar::TextDiff;
use trimtab_config::{Source, SourceKind};

use super::revisions::{Entry, Revision};
use crate::paint::{BAD, BOLD, DIM, GOOD, NEW, paint};

/// The difference between two revisions.
pub fn text(source: &Source, older: &Revision, newer: &Revision) -> String {
    let keys: BTreeSet<&String> = older.entries.keys().chain(newer.entries.keys()).collect();
    let mut text = format!(
        "{}\n{}\n",
        paint(BOLD, format!("--- {source} {}", title(older))),
        paint(BOLD, format!("+++ {source} {}", title(newer)))
    );
    let before = text.len();
    for key in keys {
        let (old, new) = (older.entries.get(key), newer.entries.get(key));
        if old != new {
            text.push_str(&entry(source.kind, key, old, new));
        }
    }
    if text.len() == before {
        text.push_str(&paint(DIM, "nothing differs\n"));
    }
    text
}

fn title(revision: &Revision) -> String {
    match (revision.number, &revision.suffix) {
        (Some(number), Some(suffix)) => {
            let live = if revision.live { ", live" } else { "" };
            format!("revision {number} ({suffix}{live})")
        }
        _ => "live".to_owned(),
    }
}

fn entry(kind: SourceKind, key: &str, old: Option<&Entry>, new: Option<&Entry>) -> String {
    let what = match (old, new) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    let head = paint(NEW, format!("@@ {key} {what} @@\n"));
    if kind == SourceKind::Secret {
        return head;
    }
    let side = |entry: Option<&Entry>| entry.map_or(Some(""), Entry::text).map(str::to_owned);
    let (Some(old_text), Some(new_text)) = (side(old), side(new)) else {
        let size = |entry: Option<&Entry>| entry.map_or(0, Entry::len);
        return format!("{head}{}", paint(DIM, format!("bytes that are no text: {} and {}\n", size(old), size(new))));
    };
    let diff = TextDiff::from_lines(&old_text, &new_text);
    let lines = diff.unified_diff().context_radius(3).to_string();
    let lines = lines.lines().map(|line| match line.as_bytes().first() {
        Some(b'+') => paint(GOOD, line),
        Some(b'-') => paint(BAD, line),
        Some(b'@') => paint(DIM, line),
        _ => line.to_owned(),
    });
    lines.fold(head, |text, line| text + &line + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::paint::plain;

    fn revision(data: serde_json::Value) -> Revision {
        let entries = data.as_object().unwrap().iter();
        let entries = entries.map(|(key, value)| (key.clone(), Entry::of(value.as_str().unwrap().as_bytes())));
        Revision {
            number: Some(1),
            suffix: Some("aaaa".to_owned()),
            name: String::new(),
            at: None,
            author: String::new(),
            live: false,
            entries: entries.collect(),
        }
    }

    fn check(source: &str, old: serde_json::Value, new: serde_json::Value, expected: &str) {
        let text = plain(&text(&source.parse().unwrap(), &revision(old), &revision(new)));
        let body: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(body.join("\n"), expected);
    }

    #[test]
    fn lines_are_compared_key_by_key() {
        let old = json!({"app.conf": "a\nb\nc\n", "gone": "x"});
        let new = json!({"app.conf": "a\nB\nc\n", "same": ""});
        let expected = "@@ app.conf changed @@\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n@@ gone removed @@\n@@ -1 +0,0 @@\n-x\n\
                        \\ No newline at end of file\n@@ same added @@";
        check("cm/web", old, new, expected);
        check("cm/web", json!({"a": "x"}), json!({"a": "x"}), "nothing differs");
    }

    #[test]
    fn of_a_secret_only_keys_are_shown() {
        check(
            "secret/db",
            json!({"p": "hunter2", "q": "x"}),
            json!({"p": "hunter3"}),
            "@@ p changed @@\n@@ q removed @@",
        );
    }
}
