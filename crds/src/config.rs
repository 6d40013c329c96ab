//! Configuration in a `ReleasePlan`: which ConfigMaps and Secrets are released with the workload, and how they stand.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the ConfigMaps and Secrets that a workload reads are released with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Which of them are copied for each revision, so that a change of one is a release.
    #[serde(default)]
    pub track: Track,
    /// When a workload whose pods still read the live objects gets its first copies.
    #[serde(default)]
    pub adopt: Adopt,
    /// Single sources that are treated otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub sources: Vec<ConfigSource>,
}

/// Which sources are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Track {
    /// All that the pod template reads.
    #[default]
    Referenced,
    /// Those that `sources` lists.
    Listed,
    /// None: pods read the live objects, as without Trimtab.
    None,
}

/// When a workload gets its first copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Adopt {
    /// With the next release. Nothing restarts before.
    #[default]
    NextRelease,
    /// At once, by a release of its own.
    Now,
}

/// One source that is treated otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSource {
    /// The kind.
    pub kind: ConfigKind,
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// How it is treated; by default as its nature asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ConfigMode>,
}

/// Kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// How a source is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigMode {
    /// Pods read a copy of the revision that they were made for. The default for ConfigMaps and ordinary Secrets.
    Frozen,
    /// Pods read the live object, so that what is renewed reaches them. The default for certificates and for Secrets that
    /// cert-manager or External Secrets renew.
    Live,
}

/// How the configuration of a workload stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// The sources, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// A change that waits for the quiet period to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingChange>,
}

/// How one source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `cm/NAME` or `secret/NAME`.
    pub source: String,
    /// How it is treated.
    pub mode: ConfigMode,
    /// The revision that the template asks for; none where pods read the live object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The revision of the live object that was last taken into account; `live` where the template names none, since it is read live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub considered: Option<String>,
    /// What is to be known about it, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A change that is seen and not yet released: whatever follows it within the quiet period is released with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingChange {
    /// Digest of the template and the pins that are to be released.
    pub digest: String,
    /// Since when they have been so.
    pub since: Timestamp,
    /// When the first change came that nothing was released of yet.
    pub begun: Timestamp,
    /// Who made the change.
    pub by: String,
}
