//! Which commit the sources are of, and when it was made. Where that cannot be known it is not guessed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;

/// What is known of the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The commit's full hash, if they are a checkout.
    pub commit: Option<String>,
    /// Whether there are changes that are in no commit.
    pub dirty: bool,
    /// What counts as the time at which anything was made of them, in seconds since 1970: `SOURCE_DATE_EPOCH`, else that
    /// of the commit, else none.
    pub epoch: i64,
}

impl Sources {
    /// What a folder holds. Like the manager's build script, the environment comes first: `TRIMTAB_COMMIT` and
    /// `TRIMTAB_TREE_STATE` for sources that are no checkout.
    ///
    /// # Errors
    ///
    /// If `SOURCE_DATE_EPOCH` is no number.
    pub fn of(workspace: &Path) -> Result<Self> {
        let mut sources = Self::told().unwrap_or_else(|| Self::asked(workspace).unwrap_or_default());
        if let Some(epoch) = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|epoch| !epoch.is_empty()) {
            sources.epoch = epoch.parse().context("SOURCE_DATE_EPOCH is no number of seconds since 1970")?;
        }
        Ok(sources)
    }

    fn told() -> Option<Self> {
        let commit = Some(std::env::var("TRIMTAB_COMMIT").ok()?).filter(|commit| !commit.is_empty());
        Some(Self { commit, dirty: std::env::var("TRIMTAB_TREE_STATE").as_deref() == Ok("dirty"), epoch: 0 })
    }

    fn asked(workspace: &Path) -> Option<Self> {
        let top = git(workspace, &["rev-parse", "--show-toplevel"])?;
        // Sources that lie in somebody else's checkout are not that checkout's commit.
        if std::fs::canonicalize(top).ok()? != std::fs::canonicalize(workspace).ok()? {
            return None;
        }
        Some(Self {
            commit: Some(git(workspace, &["rev-parse", "HEAD"])?),
            dirty: !git(workspace, &["status", "--porcelain"])?.is_empty(),
            epoch: git(workspace, &["log", "-1", "--format=%ct"])?.parse().ok()?,
        })
    }

    /// `clean`, `dirty`, or nothing where no commit is known.
    pub fn state(&self) -> &'static str {
        match (&self.commit, self.dirty) {
            (None, _) => "",
            (Some(_), false) => "clean",
            (Some(_), true) => "dirty",
        }
    }

    /// The commit, marked if that is not all.
    pub fn revision(&self) -> Option<String> {
        self.commit.as_ref().map(|commit| if self.dirty { format!("{commit}-dirty") } else { commit.clone() })
    }

    /// When they count as made, as RFC 3339.
    ///
    /// # Errors
    ///
    /// If that is no moment that can be written.
    pub fn created(&self) -> Result<String> {
        let time = Timestamp::from_second(self.epoch).context("SOURCE_DATE_EPOCH is out of range")?;
        Ok(time.to_string())
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let out = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_inside_a_checkout_is_not_its_commit() {
        assert_eq!(Sources::asked(Path::new(env!("CARGO_MANIFEST_DIR"))), None);
        assert_eq!(Sources::asked(Path::new("/")), None);
    }

    #[test]
    fn what_is_in_no_commit_is_said() {
        let clean = Sources { commit: Some("4f7c".to_owned()), dirty: false, epoch: 1_767_323_045 };
        let dirty = Sources { dirty: true, ..clean.clone() };
        assert_eq!((clean.revision().unwrap().as_str(), clean.state()), ("4f7c", "clean"));
        assert_eq!((dirty.revision().unwrap().as_str(), dirty.state()), ("4f7c-dirty", "dirty"));
        assert_eq!((Sources::default().revision(), Sources::default().state()), (None, ""));
        assert_eq!(clean.created().unwrap(), "2026-01-02T03:04:05Z");
    }
}
