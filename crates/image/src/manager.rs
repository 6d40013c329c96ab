//! The image of `trimtab-manager`: what is in it, what is said of it, and what it must not be. Not how its program is built,
//! see `recipe`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::archive::{Archive, Image, Layer, architecture};
use crate::command::said;
use crate::graph::Graph;
use crate::sbom::{Part, Subject};
use crate::sources::Sources;
use crate::{audit, elf, sbom, tar};

/// The name of the image, without a tag.
pub const REPOSITORY: &str = "trimtab.dev/trimtab-manager";
/// The package that the program is of.
pub const PACKAGE: &str = "trimtab-controllers";
/// The program.
pub const PROGRAM: &str = "trimtab-manager";
/// The most that the archive may have: what is sent and kept.
const MOST: u64 = 20 << 20;
const USER: &str = "65532";

/// What an image is made of.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// What the image is called, without a tag.
    pub repository: &'a str,
    /// The program, as it was built.
    pub program: &'a [u8],
    /// What it consists of.
    pub graph: &'a Graph,
    /// What else was linked or is put beside it.
    pub parts: &'a [Part],
    /// The texts of all licences.
    pub third_party: &'a str,
    /// The project's own licence.
    pub licence: &'a str,
    /// Where the project is, from its manifest.
    pub home: &'a str,
    /// Which sources it was built from.
    pub sources: &'a Sources,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The reference, with the tag.
    pub reference: String,
    /// The digest of the image's manifest.
    pub digest: String,
    /// The archive.
    pub archive: PathBuf,
    /// The same document as is attached to the image.
    pub contents: PathBuf,
    /// The archive's size and that of the program, in bytes.
    pub sizes: (u64, u64),
}

/// Writes the archive and what it consists of into a folder.
///
/// # Errors
///
/// If the program is not static, or the image is larger than it may be.
pub fn write(from: &Ingredients<'_>, to: &Path) -> Result<Made> {
    elf::must_be_static(from.program)?;
    let program = audit::stamped(from.program, from.graph)?;
    let mut archive = Archive::new(Layer::compressed(&files(from, &program)?)?);
    let image = image(from)?;
    let digest = archive.add(&image)?;
    let subject = Subject {
        repository: from.repository.to_owned(),
        version: from.graph.root().version.clone(),
        digest: digest.clone(),
        created: from.sources.created()?,
        licence: from.graph.root().licence.clone().unwrap_or_default(),
    };
    let document = sbom::document(&subject, from.graph, from.parts)?;
    archive.attach(&digest, &document, image.labels.get("org.opencontainers.image.created"))?;

    std::fs::create_dir_all(to).with_context(|| format!("cannot make the folder {}", to.display()))?;
    let (path, contents) = (to.join(format!("{PROGRAM}.tar")), to.join(&document.name));
    archive.write(&path)?;
    std::fs::write(&contents, &document.content).with_context(|| format!("cannot write {}", contents.display()))?;
    let sizes = (std::fs::metadata(&path)?.len(), program.len() as u64);
    ensure!(sizes.0 <= MOST, "the archive has {}, more than the {} it may have", mebibytes(sizes.0), mebibytes(MOST));
    Ok(Made { reference: image.reference, digest, archive: path, contents, sizes })
}

/// A size for people.
pub fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

fn image(from: &Ingredients<'_>) -> Result<Image> {
    let root = from.graph.root();
    let mut image = Image::new(format!("{}:{}", from.repository, root.version), format!("/{PROGRAM}"));
    image.user = format!("{USER}:{USER}");
    let mut label = |name: &str, value: String| image.labels.insert(format!("org.opencontainers.image.{name}"), value);
    label("title", PROGRAM.to_owned());
    label("description", "Releases, scaling and configuration of Kubernetes workloads".to_owned());
    label("version", root.version.clone());
    label("licenses", root.licence.clone().unwrap_or_default());
    label("source", from.home.to_owned());
    label("url", from.home.to_owned());
    label("vendor", "Trimtab".to_owned());
    label("created", from.sources.created()?);
    if let Some(revision) = from.sources.revision() {
        label("revision", revision);
    }
    Ok(image)
}

/// The program, what it finds beside it, and the licences.
fn files(from: &Ingredients<'_>, program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Vec::with_capacity(program.len() + (2 << 20));
    tar::file(&mut layer, PROGRAM, 0o755, program)?;
    surroundings(&mut layer)?;
    tar::folder(&mut layer, "licenses")?;
    tar::file(&mut layer, "licenses/LICENSE", 0o644, from.licence.as_bytes())?;
    tar::file(&mut layer, "licenses/THIRD-PARTY.txt", 0o644, from.third_party.as_bytes())?;
    tar::finish(&mut layer)?;
    Ok(layer)
}

/// What the program finds in any image: whom TLS trusts where nobody says whom, and how names are looked up.
pub(crate) fn surroundings(layer: &mut Vec<u8>) -> Result<()> {
    for folder in ["etc", "etc/ssl", "etc/ssl/certs"] {
        tar::folder(layer, folder)?;
    }
    let certificates = certificates();
    let user = format!("root:x:0:0::/:\ntrimtab:x:{USER}:{USER}::/:\n");
    let group = format!("root:x:0:\ntrimtab:x:{USER}:\n");
    for (path, content) in [
        ("etc/group", group.as_str()),
        // What the C library takes names from; it would load a library for anything else.
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("etc/passwd", user.as_str()),
        ("etc/ssl/certs/ca-certificates.crt", certificates.as_str()),
    ] {
        tar::file(layer, path, 0o644, content.as_bytes())?;
    }
    Ok(())
}

/// Mozilla's certificate authorities, in PEM.
fn certificates() -> String {
    let pem = |certificate: &[u8]| {
        let text = BASE64_STANDARD.encode(certificate);
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| pem(certificate)).collect()
}

/// What is in the image beside the crates of its program: Rust's and C's libraries and the certificates.
///
/// # Errors
///
/// If the compiler cannot be asked.
pub fn parts(lock: &str) -> Result<Vec<Part>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rust = answer(Command::new(rustc).arg("--version")).context("rustc cannot be asked for its version")?;
    let rust = rust.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    let mut parts = vec![Part {
        name: "rust-std".to_owned(),
        purl: format!("pkg:generic/rust-std@{rust}"),
        version: rust,
        licence: "MIT OR Apache-2.0".to_owned(),
        role: "Rust's standard library, linked into the program".to_owned(),
        data: false,
    }];
    parts.push(c_library()?);
    let version =
        lock.split("name = \"webpki-root-certs\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    let version = version.context("Cargo.lock does not name webpki-root-certs")?.to_owned();
    parts.push(Part {
        name: "webpki-root-certs".to_owned(),
        purl: format!("pkg:cargo/webpki-root-certs@{version}?type=data"),
        version,
        licence: "CDLA-Permissive-2.0".to_owned(),
        role: "Mozilla's certificate authorities, in /etc/ssl/certs/ca-certificates.crt".to_owned(),
        data: true,
    });
    Ok(parts)
}

/// The C library of this machine, which is the one that is linked: by the name that its distribution's advisories have.
fn c_library() -> Result<Part> {
    let part = |version: String, purl: String| Part {
        name: "glibc".to_owned(),
        version,
        purl,
        licence: "LGPL-2.1-or-later".to_owned(),
        role: "the C library, linked into the program".to_owned(),
        data: false,
    };
    let package = answer(Command::new("dpkg-query").args(["-W", "-f=${source:Version}", "libc6-dev"]));
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let of = |key: &str| system.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim_matches('"').to_owned());
    if let (Some(version), Some(id), Some(release)) = (package, of("ID="), of("VERSION_ID=")) {
        let architecture = architecture();
        let purl = format!("pkg:deb/{id}/glibc@{version}?arch={architecture}&distro={id}-{release}");
        return Ok(part(version.clone(), purl.replace('+', "%2B")));
    }
    let version = answer(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let version = version.and_then(|text| text.split_whitespace().nth(1).map(str::to_owned));
    let version = version.context("this machine's C library is not known: is it glibc?")?;
    Ok(part(version.clone(), format!("pkg:generic/glibc@{version}")))
}

/// What a program says, if it is there and says something.
fn answer(command: &mut Command) -> Option<String> {
    let text = said(command).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
