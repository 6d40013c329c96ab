//! `trimtab watch`: a release live, until it is over.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    Exit,
    args::Watch,
    connect::{Connection, Final, connect},
    facts,
    paint::{BAD, DIM, GOOD, Live, columns, line, paint, tell},
    panel,
    situation::{self, Situation},
};

const PERIOD: Duration = Duration::from_millis(500);

/// Shows a release until it is over.
pub async fn run(options: Watch) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    let begun = Instant::now();
    let mut live = Live::new();
    let mut last: Option<Situation> = None;
    loop {
        match situation::read(&to, &options.plan).await {
            Ok(seen) => {
                show(&mut live, &seen);
                if let Some(exit) = over(&seen) {
                    conclude(&seen, exit);
                    return Ok(exit);
                }
                last = Some(seen);
            }
            // A server that restarts is waited for; one that was never reached is an error, and so is what no waiting changes.
            Err(error) if last.is_some() && !error.is::<Final>() => tell(&format!("{error:#}; trying again")),
            Err(error) => return Err(error),
        }
        if options.timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
            tell(&format!("not over after {}: {}", shown(begun.elapsed()), hint(&to, last.as_ref())));
            return Ok(Exit::Timeout);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn shown(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

fn hint(to: &Connection, last: Option<&Situation>) -> String {
    let name = last.map_or("PLAN", Situation::name);
    format!("{} why {name}{} says what it waits for", crate::program(), to.options)
}

fn show(live: &mut Live, seen: &Situation) {
    let facts = facts::of(seen);
    let clock = paint(DIM, seen.now.strftime("%H:%M:%SZ  "));
    live.show(&panel::picture(seen.name(), &facts, columns().unwrap_or(80), &[]), &clock, &panel::one_line(&facts));
}

/// Whether it is over, and how.
fn over(seen: &Situation) -> Option<Exit> {
    // A request that nobody has answered yet may change everything.
    let asked = seen.plan.metadata.annotations.as_ref().and_then(|a| a.get(trimtab_crds::names::REQUEST));
    if asked.is_some() && asked != seen.status().and_then(|s| s.handled_request.as_ref()) {
        return None;
    }
    if seen.is("Ready") {
        Some(Exit::Done)
    } else if seen.is("Stalled") {
        Some(Exit::Failed)
    } else {
        None
    }
}

fn conclude(seen: &Situation, exit: Exit) {
    let message = seen.status().map(|s| s.message.clone()).unwrap_or_default();
    match exit {
        Exit::Done => line(&format!("{} {} is ready: {message}", paint(GOOD, "✓"), seen.name())),
        _ => line(&format!("{} {} is stalled: {message}", paint(BAD, "✗"), seen.name())),
    }
}
