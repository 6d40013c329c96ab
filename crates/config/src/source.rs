//! The name of a source of configuration: a ConfigMap or a Secret of the workload's namespace. Not what it holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trimtab_crds::names;
use trimtab_plan::{Kind, ObjectRef};

/// A kind of object that holds configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl SourceKind {
    /// As pins and people write it: `cm`, `secret`.
    pub fn short(self) -> &'static str {
        match self {
            Self::ConfigMap => "cm",
            Self::Secret => "secret",
        }
    }

    /// The kind on the API server.
    pub fn kind(self) -> Kind {
        match self {
            Self::ConfigMap => names::CONFIG_MAP,
            Self::Secret => names::SECRET,
        }
    }
}

/// The longest name of an object.
const NAME: usize = 253;

/// A ConfigMap or a Secret, by name. Written `cm/web` or `secret/tls`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Its kind.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
}

impl Source {
    /// Whether an object can have this name. What nothing can be called is not remembered.
    pub fn is_name(name: &str) -> bool {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !name.is_empty() && name.len() <= NAME && name.chars().all(fits)
    }

    /// The ConfigMap of this name.
    pub fn config_map(name: impl Into<String>) -> Self {
        Self { kind: SourceKind::ConfigMap, name: name.into() }
    }

    /// The Secret of this name.
    pub fn secret(name: impl Into<String>) -> Self {
        Self { kind: SourceKind::Secret, name: name.into() }
    }

    /// The object in a namespace.
    pub fn object(&self, namespace: &str) -> ObjectRef {
        self.kind.kind().object(namespace, &self.name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.name)
    }
}

/// Why a text names no source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSource(String);

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no ConfigMap and no Secret: write cm/NAME or secret/NAME", self.0)
    }
}

impl std::error::Error for NoSource {}

impl FromStr for Source {
    type Err = NoSource;

    /// Reads `cm/web`, and what people write besides: `configmap/web`, `configmaps/web`, `secrets/tls`.
    fn from_str(text: &str) -> Result<Self, NoSource> {
        let no = || NoSource(text.chars().take(300).collect());
        let (kind, name) = text.split_once('/').ok_or_else(no)?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "cm" | "configmap" | "configmaps" => SourceKind::ConfigMap,
            "secret" | "secrets" => SourceKind::Secret,
            _ => return Err(no()),
        };
        if !Self::is_name(name) {
            return Err(no());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_written_as_they_are_read() {
        for text in ["cm/web", "secret/tls.example.com"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("ConfigMaps/a".parse(), Ok(Source::config_map("a")));
        for bad in ["web", "cm/", "pod/web", "cm/Web", "cm/a/b", "cm/a=b"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}
