//! `trimtab uninstall`: what waits for Trimtab, and letting it go on without. What is decided and written is
//! `trimtab_controllers::uninstall`'s; here a person is asked and answered.

use std::{
    io::{BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::Result;
use clap::Args;
use trimtab_controllers::uninstall::{Report, Scope, args::ScopeArgs, free, leader, look, text};
use trimtab_uninstall::Mode;

use crate::{
    Exit,
    args::{Cluster, Form},
    connect::connect,
    paint::{DIM, out, paint, tell},
};

/// `uninstall`
#[derive(Debug, Args)]
pub struct Uninstall {
    /// Let every change that waits go on by Kubernetes alone, and guard nothing any more
    #[arg(long, conflicts_with_all = ["take_back", "leave"])]
    pub resume: bool,
    /// Go back to what runs, and guard nothing any more
    #[arg(long, conflicts_with = "leave")]
    pub take_back: bool,
    /// Write nothing, and end with 0 whatever waits
    #[arg(long)]
    pub leave: bool,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How long it may take
    #[arg(long, default_value = "5m", value_parser = crate::args::duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Says what waits, and lets it go on as asked.
pub async fn run(options: Uninstall) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    // `-n` is what people write for one namespace.
    let mut named = options.scope;
    named.namespaces.splice(0..0, options.cluster.namespace);
    let scope = named.scope(None);
    let asked = match (options.resume, options.take_back) {
        (true, _) => Some(Mode::Resume),
        (_, true) => Some(Mode::TakeBack),
        _ => None,
    };
    let confirmed = asked.filter(|_| options.yes);
    let mode = match confirmed {
        Some(mode) => Some(mode),
        None => {
            let report = look_with_manager(&to.client, &scope).await?;
            let is_person = options.output == Form::Text && std::io::stdin().is_terminal() && !options.leave;
            let answer = match (is_person, asked) {
                (true, _) => {
                    out(&text(&report));
                    ask(&report, asked)?
                }
                // What was said on a command line that nobody sits at is said.
                (false, Some(mode)) => Some(mode),
                (false, None) => {
                    out(&shown(&report, options.output)?);
                    None
                }
            };
            if answer.is_none() {
                let fine = options.leave || report.waiting == 0;
                return Ok(if fine { Exit::Done } else { Exit::Failed });
            }
            answer
        }
    };
    let Some(mode) = mode else { return Ok(Exit::Done) };
    let mut progress = |line: String| tell(&paint(DIM, line));
    let report = free(&to.client, &scope, mode, options.timeout, &mut progress).await?;
    out(&shown(&report, options.output)?);
    if !report.open.is_empty() {
        return Ok(Exit::Timeout);
    }
    if options.output == Form::Text {
        tell(&paint(
            DIM,
            "Trimtab can go now: helm uninstall, or delete its Deployment. Delete the CRDs only if no plan is to come back.",
        ));
    }
    Ok(Exit::Done)
}

/// How everything stands, and which manager works.
async fn look_with_manager(client: &kube::Client, scope: &Scope) -> Result<Report> {
    let mut report = look(client, scope).await?;
    if scope.stop.is_none() {
        match leader(client, &scope.lease_name, None).await {
            Ok(manager) => report.manager = manager,
            Err(error) => report.notes.push(format!("{error:#}")),
        }
    }
    if let Some(manager) = &report.manager {
        let how = manager.deployment.as_ref().map_or_else(String::new, |d| format!("; --stop {d} ends it"));
        let note = format!("a manager works ({}); it has to end before anything is freed{how}", manager.holder);
        report.notes.push(note);
    }
    Ok(report)
}

fn shown(report: &Report, form: Form) -> Result<String> {
    Ok(match form {
        Form::Text => text(report),
        Form::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
    })
}

/// Asks the person what is to become of it. `None`: nothing is written.
fn ask(report: &Report, asked: Option<Mode>) -> Result<Option<Mode>> {
    if report.workloads.is_empty() && asked.is_none() {
        return Ok(None);
    }
    let question = match asked {
        Some(Mode::Resume) => "Resume, and guard nothing any more? [y/N] ",
        Some(Mode::TakeBack) => "Take back, and guard nothing any more? [y/N] ",
        None if report.waiting > 0 => "What is to become of it? [resume, take-back, N] ",
        None => "Guard nothing any more? [y/N] ",
    };
    let mut terminal = std::io::stdout();
    terminal.write_all(question.as_bytes())?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(meant(answer.trim(), report.waiting > 0, asked))
}

fn meant(answer: &str, waiting: bool, asked: Option<Mode>) -> Option<Mode> {
    match (answer, asked) {
        ("y" | "yes", Some(mode)) => Some(mode),
        ("y" | "yes", None) if !waiting => Some(Mode::Resume),
        ("resume", None) => Some(Mode::Resume),
        ("take-back", None) => Some(Mode::TakeBack),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_meant_but_what_is_said() {
        assert_eq!(meant("y", true, Some(Mode::TakeBack)), Some(Mode::TakeBack));
        assert_eq!(meant("y", false, None), Some(Mode::Resume));
        // Where something waits, a yes does not say what.
        assert_eq!(meant("y", true, None), None);
        assert_eq!(meant("take-back", true, None), Some(Mode::TakeBack));
        assert_eq!(meant("", false, Some(Mode::Resume)), None);
    }
}
