//! Pinning revisions: an annotation on the plans of the workloads that read the source. The engine makes a release of it.

use anyhow::{Result, bail};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use trimtab_config::{Pin, Pins, Source};
use trimtab_crds::{ReleasePlan, names};

use super::revisions::{Revision, Revisions};
use super::users::Users;
use crate::{
    Exit,
    connect::Connection,
    paint::{DIM, line, paint, tell},
};

/// Pins the revision before what runs, or another one.
pub async fn rollback(to: &Connection, source: &Source, revision: Option<&str>, plan: Option<&str>) -> Result<Exit> {
    let all = Revisions::read(to, source).await?;
    let users = Users::read(to, source).await?;
    let target = match revision {
        Some(_) => all.find(revision)?,
        None => {
            let running = all.newest_first().find(|revision| !users.of(revision).is_empty());
            match running {
                Some(running) => all.before(running)?,
                None => bail!("no workload with a ReleasePlan runs a revision of {source}"),
            }
        }
    };
    write(to, &users, &all, target, plan).await
}

/// Pins a revision.
pub async fn pin(to: &Connection, source: &Source, revision: &str, plan: Option<&str>) -> Result<Exit> {
    let all = Revisions::read(to, source).await?;
    let users = Users::read(to, source).await?;
    write(to, &users, &all, all.find(Some(revision))?, plan).await
}

async fn write(to: &Connection, users: &Users, all: &Revisions, target: &Revision, plan: Option<&str>) -> Result<Exit> {
    let source = users.source();
    let Some(pin) = target.suffix.as_deref().and_then(Pin::parse) else {
        bail!("what is live is no revision that is kept: to follow it, unpin {source}; kept are {}", all.known());
    };
    let guards: Vec<&str> =
        users.readers.iter().map(|reader| reader.plan.as_str()).filter(|plan| *plan != "-").collect();
    let chosen: Vec<&str> = guards.into_iter().filter(|name| plan.is_none_or(|plan| plan == *name)).collect();
    if chosen.is_empty() {
        bail!("no workload with a ReleasePlan reads {source}; see: {} config who-uses {source}", crate::program());
    }
    for name in chosen {
        let mut pins = pins_of(&to.plans().get(name).await.map_err(|e| to.explain(e))?);
        pins.0.insert(source.clone(), pin.clone());
        annotate(to, name, &pins).await?;
        let number = target.number.map_or_else(String::new, |number| format!("{number} "));
        line(&format!("plan {name}: {source} is pinned to revision {number}({pin}); that is released as any change"));
    }
    if !target.live {
        tell(&format!(
            "the live object is ahead of it and is not looked at until: {} config unpin {source}{}",
            crate::program(),
            to.options
        ));
    }
    Ok(Exit::Done)
}

/// Takes pins off.
pub async fn unpin(to: &Connection, source: &Source, plan: Option<&str>) -> Result<Exit> {
    let plans = to.plans().list(&ListParams::default()).await.map_err(|e| to.explain(e))?.items;
    let mut any = false;
    for found in &plans {
        let name = found.metadata.name.as_deref().unwrap_or_default();
        let mut pins = pins_of(found);
        if plan.is_some_and(|plan| plan != name) || pins.0.remove(source).is_none() {
            continue;
        }
        any = true;
        annotate(to, name, &pins).await?;
        line(&format!("plan {name}: {source} follows the live object again; what differs is released as any change"));
    }
    if !any {
        tell(&paint(DIM, format!("{source} is pinned by no plan in namespace {}", to.namespace)));
    }
    Ok(Exit::Done)
}

fn pins_of(plan: &ReleasePlan) -> Pins {
    Pins::of(plan.metadata.annotations.as_ref().and_then(|all| all.get(names::CONFIG_PINNED)).map(String::as_str))
}

async fn annotate(to: &Connection, plan: &str, pins: &Pins) -> Result<()> {
    let value = if pins.is_empty() { None } else { Some(pins.to_string()) };
    let patch = json!({"metadata": {"annotations": {names::CONFIG_PINNED: value}}});
    let how = PatchParams { field_manager: Some("trimtab-cli".to_owned()), ..PatchParams::default() };
    to.plans().patch_metadata(plan, &how, &Patch::Merge(patch)).await.map(drop).map_err(|e| to.explain(e))
}
