//! The Go modules in `cluster/`, carried inside this library so that an installed program works away from the checkout, and their parts.
//! Building them is the builder's.

use sha2::{Digest, Sha256};

macro_rules! cluster_file {
    ($path:literal) => {
        ($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../cluster/", $path)))
    };
}

/// Every file that building needs, by its path in `cluster/`.
pub const FILES: &[(&str, &str)] = &[
    cluster_file!("go.mod"),
    cluster_file!("go.sum"),
    cluster_file!("tools.go"),
    cluster_file!("etcd/main.go"),
    cluster_file!("helm3/go.mod"),
    cluster_file!("helm3/go.sum"),
    cluster_file!("helm4/go.mod"),
    cluster_file!("helm4/go.sum"),
    cluster_file!("keeper/isolate.go"),
    cluster_file!("keeper/main.go"),
    cluster_file!("keeper/wait.go"),
    cluster_file!("metrics/go.mod"),
    cluster_file!("metrics/go.sum"),
    cluster_file!("pause/main.go"),
    cluster_file!("promtool/go.mod"),
    cluster_file!("promtool/go.sum"),
    cluster_file!("sample/config.go"),
    cluster_file!("sample/main.go"),
    cluster_file!("sample/programs.go"),
    cluster_file!("sample/work.go"),
];

/// What simulated nodes and pods do, in KWOK's terms.
pub const STAGES: &[&str] = &[
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../cluster/stages/node.yaml")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../cluster/stages/pod.yaml")),
];

/// What simulated pods seem to use, for whoever measures them.
pub const USAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../cluster/stages/usage.yaml"));

/// The Kubernetes version that `cluster/go.mod` pins.
pub const KUBERNETES: &str = "v1.36.3";

/// A program that a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The program's name.
    pub name: &'static str,
    /// The Go package that it is built from; a leading `./` is a folder of our own module.
    pub package: &'static str,
    /// The folder of the Go module that pins it, with a trailing slash; nothing is `cluster/` itself.
    pub module: &'static str,
    /// Build tags, comma-separated.
    tags: &'static str,
    /// More for the linker: what the program's own build tells it of itself.
    link: &'static str,
}

const fn part(name: &'static str, package: &'static str) -> Part {
    Part { name, package, module: "", tags: "", link: "" }
}

/// etcd.
pub const ETCD: Part = part("etcd", "./etcd");
/// What starts a cluster's processes and ends them all with itself.
pub const KEEPER: Part = part("keeper", "./keeper");
/// What holds a pod's namespaces.
pub const PAUSE: Part = part("pause", "./pause");
/// The application of the demo and of tests.
pub const SAMPLE: Part = part("sample", "./sample");
/// What simulates nodes.
pub const KWOK: Part = part("kwok", "sigs.k8s.io/kwok/cmd/kwok");
/// kubectl.
pub const KUBECTL: Part = part("kubectl", "k8s.io/kubernetes/cmd/kubectl");
/// The API server.
pub const API_SERVER: Part = part("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver");
/// The controller manager.
pub const CONTROLLER_MANAGER: Part = part("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager");
/// The scheduler.
pub const SCHEDULER: Part = part("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler");
/// The kubelet.
pub const KUBELET: Part = part("kubelet", "k8s.io/kubernetes/cmd/kubelet");
/// kube-proxy.
pub const KUBE_PROXY: Part = part("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy");

// A module of their own: their dependencies are not Kubernetes', and another version of one of them rebuilds no control plane.
/// metrics-server.
pub const METRICS_SERVER: Part =
    Part { module: "metrics/", ..part("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server") };
/// Of the many ways to discover what to scrape only the one that a cluster needs; the others are most of the program.
pub const PROMETHEUS: Part = Part {
    module: "metrics/",
    tags: "remove_all_sd,enable_kubernetes_sd",
    ..part("prometheus", "github.com/prometheus/prometheus/cmd/prometheus")
};

// Not of a cluster, but for trying the chart: each with a module of its own, since they need different versions of the same.
/// Helm 3.
pub const HELM_3: Part = Part {
    module: "helm3/",
    // Which Kubernetes templates are made for where no cluster is asked: that of its client library.
    link: " -X helm.sh/helm/v3/internal/version.version=v3.22.0 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
           -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
           -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37",
    ..part("helm3", "helm.sh/helm/v3/cmd/helm")
};
/// Helm 4.
pub const HELM_4: Part = Part {
    module: "helm4/",
    link: " -X helm.sh/helm/v4/internal/version.version=v4.3.1",
    ..part("helm4", "helm.sh/helm/v4/cmd/helm")
};
/// Prometheus' checker of alerts.
pub const PROMTOOL: Part = Part {
    module: "promtool/",
    tags: "remove_all_sd",
    ..part("promtool", "github.com/prometheus/prometheus/cmd/promtool")
};

/// The parts of a cluster with simulated nodes.
pub const SIMULATED: &[Part] = &[KEEPER, ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER, KUBECTL, KWOK];
/// The parts of a cluster with a real node.
pub const REAL: &[Part] =
    &[KEEPER, ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER, KUBECTL, KUBELET, KUBE_PROXY, PAUSE, SAMPLE];

/// How a part is built.
pub fn flags(part: Part) -> Vec<String> {
    let version = "k8s.io/component-base/version";
    let ld = format!(
        "-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=36{}",
        part.link
    );
    let mut flags: Vec<String> = ["-mod=readonly", "-trimpath", "-ldflags", &ld].map(str::to_owned).into();
    if part.module.is_empty() {
        // What debuggers read is a sixth of the time that compiling Kubernetes takes, and left out by the linker all the same.
        flags.push("-gcflags=all=-dwarf=false".to_owned());
    }
    if !part.tags.is_empty() {
        flags.extend(["-tags".to_owned(), part.tags.to_owned()]);
    }
    flags
}

/// What a part's content depends on, as a short name: the pinned versions, its own sources, Go's version and the flags.
pub fn key(part: Part, go_version: &str) -> String {
    let mut hash = Sha256::new();
    let own = part.package.strip_prefix("./").map(|folder| format!("{folder}/"));
    for (path, content) in FILES {
        let shared = path.strip_prefix(part.module).is_some_and(|file| matches!(file, "go.mod" | "go.sum"));
        if shared || own.as_deref().is_some_and(|o| path.starts_with(o)) {
            hash.update(format!("{path} {}\n{content}", content.len()));
        }
    }
    hash.update(format!("{} {go_version} {:?}", part.package, flags(part)));
    hex(&hash.finalize())[..16].to_owned()
}

/// What all of the sources are, as a short name.
pub fn tree_key() -> String {
    let mut hash = Sha256::new();
    for (path, content) in FILES {
        hash.update(format!("{path} {}\n{content}", content.len()));
    }
    hex(&hash.finalize())[..16].to_owned()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_key_follows_gos_version_and_not_other_parts_sources() {
        assert_eq!(key(ETCD, "go1"), key(ETCD, "go1"));
        assert_ne!(key(ETCD, "go1"), key(ETCD, "go2"));
        assert_ne!(key(ETCD, "go1"), key(KEEPER, "go1"));
    }

    #[test]
    fn a_parts_key_follows_the_module_that_pins_it() {
        let moved = Part { module: "", ..METRICS_SERVER };
        assert_ne!(key(METRICS_SERVER, "go1"), key(moved, "go1"));
        for part in [ETCD, METRICS_SERVER, PROMETHEUS, HELM_3, HELM_4, PROMTOOL] {
            let (path, package) = (format!("{}go.mod", part.module), part.package.trim_start_matches("./"));
            let go_mod = FILES.iter().find(|(file, _)| *file == path).unwrap().1;
            let pinned = |line: &str| line.split(' ').next().is_some_and(|module| package.starts_with(module.trim()));
            let lines = || go_mod.lines().map(|line| line.strip_prefix("require ").unwrap_or(line));
            assert!(part.package.starts_with("./") || lines().any(pinned), "{path}");
        }
    }

    #[test]
    fn the_version_that_is_named_is_the_version_that_is_pinned() {
        let go_mod = FILES.iter().find(|(path, _)| *path == "go.mod").unwrap().1;
        assert!(go_mod.contains(&format!("k8s.io/kubernetes {KUBERNETES}\n")));
        for (part, module) in [(HELM_3, "helm.sh/helm/v3"), (HELM_4, "helm.sh/helm/v4")] {
            let path = format!("{}go.mod", part.module);
            let go_mod = FILES.iter().find(|(file, _)| *file == path).unwrap().1;
            let version = part.link.split_once(".version=").unwrap().1.split(' ').next().unwrap();
            assert!(go_mod.contains(&format!("{module} {version}\n")), "{path} and {version}");
        }
    }
}
