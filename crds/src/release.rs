//! `Release`: the record of one release, written by Trimtab. Not its progress: that is in the plan's status.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Verdict;

/// The record of one release: what changed, by whom, and what was stable before.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[expect(clippy::duplicated_attributes, reason = "each column is an attribute of its own and has a type")]
#[kube(
    group = "trimtab.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    category = "trimtab",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "The record of one release, written by Trimtab: what changed, by whom, each step with its times, and the verdict.",
    printcolumn(json_path = ".spec.plan", name = "Plan", type_ = "string"),
    printcolumn(json_path = ".status.result", name = "Result", type_ = "string"),
    printcolumn(json_path = ".spec.summary", name = "Change", type_ = "string"),
    printcolumn(json_path = ".spec.by", name = "By", type_ = "string"),
    printcolumn(json_path = ".status.message", name = "Message", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Release is a record: its spec does not change"))]
pub struct ReleaseSpec {
    /// The plan.
    pub plan: String,
    /// The workload.
    pub target: String,
    /// The number of the release, from 1.
    pub sequence: i64,
    /// Who made the change.
    pub by: String,
    /// What changed, in a few words.
    pub summary: String,
    /// What changed, path by path. Values are given for images and revisions of configuration only: others may be secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Digest of the new template.
    pub digest: String,
    /// Digest of the stable template.
    pub stable_digest: String,
    /// The revisions of the configuration that the stable template names: the record owns their copies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stable_config: String,
    /// The stable template, kept here because a Deployment's history may lose it.
    #[schemars(schema_with = "any_object")]
    pub stable_template: Value,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-map-type": "atomic"
    })
}

/// A pod template as it is stored, so that fields which this program does not know survive.
pub type Template = Value;

/// One change between two templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where: `spec.containers[web].image`.
    pub path: String,
    /// What it was, for images and revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is, for images and revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How a release went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// One writer writes it whole: the API server need not note the owner of each field.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ReleaseStatus {
    /// How it ended, or that it is under way.
    pub result: ReleaseResult,
    /// A sentence.
    pub message: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The steps with their times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// Why it went without its steps, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<String>,
    /// Why it ended other than by promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseResult {
    /// It is under way.
    Running,
    /// The new revision is the stable one.
    Promoted,
    /// The new revision was taken back.
    TakenBack,
    /// Another change came before it was over.
    Superseded,
    /// The workload or the change went away.
    Cancelled,
    /// A person released the change past the plan.
    Bypassed,
}

/// One step as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// The step, for people: `setWeight 25`.
    pub step: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}
