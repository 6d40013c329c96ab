//! What the server dropped of a status: a CRD that is older than the program prunes the fields it does not know, and
//! says nothing. A decision that needs them then repeats for ever, so it is told here. Not the mending of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use trimtab_plan::Kind;

/// What was told already; shared by all controllers of a process.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<BTreeSet<(&'static str, String)>>>);

impl Told {
    /// Whether this is news.
    fn first(&self, kind: &Kind, path: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((kind.kind, path.to_owned()))
    }

    /// What to say of a status that was sent, given the server's answer; logged the first time.
    pub(super) fn check(&self, kind: &Kind, sent: &Value, answer: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            status: Value,
        }
        // An answer that cannot be read says nothing about what was stored.
        let Answer { status } = serde_json::from_slice(answer).ok()?;
        let mut path = "status".to_owned();
        if !lacks(sent, &status, &mut path) {
            return None;
        }
        let crd = format!("{}.{}", kind.plural, kind.group);
        let text = format!("the server drops {path}: the CRD {crd} is older than this program: apply crds/");
        if self.first(kind, &path) {
            tracing::warn!(kind = kind.kind, field = path, "{text}");
        }
        Some(text)
    }
}

/// Whether something that was sent is missing; `path` is then where.
fn lacks(sent: &Value, stored: &Value, path: &mut String) -> bool {
    let length = path.len();
    let mut inside = |part: &str, sent: &Value, stored: Option<&Value>| {
        path.push_str(part);
        // A null is as good as nothing, and the server may make it that.
        let lacking = !sent.is_null() && stored.is_none_or(|stored| lacks(sent, stored, path));
        if !lacking {
            path.truncate(length);
        }
        lacking
    };
    match sent {
        Value::Object(fields) => {
            fields.iter().any(|(name, sent)| inside(&format!(".{name}"), sent, stored.get(name.as_str())))
        }
        Value::Array(items) => items.iter().enumerate().any(|(i, sent)| inside(&format!("[{i}]"), sent, stored.get(i))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(sent: &Value, stored: &Value) -> Option<String> {
        let mut path = String::new();
        lacks(sent, stored, &mut path).then_some(path)
    }

    #[test]
    fn only_what_is_missing_counts() {
        let sent = json!({ "a": 1, "b": [{ "c": 1, "d": null }], "e": {} });
        assert_eq!(missing(&sent, &sent), None);
        assert_eq!(missing(&sent, &json!({ "a": 2, "b": [{ "c": "x" }], "e": { "new": 1 }, "more": 1 })), None);
        assert_eq!(missing(&sent, &json!({ "a": 1, "b": [{}], "e": {} })).as_deref(), Some(".b[0].c"));
        assert_eq!(missing(&sent, &json!({ "a": 1, "b": [{ "c": 1 }] })).as_deref(), Some(".e"));
        assert_eq!(missing(&json!({ "a": 1 }), &Value::Null).as_deref(), Some(".a"));
    }

    #[test]
    fn it_is_told_once_for_each_field() {
        let kind = Kind::namespaced("trimtab.dev", "v1", "Release", "releases");
        let (told, sent) = (Told::default(), json!({ "a": { "b": 1 } }));
        let said = told.check(&kind, &sent, br#"{"status":{"a":{}}}"#).unwrap();
        assert_eq!(
            said,
            "the server drops status.a.b: the CRD releases.trimtab.dev is older than this program: apply crds/"
        );
        assert!(!told.first(&kind, "status.a.b") && told.first(&kind, "status.c"));
        assert_eq!(told.check(&kind, &sent, br#"{"status":{"a":{"b":1}}}"#), None);
        assert_eq!(told.check(&kind, &sent, b"no json"), None);
    }
}
