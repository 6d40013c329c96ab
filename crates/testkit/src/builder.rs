//! Builds a cluster's parts with Go and keeps them by content. It downloads nothing itself: Go fetches the pinned modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::source::{self, Part};

const NO_GO: &str = "Go is needed to build the local cluster's programs and is not on the PATH: install Go 1.26 or newer, from \
                     https://go.dev/dl or your system's packages";

/// Go's own version, as `go version` prints it. Where there is no Go, the one that filled the cache: what it built is still good.
fn go_version() -> Result<String> {
    let note = paths::cache_dir()?.join("go-version");
    let out = match Command::new("go").arg("version").env("GOTOOLCHAIN", "local").output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return fs::read_to_string(note).map_err(|_| anyhow::anyhow!(NO_GO));
        }
        other => other.context("cannot run `go version`")?,
    };
    if !out.status.success() {
        bail!("`go version` failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let version = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if fs::read_to_string(&note).ok().as_ref() != Some(&version) {
        fs::write(&note, &version).with_context(|| format!("cannot write {}", note.display()))?;
    }
    Ok(version)
}

fn place(part: Part, go: &str) -> Result<PathBuf> {
    Ok(paths::binaries()?.join(source::key(part, go)).join(part.name))
}

/// Where each part is once those that are missing have been built, in the order asked.
pub(crate) fn ensure(parts: &[Part]) -> Result<Vec<PathBuf>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let go = go_version()?;
    let places = parts.iter().map(|p| place(*p, &go)).collect::<Result<Vec<_>>>()?;
    if places.iter().all(|p| p.exists()) {
        return Ok(places);
    }
    // One builder at a time: the second finds the first one's work done. The lock goes with its process, however that ends.
    let _lock = lock()?;
    let missing: Vec<_> = parts.iter().zip(&places).filter(|(_, place)| !place.exists()).collect();
    sweep(&paths::binaries()?);
    let tree = unpack()?;
    for (n, (part, place)) in missing.iter().enumerate() {
        let started = Instant::now();
        eprint!("building {} ({} of {}) ... ", part.name, n + 1, missing.len());
        let built = build(&tree, **part, place);
        if built.is_err() {
            eprintln!("failed");
        }
        built?;
        eprintln!("{} s", started.elapsed().as_secs());
    }
    Ok(places)
}

/// Removes what killed builds left long enough ago that no compiler of theirs can still be at it.
fn sweep(binaries: &Path) {
    let folders = fs::read_dir(binaries).into_iter().flatten().flatten();
    for entry in folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with('.');
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok()).unwrap_or_default();
        if unfinished && age > Duration::from_secs(900) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn lock() -> Result<File> {
    let path = paths::cache_dir()?.join("build.lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("another process builds the local cluster's programs: waiting for it");
        file.lock().context("cannot wait for the build lock")?;
    }
    Ok(file)
}

/// Lays the sources out in a folder named by their content; a folder that a killed process left half made is made good.
fn unpack() -> Result<PathBuf> {
    let tree = paths::sources()?.join(source::tree_key());
    for (path, content) in source::FILES {
        let file = tree.join(path);
        if fs::read_to_string(&file).is_ok_and(|found| found == *content) {
            continue;
        }
        let folder = file.parent().context("a source file has a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(tree)
}

fn build(tree: &Path, part: Part, place: &Path) -> Result<()> {
    let folder = place.parent().context("a program has a folder")?;
    fs::create_dir_all(folder)?;
    let fresh = folder.join(format!(".{}-{}", part.name, paths::random()));
    let out = Command::new("go")
        .arg("build")
        .args(source::flags(part))
        .arg("-o")
        .arg(&fresh)
        .arg(part.package)
        .current_dir(tree.join(part.module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| if e.kind() == std::io::ErrorKind::NotFound { anyhow::anyhow!(NO_GO) } else { e.into() })?;
    if !out.status.success() {
        let _ = fs::remove_file(&fresh);
        let stderr = String::from_utf8_lossy(&out.stderr);
        let tail: Vec<_> = stderr.lines().rev().take(15).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        bail!("building {} failed:\n{}", part.name, tail.join("\n"));
    }
    fs::rename(&fresh, place).with_context(|| format!("cannot install {}", place.display()))
}
