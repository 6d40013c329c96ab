//! What a controller watches: projections of kinds, with the metadata that every one has. Not how they are watched.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{Kind, ObjectRef, OwnerRef, TextMap, text_map};

/// A projection of a kind: only the fields that a decision reads. It is deserialized straight from the watch stream,
/// and whatever it does not name is skipped while it streams in.
pub trait Watched: DeserializeOwned + Send + Sync + 'static {
    /// The kind that it is a projection of.
    const KIND: Kind;
    /// The most bytes of JSON of one object. A larger one counts as one that cannot be read, before it takes memory: for kinds
    /// that people write freely, and where whoever it concerns is told of what cannot be read.
    const LARGEST: usize = usize::MAX;

    /// Its metadata.
    fn meta(&self) -> &Meta;
}

/// An object's metadata, reduced to what decisions use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace; empty for kinds without namespaces.
    pub namespace: String,
    /// Uid.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Generation of the spec; 0 for kinds that have none.
    pub generation: i64,
    /// When the object was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// When its deletion was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Labels.
    #[serde(skip_serializing_if = "TextMap::is_empty")]
    pub labels: TextMap,
    /// Annotations, without kubectl's copy of the whole object as it was last applied: large, and never read.
    #[serde(skip_serializing_if = "TextMap::is_empty", deserialize_with = "deserialize_annotations")]
    pub annotations: TextMap,
    /// Owners.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "deserialize_exact")]
    pub owner_references: Vec<OwnerRef>,
}

impl Meta {
    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name)
    }

    /// This object of `kind`.
    pub fn object(&self, kind: Kind) -> ObjectRef {
        kind.object(&self.namespace, &self.name)
    }
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Reads annotations as [`Meta`] keeps them: for projections that read their metadata themselves.
///
/// # Errors
///
/// If they are no map of texts.
pub fn deserialize_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TextMap, D::Error> {
    text_map::deserialize_without(deserializer, |name| name == LAST_APPLIED)
}

/// Reads a list and keeps no room for more: a list that is read grows to four items at once, and most in stores have one.
fn deserialize_exact<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let mut list = Vec::deserialize(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_that_kubectl_keeps_is_not_kept_here() {
        let json =
            format!(r#"{{"name":"a","annotations":{{"{LAST_APPLIED}":"{{}}","x":"y"}},"managedFields":[{{}}]}}"#);
        let meta: Meta = serde_json::from_str(&json).unwrap();
        assert_eq!(meta.annotations, TextMap::from([("x", "y")]));
        let none: Meta = serde_json::from_str(r#"{"annotations":null}"#).unwrap();
        assert!(none.annotations.is_empty());
    }
}
