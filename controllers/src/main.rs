//! `trimtab-manager`: parses the command line, sets up logs, runs the manager, or what is asked for instead of it.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use trimtab_controllers::{
    args::{Args, Command},
    manager, smoke, uninstall,
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
    runtime.block_on(async {
        match command {
            Some(Command::Permissions(asked)) => print!("{}", asked.print()?),
            Some(Command::SmokeTest(asked)) => smoke::run(asked).await?,
            Some(Command::Uninstall(asked)) => return uninstall::args::run(asked).await,
            None => manager::run(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
