//! What `/version` says: the shape of the API server's, so that what reads that reads this. Not where it is learnt: a
//! program says it of itself.

use serde::Serialize;

/// Which build of a program this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The first number of the version.
    pub major: &'static str,
    /// The second.
    pub minor: &'static str,
    /// The version, with a `v` as Kubernetes writes it: `v0.1.0`.
    pub git_version: &'static str,
    /// The commit's full hash; empty where it is not known.
    pub git_commit: &'static str,
    /// `clean`, or `dirty` if it was built with changes that are in no commit; empty where it is not known.
    pub git_tree_state: &'static str,
    /// The compiler and its version.
    pub compiler: &'static str,
    /// What it runs on: `linux/amd64`.
    pub platform: &'static str,
}

impl Version {
    /// A version of which no more is known than its number, `v0.1.0`.
    pub const fn number(version: &'static str) -> Self {
        let (major, minor) = (part(version, 0), part(version, 1));
        let platform = platform();
        Self { major, minor, git_version: version, git_commit: "", git_tree_state: "", compiler: "rustc", platform }
    }

    /// For one line on a terminal: `0.1.0 (commit 4f7c19ab20d1, with changes that are in no commit)`.
    pub fn line(&self) -> String {
        // As git shortens where no more is asked for, and long enough to stay alone.
        let commit = self.git_commit.get(..12).unwrap_or(self.git_commit);
        let number = self.git_version.trim_start_matches('v');
        match (commit, self.git_tree_state) {
            ("", _) => format!("{number} (commit unknown)"),
            (_, "dirty") => format!("{number} (commit {commit}, with changes that are in no commit)"),
            (_, "clean") => format!("{number} (commit {commit})"),
            _ => format!("{number} (commit {commit}, perhaps with changes)"),
        }
    }
}

/// One of the numbers between the points, without the `v` before the first.
const fn part(version: &'static str, nth: usize) -> &'static str {
    let bytes = version.as_bytes();
    let start = matches!(bytes.first(), Some(b'v')) as usize;
    let (mut from, mut at, mut seen) = (start, start, 0);
    while at < bytes.len() {
        if bytes[at] == b'.' {
            if seen == nth {
                break;
            }
            seen += 1;
            from = at + 1;
        }
        at += 1;
    }
    version.split_at(at).0.split_at(from).1
}

const fn platform() -> &'static str {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        "linux/amd64"
    } else if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
        "linux/arm64"
    } else {
        std::env::consts::OS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gives_its_parts() {
        let version = Version::number("v12.3.4-rc.1");
        assert_eq!((version.major, version.minor, version.git_version), ("12", "3", "v12.3.4-rc.1"));
    }

    #[test]
    fn what_is_not_known_of_the_commit_is_said() {
        let number = Version::number("v0.1.0");
        let commit = Version { git_commit: "4f7c19ab20d1e8a7c6b5", ..number };
        assert_eq!(number.line(), "0.1.0 (commit unknown)");
        assert_eq!(commit.line(), "0.1.0 (commit 4f7c19ab20d1, perhaps with changes)");
        assert_eq!(Version { git_tree_state: "clean", ..commit }.line(), "0.1.0 (commit 4f7c19ab20d1)");
        let dirty = Version { git_tree_state: "dirty", ..commit }.line();
        assert_eq!(dirty, "0.1.0 (commit 4f7c19ab20d1, with changes that are in no commit)");
    }
}
