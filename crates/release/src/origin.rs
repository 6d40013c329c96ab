//! Where the request in a plan comes from, as the API server recorded it: from the manifest that the plan was made of, or from
//! somebody who asks. Not what is done about it.

use jiff::Timestamp;
use serde_json::Value;
use trimtab_crds::names;

/// Whether the request in an object came with the manifest that the object was made of, and nobody has written it since.
///
/// A manifest that was exported holds the last request for ever. Who wrote what, and when, is in `managedFields`: whoever wrote
/// the request in the second of the creation, and the target with it, wrote a whole manifest. One that keeps its
/// `managedFields` names times before the object was there.
pub(crate) fn came_with_manifest(object: &Value) -> bool {
    let created = time(object.pointer("/metadata/creationTimestamp"));
    let request = format!("f:{}", names::REQUEST);
    let is_made = |entry: &Value| {
        let written = time(entry.get("time"));
        written < created || (written == created && owns(entry, &["f:spec", "f:targetRef"]))
    };
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let entries = entries.into_iter().flatten();
    let mut wrote = entries.filter(|entry| owns(entry, &["f:metadata", "f:annotations", &request])).peekable();
    wrote.peek().is_some() && wrote.all(is_made)
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

/// Whether a manager owns a field.
fn owns(entry: &Value, path: &[&str]) -> bool {
    path.iter().try_fold(&entry["fieldsV1"], |fields, name| fields.get(name)).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const AT: &str = "2026-01-01T00:01:00Z";
    const AFTER: &str = "2026-01-01T00:01:01Z";

    fn entry(at: &str, whole: bool, request: bool) -> Value {
        let mut fields = json!({"f:metadata": {"f:annotations": {".": {}, "f:team": {}}}});
        if request {
            fields["f:metadata"]["f:annotations"]["f:trimtab.dev/request"] = json!({});
        }
        if whole {
            fields["f:spec"] = json!({"f:targetRef": {".": {}, "f:name": {}}});
        }
        json!({"manager": "somebody", "operation": "Update", "time": at, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn check(entries: Value, expected: bool) {
        let object = json!({"metadata": {"creationTimestamp": AT, "managedFields": entries}});
        assert_eq!(came_with_manifest(&object), expected, "{object}");
    }

    #[test]
    fn only_what_was_written_after_the_manifest_is_a_request() {
        // Created with it, whether it was written before or not.
        check(json!([entry(AT, true, true)]), true);
        check(json!([entry(BEFORE, false, true), entry(AT, true, true)]), true);
        check(json!([entry(BEFORE, false, true), entry(AT, true, false)]), true);
        // Asked for: in the same second, later, and by the same manifest when it was applied again.
        check(json!([entry(AT, true, false), entry(AT, false, true)]), false);
        check(json!([entry(AT, true, false), entry(AFTER, false, true)]), false);
        check(json!([entry(AFTER, true, true)]), false);
        check(json!([entry(AT, true, true), entry(AFTER, false, true)]), false);
        // Nothing is known of it.
        check(json!([entry(AT, true, false)]), false);
        check(json!([]), false);
        check(json!("odd"), false);
        check(json!([1, {"fieldsV1": null}, {"fieldsV1": {"f:metadata": 7}}]), false);
    }
}
