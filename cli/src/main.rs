//! `trimtab`, also `kubectl trimtab`: what people ask of release plans, local clusters, and the demo. Decisions are not
//! taken here: `why` and `plan` call the function that the manager calls.

mod args;
mod autoscaler;
mod config;
mod connect;
mod demo;
mod facts;
mod get;
mod import;
mod local;
mod paint;
mod panel;
mod plan;
mod reading;
mod situation;
mod table;
mod times;
mod uninstall;
mod verbs;
mod watch;
mod why;

use std::{process::ExitCode, time::Duration};

use crate::args::{Args, Form, Verb};
use clap::{CommandFactory, FromArgMatches};
use trimtab_controllers::version;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It could not.
    Error = 1,
    /// What was given is not what was asked for.
    Usage = 2,
    /// The release failed or is stalled.
    Failed = 3,
    /// There was no more time.
    Timeout = 4,
    /// A person or the system ended it.
    Interrupted = 130,
}

/// Whether this program was called as `kubectl trimtab`.
fn as_plugin() -> bool {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    name.starts_with("kubectl-trimtab")
}

/// How a person calls this program.
pub fn program() -> &'static str {
    if as_plugin() { "kubectl trimtab" } else { "trimtab" }
}

fn main() -> ExitCode {
    let mut command = Args::command();
    if as_plugin() {
        command = command.name("kubectl-trimtab").bin_name("kubectl trimtab");
    }
    let args = match Args::from_arg_matches(&command.get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One thread: what this process starts can be made to end with the thread that started it.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(run(args.verb));
    // Work on other threads (a build that was interrupted) is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    paint::tell(&format!("{} {error:#}", paint::paint(paint::BAD, "error:")));
    ExitCode::from(Exit::Error as u8)
}

async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Get(options) => get::run(options).await,
        Verb::Watch(options) => watch::run(options).await,
        Verb::Why(options) => why::run(options).await,
        Verb::Plan(options) => plan::run(options).await,
        Verb::Promote(options) => {
            verbs::run(if options.full { "promote-full" } else { "promote" }, options.request).await
        }
        Verb::Pause(options) => verbs::run("pause", options).await,
        Verb::Resume(options) => verbs::run("resume", options).await,
        Verb::Abort(options) => verbs::run("abort", options).await,
        Verb::Retry(options) => verbs::run("retry", options).await,
        Verb::Restart(options) => verbs::run("restart", options).await,
        Verb::Undo(options) => verbs::undo(options).await,
        Verb::Config(what) => config::run(what).await,
        Verb::Import(what) => import::run(what).await,
        Verb::Autoscaler(what) => autoscaler::run(what).await,
        Verb::Uninstall(options) => uninstall::run(options).await,
        Verb::Local(what) => local::run(what).await,
        Verb::Demo(options) => demo::run(options).await,
        Verb::Version { output } => version(output),
        Verb::WithParent { parent, command } => demo::manager::with_parent(parent, &command),
    }
}

fn version(form: Form) -> anyhow::Result<Exit> {
    paint::line(&match form {
        Form::Text => format!("{} {}", program(), version::line()),
        Form::Json => serde_json::to_string_pretty(&version::VERSION)?,
    });
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_request_of_the_engine_has_a_verb() {
        use clap::CommandFactory;
        let command = crate::args::Args::command();
        for request in trimtab_release::REQUESTS {
            let verb = request.trim_end_matches("-full");
            assert!(command.get_subcommands().any(|c| c.get_name() == verb), "{request}");
        }
    }
}
