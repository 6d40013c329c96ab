//! Clusters that stay up, by name: what `trimtab local` does. Not the words on its command line.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cluster::{Cluster, take_down};
use crate::keeper;
use crate::options::{ClusterOptions, Nodes};
use trimtab_parts::paths;

/// A cluster that was brought up by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCluster {
    /// Its name.
    pub name: String,
    /// What its pods run on.
    pub nodes: Nodes,
    /// Whether it runs; one that does not was killed, and `down` cleans up after it.
    pub running: bool,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Where Prometheus answers, if the cluster was started with it.
    pub prometheus: Option<String>,
}

/// Brings a cluster up; it stays up after this process has ended.
pub async fn up(o: ClusterOptions) -> Result<Cluster> {
    Cluster::up(o).await
}

/// Where the kubeconfig of a cluster of this name is; an error when there is no such cluster.
pub fn kubeconfig(name: &str) -> Result<PathBuf> {
    let dir = folder(name)?;
    if !keeper::alive(&dir) {
        bail!("there is no running cluster named {name}: start it with `trimtab local up --name {name}`");
    }
    Ok(dir.join("kubeconfig"))
}

/// Ends a cluster and removes everything that it kept. Nothing happens when there is none.
pub async fn down(name: &str) -> Result<()> {
    let dir = folder(name)?;
    tokio::task::spawn_blocking(move || take_down(&dir)).await?
}

/// All clusters that were brought up and not taken down, by name.
pub fn list() -> Result<Vec<LocalCluster>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(paths::clusters()?)? {
        let dir = entry?.path();
        let kubeconfig = dir.join("kubeconfig");
        if !dir.join("cluster.json").exists() || !kubeconfig.exists() {
            continue;
        }
        let cluster = Cluster::connect(&kubeconfig)?;
        let (name, nodes) = (cluster.name().to_owned(), cluster.nodes());
        let prometheus = cluster.prometheus().map(str::to_owned);
        found.push(LocalCluster { name, nodes, running: keeper::alive(&dir), kubeconfig, prometheus });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Puts the images of an OCI archive onto the real node of a running cluster, and gives their names there.
pub async fn load_image(name: &str, archive: &Path) -> Result<Vec<String>> {
    Cluster::connect(&kubeconfig(name)?)?.load_image(archive).await
}

fn folder(name: &str) -> Result<PathBuf> {
    ClusterOptions { name: name.to_owned(), ..Default::default() }.check()?;
    Ok(paths::clusters()?.join(name))
}
