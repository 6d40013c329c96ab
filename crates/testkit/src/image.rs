//! The images that clusters on this machine have from the start: the sample application and what holds pods. How an archive
//! is made is `trimtab-image`'s.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use trimtab_image::archive::{Archive, Layer};
use trimtab_image::tar;

use trimtab_parts::source;

use crate::tools;

pub use trimtab_image::archive::Image;

/// Where the program of such an image is.
const PROGRAM: &str = "/app";
/// Other names of the sample's program: what it is called by there is up to it.
const SAMPLE_PROGRAMS: [&str; 2] = ["cat", "kill"];

/// The sample application's images: three versions that work and three that fail, each in its own way.
pub fn sample_images() -> Vec<Image> {
    let good = ["v1", "v2", "v3"].map(sample);
    let bad = ["crash", "unready", "errors"].map(|f| sample(&format!("broken-{f}")).env("FAIL", f));
    good.into_iter().chain(bad).collect()
}

fn sample(tag: &str) -> Image {
    image(format!("trimtab.local/sample:{tag}")).env("VERSION", tag)
}

/// An image of one program.
pub(crate) fn image(reference: impl Into<String>) -> Image {
    Image::new(reference, PROGRAM)
}

/// The sample application's program, built where it is not yet.
pub async fn sample_binary() -> Result<PathBuf> {
    Ok(tools::ensure(vec![source::SAMPLE]).await?.path(source::SAMPLE)?.to_owned())
}

/// Writes an archive with the sample application's images.
pub(crate) fn sample_archive(binary: &Path, to: &Path) -> Result<()> {
    archive(binary, &SAMPLE_PROGRAMS, &sample_images(), to)
}

/// Writes an archive with images that share the binary and all its names.
pub(crate) fn archive(binary: &Path, programs: &[&str], images: &[Image], to: &Path) -> Result<()> {
    let program = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let mut layer = Vec::with_capacity(program.len() + 4096);
    tar::file(&mut layer, PROGRAM.trim_start_matches('/'), 0o755, &program)?;
    for name in programs {
        tar::link(&mut layer, &format!("bin/{name}"), PROGRAM)?;
    }
    tar::finish(&mut layer)?;
    let mut archive = Archive::new(Layer::plain(layer));
    for image in images {
        archive.add(image)?;
    }
    archive.write(to)
}
