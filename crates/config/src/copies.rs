//! Copies of sources: how one is made, and whom it belongs to. When, and of which revision, is decided elsewhere.

use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_plan::{PatchOp, Verb, Write};

use crate::{DigestKey, Known, Object, Pin, Source};

/// Makes the copy that a pin names, of the live object; nothing if it is there.
pub fn copy<O: AsRef<Object>>(
    source: &Source,
    pin: &Pin,
    known: &Known<O>,
    namespace: &str,
    owner: Value,
    key: &DigestKey,
) -> Option<Write> {
    let name = pin.copy_name(source);
    let there = known.copies.iter().any(|copy| copy.as_ref().metadata.name == name);
    let (Pin::Revision(_), Some(live), false) = (pin, known.live.as_ref().map(AsRef::as_ref), there) else {
        return None;
    };
    let number = |copy: &O| copy.as_ref().metadata.annotation(names::CONFIG_REVISION)?.parse::<u64>().ok();
    let number = known.copies.iter().filter_map(number).max().unwrap_or(0) + 1;
    let author = live.author.as_ref().map_or("unknown", |author| author.manager.as_ref());
    let body = json!({
        "metadata": {
            "labels": {names::COPY_LABEL: "true", "app.kubernetes.io/managed-by": "trimtab"},
            "annotations": {
                names::COPY_OF: source.to_string(),
                names::DIGEST: live.revision(key.bytes()),
                names::CONFIG_REVISION: number.to_string(),
                names::CONFIG_AUTHOR: author,
            },
            "ownerReferences": [owner],
        },
        "immutable": true,
    });
    let verb = Verb::CopyFrom {
        source: source.object(namespace),
        uid: live.metadata.uid.clone(),
        resource_version: live.metadata.resource_version.clone(),
        fields: vec!["type", "data", "binaryData"],
        body,
    };
    let target = source.kind.kind().object(namespace, &name);
    Some(Write { target, verb, why: format!("keep revision {number} of {source} for its pods") })
}

/// Sets the owners of a copy that are one workload's (`ours` are the uids of its objects), and leaves others'. A copy
/// that nothing names any more is deleted. `None` if all is as it is to be.
pub fn own(copy: &Object, source: &Source, owners: Vec<Value>, ours: &[&str]) -> Option<Write> {
    let existing = &copy.metadata.owner_references;
    let known = |owner: &Value| existing.iter().any(|old| owner["uid"] == *old.uid);
    let kept = |uid: &str| !ours.contains(&uid) || owners.iter().any(|owner| owner["uid"] == *uid);
    if owners.iter().all(known) && existing.iter().all(|old| kept(&old.uid)) {
        return None;
    }
    let target = source.kind.kind().object(&copy.metadata.namespace, &copy.metadata.name);
    let foreign = existing.iter().filter(|old| !ours.contains(&old.uid.as_str())).map(|old| {
        let version = if old.group == names::GROUP { names::VERSION } else { "v1" };
        let api_version = if old.group.is_empty() { version.to_owned() } else { format!("{}/{version}", old.group) };
        json!({"apiVersion": api_version, "kind": old.kind, "name": old.name, "uid": old.uid})
    });
    let all: Vec<Value> = foreign.chain(owners).collect();
    if all.is_empty() {
        return Some(Write::delete(target, &copy.metadata.uid, "nothing names this copy any more"));
    }
    let ops = vec![
        PatchOp::test("/metadata/uid", copy.metadata.uid.clone()),
        PatchOp::test("/metadata/resourceVersion", copy.metadata.resource_version.clone()),
        PatchOp::add("/metadata/ownerReferences", all),
    ];
    Some(Write::patch(target, ops, "let the copy go when nothing names it any more"))
}
