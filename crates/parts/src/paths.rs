//! Where local clusters and their programs are kept on disk. Nothing here reads or writes a file's content.

use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Trimtab's folder in the user's cache: `$XDG_CACHE_HOME/trimtab`, or `~/.cache/trimtab`.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home = std::env::home_dir().context("no home folder is known: set XDG_CACHE_HOME or HOME")?;
            home.join(".cache")
        }
    };
    let dir = std::path::absolute(base.join("trimtab"))?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the cache folder {}", dir.display()))?;
    Ok(dir)
}

fn sub(name: &str) -> Result<PathBuf> {
    let dir = cache_dir()?.join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Programs that were built, one folder for each content.
pub fn binaries() -> Result<PathBuf> {
    sub("bin")
}

/// Sources that programs are built from.
pub fn sources() -> Result<PathBuf> {
    sub("src")
}

/// Clusters that stay up after whoever started them.
pub fn clusters() -> Result<PathBuf> {
    sub("clusters")
}

/// Clusters that end with whoever started them.
pub fn runs() -> Result<PathBuf> {
    sub("run")
}

/// A short random name, from the randomness that the standard library seeds its hash maps with.
pub fn random() -> String {
    let n = std::hash::RandomState::new().build_hasher().finish();
    format!("{:08x}", n as u32)
}
