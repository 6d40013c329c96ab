//! The one cluster that a run of tests shares. Starting it is `with-cluster`'s work.

use std::path::Path;

use anyhow::{Result, bail};

use crate::Cluster;

/// Where `with-cluster` tells its command the cluster's kubeconfig.
pub const KUBECONFIG_ENV: &str = "TRIMTAB_TEST_KUBECONFIG";
/// Where `with-cluster` tells its command what the cluster's nodes are.
pub const NODES_ENV: &str = "TRIMTAB_TEST_NODES";

/// The cluster that the tests of this run share.
pub async fn shared_cluster() -> Result<Cluster> {
    match std::env::var_os(KUBECONFIG_ENV).filter(|v| !v.is_empty()) {
        Some(path) => Cluster::connect(Path::new(&path)),
        None => bail!("this test needs a cluster and {KUBECONFIG_ENV} is not set: run `make test`, which starts one"),
    }
}
