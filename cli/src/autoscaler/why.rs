//! `trimtab why autoscaler/web`: the last decision of an autoscaler as its status tells it, and with `-o json` the whole
//! snapshot that a decision rests on, measured now with the caller's own rights. How a decision looks is in `explain`.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use trimtab_controllers::scale::{Lists, answerer};
use trimtab_crds::{AutoscalerStatus, names};
use trimtab_plan::{Answers, Kind, Question, Watched};
use trimtab_scale::{AutoscalerView, HpaView, Options, Recorded, Scaled, reconcile, snapshot};

use crate::autoscaler::explain::{self, paragraph};
use crate::paint::{BOLD, DIM, columns, out, paint};
use crate::situation::list;
use crate::{Exit, args::Form, connect::Connection};

/// So many rounds of questions are more than any decision needs: a scale, then its metrics.
const ROUNDS: usize = 4;

/// Prints why an autoscaler wants the size that it wants.
///
/// # Errors
///
/// If there is none of this name, or the API server does not answer.
pub async fn run(to: &Connection, name: &str, form: Form) -> Result<Exit> {
    let text = match form {
        Form::Text => text(&find(to, name).await?, columns().unwrap_or(100)),
        Form::Json => format!("{:#}\n", serde_json::to_value(measure(to, name).await?)?),
    };
    out(&text);
    Ok(Exit::Done)
}

async fn find(to: &Connection, name: &str) -> Result<AutoscalerView> {
    let all = list::<AutoscalerView>(to, names::AUTOSCALER, "").await?;
    let known: Vec<String> = all.iter().map(|one| one.metadata.name.clone()).collect();
    match all.into_iter().find(|one| one.metadata.name == name) {
        Some(found) => Ok(found),
        None if known.is_empty() => bail!("there is no autoscaler in {}: kubectl get autoscalers -A", to.namespace),
        None => bail!("there is no autoscaler {name} in {}: there is {}", to.namespace, known.join(", ")),
    }
}

/// The explanation, wrapped to so many columns.
fn text(autoscaler: &AutoscalerView, columns: usize) -> String {
    let (meta, target) = (&autoscaler.metadata, &autoscaler.spec.target_ref);
    let title = format!(
        "{} {}",
        paint(BOLD, &meta.name),
        paint(DIM, format!("{} {}/{}", target.kind, meta.namespace, target.name))
    );
    let Some(status) = &autoscaler.status else {
        return format!("{title} · nothing was decided yet: is the manager running, with --controllers scale?\n");
    };
    let mut text = match &status.decision {
        Some(decision) => format!("{title} · {}", explain::text(decision, &status.message, columns)),
        None => format!("{title} · {}\n", status.message),
    };
    for (label, told) in troubles(status) {
        text += &paragraph(&label, &told, columns).concat();
    }
    text
}

/// What a person should look at.
fn troubles(status: &AutoscalerStatus) -> Vec<(String, String)> {
    let bad = |type_: &str, status: &str| match type_ {
        "Contested" => status == "True",
        "Ready" | "SchedulesValid" | "ForecastActive" => status == "False",
        _ => false,
    };
    let all = status.conditions.iter().filter(|c| bad(&c.type_, &c.status));
    let mut told: Vec<(String, String)> = vec![];
    for condition in all {
        if !told.iter().any(|(_, message)| *message == condition.message) {
            told.push((condition.reason.clone(), condition.message.clone()));
        }
    }
    told
}

/// The snapshot that a decision would rest on now.
async fn measure(to: &Connection, name: &str) -> Result<Recorded> {
    find(to, name).await?;
    let lists = Lists {
        autoscalers: read(to, names::AUTOSCALER).await?,
        deployments: scaled(to, names::DEPLOYMENT).await?,
        stateful_sets: scaled(to, names::STATEFUL_SET).await?,
        owners: list(to, names::REPLICA_SET, "").await?,
        pods: list(to, names::POD, "").await?,
        hpas: read(to, HpaView::KIND).await?,
        plans: read(to, names::RELEASE_PLAN).await?,
    };
    let (answerer, mut answers) = (answerer(), Answers::new());
    let reader = trimtab::Reader::new(to.client.clone(), trimtab::metrics::Metrics::default());
    let now = Timestamp::now();
    for _ in 0..ROUNDS {
        let seen = lists.seen(name, &answers, Options::default()).context("the autoscaler is gone")?;
        let mut asked = false;
        for ask in reconcile(now, &seen).asks {
            if let Question::Custom { name, input, .. } = ask.question
                && !answers.contains_key(&ask.id)
            {
                asked = true;
                answers.insert(ask.id, answerer.answer(reader.clone(), name, input).await);
            }
        }
        if !asked && let Some(snapshot) = snapshot(now, &seen) {
            return Ok(Recorded { now, snapshot });
        }
    }
    bail!("the target of {name} is not there: trimtab why autoscaler/{name} says more")
}

async fn read<T: DeserializeOwned>(to: &Connection, kind: Kind) -> Result<Vec<Arc<T>>> {
    Ok(list::<T>(to, kind, "").await?.into_iter().map(Arc::new).collect())
}

async fn scaled(to: &Connection, kind: Kind) -> Result<Vec<Arc<Scaled>>> {
    let all = list::<Value>(to, kind, "").await?;
    all.iter().map(|object| Ok(Arc::new(Scaled::read(object)?))).collect()
}
