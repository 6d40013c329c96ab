//! How a notice looks as an `events.k8s.io/v1` Event: names and texts within the limits that the server enforces.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use trimtab_plan::ObjectRef;

use super::series::{Key, Series};

const MOST_CODE_BYTES: usize = 128;
const MOST_NAME_BYTES: usize = 253;

/// Events about objects without a namespace are in this one.
const DEFAULT_NAMESPACE: &str = "default";

/// The namespace of an event about an object.
pub(super) fn namespace(about: &ObjectRef) -> &str {
    if about.namespace.is_empty() { DEFAULT_NAMESPACE } else { &about.namespace }
}

/// A name like client-go's: the object's and a number, of which the time makes a good one.
pub(super) fn name(about: &ObjectRef, number: u64) -> String {
    let suffix = format!(".{number:x}");
    // Some objects have names that others must not have, for example `system:node`.
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let lower = about.name.to_ascii_lowercase();
    let base: String = lower.chars().map(|c| if valid(c) { c } else { '-' }).collect();
    let base = truncated(&base, MOST_NAME_BYTES - suffix.len()).trim_matches(['-', '.']);
    format!("{}{suffix}", if base.is_empty() { "object" } else { base })
}

/// The event of a notice; with `series` if it was said more than once.
pub(super) fn event(key: &Key, name: &str, instance: &str, first: Timestamp, series: Option<&Series>) -> Event {
    let namespace = namespace(&key.about).to_owned();
    let action = if key.action.is_empty() { key.reason } else { key.action };
    Event {
        metadata: ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace), ..ObjectMeta::default() },
        event_time: Some(MicroTime(first)),
        reporting_controller: Some(format!("trimtab.dev/{}", key.controller)),
        reporting_instance: Some(truncated(instance, MOST_CODE_BYTES).to_owned()),
        type_: Some(if key.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(truncated(key.reason, MOST_CODE_BYTES).to_owned()),
        action: Some(truncated(action, MOST_CODE_BYTES).to_owned()),
        note: Some(key.note.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(key.about.kind.api_version()),
            kind: Some(key.about.kind.kind.to_owned()),
            namespace: Some(key.about.namespace.clone()).filter(|ns| !ns.is_empty()),
            name: Some(key.about.name.clone()),
            uid: Some(key.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        }),
        series: series
            .filter(|series| series.count > 1)
            .map(|series| EventSeries { count: series.count, last_observed_time: MicroTime(series.last) }),
        ..Event::default()
    }
}

/// At most so many bytes, without cutting a character.
fn truncated(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use trimtab_plan::{Kind, Notice, Severity};

    use super::*;

    const NODE: Kind = Kind::cluster("", "v1", "Node", "nodes");

    fn key(note: String) -> Key {
        let notice = Notice {
            about: NODE.object("", "n1"),
            uid: "u".to_owned(),
            severity: Severity::Warning,
            reason: "Drained",
            action: "",
            note,
        };
        Key::of("rollout", notice)
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let event = event(&key("ä".repeat(600)), "n", "me", Timestamp::UNIX_EPOCH, None);
        let note = event.note.unwrap();
        assert!(note.len() <= 1024 && note.len() > 1018 && note.ends_with("ä…"), "{} bytes", note.len());
    }

    #[test]
    fn what_has_no_namespace_reports_into_default() {
        let event = event(&key("x".to_owned()), "n", "me", Timestamp::UNIX_EPOCH, None);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.regarding.unwrap().namespace, None);
        assert_eq!(event.action.as_deref(), Some("Drained"), "an event must have an action");
        assert_eq!(event.reporting_controller.as_deref(), Some("trimtab.dev/rollout"));
    }

    #[test]
    fn names_are_valid_whatever_the_object_is_called() {
        assert_eq!(name(&NODE.object("", "web"), 255), "web.ff");
        assert_eq!(name(&NODE.object("", "System:Node"), 1), "system-node.1");
        assert_eq!(name(&NODE.object("", "::"), 1), "object.1");
        assert_eq!(name(&NODE.object("", &"a".repeat(300)), u64::MAX).len(), 253);
    }
}
