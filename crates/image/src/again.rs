//! Makes the image a second time, elsewhere, and compares: the proof that anybody can make the same. It shares the compiler and
//! the C library with the first, which decide what comes out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::manager::Made;
use crate::recipe::{self, Places};
use crate::sha256;
use crate::sources::Sources;

/// Makes the image in a folder of its own, from a copy of the sources, with other folders of Cargo.
///
/// # Errors
///
/// If the sources cannot be copied, or the image cannot be made there.
pub fn elsewhere(places: &Places, sources: &Sources) -> Result<Made> {
    let folder = std::env::temp_dir().join(format!("trimtab-image-{}", std::process::id()));
    let other = Places {
        workspace: folder.join("another/place for sources"),
        target: folder.join("built"),
        cargo_home: folder.join("cargo"),
    };
    let made = prepare(places, &other).and_then(|()| {
        let other = Places { workspace: std::fs::canonicalize(&other.workspace)?, ..other };
        recipe::make(&other, sources, &places.target.join("image/again"))
    });
    // More than a gigabyte that nobody needs.
    _ = std::fs::remove_dir_all(&folder);
    made
}

/// An error that says what differs, unless both archives are the same to the bit.
///
/// # Errors
///
/// If they differ, or cannot be read.
pub fn compare(one: &Made, two: &Made) -> Result<()> {
    ensure!(one.digest == two.digest, "the images differ: {} and {}", one.digest, two.digest);
    for (one, two) in [(&one.archive, &two.archive), (&one.contents, &two.contents)] {
        let hash = |path: &PathBuf| {
            anyhow::Ok(sha256(&std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
        };
        ensure!(hash(one)? == hash(two)?, "{} and {} differ", one.display(), two.display());
    }
    Ok(())
}

fn prepare(from: &Places, to: &Places) -> Result<()> {
    for folder in [&to.workspace, &to.target, &to.cargo_home] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // The same crates under another path; they need not be had a second time.
    std::os::unix::fs::symlink(from.cargo_home.join("registry"), to.cargo_home.join("registry"))?;
    for file in files(&from.workspace)? {
        let (old, new) = (from.workspace.join(&file), to.workspace.join(&file));
        // What was deleted and is still known to git is not there.
        if old.is_file() {
            std::fs::create_dir_all(new.parent().context("a file is in a folder")?)?;
            std::fs::copy(&old, &new).with_context(|| format!("cannot copy {}", old.display()))?;
        }
    }
    Ok(())
}

/// All files of the sources, by their paths from the workspace.
fn files(workspace: &Path) -> Result<Vec<PathBuf>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let out = Command::new("git").arg("-C").arg(workspace).args(list).output().context("git cannot be run")?;
    ensure!(out.status.success(), "the second build needs a git checkout to know which files to copy");
    let text = String::from_utf8(out.stdout)?;
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from).collect())
}
