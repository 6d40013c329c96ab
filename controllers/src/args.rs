//! The manager's command line: what scripts and the chart rely on. Not what is done with it.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Parser, Subcommand};
use trimtab::{ManagerOptions, lease};

use crate::permissions::{self, Place, Wanted};

/// The controllers of Trimtab in one process.
#[derive(Debug, Parser)]
#[command(name = "trimtab-manager", version = crate::version::line(), args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do other than to run the controllers.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The controllers to run.
    #[arg(long, value_delimiter = ',', default_value = "release,config,reload,scale", value_name = "A,B")]
    pub controllers: Vec<String>,

    /// Take a lease first, so that of several replicas one works and the others stand by.
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_elect: bool,

    /// Namespace of the lease; by default the one of the credentials.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of the lease.
    #[arg(long, default_value = "trimtab-manager", value_name = "NAME")]
    pub lease_name: String,

    /// How long a lease lasts that its holder does not renew; the other times follow from it.
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    pub lease_duration: Duration,

    /// Where /livez, /readyz, /version and /debug/why are served; 0 for nowhere.
    #[arg(long, default_value = "0.0.0.0:8081", value_parser = address, value_name = "ADDRESS")]
    pub admin_addr: Address,

    /// Where /metrics is served; 0 for nowhere.
    #[arg(long, default_value = "0.0.0.0:8080", value_parser = address, value_name = "ADDRESS")]
    pub metrics_addr: Address,

    /// How long nothing must have changed before a change with configuration is released: what comes within it is one
    /// release.
    #[arg(long, default_value = "500ms", value_parser = duration, value_name = "DURATION")]
    pub config_quiet_period: Duration,

    /// Work in these namespaces only. Reloader's variable counts too, as its chart sets it.
    #[arg(long, env = "KUBERNETES_NAMESPACE", value_delimiter = ',', value_name = "A,B")]
    pub namespaces: Vec<String>,

    /// Read Secrets, and copy those that pods of managed workloads read. Switched off, no Secret is read or written at all, and
    /// workloads that need one are told so.
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub secrets: bool,

    /// How logs are written: text or json. By default text on a terminal, else JSON.
    #[arg(long, default_value = "", value_name = "FORMAT")]
    pub log_format: String,

    /// Which logs are written: error, warn, info, debug, trace.
    #[arg(long, value_parser = log_level, value_name = "LEVEL")]
    pub log_level: Option<String>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc here would become the text of the first group of flags")]
    pub reload: crate::reload::args::ReloadArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc here would become the text of the first group of flags")]
    pub scale: crate::scale::args::ScaleArgs,
}

/// What the program does other than to run the controllers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the roles that a manager needs, to apply them where no chart does.
    Permissions(PermissionsArgs),
    /// Try a real release on this cluster, in a scratch namespace, and say what came of it.
    SmokeTest(crate::smoke::args::SmokeArgs),
    /// Say what waits for Trimtab, and let it go on without it: what the chart does before it is uninstalled.
    Uninstall(crate::uninstall::args::UninstallArgs),
}

/// What `permissions` is told.
#[derive(Debug, clap::Args)]
pub struct PermissionsArgs {
    /// The controllers that run.
    #[arg(long, value_delimiter = ',', default_value = "release,config,reload,scale", value_name = "A,B")]
    pub controllers: Vec<String>,

    /// Whether Secrets are read.
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub secrets: bool,

    /// The namespaces that it works in; all if there are none.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub namespaces: Vec<String>,

    /// The namespace that it runs in.
    #[arg(long, default_value = "trimtab", value_name = "NAMESPACE")]
    pub namespace: String,

    /// Name of its ServiceAccount and of the roles.
    #[arg(long, default_value = "trimtab-manager", value_name = "NAME")]
    pub name: String,

    /// Name of its lease.
    #[arg(long, default_value = "trimtab-manager", value_name = "NAME")]
    pub lease_name: String,

    /// It reloads pods by signals and looks at their files: it may run programs in them.
    #[arg(long)]
    pub exec: bool,

    /// There are Rollouts of Argo Rollouts.
    #[arg(long)]
    pub rollouts: bool,

    /// It runs with --namespace-selector.
    #[arg(long)]
    pub namespace_selector: bool,
}

impl PermissionsArgs {
    /// The roles, as YAML.
    ///
    /// # Errors
    ///
    /// If there is no such controller.
    pub fn print(&self) -> anyhow::Result<String> {
        let options = [
            (self.exec, permissions::EXEC_OPTION),
            (self.rollouts, permissions::ROLLOUTS),
            (self.namespace_selector, permissions::NAMESPACE_SELECTOR),
        ];
        let options = options.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
        let wanted = Wanted { controllers: self.controllers.clone(), secrets: self.secrets, options };
        let place = Place {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            namespaces: self.namespaces.clone(),
            lease_name: self.lease_name.clone(),
        };
        let documents = permissions::manifests(&wanted, &place)?;
        let yaml = documents.iter().map(|one| Ok(format!("---\n{}", serde_saphyr::to_string(one)?)));
        yaml.collect()
    }
}

/// An address to listen at, if any.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub Option<SocketAddr>);

fn address(text: &str) -> Result<Address, String> {
    if text == "0" {
        return Ok(Address(None));
    }
    // `:8080` as Go programs take it.
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse()
        .map(|address| Address(Some(address)))
        .map_err(|_| format!("{text:?} is no address: write HOST:PORT, :PORT or 0"))
}

/// A level, also by Reloader's names, or what `tracing` takes in its place: `info,hyper=debug`. Anything else would switch the
/// log off.
fn log_level(text: &str) -> Result<String, String> {
    let level = match text.trim().to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => "error",
        "warning" | "warn" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        "off" => "off",
        directives if directives.contains(['=', ',']) => return Ok(text.to_owned()),
        _ => return Err(format!("{text:?} is no level: write error, warn, info, debug or trace")),
    };
    Ok(level.to_owned())
}

/// An entry of a list without what Reloader's chart puts around it.
pub(crate) fn plain(entry: &str) -> &str {
    entry.trim().trim_matches('"').trim()
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    trimtab_crds::parse_duration(text).ok_or_else(|| format!("{text:?} is no duration: write for example 15s"))
}

impl Args {
    /// The framework's options; `namespace` is that of the credentials.
    pub fn options(&self, namespace: &str) -> ManagerOptions {
        ManagerOptions {
            identity: "trimtab-manager".to_owned(),
            namespaces: self.only_in(),
            leader_election: self.leader_elect.then(|| self.lease(namespace)),
            admin_addr: self.admin_addr.0,
            metrics_addr: self.metrics_addr.0,
            version: crate::version::VERSION,
            ..ManagerOptions::default()
        }
    }

    /// The namespaces to work in; all if there are none. Quotes may stand in the list, as Reloader's chart writes them.
    pub fn only_in(&self) -> Vec<String> {
        self.namespaces.iter().map(|name| plain(name).to_owned()).filter(|name| !name.is_empty()).collect()
    }

    /// The usual proportions: renew until two thirds have passed, try every two fifteenths.
    fn lease(&self, namespace: &str) -> lease::Options {
        let namespace = self.lease_namespace.clone().unwrap_or_else(|| namespace.to_owned());
        lease::Options {
            lease_duration: self.lease_duration,
            renew_deadline: self.lease_duration * 2 / 3,
            retry_period: self.lease_duration * 2 / 15,
            ..lease::Options::new(namespace, self.lease_name.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Args {
        Args::try_parse_from(line.split_whitespace()).unwrap()
    }

    #[test]
    fn leader_election_is_on_unless_switched_off() {
        assert!(parse("m").leader_elect);
        assert!(parse("m --leader-elect").leader_elect);
        assert!(!parse("m --leader-elect=false").leader_elect);
    }

    #[test]
    fn levels_are_those_of_reloader_too_and_none_silences_by_mistake() {
        let level = |text: &str| Args::try_parse_from(["m", "--log-level", text]).ok().and_then(|args| args.log_level);
        for (text, expected) in [
            ("warning", Some("warn")),
            ("fatal", Some("error")),
            ("panic", Some("error")),
            ("Info", Some("info")),
            ("info,hyper=debug", Some("info,hyper=debug")),
            ("verbose", None),
            ("", None),
        ] {
            assert_eq!(level(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn lists_may_be_quoted_as_reloader_s_chart_quotes_them() {
        for flag in [
            "--namespace-selector=\"env=test\"",
            "--resource-label-selector=\"a in (b,c)\"",
            "--namespaces-to-ignore=\"a\",\"b\"",
        ] {
            let args = Args::try_parse_from(["m", flag]);
            assert!(args.is_ok(), "{flag}");
        }
    }

    #[test]
    fn namespaces_may_be_quoted_and_spaced() {
        for list in ["--namespaces=\"a\",\"b\"", "--namespaces= a , b ,", "--namespaces=a,b"] {
            let args = Args::try_parse_from(["m", list]).unwrap();
            assert_eq!(args.options("ns").namespaces, ["a", "b"], "{list}");
        }
    }

    #[test]
    fn addresses_are_written_as_go_programs_take_them() {
        assert_eq!(parse("m --admin-addr :9000").admin_addr.0, Some(([0, 0, 0, 0], 9000).into()));
        assert_eq!(parse("m --admin-addr 0").admin_addr.0, None);
        assert_eq!(parse("m --admin-addr 127.0.0.1:0").admin_addr.0, Some(([127, 0, 0, 1], 0).into()));
    }

    #[test]
    fn the_lease_keeps_its_proportions() {
        let lease = parse("m --lease-duration 15s").lease("ns");
        assert_eq!((lease.renew_deadline.as_secs(), lease.retry_period.as_secs()), (10, 2));
    }
}
