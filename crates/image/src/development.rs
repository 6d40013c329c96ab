//! An image of the manager as it was built for development, in seconds: with the loader and the libraries of this machine beside
//! it, unoptimised, without a list of its contents. For clusters on this machine, and for nobody else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::archive::{Archive, Image, Layer};
use crate::command::said;
use crate::manager::{self, PROGRAM, REPOSITORY};
use crate::recipe::Places;
use crate::tar;

/// Builds the program as tests use it and writes its image into a folder; gives the archive.
///
/// # Errors
///
/// If the program cannot be built, or this machine has no `ldd` to ask what it needs.
pub fn make(places: &Places, to: &Path) -> Result<PathBuf> {
    let program = build(places)?;
    let mut layer = vec![];
    let stripped = to.join(format!("{PROGRAM}.stripped"));
    std::fs::create_dir_all(to).with_context(|| format!("cannot make the folder {}", to.display()))?;
    said(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(&program))?;
    tar::file(&mut layer, PROGRAM, 0o755, &std::fs::read(&stripped)?)?;
    std::fs::remove_file(&stripped)?;
    manager::surroundings(&mut layer)?;
    let libraries = libraries(&said(Command::new("ldd").arg(&program))?);
    ensure!(!libraries.is_empty(), "{} needs no library: `make image` is for such programs", program.display());
    for folder in folders(&libraries) {
        tar::folder(&mut layer, &folder)?;
    }
    for library in &libraries {
        let content = std::fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
        tar::file(&mut layer, library.to_string_lossy().trim_start_matches('/'), 0o755, &content)?;
    }
    tar::finish(&mut layer)?;
    let mut archive = Archive::new(Layer::plain(layer));
    archive.add(&Image::new(format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION")), format!("/{PROGRAM}")))?;
    let path = to.join(format!("{PROGRAM}-development.tar"));
    archive.write(&path)?;
    Ok(path)
}

/// With the features that the tests have it built with, or it would be built twice.
fn build(places: &Places) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bin", PROGRAM]).current_dir(&places.workspace);
    let ended = command.env("CARGO_TARGET_DIR", &places.target).status().context("cargo cannot be run")?;
    ensure!(ended.success(), "{PROGRAM} could not be built; the reason stands above");
    Ok(places.target.join("debug").join(PROGRAM))
}

/// The files that `ldd` names: the loader and the libraries, not what the kernel maps into every process.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(path).collect()
}

/// The folders that these files are in, the outer ones first.
fn folders(files: &[PathBuf]) -> BTreeSet<String> {
    let inside = |file: &PathBuf| file.ancestors().skip(1).map(Path::to_path_buf).collect::<Vec<_>>();
    let names = files.iter().flat_map(inside).map(|folder| folder.to_string_lossy().trim_start_matches('/').to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_needs_is_read_from_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let needed = libraries(ldd);
        assert_eq!(needed, [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
        assert_eq!(folders(&needed).into_iter().collect::<Vec<_>>(), ["lib", "lib/x86_64-linux-gnu", "lib64"]);
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
