//! The whole way on a real node, from nothing: the image, `helm install`, `helm test`, a release of an application, in which the leader is
//! lost, and one of its configuration, upgrade, rollback, uninstall, with both versions of Helm. The commands are those of README.md,
//! docs/guides/getting-started.md and docs/guides/install.md, word for word. On simulated nodes no image runs, so there is nothing to see.

mod crowd;
mod leader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use trimtab_crds::Phase;
use trimtab_testkit::{Cluster, ClusterOptions, NODES_ENV, Nodes, Tool, eventually};
use trimtab_tests::{App, Configured, with_app_on, workspace};

use leader::End;

/// The namespace of the managers.
const MANAGER: &str = "trimtab-system";
const PATIENCE: Duration = Duration::from_secs(90);
/// Names an OCI archive with the manager's image; without it, `make image-development` makes one.
const IMAGE_ENV: &str = "TRIMTAB_IMAGE";

/// How the archive of a manager that is not optimised is called.
const DEVELOPMENT: &str = "trimtab-manager-development.tar";

async fn image() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(IMAGE_ENV).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let made = tokio::process::Command::new("make").arg("image-development").current_dir(workspace()).status().await?;
    ensure!(made.success(), "make image-development failed; {IMAGE_ENV} names an archive that is there");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join("image").join(DEVELOPMENT))
}

async fn cluster() -> Result<Cluster> {
    let archive = image().await?;
    let options = ClusterOptions { name: "install".to_owned(), nodes: Nodes::Real, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await?;
    cluster.load_image(&archive).await?;
    Ok(cluster)
}

/// The commands of a section of a page.
fn commands(page: &str, heading: &str) -> Result<String> {
    let text = std::fs::read_to_string(workspace().join(page))?;
    let section = text.split_once(&format!("\n## {heading}\n")).with_context(|| format!("{page} has no {heading}"))?.1;
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: String = blocks.collect();
    ensure!(!commands.is_empty(), "{page}, {heading}: no commands");
    Ok(commands)
}

/// A shell in the checkout in which `helm` is one version of it.
struct Shell {
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl Shell {
    async fn new(tool: Tool, kubeconfig: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("trimtab-install-{}-{tool:?}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let link = folder.join("helm");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(tool.path().await?, link)?;
        Ok(Self { folder, kubeconfig: kubeconfig.to_owned() })
    }

    /// Runs commands until one fails; what they printed.
    async fn run(&self, commands: &str) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = tokio::process::Command::new("sh");
        command.args(["-euxc", commands]).current_dir(workspace()).env("KUBECONFIG", &self.kubeconfig);
        command.env("PATH", format!("{}:{path}", self.folder.display()));
        for folder in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{folder}_HOME"), self.folder.join(folder));
        }
        let out = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        ensure!(out.status.success(), "{commands}\n{said}");
        Ok(said)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The application's pods, by uid and how often each was restarted.
async fn pods(app: &App) -> Result<BTreeSet<String>> {
    let restarts = |pod: &k8s_openapi::api::core::v1::Pod| -> i32 {
        let all = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
        all.map(|container| container.restart_count).sum()
    };
    Ok(app.pods().await?.iter().map(|pod| format!("{:?} {}", pod.uid(), restarts(pod))).collect())
}

#[tokio::test]
async fn from_nothing_to_a_release_and_out_again_with_both_versions_of_helm() {
    if std::env::var(NODES_ENV).is_ok_and(|nodes| nodes != Nodes::Real.as_str()) {
        eprintln!("simulated nodes run no image, so there is nothing to install");
        return;
    }
    with_app_on(cluster(), "install", leader::shape(), |app| async move {
        let configured = Configured::new(&app, "one").await?;
        // An odd and an even version of the image for each, so that every release is a change.
        story(&app, &configured, Tool::Helm4, ("v2", "two"), End::Deleted).await.context("Helm 4")?;
        story(&app, &configured, Tool::Helm3, ("v3", "three"), End::Killed).await.context("Helm 3")
    })
    .await;
}

/// What the pages say to install with: it is in three places, and every place is to work.
fn install(tool: Tool) -> Result<String> {
    let started = commands("docs/guides/getting-started.md", "1. Install")?;
    ensure!(started == commands("docs/guides/install.md", "1. Install")?, "two guides install in two ways");
    match tool {
        Tool::Helm4 => commands("README.md", "Install"),
        _ => Ok(started + &commands("docs/guides/install.md", "2. Try it")?),
    }
}

/// A removal in the middle of a release is refused with a word about it, and the managers go on.
async fn refused(app: &App, shell: &Shell, stable: &str) -> Result<()> {
    app.set_image(if stable == "v3" { "v2" } else { "v3" }).await?;
    app.wait_phase(Phase::Paused).await?;
    app.request("pause").await?;
    let said = match shell.run(&commands("docs/guides/install.md", "Remove")?).await {
        Ok(said) => bail!("it was removed in the middle of a release: {said}"),
        Err(said) => said.to_string(),
    };
    println!("{said}");
    let told = said.contains(&format!("Deployment web in {}: ", app.namespace())) && said.contains("--take-back");
    ensure!(told, "it is not said what waits: {said}");
    app.kubectl(&["rollout", "status", "deployment/trimtab", "-n", MANAGER, "--timeout=60s"]).await?;
    // Helm takes it for half removed.
    let upgrade = shell.run("helm upgrade trimtab charts/trimtab --namespace trimtab-system").await;
    ensure!(upgrade.is_err(), "the guides say that an upgrade fails here");
    shell.run("helm rollback trimtab 1 --namespace trimtab-system --wait").await?;
    app.request("abort").await?;
    app.wait_phase(Phase::TakenBack).await?;
    app.request("undo").await?;
    app.wait_stable(stable).await?;
    Ok(())
}

async fn story(app: &App, configured: &Configured, tool: Tool, (tag, value): (&str, &str), end: End) -> Result<()> {
    let shell = Shell::new(tool, app.kubeconfig()).await?;
    let said = shell.run(&install(tool)?).await?;
    ensure!(said.contains("nothing is left behind") && !said.contains('✗'), "{said}");
    app.apply(&app.plan_yaml()).await?;
    eventually("the plan to guard the application", PATIENCE, async || {
        Ok((app.condition("Guarded").await? == "True" && app.condition("Ready").await? == "True").then_some(()))
    })
    .await?;

    leader::lost_in_mid_release(app, tag, end).await?;
    let before = app.plan().await?.status.map_or(0, |status| status.sequence);
    configured.set(value).await?;
    configured.wait_counts(&[(value, 4)]).await?;
    app.wait_plan("the release of the configuration to be over", |plan| {
        plan.status.as_ref().is_some_and(|status| status.sequence > before && status.release.is_none())
    })
    .await?;

    if matches!(tool, Tool::Helm4) {
        crowd::fits_in(app, !image().await?.ends_with(DEVELOPMENT)).await?;
    }
    refused(app, &shell, tag).await?;
    app.wait_settled(usize::try_from(app.shape.replicas)?).await?;
    let settled = pods(app).await?;
    shell.run(&commands("docs/guides/install.md", "Upgrade, and back")?).await?;
    let missing = "helm upgrade trimtab charts/trimtab -n trimtab-system --wait --timeout 20s --set image.tag=missing";
    ensure!(shell.run(missing).await.is_err(), "a manager without an image was waited for");
    shell.run("helm rollback trimtab --namespace trimtab-system --wait").await?;
    shell.run(&commands("docs/guides/install.md", "2. Try it")?).await?;
    shell.run(&commands("docs/guides/install.md", "Remove")?).await?;
    let left = pods(app).await?;
    ensure!(left == settled, "a pod was touched by the upgrade or the removal: {left:?} instead of {settled:?}");
    let kinds = app.kubectl(&["get", "crd", "releaseplans.trimtab.dev", "-o", "name"]).await?;
    ensure!(kinds.contains("releaseplans"), "{kinds}");
    Ok(())
}
