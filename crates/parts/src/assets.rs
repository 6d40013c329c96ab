//! Where a cluster's programs come from: `TEST_ASSET_<NAME>`, then `KUBEBUILDER_ASSETS`, then the cache, then building them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::builder;
use crate::source::Part;

/// Programs by name.
#[derive(Clone, Debug, Default)]
pub struct Assets(Vec<(&'static str, PathBuf)>);

impl Assets {
    /// Where a part is.
    ///
    /// # Errors
    ///
    /// If it was not asked for when these were looked up.
    pub fn path(&self, part: Part) -> Result<&Path> {
        let found = self.0.iter().find(|(name, _)| *name == part.name);
        found
            .map(|(_, path)| path.as_path())
            .with_context(|| format!("{} was not looked up for this cluster", part.name))
    }

    /// The same as text.
    ///
    /// # Errors
    ///
    /// If it was not asked for when these were looked up.
    pub fn text(&self, part: Part) -> Result<String> {
        Ok(self.path(part)?.display().to_string())
    }
}

/// Where a program is if the environment says so: `TEST_ASSET_<NAME>`, then `KUBEBUILDER_ASSETS/<name>`; nothing where the cache or a build
/// must provide it. `env` reads a variable and `exists` asks for a file, so that tests need neither.
pub fn lookup(name: &str, env: impl Fn(&str) -> Option<OsString>, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let variable = format!("TEST_ASSET_{}", name.to_uppercase().replace('-', "_"));
    if let Some(path) = env(&variable).filter(|v| !v.is_empty()) {
        return Some(PathBuf::from(path));
    }
    let folder = env("KUBEBUILDER_ASSETS").filter(|v| !v.is_empty())?;
    Some(Path::new(&folder).join(name)).filter(|path| exists(path))
}

/// Finds the parts, building those that are nowhere. Blocks for as long as that takes.
pub fn ensure(parts: &[Part]) -> Result<Assets> {
    let given: Vec<_> = parts.iter().map(|p| lookup(p.name, |v| std::env::var_os(v), |path| path.exists())).collect();
    let rest: Vec<Part> = parts.iter().zip(&given).filter(|(_, g)| g.is_none()).map(|(p, _)| *p).collect();
    let mut built = builder::ensure(&rest)?.into_iter();
    let mut found = Vec::new();
    for (part, given) in parts.iter().zip(given) {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => built.next().context("the builder returns as many programs as it was asked for")?,
        };
        anyhow::ensure!(path.exists(), "{} does not exist: the environment names it as {}", path.display(), part.name);
        found.push((part.name, path));
    }
    Ok(Assets(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<OsString> {
        match name {
            "TEST_ASSET_KUBE_APISERVER" => Some("/one/api".into()),
            "KUBEBUILDER_ASSETS" => Some("/assets".into()),
            _ => None,
        }
    }

    #[test]
    fn the_programs_own_variable_comes_first() {
        assert_eq!(lookup("kube-apiserver", env, |_| true), Some(PathBuf::from("/one/api")));
    }

    #[test]
    fn the_assets_folder_comes_second_and_only_with_the_file_in_it() {
        assert_eq!(lookup("etcd", env, |_| true), Some(PathBuf::from("/assets/etcd")));
        assert_eq!(lookup("etcd", env, |_| false), None);
    }

    #[test]
    fn without_either_the_cache_provides() {
        assert_eq!(lookup("etcd", |_| None, |_| true), None);
    }
}
