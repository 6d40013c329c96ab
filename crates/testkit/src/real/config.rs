//! How containerd, the network plug-in, the kubelet and kube-proxy are configured for one cluster. Nothing is started here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::{HERE, Network, PAUSE_IMAGE};
use crate::choice::CNI;

/// Writes every configuration file of the node into the cluster's folder.
pub(super) fn write(dir: &Path, node: &str, network: &Network) -> Result<()> {
    let put = |name: &str, content: String| {
        fs::write(dir.join(name), content).with_context(|| format!("cannot write {}", dir.join(name).display()))
    };
    fs::create_dir_all(dir.join("cni"))?;
    put("containerd.toml", containerd(snapshotter(dir)))?;
    put("cni/10-trimtab.conflist", cni(network))?;
    put("kubelet.json", kubelet(network))?;
    put("kube-proxy.json", proxy(node, network))?;
    // What pods with the node's own DNS get: nothing, for the node knows no other names.
    put("resolv.conf", String::new())
}

/// overlayfs, except in a folder that is on an overlayfs itself: the kernel refuses one on top of another.
pub(super) fn snapshotter(dir: &Path) -> &'static str {
    let out = std::process::Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output();
    match out {
        Ok(out) if String::from_utf8_lossy(&out.stdout).trim() == "overlayfs" => "native",
        _ => "overlayfs",
    }
}

fn containerd(snapshotter: &str) -> String {
    format!(
        r#"version = 2
root = "{HERE}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{HERE}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{HERE}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Lowering a score needs a capability that not every machine gives its root.
  restrict_oom_score_adj = true
  # A profile would stay in the kernel after the cluster.
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{HERE}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// A cable for each pod and routes between them, not a bridge: all traffic passes the node's firewall, so Services work between pods of
/// the node without any setting of the whole machine.
fn cni(network: &Network) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "trimtab",
        "plugins": [
            {"type": "ptp", "ipMasq": false, "ipam": {
                "type": "host-local",
                "dataDir": "/run/trimtab-addresses",
                "ranges": [[{"subnet": network.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            }},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
    .to_string()
}

fn kubelet(network: &Network) -> String {
    let quota = Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists() || unified();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node(),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": format!("{HERE}/ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": format!("{HERE}/kubelet.crt"),
        "tlsPrivateKeyFile": format!("{HERE}/kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{HERE}/containerd.sock"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", network.cgroup()),
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "cpuCFSQuota": quota,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // There is no cluster DNS. An address that refuses at once says so sooner than one that never answers.
        "clusterDNS": ["127.0.0.1"],
        "clusterDomain": "cluster.local",
        "resolvConf": format!("{HERE}/resolv.conf"),
        "podLogsDir": format!("{HERE}/pod-logs"),
        "volumePluginDir": format!("{HERE}/volume-plugins"),
        "maxPods": 240,
        // The machine's disk is not the cluster's: a full one is no reason to throw pods or images out.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
        // Changed ConfigMaps reach their volumes sooner than by default.
        "syncFrequency": "5s",
        "logging": {"verbosity": 1},
    })
    .to_string()
}

/// Whether the machine has control groups of version 2 only.
fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn proxy(node: &str, network: &Network) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": network.pods(),
        "detectLocalMode": "ClusterCIDR",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": format!("{HERE}/kube-proxy.kubeconfig")},
        "iptables": {"minSyncPeriod": "50ms", "syncPeriod": "30s"},
        // The connection table's size is the whole machine's, so it stays as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    })
    .to_string()
}
