//! Container images out of static binaries, as OCI archives, with no container engine. One layer with one file and other names of it; no base, no shell.
//! Not a registry client: an archive goes onto a node with `Cluster::load_image`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{assets, paths, source};

/// What an image is called and how its program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The full reference, with a tag: `trimtab.local/sample:v1`.
    pub reference: String,
    /// The command; the binary itself is `/app`.
    pub entrypoint: Vec<String>,
    /// Environment variables that the image sets.
    pub env: BTreeMap<String, String>,
    /// The user and group that it runs as, by number.
    pub user: String,
    /// Other names of the binary, in `/bin`: what it is called by there is up to it.
    pub programs: Vec<String>,
}

impl Image {
    /// An image that runs the binary without arguments, as nobody in particular.
    pub fn new(reference: impl Into<String>) -> Self {
        let reference = reference.into();
        let (env, user) = (BTreeMap::new(), "65532:65532".into());
        Self { reference, entrypoint: vec!["/app".into()], env, user, programs: vec![] }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
}

/// The sample application's images: three versions that work and three that fail, each in its own way.
pub fn sample_images() -> Vec<Image> {
    let good = ["v1", "v2", "v3"].map(sample);
    let bad = ["crash", "unready", "errors"].map(|f| sample(&format!("broken-{f}")).env("FAIL", f));
    good.into_iter().chain(bad).collect()
}

fn sample(tag: &str) -> Image {
    let mut image = Image::new(format!("trimtab.local/sample:{tag}")).env("VERSION", tag);
    image.programs = ["cat", "kill"].map(str::to_owned).into();
    image
}

/// The sample application's program, built where it is not yet.
pub async fn sample_binary() -> Result<PathBuf> {
    Ok(assets::ensure_async(vec![source::SAMPLE]).await?.path(source::SAMPLE)?.to_owned())
}

/// Writes an OCI archive with these images, which share the binary and all its names. The same input gives the same bytes.
pub fn oci_archive(binary: &Path, images: &[Image], to: &Path) -> Result<()> {
    let program = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let mut layer = Vec::with_capacity(program.len() + 2048);
    append(&mut layer, "app", 0o755, &program)?;
    for program in images.iter().flat_map(|image| &image.programs).collect::<BTreeSet<_>>() {
        link(&mut layer, &format!("bin/{program}"), "/app")?;
    }
    finish(&mut layer)?;
    let layer = Blob::new(layer);

    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        let (_, tag) = image.reference.rsplit_once(':').unwrap_or_default();
        ensure!(
            !tag.is_empty() && !tag.contains('/'),
            "the image reference {} has no tag: write one like name:v1",
            image.reference
        );
        let config = Blob::json(&config(image, &layer))?;
        let manifest = Blob::json(&manifest(&config, &layer))?;
        let mut descriptor = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        descriptor["annotations"] = json!({
            "io.containerd.image.name": image.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        descriptor["platform"] = json!({"architecture": architecture(), "os": "linux"});
        manifests.push(descriptor);
        for blob in [config, manifest] {
            blobs.insert(blob.digest.clone(), blob.content);
        }
    }
    blobs.insert(layer.digest.clone(), layer.content);
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    write_archive(to, &blobs, &index).with_context(|| format!("cannot write {}", to.display()))
}

/// Under another name first, so that whoever finds the archive finds all of it.
fn write_archive(to: &Path, blobs: &BTreeMap<String, Vec<u8>>, index: &Value) -> Result<()> {
    let fresh = to.with_extension(paths::random());
    let mut out = BufWriter::new(File::create(&fresh)?);
    append(&mut out, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut out, "index.json", 0o644, &serde_json::to_vec(index)?)?;
    for (digest, content) in blobs {
        append(&mut out, &format!("blobs/sha256/{digest}"), 0o644, content)?;
    }
    finish(&mut out)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    std::fs::rename(&fresh, to)?;
    Ok(())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn config(image: &Image, layer: &Blob) -> Value {
    let env: Vec<String> = image.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Env": env, "User": image.user},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
    })
}

fn manifest(config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    })
}

struct Blob {
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        Self { digest: source::hex(&Sha256::digest(&content)), content }
    }

    fn json(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.content.len()})
    }
}

/// Appends a file to a tar archive, owned by root and dated 1970.
fn append(out: &mut impl Write, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    out.write_all(&header(path, mode, content.len(), None)?)?;
    out.write_all(content)?;
    out.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()])?;
    Ok(())
}

/// Appends a symbolic link.
fn link(out: &mut impl Write, path: &str, to: &str) -> Result<()> {
    Ok(out.write_all(&header(path, 0o777, 0, Some(to))?)?)
}

fn header(path: &str, mode: u32, length: usize, link: Option<&str>) -> Result<[u8; 512]> {
    for text in [Some(path), link].into_iter().flatten() {
        ensure!(text.len() < 100, "{text} is too long for a tar header");
    }
    let mut header = [0u8; 512];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, if link.is_some() { b"2" } else { b"0" });
    put(157, link.unwrap_or_default().as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// Ends a tar archive.
fn finish(out: &mut impl Write) -> Result<()> {
    out.write_all(&[0; 1024])?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("trimtab-image-{}", paths::random()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let dir = folder();
        let binary = dir.join("binary");
        std::fs::write(&binary, b"not really a program").unwrap();
        let (one, two) = (dir.join("one.tar"), dir.join("two.tar"));
        oci_archive(&binary, &sample_images(), &one).unwrap();
        oci_archive(&binary, &sample_images(), &two).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn tar_reads_the_archive() {
        let dir = folder();
        let (binary, archive) = (dir.join("binary"), dir.join("a.tar"));
        std::fs::write(&binary, b"not really a program").unwrap();
        oci_archive(&binary, &[Image::new("trimtab.local/x:v1")], &archive).unwrap();
        let out = std::process::Command::new("tar").arg("-tf").arg(&archive).output().unwrap();
        let names = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success());
        assert_eq!(names.lines().filter(|l| l.starts_with("blobs/sha256/")).count(), 3, "{names}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn tar_reads_links() {
        let dir = folder();
        let archive = dir.join("a.tar");
        let mut out = vec![];
        append(&mut out, "app", 0o755, b"x").unwrap();
        link(&mut out, "bin/cat", "/app").unwrap();
        finish(&mut out).unwrap();
        std::fs::write(&archive, out).unwrap();
        let out = std::process::Command::new("tar").arg("-tvf").arg(&archive).output().unwrap();
        let listed = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && listed.contains("bin/cat -> /app"), "{listed}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_reference_without_a_tag_is_refused() {
        let dir = folder();
        let binary = dir.join("binary");
        std::fs::write(&binary, b"x").unwrap();
        assert!(oci_archive(&binary, &[Image::new("trimtab.local:5000/x")], &dir.join("a.tar")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
