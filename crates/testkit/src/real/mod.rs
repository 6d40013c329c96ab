//! A real node: the network it is given, the processes that make it, and the images put onto it. How its programs are configured is in
//! `config`; the namespaces are made by the keeper.

mod config;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::certs::{self, Authority};
use crate::choice;
use crate::cluster::{Kubelets, Plan, until};
use crate::control_plane::{self, Place};
use crate::image;
use crate::keeper::{Isolation, Keeper, Process, tail};
use crate::options::{ClusterOptions, Extra};
use trimtab_parts::{Assets, source};

/// The cluster's folder as seen inside its namespaces.
const HERE: &str = "/run/trimtab";
/// The image whose container holds a pod's namespaces; the testkit's own.
const PAUSE_IMAGE: &str = "trimtab.local/pause:1";
/// How many clusters with real nodes one machine has networks for.
const SLOTS: u8 = 64;

/// A cluster's own networks: a cable's two ends, pods, and services.
pub(super) struct Network {
    slot: u8,
}

impl Network {
    fn host(&self) -> String {
        format!("10.213.{}.1", self.slot)
    }
    fn node(&self) -> String {
        format!("10.213.{}.2", self.slot)
    }
    fn pods(&self) -> String {
        format!("10.214.{}.0/24", self.slot)
    }
    fn services(&self) -> String {
        format!("10.215.{}.0/24", self.slot)
    }
    fn lock(&self) -> PathBuf {
        Path::new("/run/trimtab-networks").join(self.slot.to_string())
    }
    fn cgroup(&self) -> String {
        format!("trimtab-{}", self.slot)
    }
}

/// An error that says what this machine lacks for a real node.
pub(crate) fn check() -> Result<()> {
    choice::choose_nodes("real").map(|_| ())
}

/// Plans the control plane and the node, and writes their configuration.
pub(crate) fn plan(o: &ClusterOptions, assets: &Assets, dir: &Path, authority: &Authority) -> Result<Plan> {
    let network = free_network()?;
    let name = format!("{}-{}", o.name, network.slot);
    let place = Place {
        here: HERE.into(),
        address: network.node(),
        port: 6443,
        service_cidr: network.services(),
        service_ip: format!("10.215.{}.1", network.slot),
        real: true,
        aggregates: o.with.contains(&Extra::Metrics),
        strict: false,
    };
    let kubelet = authority.client(&format!("system:node:{name}"), &["system:nodes"])?;
    certs::write_secret(&dir.join("kubelet.kubeconfig"), &authority.kubeconfig(&place.server(), &kubelet)?)?;
    certs::write_identity(dir, "kubelet", &authority.server(&name, &[network.node(), name.clone()])?)?;
    let proxy = authority.client("system:kube-proxy", &[])?;
    certs::write_secret(&dir.join("kube-proxy.kubeconfig"), &authority.kubeconfig(&place.server(), &proxy)?)?;
    config::write(dir, &name, &network)?;

    let containerd = choice::find("containerd").context("containerd is not installed")?;
    let mut processes = control_plane::processes(assets, &place)?;
    processes.push(Process::new(
        "containerd",
        containerd.display().to_string(),
        [format!("--config={HERE}/containerd.toml")],
    ));
    let mut kubelet = vec![
        format!("--config={HERE}/kubelet.json"),
        format!("--kubeconfig={HERE}/kubelet.kubeconfig"),
        format!("--root-dir={HERE}/kubelet"),
        format!("--cert-dir={HERE}/kubelet-certificates"),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", network.node()),
        "--node-labels=trimtab.dev/nodes=real".into(),
    ];
    if !o.with.is_empty() {
        // It looks at each container's use every 10 s otherwise, and whoever asks sooner gets what it saw last.
        kubelet.push("--housekeeping-interval=1s".into());
    }
    processes.push(
        Process::new("kubelet", assets.text(source::KUBELET)?, kubelet)
            .after(format!("unix:{HERE}/containerd.sock"))
            .after(place.ready()),
    );
    processes.push(
        Process::new("kube-proxy", assets.text(source::KUBE_PROXY)?, [format!("--config={HERE}/kube-proxy.json")])
            .after(place.ready()),
    );
    let isolation = Isolation {
        lock: network.lock(),
        hostname: name,
        cgroup: network.cgroup(),
        veth: network.cgroup(),
        host_cidr: format!("{}/24", network.host()),
        node_cidr: format!("{}/24", network.node()),
        node_ip: network.node(),
        host_ip: network.host(),
        routes: vec![network.pods(), network.services()],
        here: HERE.into(),
    };
    let kubelets = Kubelets { port: 10250, path: "/metrics/resource".into() };
    Ok(Plan { place, processes, isolation: Some(isolation), kubelets: Some(kubelets) })
}

/// Networks that neither another cluster nor a route of this machine uses. The keeper takes the lock for good; when another cluster was
/// quicker, the boot is tried again.
fn free_network() -> Result<Network> {
    let out = std::process::Command::new("ip").args(["-4", "route", "show", "table", "all"]).output();
    let routes = String::from_utf8_lossy(&out.context("cannot run `ip`")?.stdout).into_owned();
    std::fs::create_dir_all("/run/trimtab-networks")?;
    for slot in 0..SLOTS {
        let network = Network { slot };
        let lock = File::create(network.lock())?;
        let used = [213, 214, 215].iter().any(|net| routes.contains(&format!(" 10.{net}.{slot}.")))
            || routes.lines().any(|l| [213, 214, 215].iter().any(|net| l.starts_with(&format!("10.{net}.{slot}."))));
        if !used && lock.try_lock().is_ok() {
            return Ok(network);
        }
    }
    bail!(
        "all {SLOTS} networks for local clusters are in use: take some down (`trimtab local list`, `trimtab local down`)"
    )
}

/// Puts the images onto the node that every cluster has: what pods are held by, and the sample application if wanted.
pub(crate) async fn load_base_images(
    dir: &Path,
    assets: &Assets,
    keeper: &mut Keeper,
    deadline: Instant,
    sample: bool,
) -> Result<()> {
    until(keeper, deadline, "containerd to listen", async || {
        Ok(tokio::net::UnixStream::connect(dir.join("containerd.sock")).await.is_ok())
    })
    .await?;
    let pause = dir.join("pause.tar");
    image::archive(assets.path(source::PAUSE)?, &[], &[image::image(PAUSE_IMAGE)], &pause)?;
    load_image(dir, &pause).await?;
    if sample {
        let samples = dir.join("sample.tar");
        image::sample_archive(assets.path(source::SAMPLE)?, &samples)?;
        load_image(dir, &samples).await?;
    }
    Ok(())
}

/// Imports an archive into the cluster's own containerd, through its socket in the cluster's folder; gives the names of its
/// images, as far as `ctr` tells them.
pub(crate) async fn load_image(dir: &Path, archive: &Path) -> Result<Vec<String>> {
    let archive = std::path::absolute(archive)?;
    anyhow::ensure!(
        archive.is_file(),
        "there is no image archive at {}: `make image` makes the manager's, `docker save` or `podman save` any other",
        archive.display()
    );
    let ctr = choice::find("ctr").context("`ctr` is not installed: it comes with containerd")?;
    let import = tokio::process::Command::new(ctr)
        .args(["--namespace", "k8s.io", "--address"])
        .arg(dir.join("containerd.sock"))
        .args(["images", "import", "--snapshotter", config::snapshotter(dir)])
        .arg(&archive)
        .kill_on_drop(true)
        .output();
    let out = tokio::time::timeout(Duration::from_secs(120), import).await.context("the import took over 120 s")??;
    if !out.status.success() {
        bail!("cannot import {}: {}", archive.display(), tail(&String::from_utf8_lossy(&out.stderr), 5));
    }
    Ok(imported(&String::from_utf8_lossy(&out.stdout)))
}

/// The names in lines such as `unpacking example.com/web:v1 (sha256:…)...done`.
fn imported(told: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("unpacking ")?.split(' ').next().map(str::to_owned);
    told.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_imported_images_are_read() {
        let told = "unpacking a.example/x:v1 (sha256:00)...done\nunpacking b/y:v2 (sha256:01)...done\n";
        assert_eq!(imported(told), ["a.example/x:v1", "b/y:v2"]);
        assert!(imported("nothing of use\n").is_empty());
    }

    #[test]
    fn networks_of_two_clusters_have_nothing_in_common() {
        let (a, b) = (Network { slot: 1 }, Network { slot: 11 });
        let all = |n: &Network| [n.host(), n.node(), n.pods(), n.services(), n.cgroup()];
        assert!(all(&a).iter().all(|x| !all(&b).contains(x)));
        assert!(Network { slot: SLOTS }.cgroup().len() <= 15, "an interface's name has 15 characters at most");
    }
}
