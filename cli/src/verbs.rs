//! Requests to a plan: written as an annotation with an id of its own, then waited for. What a request means is decided by
//! the engine, here beforehand as in the manager afterwards.

use std::{
    hash::{BuildHasher, Hasher},
    io::{BufRead, IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use trimtab_crds::{ReleasePlan, names};
use trimtab_plan::Notice;

use crate::{
    Exit,
    args::{Request, Undo},
    connect::{Connection, connect},
    paint::{DIM, GOOD, line, paint, tell},
    panel,
    situation::{self, Situation},
};

const PERIOD: Duration = Duration::from_millis(150);

/// Asks something of a plan and says what came of it.
pub async fn run(verb: &str, options: Request) -> Result<Exit> {
    asked(verb, options, |_, _| Ok(true)).await
}

/// Asks for an undo. Where nothing is held it goes one revision back, which a person is asked about first.
pub async fn undo(options: Undo) -> Result<Exit> {
    let is_asked = !options.yes && std::io::stdin().is_terminal();
    asked("undo", options.request, |before, id| {
        let Some(words) = one_back(before, id) else { return Ok(true) };
        tell(&words);
        if is_asked { ask("Go back? [y/N] ") } else { Ok(true) }
    })
    .await
}

/// Where an undo would go one revision back: from what to what.
fn one_back(before: &Situation, id: &str) -> Option<String> {
    let status = before.if_asked(id).status?;
    let (undo, stable) = (status.undo?, status.stable?);
    let deployment = before.seen.deployment.as_ref()?;
    if deployment.spec.template.digest != stable.digest || undo.digest == stable.digest {
        return None;
    }
    let now = trimtab_release::words(&deployment.spec.template);
    let old = before.seen.replica_sets.iter().find(|rs| rs.spec.template.digest == undo.digest);
    let old = old.map_or_else(|| "the revision before".to_owned(), |rs| trimtab_release::words(&rs.spec.template));
    Some(format!(
        "{}: no change is held, so undo goes one revision back, from {now} to {old} (what was stable before {})",
        before.name(),
        undo.release
    ))
}

fn ask(question: &str) -> Result<bool> {
    let mut terminal = std::io::stdout();
    terminal.write_all(question.as_bytes())?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

/// Asks something of a plan, if a last look at how it stands says so, and says what came of it.
async fn asked(verb: &str, options: Request, confirmed: impl FnOnce(&Situation, &str) -> Result<bool>) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    let before = situation::read(&to, &options.plan).await?;
    let id = id(verb, Timestamp::now());
    if let Some(why) = refusal(&before, &id) {
        bail!("{verb} {}: {why}", before.name());
    }
    if !confirmed(&before, &id)? {
        return Ok(Exit::Done);
    }
    let name = before.name().to_owned();
    write(&to, &name, &id).await?;
    if !options.wait {
        line(&format!("asked {name}: {id}"));
        return Ok(Exit::Done);
    }
    let Some(plan) = answered(&to, &name, &id, options.timeout).await? else {
        let says = situation::read(&to, &options.plan).await?.status().map(|status| status.message.clone());
        tell(&unanswered(&name, options.timeout, says, &to.options));
        return Ok(Exit::Timeout);
    };
    if let Some(why) = refused(&to, &name, &id).await {
        bail!("{verb} {name}: {why}");
    }
    line(&outcome(verb, &plan));
    tell(&paint(DIM, format!("watch it with: {} watch {name}{}", crate::program(), to.options)));
    Ok(Exit::Done)
}

/// What to tell when nobody has answered.
fn unanswered(name: &str, timeout: Duration, says: Option<String>, options: &str) -> String {
    let says = says.filter(|says| !says.is_empty()).map(|says| format!("It says: {says}. "));
    format!(
        "{name} has not answered within {} s: is trimtab-manager running? {}The request stays and is carried out when it \
         can be; to take it back: kubectl annotate releaseplan {name}{options} {}-",
        timeout.as_secs(),
        says.unwrap_or_default(),
        names::REQUEST
    )
}

/// An id that nobody has used: the verb, the time, and something random.
fn id(verb: &str, now: Timestamp) -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{verb}:{}-{:04x}", now.strftime("%Y-%m-%dT%H:%M:%SZ"), random & 0xffff)
}

/// Writes a request into a plan.
pub async fn write(to: &Connection, name: &str, id: &str) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {names::REQUEST: id}}});
    let how = PatchParams { field_manager: Some("trimtab-cli".to_owned()), ..PatchParams::default() };
    to.plans().patch_metadata(name, &how, &Patch::Merge(patch)).await.map_err(|e| to.explain(e))?;
    Ok(())
}

/// Waits until the manager has answered. None if nobody does.
pub async fn answered(to: &Connection, name: &str, id: &str, timeout: Duration) -> Result<Option<ReleasePlan>> {
    let begun = Instant::now();
    loop {
        let plan = to.plans().get(name).await.map_err(|e| to.explain(e))?;
        if plan.status.as_ref().and_then(|s| s.handled_request.as_deref()) == Some(id) {
            return Ok(Some(plan));
        }
        if begun.elapsed() >= timeout {
            return Ok(None);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Why the engine would refuse the request, if it would.
fn refusal(before: &Situation, id: &str) -> Option<String> {
    let refused = |notice: &&Notice| notice.reason == "RequestRefused" && notice.note.contains(id);
    before.if_asked(id).notices.iter().find(refused).map(|notice| reason(&notice.note))
}

fn reason(note: &str) -> String {
    note.split_once("carried out: ").map_or(note, |(_, why)| why).to_owned()
}

/// Why the manager refused the request, if it did: it says so by an event alone.
async fn refused(to: &Connection, name: &str, id: &str) -> Option<String> {
    let events: Api<Event> = Api::namespaced(to.client.clone(), &to.namespace);
    let fields = format!("involvedObject.kind=ReleasePlan,involvedObject.name={name},reason=RequestRefused");
    let found = events.list(&ListParams::default().fields(&fields)).await.ok()?;
    let note = found.items.into_iter().filter_map(|event| event.message).find(|note| note.contains(id))?;
    Some(reason(&note))
}

/// What came of a request.
fn outcome(verb: &str, plan: &ReleasePlan) -> String {
    let name = plan.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &plan.status else { return format!("{name}: {verb} was carried out") };
    format!("{} {name}: {} · {}", paint(GOOD, "✓"), panel::phase(status.phase), status.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_begin_with_the_verb() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(id("promote", now).starts_with("promote:2023-11-14T22:13:20Z-"));
        assert_ne!(id("promote", now), id("promote", now));
    }

    #[test]
    fn only_the_reason_of_a_refusal_is_told() {
        assert_eq!(
            reason("the request \"abort:1\" was not carried out: no release is under way"),
            "no release is under way"
        );
    }
}
