//! YAML, one document or several, and the lines of their parts. Read by serde-saphyr, whose budget bounds nesting, aliases
//! and anchors.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Options, Spanned};

use super::Unreadable;
use super::counted::Counted;
use crate::meter;

pub(super) fn parse(text: &str) -> Result<Vec<Value>, Unreadable> {
    let documents: Vec<Counted> = serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| {
        let line = error.location().and_then(|location| u32::try_from(location.line()).ok());
        Unreadable { line: line.filter(|line| *line > 0), message: format!("the value is not YAML: {error}") }
    })?;
    // A text of nothing but comments is the null document.
    let documents: Vec<Value> = documents.into_iter().map(|Counted(value)| value).collect();
    Ok(if documents.is_empty() { vec![Value::Null] } else { documents })
}

fn options() -> Options {
    serde_saphyr::options! { with_snippet: false }
}

/// The line of the part that a path leads to in a document, or of the last one on the way.
pub(super) fn line(text: &str, document: usize, path: &[String]) -> Option<u32> {
    let documents: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options()).ok()?;
    let mut node = documents.get(document)?;
    for token in path {
        let next = match &node.kind {
            Kind::Map(fields) => fields.iter().find(|(name, _)| name == token).map(|(_, node)| node),
            Kind::List(items) => token.parse().ok().and_then(|index: usize| items.get(index)),
            Kind::Leaf => None,
        };
        let Some(next) = next else { break };
        node = next;
    }
    u32::try_from(node.line).ok().filter(|line| *line > 0)
}

/// A part of a document: where it stands, and what is in it.
struct Node {
    line: u64,
    kind: Kind,
}

enum Kind {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Leaf,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        meter::part();
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

macro_rules! leaves {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Kind, E> {
            Ok(Kind::Leaf)
        })*
    };
}

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    leaves!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_bytes: &[u8]);

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Leaf)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Kind::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Kind, A::Error> {
        let mut map = vec![];
        while let Some(name) = fields.next_key()? {
            map.push((name, fields.next_value()?));
        }
        Ok(Kind::Map(map))
    }
}
