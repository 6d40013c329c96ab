//! `trimtab autoscaler decide`: recorded snapshots decided again, by the function that the manager decides with. The same file
//! gives the same answer on every machine: no clock is read, and no server asked.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use trimtab_scale::{Decision, Recorded, ScaleSnapshot, Verdict};

use crate::{
    Exit,
    args::Form,
    autoscaler::{
        args::Decide,
        difference,
        documents::{self, Document},
        explain,
    },
    paint::{BAD, BOLD, DIM, GOOD, WARN, columns, out, paint, tell},
};

const REMEDY: &str = "the fields of a snapshot are in docs/reference/autoscaler-snapshot.md";

/// Decides what is in a file.
pub fn run(options: &Decide) -> Result<Exit> {
    let (name, text) = documents::read(&options.file)?;
    let found = documents::split(&name, &text)?;
    if found.is_empty() {
        bail!("{name} is empty: it holds the JSON of one or several snapshots; {REMEDY}");
    }
    if options.check {
        return check(&found);
    }
    let columns = columns().unwrap_or(100);
    for (n, document) in found.iter().enumerate() {
        let (record, _) = record(document, options.at)?;
        let decision = record.decide();
        match options.output {
            Form::Json if found.len() > 1 => out(&format!("{}\n", serde_json::to_string(&decision)?)),
            Form::Json => out(&format!("{}\n", serde_json::to_string_pretty(&decision)?)),
            Form::Text => {
                let space = if n == 0 { "" } else { "\n" };
                out(&format!("{space}{}", page(&record, &decision, columns)));
            }
        }
    }
    Ok(Exit::Done)
}

/// What a document holds beside the snapshot.
#[derive(Deserialize)]
struct Beside {
    now: Option<Timestamp>,
    decision: Option<Value>,
}

/// A snapshot with its time, and the decision that is stored with it.
fn record(document: &Document<'_>, at: Option<Timestamp>) -> Result<(Recorded, Option<Value>)> {
    // Not flattened: an error must know its line.
    let snapshot: ScaleSnapshot = document.parse(REMEDY)?;
    let beside: Beside = document.parse(REMEDY)?;
    let place = document.place();
    let now = at.or(beside.now).with_context(|| {
        format!("{place}: now is missing, the time of the decision: write it beside spec, or give --at TIME")
    })?;
    let mut written: Value = document.parse(REMEDY)?;
    if let Some(map) = written.as_object_mut() {
        map.retain(|key, _| key != "now" && key != "decision");
    }
    let left_out = difference::unread(&written, &serde_json::to_value(&snapshot)?);
    if !left_out.is_empty() {
        let what = left_out.join(", ");
        let head = paint(WARN, "left out:");
        tell(&format!("{head} {place}: {what}: no snapshot has such a field; see whether it is misspelt, {REMEDY}"));
    }
    Ok((Recorded { now, snapshot }, beside.decision))
}

fn page(record: &Recorded, decision: &Decision, columns: usize) -> String {
    let target = &record.snapshot.spec.target_ref;
    let head = format!("{} {}", target.kind, paint(BOLD, &target.name));
    let text = explain::text(&decision.decision, &decision.message, columns);
    let todo = match decision.verdict {
        Verdict::Keep if decision.desired != decision.decision.from => {
            paint(WARN, format!("nothing is set; {} pods are wanted", decision.desired))
        }
        Verdict::Keep => "nothing is to be done".to_owned(),
        Verdict::Set(to) => paint(GOOD, format!("spec.replicas of {} {} is set to {to}", target.kind, target.name)),
    };
    let bad = |finding: &&trimtab_scale::Finding| {
        let good = matches!(finding.type_, "AbleToScale" | "ScalingActive" | "SchedulesValid" | "ForecastActive");
        finding.holds != good && !finding.message.is_empty()
    };
    let notes = decision.findings.iter().filter(bad).flat_map(|finding| {
        explain::paragraph(
            finding.type_,
            &format!("{} {}", finding.message, paint(DIM, format!("[{}]", finding.reason))),
            columns,
        )
    });
    let rest: String = explain::paragraph("to do", &todo, columns).into_iter().chain(notes).collect();
    format!("{head} · {text}{rest}")
}

/// Compares with what is stored.
fn check(found: &[Document<'_>]) -> Result<Exit> {
    for (n, document) in found.iter().enumerate() {
        let (record, stored) = record(document, None)?;
        let place = document.place();
        let stored = stored.with_context(|| {
            format!("{place}: no decision is stored beside this snapshot: leave --check out to see what is decided")
        })?;
        let decided = record.decide();
        // What a status holds is the decision without what else follows from it.
        let now = if stored.get("stages").is_some() { json!(decided.decision) } else { json!(decided) };
        if let Some((path, recorded, now)) = difference::first(&stored, &now) {
            let count = format!("document {} of {}", n + 1, found.len());
            let head = paint(BAD, "differs:");
            tell(&format!("{head} {place} ({count}): {path}: recorded {recorded}, decided now {now}"));
            return Ok(Exit::Error);
        }
    }
    let count = found.len();
    let decisions = if count == 1 { "1 decision is" } else { &format!("{count} decisions are") };
    out(&format!("{} {decisions} as recorded\n", paint(GOOD, "✓")));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::plain;

    const SNAPSHOT: &str = r#"{
        "now": "2026-03-02T09:00:00Z",
        "spec": {"targetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 10, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "20"}}}]},
        "target": {"replicas": 2, "statusReplicas": 2},
        "pods": [
            {"name": "web-a", "startedAt": "2026-03-02T08:00:00Z", "ready": {"is": true, "since": "2026-03-02T08:00:30Z"},
             "containers": [{"name": "web", "requests": {"cpu": "500m"}}]},
            {"name": "web-b", "phase": "Pending", "startedAt": "2026-03-02T08:59:50Z",
             "containers": [{"name": "web", "requests": {"cpu": "500m"}}]}],
        "observations": [
            {"pods": {"web-a": {"value": "900m", "at": "2026-03-02T08:59:50Z", "windowSeconds": 15}}},
            {"missing": {"why": "Unreachable", "message": "no answer within 10 s"}}]
    }"#;

    fn one(text: &str) -> (Recorded, Option<Value>) {
        record(&documents::split("s.json", text).unwrap()[0], None).unwrap()
    }

    #[test]
    fn every_stage_is_told_to_a_person() {
        let (record, _) = one(SNAPSHOT);
        let text = plain(&page(&record, &record.decide(), 96));
        assert_eq!(
            text,
            "Deployment web · 2 → 4 pods · 2026-03-02 09:00:00Z\n\
             \n\
             \x20 METRIC   TYPE       ASKS   RATIO       MEASURED          PODS                 WHY\n\
             \x20 cpu      Resource   4      3.6 → 1.8   180%, 900m each   1 count, 1 unready   above its target\n\
             \x20                                                                               [AboveTarget]\n\
             \x20 queue    External   ?      –           –                 –                    no answer within 10 s\n\
             \x20                                                                               [Unreachable]\n\
             \x20 left out  of cpu: web-b (Pending, counted as 0)\n\
             \n\
             \x20 STAGE         PODS   WHY\n\
             \x20 Combined      4      cpu asks for 4 [LargestMetric]\n\
             \x20 Stabilised    4      recent recommendations agree [ReadyForNewScale]\n\
             \x20 RateLimited   4      4 is wanted, of 2 [DesiredWithinRange]\n\
             \x20 Bounded       4      between 1 and 10 [DesiredWithinRange]\n\
             \n\
             \x20 result    2 to 4 pods: cpu asks for 4\n\
             \x20 next      only when what is measured changes\n\
             \x20 to do     spec.replicas of Deployment web is set to 4\n"
        );
    }

    #[test]
    fn what_was_recorded_is_decided_again_and_what_was_not_is_found() {
        let (record, _) = one(SNAPSHOT);
        let mut stored: Value = serde_json::from_str(SNAPSHOT).unwrap();
        stored["decision"] = json!(record.decide());
        let line = stored.to_string();
        let log = format!("{line}\n{line}\n");
        assert_eq!(check(&documents::split("log", &log).unwrap()).unwrap(), Exit::Done);
        stored["decision"] = json!(record.decide().decision);
        assert_eq!(check(&documents::split("log", &stored.to_string()).unwrap()).unwrap(), Exit::Done);
        stored["decision"]["stages"][0]["replicas"] = json!(9);
        let log = format!("{line}\n{stored}\n");
        assert_eq!(check(&documents::split("log", &log).unwrap()).unwrap(), Exit::Error);
        let none = check(&documents::split("log", SNAPSHOT).unwrap()).unwrap_err().to_string();
        assert!(none.starts_with("log:1: no decision is stored"), "{none}");
    }

    #[test]
    fn a_time_is_needed() {
        let text = SNAPSHOT.replace("\"now\": \"2026-03-02T09:00:00Z\",", "");
        let documents = documents::split("s.json", &text).unwrap();
        let error = record(&documents[0], None).unwrap_err().to_string();
        assert!(error.contains("s.json:1: now is missing"), "{error}");
        let at = "2026-03-02T09:00:00Z".parse().unwrap();
        assert_eq!(record(&documents[0], Some(at)).unwrap().0.now, at);
    }
}
