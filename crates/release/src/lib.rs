//! The release engine: what to do next about one workload, as a pure function of what is seen.
//!
//! [`decide()`] and [`conclude()`] are called by the release controller, by `trimtab why`, and by every test; they are the
//! same everywhere. There is no client here, no clock, no log and no random number; the dependency tree of this crate
//! is held to that by a test.
//!
//! A release goes through the stages of [`trimtab_crds::Stage`]: steps on a canary at the side (`stepping`), then
//! promotion (`promoting`), or being taken back (`taking_back`); in between nothing is under way (`idle`).

mod adoption;
mod arithmetic;
mod asleep;
mod between;
mod canary;
mod conclude;
mod configuration;
mod deadline;
mod decide;
mod digest;
mod draft;
mod gather;
mod guard;
mod idle;
mod labels;
mod origin;
mod promoting;
mod protection;
mod record;
mod report;
mod request;
mod snapshot;
mod stall;
mod stepping;
mod steps;
mod taking_back;
mod template;
mod undo;
mod unmatched;
mod unreadable;
mod validation;
mod views;
mod world;

pub use arithmetic::{canary_replicas, limits, percent_up, share};
pub use conclude::conclude;
pub use decide::decide;
pub use digest::{hash_label, template_digest};
pub use gather::{Lookup, Settings, gather, targets, workloads};
pub use guard::{Proof, is_let_go};
pub use request::REQUESTS;
pub use snapshot::Snapshot;
pub use template::{Template, changes};
pub use unreadable::UnreadablePlan;
pub use views::{
    ConfigPolicyView, ContainerState, ContainerStatus, DeploymentSpec, DeploymentStatus, DeploymentStrategy,
    DeploymentView, PlanView, PodStatus, PodView, ReleaseFacts, ReleaseView, ReplicaSetCondition, ReplicaSetSpec,
    ReplicaSetStatus, ReplicaSetView, RollingUpdate, Terminated, Waiting,
};
pub use world::{Held, held, pod_failure, words};

/// Writes to ReplicaSets and Deployments with the preconditions that make them safe, for whoever ends a release in the
/// engine's place.
pub mod writes {
    pub use crate::adoption::is_adrift;
    pub use crate::canary::{delete, hand_over, let_go, return_to_history, scale, was_the_deployments, write_template};
}
