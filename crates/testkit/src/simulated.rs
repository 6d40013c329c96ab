//! Simulated nodes: how KWOK is called, and the node objects that it looks after. What pods do is in `cluster/stages/`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::assets::Assets;
use crate::certs::{self, Authority};
use crate::control_plane::Place;
use crate::keeper::Process;
use crate::source;

/// Writes KWOK's configuration and returns its process.
pub(crate) fn process(assets: &Assets, place: &Place, dir: &Path, authority: &Authority) -> Result<Process> {
    let options = "apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\nmetadata:\n  name: kwok\noptions:\n  \
                   podPlayStageParallelism: 32\n  nodePlayStageParallelism: 8\n  nodeLeaseParallelism: 4\n";
    let config = std::iter::once(options).chain(source::STAGES.iter().copied()).collect::<Vec<_>>().join("---\n");
    fs::write(dir.join("kwok.yaml"), config).context("cannot write KWOK's configuration")?;
    let client = authority.client("trimtab-simulated-nodes", &["system:masters"])?;
    certs::write_secret(&dir.join("kwok.kubeconfig"), &authority.kubeconfig(&place.server(), &client)?)?;
    let here = &place.here;
    Ok(Process::new(
        "kwok",
        assets.text(source::KWOK)?,
        [
            format!("--config={here}/kwok.yaml"),
            format!("--kubeconfig={here}/kwok.kubeconfig"),
            "--manage-all-nodes=true".into(),
            "--node-ip=10.63.0.1".into(),
            "--cidr=10.64.0.0/12".into(),
            "--node-lease-duration-seconds=40".into(),
        ],
    )
    .after(place.ready()))
}

/// Makes the nodes; they are ready a moment later.
pub(crate) async fn create_nodes(client: &kube::Client, count: u32) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let create = (0..count).map(|n| {
        let nodes = nodes.clone();
        async move {
            let name = format!("node-{n}");
            let node: Node = serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "topology.kubernetes.io/zone": format!("zone-{}", n % 3),
                    "trimtab.dev/nodes": "simulated",
                }},
            }))?;
            nodes
                .create(&PostParams::default(), &node)
                .await
                .with_context(|| format!("cannot make the node {name}"))?;
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(create).await?;
    Ok(())
}
