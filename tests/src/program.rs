//! Programs of ours as a person runs them: how they end and what they print.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it printed as errors.
    pub err: String,
}

impl Ended {
    /// Runs a program with these credentials, and nobody at the terminal, until it ends.
    ///
    /// # Errors
    ///
    /// If it does not start, or is killed.
    pub async fn of(program: &Path, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        let output = Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().context("it was killed")?;
        Ok(Self { code, out: text(&output.stdout), err: text(&output.stderr) })
    }
}
