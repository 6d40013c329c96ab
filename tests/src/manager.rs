//! The manager as a process of its own, limited to one namespace, so that tests can kill it without disturbing others.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use trimtab_testkit::eventually;

use crate::binary;

/// A running manager; it is killed when this goes.
#[derive(Debug)]
pub struct ManagerProcess {
    child: Child,
    log: PathBuf,
}

impl ManagerProcess {
    /// Starts one for a namespace. `fault` is the framework's fault injection: `kill-before:3`, `kill-after:3`.
    ///
    /// # Errors
    ///
    /// If the binary is not built.
    pub fn start(kubeconfig: &Path, namespace: &str, fault: Option<&str>, extra: &[&str]) -> Result<Self> {
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let log = std::env::temp_dir().join(format!("{namespace}-manager-{number}.log"));
        let mut command = Command::new(binary("trimtab-manager")?);
        command.args([&format!("--namespaces={namespace}"), "--admin-addr=127.0.0.1:0", "--metrics-addr=0"]);
        if !extra.iter().any(|argument| argument.starts_with("--leader-elect")) {
            command.arg("--leader-elect=false");
        }
        command.args(extra).env("KUBECONFIG", kubeconfig).env_remove("TRIMTAB_FAULT");
        if let Some(fault) = fault {
            command.env("TRIMTAB_FAULT", fault);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("the manager does not start")?;
        Ok(Self { child, log })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    ///
    /// If the process cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    ///
    /// If the process cannot be asked for.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it logged.
    ///
    /// # Errors
    ///
    /// If the log is gone.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// The address that it serves `/debug/why` at.
    ///
    /// # Errors
    ///
    /// If it does not say so within some seconds.
    pub async fn admin_address(&self) -> Result<String> {
        eventually("the manager's admin address", Duration::from_secs(10), async || {
            let log = self.log()?;
            let line = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut addresses =
                line.filter(|l| l["fields"]["server"] == "admin").map(|l| l["fields"]["address"].clone());
            Ok(addresses.next().and_then(|address| address.as_str().map(str::to_owned)))
        })
        .await
    }
}

impl Drop for ManagerProcess {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}
