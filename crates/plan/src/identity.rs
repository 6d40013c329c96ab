//! Names of things on the API server: kinds, objects, owners. Not their contents.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

/// A kind of object as the API server serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version inside the group, for example `v1`.
    pub version: &'static str,
    /// The name in `kind:`, for example `Deployment`.
    pub kind: &'static str,
    /// The lower-case plural in URLs, for example `deployments`.
    pub plural: &'static str,
    /// Whether objects of this kind live in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// A kind whose objects live in namespaces.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self { group, version, kind, plural, namespaced: true }
    }

    /// A kind whose objects do not live in namespaces.
    pub const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { group, version, kind, plural, namespaced: false }
    }

    /// A kind whose name was learnt from a server: the texts are kept for good, each once, so no more kinds may be made so
    /// than a cluster has.
    pub fn interned(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        Self { group: kept(group), version: kept(version), kind: kept(kind), plural: kept(plural), namespaced }
    }

    /// `apiVersion` as objects carry it: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The object `name` of this kind in `namespace` (ignored for kinds without namespaces).
    pub fn object(&self, namespace: &str, name: &str) -> ObjectRef {
        let namespace = if self.namespaced { namespace.to_owned() } else { String::new() };
        ObjectRef { kind: *self, namespace, name: name.to_owned() }
    }
}

/// The same text, kept for good.
fn kept(text: &str) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(text) {
        return known;
    }
    let new: &'static str = Box::leak(text.to_owned().into_boxed_str());
    all.insert(new);
    new
}

/// One object on the API server, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds without namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.kind;
        if self.namespace.is_empty() {
            write!(f, "{kind} {}", self.name)
        } else {
            write!(f, "{kind} {}/{}", self.namespace, self.name)
        }
    }
}

/// An owner reference, reduced to what decisions use. Owners are compared by group and kind, never by version, so
/// that children of an older API version keep their owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRef {
    /// API group of the owner; empty for the core group.
    #[serde(rename(deserialize = "apiVersion"), deserialize_with = "group_of")]
    pub group: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the same namespace or without one.
    pub name: String,
    /// Uid of the owner.
    pub uid: String,
    /// Whether this owner is the managing controller.
    #[serde(default)]
    pub controller: bool,
}

impl OwnerRef {
    /// Whether the owner is of this kind, whatever its version.
    pub fn is(&self, kind: &Kind) -> bool {
        self.group == kind.group && self.kind == kind.kind
    }
}

fn group_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let api_version = String::deserialize(deserializer)?;
    Ok(api_version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default())
}
