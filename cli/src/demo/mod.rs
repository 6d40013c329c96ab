//! `trimtab demo`: a cluster, the manager and an application, shown at work; then all of it is taken down again. It exits
//! with an error if any promise was broken.

mod configuration;
pub mod manager;
mod narrator;
mod stage;
mod story;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};
use trimtab_testkit::Nodes;

use crate::{
    Exit,
    args::Demo,
    local::settle,
    paint::{DIM, can_ask, line, on_terminal, paint, tell},
};
use manager::Programs;
use narrator::Narrator;
use stage::{APP, NAMESPACE, Stage};

/// Runs the demo.
pub async fn run(options: Demo) -> Result<Exit> {
    let flag = |name: &str| std::env::var(name).is_ok_and(|v| matches!(v.as_str(), "1" | "true" | "yes"));
    let keep = options.keep || flag("KEEP");
    if std::env::var_os("USE_EXISTING_CLUSTER").is_some_and(|v| v == "true" || v == "1") {
        bail!("the demo boots a cluster of its own: unset USE_EXISTING_CLUSTER");
    }
    let programs = Programs::find()?;
    let mut stage = None;
    let mut say = Narrator::default();
    let ended = tokio::select! {
        result = play(programs, &options.nodes, keep, &mut stage, &mut say) => result.map(Some),
        () = interrupted() => Ok(None),
    };
    let exit = conclude(ended, keep, stage.as_ref()).await;
    if let Some(stage) = stage {
        stage.down(keep).await?;
    }
    exit
}

/// Plays all of it. True if every promise was kept.
async fn play(
    programs: Programs,
    nodes: &str,
    keep: bool,
    place: &mut Option<Stage>,
    say: &mut Narrator,
) -> Result<bool> {
    say.title(
        "Trimtab steers every change to a running application",
        "A change is held, tried on a few pods, judged, then promoted or taken back. Between releases nothing is in the way.",
    );
    say.chapter("A cluster");
    let (nodes, why) = settle(nodes).await?;
    let what = match nodes {
        Nodes::Real => "One real node (kubelet, containerd, runc)",
        Nodes::Simulated => "A real control plane with simulated nodes",
    };
    say.say(&format!("{what}: {why}."));
    let begun = Instant::now();
    let name = keep.then(|| format!("demo-{:x}", std::process::id()));
    let stage = place.insert(Stage::boot(programs, nodes, name.as_deref()).await?);
    let version = stage.to.client.apiserver_version().await?.git_version;
    say.promise(true, &format!("Kubernetes {version} is up"), &format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let begun = Instant::now();
    story::tell(stage, say).await?;
    Ok(say.verdict(begun.elapsed()))
}

/// Says how it went and how to go on, and waits where there is somebody who looks around.
async fn conclude(ended: Result<Option<bool>>, keep: bool, stage: Option<&Stage>) -> Result<Exit> {
    let all_kept = match ended {
        Ok(Some(all_kept)) => all_kept,
        Ok(None) => {
            tell(if keep { "\ninterrupted" } else { "\ninterrupted: stopping everything that the demo started" });
            return Ok(Exit::Interrupted);
        }
        Err(error) => {
            if let Some(stage) = stage {
                tell(&log_tail(&stage.log()));
            }
            return Err(error);
        }
    };
    let Some(stage) = stage else { return Ok(Exit::Error) };
    let interactive = on_terminal() && can_ask();
    look_around(stage, keep, interactive);
    if interactive && !keep {
        tokio::select! {
            () = enter() => {}
            () = interrupted() => line(""),
        }
        line(&paint(DIM, " stopping everything that the demo started"));
    }
    Ok(if all_kept { Exit::Done } else { Exit::Error })
}

/// How to look around, and how to stop.
fn look_around(stage: &Stage, keep: bool, interactive: bool) {
    let say = Narrator::default();
    let program = nearby(&stage.programs.own);
    let kubectl = if on_path("kubectl") { "kubectl".to_owned() } else { nearby(stage.cluster.kubectl()) };
    line("");
    if !keep && !interactive {
        line(&paint(DIM, " Everything that the demo started is being stopped. To look around:"));
        say.list(&[
            ("KEEP=1 make demo".to_owned(), "leaves the cluster up, with the"),
            (format!("kubectl get releaseplans,releases -n {NAMESPACE}"), "KUBECONFIG that it prints"),
            ("trimtab local down --name NAME".to_owned(), "stops it"),
        ]);
        return;
    }
    line(" Look around, in another terminal:");
    let image = "trimtab.local/sample:v3";
    let mut rows = vec![
        (format!("export KUBECONFIG={}", stage.cluster.kubeconfig().display()), ""),
        (format!("{kubectl} get releaseplans,releases -n {NAMESPACE}"), "plans and records"),
    ];
    if keep {
        let manager = nearby(&stage.programs.manager);
        rows.push((format!("{manager} --leader-elect=false --admin-addr=0 --metrics-addr=0 &"), "the manager again"));
    }
    rows.extend([
        (format!("{kubectl} set image -n {NAMESPACE} deployment/{APP} {APP}={image}"), "another release"),
        (format!("{program} watch {APP} -n {NAMESPACE}"), "see it live"),
        (format!("{program} why {APP} -n {NAMESPACE}"), "what it waits for"),
    ]);
    say.list(&rows);
    if keep {
        line(&format!(" Stop it: {program} local down --name {}", stage.cluster.name()));
    } else {
        line(" Stop: press Enter or Ctrl-C here. Nothing is left behind.");
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A path as it can be typed from here.
fn nearby(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(short) => format!("./{}", short.display()),
        Err(_) => path.display().to_string(),
    }
}

fn log_tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let tail = lines[lines.len().saturating_sub(8)..].join("\n");
    format!("\nthe end of the manager's log:\n{}", paint(DIM, tail))
}

async fn enter() {
    let mut byte = [0];
    let _ = tokio::io::stdin().read(&mut byte).await;
}

/// Comes when a person or the system ends the demo, or when the `make` that started it is gone.
async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    let any = futures::future::select_all(signals.into_iter().map(|mut signal| {
        Box::pin(async move {
            signal.recv().await;
        })
    }));
    tokio::select! {
        _ = any => {}
        () = orphaned() => {}
    }
}

async fn orphaned() {
    let parent = rustix::process::getppid();
    let from_make = std::env::var_os("MAKELEVEL").is_some();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if from_make && rustix::process::getppid() != parent {
            return;
        }
    }
}
