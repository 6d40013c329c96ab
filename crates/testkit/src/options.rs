//! What a caller chooses about a cluster. Not how it is carried out.

use std::str::FromStr;

/// What a cluster's pods run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nodes {
    /// Nothing runs: pods become ready by themselves, an image's name says whether they fail. No root is needed.
    Simulated,
    /// One real node: kubelet, containerd, runc and kube-proxy. Needs root on Linux.
    Real,
}

impl Nodes {
    /// `simulated` or `real`.
    pub fn as_str(self) -> &'static str {
        match self {
            Nodes::Simulated => "simulated",
            Nodes::Real => "real",
        }
    }
}

impl std::fmt::Display for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Nodes {
    type Err = anyhow::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "simulated" => Ok(Nodes::Simulated),
            "real" => Ok(Nodes::Real),
            other => anyhow::bail!("nodes are `simulated` or `real`, not `{other}`"),
        }
    }
}

/// What runs beside a cluster when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extra {
    /// metrics-server: the resource metrics API `metrics.k8s.io`, which `kubectl top` and autoscalers read.
    Metrics,
    /// Prometheus, which scrapes the nodes' resource metrics and, on a real node, annotated pods.
    Prometheus,
}

impl Extra {
    /// `metrics` or `prometheus`.
    pub fn as_str(self) -> &'static str {
        match self {
            Extra::Metrics => "metrics",
            Extra::Prometheus => "prometheus",
        }
    }
}

impl std::fmt::Display for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Extra {
    type Err = anyhow::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "metrics" => Ok(Extra::Metrics),
            "prometheus" => Ok(Extra::Prometheus),
            other => anyhow::bail!("beside a cluster run `metrics` and `prometheus`, not `{other}`"),
        }
    }
}

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The name that `trimtab local` knows it by: lower-case letters, digits and dashes, 20 characters at most.
    pub name: String,
    /// What its pods run on.
    pub nodes: Nodes,
    /// How many simulated nodes it has; a real cluster has one.
    pub node_count: u32,
    /// Put the sample application's images (`trimtab.local/sample:v1` and others) into a real node at the start.
    pub sample_images: bool,
    /// What runs beside it. Each is built the first time that it is asked for, which takes minutes. A cluster that is there already, by
    /// `USE_EXISTING_CLUSTER`, is taken as it is.
    pub with: Vec<Extra>,
    /// Be as strict as hardened clusters are, and as old ones: keep an audit log of what ServiceAccounts ask for
    /// ([`crate::Cluster::audit_log`]), let only those block the deletion of an owner who may finalize it, and stream no lists by
    /// watches. On simulated nodes only.
    pub strict: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            name: "trimtab".to_owned(),
            nodes: Nodes::Simulated,
            node_count: 4,
            sample_images: true,
            with: Vec::new(),
            strict: false,
        }
    }
}

impl ClusterOptions {
    /// Refuses what could not become a folder's, a host's and an interface's name.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let name = &self.name;
        let fits = !name.is_empty() && name.len() <= 20;
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        anyhow::ensure!(
            fits && plain && !name.starts_with('-') && !name.ends_with('-'),
            "a cluster's name is 1 to 20 lower-case letters, digits and inner dashes, not `{name}`"
        );
        anyhow::ensure!(
            (1..=1000).contains(&self.node_count),
            "a cluster has 1 to 1000 simulated nodes, not {}",
            self.node_count
        );
        anyhow::ensure!(
            !self.strict || self.nodes == Nodes::Simulated,
            "a strict cluster has simulated nodes: a real one writes its audit log where nobody reads it"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_folders_are_refused() {
        for (name, ok) in [
            ("a", true),
            ("two-words", true),
            ("", false),
            ("../x", false),
            ("-a", false),
            ("A", false),
            ("a".repeat(21).as_str(), false),
        ] {
            let options = ClusterOptions { name: name.to_owned(), ..Default::default() };
            assert_eq!(options.check().is_ok(), ok, "{name:?}");
        }
    }

    #[test]
    fn extras_read_back_what_they_print() {
        for extra in [Extra::Metrics, Extra::Prometheus] {
            assert_eq!(extra.to_string().parse::<Extra>().unwrap(), extra);
        }
        assert!("grafana".parse::<Extra>().is_err());
    }

    #[test]
    fn nodes_read_back_what_they_print() {
        for nodes in [Nodes::Simulated, Nodes::Real] {
            assert_eq!(nodes.to_string().parse::<Nodes>().unwrap(), nodes);
        }
        assert!("both".parse::<Nodes>().is_err());
    }
}
