//! What is checked, and what is found. Not how.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a ConfigMap or a Secret holds. Its `Debug` shows no value.
#[derive(Clone, Default)]
pub struct SourceData {
    /// Its name, for people: `cm/web`, `secret/tls`.
    pub source: String,
    /// Its values by key, `binaryData` included, and decoded where they were in base64.
    pub data: BTreeMap<String, Bytes>,
    /// Whether nothing of the values may be told.
    pub secret: bool,
}

impl fmt::Debug for SourceData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.data.keys().collect();
        f.debug_struct("SourceData").field("source", &self.source).field("keys", &keys).finish_non_exhaustive()
    }
}

/// A value that is not as a rule asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The key.
    pub key: String,
    /// The line of the value, from 1, where it is known; never of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The rule.
    pub rule: String,
    /// What is wrong, in one sentence of at most 512 characters. Of a Secret, only the rule's own message.
    pub message: String,
}

/// The longest message, in characters.
const MESSAGE: usize = 512;

/// One line of a text, and not too much of it.
pub(crate) fn sentence(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match line.char_indices().nth(MESSAGE - 1) {
        None => line.to_owned(),
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}
