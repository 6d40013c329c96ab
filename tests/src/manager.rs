//! The manager as a process of its own, limited to one namespace, so that tests can kill it without disturbing others.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trimtab_testkit::eventually;

use crate::binary;

/// Names another manager to start, such as an optimised one.
const PROGRAM: &str = "TRIMTAB_MANAGER";

/// A running manager; it is killed when this goes.
#[derive(Debug)]
pub struct ManagerProcess {
    child: Child,
    log: PathBuf,
    /// Goes with it.
    kubeconfig: Option<PathBuf>,
}

impl ManagerProcess {
    /// Starts one for a namespace. `fault` is the framework's fault injection: `kill-before:3`, `kill-after:3`.
    ///
    /// # Errors
    ///
    /// If the binary is not built.
    pub fn start(kubeconfig: &Path, namespace: &str, fault: Option<&str>, extra: &[&str]) -> Result<Self> {
        let environment: Vec<(&str, &str)> = fault.map(|fault| ("TRIMTAB_FAULT", fault)).into_iter().collect();
        Self::in_environment(kubeconfig, namespace, &environment, extra)
    }

    /// Starts one for a namespace, with more in its environment.
    ///
    /// # Errors
    ///
    /// If the binary is not built.
    pub fn in_environment(
        kubeconfig: &Path,
        namespace: &str,
        environment: &[(&str, &str)],
        extra: &[&str],
    ) -> Result<Self> {
        let arguments = Self::arguments(namespace, extra);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::with_environment(kubeconfig, namespace, environment, &arguments)
    }

    /// The arguments of one for a namespace.
    pub fn arguments(namespace: &str, extra: &[&str]) -> Vec<String> {
        let mut arguments =
            vec![format!("--namespaces={namespace}"), "--admin-addr=127.0.0.1:0".into(), "--metrics-addr=0".into()];
        if !extra.iter().any(|argument| argument.starts_with("--leader-elect")) {
            arguments.push("--leader-elect=false".into());
        }
        arguments.extend(extra.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    /// The same; this file is removed with it.
    #[must_use]
    pub fn removing(mut self, kubeconfig: PathBuf) -> Self {
        self.kubeconfig = Some(kubeconfig);
        self
    }

    /// Starts one with exactly these arguments; `label` is part of its log's name.
    ///
    /// # Errors
    ///
    /// If the binary is not built.
    pub fn with_arguments(kubeconfig: &Path, label: &str, fault: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let environment: Vec<(&str, &str)> = fault.map(|fault| ("TRIMTAB_FAULT", fault)).into_iter().collect();
        Self::with_environment(kubeconfig, label, &environment, arguments)
    }

    /// The same, with these variables.
    ///
    /// # Errors
    ///
    /// If the binary is not built.
    pub fn with_environment(
        kubeconfig: &Path,
        label: &str,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<Self> {
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let log = std::env::temp_dir().join(format!("{label}-manager-{number}.log"));
        let program = match std::env::var_os(PROGRAM) {
            Some(program) => program.into(),
            None => binary("trimtab-manager")?,
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env_remove("TRIMTAB_FAULT")
            .env_remove("KUBERNETES_NAMESPACE");
        command.envs(environment.iter().copied());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("the manager does not start")?;
        Ok(Self { child, log, kubeconfig: None })
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

    /// Sends it a signal: `STOP`, `CONT`, `TERM`.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "cannot send {signal}");
        Ok(())
    }

    /// Waits for it to end by itself, for so long at most.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub async fn wait_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        eventually("the manager to end", patience, async || Ok(self.child.try_wait()?)).await
    }

    /// What its admin address answers: the code and the text.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin_address().await?).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        Ok((code, body.to_owned()))
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
        if let Some(kubeconfig) = &self.kubeconfig {
            let _ = std::fs::remove_file(kubeconfig);
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}
