//! How reloads are set up for a whole manager: the flags that Reloader has, and those of storm control. Not what a single
//! workload says.

use std::collections::BTreeSet;
use std::time::Duration;

use trimtab_config::{DigestKey, SourceKind};

use crate::expressions::Expressions;
use crate::labels::LabelSelector;

/// How a restart is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Variables where a workload is opted in by Reloader's annotations, our annotation of the template elsewhere.
    #[default]
    Default,
    /// A variable in the container that reads the source: `STAKATER_WEB_CONFIGMAP`.
    EnvVars,
    /// Reloader's annotation of the template.
    Annotations,
}

/// The names of Reloader's annotations; each can be changed by one of its flags.
#[derive(Debug, Clone)]
pub struct ReloaderNames {
    /// All that a workload reads.
    pub auto: String,
    /// All ConfigMaps that it reads.
    pub config_map_auto: String,
    /// All Secrets that it reads.
    pub secret_auto: String,
    /// ConfigMaps by name.
    pub config_map: String,
    /// Secrets by name.
    pub secret: String,
    /// Those that it reads and that are tagged.
    pub search: String,
    /// The tag.
    pub matching: String,
    /// On a source: it restarts nothing.
    pub ignore: String,
    /// How long a Deployment stays paused after a change.
    pub pause_period: String,
    /// Since when it is.
    pub paused_at: String,
}

impl Default for ReloaderNames {
    fn default() -> Self {
        let name = |name: &str| name.to_owned();
        Self {
            auto: name("reloader.stakater.com/auto"),
            config_map_auto: name("configmap.reloader.stakater.com/auto"),
            secret_auto: name("secret.reloader.stakater.com/auto"),
            config_map: name("configmap.reloader.stakater.com/reload"),
            secret: name("secret.reloader.stakater.com/reload"),
            search: name("reloader.stakater.com/search"),
            matching: name("reloader.stakater.com/match"),
            ignore: name("reloader.stakater.com/ignore"),
            pause_period: name("deployment.reloader.stakater.com/pause-period"),
            paused_at: name("deployment.reloader.stakater.com/paused-at"),
        }
    }
}

/// On a workload: ConfigMaps that never restart it. Reloader has no flag for the name.
pub(crate) const EXCLUDE_CONFIG_MAPS: &str = "configmaps.exclude.reloader.stakater.com/reload";
/// As [`EXCLUDE_CONFIG_MAPS`], for Secrets.
pub(crate) const EXCLUDE_SECRETS: &str = "secrets.exclude.reloader.stakater.com/reload";
/// On a template: what it was last restarted for, as JSON.
pub(crate) const LAST_RELOADED_FROM: &str = "reloader.stakater.com/last-reloaded-from";
/// On a Rollout: `restart`, where its template is to stay as it is.
pub(crate) const ROLLOUT_STRATEGY: &str = "reloader.stakater.com/rollout-strategy";

/// How reloads are set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names of Reloader's annotations.
    pub names: ReloaderNames,
    /// Reload every workload that does not opt out.
    pub auto_reload_all: bool,
    /// How restarts are made.
    pub strategy: Strategy,
    /// Reload for a source that is created, where Reloader's annotations opt a workload in.
    pub on_create: bool,
    /// As `on_create`, for one that is deleted.
    pub on_delete: bool,
    /// Kinds of sources that restart nothing.
    pub ignored_sources: BTreeSet<SourceKind>,
    /// Whether CronJobs are left alone.
    pub ignore_cron_jobs: bool,
    /// Whether Jobs are left alone.
    pub ignore_jobs: bool,
    /// Namespaces that are left alone.
    pub ignored_namespaces: BTreeSet<String>,
    /// Sources without these labels restart nothing.
    pub source_labels: LabelSelector,
    /// How long nothing must have changed before a workload is restarted.
    pub quiet_period: Duration,
    /// How many workloads may roll at once for one source; 0 for any number.
    pub max_per_source: usize,
    /// How many workloads of a namespace may roll at once; 0 for any number.
    pub max_per_namespace: usize,
    /// How long a workload may take until the workloads behind it are halted.
    pub deadline: Duration,
    /// The key under which digests of Secrets are made.
    pub digest_key: DigestKey,
    /// The key that proves what is kept of Jobs to be ours.
    pub proof_key: DigestKey,
    /// Whether Secrets are read at all.
    pub secrets: bool,
    /// The expressions of annotations, compiled.
    pub expressions: Expressions,
}

impl Options {
    /// Whether any number of workloads may roll at once.
    pub fn is_unlimited(&self) -> bool {
        self.max_per_source == 0 && self.max_per_namespace == 0
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: ReloaderNames::default(),
            auto_reload_all: false,
            strategy: Strategy::Default,
            on_create: false,
            on_delete: false,
            ignored_sources: BTreeSet::new(),
            ignore_cron_jobs: false,
            ignore_jobs: false,
            ignored_namespaces: BTreeSet::new(),
            source_labels: LabelSelector::default(),
            quiet_period: Duration::from_millis(500),
            max_per_source: 10,
            max_per_namespace: 20,
            deadline: Duration::from_mins(10),
            digest_key: DigestKey::default(),
            proof_key: DigestKey::default(),
            secrets: true,
            expressions: Expressions::default(),
        }
    }
}
