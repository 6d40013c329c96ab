//! What managers asked for, as the API server recorded it, and what they may ask for, as their roles say.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// Group, resource (with the subresource) and verb.
pub type Right = (String, String, String);

/// What the accounts of one namespace asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// What their roles allowed, and was asked for.
    pub used: BTreeSet<Right>,
    /// What was refused, by their roles or by the API server's own rules, in words.
    pub refused: BTreeSet<String>,
}

impl Asked {
    /// Reads the audit log.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn read(log: &Path, namespace: &str) -> Result<Self> {
        let mut asked = Self::default();
        let text = std::fs::read(log).context("no audit log")?;
        let user = format!("system:serviceaccount:{namespace}:{namespace}-manager-");
        for line in String::from_utf8_lossy(&text).lines() {
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            if event["user"]["username"].as_str().is_some_and(|name| name.starts_with(&user)) {
                asked.take(&event, namespace);
            }
        }
        Ok(asked)
    }

    fn take(&mut self, event: &Value, namespace: &str) {
        let of = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let resource = match of("/objectRef/subresource") {
            "" => of("/objectRef/resource").to_owned(),
            subresource => format!("{}/{subresource}", of("/objectRef/resource")),
        };
        if event.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(403) {
            let (verb, group, why) = (of("/verb"), of("/objectRef/apiGroup"), of("/responseStatus/message"));
            self.refused.insert(format!("{verb} {resource}.{group}: {why}"));
        }
        // What everybody may do is not by our roles.
        let reason = event["annotations"]["authorization.k8s.io/reason"].as_str().unwrap_or_default();
        if reason.contains(&format!("{namespace}-manager-")) {
            self.used.insert((of("/objectRef/apiGroup").to_owned(), resource, of("/verb").to_owned()));
        }
    }
}

/// What roles among these objects grant.
pub fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let list = |rule: &Value, field: &str| -> Vec<String> {
        let texts = rule[field].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut all = BTreeSet::new();
    for rule in objects.iter().filter_map(|object| object["rules"].as_array()).flatten() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                all.extend(list(rule, "verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    all
}
