//! The identity of a revision: a digest of its pod template as canonical JSON, with the algorithm's id in front.
//!
//! The template is taken as the API server stores it, never through typed structs, so that a newer Kubernetes library
//! in this program changes nothing. Golden vectors in the tests hold the algorithm still: a new one gets a new id, and
//! the old ones stay.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use trimtab_crds::names::{self, POD_TEMPLATE_HASH};

/// Letters of Kubernetes' safe encoding: no vowels, so no words by accident, and no `t`.
const SAFE: &[u8] = b"bcdfghjklmnpqrsvwxz2456789";

/// Digest of a pod template: `v1:` and 40 hexadecimal digits. The label that Kubernetes adds to a ReplicaSet's
/// template does not count, nor do nulls.
pub fn template_digest(template: &Value) -> String {
    let mut text = String::new();
    canonical(template, &mut vec![], &mut text);
    format!("v1:{}", short_hex(text.as_bytes(), 20))
}

/// Digest of a pod template without its pins: that of a template which never had any.
pub fn bare_digest(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        let left = metadata.get_mut("annotations").and_then(Value::as_object_mut).map(|annotations| {
            annotations.remove(names::CONFIG);
            annotations.len()
        });
        if left == Some(0) {
            metadata.remove("annotations");
        }
    }
    template_digest(&template)
}

/// Digest of any serialized value, as [`template_digest`] makes it.
pub fn value_digest(value: &Value) -> String {
    template_digest(value)
}

/// The `pod-template-hash` of our own ReplicaSets: `t` and nine safe letters. Kubernetes' own hashes never hold a `t`,
/// so the names of our ReplicaSets never meet a Deployment's.
pub fn hash_label(digest: &str) -> String {
    let hash = Sha256::digest(digest.as_bytes());
    let mut label = "t".to_owned();
    label.extend(hash.iter().take(9).map(|byte| char::from(SAFE[usize::from(*byte) % SAFE.len()])));
    label
}

fn short_hex(bytes: &[u8], length: usize) -> String {
    Sha256::digest(bytes).iter().take(length).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Keys sorted by their bytes, no white space, nulls left out, strings as JSON writes them.
fn canonical<'a>(value: &'a Value, path: &mut Vec<&'a str>, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
            keys.sort_unstable();
            out.push('{');
            let mut first = true;
            for key in keys {
                if key == POD_TEMPLATE_HASH && path.as_slice() == ["metadata", "labels"] {
                    continue;
                }
                if !first {
                    out.push(',');
                }
                first = false;
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                path.push(key);
                canonical(&map[key], path, out);
                path.pop();
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                path.push("[]");
                canonical(item, path, out);
                path.pop();
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_of_a_template_never_changes() {
        let template = json!({
            "metadata": {"creationTimestamp": null, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1", "env": [{"name": "A", "value": "ü\n\"x\""}]}],
                     "terminationGracePeriodSeconds": 30, "futureField": {"b": true, "a": 1.5}}
        });
        assert_eq!(template_digest(&template), "v1:79e6576be7946dd7f6d009a430dcb0fd005f015e");
        assert_eq!(hash_label(&template_digest(&template)), "t5k77vf6zm");
        assert_eq!(template_digest(&json!({})), "v1:44136fa355b3678a1146ad16f7e8649e94fb4fc2");
    }

    #[test]
    fn the_hash_label_and_the_order_of_keys_do_not_count() {
        let a = json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}}, "spec": {"a": 1, "b": 2}});
        let b = json!({"spec": {"b": 2, "a": 1, "c": null}, "metadata": {"labels": {"app": "web"}}});
        assert_eq!(template_digest(&a), template_digest(&b));
        let elsewhere = json!({"spec": {"labels": {"pod-template-hash": "x"}}});
        assert_ne!(template_digest(&elsewhere), template_digest(&json!({"spec": {"labels": {}}})));
    }
}
