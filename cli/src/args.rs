//! The command line: verbs, options and their help. Not what they do.

use std::{path::PathBuf, time::Duration};

use clap::{Args as Options, Parser, Subcommand, ValueEnum};
use trimtab_config::Source;
use trimtab_testkit::Extra;

use crate::autoscaler::args::Autoscaler;
use crate::import::Import;
use crate::uninstall::Uninstall;

/// Of `uninstall`: it has no release that could fail.
const UNINSTALL_CODES: &str = "Exit codes: 0 nothing waits, or what was asked is done, 1 error, 2 wrong usage, 3 something waits and was \
     left as it is, 4 out of time, or somebody is needed.";

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 error, 2 wrong usage, 3 the release failed or is stalled, 4 out of time.";

/// Releases of Kubernetes workloads: see what they wait for, promote them, take them back.
#[derive(Debug, Parser)]
#[command(name = "trimtab", version = trimtab_controllers::version::line(), arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List release plans and how they stand
    Get(Get),
    /// Show a release live until it is over: 0 when it is ready, 3 when it is stalled
    Watch(Watch),
    /// Say what a plan waits for, what would open it, who changed what, and what can be done now
    Why(Why),
    /// Show what the next decision would write, and how many pods each step takes; writes nothing
    Plan(Why),
    /// Go on to the next step, or skip them all with --full
    Promote(Promote),
    /// Stop a release where it is
    Pause(Request),
    /// Let a paused release go on
    Resume(Request),
    /// Take the new revision back
    Abort(Request),
    /// Try a revision that was taken back once more
    Retry(Request),
    /// Restart all pods, as a release of its own
    Restart(Request),
    /// Write the template of the stable revision back; with nothing held, of the one before it, after asking on a terminal
    Undo(Undo),
    /// Revisions of ConfigMaps and Secrets: what changed, who runs which, and going back
    #[command(subcommand)]
    Config(Config),
    /// Convert a HorizontalPodAutoscaler or a ScaledObject of KEDA into an Autoscaler; writes nothing
    #[command(subcommand)]
    Import(Import),
    /// Autoscalers without a cluster: decide a snapshot again, list what schedules will do, try a spec on the past
    #[command(subcommand)]
    Autoscaler(Autoscaler),
    /// Say what waits for Trimtab, and let it go on by Kubernetes alone: the way out, before Trimtab is removed
    #[command(after_help = UNINSTALL_CODES)]
    Uninstall(Uninstall),
    /// Kubernetes clusters on this machine
    #[command(subcommand)]
    Local(Local),
    /// Show all of it: a cluster, a canary, a broken image that is taken back
    Demo(Demo),
    /// Say which version and commit this is, without a cluster
    Version {
        /// The form of the answer
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Run a program that ends with its parent.
    #[command(hide = true)]
    WithParent {
        /// The parent's process number.
        parent: u32,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

/// How to reach the cluster.
#[derive(Debug, Clone, Default, Options)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// The kubeconfig; $KUBECONFIG or ~/.kube/config otherwise
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; its current one otherwise
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace; the context's otherwise
    #[arg(short, long, value_name = "NAMESPACE", value_parser = name)]
    pub namespace: Option<String>,
}

/// `get`
#[derive(Debug, Options)]
pub struct Get {
    /// The plan: NAME, releaseplan/NAME or deployment/NAME; all of the namespace otherwise
    #[arg(value_name = "PLAN", value_parser = reference)]
    pub plan: Option<Reference>,
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "plan"])]
    pub all_namespaces: bool,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table
    Table,
    /// A table with images and more
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names only
    Name,
}

/// `watch`
#[derive(Debug, Options)]
pub struct Watch {
    /// The plan: NAME, releaseplan/NAME or deployment/NAME
    #[arg(value_name = "PLAN", value_parser = reference)]
    pub plan: Reference,
    /// Give up after this long, with exit code 4: 90s, 10m
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// `why` and `plan`
#[derive(Debug, Options)]
pub struct Why {
    /// The plan, NAME, releaseplan/NAME or deployment/NAME; or an autoscaler, autoscaler/NAME
    #[arg(value_name = "PLAN|AUTOSCALER", value_parser = subject)]
    pub subject: Subject,
    /// The form of the answer; of an autoscaler, json is the whole snapshot that its decision rests on
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// The form of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    Text,
    /// JSON; of a decision: what it saw and what it decided
    Json,
}

/// `pause`, `resume` and others that ask something of a plan
#[derive(Debug, Options)]
pub struct Request {
    /// The plan: NAME, releaseplan/NAME or deployment/NAME
    #[arg(value_name = "PLAN", value_parser = reference)]
    pub plan: Reference,
    /// Wait until the manager has answered
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    pub wait: bool,
    /// How long to wait for the manager's answer
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// `promote`
#[derive(Debug, Options)]
pub struct Promote {
    /// Skip all steps
    #[arg(long)]
    pub full: bool,
    #[command(flatten)]
    pub(crate) request: Request,
}

/// `undo`
#[derive(Debug, Options)]
pub struct Undo {
    /// Do not ask before going one revision back
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub(crate) request: Request,
}

/// `config`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// List the revisions that are kept, with their authors and the workloads that run them
    History {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        /// The form of the answer
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Print what a revision holds; of a Secret only its keys
    Show {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        /// Its number or hash; the live object otherwise
        #[arg(value_name = "REVISION")]
        revision: Option<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show what differs between two revisions; of a Secret only which keys
    Diff {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        /// The older one: its number or hash; the newest that is kept and differs otherwise
        #[arg(value_name = "FROM")]
        from: Option<String>,
        /// The newer one: its number or hash; the live object otherwise
        #[arg(value_name = "TO")]
        to: Option<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Go back to a revision, as a release of each workload, and stay there until it is unpinned
    Rollback {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        /// Its number or hash; the one before what runs otherwise
        #[arg(value_name = "REVISION")]
        revision: Option<String>,
        /// Of this plan's workload only; of all that read it otherwise
        #[arg(long, value_parser = name)]
        plan: Option<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Stay at a revision, whatever becomes of the live object
    Pin {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        /// Its number or hash
        #[arg(value_name = "REVISION")]
        revision: String,
        /// Of this plan's workload only; of all that read it otherwise
        #[arg(long, value_parser = name)]
        plan: Option<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Follow the live object again, as a release of each workload
    Unpin {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        /// Of this plan's workload only; of all that pinned it otherwise
        #[arg(long, value_parser = name)]
        plan: Option<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// List the workloads that read it, and how
    WhoUses {
        /// cm/NAME or secret/NAME
        #[arg(value_name = "SOURCE")]
        source: Source,
        #[command(flatten)]
        cluster: Cluster,
    },
}

/// `local`
#[derive(Debug, Subcommand)]
pub enum Local {
    /// Bring a cluster up; it stays up until `local down`
    Up {
        /// What its pods run on: real, simulated, or auto for real where that is possible
        #[arg(long, default_value = "auto", value_parser = ["auto", "real", "simulated"])]
        nodes: String,
        /// Its name
        #[arg(long, default_value = "trimtab")]
        name: String,
        /// How many simulated nodes
        #[arg(long, default_value_t = 4)]
        node_count: u32,
        /// What runs beside it: metrics (metrics-server), prometheus; building them takes minutes the first time
        #[arg(long, value_name = "WHAT", value_delimiter = ',')]
        with: Vec<Extra>,
    },
    /// Print a cluster's kubeconfig
    Kubeconfig {
        /// Its name
        #[arg(long, default_value = "trimtab")]
        name: String,
        /// Print where it is, not what it says
        #[arg(long)]
        path: bool,
    },
    /// End a cluster and remove all that it kept
    Down {
        /// Its name
        #[arg(long, default_value = "trimtab")]
        name: String,
    },
    /// List the clusters that were brought up
    List,
    /// Put the images of an OCI archive onto a cluster's real node
    LoadImage {
        /// The archive
        file: PathBuf,
        /// The cluster's name
        #[arg(long, default_value = "trimtab")]
        name: String,
    },
    /// Build the cluster's parts and end
    Build {
        /// For which nodes
        #[arg(long, default_value = "auto", value_parser = ["auto", "real", "simulated"])]
        nodes: String,
        /// And for what runs beside them: metrics, prometheus
        #[arg(long, value_name = "WHAT", value_delimiter = ',')]
        with: Vec<Extra>,
    },
    /// Install what real nodes need; asks first on a terminal, unless YES=1 or CI=true
    Packages {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Print which nodes a cluster would have here, installing what they need as `up` does
    #[command(hide = true)]
    Choose {
        /// What is asked for
        #[arg(long, default_value = "auto", value_parser = ["auto", "real", "simulated"])]
        nodes: String,
    },
}

/// `demo`
#[derive(Debug, Options)]
pub struct Demo {
    /// What the pods run on: real, simulated, or auto for real where that is possible
    #[arg(long, default_value = "auto", value_parser = ["auto", "real", "simulated"])]
    pub nodes: String,
    /// Leave the cluster up at the end; KEEP=1 does the same
    #[arg(long)]
    pub keep: bool,
}

/// A plan as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By its own name.
    Plan(String),
    /// By the Deployment that it targets.
    Deployment(String),
}

/// What people ask why about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A plan.
    Plan(Reference),
    /// An autoscaler, by its name.
    Autoscaler(String),
}

fn subject(text: &str) -> Result<Subject, String> {
    match text.split_once('/') {
        Some((kind, plain)) if matches!(kind.split('.').next(), Some("autoscaler" | "autoscalers" | "as")) => {
            name(plain).map(Subject::Autoscaler)
        }
        _ => reference(text).map(Subject::Plan),
    }
}

fn reference(text: &str) -> Result<Reference, String> {
    let (kind, plain) = text.split_once('/').unwrap_or(("releaseplan", text));
    let kind = kind.to_ascii_lowercase();
    let plain = name(plain)?;
    match kind.split('.').next().unwrap_or_default() {
        "releaseplan" | "releaseplans" | "rp" => Ok(Reference::Plan(plain)),
        "deployment" | "deployments" | "deploy" => Ok(Reference::Deployment(plain)),
        _ => Err(format!("{kind:?} is no kind that has a plan: write NAME, releaseplan/NAME or deployment/NAME")),
    }
}

/// A name that can stand in a URL.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    match !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("names are made of lower-case letters, digits, `-` and `.`".to_owned()),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    trimtab_crds::parse_duration(text).ok_or_else(|| "write a duration such as 90s, 10m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn plans_are_named_in_three_ways() {
        assert_eq!(reference("web"), Ok(Reference::Plan("web".into())));
        assert_eq!(reference("rp/web"), Ok(Reference::Plan("web".into())));
        assert_eq!(reference("releaseplans.trimtab.dev/web"), Ok(Reference::Plan("web".into())));
        assert_eq!(reference("deploy/web"), Ok(Reference::Deployment("web".into())));
        assert!(reference("pod/web").is_err());
        assert!(reference("../web").is_err());
    }

    #[test]
    fn waiting_can_be_switched_off() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace()).unwrap().verb;
        assert!(matches!(parse("trimtab pause web"), Verb::Pause(Request { wait: true, .. })));
        assert!(matches!(parse("trimtab pause web --wait=false -n a"), Verb::Pause(Request { wait: false, .. })));
        assert!(matches!(parse("trimtab promote --full web"), Verb::Promote(Promote { full: true, .. })));
    }
}
