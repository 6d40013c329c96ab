//! OCI archives: images that share a layer, and documents that are attached to them. `docker load` reads them too. Not what
//! is in a layer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use crate::{sha256, tar};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What an image is called and how its program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The full reference, with a tag: `trimtab.local/sample:v1`.
    pub reference: String,
    /// The command.
    pub entrypoint: Vec<String>,
    /// Environment variables that the image sets.
    pub env: BTreeMap<String, String>,
    /// The user and group that it runs as, by number.
    pub user: String,
    /// What is said of it, by the names of `org.opencontainers.image`: labels in its configuration, annotations beside it.
    pub labels: BTreeMap<String, String>,
}

impl Image {
    /// An image that runs one program without arguments, as nobody in particular.
    pub fn new(reference: impl Into<String>, program: impl Into<String>) -> Self {
        Self {
            reference: reference.into(),
            entrypoint: vec![program.into()],
            env: BTreeMap::new(),
            user: "65532:65532".into(),
            labels: BTreeMap::new(),
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    fn tag(&self) -> Result<&str> {
        let (_, tag) = self.reference.rsplit_once(':').unwrap_or_default();
        ensure!(
            !tag.is_empty() && !tag.contains('/'),
            "the image reference {} has no tag: write one like name:v1",
            self.reference
        );
        Ok(tag)
    }

    /// When it was made, if it says so.
    fn created(&self) -> Option<&String> {
        self.labels.get("org.opencontainers.image.created")
    }
}

/// The files that images share.
#[derive(Clone, Debug)]
pub struct Layer {
    blob: Blob,
    media_type: &'static str,
    /// The digest of the layer as it is unpacked.
    diff: String,
}

impl Layer {
    /// A layer out of a finished tar archive, as it is: quick to make and quick to unpack.
    pub fn plain(content: Vec<u8>) -> Self {
        let blob = Blob::new(content);
        Self { diff: blob.digest.clone(), blob, media_type: "application/vnd.oci.image.layer.v1.tar" }
    }

    /// A layer out of a finished tar archive, compressed: to be sent and kept.
    ///
    /// # Errors
    ///
    /// None that is expected: it is compressed in memory.
    pub fn compressed(content: &[u8]) -> Result<Self> {
        // No name and no time in it.
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        gzip.write_all(content)?;
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        Ok(Self { diff: sha256(content), blob: Blob::new(gzip.finish()?), media_type })
    }
}

/// A document about an image, such as what it consists of: a manifest of its own that refers to the image's.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// What it is: `application/vnd.cyclonedx+json`.
    pub media_type: String,
    /// The name of a file for it.
    pub name: String,
    /// The document.
    pub content: Vec<u8>,
}

/// An archive in the making.
#[derive(Debug)]
pub struct Archive {
    layer: Layer,
    blobs: BTreeMap<String, Vec<u8>>,
    index: Vec<Value>,
    /// What `docker load` looks for.
    docker: Vec<Value>,
}

impl Archive {
    /// An archive without images.
    pub fn new(layer: Layer) -> Self {
        let blobs = [(layer.blob.digest.clone(), layer.blob.content.clone())].into();
        Self { layer, blobs, index: vec![], docker: vec![] }
    }

    /// Adds an image; gives the digest of its manifest, which is what the image is known by.
    ///
    /// # Errors
    ///
    /// If its reference has no tag.
    pub fn add(&mut self, image: &Image) -> Result<String> {
        let tag = image.tag()?.to_owned();
        let config = Blob::json(&config(image, &self.layer))?;
        let layer = self.layer.blob.descriptor(self.layer.media_type);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": [layer],
        });
        if !image.labels.is_empty() {
            manifest["annotations"] = json!(image.labels);
        }
        let manifest = Blob::json(&manifest)?;
        let mut descriptor = manifest.descriptor(MANIFEST);
        descriptor["annotations"] = json!({
            "io.containerd.image.name": image.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        descriptor["platform"] = json!({"architecture": architecture(), "os": "linux"});
        self.index.push(descriptor);
        let path = |blob: &Blob| format!("blobs/sha256/{}", blob.digest);
        let layers = [path(&self.layer.blob)];
        self.docker.push(json!({"Config": path(&config), "RepoTags": [image.reference], "Layers": layers}));
        let digest = manifest.digest.clone();
        self.keep([config, manifest]);
        Ok(format!("sha256:{digest}"))
    }

    /// Attaches a document to an image of this archive, by the digest of its manifest.
    ///
    /// # Errors
    ///
    /// If there is no such image.
    pub fn attach(&mut self, digest: &str, attachment: &Attachment, created: Option<&String>) -> Result<()> {
        let image = self.index.iter().find(|descriptor| descriptor["digest"] == digest);
        let image = image.with_context(|| format!("the archive holds no image {digest}"))?;
        let subject = json!({"mediaType": MANIFEST, "digest": digest, "size": image["size"]});
        let (config, document) = (Blob::new(b"{}".to_vec()), Blob::new(attachment.content.clone()));
        let mut layer = document.descriptor(&attachment.media_type);
        layer["annotations"] = json!({"org.opencontainers.image.title": attachment.name});
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": attachment.media_type,
            "config": config.descriptor(EMPTY),
            "layers": [layer],
            "subject": subject,
        });
        if let Some(created) = created {
            manifest["annotations"] = json!({"org.opencontainers.image.created": created});
        }
        let manifest = Blob::json(&manifest)?;
        let mut descriptor = manifest.descriptor(MANIFEST);
        descriptor["artifactType"] = json!(attachment.media_type);
        self.index.push(descriptor);
        self.keep([config, document, manifest]);
        Ok(())
    }

    fn keep(&mut self, blobs: impl IntoIterator<Item = Blob>) {
        self.blobs.extend(blobs.into_iter().map(|blob| (blob.digest, blob.content)));
    }

    /// Writes it, under another name first: whoever finds the archive finds all of it.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, to: &Path) -> Result<()> {
        let fresh = to.with_extension(format!("{}.part", std::process::id()));
        let written = self.write_all(&fresh).and_then(|()| Ok(std::fs::rename(&fresh, to)?));
        if written.is_err() {
            // What was being made is of no use to anybody.
            _ = std::fs::remove_file(&fresh);
        }
        written.with_context(|| format!("cannot write {}", to.display()))
    }

    fn write_all(&self, to: &Path) -> Result<()> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.index});
        let mut out = BufWriter::new(File::create(to)?);
        tar::file(&mut out, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar::file(&mut out, "index.json", 0o644, &serde_json::to_vec(&index)?)?;
        tar::file(&mut out, "manifest.json", 0o644, &serde_json::to_vec(&self.docker)?)?;
        for (digest, content) in &self.blobs {
            tar::file(&mut out, &format!("blobs/sha256/{digest}"), 0o644, content)?;
        }
        tar::finish(&mut out)
    }
}

fn config(image: &Image, layer: &Layer) -> Value {
    let env: Vec<String> = image.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Env": env, "User": image.user},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.diff)]},
    });
    if !image.labels.is_empty() {
        config["config"]["Labels"] = json!(image.labels);
    }
    if let Some(created) = image.created() {
        config["created"] = json!(created);
        config["history"] = json!([{"created": created, "created_by": "trimtab image"}]);
    }
    config
}

/// What this machine is called where images are.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[derive(Clone, Debug)]
struct Blob {
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        Self { digest: sha256(&content), content }
    }

    fn json(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.content.len()})
    }
}
