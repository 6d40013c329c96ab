//! `ConfigPolicy`: what ConfigMaps and Secrets must satisfy before any pod of a managed workload reads them. Only its shape,
//! and which objects and keys it is about; the checks are made by `trimtab-validate`. It has no status: what is refused is
//! said by the ReleasePlans that do not release it.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trimtab_plan::TextMap;

use crate::ConfigKind;

/// What ConfigMaps and Secrets must satisfy before any pod of a managed workload reads them.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[expect(clippy::duplicated_attributes, reason = "each column is an attribute of its own and has a type")]
#[kube(
    group = "trimtab.dev",
    version = "v1alpha1",
    kind = "ConfigPolicy",
    plural = "configpolicies",
    shortname = "cpol",
    category = "trimtab",
    namespaced,
    derive = "PartialEq",
    doc = "What ConfigMaps and Secrets must satisfy before any pod of a managed workload reads them.",
    printcolumn(json_path = ".spec.selector.names", name = "Names", type_ = "string"),
    printcolumn(json_path = ".spec.rules[*].name", name = "Rules", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date")
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPolicySpec {
    /// The objects that the policy is about, in its own namespace; all ConfigMaps if it says nothing.
    #[serde(default)]
    pub selector: ConfigSelector,
    /// What their values must satisfy. A value must satisfy every rule that names its key.
    #[schemars(length(min = 1, max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rules: Vec<ConfigRule>,
}

/// Which objects a policy is about. What is left out selects all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSelector {
    /// The kinds.
    #[serde(default = "default_kinds")]
    #[schemars(length(min = 1, max = 2))]
    pub kinds: Vec<ConfigKind>,
    /// The names, of which one must fit. `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// Labels that the object must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub match_labels: BTreeMap<String, String>,
}

fn default_kinds() -> Vec<ConfigKind> {
    vec![ConfigKind::ConfigMap]
}

impl Default for ConfigSelector {
    fn default() -> Self {
        Self { kinds: default_kinds(), names: vec![], match_labels: BTreeMap::new() }
    }
}

/// What values must satisfy; at least one of `format`, `pattern` and `cel`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.format) || has(self.pattern) || has(self.cel)").message(
    "a rule asks for something: give it at least one of format, pattern and cel"
))]
#[x_kube(validation = Rule::new("!has(self.schema) || has(self.format)").message(
    "a schema is about a value that was read: say by format how it is read, for example format: Yaml"
))]
pub struct ConfigRule {
    /// The rule's name, which findings give.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The keys whose values it is about. `*` stands for any characters.
    #[serde(default = "default_keys")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 253)))]
    pub keys: Vec<String>,
    /// The value can be read as this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ConfigFormat>,
    /// A JSON Schema that the value, once read, is valid against. A `$ref` stays inside the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub schema: Option<Value>,
    /// A regular expression that the whole value matches (RE2 syntax, no look-around).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub pattern: Option<String>,
    /// A CEL expression that is true. It knows `value` (as read by `format`, else the text), `text`, `old` (the value
    /// before, or null) and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub cel: Option<String>,
    /// What a finding of this rule says, instead of what was found. Never put anything secret here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub message: Option<String>,
}

fn default_keys() -> Vec<String> {
    vec!["*".to_owned()]
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "description": "A JSON Schema that the value, once read, is valid against. A `$ref` stays inside the schema."
    })
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigFormat {
    /// One JSON document.
    Json,
    /// YAML 1.2, one document or several; every one must satisfy the rule.
    Yaml,
    /// TOML 1.0.
    Toml,
    /// Java properties: a map of names and texts.
    Properties,
}

impl ConfigPolicySpec {
    /// Whether the policy is about an object of its namespace.
    pub fn selects(&self, kind: ConfigKind, name: &str, labels: &TextMap) -> bool {
        let labelled = |(label, value): (&String, &String)| labels.get(label) == Some(value.as_str());
        self.may_select(kind, name) && self.selector.match_labels.iter().all(labelled)
    }

    /// Whether the policy is about an object of this name, if it has the labels.
    pub fn may_select(&self, kind: ConfigKind, name: &str) -> bool {
        let ConfigSelector { kinds, names, .. } = &self.selector;
        kinds.contains(&kind) && (names.is_empty() || names.iter().any(|pattern| glob(pattern, name)))
    }
}

impl ConfigRule {
    /// Whether the rule is about the value of a key.
    pub fn covers(&self, key: &str) -> bool {
        self.keys.iter().any(|pattern| glob(pattern, key))
    }
}

/// Whether a pattern in which `*` stands for any characters fits a whole text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some(at) = left.find(part) else { return false };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn globs_fit_the_whole_name() {
        for (pattern, text, fits) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("*", "", true),
            ("web-*", "web-a", true),
            ("web-*", "a-web-", false),
            ("*.yaml", "a.yaml", true),
            ("*.yaml", ".yaml.bak", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*ä*", "xäy", true),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_selector_asks_for_all_that_it_names() {
        let policy = |selector: Value| -> ConfigPolicySpec {
            serde_json::from_value(json!({"selector": selector, "rules": []})).unwrap()
        };
        let labels = TextMap::from([("app", "web")]);
        for (selector, kind, selects) in [
            (json!({}), ConfigKind::ConfigMap, true),
            (json!({}), ConfigKind::Secret, false),
            (json!({"kinds": ["Secret"]}), ConfigKind::Secret, true),
            (json!({"names": ["a", "web-*"]}), ConfigKind::ConfigMap, true),
            (json!({"names": ["a"]}), ConfigKind::ConfigMap, false),
            (json!({"matchLabels": {"app": "web"}}), ConfigKind::ConfigMap, true),
            (json!({"matchLabels": {"app": "db"}}), ConfigKind::ConfigMap, false),
            (json!({"names": ["web-*"], "matchLabels": {"x": "y"}}), ConfigKind::ConfigMap, false),
        ] {
            assert_eq!(policy(selector.clone()).selects(kind, "web-1", &labels), selects, "{selector}");
        }
    }
}
