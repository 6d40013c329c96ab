//! `with-cluster [--nodes auto|simulated|real] [--node-count N] [--with metrics,prometheus] -- COMMAND...`: runs a command with a cluster of its own, which ends with it.
//! Not a way to keep a cluster: that is `trimtab local`.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use trimtab_testkit::{Cluster, ClusterOptions, Extra, KUBECONFIG_ENV, NODES_ENV, choose_nodes};

const USAGE: &str = "usage: with-cluster [--nodes auto|simulated|real] [--node-count N] [--with metrics,prometheus] -- COMMAND [ARGUMENT...]";

const SETPRIV: &str = "/usr/bin/setpriv";

struct Arguments {
    nodes: String,
    node_count: u32,
    with: Vec<Extra>,
    command: Vec<String>,
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments> {
    let ClusterOptions { node_count, with, .. } = ClusterOptions::default();
    let mut parsed = Arguments { nodes: "auto".into(), node_count, with, command: Vec::new() };
    while let Some(word) = given.next() {
        match word.as_str() {
            "--nodes" => parsed.nodes = given.next().context(USAGE)?,
            "--node-count" => parsed.node_count = given.next().and_then(|n| n.parse().ok()).context(USAGE)?,
            "--with" => {
                let list = given.next().context(USAGE)?;
                parsed.with = list.split(',').map(str::parse).collect::<Result<_>>()?;
            }
            "--" => {
                parsed.command = given.by_ref().collect();
            }
            _ => bail!(USAGE),
        }
    }
    if parsed.command.is_empty() {
        bail!(USAGE);
    }
    Ok(parsed)
}

// One thread: what this process starts has the parent-death signal of the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("with-cluster: {e:#}");
            ExitCode::from(125)
        }
    }
}

async fn run() -> Result<u8> {
    let arguments = arguments(std::env::args().skip(1))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (nodes, why) = choose_nodes(&arguments.nodes)?;
    eprintln!("with-cluster: {nodes} nodes: {why}");
    let started = Instant::now();
    let (node_count, with) = (arguments.node_count, arguments.with.clone());
    let options = ClusterOptions { nodes, node_count, with, name: "test".into(), ..Default::default() };
    let cluster = tokio::select! {
        cluster = Cluster::start(options) => cluster?,
        _ = interrupt.recv() => return Ok(130),
        _ = terminate.recv() => return Ok(143),
    };
    eprintln!("with-cluster: up after {:.1} s", started.elapsed().as_secs_f64());
    let result = command(&arguments.command, &cluster, &mut interrupt, &mut terminate).await;
    cluster.down().await?;
    result
}

async fn command(
    words: &[String],
    cluster: &Cluster,
    interrupt: &mut tokio::signal::unix::Signal,
    terminate: &mut tokio::signal::unix::Signal,
) -> Result<u8> {
    // Where it is there, setpriv sees to it that the command ends when this process is killed.
    let mut command = if Path::new(SETPRIV).exists() {
        let mut command = tokio::process::Command::new(SETPRIV);
        command.args(["--pdeathsig", "TERM", "--"]).arg(&words[0]);
        command
    } else {
        tokio::process::Command::new(&words[0])
    };
    let mut child = command
        .args(&words[1..])
        .env(KUBECONFIG_ENV, cluster.kubeconfig())
        .env(NODES_ENV, cluster.nodes().as_str())
        .env("KUBECONFIG", cluster.kubeconfig())
        .spawn()
        .with_context(|| format!("cannot run {}", words[0]))?;
    loop {
        let signal = tokio::select! {
            status = child.wait() => {
                let status = status?;
                let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(1);
                return Ok(code as u8);
            }
            // The terminal has told the command as well; this process only has to outlive it.
            _ = interrupt.recv() => rustix::process::Signal::INT,
            _ = terminate.recv() => rustix::process::Signal::TERM,
        };
        if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}
