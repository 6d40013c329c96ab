//! What is known of a source: the live object, its copies, and the key under which digests of Secrets are made. Not what
//! follows from it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::object::{hex, hmac};
use crate::{ConfigMapView, Object, SecretView};

/// What is known of one source.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Known<O> {
    /// The object itself.
    pub live: Option<O>,
    /// Its copies.
    pub copies: Vec<O>,
    /// Other objects whose names a copy could have, or has for pods: what looks like a copy and is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<String>,
    /// Whether the object is there, and of a type that is not looked at: then it is not in `live`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// A ConfigMap or a Secret, without its data.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum SourceView {
    /// A ConfigMap.
    ConfigMap(Arc<ConfigMapView>),
    /// A Secret.
    Secret(Arc<SecretView>),
}

impl AsRef<Object> for SourceView {
    fn as_ref(&self) -> &Object {
        match self {
            Self::ConfigMap(view) => &view.0,
            Self::Secret(view) => &view.0,
        }
    }
}

/// A key for digests of Secrets. It is never shown.
#[derive(Clone, Default)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// This key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, to make digests with.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest of a text that nobody makes without the key, 64 hexadecimal digits. `purpose` tells it from those that are
    /// made of other things.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        let message = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(text).finalize();
        hex("", &hmac(&self.0, &message.into()))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey")
    }
}
