//! `trimtab plan`: what the next decision would write, and what a release by this plan takes. A dry run: the decision is
//! taken, and nothing is written.

use anyhow::{Result, bail};
use serde_json::Value;
use trimtab_crds::Step;
use trimtab_plan::{Subresource, Verb, Write};
use trimtab_release::{canary_replicas, limits, percent_up, share};

use crate::{
    Exit,
    args::{Form, Subject, Why},
    connect::connect,
    facts,
    paint::{BOLD, DIM, NEW, out, paint},
    situation::{self, Situation},
    table::render,
    times,
};

/// Prints what would be written.
pub async fn run(options: Why) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    let plan = match &options.subject {
        Subject::Plan(plan) => plan,
        Subject::Autoscaler(name) => {
            bail!("an autoscaler has no plan: trimtab why autoscaler/{name} tells its decision")
        }
    };
    let seen = situation::read(&to, plan).await?;
    out(&match options.output {
        Form::Json => format!("{:#}\n", serde_json::to_value(&seen.decided)?),
        Form::Text => text(&seen),
    });
    Ok(Exit::Done)
}

fn text(seen: &Situation) -> String {
    let mut lines = vec![paint(BOLD, "The next decision")];
    for because in &seen.decided.because {
        lines.push(format!("  {} {}", because.message, paint(DIM, format!("[{}]", because.reason))));
    }
    lines.push(String::new());
    if seen.decided.writes.is_empty() {
        lines.push("  writes nothing but the plan's status, if that changes".to_owned());
    }
    for (n, write) in seen.decided.writes.iter().enumerate() {
        lines.push(format!("  {}. {} {} — {}", n + 1, verb(write), write.target, write.why));
        lines.extend(details(write).into_iter().map(|detail| paint(DIM, format!("       {detail}"))));
    }
    for chore in &seen.decided.housekeeping {
        let write = &chore.write;
        lines.push(format!("  tidies up: {} {} — {}", verb(write), write.target, write.why));
    }
    if let trimtab_plan::Wake::At(at) = seen.decided.wake {
        lines.push(format!("  then again at {}, or when anything changes", times::ahead(seen.now, at)));
    }
    lines.push(String::new());
    lines.join("\n") + "\n" + &forecast(seen)
}

fn verb(write: &Write) -> String {
    let (word, on) = match &write.verb {
        Verb::Create { .. } => ("create", None),
        Verb::CopyFrom { .. } => ("copy to", None),
        Verb::Apply { .. } => ("apply", None),
        Verb::Patch { subresource, .. } | Verb::Merge { subresource, .. } | Verb::Strategic { subresource, .. } => {
            ("patch", *subresource)
        }
        Verb::Delete { .. } => ("delete", None),
        Verb::Scale { .. } => ("scale", None),
        Verb::Evict => ("evict", None),
    };
    let on = match on {
        Some(Subresource::Status) => " status of",
        Some(Subresource::Scale) => " scale of",
        None => "",
    };
    paint(NEW, format!("{word}{on}"))
}

/// The operations of a patch, each in one line; whole objects only by their size.
fn details(write: &Write) -> Vec<String> {
    const LONG: usize = 120;
    let Verb::Patch { ops, .. } = &write.verb else { return vec![] };
    let ops = ops.iter().filter_map(|op| serde_json::to_value(op).ok());
    ops.map(|op| {
        let value = op.get("value").map(Value::to_string).unwrap_or_default();
        let value = if value.len() > LONG { format!("… ({} bytes)", value.len()) } else { value };
        format!("{:<7} {} {value}", op["op"].as_str().unwrap_or_default(), op["path"].as_str().unwrap_or_default())
    })
    .collect()
}

/// How many pods each step takes.
fn forecast(seen: &Situation) -> String {
    let Some(deployment) = &seen.seen.deployment else { return String::new() };
    let stable = deployment.spec.replicas;
    let rolling = deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
    let (surge, _) = limits(stable, &rolling.max_surge, &rolling.max_unavailable);
    let steps = &seen.plan.spec.strategy.canary.steps;
    let mut rows = vec![];
    let mut largest = 0;
    for (index, step) in steps.iter().enumerate() {
        let size = size_at(steps, index, stable);
        largest = largest.max(size);
        let promotes = step.set_weight.is_some_and(|w| w >= 100);
        let pods = if promotes { format!("{stable} new") } else { format!("{stable} stable + {size} canary") };
        let part = if promotes { 100 } else { share(size, stable) };
        rows.push(vec![format!("{}", index + 1), facts::words(step), pods, format!("{part}%")]);
    }
    let peak = stable + largest.max(surge);
    let head = format!("{}\n", paint(BOLD, format!("A release of Deployment {} by this plan", seen.seen.name)));
    let table = if rows.is_empty() {
        "no steps: a change rolls in the Deployment's own way\n".to_owned()
    } else {
        render(&["STEP", "ASKS", "PODS", "SHARE"], &rows, None)
    };
    let body: String = table.lines().map(|line| format!("  {line}\n")).collect();
    format!("{head}{body}  at most {peak} pods at a time (of {stable} now)\n")
}

/// Size of the canary at a step: the last scale that was asked for, else by the last weight.
fn size_at(steps: &[Step], index: usize, stable: i32) -> i32 {
    let before = &steps[..=index];
    let weight = before.iter().rev().find_map(|s| s.set_weight).unwrap_or(0);
    let scale = before.iter().rev().find_map(|s| s.set_canary_scale.as_ref());
    let size = match scale.map(|s| (s.replicas, s.weight)) {
        Some((Some(replicas), _)) => replicas,
        Some((_, Some(percent))) => percent_up(stable, percent),
        _ => canary_replicas(stable, weight),
    };
    if stable <= 0 { 0 } else { size.clamp(1, stable) }
}
