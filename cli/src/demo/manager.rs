//! The demo's manager: `trimtab-manager` beside this program, started and killed as the story asks. It ends with this
//! process, however that ends.

use std::{
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::Exit;

const NAME: &str = "trimtab-manager";

/// A manager.
pub struct Manager {
    child: Child,
}

/// The programs that are started. They are found at the beginning: a build may replace them while the demo runs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// This program.
    pub own: PathBuf,
    /// The manager: beside this program, or on the PATH.
    pub manager: PathBuf,
}

impl Programs {
    /// Finds them.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let beside = own.parent().map(|folder| folder.join(NAME));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|dir| dir.join(NAME));
        let manager = beside.into_iter().chain(on_path).find(|p| p.is_file()).with_context(|| {
            format!("{NAME} is neither beside {} nor on the PATH: run `make demo`, which builds it", own.display())
        })?;
        Ok(Self { own, manager })
    }
}

impl Manager {
    /// Starts it. It listens at no port, and takes no lease: there is no other.
    pub fn start(programs: &Programs, kubeconfig: &Path, log: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(&programs.own)
            .arg("with-parent")
            .arg(std::process::id().to_string())
            .arg(&programs.manager)
            .args(["--leader-elect=false", "--admin-addr=0", "--metrics-addr=0"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Not in the terminal's group: Ctrl-C is for this process, which then ends it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {NAME} through {}", programs.own.display()))?;
        Ok(Self { child })
    }

    /// Its process number while it lives.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it, with no chance to clean up.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {NAME}"))
    }

    /// An error if it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{NAME} ended ({status})"),
        }
    }
}

/// Becomes a program that is killed when its parent ends.
pub fn with_parent(parent: u32, command: &[String]) -> Result<Exit> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let actual = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    if actual.map(|pid| pid.get()) != i32::try_from(parent).ok() {
        return Ok(Exit::Interrupted);
    }
    let (program, arguments) = command.split_first().context("no program was named")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}
