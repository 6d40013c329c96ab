//! Which version and commit this is, as the build script was told. Not how that is learnt.

use std::sync::LazyLock;

use trimtab::admin::Version;

/// This build.
pub const VERSION: Version = Version {
    git_commit: env!("TRIMTAB_BUILT_FROM"),
    git_tree_state: env!("TRIMTAB_BUILT_TREE"),
    compiler: env!("TRIMTAB_BUILT_BY"),
    ..Version::number(concat!("v", env!("CARGO_PKG_VERSION")))
};

/// The same as `--version` says it after the program's name.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| VERSION.line());
    &LINE
}
