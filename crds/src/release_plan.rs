//! `ReleasePlan`: how changes to one workload are released, and how the release under way stands. Its status is the
//! whole progress of a release: a manager that starts anew goes on from it.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_plan::Condition;

use crate::{Canary, Config, ConfigStatus, DurationText, StepRecord};

/// How changes to one workload are released.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[expect(clippy::duplicated_attributes, reason = "each column is an attribute of its own and has a type")]
#[kube(
    group = "trimtab.dev",
    version = "v1alpha1",
    kind = "ReleasePlan",
    plural = "releaseplans",
    shortname = "rp",
    category = "trimtab",
    namespaced,
    status = "ReleasePlanStatus",
    derive = "PartialEq",
    doc = "How changes to one workload are released: held, tried on a few pods, judged, then promoted or taken back.",
    printcolumn(json_path = ".spec.targetRef.name", name = "Target", type_ = "string"),
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.step", name = "Step", type_ = "string"),
    printcolumn(json_path = ".status.weight.text", name = "Weight", type_ = "string"),
    printcolumn(json_path = ".status.pods", name = "Pods", type_ = "string"),
    printcolumn(json_path = ".status.message", name = "Message", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleasePlanSpec {
    /// The workload whose changes are released by this plan, in the plan's own namespace.
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "the target of a plan does not change: delete this plan and create another one for the other workload"
    ))]
    pub target_ref: TargetRef,
    /// How a change is tried.
    #[serde(default)]
    pub strategy: Strategy,
    /// How the ConfigMaps and Secrets that the workload reads are released with it.
    #[serde(default)]
    pub config: Config,
    /// What happens when a release fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What becomes of a change that is made while the workload has no replicas.
    #[serde(default)]
    pub while_scaled_to_zero: WhileScaledToZero,
    /// How long a canary may take to become available at a step, and the last pods when it is promoted.
    #[serde(default = "default_deadline")]
    pub progress_deadline: DurationText,
    /// Going back to one of this many last stable revisions skips the steps.
    #[serde(default = "default_window")]
    #[schemars(range(min = 0, max = 50))]
    pub rollback_window: i32,
    /// This many finished Releases are kept.
    #[serde(default = "default_history")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: i32,
}

fn default_deadline() -> DurationText {
    DurationText("10m".to_owned())
}

fn default_window() -> i32 {
    1
}

fn default_history() -> i32 {
    10
}

/// A workload in the plan's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// The kind.
    #[serde(default)]
    pub kind: TargetKind,
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds of workloads that a plan can target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// A Deployment.
    #[default]
    Deployment,
}

/// How a change is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// On a few pods first.
    #[serde(default)]
    pub canary: Canary,
}

/// What happens when a release fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// It is taken back at once.
    #[default]
    Rollback,
    /// It stops where it is, until somebody promotes, retries or aborts.
    Pause,
}

/// What becomes of a change while the workload has no replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum WhileScaledToZero {
    /// It stays held. When the workload wakes, the stable revision comes up, and the change is tried beside it.
    #[default]
    Hold,
    /// It is promoted untried: the workload wakes with it, and the Release says that its steps were skipped.
    Promote,
}

/// How the release under way stands, and what was stable before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// One writer writes it whole: the API server need not note the owner of each field.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ReleasePlanStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where things stand, in one word.
    #[serde(default)]
    pub phase: Phase,
    /// Where things stand and what is waited for, in one sentence.
    #[serde(default)]
    pub message: String,
    /// The step, for people: `2/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The share of the new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// Available pods, for people: `4 stable + 1 canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<String>,
    /// The workload as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// The revision that runs when no release is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Revision>,
    /// How the first rollout goes on, while it is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_rollout: Option<FirstRollout>,
    /// The configuration that the workload reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigStatus>,
    /// The release under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Progress>,
    /// The revision that was taken back and is not tried again until it changes, or `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// Stable revisions before this one, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastRevision>,
    /// The number of the last release.
    #[serde(default)]
    pub sequence: i64,
    /// The last request that was carried out or refused, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_request: Option<String>,
    /// An undo that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// `Ready`, `Reconciling`, `Stalled`, `Guarded` and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Something must be there first: the workload, its first rollout, a person's answer.
    #[default]
    Waiting,
    /// The stable revision runs and nothing is under way.
    Stable,
    /// A release is going through its steps.
    Releasing,
    /// A release waits at a step for its time or for a person.
    Paused,
    /// The new revision replaces the stable one.
    Promoting,
    /// The new revision is being taken back.
    TakingBack,
    /// The new revision was taken back; the stable one runs.
    TakenBack,
    /// Something stands in the way that only a person can move.
    Blocked,
}

/// A share, asked and actual, in percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weight {
    /// What the step asks.
    pub asked: i32,
    /// What the available pods make of it.
    pub actual: i32,
    /// For people: `25%`, or `40% (asked 50%)` where pods cannot make it exact.
    pub text: String,
}

/// The workload as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Its uid: a workload that is created again starts anew.
    pub uid: String,
}

/// A revision of the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Digest of its template, with the algorithm: `v1:…`.
    pub digest: String,
    /// Its ReplicaSet.
    pub replica_set: String,
}

/// A first rollout that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstRollout {
    /// Since when no further pod has become available.
    pub since: Timestamp,
    /// The most pods that were available since then.
    pub most_available: i32,
}

/// A stable revision of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastRevision {
    /// Digest of its template.
    pub digest: String,
    /// The Release that replaced it, and so holds its template.
    pub release: String,
}

/// A release under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Name of its Release.
    pub name: String,
    /// Digest of the new template.
    pub digest: String,
    /// Who made the change.
    pub by: String,
    /// When it began.
    pub started_at: Timestamp,
    /// What is being done.
    pub stage: Stage,
    /// When that began.
    pub stage_started_at: Timestamp,
    /// Index of the current step, from 0.
    pub step: i32,
    /// When the current step began.
    pub step_started_at: Timestamp,
    /// When the current step's pause began: once the canary was as the steps before it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_started_at: Option<Timestamp>,
    /// Since when the new revision has fewer available pods than asked for, or has made no progress towards it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_since: Option<Timestamp>,
    /// The most pods of the new revision that were available since then.
    #[serde(default)]
    pub most_available: i32,
    /// While it is promoted: since when fewer pods are available, of both revisions, than the Deployment allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_since: Option<Timestamp>,
    /// While it is promoted: the largest size of the Deployment that its pods have reached, if that is not larger than its size
    /// now. So many pods, less those that may be unavailable, are not to be undercut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<i32>,
    /// The steps so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// Digest of the plan's steps, to notice that they were edited.
    #[serde(default)]
    pub steps_digest: String,
    /// Weight that the steps so far asked for.
    pub weight: i32,
    /// The canary; none where the release goes without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryProgress>,
    /// A person paused it.
    #[serde(default)]
    pub paused: bool,
    /// A person went on with it although stable pods were lacking: a lack of pods does not take it back again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// Steps are skipped, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skips_steps: Option<String>,
    /// Why it is or was taken back, or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What is being done for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// The steps, on a canary at the side.
    Steps,
    /// The Deployment takes the canary over and rolls the rest in.
    Promoting,
    /// The stable revision is brought back.
    TakingBack,
    /// A person released the change past the plan; Trimtab follows and records it.
    Bypassed,
}

/// A canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryProgress {
    /// Its ReplicaSet.
    pub replica_set: String,
    /// Whether the Deployment had this ReplicaSet in its history.
    #[serde(default)]
    pub from_history: bool,
    /// How many pods are asked for.
    pub replicas: i32,
}

/// Why a release ends other than by promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// A stable code: `CanaryFailed`, `DeadlineExceeded`, `Aborted`, `Superseded`, `ChangedBack`, …
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A revision that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Digest of its template.
    pub digest: String,
    /// Its Release.
    pub release: String,
    /// Why.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

/// An undo that is under way: the template to bring back, and the one that it takes the place of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// Digest of the template to bring back.
    pub digest: String,
    /// The Release whose `stableTemplate` it is.
    pub release: String,
    /// Digest of the template that the Deployment had when it was asked: another one is not overwritten.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// It was written: what is stored since is looked at, and the undo is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub written: bool,
}
