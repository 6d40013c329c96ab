//! Builds a cluster's parts with Go and keeps them by content. It downloads nothing itself: Go fetches the pinned modules.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{Part, paths, source};

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
    let missing: Vec<_> = parts
        .iter()
        .copied()
        .zip(&places)
        .filter(|(_, place)| !place.exists())
        .map(|(part, p)| (part, p.as_path()))
        .collect();
    sweep(&paths::binaries()?);
    let tree = unpack()?;
    for batch in batches(&missing) {
        announce(&batch, parts.len() - missing.len());
        build(&tree, &batch)?;
    }
    Ok(places)
}

/// Parts that one call of Go can build: of one module, with the same flags, under names of their own.
fn batches<'a>(missing: &[(Part, &'a Path)]) -> Vec<Vec<(Part, &'a Path)>> {
    let mut batches: Vec<Vec<(Part, &Path)>> = Vec::new();
    for &(part, place) in missing {
        let fits = |batch: &&mut Vec<(Part, &Path)>| {
            let (first, _) = batch[0];
            first.module == part.module && source::flags(first) == source::flags(part)
        };
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push((part, place)),
            None => batches.push(vec![(part, place)]),
        }
    }
    batches
}

/// What Go calls a package's program.
fn program(part: Part) -> &'static str {
    part.package.rsplit('/').next().unwrap_or(part.package)
}

fn announce(batch: &[(Part, &Path)], there: usize) {
    let names: Vec<&str> = batch.iter().map(|(part, _)| part.name).collect();
    let how_long = if names.contains(&source::API_SERVER.name) {
        "this takes about eight minutes on two cores, once"
    } else {
        "this takes a minute or a few, once"
    };
    let there = if there == 0 { String::new() } else { format!(" ({there} other programs are built already)") };
    eprintln!("building with Go: {}{there}; {how_long}", names.join(", "));
}

/// Removes what killed builds left long enough ago that no compiler of theirs can still be at it.
fn sweep(binaries: &Path) {
    for entry in fs::read_dir(binaries).into_iter().flatten().flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with('.');
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok()).unwrap_or_default();
        if unfinished && age > Duration::from_secs(900) {
            let _ = fs::remove_dir_all(entry.path());
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

/// How often a build says how far it is.
const NEWS: Duration = Duration::from_secs(30);

/// Builds a batch into a folder of its own, then moves each program to its place.
fn build(tree: &Path, batch: &[(Part, &Path)]) -> Result<()> {
    let [(first, _), ..] = batch else { return Ok(()) };
    let fresh = paths::binaries()?.join(format!(".building-{}", paths::random()));
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    let mut command = Command::new("go");
    command.args(["build", "-v"]).args(source::flags(*first)).arg("-o").arg(&fresh);
    command.args(batch.iter().map(|(part, _)| part.package)).current_dir(tree.join(first.module));
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
    command.env_remove("GOOS").env_remove("GOARCH").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let built = run(command).and_then(|()| {
        for (part, place) in batch {
            let folder = place.parent().context("a program has a folder")?;
            fs::create_dir_all(folder)?;
            fs::rename(fresh.join(program(*part)), place)
                .with_context(|| format!("cannot install {}", place.display()))?;
        }
        Ok(())
    });
    let _ = fs::remove_dir_all(&fresh);
    built
}

/// Runs Go, which names each package that it compiles, and says now and then how far it is.
fn run(mut command: Command) -> Result<()> {
    let started = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|e| if e.kind() == std::io::ErrorKind::NotFound { anyhow::anyhow!(NO_GO) } else { e.into() })?;
    let lines = BufReader::new(child.stderr.take().context("standard error is a pipe")?).lines();
    let (mut packages, mut told, mut rest) = (0, Instant::now(), VecDeque::new());
    for line in lines {
        let line = line?;
        if is_package(&line) {
            packages += 1;
        } else {
            rest.push_back(line);
            if rest.len() > TAIL {
                rest.pop_front();
            }
        }
        if told.elapsed() > NEWS {
            eprintln!("  {packages} packages are compiled, {} s", started.elapsed().as_secs());
            told = Instant::now();
        }
    }
    if !child.wait()?.success() {
        bail!("building the local cluster's programs failed:\n{}", Vec::from(rest).join("\n"));
    }
    eprintln!("  built, {} s", started.elapsed().as_secs());
    Ok(())
}

/// How much of what Go said of a failure is shown.
const TAIL: usize = 15;

/// Whether a line is a package's path and nothing else, as `go build -v` prints it.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#') && !line.contains([' ', ':', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_is_one_call_of_go_and_helm_another() {
        let place = Path::new("/there");
        let all: Vec<_> =
            source::REAL.iter().chain(&[source::HELM_3, source::HELM_4]).map(|part| (*part, place)).collect();
        let sizes: Vec<usize> = batches(&all).iter().map(Vec::len).collect();
        assert_eq!(sizes, [source::REAL.len(), 1, 1]);
    }

    #[test]
    fn the_programs_of_one_call_have_names_of_their_own() {
        let mut names: Vec<_> = source::REAL.iter().chain(source::SIMULATED).map(|part| program(*part)).collect();
        let parts: Vec<_> = source::REAL.iter().chain(source::SIMULATED).map(|part| part.name).collect();
        assert_eq!(names, parts);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), source::REAL.len() + 1, "kwok is the only one that real nodes do without");
    }

    #[test]
    fn a_package_is_told_from_what_failed() {
        for (line, package) in [
            ("k8s.io/api/core/v1", true),
            ("net/http", true),
            ("# k8s.io/api/core/v1", false),
            ("x/y.go:3:4: undefined: z", false),
            ("go: downloading k8s.io/api v0.36.3", false),
            ("", false),
        ] {
            assert_eq!(is_package(line), package, "{line}");
        }
    }
}
