//! Simulated nodes: how KWOK is called, and the node objects that it looks after. What pods do is in `cluster/stages/`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use serde_json::json;

use crate::certs::{self, Authority};
use crate::cluster::Kubelets;
use crate::control_plane::Place;
use crate::keeper::Process;
use crate::{metrics_server, objects};
use trimtab_parts::{Assets, source};

/// Where KWOK serves the nodes' resource metrics, if anybody is there to ask for them.
pub(crate) fn kubelets(place: &Place, measured: bool) -> Result<Option<Kubelets>> {
    let path = format!("/metrics/nodes/{NODE}/metrics/resource", NODE = Kubelets::NODE);
    measured.then(|| Ok(Kubelets { port: place.free_port(10250)?, path })).transpose()
}

/// Writes KWOK's configuration and returns its process.
pub(crate) fn process(
    assets: &Assets,
    place: &Place,
    dir: &Path,
    authority: &Authority,
    kubelets: Option<&Kubelets>,
) -> Result<Process> {
    let options = "apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\nmetadata:\n  name: kwok\noptions:\n  \
                   podPlayStageParallelism: 32\n  nodePlayStageParallelism: 8\n  nodeLeaseParallelism: 4\n";
    let usage = kubelets.map(|_| source::USAGE);
    let parts = std::iter::once(options).chain(source::STAGES.iter().copied()).chain(usage);
    let config = parts.collect::<Vec<_>>().join("---\n");
    fs::write(dir.join("kwok.yaml"), config).context("cannot write KWOK's configuration")?;
    let client = authority.client("trimtab-simulated-nodes", &["system:masters"])?;
    certs::write_secret(&dir.join("kwok.kubeconfig"), &authority.kubeconfig(&place.server(), &client)?)?;
    let here = &place.here;
    let mut argv = vec![
        format!("--config={here}/kwok.yaml"),
        format!("--kubeconfig={here}/kwok.kubeconfig"),
        "--manage-all-nodes=true".into(),
        "--cidr=10.64.0.0/12".into(),
        "--node-lease-duration-seconds=40".into(),
    ];
    if let Some(kubelets) = kubelets {
        // All nodes have the address where somebody answers for them.
        certs::write_identity(dir, "kwok", &authority.server("kwok", std::slice::from_ref(&place.address))?)?;
        argv.extend([
            format!("--node-ip={}", place.address),
            format!("--server-address={}:{}", place.address, kubelets.port),
            format!("--tls-cert-file={here}/kwok.crt"),
            format!("--tls-private-key-file={here}/kwok.key"),
        ]);
    } else {
        argv.push("--node-ip=10.63.0.1".into());
    }
    Ok(Process::new("kwok", assets.text(source::KWOK)?, argv).after(place.ready()))
}

/// Makes the nodes; they are ready a moment later.
pub(crate) async fn create_nodes(client: &kube::Client, count: u32, kubelets: Option<&Kubelets>) -> Result<()> {
    let nodes = objects::all::<Node>(client);
    let create = (0..count).map(|n| {
        let nodes = nodes.clone();
        async move {
            let name = format!("node-{n}");
            let annotations = kubelets.map(|k| json!({metrics_server::PATH_ANNOTATION: k.path_of(&name)}));
            let node = objects::object::<Node>(json!({
                "metadata": {"name": name, "annotations": annotations, "labels": {
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
