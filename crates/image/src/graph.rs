//! Which crates a program is made of, as Cargo resolved them for one package and one target: no dependency of tests, of build
//! scripts or of macros. Not what the linker keeps of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::said;

/// A crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from; `None` for those of the workspace.
    pub source: Option<String>,
    /// The licence that its manifest names.
    pub licence: Option<String>,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// The SHA-256 of the archive that it came in.
    pub checksum: Option<String>,
    /// Where its files are on this machine.
    pub folder: PathBuf,
    /// What it uses, as places in the list.
    pub dependencies: Vec<usize>,
}

/// All crates of a program, by name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// The crates.
    pub packages: Vec<Package>,
    /// The one that the program is of.
    pub root: usize,
}

impl Graph {
    /// Asks Cargo.
    ///
    /// # Errors
    ///
    /// If Cargo fails, or its answers do not fit each other.
    pub fn read(workspace: &Path, package: &str, target: &str) -> Result<Self> {
        let tree = ["tree", "--locked", "-p", package, "--target", target, "-e", "normal,no-proc-macro"];
        let tree = cargo(workspace, &[&tree[..], &["--prefix", "depth", "-f", " {p}"]].concat())?;
        let metadata = cargo(workspace, &["metadata", "--locked", "--format-version=1", "--filter-platform", target])?;
        let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata is not as expected")?;
        let lock = std::fs::read_to_string(workspace.join("Cargo.lock")).context("cannot read Cargo.lock")?;
        Self::of(&tree, metadata, &lock)
    }

    fn of(tree: &str, metadata: Metadata, lock: &str) -> Result<Self> {
        let (edges, root) = edges(tree)?;
        let checksums = checksums(lock);
        let mut known: BTreeMap<Id, Described> =
            metadata.packages.into_iter().map(|p| ((p.name.clone(), p.version.clone()), p)).collect();
        let order: Vec<&Id> = edges.keys().collect();
        let place = |id: &Id| order.binary_search(&id).ok().with_context(|| format!("{} {} is missing", id.0, id.1));
        let mut packages = vec![];
        for (id, uses) in &edges {
            let described = known.remove(id).with_context(|| format!("cargo metadata has no {} {}", id.0, id.1))?;
            packages.push(Package {
                name: id.0.clone(),
                version: id.1.clone(),
                source: described.source,
                licence: described.license,
                repository: described.repository,
                checksum: checksums.get(id).cloned(),
                folder: described.manifest_path.parent().context("a manifest is in a folder")?.to_owned(),
                dependencies: uses.iter().map(place).collect::<Result<_>>()?,
            });
        }
        Ok(Self { root: place(&root)?, packages })
    }

    /// The crate that the program is of.
    pub fn root(&self) -> &Package {
        &self.packages[self.root]
    }
}

type Id = (String, String);

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    version: String,
    source: Option<String>,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

/// What uses what, out of lines such as `2 clap_builder v4.6.7`, whose number says how deep they are.
fn edges(tree: &str) -> Result<(BTreeMap<Id, BTreeSet<Id>>, Id)> {
    let mut edges: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut above: Vec<Id> = vec![];
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let mut word = || words.next().with_context(|| format!("cargo tree says {line:?}"));
        let (depth, name, version) = (word()?.parse::<usize>()?, word()?, word()?);
        ensure!(depth <= above.len(), "cargo tree skips a level before {line:?}");
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        above.truncate(depth);
        if let Some(user) = above.last() {
            edges.entry(user.clone()).or_default().insert(id.clone());
        }
        edges.entry(id.clone()).or_default();
        above.push(id);
    }
    let root = above.into_iter().next().context("cargo tree lists nothing")?;
    Ok((edges, root))
}

/// Checksums, out of the lines of Cargo.lock.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        line.map(|value| value.trim().trim_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    let entry = |b: &str| Some(((value(b, "name")?, value(b, "version")?), value(b, "checksum")?));
    blocks.filter_map(entry).collect()
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    said(Command::new(program).args(arguments).current_dir(workspace))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const TREE: &str =
        "0 top v1.0.0 (/somewhere/top)\n1 left v2.0.0\n2 base v3.0.0\n1 right v2.1.0\n2 base v3.0.0 (*)\n";
    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"base\"\nversion = \"3.0.0\"\nchecksum = \"ab\"\n\n\
                        [[package]]\nname = \"top\"\nversion = \"1.0.0\"\n";

    /// Three crates of a registry under one of the workspace.
    pub(crate) fn diamond() -> Graph {
        let package = |name: &str, version: &str| {
            let local = name == "top";
            Described {
                name: name.to_owned(),
                version: version.to_owned(),
                source: (!local).then(|| crate::sbom::CRATES_IO.to_owned()),
                license: Some("MIT/Apache-2.0".to_owned()),
                repository: None,
                manifest_path: PathBuf::from(format!("/nowhere/{name}/Cargo.toml")),
            }
        };
        let packages =
            [("top", "1.0.0"), ("left", "2.0.0"), ("right", "2.1.0"), ("base", "3.0.0"), ("tests-only", "1.0.0")];
        let metadata = Metadata { packages: packages.map(|(name, version)| package(name, version)).into() };
        Graph::of(TREE, metadata, LOCK).unwrap()
    }

    #[test]
    fn what_cargo_tells_becomes_a_graph() {
        let graph = diamond();
        let names: Vec<&str> = graph.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["base", "left", "right", "top"], "what no program holds is left out");
        assert_eq!(graph.root().name, "top");
        assert_eq!(graph.root().dependencies, [1, 2]);
        assert_eq!((&graph.packages[1].dependencies, &graph.packages[2].dependencies), (&vec![0], &vec![0]));
        assert_eq!(graph.packages[0].checksum.as_deref(), Some("ab"));
        assert_eq!(graph.root().checksum, None);
    }

    #[test]
    fn the_manager_consists_of_what_it_uses_and_of_nothing_else() {
        let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let graph = Graph::read(workspace, "trimtab-controllers", "x86_64-unknown-linux-gnu").unwrap();
        let has = |name: &str| graph.packages.iter().any(|p| p.name == name);
        assert!(["trimtab", "kube-client", "rustls", "tokio", "serde_json"].into_iter().all(has));
        // A macro, a build script's, a test's, another program's, another system's.
        for absent in ["serde_derive", "cc", "proptest", "trimtab-testkit", "windows-sys"] {
            assert!(!has(absent), "{absent}");
        }
        for package in &graph.packages {
            assert!(package.licence.is_some(), "{} names no licence", package.name);
            assert_eq!(package.source.is_some(), package.checksum.is_some(), "{}", package.name);
        }
    }
}
