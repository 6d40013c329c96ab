//! One decision of an autoscaler for a person: what was measured, what each stage made of the number, and when it can change
//! again. The same for a decision that was just made and for one that a status holds. Nothing is decided here.

use jiff::Timestamp;
use trimtab_crds::{LeftOutPod, MetricStage, NextChange, PodCounts, ScaleDecision, ScaleStage, ScaleStageName};

use crate::{
    paint::{BAD, BOLD, DIM, GOOD, NEW, WARN, pad, paint, width, wrap},
    table::render,
    times,
};

/// Columns of a label before its text.
const LABEL: usize = 10;
/// Pods that are named one by one.
const NAMED: usize = 5;

/// A decision, and where things stand, wrapped to so many columns. The first line goes on after a title: `2 → 4 pods · …`.
pub fn text(decision: &ScaleDecision, message: &str, columns: usize) -> String {
    let columns = columns.clamp(60, 120);
    let mut lines = vec![format!("{} · {}\n", sizes(decision), paint(DIM, moment(decision.at))), "\n".to_owned()];
    if !decision.metrics.is_empty() {
        lines.push(metrics(&decision.metrics, columns));
        let left_out = decision.metrics.iter().filter(|metric| !metric.left_out.is_empty());
        lines.extend(left_out.flat_map(|metric| paragraph("left out", &left_out_of(metric), columns)));
        lines.push("\n".to_owned());
    }
    if !decision.stages.is_empty() {
        lines.push(stages(decision, columns));
        lines.push("\n".to_owned());
    }
    lines.extend(paragraph("result", message, columns));
    lines.extend(canary(decision).iter().flat_map(|text| paragraph("canary", text, columns)));
    lines.extend(paragraph("next", &next(decision.at, decision.next.as_ref()), columns));
    lines.concat()
}

/// A paragraph with a label before its first line; nothing if there is nothing to say.
pub fn paragraph(label: &str, text: &str, columns: usize) -> Vec<String> {
    if text.is_empty() {
        return vec![];
    }
    // A long label has a space of its own.
    let room = LABEL.max(width(label) + 1);
    let lines = wrap(text, columns.clamp(60, 120).saturating_sub(room + 2));
    let line =
        |(n, line): (usize, &String)| format!("  {}{line}\n", paint(DIM, pad(if n == 0 { label } else { "" }, room)));
    lines.iter().enumerate().map(line).collect()
}

fn sizes(decision: &ScaleDecision) -> String {
    let (from, to) = (decision.from, decision.to);
    match to.cmp(&from) {
        std::cmp::Ordering::Equal => format!("{} stay", pods(from)),
        std::cmp::Ordering::Greater => format!("{from} → {} pods", paint(GOOD, to)),
        std::cmp::Ordering::Less => format!("{from} → {} pods", paint(NEW, to)),
    }
}

fn pods(count: i32) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn metrics(all: &[MetricStage], columns: usize) -> String {
    let largest = all.iter().filter_map(|metric| metric.replicas).max();
    let row = |metric: &MetricStage| {
        let asks = match metric.replicas {
            None => paint(BAD, "?"),
            Some(asked) if Some(asked) == largest => paint(BOLD, asked),
            Some(asked) => asked.to_string(),
        };
        vec![
            metric.name.clone(),
            format!("{:?}", metric.type_),
            asks,
            ratio(metric),
            measured(metric),
            metric.pods.as_ref().map_or_else(none, counts),
            why(&metric.message, &metric.reason, metric.replicas.is_none()),
        ]
    };
    table(&["METRIC", "TYPE", "ASKS", "RATIO", "MEASURED", "PODS", "WHY"], all.iter().map(row).collect(), columns)
}

fn none() -> String {
    paint(DIM, "–")
}

fn why(message: &str, reason: &str, bad: bool) -> String {
    let code = paint(if bad { BAD } else { DIM }, format!("[{reason}]"));
    if message.is_empty() { code } else { format!("{message} {code}") }
}

/// What is measured by what it should be; and what it became with pods that were counted with an assumed sample.
fn ratio(metric: &MetricStage) -> String {
    match (&metric.ratio, &metric.filled_ratio) {
        (Some(ratio), Some(filled)) => format!("{} → {}", short(ratio), short(filled)),
        (Some(ratio), None) => short(ratio),
        _ => none(),
    }
}

/// A number with as many digits as say something.
fn short(number: &str) -> String {
    let Ok(value) = number.parse::<f64>() else { return number.to_owned() };
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn measured(metric: &MetricStage) -> String {
    let parts = [
        metric.average_utilization.map(|percent| format!("{percent}%")),
        metric.value.map(|value| value.to_string()),
        metric.average_value.map(|value| format!("{value} each")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { none() } else { parts.join(", ") }
}

fn counts(pods: &PodCounts) -> String {
    let parts = [
        (pods.ready, "count"),
        (pods.unready, "unready"),
        (pods.missing, "missing"),
        (pods.ignored, "ignored"),
        (pods.stray, "stray"),
    ];
    let said = parts.iter().enumerate().filter(|(n, (count, _))| *n == 0 || *count != 0);
    said.map(|(_, (count, word))| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn left_out_of(metric: &MetricStage) -> String {
    let one = |pod: &LeftOutPod| {
        let assumed = pod.assumed.map_or_else(String::new, |value| format!(", counted as {value}"));
        format!("{} ({:?}{assumed})", pod.pod, pod.reason)
    };
    let named: Vec<String> = metric.left_out.iter().take(NAMED).map(one).collect();
    let more = metric.left_out.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("of {}: {}{more}", metric.name, named.join(", "))
}

fn stages(decision: &ScaleDecision, columns: usize) -> String {
    let mut before = None;
    let mut row = |stage: &ScaleStage| {
        // This one tells the bounds and leaves the number alone.
        let size = if stage.stage == ScaleStageName::Schedule {
            none()
        } else {
            let changed = before.is_some_and(|before| before != stage.replicas);
            before = Some(stage.replicas);
            if changed { paint(WARN, stage.replicas) } else { stage.replicas.to_string() }
        };
        vec![format!("{:?}", stage.stage), size, why(&stage.message, &stage.reason, false)]
    };
    table(&["STAGE", "PODS", "WHY"], decision.stages.iter().map(&mut row).collect(), columns)
}

fn canary(decision: &ScaleDecision) -> Option<String> {
    let canary = decision.canary.as_ref()?;
    let load = match (&canary.metric, &canary.ratio) {
        (Some(metric), Some(ratio)) => format!("; {metric} is {} of what it should be", short(ratio)),
        _ => String::new(),
    };
    let saturated = if canary.saturated { format!(" {}", paint(BAD, "(saturated)")) } else { String::new() };
    Some(format!("{} of release {} beside it{load}{saturated}", pods(canary.pods), canary.release))
}

fn next(now: Timestamp, next: Option<&NextChange>) -> String {
    match next {
        Some(next) => {
            let code = paint(DIM, format!("[{}]", next.reason));
            format!("{}: {} {code}", times::ahead(now, next.at), next.message)
        }
        None => "only when what is measured changes".to_owned(),
    }
}

/// A table, indented, whose last column is wrapped to what is left of so many columns.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>, columns: usize) -> String {
    let last = headings.len().saturating_sub(1);
    let widest = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell)).max().unwrap_or(0);
    let taken: usize = (0..last).map(|i| widest(i).max(width(headings[i])) + 3).sum();
    let room = columns.saturating_sub(taken + 2).max(24);
    let mut wrapped: Vec<Vec<String>> = vec![];
    for mut row in rows {
        let lines = wrap(&row.pop().unwrap_or_default(), room);
        for (n, line) in lines.into_iter().enumerate() {
            let mut cells = if n == 0 { std::mem::take(&mut row) } else { vec![String::new(); last] };
            cells.push(line);
            wrapped.push(cells);
        }
    }
    render(headings, &wrapped, None).lines().map(|line| format!("  {line}\n")).collect()
}
