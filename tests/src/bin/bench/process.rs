//! What the kernel says of processes: memory and processor time, of one, of the whole cluster, and of the machine. The
//! last two tell how far a measurement was disturbed by others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

/// Ticks of a second in `/proc`; Linux fixes it for programs.
const TICKS: u64 = 100;
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Memory in MiB: `VmRSS` now, `VmHWM` at its highest.
pub fn memory(id: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kib / 1024.0)
}

/// Processor time used so far.
pub fn cpu(id: u32) -> Result<Duration> {
    Ok(stat(id)?.1)
}

/// The parent of a process, and its processor time.
fn stat(id: u32) -> Result<(u32, Duration)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in parentheses may hold anything; what follows it is counted from there.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok((u32::try_from(number(1))?, Duration::from_millis((number(11) + number(12)) * 1000 / TICKS)))
}

/// Processor time that the machine has spent on anything.
pub fn machine() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("no processors")?.split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
    // User, nice and system; then, after idle and waiting for disks, interrupts and what other machines took of this one.
    let busy: u64 = ticks.iter().enumerate().filter(|(i, _)| matches!(i, 0..=2 | 5..=7)).map(|(_, t)| t).sum();
    Ok(Duration::from_millis(busy * 1000 / TICKS))
}

/// The processes that the parent of this one has started, and theirs: the cluster, and all that runs against it.
fn family() -> Vec<u32> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: HashMap<u32, u32> = ids.filter_map(|id| Some((id, stat(id).ok()?.0))).collect();
    let head = std::os::unix::process::parent_id();
    let belongs = |id: u32| std::iter::successors(Some(id), |id| parents.get(id).copied()).any(|id| id == head);
    parents.keys().copied().filter(|id| belongs(*id)).collect()
}

/// Waits until the cluster rests: controllers of Kubernetes write events long after what they are about, and whatever is
/// measured meanwhile is measured beside that.
pub async fn rest() {
    const LOOK: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(120);
    let begun = Instant::now();
    while begun.elapsed() < LONGEST {
        let family = family();
        let sum = || -> Duration { family.iter().filter_map(|id| cpu(*id).ok()).sum() };
        let before = sum();
        tokio::time::sleep(LOOK).await;
        if sum().saturating_sub(before) < LOOK / 4 {
            return;
        }
    }
}

type Samples = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// Processor time of the cluster over time, until it is dropped.
pub struct Cost {
    samples: Samples,
    machine: Duration,
    task: JoinHandle<()>,
}

impl Cost {
    /// Begins to sample.
    pub fn start() -> Result<Self> {
        let samples = Samples::default();
        let shared = samples.clone();
        let family = family();
        let sum = move || family.iter().filter_map(|id| cpu(*id).ok()).sum();
        let task = tokio::spawn(async move {
            loop {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), sum()));
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
        });
        Ok(Self { samples, machine: machine()?, task })
    }

    /// What the cluster used from the beginning to a moment.
    pub fn until(&self, at: Instant) -> Duration {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let first = samples.first().map_or(Duration::ZERO, |sample| sample.1);
        let last = samples.iter().take_while(|sample| sample.0 <= at).last().map_or(first, |sample| sample.1);
        last.saturating_sub(first)
    }

    /// How many processors others had kept busy until now.
    pub fn others(&self) -> Result<f64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, .., last] = samples.as_slice() else { return Ok(0.0) };
        let all = machine()?.saturating_sub(self.machine);
        let ours = last.1.saturating_sub(first.1);
        Ok(all.saturating_sub(ours).as_secs_f64() / first.0.elapsed().as_secs_f64())
    }
}

impl Drop for Cost {
    fn drop(&mut self) {
        self.task.abort();
    }
}
