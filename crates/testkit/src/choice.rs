//! Which nodes a machine can have, and what it lacks for real ones. Nothing is started here.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::options::Nodes;

/// A program that a real node needs, and the Debian package that it comes in.
const NEEDED: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
    ("unshare", "util-linux"),
];

/// Where Debian puts the network plug-ins.
pub(crate) const CNI: &str = "/usr/lib/cni";

/// The Debian packages that a real node needs and this machine lacks.
pub fn packages_missing() -> Vec<String> {
    let mut missing: Vec<String> = NEEDED
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| (*package).to_owned())
        .collect();
    if !Path::new(CNI).join("ptp").exists() {
        missing.push("containernetworking-plugins".into());
    }
    missing.sort();
    missing.dedup();
    missing
}

/// A program on the PATH, or where Debian puts an administrator's programs.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Installs the missing packages with apt-get. Needs root.
pub fn install_packages() -> Result<()> {
    let missing = packages_missing();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install them by hand: apt-get install {}", missing.join(" "));
    if !root() || find("apt-get").is_none() {
        bail!(
            "real nodes need packages that are not there, and only root with apt-get can install them here; {by_hand}"
        );
    }
    for arguments in [
        vec!["update"],
        [vec!["install", "-y", "--no-install-recommends"], missing.iter().map(String::as_str).collect()].concat(),
    ] {
        let out = Command::new("apt-get")
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("cannot run apt-get")?;
        if !out.status.success() && arguments[0] != "update" {
            bail!("apt-get failed; {by_hand}\n{}", String::from_utf8_lossy(&out.stderr).trim());
        }
    }
    Ok(())
}

pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What the nodes of a new cluster are to be, from `auto`, `real` or `simulated`, and one sentence saying why. `auto` is real nodes where
/// this process is root on Linux, may make namespaces, and has the packages; `install_packages` provides those.
pub fn choose_nodes(request: &str) -> Result<(Nodes, String)> {
    let missing = packages_missing();
    let namespaces = root() && (missing.iter().any(|p| p == "util-linux") || may_make_namespaces());
    choose(request, cfg!(target_os = "linux"), root(), namespaces, &missing)
}

/// Root in a container often may not.
fn may_make_namespaces() -> bool {
    let out = Command::new("unshare").args(["--pid", "--fork", "--mount", "--net", "true"]).output();
    out.is_ok_and(|out| out.status.success())
}

fn choose(request: &str, linux: bool, root: bool, namespaces: bool, missing: &[String]) -> Result<(Nodes, String)> {
    let obstacle = if !linux {
        Some("a real node needs Linux".to_owned())
    } else if !root {
        Some("a real node needs root, and this is another user".to_owned())
    } else if !namespaces {
        Some("a real node needs namespaces of its own, and this root may not make them (a container without privileges?)".to_owned())
    } else if !missing.is_empty() {
        Some(format!("a real node needs packages that are not installed: {}", missing.join(", ")))
    } else {
        None
    };
    match (request, obstacle) {
        ("simulated", _) => Ok((Nodes::Simulated, "asked for".to_owned())),
        ("real", None) => Ok((Nodes::Real, "asked for".to_owned())),
        ("real", Some(obstacle)) => bail!("{obstacle}; ask for simulated nodes, or provide it"),
        ("auto", None) => {
            Ok((Nodes::Real, "this is root on Linux, and everything that a real node needs is installed".to_owned()))
        }
        ("auto", Some(obstacle)) => Ok((Nodes::Simulated, obstacle)),
        (other, _) => bail!("nodes are `auto`, `real` or `simulated`, not `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_real_only_where_all_is_there() {
        let nodes = |linux, root, missing: &[String]| choose("auto", linux, root, root, missing).unwrap().0;
        assert_eq!(nodes(true, true, &[]), Nodes::Real);
        assert_eq!(nodes(true, false, &[]), Nodes::Simulated);
        assert_eq!(nodes(false, true, &[]), Nodes::Simulated);
        assert_eq!(nodes(true, true, &["runc".into()]), Nodes::Simulated);
        assert_eq!(choose("auto", true, true, false, &[]).unwrap().0, Nodes::Simulated);
    }

    #[test]
    fn asking_for_real_nodes_in_vain_says_what_is_missing() {
        let error = choose("real", true, true, true, &["runc".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("runc"), "{error}");
        assert!(choose("both", true, true, true, &[]).is_err());
    }
}
