//! A real Kubernetes control plane on one machine, for tests, the demo and `trimtab local`, and what tests need around it.
//!
//! The API server, the controller manager, the scheduler and etcd are the real programs, built from the Go module in `cluster/` and cached.
//! Nodes are simulated (nothing runs, pods only say so) or real (kubelet, containerd, runc). Not a distribution: one control plane, no
//! storage that outlives it, no cluster DNS.

pub mod image;
pub mod local;

mod certs;
mod choice;
mod cluster;
mod control_plane;
mod crds;
mod faulty;
mod keeper;
mod load;
mod metrics_server;
mod namespace;
mod objects;
mod options;
mod prometheus;
mod real;
mod shared;
mod simulated;
mod tools;
mod wait;

pub use choice::{choose_nodes, install_packages, packages_missing};
pub use cluster::Cluster;
pub use crds::apply_crds;
pub use faulty::{Call, Fault, FaultyServer};
pub use load::{Load, LoadOptions, LoadReport};
pub use namespace::{TestNamespace, with_namespace};
pub use options::{ClusterOptions, Extra, Nodes};
pub use prometheus::Sample;
pub use shared::{KUBECONFIG_ENV, NODES_ENV, shared_cluster};
pub use tools::Tool;
pub use trimtab_parts::{lookup, paths::cache_dir};
pub use wait::eventually;
