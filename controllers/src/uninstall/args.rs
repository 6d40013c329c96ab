//! The command line of `trimtab-manager uninstall`, which the chart's hook runs before `helm uninstall`, and its exit codes.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use trimtab_uninstall::Mode;

use super::{Report, Scope, free, look, text};

/// What is done about workloads that wait for Trimtab before it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Fail with the list if any waits; else free everything
    Refuse,
    /// Let what waits go on by Kubernetes alone
    Resume,
    /// Go back to what runs
    TakeBack,
    /// Leave everything as it is, and say what that means
    Leave,
    /// Only look
    Report,
}

/// What is meant, as command lines say it: this program's and `trimtab`'s.
#[derive(Debug, Clone, Args)]
pub struct ScopeArgs {
    /// In these namespaces only; all otherwise.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub namespaces: Vec<String>,
    /// The manager's Deployment, which is scaled to zero first.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub stop: Option<String>,
    /// Name of the manager's lease.
    #[arg(long, default_value = "trimtab-manager", value_name = "NAME")]
    pub lease_name: String,
}

impl ScopeArgs {
    /// The scope, with the lease in this namespace or, without one, in any.
    pub fn scope(self, lease_namespace: Option<String>) -> Scope {
        let Self { mut namespaces, stop, lease_name } = self;
        namespaces.retain(|namespace| !namespace.is_empty());
        Scope { namespaces, lease_name, lease_namespace, stop }
    }
}

/// What is said last when something waits. Helm is named because it gets here first, and leaves its release half removed.
const REFUSED: &str = "Nothing was written. Say what is to become of it: mode resume, take-back or leave. With Helm: \
                       `helm rollback NAME REVISION` to the last revision, then an upgrade with uninstall.mode.\n";

/// `trimtab-manager uninstall`
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// What is done about workloads that wait for Trimtab.
    #[arg(long, value_enum, default_value_t = Way::Refuse)]
    pub mode: Way,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc here would become the text of the command")]
    pub scope: ScopeArgs,
    /// Namespace of the manager's lease; all where it is not given.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// How long it may take.
    #[arg(long, default_value = "4m", value_parser = crate::args::duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// Exit codes, as those of `trimtab`.
pub const DONE: u8 = 0;
/// Something waits, and was not to be touched.
pub const WAITS: u8 = 3;
/// There was no more time, or somebody is needed.
pub const OPEN: u8 = 4;

/// Runs it, and prints the report.
///
/// # Errors
///
/// If there are no credentials, or the cluster cannot be read.
pub async fn run(args: UninstallArgs) -> anyhow::Result<ExitCode> {
    let config = kube::Config::infer()
        .await
        .context("no credentials for a cluster: set KUBECONFIG, or run inside one with a ServiceAccount")?;
    let client = trimtab::client(config).context("the credentials make no client")?;
    let scope = args.scope.scope(args.lease_namespace);
    let mut tell = |line: String| say(&format!("{line}\n"));
    let mode = match args.mode {
        Way::Resume => Mode::Resume,
        Way::TakeBack => Mode::TakeBack,
        Way::Refuse | Way::Report | Way::Leave => {
            let report = look(&client, &scope).await?;
            if args.mode != Way::Refuse || report.waiting > 0 {
                say(&text(&report));
                if args.mode == Way::Refuse {
                    say(REFUSED);
                }
                return Ok(ExitCode::from(code(args.mode, &report)));
            }
            Mode::Resume
        }
    };
    let report = free(&client, &scope, mode, args.timeout, &mut tell).await?;
    say(&text(&report));
    Ok(ExitCode::from(if report.open.is_empty() { DONE } else { OPEN }))
}

fn code(way: Way, report: &Report) -> u8 {
    if way == Way::Leave || report.waiting == 0 { DONE } else { WAITS }
}

fn say(text: &str) {
    use std::io::Write;
    // A reader that went away is no reason to stop in the middle.
    let _gone = std::io::stdout().write_all(text.as_bytes());
}
