//! Labels and annotations: many objects have some, hardly one ever changes them, and most of a process's memory is theirs if
//! each name and each value is an allocation of its own. Not a map to compute with: that is `BTreeMap`.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Names with texts, sorted by name, in one allocation; none where there are none.
///
/// Name, text, name, text, each behind its length.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TextMap(Box<[u8]>);

impl TextMap {
    /// The text of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Asked of every object again and again, so what is passed over is not read as text.
        let mut rest: &[u8] = &self.0;
        while let Some((own, text)) = part(&mut rest).zip(part(&mut rest)) {
            match own.cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return std::str::from_utf8(text).ok(),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// Whether there is a text of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest: &[u8] = &self.0;
        let mut text = move || std::str::from_utf8(part(&mut rest)?).ok();
        std::iter::from_fn(move || Some((text()?, text()?)))
    }

    /// The names, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one more, or with another text of a name that is there.
    #[must_use]
    pub fn with(&self, name: &str, text: &str) -> Self {
        self.iter().chain([(name, text)]).collect()
    }
}

/// Takes the first part off what is left.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(text)
}

impl fmt::Debug for TextMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>, T: AsRef<str>> FromIterator<(N, T)> for TextMap {
    /// Of several of one name, the last one counts.
    fn from_iter<I: IntoIterator<Item = (N, T)>>(entries: I) -> Self {
        let mut entries: Vec<(N, T)> = entries.into_iter().collect();
        // Stable, so the last of a name stands last among its like.
        entries.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        entries.reverse();
        entries.dedup_by(|(a, _), (b, _)| a.as_ref() == b.as_ref());
        let parts = || entries.iter().rev().flat_map(|(name, text)| [name.as_ref(), text.as_ref()]);
        let mut all = Vec::with_capacity(parts().map(|part| size_of::<u32>() + part.len()).sum());
        for part in parts() {
            // An object is of some MiB at most.
            all.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            all.extend(part.as_bytes());
        }
        Self(all.into())
    }
}

impl<N: AsRef<str>, T: AsRef<str>, const COUNT: usize> From<[(N, T); COUNT]> for TextMap {
    fn from(entries: [(N, T); COUNT]) -> Self {
        entries.into_iter().collect()
    }
}

impl Serialize for TextMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_without(deserializer, |_| false)
    }
}

/// Reads a map and skips what is left out while it streams in.
pub(crate) fn deserialize_without<'de, D: Deserializer<'de>>(
    deserializer: D,
    left_out: fn(&str) -> bool,
) -> Result<TextMap, D::Error> {
    deserializer.deserialize_any(Entries { left_out })
}

struct Entries {
    left_out: fn(&str) -> bool,
}

impl<'de> Visitor<'de> for Entries {
    type Value = TextMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of names and texts")
    }

    fn visit_unit<E>(self) -> Result<TextMap, E> {
        Ok(TextMap::default())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<TextMap, M::Error> {
        let mut kept: Vec<(String, String)> = vec![];
        while let Some(name) = map.next_key::<String>()? {
            if (self.left_out)(&name) {
                map.next_value::<serde::de::IgnoredAny>()?;
            } else {
                kept.push((name, map.next_value()?));
            }
        }
        Ok(kept.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_tree_of_the_same_entries_is(entries in proptest::collection::vec(("[a-cü]{0,2}", ".{0,3}"), 0..6)) {
            let map: TextMap = entries.iter().map(|(name, text)| (name, text)).collect();
            let tree: BTreeMap<String, String> = entries.iter().cloned().collect();
            prop_assert_eq!(map.len(), tree.len());
            prop_assert_eq!(map.is_empty(), tree.is_empty());
            let same = tree.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            prop_assert!(map.iter().eq(same));
            for (name, _) in &entries {
                prop_assert_eq!(map.get(name), tree.get(name).map(String::as_str));
            }
            let json = serde_json::to_string(&tree).unwrap();
            prop_assert_eq!(&serde_json::to_string(&map).unwrap(), &json);
            prop_assert_eq!(serde_json::from_str::<TextMap>(&json).unwrap(), map);
        }
    }

    #[test]
    fn the_order_in_which_entries_came_does_not_count_and_the_last_of_a_name_does() {
        let map = TextMap::from([("b", "1"), ("a", "2")]);
        assert_eq!(map, TextMap::from([("a", "2"), ("b", "1")]));
        assert_eq!(map.with("b", "3"), TextMap::from([("a", "2"), ("b", "3")]));
        assert_eq!(map.get("c"), None);
    }
}
