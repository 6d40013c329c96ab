//! How the manager's program is built so that it is the same wherever that is done: static, and without a path of the machine.
//! Not what is put around it, see `manager`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::said;
use crate::graph::Graph;
use crate::licences;
use crate::manager::{self, Ingredients, Made, PACKAGE, PROGRAM, REPOSITORY};
use crate::sources::Sources;

/// Shorter paths are found in programs that do not hold them.
const TELLING: usize = 8;

/// Where the sources are and where things are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The workspace.
    pub workspace: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// Cargo's own folder, where the sources of crates are.
    pub cargo_home: PathBuf,
}

impl Places {
    /// The places of a workspace, as Cargo would take them here.
    ///
    /// # Errors
    ///
    /// If there is no home folder.
    pub fn of(workspace: &Path) -> Result<Self> {
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| format!("{}", path.display()));
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cargo_home = set("CARGO_HOME").or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let target = set("CARGO_TARGET_DIR").unwrap_or_else(|| workspace.join("target"));
        Ok(Self {
            workspace: std::fs::canonicalize(workspace)?,
            target: absolute(target)?,
            cargo_home: absolute(cargo_home.context("no home folder is known: set CARGO_HOME")?)?,
        })
    }

    /// What these paths are called in the program, the longer of two that begin alike last, since the last one counts.
    fn names(&self) -> Result<Vec<(PathBuf, String)>> {
        let rustc = compiler(&["--print", "sysroot"])?;
        let verbose = compiler(&["-vV"])?;
        let commit =
            verbose.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown").to_owned();
        let mut names = vec![
            (self.workspace.clone(), "/trimtab".to_owned()),
            (self.target.clone(), "/target".to_owned()),
            (self.cargo_home.clone(), "/cargo".to_owned()),
            // As the standard library's sources are called where they are not installed.
            (Path::new(rustc.trim()).join("lib/rustlib/src/rust"), format!("/rustc/{commit}")),
        ];
        names.sort_by_key(|(path, _)| path.as_os_str().len());
        Ok(names)
    }
}

/// Builds the program and writes its image into a folder.
///
/// # Errors
///
/// If the program cannot be built, would not be the same elsewhere, or its image cannot be written.
pub fn make(places: &Places, sources: &Sources, to: &Path) -> Result<Made> {
    let triple = triple()?;
    let program = build(places, sources, &triple)?;
    let program = std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    for path in [&places.workspace, &places.target, &places.cargo_home] {
        let text = path.to_string_lossy();
        let holds = text.len() >= TELLING && contains(&program, text.as_bytes());
        ensure!(
            !holds,
            "the program holds the path {text}, so it would be another one elsewhere: see crates/image/src/recipe.rs"
        );
    }
    let graph = Graph::read(&places.workspace, PACKAGE, &triple)?;
    let read = |file: &str| {
        std::fs::read_to_string(places.workspace.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let ingredients = Ingredients {
        repository: REPOSITORY,
        program: &program,
        graph: &graph,
        parts: &manager::parts(&read("Cargo.lock")?)?,
        third_party: &licences::of(&graph)?,
        licence: &read("LICENSE")?,
        home: graph.root().repository.as_deref().unwrap_or_default(),
        sources,
    };
    manager::write(&ingredients, to)
}

/// Where the program is when it is built.
fn build(places: &Places, sources: &Sources, triple: &str) -> Result<PathBuf> {
    let names = places.names()?;
    let mut rust = vec!["-Ctarget-feature=+crt-static".to_owned()];
    rust.extend(names.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));
    let c = names.iter().map(|(path, name)| format!("'-ffile-prefix-map={}={name}'", path.display()));
    let c: Vec<String> = c.collect();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--release", "--package", PACKAGE, "--bin", PROGRAM, "--target", triple]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(&places.workspace)
        .env("CARGO_TARGET_DIR", &places.target)
        .env("CARGO_HOME", &places.cargo_home)
        // The only form in which a path may have a space in it; it also comes before all other such settings.
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
        .env(format!("CFLAGS_{}", triple.replace('-', "_")), c.join(" "))
        // So that it may have quotes in it.
        .env("CC_SHELL_ESCAPED_FLAGS", "1")
        .env("CARGO_INCREMENTAL", "0")
        .env("TRIMTAB_COMMIT", sources.commit.as_deref().unwrap_or_default())
        .env("TRIMTAB_TREE_STATE", sources.state())
        // The program holds no time. The commit's, here, would have C parts and all that rests on them built anew for each commit.
        .env("SOURCE_DATE_EPOCH", "0");
    let ended = cargo.status().context("cargo cannot be run")?;
    ensure!(ended.success(), "{PROGRAM} could not be built; the reason stands above");
    Ok(places.target.join(triple).join("release").join(PROGRAM))
}

/// The target that is linked with glibc, for the processor of this machine.
fn triple() -> Result<String> {
    ensure!(
        cfg!(target_os = "linux"),
        "the image is built on Linux: its program is linked with this machine's C library"
    );
    Ok(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
}

fn compiler(arguments: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    said(Command::new(rustc).args(arguments))
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_two_paths_is_named_last() {
        let places = Places {
            workspace: "/build".into(),
            target: "/build/target".into(),
            cargo_home: "/build/target/cargo".into(),
        };
        let names: Vec<String> = places.names().unwrap().into_iter().map(|(_, name)| name).collect();
        let place = |name: &str| names.iter().position(|n| n == name).unwrap();
        assert!(place("/trimtab") < place("/target") && place("/target") < place("/cargo"), "{names:?}");
    }

    #[test]
    fn a_path_in_a_program_is_found() {
        assert!(contains(b"\0panicked at /home/somebody/x.rs", b"/home/somebody"));
        assert!(!contains(b"/home", b"/home/somebody"));
    }
}
