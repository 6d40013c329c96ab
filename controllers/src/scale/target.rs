//! What a target is called in indexes. Not what it is.

use trimtab_crds::ScaleTargetRef;
use trimtab_plan::{Kind, Meta};

/// A target as the stores index it: kinds are told apart by group and kind, whatever their version.
pub(super) fn target_id(namespace: &str, target: &ScaleTargetRef) -> String {
    let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
    id(namespace, group, &target.kind, &target.name)
}

pub(super) fn id(namespace: &str, group: &str, kind: &str, name: &str) -> String {
    format!("{group}/{kind}/{namespace}/{name}")
}

pub(super) fn id_of(kind: Kind, meta: &Meta) -> String {
    id(&meta.namespace, kind.group, kind.kind, &meta.name)
}
