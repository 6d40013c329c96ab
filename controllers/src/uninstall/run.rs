//! Going the way out: what is decided is written, and looked at again, until nothing is left to do. A process that is ended
//! in between may be started again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, bail};
use kube::Client;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use trimtab::Writer;
use trimtab_plan::Class;
use trimtab_uninstall::{Mode, Next, Standing, decide, survey};

use super::{
    leader::{self, Leader, leader},
    policies,
    read::{Seen, read},
    scope::Scope,
};

/// How long nothing is looked at between two rounds.
const PAUSE: Duration = Duration::from_millis(300);
/// How long the writes of one workload may take in a round.
const WRITES: Duration = Duration::from_secs(30);
/// The field manager.
const MANAGER: &str = "trimtab-uninstall";

/// How things stand, or what came of it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was asked for; nothing where it was only looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The manager that works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<Leader>,
    /// How many workloads wait for Trimtab.
    pub waiting: usize,
    /// The workloads, as they stood before anything was written.
    pub workloads: Vec<Standing>,
    /// What could not be brought to its end.
    pub open: Vec<Open>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// A workload that could not be brought to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Open {
    /// `NAMESPACE/NAME`, with its kind.
    pub workload: String,
    /// Why, and what to do.
    pub why: String,
}

/// How everything stands. Nothing is written.
///
/// # Errors
///
/// If workloads cannot be read.
pub async fn look(client: &Client, scope: &Scope) -> Result<Report> {
    let seen = read(client, scope).await?;
    let mut workloads: Vec<Standing> = seen.deployments.iter().filter_map(survey).collect();
    workloads.extend(seen.others.iter().filter_map(trimtab_uninstall::Other::survey));
    workloads.sort_by(|a, b| (!a.waits, &a.namespace, &a.name).cmp(&(!b.waits, &b.namespace, &b.name)));
    Ok(Report {
        waiting: workloads.iter().filter(|workload| workload.waits).count(),
        workloads,
        notes: seen.notes,
        ..Report::default()
    })
}

/// Frees everything: what waits goes the way of `mode`, and nothing is guarded any more. `tell` hears what is being done.
///
/// # Errors
///
/// If a manager works that is not to be ended, or the cluster cannot be read.
pub async fn free(
    client: &Client,
    scope: &Scope,
    mode: Mode,
    within: Duration,
    tell: &mut dyn FnMut(String),
) -> Result<Report> {
    let until = Instant::now() + within;
    let writer = Writer::new(client.clone(), MANAGER)?;
    let stopped = match &scope.stop {
        Some(manager) => {
            tell(format!("ending the manager {manager}"));
            Some(leader::stop(client, &writer, manager, until).await?)
        }
        None => None,
    };
    let result = free_without_manager(client, scope, &writer, mode, until, tell).await;
    let failed = match &result {
        Ok(report) => !report.open.is_empty(),
        Err(_) => true,
    };
    if let Some(manager) = stopped.filter(|_| failed) {
        tell("starting the manager again: not everything is free".to_owned());
        let started = leader::start(&writer, &manager).await;
        return match (result, started) {
            (Ok(mut report), Err(error)) => {
                report.notes.push(format!("the manager was not started again: {error:#}"));
                Ok(report)
            }
            (result, _) => result,
        };
    }
    result
}

async fn free_without_manager(
    client: &Client,
    scope: &Scope,
    writer: &Writer,
    mode: Mode,
    until: Instant,
    tell: &mut dyn FnMut(String),
) -> Result<Report> {
    let mut notes = vec![];
    match leader(client, &scope.lease_name, scope.lease_namespace.as_deref()).await {
        Ok(Some(found)) => bail!(still_works(&found)),
        Ok(None) => {}
        Err(error) => notes.push(format!("{error:#}; if a manager works, end it first: it guards again what is freed")),
    }
    let mut report = look(client, scope).await?;
    report.mode = Some(mode);
    report.notes.append(&mut notes);
    let mut told = BTreeSet::new();
    loop {
        let seen = read(client, scope).await?;
        let open = round(writer, mode, &seen, &mut told, tell).await;
        let blocked = open.values().all(|open| open.final_);
        let late = Instant::now() >= until;
        if blocked || late {
            let why = |open: OpenNow| {
                if open.final_ { open.why } else { format!("there was no more time: waiting for {}", open.why) }
            };
            report.open = open.into_iter().map(|(workload, open)| Open { workload, why: why(open) }).collect();
            break;
        }
        sleep(PAUSE).await;
    }
    if report.open.is_empty() && scope.namespaces.is_empty() {
        match policies::remove_hold(client, writer).await? {
            None => report.notes.push("the policies trimtab-hold and trimtab-held-warning are gone".to_owned()),
            Some(why) => {
                report.notes.push(format!("the policy trimtab-hold stays and holds nothing that was freed: {why}"))
            }
        }
    }
    Ok(report)
}

fn still_works(found: &Leader) -> String {
    let Leader { namespace, lease, holder, deployment } = found;
    let how = match deployment {
        Some(manager) => format!("let it be ended with --stop {manager}"),
        None => "end it".to_owned(),
    };
    format!(
        "a manager works ({holder}, lease {namespace}/{lease}), and would guard again what is freed: {how}, then ask again"
    )
}

struct OpenNow {
    why: String,
    /// Whether waiting does not help.
    final_: bool,
}

/// One look at everything, and what is to be written for it. What is not at its end comes back.
async fn round(
    writer: &Writer,
    mode: Mode,
    seen: &Seen,
    told: &mut BTreeSet<String>,
    tell: &mut dyn FnMut(String),
) -> BTreeMap<String, OpenNow> {
    let mut open = BTreeMap::new();
    let deployments =
        seen.deployments.iter().map(|s| (format!("Deployment {}/{}", s.namespace, s.name), decide(mode, s)));
    let named = |other: &trimtab_uninstall::Other| {
        other.survey().map(|s| format!("{} {}/{}", s.kind, s.namespace, s.name)).unwrap_or_default()
    };
    let others = seen.others.iter().map(|other| (format!("{} (size)", named(other)), other.decide()));
    for (workload, next) in deployments.chain(others) {
        let Next { writes, waits_for, blocked } = next;
        for write in &writes {
            // What waits is told once, whatever its numbers.
            let line = format!("{}: {}", write.target, write.why);
            if told.insert(line.clone()) {
                tell(line);
            }
        }
        let written = !writes.is_empty();
        let failed = if written { writer.apply(&writes, WRITES).await.failed } else { None };
        let refused = failed.filter(|failure| failure.class == Class::Blocked && failure.reason != "Precondition");
        let refused = refused.map(|failure| {
            let what = writes.get(failure.index).map(|write| format!("{} ({})", write.why, write.target));
            format!("refused: {}: {}; whoever refuses it has to allow it", what.unwrap_or_default(), failure.message)
        });
        if let Some(why) = blocked.or(refused) {
            open.insert(workload, OpenNow { why, final_: true });
        } else if written || waits_for.is_some() {
            let why = waits_for.unwrap_or_else(|| "its marks to go: does a manager set them again?".to_owned());
            open.insert(workload, OpenNow { why, final_: false });
        }
    }
    open
}
