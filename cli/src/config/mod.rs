//! `trimtab config`: revisions of ConfigMaps and Secrets. What a Secret holds is never printed, only which keys changed.

mod diff;
mod pin;
mod revisions;
mod users;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_config::{Source, SourceKind};

use crate::{
    Exit,
    args::{Config, Form},
    connect::{Connection, connect},
    paint::{DIM, columns, out, paint, tell},
    table::render,
    times,
};
use revisions::{Revision, Revisions};
use users::Users;

/// Carries out one of the verbs.
pub async fn run(what: Config) -> Result<Exit> {
    match what {
        Config::History { source, output, cluster } => history(&connect(&cluster).await?, &source, output).await,
        Config::Show { source, revision, cluster } => {
            show(&connect(&cluster).await?, &source, revision.as_deref()).await
        }
        Config::Diff { source, from, to, cluster } => {
            out(&diff_text(&connect(&cluster).await?, &source, from.as_deref(), to.as_deref()).await?);
            Ok(Exit::Done)
        }
        Config::Rollback { source, revision, plan, cluster } => {
            pin::rollback(&connect(&cluster).await?, &source, revision.as_deref(), plan.as_deref()).await
        }
        Config::Pin { source, revision, plan, cluster } => {
            pin::pin(&connect(&cluster).await?, &source, &revision, plan.as_deref()).await
        }
        Config::Unpin { source, plan, cluster } => {
            pin::unpin(&connect(&cluster).await?, &source, plan.as_deref()).await
        }
        Config::WhoUses { source, cluster } => who_uses(&connect(&cluster).await?, &source).await,
    }
}

/// What differs between two revisions, for people: what is live and the newest other one, where none are named.
pub async fn diff_text(to: &Connection, source: &Source, older: Option<&str>, newer: Option<&str>) -> Result<String> {
    let all = Revisions::read(to, source).await?;
    let newer = all.find(newer)?;
    let older = match older {
        Some(_) => all.find(older)?,
        None => all.before(newer)?,
    };
    Ok(diff::text(source, older, newer))
}

/// The revisions of a source, for people.
pub async fn history_text(to: &Connection, source: &Source) -> Result<String> {
    Ok(table(&Revisions::read(to, source).await?, &Users::read(to, source).await?, None))
}

async fn history(to: &Connection, source: &Source, output: Form) -> Result<Exit> {
    let all = Revisions::read(to, source).await?;
    let users = Users::read(to, source).await?;
    if output == Form::Json {
        let rows: Vec<Value> = all.newest_first().map(|revision| record(revision, &users)).collect();
        out(&format!("{:#}\n", json!({"source": source, "revisions": rows})));
        return Ok(Exit::Done);
    }
    out(&table(&all, &users, columns()));
    if !all.any_kept() {
        let why = "a revision is kept when a workload with a ReleasePlan releases it";
        tell(&paint(DIM, format!("nothing of {source} is kept yet: {why}")));
    }
    Ok(Exit::Done)
}

fn table(all: &Revisions, users: &Users, columns: Option<usize>) -> String {
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = all
        .newest_first()
        .map(|revision| {
            vec![
                revision.number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                revision.suffix.clone().unwrap_or_else(|| "-".to_owned()),
                times::age(revision.at, now),
                revision.author.clone(),
                users.of(revision).join(", "),
                if revision.live { "live".to_owned() } else { String::new() },
            ]
        })
        .collect();
    render(&["REVISION", "HASH", "AGE", "AUTHOR", "RUN BY", "NOTE"], &rows, columns)
}

/// A revision for programs.
fn record(revision: &Revision, users: &Users) -> Value {
    json!({
        "revision": revision.number, "hash": revision.suffix, "name": revision.name, "at": revision.at,
        "author": revision.author, "live": revision.live, "runBy": users.of(revision),
    })
}

async fn show(to: &Connection, source: &Source, revision: Option<&str>) -> Result<Exit> {
    let all = Revisions::read(to, source).await?;
    let revision = all.find(revision)?;
    if source.kind == SourceKind::Secret {
        let rows: Vec<Vec<String>> =
            revision.entries.iter().map(|(key, entry)| vec![key.clone(), format!("{} bytes", entry.len())]).collect();
        out(&render(&["KEY", "SIZE"], &rows, columns()));
        return Ok(Exit::Done);
    }
    let text = revision.entries.iter().map(|(key, entry)| match entry.text() {
        Some(text) => (key.clone(), json!(text)),
        None => (key.clone(), json!(format!("<{} bytes that are no text>", entry.len()))),
    });
    out(&serde_saphyr::to_string(&text.collect::<serde_json::Map<_, _>>())?);
    Ok(Exit::Done)
}

async fn who_uses(to: &Connection, source: &Source) -> Result<Exit> {
    let users = Users::read(to, source).await?;
    if users.readers.is_empty() {
        tell(&format!("no workload in namespace {} reads {source}", to.namespace));
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = users
        .readers
        .iter()
        .map(|reader| vec![reader.workload.clone(), reader.pinned.clone(), reader.plan.clone(), reader.needs.clone()])
        .collect();
    out(&render(&["WORKLOAD", "REVISION", "PLAN", "NEEDS"], &rows, columns()));
    Ok(Exit::Done)
}

/// That there is no such revision, and which there are.
fn unknown(source: &Source, revision: &str, known: &str) -> anyhow::Error {
    let known = if known.is_empty() { "none is kept".to_owned() } else { format!("kept are {known}") };
    anyhow::anyhow!("{source} has no revision {revision:?}: {known}; see: {} config history {source}", crate::program())
}
