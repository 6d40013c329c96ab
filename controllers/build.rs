//! Tells the crate which commit it is built from. `TRIMTAB_COMMIT` and `TRIMTAB_TREE_STATE` say it where there is no
//! checkout to ask (a source archive, a packager, `make image`). Without them optimised builds ask git; other builds do
//! not, so that no commit rebuilds anything there. What is not known is called unknown, never guessed.

use std::path::Path;
use std::process::Command;

/// What makes a build another one: everything that programs are built from.
const SOURCES: [&str; 6] = ["controllers", "cli", "crates", "crds", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TRIMTAB_COMMIT");
    println!("cargo::rerun-if-env-changed=TRIMTAB_TREE_STATE");
    let (commit, state) = told().or_else(asked).unwrap_or_default();
    let hex = commit.len() >= 7 && commit.len() <= 64 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex && !commit.is_empty() {
        println!("cargo::error=TRIMTAB_COMMIT={commit:?} is no commit: give its full hash, or leave it empty");
    }
    println!("cargo::rustc-env=TRIMTAB_BUILT_FROM={commit}");
    println!("cargo::rustc-env=TRIMTAB_BUILT_TREE={state}");
    println!("cargo::rustc-env=TRIMTAB_BUILT_BY={}", compiler());
}

/// What the environment says: it comes first, also when it says that nothing is known.
fn told() -> Option<(String, String)> {
    let commit = std::env::var("TRIMTAB_COMMIT").ok()?;
    Some((commit, std::env::var("TRIMTAB_TREE_STATE").unwrap_or_default()))
}

fn asked() -> Option<(String, String)> {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    // Sources that lie in somebody else's checkout are not that checkout's commit.
    if std::fs::canonicalize(top).ok()? != std::fs::canonicalize(root).ok()? {
        return None;
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    // Where HEAD moves to another commit, this is written; HEAD itself is not.
    for file in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(root, &["rev-parse", "--git-path", file])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let commit = git(root, &["rev-parse", "HEAD"])?;
    let clean = git(root, &["status", "--porcelain"])?.is_empty();
    Some((commit, if clean { "clean" } else { "dirty" }.to_owned()))
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let out = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// `rustc 1.95.0`, without what differs between builds of the same version.
fn compiler() -> String {
    let out = std::env::var("RUSTC").ok().and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
