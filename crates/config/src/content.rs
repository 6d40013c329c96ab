//! What a ConfigMap or a Secret holds, as a digest that is made while it streams in. The values themselves are dropped.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use sha2::{Digest as _, Sha256};

/// What an object holds: equal digests mean equal data, to the byte.
///
/// The digest is of secret data too, so it must not leave the process as it is: see `Object::revision`.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    digest: [u8; 32],
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
    pub(crate) fn of(data: Entries, binary_data: Entries) -> Self {
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
        Self { digest: hash.finalize().into(), keys: keys.into() }
    }

    /// The digest. Never to be shown where it is of a Secret.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
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
            entries.digests.push(map.next_value_seed(Value { key: &key })?);
            entries.keys.push(key_hash(&key));
        }
        Ok(entries)
    }
}

/// Reads a value into the digest of its entry, without keeping it.
struct Value<'k> {
    key: &'k str,
}

impl Value<'_> {
    fn entry(&self, value: &str) -> [u8; 32] {
        // The length keeps key and value apart: {"a": "bc"} is not {"ab": "c"}.
        let hash = Sha256::new().chain_update((self.key.len() as u64).to_le_bytes());
        hash.chain_update(self.key).chain_update(value).finalize().into()
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = [u8; 32];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<[u8; 32], D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Value<'_> {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, value: &str) -> Result<[u8; 32], E> {
        Ok(self.entry(value))
    }

    fn visit_unit<E>(self) -> Result<[u8; 32], E> {
        Ok(self.entry(""))
    }
}
