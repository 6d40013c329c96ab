//! `trimtab-manager`: parses the command line, sets up logs, runs the manager, or what is asked for instead of it.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use trimtab_controllers::{
    args::{Args, Command},
    manager, uninstall,
};

fn main() -> anyhow::Result<ExitCode> {
    let mut args = Args::parse();
    let command = args.command.take();
    let level = || EnvFilter::new(args.log_level.as_deref().unwrap_or("info"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| level());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let text = args.log_format == "text" || (args.log_format.is_empty() && std::io::stderr().is_terminal());
    if text {
        logs.init();
    } else {
        logs.json().init();
    }
    // Two threads: the work is waiting, and every thread costs memory.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match command {
        Some(Command::Uninstall(args)) => runtime.block_on(uninstall::args::run(args)),
        None => runtime.block_on(manager::run(args)).map(|()| ExitCode::SUCCESS),
    }
}
