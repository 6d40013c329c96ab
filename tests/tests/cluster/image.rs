//! The manager's image: that the same program gives the same image, what it says of itself, and how it runs on a real node
//! under the strictest rules that Kubernetes has for pods. What the program does there is the other tests' business.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, LogParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use trimtab_image::graph::Graph;
use trimtab_image::manager::{self, Ingredients, Made, PACKAGE};
use trimtab_image::sources::Sources;
use trimtab_image::{elf, sha256};
use trimtab_testkit::{Cluster, Nodes, TestNamespace, eventually, shared_cluster, with_namespace};
use trimtab_tests::{binary, workspace};

const PATIENCE: Duration = Duration::from_secs(90);
/// Where `make image` or `make image-development` has put the manager's; set where it must be there.
const IMAGE_ENV: &str = "TRIMTAB_IMAGE";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("trimtab-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small static program, built as the manager's is linked: the manager takes minutes.
fn probe(folder: &Path) -> Result<Vec<u8>> {
    let out = folder.join("probe");
    let built = Command::new("rustc")
        .args(["--edition=2024", "-O", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "--target"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .arg(workspace().join("crates/image/examples/probe.rs"))
        .arg("-o")
        .arg(&out)
        .output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(std::fs::read(out)?)
}

/// An image of a program with everything that the manager's has beside it.
fn image_of(program: &[u8], repository: &str, to: &Path) -> Result<Made> {
    let graph = Graph::read(&workspace(), PACKAGE, &format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    let commit = Some("4f7c19ab20d1e8a7c6b54f7c19ab20d1e8a7c6b5".to_owned());
    let ingredients = Ingredients {
        repository,
        program,
        graph: &graph,
        parts: &manager::parts(&std::fs::read_to_string(workspace().join("Cargo.lock"))?)?,
        third_party: &trimtab_image::licences::of(&graph)?,
        licence: &std::fs::read_to_string(workspace().join("LICENSE"))?,
        home: "https://example.com",
        sources: &Sources { commit, dirty: true, epoch: 1_767_323_045 },
    };
    manager::write(&ingredients, to)
}

/// A file in an archive, as tar finds it.
fn file_of(archive: &Path, name: &str) -> Result<Vec<u8>> {
    let out = Command::new("tar").arg("-xOf").arg(archive).arg(name).output()?;
    ensure!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}

/// A document in an archive, held to the digest and the size that it is told by.
fn blob_of(archive: &Path, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?;
    let content = file_of(archive, &format!("blobs/{}", digest.replace(':', "/")))?;
    ensure!(format!("sha256:{}", sha256(&content)) == digest && descriptor["size"] == content.len(), "{descriptor}");
    Ok(content)
}

fn json_of(archive: &Path, descriptor: &Value) -> Result<Value> {
    Ok(serde_json::from_slice(&blob_of(archive, descriptor)?)?)
}

#[test]
fn the_same_program_gives_the_same_image_and_another_does_not() -> Result<()> {
    let folder = Folder::new("image-same")?;
    let mut program = probe(&folder.0)?;
    let one = image_of(&program, "trimtab.local/probe", &folder.0.join("one"))?;
    let two = image_of(&program, "trimtab.local/probe", &folder.0.join("two"))?;
    ensure!(one.digest == two.digest, "{} is not {}", one.digest, two.digest);
    for (one, two) in [(&one.archive, &two.archive), (&one.contents, &two.contents)] {
        ensure!(std::fs::read(one)? == std::fs::read(two)?, "{} differs", one.display());
    }
    program.extend(b"more");
    let other = image_of(&program, "trimtab.local/probe", &folder.0.join("three"))?;
    ensure!(other.digest != one.digest, "the digest says nothing");
    Ok(())
}

#[test]
fn the_image_says_what_it_is_and_what_it_consists_of() -> Result<()> {
    let folder = Folder::new("image-says")?;
    let made = image_of(&probe(&folder.0)?, "trimtab.local/probe", &folder.0)?;
    let index: Value = serde_json::from_slice(&file_of(&made.archive, "index.json")?)?;
    let (image, attached) = (&index["manifests"][0], &index["manifests"][1]);
    ensure!(image["digest"] == made.digest && image["annotations"]["io.containerd.image.name"] == made.reference);
    let manifest = json_of(&made.archive, image)?;
    let config = json_of(&made.archive, &manifest["config"])?;
    let labels = &config["config"]["Labels"];
    ensure!(*labels == manifest["annotations"], "{labels} is not {}", manifest["annotations"]);
    for (name, value) in [
        ("title", "trimtab-manager"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", "4f7c19ab20d1e8a7c6b54f7c19ab20d1e8a7c6b5-dirty"),
        ("source", "https://example.com"),
        ("licenses", "Apache-2.0"),
        ("created", "2026-01-02T03:04:05Z"),
    ] {
        ensure!(labels[format!("org.opencontainers.image.{name}")] == value, "{name}: {labels}");
    }
    let start = &config["config"];
    ensure!(start["User"] == "65532:65532" && start["Entrypoint"] == json!(["/trimtab-manager"]), "{start}");

    let referrer = json_of(&made.archive, attached)?;
    ensure!(referrer["subject"]["digest"] == made.digest && referrer["artifactType"] == attached["artifactType"]);
    let contents = blob_of(&made.archive, &referrer["layers"][0])?;
    ensure!(contents == std::fs::read(&made.contents)?, "what is attached is not what lies beside");
    let contents: Value = serde_json::from_slice(&contents)?;
    let purls: Vec<&str> =
        contents["components"].as_array().context("components")?.iter().filter_map(|c| c["purl"].as_str()).collect();
    for part in ["pkg:cargo/kube-client@", "pkg:cargo/rustls@", "/glibc@", "pkg:generic/rust-std@"] {
        ensure!(purls.iter().any(|purl| purl.contains(part)), "{part} is missing in {purls:?}");
    }
    Ok(())
}

#[test]
fn a_program_that_is_not_static_gets_no_image() -> Result<()> {
    let folder = Folder::new("image-dynamic")?;
    let own = std::fs::read(std::env::current_exe()?)?;
    let refused = image_of(&own, "trimtab.local/probe", &folder.0);
    ensure!(refused.is_err_and(|error| error.to_string().contains("crt-static")));
    elf::must_be_static(&probe(&folder.0)?)
}

#[test]
fn programs_say_which_build_they_are() -> Result<()> {
    let said = |program: &str, arguments: &[&str]| {
        let out = Command::new(binary(program)?).args(arguments).output()?;
        ensure!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8(out.stdout)?)
    };
    let line = said("trimtab", &["--version"])?;
    ensure!(line.starts_with(concat!("trimtab ", env!("CARGO_PKG_VERSION"), " (commit ")), "{line}");
    ensure!(said("trimtab", &["version"])? == line && said("trimtab-manager", &["--version"])?.ends_with(&line[7..]));
    let version: Value = serde_json::from_str(&said("trimtab", &["version", "-o", "json"])?)?;
    ensure!(version["gitVersion"] == concat!("v", env!("CARGO_PKG_VERSION")), "{version}");
    let known = version["gitCommit"].as_str().is_some_and(|commit| !commit.is_empty());
    ensure!(known != line.contains("commit unknown"), "{line} is not {version}");
    let compiler = version["compiler"].as_str().context("a compiler")?;
    ensure!(compiler.starts_with("rustc 1."), "{version}");
    Ok(())
}

/// A pod as the strictest profile of PodSecurity wants it, and with a root file system that cannot be written.
fn restricted(image: &str, arguments: &[&str]) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "restricted"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "hostAliases": [{"ip": "192.0.2.5", "hostnames": ["hosts.test"]}],
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
                // For the name server inside the probe.
                "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
            },
            "containers": [{
                "name": "only",
                "image": image,
                "imagePullPolicy": "Never",
                "args": arguments,
                "securityContext": {
                    "readOnlyRootFilesystem": true,
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    }))?)
}

/// Runs a pod to its end; gives whether it succeeded and what it said.
async fn run(namespace: &TestNamespace, image: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let all: Api<Namespace> = Api::all(namespace.client());
    let enforce = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    all.patch(namespace.name(), &PatchParams::default(), &Patch::Merge(enforce)).await?;
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &restricted(image, arguments)?).await?;
    let phase = eventually("the pod's end", PATIENCE, async || {
        let phase = pods.get("restricted").await?.status.and_then(|status| status.phase).unwrap_or_default();
        Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
    })
    .await?;
    Ok((phase == "Succeeded", pods.logs("restricted", &LogParams::default()).await?))
}

/// The shared cluster, if its nodes run anything.
async fn real() -> Result<Option<Cluster>> {
    let cluster = shared_cluster().await?;
    if cluster.nodes() == Nodes::Simulated {
        println!("skipped: these nodes are simulated, so they run no images; run it with --nodes real");
        return Ok(None);
    }
    Ok(Some(cluster))
}

#[tokio::test]
async fn a_static_program_finds_names_users_and_certificates_in_the_image() -> Result<()> {
    let Some(cluster) = real().await? else { return Ok(()) };
    let folder = Folder::new("image-probe")?;
    let made = image_of(&probe(&folder.0)?, "trimtab.local/probe", &folder.0)?;
    cluster.load_image(&made.archive).await?;
    let client = cluster.client().await?;
    with_namespace(&client, "image-probe", async |namespace| {
        let (succeeded, said) = run(&namespace, &made.reference, &["hosts.test", "dns.test"]).await?;
        let lines = [
            "uid=65532",
            "writable=false",
            "shell=false",
            "trusted=true",
            "hosts.test=192.0.2.5",
            "dns.test=192.0.2.7",
        ];
        for line in lines {
            ensure!(succeeded && said.lines().any(|said| said == line), "{line} was expected of:\n{said}");
        }
        Ok(())
    })
    .await
}

/// The archive that was made, if one was: the optimised one first.
fn made_image() -> Result<Option<PathBuf>> {
    let told = std::env::var_os(IMAGE_ENV).map(PathBuf::from);
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("tests are in the target folder")?;
    let made = ["trimtab-manager.tar", "trimtab-manager-development.tar"].map(|name| target.join("image").join(name));
    let path = told.clone().or_else(|| made.iter().find(|path| path.exists()).cloned()).unwrap_or_default();
    if told.is_none() && !path.exists() {
        println!("skipped: there is no image in {}; `make image-development` makes one", target.display());
        return Ok(None);
    }
    ensure!(path.exists(), "{IMAGE_ENV} says {}, where nothing is", path.display());
    Ok(Some(path))
}

#[tokio::test]
async fn the_manager_runs_in_its_image_under_the_strictest_rules() -> Result<()> {
    let (Some(cluster), Some(archive)) = (real().await?, made_image()?) else { return Ok(()) };
    let index: Value = serde_json::from_slice(&file_of(&archive, "index.json")?)?;
    let reference = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().context("a name")?;
    ensure!(reference == format!("{}:{}", manager::REPOSITORY, env!("CARGO_PKG_VERSION")), "{reference}");
    cluster.load_image(&archive).await?;
    let client = cluster.client().await?;
    with_namespace(&client, "image-version", async |namespace| {
        let (succeeded, said) = run(&namespace, reference, &["--version"]).await?;
        let line = concat!("trimtab-manager ", env!("CARGO_PKG_VERSION"), " (commit ");
        ensure!(succeeded && said.starts_with(line), "{said}");
        Ok(())
    })
    .await?;
    with_namespace(&client, "image-alone", async |namespace| {
        let (succeeded, said) = run(&namespace, reference, &[]).await?;
        ensure!(!succeeded && said.contains("credentials"), "without credentials it ends and says so, not:\n{said}");
        Ok(())
    })
    .await
}
