//! What a ConfigMap or a Secret holds, as a digest that is made while it streams in. The values themselves are dropped.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::SourceKind;

/// What an object holds: equal digests mean equal data, to the byte.
///
/// The digest is of secret data too, so it must not leave the process as it is: see `Object::revision`.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    digest: [u8; 32],
    /// The digest that Reloader has of the same object.
    reloader: [u8; 20],
    /// Hashes of the keys, sorted: enough to tell whether a key is there.
    keys: Box<[u64]>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Content {
    /// The digest of an object with these parts. The order of keys does not count; the part that a key stands in does.
    pub(crate) fn of(kind: SourceKind, mut data: Entries, mut binary_data: Entries) -> Self {
        let mut plain = mem::take(&mut data.plain);
        plain.append(&mut binary_data.plain);
        let mut hash = Sha256::new();
        let mut keys: Vec<u64> = data.keys.into_iter().chain(binary_data.keys).collect();
        keys.sort_unstable();
        for (part, mut digests) in [(b'd', data.digests), (b'b', binary_data.digests)] {
            // Each digest is of a key and its value, and keys do not repeat: sorted, they are the set of entries.
            digests.sort_unstable();
            hash.update([part]);
            hash.update((digests.len() as u64).to_le_bytes());
            digests.iter().for_each(|digest| hash.update(digest));
        }
        Self { digest: hash.finalize().into(), reloader: reloader_digest(kind, plain), keys: keys.into() }
    }

    /// The digest. Never to be shown where it is of a Secret.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The digest that Reloader 1.x has of the object: SHA-1, not injective, and of secret data too. It is for recognising
    /// what Reloader wrote, and must not be shown where it is of a Secret.
    pub(crate) fn reloader_digest(&self) -> &[u8; 20] {
        &self.reloader
    }

    /// Whether there is an entry of this name.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.binary_search(&key_hash(key)).is_ok()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// SHA-1 of the sorted `key=value` joined by semicolons. Values of Secrets are decoded, those of `binaryData` are not.
fn reloader_digest(kind: SourceKind, mut plain: Vec<Entry>) -> [u8; 20] {
    if kind == SourceKind::Secret {
        for entry in &mut plain {
            // What is no base64 is no Secret that the API server would have let in.
            let value = BASE64.decode(entry.text.get(entry.value..).unwrap_or_default()).unwrap_or_default();
            entry.text.truncate(entry.value);
            entry.text.extend(value);
        }
    }
    plain.sort_unstable_by(|a, b| a.text.cmp(&b.text));
    let mut hash = Sha1::new();
    for (index, entry) in plain.iter().enumerate() {
        hash.update(if index == 0 { "" } else { ";" });
        hash.update(&entry.text);
    }
    hash.finalize().into()
}

fn key_hash(key: &str) -> u64 {
    // Of fixed keys, and only ever compared inside one process.
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The entries of one part, `data` or `binaryData`.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    digests: Vec<[u8; 32]>,
    keys: Vec<u64>,
    /// Until the digests are made, which need them sorted.
    plain: Vec<Entry>,
}

/// `key=value`, and where the value begins.
struct Entry {
    text: Vec<u8>,
    value: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of keys and values")
    }

    fn visit_unit<E>(self) -> Result<Entries, E> {
        Ok(Entries::default())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let mut entries = Entries::default();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let (digest, plain) = map.next_value_seed(Value { key: &key })?;
            entries.digests.push(digest);
            entries.plain.push(plain);
            entries.keys.push(key_hash(&key));
        }
        Ok(entries)
    }
}

/// Reads a value into the digests of its entry.
struct Value<'k> {
    key: &'k str,
}

impl Value<'_> {
    fn entry(&self, value: &str) -> ([u8; 32], Entry) {
        // The length keeps key and value apart: {"a": "bc"} is not {"ab": "c"}.
        let hash = Sha256::new().chain_update((self.key.len() as u64).to_le_bytes());
        let digest = hash.chain_update(self.key).chain_update(value).finalize().into();
        let text = [self.key.as_bytes(), b"=", value.as_bytes()].concat();
        (digest, Entry { text, value: self.key.len() + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ([u8; 32], Entry);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Value<'_> {
    type Value = ([u8; 32], Entry);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.entry(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.entry(""))
    }
}
