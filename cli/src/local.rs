//! `trimtab local`: clusters on this machine, by name. How they are made is the testkit's.

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail};
use trimtab_testkit::{Cluster, ClusterOptions, Extra, Nodes, choose_nodes, install_packages, local, packages_missing};

use crate::{
    Exit,
    args::Local,
    paint::{DIM, can_ask, columns, line, out, paint, tell},
    table::render,
};

/// Does what was asked about local clusters.
pub async fn run(what: Local) -> Result<Exit> {
    match what {
        Local::Up { nodes, name, node_count, with } => up(&nodes, name, node_count, with).await?,
        Local::Kubeconfig { name, path } => {
            let file = local::kubeconfig(&name)?;
            if path {
                line(&file.display().to_string());
            } else {
                out(&std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?);
            }
        }
        Local::Down { name } => {
            let there = local::list()?.iter().any(|cluster| cluster.name == name);
            local::down(&name).await?;
            tell(&if there { format!("{name} is down") } else { format!("there is no cluster named {name}") });
        }
        Local::List => list()?,
        Local::LoadImage { file, name } => {
            let images = local::load_image(&name, &file).await?;
            if images.is_empty() {
                tell(&format!("the images of {} are on the node of {name}", file.display()));
            }
            for image in images {
                tell(&format!(
                    "{image} is on the node of {name}; pods take it with imagePullPolicy: Never or IfNotPresent"
                ));
            }
        }
        Local::Build { nodes, with } => build(&nodes, with).await?,
        Local::Packages { yes } => packages(yes).await?,
        Local::Choose { nodes } => {
            let (nodes, why) = settle(&nodes).await?;
            tell(&format!("{nodes} nodes: {why}"));
            line(nodes.as_str());
        }
    }
    Ok(Exit::Done)
}

async fn up(nodes: &str, name: String, node_count: u32, with: Vec<Extra>) -> Result<()> {
    let (nodes, why) = settle(nodes).await?;
    tell(&format!("{nodes} nodes: {why}"));
    let begun = std::time::Instant::now();
    let cluster = local::up(ClusterOptions { name, nodes, node_count, with, ..ClusterOptions::default() }).await?;
    tell(&format!("{} is up after {:.1} s", cluster.name(), begun.elapsed().as_secs_f64()));
    // On standard output, so that `eval "$(trimtab local up)"` sets it.
    line(&format!("export KUBECONFIG={}", cluster.kubeconfig().display()));
    if let Some(url) = cluster.prometheus() {
        tell(&format!("Prometheus answers at {url}"));
    }
    let option = if cluster.name() == "trimtab" { String::new() } else { format!(" --name {}", cluster.name()) };
    tell(&paint(DIM, format!("kubectl of the same version: {}", cluster.kubectl().display())));
    tell(&paint(DIM, format!("to stop it: trimtab local down{option}")));
    Ok(())
}

fn list() -> Result<()> {
    let clusters = local::list()?;
    if clusters.is_empty() {
        tell("there are no local clusters: start one with `trimtab local up`");
        return Ok(());
    }
    let row = |c: &local::LocalCluster| {
        let state = if c.running { "running" } else { "killed; `down` cleans up" };
        let prometheus = c.prometheus.clone().unwrap_or_else(|| "-".to_owned());
        vec![c.name.clone(), c.nodes.to_string(), state.to_owned(), prometheus, c.kubeconfig.display().to_string()]
    };
    let rows: Vec<Vec<String>> = clusters.iter().map(row).collect();
    out(&render(&["NAME", "NODES", "STATE", "PROMETHEUS", "KUBECONFIG"], &rows, columns().map(|c| c.max(120))));
    Ok(())
}

/// Builds by bringing a cluster up that ends at once: that is also a proof that the parts work.
async fn build(nodes: &str, with: Vec<Extra>) -> Result<()> {
    let (nodes, why) = settle(nodes).await?;
    tell(&format!("parts for {nodes} nodes: {why}"));
    let options = ClusterOptions {
        name: "build".to_owned(),
        nodes,
        node_count: 1,
        sample_images: false,
        with,
        ..Default::default()
    };
    Cluster::start(options).await?.down().await?;
    tell("all parts are built and work");
    Ok(())
}

async fn packages(yes: bool) -> Result<()> {
    let missing = packages_missing();
    if missing.is_empty() {
        tell("everything that a real node needs is installed");
        return Ok(());
    }
    if !agreed(&missing, yes)? {
        bail!("nothing was installed; by hand: apt-get install {}", missing.join(" "));
    }
    install().await
}

async fn install() -> Result<()> {
    tokio::task::spawn_blocking(install_packages).await.context("the installation was cut short")?
}

/// Which nodes a cluster gets, after installing what real ones need where that is possible and wanted; and why.
pub async fn settle(request: &str) -> Result<(Nodes, String)> {
    let missing = packages_missing();
    let possible = cfg!(target_os = "linux") && rustix::process::geteuid().is_root();
    if request != "simulated" && possible && !missing.is_empty() {
        if !agreed(&missing, false)? {
            return match request {
                "real" => bail!("real nodes need these packages: {}", missing.join(" ")),
                _ => Ok((Nodes::Simulated, "the packages for a real node are not to be installed".to_owned())),
            };
        }
        match install().await {
            Err(error) if request == "real" => return Err(error),
            Err(error) => tell(&format!("{error:#}")),
            Ok(()) => {}
        }
    }
    choose_nodes(request)
}

/// Says what is installed; asks where there is somebody to ask.
fn agreed(missing: &[String], yes: bool) -> Result<bool> {
    let set = |name: &str| std::env::var(name).is_ok_and(|v| matches!(v.as_str(), "1" | "true" | "yes"));
    tell(&format!("a real node needs Debian's packages {}", missing.join(", ")));
    if yes || set("YES") || set("CI") || !can_ask() {
        tell(&format!("installing: apt-get install {}", missing.join(" ")));
        return Ok(true);
    }
    eprint!("install them with apt-get? [Y/n] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}
