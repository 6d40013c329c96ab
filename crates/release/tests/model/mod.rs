//! A small model of Kubernetes for one workload: an API server with the hold policy, the controllers of Deployments and
//! ReplicaSets, the garbage collector, and a kubelet. Every step is explicit, so that tests choose the order of events.
//!
//! The algorithms follow Kubernetes 1.36.3 (`pkg/controller/deployment`, `pkg/controller/replicaset`,
//! `pkg/registry/apps`). It is not a simulation of time or of networks.

mod adversity;
mod configuration;
mod deployment;
mod patch;
mod people;
mod pods;
mod policy;
mod reconcile;
mod server;
mod strangers;

pub use adversity::Fate;
pub use pods::Pod;
pub use reconcile::{Cut, Reconciled};
pub use server::{CONFIG_MAPS, Cluster, DEPLOYMENTS, PLANS, RELEASES, REPLICA_SETS};

/// The one namespace.
pub const NAMESPACE: &str = "shop";
/// The one workload.
pub const WEB: &str = "web";
