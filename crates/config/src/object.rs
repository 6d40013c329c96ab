//! ConfigMaps and Secrets as they are watched: metadata, who wrote the data last, and the digest of the data.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, OwnerRef, TextMap, Watched};

use crate::content::{Content, Entries};
use crate::{Pin, Source, SourceKind};

/// What ConfigMaps and Secrets have in common.
#[derive(Debug, Clone)]
pub struct Object {
    /// Metadata.
    pub metadata: Meta,
    /// Who wrote the data last.
    pub author: Option<Author>,
    /// The type of a Secret; empty for a ConfigMap.
    pub type_: Box<str>,
    /// Whether the API server refuses to change the data.
    pub immutable: bool,
    /// The data.
    pub content: Content,
    kind: SourceKind,
}

/// Who wrote data, as the API server recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Author {
    /// The field manager: the program, for example `kubectl-edit`.
    pub manager: Box<str>,
    /// When.
    pub at: Option<Timestamp>,
}

impl Object {
    /// The source that this object is.
    pub fn source(&self) -> Source {
        Source { kind: self.kind, name: self.metadata.name.clone() }
    }

    /// The source whose copy this is, if it is one: it says so in every way in which a copy does, nobody can change what it
    /// holds, and that is what its name says. Of a Secret only the digest that is noted can be compared: it was made under
    /// a key that may be lost.
    pub fn copy_of(&self) -> Option<Source> {
        let source = claimed_source(self.kind, &self.metadata).filter(|_| self.immutable)?;
        let noted = self.metadata.annotation(names::DIGEST)?;
        (self.kind == SourceKind::Secret || self.revision(&[0; 32]) == noted).then_some(source)
    }

    /// The identity of what the object holds: `v1:` and 64 hexadecimal digits; of a Secret, `k1:` and a digest under
    /// `key`, since whoever reads it could else guess short secrets.
    pub fn revision(&self, key: &[u8; 32]) -> String {
        match self.kind {
            SourceKind::ConfigMap => hex("v1:", self.content.digest()),
            SourceKind::Secret => hex("k1:", &hmac(key, self.content.digest())),
        }
    }
}

impl Object {
    /// The digest that Reloader writes for this object, 40 hexadecimal digits. Of a Secret it must not be written anywhere:
    /// whoever reads it could guess short secrets. It is for recognising what Reloader wrote.
    pub fn reloader_hash(&self) -> String {
        hex("", self.content.reloader_digest())
    }

    /// Forty hexadecimal digits to write where Reloader writes its own: the same for a ConfigMap, and for a Secret the start
    /// of its digest under `key`, which tells nobody anything.
    pub fn trigger_hash(&self, key: &[u8; 32]) -> String {
        match self.kind {
            SourceKind::ConfigMap => self.reloader_hash(),
            SourceKind::Secret => {
                let mut digits = hex("", &hmac(key, self.content.digest()));
                digits.truncate(40);
                digits
            }
        }
    }
}

/// The source of which an object says to be a copy, by its metadata: its label, what it is a copy of, and a name that goes
/// with the digest that it notes.
pub fn claimed_source(kind: SourceKind, meta: &Meta) -> Option<Source> {
    let labelled = meta.labels.get(names::COPY_LABEL).is_some_and(|value| value == "true");
    let source: Source = meta.annotation(names::COPY_OF)?.parse().ok()?;
    let suffix = meta.name.strip_prefix(&source.name)?.strip_prefix('-')?;
    let (algorithm, digits) = meta.annotation(names::DIGEST)?.split_once(':')?;
    let noted = match kind {
        SourceKind::ConfigMap => algorithm == "v1",
        SourceKind::Secret => algorithm == "k1",
    };
    let named = Pin::is_suffix(suffix) && digits.len() == 64 && digits.starts_with(suffix);
    (labelled && source.kind == kind && noted && named).then_some(source)
}

impl Serialize for Object {
    /// Only what tells one object from another: not the digest, which may be of a Secret.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shown<'a> {
            source: Source,
            uid: &'a str,
            resource_version: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            r#type: &'a str,
            keys: usize,
        }
        let (uid, resource_version) = (&self.metadata.uid, &self.metadata.resource_version);
        Shown { source: self.source(), uid, resource_version, r#type: &self.type_, keys: self.content.len() }
            .serialize(serializer)
    }
}

/// HMAC (RFC 2104) with SHA-256, of one block's key.
pub(crate) fn hmac(key: &[u8; 32], message: &[u8; 32]) -> [u8; 32] {
    let padded = |byte: u8| -> [u8; 64] { std::array::from_fn(|i| key.get(i).copied().unwrap_or(0) ^ byte) };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

pub(crate) fn hex(algorithm: &str, bytes: &[u8]) -> String {
    bytes.iter().fold(algorithm.to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    metadata: RawMeta,
    #[serde(default, rename = "type")]
    type_: Box<str>,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Entries,
    #[serde(default)]
    binary_data: Entries,
}

/// [`Meta`] with the field managers, which nothing else reads.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    labels: TextMap,
    #[serde(deserialize_with = "trimtab_plan::deserialize_annotations")]
    annotations: TextMap,
    owner_references: Option<Vec<OwnerRef>>,
    managed_fields: Option<Vec<Managed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managed {
    #[serde(default)]
    manager: Box<str>,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default, rename = "fieldsV1")]
    fields: TouchesData,
}

/// Whether a set of fields holds data.
#[derive(Default)]
struct TouchesData(bool);

impl<'de> Deserialize<'de> for TouchesData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = TouchesData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a set of fields")
            }

            fn visit_unit<E>(self) -> Result<TouchesData, E> {
                Ok(TouchesData(false))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<TouchesData, M::Error> {
                let mut touches = false;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    touches |= matches!(key.as_ref(), "f:data" | "f:binaryData" | "f:stringData");
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(TouchesData(touches))
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

impl Raw {
    fn object(self, kind: SourceKind) -> Object {
        let raw = self.metadata;
        let managers = raw.managed_fields.unwrap_or_default().into_iter().filter(|managed| managed.fields.0);
        let last = managers.max_by_key(|managed| managed.time);
        let metadata = Meta {
            name: raw.name,
            namespace: raw.namespace,
            uid: raw.uid,
            resource_version: raw.resource_version,
            generation: 0,
            creation_timestamp: raw.creation_timestamp,
            deletion_timestamp: raw.deletion_timestamp,
            labels: raw.labels,
            annotations: raw.annotations,
            owner_references: raw.owner_references.unwrap_or_default(),
        };
        Object {
            metadata,
            author: last.map(|managed| Author { manager: managed.manager, at: managed.time }),
            type_: self.type_,
            immutable: self.immutable.unwrap_or(false),
            content: Content::of(kind, self.data, self.binary_data),
            kind,
        }
    }
}

macro_rules! watched {
    ($(#[$doc:meta])* $view:ident, $source:expr, $kind:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        #[serde(transparent)]
        pub struct $view(pub Object);

        impl Watched for $view {
            const KIND: Kind = $kind;

            fn meta(&self) -> &Meta {
                &self.0.metadata
            }
        }

        impl<'de> Deserialize<'de> for $view {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self(Raw::deserialize(deserializer)?.object($source)))
            }
        }
    };
}

watched!(
    /// A ConfigMap, without its data.
    ConfigMapView,
    SourceKind::ConfigMap,
    names::CONFIG_MAP
);
watched!(
    /// A Secret, without its data.
    SecretView,
    SourceKind::Secret,
    names::SECRET
);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn map(value: Value) -> Object {
        // From text, as it streams in.
        serde_json::from_str::<ConfigMapView>(&value.to_string()).unwrap().0
    }

    fn revision(value: Value) -> String {
        map(value).revision(&[0; 32])
    }

    #[test]
    fn the_revision_of_some_content_never_changes() {
        let object = json!({"metadata": {"name": "web"}, "data": {"a": "1", "b": "ü\n"}, "binaryData": {"c": "AAE="}});
        assert_eq!(revision(object), "v1:5a1d74f8fc46f17eaa7769c98633eba4cecffc7fb56103a59399dc53260ac3c4");
        assert_eq!(
            revision(json!({"metadata": {}})),
            "v1:3f3ed342fc0d9381fcacb75863b513c53a460c8be0c9d6664251c98d11e06797"
        );
    }

    #[test]
    fn different_content_differs() {
        let a = revision(json!({"data": {"a": "1;b=2"}}));
        for other in [
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"binaryData": {"a": "1;b=2"}}),
            json!({"data": {"a": "1;b=2", "b": ""}}),
            json!({"data": {"a1": ";b=2"}}),
            json!({}),
        ] {
            assert_ne!(revision(other.clone()), a, "{other}");
        }
    }

    #[test]
    fn order_and_everything_beside_the_data_do_not_count() {
        let a: ConfigMapView = serde_json::from_str(r#"{"data": {"a": "1", "b": "2"}, "metadata": {}}"#).unwrap();
        let b: ConfigMapView = serde_json::from_str(
            r#"{"metadata": {"labels": {"x": "y"}}, "binaryData": null, "data": {"b": "2", "a": "1"}}"#,
        )
        .unwrap();
        assert_eq!(a.0.content, b.0.content);
        assert!(a.0.content.has_key("a") && !a.0.content.has_key("c"));
    }

    #[test]
    fn the_author_is_who_wrote_data_last() {
        let object = map(json!({"metadata": {"name": "web", "managedFields": [
            {"manager": "helm", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {".": {}}}},
            {"manager": "kubectl-edit", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": "labeller", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:metadata": {}}}
        ]}, "data": {"a": "1"}}));
        assert_eq!(object.author.unwrap().manager.as_ref(), "kubectl-edit");
    }

    #[test]
    fn a_secret_s_revision_needs_the_key_and_shows_no_digest() {
        let text = json!({"metadata": {"name": "db"}, "type": "Opaque", "data": {"p": "aHVudGVyMg=="}}).to_string();
        let secret = serde_json::from_str::<SecretView>(&text).unwrap().0;
        assert_ne!(secret.revision(&[1; 32]), secret.revision(&[2; 32]));
        let plain = hex("", secret.content.digest());
        for shown in [format!("{secret:?}"), serde_json::to_string(&secret).unwrap(), secret.revision(&[1; 32])] {
            assert!(!shown.contains(&plain) && !shown.contains("aHVudGVyMg"), "{shown}");
        }
    }

    /// A copy of `web` as it is made, changed by one thing.
    fn copy(change: impl FnOnce(&mut Value)) -> Option<Source> {
        let data = json!({"a": "1"});
        let digest = revision(json!({"metadata": {}, "data": data}));
        let suffix: String = digest.chars().skip(3).take(10).collect();
        let mut copy = json!({
            "metadata": {"name": format!("web-{suffix}"), "labels": {names::COPY_LABEL: "true"},
                         "annotations": {names::COPY_OF: "cm/web", names::DIGEST: digest}},
            "immutable": true, "data": data,
        });
        change(&mut copy);
        map(copy).copy_of()
    }

    #[test]
    fn a_copy_is_known_by_all_that_makes_it_one() {
        let meta = |path: &'static str, value: Value| {
            copy(move |copy| {
                let (parent, name) = path.rsplit_once(' ').unwrap_or(("", path));
                copy.pointer_mut(&format!("/metadata{parent}")).unwrap()[name] = value;
            })
        };
        assert_eq!(copy(|_| {}), Some(Source::config_map("web")));
        assert_eq!(copy(|copy| copy["immutable"] = json!(false)), None, "somebody could edit it");
        assert_eq!(copy(|copy| copy["data"]["a"] = json!("2")), None, "it holds something else");
        for (path, value) in [
            ("name", json!("backup")),
            ("name", json!("web-0123456789")),
            ("name", json!("web-a")),
            ("labels", json!({})),
            ("/labels trimtab.dev/config-copy", json!("false")),
            ("/annotations trimtab.dev/copy-of", json!("cm/other")),
            ("/annotations trimtab.dev/copy-of", json!("secret/web")),
            ("/annotations trimtab.dev/digest", json!("v1:00")),
            ("/annotations trimtab.dev/digest", json!(format!("k1:{}", "0".repeat(64)))),
        ] {
            assert_eq!(meta(path, value.clone()), None, "{path} {value}");
        }
    }

    #[test]
    fn reloader_s_digest_is_recognised() {
        // printf 'a=1;b=2;c=AAE=' | sha1sum, and printf 'p=hunter2' | sha1sum
        let object = json!({"data": {"b": "2", "a": "1"}, "binaryData": {"c": "AAE="}});
        assert_eq!(map(object).reloader_hash(), "09a8b2f92f2f2f30c6d57c4a3bb4728a8700b70d");
        let secret = json!({"data": {"p": "aHVudGVyMg=="}}).to_string();
        let secret = serde_json::from_str::<SecretView>(&secret).unwrap().0;
        assert_eq!(secret.reloader_hash(), "aba9d4c760a137b47dbc5e6f32d98d1c918a8c8a");
        assert_ne!(secret.trigger_hash(&[1; 32]), "aba9d4c760a137b47dbc5e6f32d98d1c918a8c8a");
        assert_eq!(map(json!({})).reloader_hash(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    #[test]
    fn the_keyed_digest_is_hmac_sha256() {
        // RFC 4231 has no case with both sizes of 32 bytes; this one is from another implementation.
        let expected = "8ad0719ef348b8b3d9d647cf3b39d33c0656892293a9f3fc0e9e3ec6eadfefb6";
        assert_eq!(hex("", &hmac(&[0x0b; 32], &[0x61; 32])), expected);
    }
}
