//! Starts and ends the keeper, the small program that holds a cluster's processes. What they are is others' business.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::certs;

/// One process, as the keeper reads it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    name: String,
    argv: Vec<String>,
    wait: Vec<String>,
}

impl Process {
    pub(crate) fn new(name: &str, program: String, arguments: impl IntoIterator<Item = String>) -> Self {
        let argv = std::iter::once(program).chain(arguments).collect();
        Self { name: name.to_owned(), argv, wait: Vec::new() }
    }

    /// Starts it once this answers as well: `unix:PATH`, `tcp:HOST:PORT` or an https URL.
    pub(crate) fn after(mut self, target: String) -> Self {
        self.wait.push(target);
        self
    }
}

/// The namespaces of a cluster with a real node, as the keeper reads them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Isolation {
    pub(crate) lock: PathBuf,
    pub(crate) hostname: String,
    pub(crate) cgroup: String,
    pub(crate) veth: String,
    pub(crate) host_cidr: String,
    pub(crate) node_cidr: String,
    pub(crate) node_ip: String,
    pub(crate) host_ip: String,
    pub(crate) routes: Vec<String>,
    pub(crate) here: String,
}

#[derive(Serialize)]
struct Spec<'a> {
    dir: &'a Path,
    attached: bool,
    isolate: Option<&'a Isolation>,
    processes: &'a [Process],
}

/// A running keeper that this process started.
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    dir: PathBuf,
}

/// The file that a keeper holds locked while it lives.
fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Whether a keeper holds this folder's cluster.
pub(crate) fn alive(dir: &Path) -> bool {
    File::open(lock_path(dir)).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// Starts the processes. Attached ones end when this process does, however that happens.
pub(crate) fn start(
    program: &Path,
    dir: &Path,
    attached: bool,
    isolate: Option<&Isolation>,
    processes: &[Process],
) -> Result<Keeper> {
    let spec = dir.join("spec.json");
    certs::write_secret(&spec, &serde_json::to_string_pretty(&Spec { dir, attached, isolate, processes })?)?;
    fs::create_dir_all(dir.join("logs"))?;
    let lock = File::create(lock_path(dir))?;
    lock.try_lock().map_err(|_| anyhow::anyhow!("another cluster lives in {}", dir.display()))?;
    let log = File::create(dir.join("logs/keeper.log"))?;
    let mut command = Command::new(program);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        // Nothing that a cluster talks to is beyond this machine.
        command.env_remove(proxy);
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
    let child = command
        // iptables is an administrator's program, and not everybody's PATH has those.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        // A tenth of the control plane's processor time is collecting garbage; memory is not what a test run is short of.
        .env("GOGC", "400")
        .arg(&spec)
        .current_dir(dir)
        .stdin(if attached { Stdio::piped() } else { Stdio::null() })
        // The lock belongs to the open file, so whoever has it open as its standard output holds it.
        .stdout(lock)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(Keeper { child, dir: dir.to_owned() })
}

impl Keeper {
    /// An error once a process of the cluster has failed, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Ok(failed) = fs::read_to_string(self.dir.join("failed")) {
            let (name, how) = failed.split_once('\n').unwrap_or((failed.as_str(), "ended"));
            let log = fs::read_to_string(self.dir.join(format!("logs/{name}.log"))).unwrap_or_default();
            bail!("the cluster's {name} {}; the end of its log:\n{}", how.trim(), tail(&log, 12));
        }
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(self.dir.join("logs/keeper.log")).unwrap_or_default();
            bail!("the cluster's keeper ended ({status}):\n{}", tail(&log, 12));
        }
        Ok(())
    }

    /// Ends the cluster and waits until all of it has ended.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    /// Leaves the cluster to itself.
    pub(crate) fn detach(self) {
        std::mem::forget(self);
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            // Not yet waited for, so the number is still its own.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends the cluster of a folder that some other process started.
pub(crate) fn stop(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut told = false;
    while alive(dir) {
        if !told {
            let pid = fs::read_to_string(dir.join("keeper.pid")).ok().and_then(|s| s.trim().parse().ok());
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                told = rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok();
            }
        }
        if Instant::now() > deadline {
            bail!("the cluster in {} does not end: see its logs/keeper.log", dir.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
