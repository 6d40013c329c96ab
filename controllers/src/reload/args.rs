//! The flags of reloads: storm control, and Reloader's own, under Reloader's names, so that its command line can be kept.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use trimtab_config::{DigestKey, SourceKind};
use trimtab_reload::{Expressions, LabelSelector, Options, ReloaderNames, Strategy};

use super::Setup;
use crate::args::{duration, plain};

/// How restarts are made.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StrategyArg {
    /// env-vars for workloads with Reloader's annotations, an annotation of the pod template for those with ours.
    Default,
    /// A variable STAKATER_NAME_CONFIGMAP in the container that reads the source.
    EnvVars,
    /// Reloader's annotation of the pod template.
    Annotations,
}

/// The flags of reloads.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reloads")]
pub struct ReloadArgs {
    /// How many workloads may be restarting at once for one ConfigMap or Secret; 0 for any number.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub reload_max_per_source: usize,

    /// How many workloads of a namespace may be restarting at once; 0 for any number.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub reload_max_per_namespace: usize,

    /// How long a restarted workload may take to become available before those behind it are halted.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub reload_deadline: Duration,

    /// Reload every workload that does not opt out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub auto_reload_all: bool,

    /// How restarts are made.
    #[arg(long, value_enum, default_value = "default", value_name = "STRATEGY")]
    pub reload_strategy: StrategyArg,

    /// Reload when a ConfigMap or Secret is created, where Reloader's annotations opt in.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub reload_on_create: bool,

    /// Reload when a ConfigMap or Secret is deleted, where Reloader's annotations opt in.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub reload_on_delete: bool,

    /// Changes of these restart nothing: configmaps, secrets.
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    pub resources_to_ignore: Vec<String>,

    /// Workloads that are left alone: jobs, cronjobs.
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    pub ignored_workload_types: Vec<String>,

    /// Leave these namespaces alone.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub namespaces_to_ignore: Vec<String>,

    /// Reload only in namespaces with these labels.
    #[arg(long, value_name = "SELECTOR")]
    pub namespace_selector: Option<LabelSelector>,

    /// Reload only for ConfigMaps and Secrets with these labels.
    #[arg(long, default_value = "", value_name = "SELECTOR")]
    pub resource_label_selector: LabelSelector,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc here would become the text of a group of flags")]
    pub names: NameArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc here would become the text of a group of flags")]
    pub kept: KeptArgs,
}

/// Names of annotations.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names of Reloader's annotations")]
pub struct NameArgs {
    /// All that a workload reads.
    #[arg(long, value_name = "NAME")]
    pub auto_annotation: Option<String>,
    /// All ConfigMaps that it reads.
    #[arg(long, value_name = "NAME")]
    pub configmap_auto_annotation: Option<String>,
    /// All Secrets that it reads.
    #[arg(long, value_name = "NAME")]
    pub secret_auto_annotation: Option<String>,
    /// ConfigMaps by name.
    #[arg(long, value_name = "NAME")]
    pub configmap_annotation: Option<String>,
    /// Secrets by name.
    #[arg(long, value_name = "NAME")]
    pub secret_annotation: Option<String>,
    /// What it reads and is tagged.
    #[arg(long, value_name = "NAME")]
    pub auto_search_annotation: Option<String>,
    /// The tag.
    #[arg(long, value_name = "NAME")]
    pub search_match_annotation: Option<String>,
    /// On a ConfigMap or Secret: it restarts nothing.
    #[arg(long, value_name = "NAME")]
    pub ignore_annotation: Option<String>,
    /// How long a Deployment stays paused after a change.
    #[arg(long, value_name = "NAME")]
    pub pause_deployment_annotation: Option<String>,
    /// Since when it is.
    #[arg(long, value_name = "NAME")]
    pub pause_deployment_time_annotation: Option<String>,
}

/// Flags of Reloader that are taken and need nothing done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Taken for Reloader's sake")]
pub struct KeptArgs {
    /// Nothing to set: what changed while nobody watched is always found.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub sync_after_restart: Option<bool>,
    /// Nothing to set: see --leader-elect.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enable_ha: Option<bool>,
    /// Nothing to set: Rollouts are reloaded where their CRD is there.
    #[arg(long = "is-Argo-Rollouts", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub is_argo_rollouts: Option<String>,
    /// Not supported: changes of what the Secrets Store CSI driver mounts restart nothing.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enable_csi_integration: Option<bool>,
    /// Not supported: workloads are restarted, and no URL is called.
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// Nothing to set: there is no profile to serve.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enable_pprof: Option<bool>,
    /// Nothing to set: there is no profile to serve.
    #[arg(long, value_name = "ADDRESS")]
    pub pprof_addr: Option<String>,
}

impl ReloadArgs {
    /// What the controller is told; without a key for digests of Secrets it leaves Secrets alone. By `proof_key` it knows
    /// again what it made. What cannot be done is said in the log.
    pub fn setup(
        &self,
        quiet_period: Duration,
        digest_key: Option<DigestKey>,
        proof_key: DigestKey,
        rollouts: bool,
    ) -> Setup {
        self.warn();
        let lower = |values: &[String]| -> BTreeSet<String> {
            // Reloader reads a list of comma-separated values, in which quotes may stand.
            values.iter().map(|value| plain(value).to_ascii_lowercase()).filter(|value| !value.is_empty()).collect()
        };
        let (sources, kinds) = (lower(&self.resources_to_ignore), lower(&self.ignored_workload_types));
        let ignored = [("configmaps", SourceKind::ConfigMap), ("secrets", SourceKind::Secret)];
        let options = Options {
            names: self.names.names(),
            auto_reload_all: self.auto_reload_all,
            strategy: match self.reload_strategy {
                StrategyArg::Default => Strategy::Default,
                StrategyArg::EnvVars => Strategy::EnvVars,
                StrategyArg::Annotations => Strategy::Annotations,
            },
            on_create: self.reload_on_create,
            on_delete: self.reload_on_delete,
            ignored_sources: ignored
                .iter()
                .filter(|(name, _)| sources.contains(*name))
                .map(|(_, kind)| *kind)
                .collect(),
            ignore_cron_jobs: kinds.contains("cronjobs"),
            ignore_jobs: kinds.contains("jobs"),
            ignored_namespaces: lower(&self.namespaces_to_ignore),
            source_labels: self.resource_label_selector.clone(),
            quiet_period,
            max_per_source: self.reload_max_per_source,
            max_per_namespace: self.reload_max_per_namespace,
            deadline: self.reload_deadline,
            secrets: digest_key.is_some(),
            digest_key: digest_key.unwrap_or_default(),
            proof_key,
            expressions: Expressions::default(),
        };
        Setup { options, rollouts, namespaces: self.namespace_selector.clone() }
    }

    fn warn(&self) {
        if self.kept.webhook_url.is_some() {
            tracing::warn!("--webhook-url is not supported: workloads are restarted, and no URL is called");
        }
        if self.kept.enable_csi_integration == Some(true) {
            tracing::warn!("--enable-csi-integration is not supported: what the CSI driver mounts restarts nothing");
        }
    }
}

impl NameArgs {
    fn names(&self) -> ReloaderNames {
        let usual = ReloaderNames::default();
        let or = |given: &Option<String>, usual: String| given.clone().filter(|name| !name.is_empty()).unwrap_or(usual);
        ReloaderNames {
            auto: or(&self.auto_annotation, usual.auto),
            config_map_auto: or(&self.configmap_auto_annotation, usual.config_map_auto),
            secret_auto: or(&self.secret_auto_annotation, usual.secret_auto),
            config_map: or(&self.configmap_annotation, usual.config_map),
            secret: or(&self.secret_annotation, usual.secret),
            search: or(&self.auto_search_annotation, usual.search),
            matching: or(&self.search_match_annotation, usual.matching),
            ignore: or(&self.ignore_annotation, usual.ignore),
            pause_period: or(&self.pause_deployment_annotation, usual.pause_period),
            paused_at: or(&self.pause_deployment_time_annotation, usual.paused_at),
        }
    }
}
