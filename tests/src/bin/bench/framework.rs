//! The framework beside `kube::runtime::Controller`: the same loop over 10 000 ConfigMaps on each, in turns, so that what
//! disturbs the machine disturbs both.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::table::{Table, median};

const COUNT: &str = "10000";
const TURNS: usize = 3;
const OURS: &str = "bench_configmaps";
const THEIRS: &str = "bench_kube_runtime";

/// What one run printed.
struct Run {
    /// Start to the last reconcile, in seconds.
    start: f64,
    /// Memory until then, in MiB.
    peak: f64,
    /// Write to reconcile, in milliseconds.
    p50: f64,
    p99: f64,
}

/// Fills the namespace, and runs both in turns.
pub async fn measure(namespace: &str, table: &mut Table) -> Result<()> {
    println!("{COUNT} ConfigMaps of 4 KiB are being made");
    run(OURS, &[namespace, COUNT, "fill"]).await?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for turn in 1..=TURNS {
        for (name, runs) in [(OURS, &mut ours), (THEIRS, &mut theirs)] {
            let text = run(name, &[namespace, COUNT]).await?;
            println!("turn {turn} of {TURNS}, {name}: {}", text.trim().replace('\n', "; "));
            runs.push(read(&text)?);
        }
    }
    let mut row = |figure: &str, of: fn(&Run) -> f64, unit: &str, goal: &str, go: &str| {
        let [a, b] = [&ours, &theirs].map(|runs| median(runs.iter().map(of)));
        let peer = format!("kube-rs {b:.2} {unit} ({:.1} times); controller-runtime {go}", b / a);
        table.row(figure, format!("{a:.2} {unit}"), goal, peer);
    };
    row("10 000 ConfigMaps, each reconciled once from start", |run| run.start, "s", "0.6 s", "0.70 s");
    row("  memory at its highest", |run| run.peak, "MiB", "25 MiB", "162 MiB");
    row("write to start of reconcile, 50 ms apart, p50", |run| run.p50, "ms", "4.5 ms", "4.9 ms");
    row("  p99", |run| run.p99, "ms", "6.5 ms", "6.5 ms");
    Ok(())
}

/// Runs an example of the framework; what it printed.
async fn run(name: &str, arguments: &[&str]) -> Result<String> {
    let folder: PathBuf = std::env::current_exe()?.parent().context("no folder")?.join("examples");
    let output = Command::new(folder.join(name)).args(arguments).output().await;
    let output = output.with_context(|| format!("{name} is not built: run `make bench`"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn read(text: &str) -> Result<Run> {
    let after = |word: &str| -> Result<f64> {
        let rest = text.split_once(word).with_context(|| format!("no {word:?} in: {text}"))?.1;
        Ok(rest.split_whitespace().next().context("no number")?.parse()?)
    };
    Ok(Run { start: after("reconciled in ")?, peak: after("peak ")?, p50: after("p50 ")?, p99: after("p99 ")? })
}
