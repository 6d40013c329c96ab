//! `trimtab why`: what a plan waits for, what would open it, who changed what, and what can be done now. The decision is
//! the engine's own, on what the API server has now; here it is only put into words.

use anyhow::Result;
use trimtab_crds::{Change, Phase, Release, names};

use crate::{
    Exit,
    args::{Form, Why},
    connect::connect,
    facts::{self, Facts, Side, Turn},
    paint::{BAD, BOLD, DIM, GOOD, NEW, WARN, columns, out, pad, paint, wrap},
    panel,
    situation::{self, Situation},
    times,
};

const LABEL: usize = 10;

/// Prints why a plan stands where it does.
pub async fn run(options: Why) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    let seen = situation::read(&to, &options.plan).await?;
    out(&match options.output {
        Form::Json => format!("{:#}\n", seen.json()),
        Form::Text => text(&seen, crate::program(), &to.options, columns().unwrap_or(100)),
    });
    Ok(Exit::Done)
}

/// The explanation, wrapped to so many columns.
pub fn text(s: &Situation, program: &str, options: &str, columns: usize) -> String {
    let facts = facts::of(s);
    let mut page = Page { lines: vec![], columns: columns.clamp(40, 120) };
    let target = format!("Deployment {}/{}", s.seen.namespace, s.seen.name);
    page.lines.push(format!("{} · {}", panel::title(s.name(), &facts), paint(DIM, target)));
    page.say("why", &facts.message);
    page.say("opens", &opens(s, &facts));
    change(s, &facts, &mut page);
    page.steps(&facts);
    pods(&facts, &mut page);
    notes(s, &mut page);
    next(s, &facts, &mut page);
    releases(s, &mut page);
    commands(s, &facts, program, options, &mut page);
    page.lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

struct Page {
    lines: Vec<String>,
    columns: usize,
}

impl Page {
    /// A paragraph with a label; nothing if there is nothing to say.
    fn say(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        for (i, line) in wrap(text, self.columns.saturating_sub(LABEL + 2)).into_iter().enumerate() {
            self.row(if i == 0 { label } else { "" }, &line);
        }
    }

    fn row(&mut self, label: &str, text: &str) {
        self.lines.push(format!("  {}{text}", paint(DIM, pad(label, LABEL))));
    }

    fn rows(&mut self, label: &str, rows: impl IntoIterator<Item = String>) {
        for (i, row) in rows.into_iter().enumerate() {
            self.row(if i == 0 { label } else { "" }, &row);
        }
    }

    fn steps(&mut self, facts: &Facts) {
        let one = |step: &facts::StepFact| {
            let sign = match step.turn {
                Turn::Done => paint(GOOD, "✓"),
                Turn::Now => paint(NEW, "▸"),
                Turn::Later => paint(DIM, "·"),
            };
            let words = match step.turn {
                Turn::Now => paint(BOLD, pad(&step.words, 22)),
                _ => pad(&step.words, 22),
            };
            format!("{sign} {words} {}", paint(DIM, &step.note))
        };
        self.rows("steps", facts.steps.iter().map(one));
    }
}

/// What would let it go on.
fn opens(s: &Situation, facts: &Facts) -> String {
    let text = match facts.reason.as_str() {
        "PauseStep" => "the pause ends, or a person promotes",
        "WaitingForPromotion" => "a person: promote, or abort",
        "PausedByRequest" => "a person: resume, promote or abort",
        "FailedAndPaused" => "a person: promote, retry or abort",
        "WaitingForCanary" => "the canary's pods become available, or progressDeadline takes it back",
        "TakenBack" => "another change of the Deployment; or a person: retry, or undo",
        "FirstRollout" => "the Deployment's first rollout is complete",
        "Rolling" | "HandingOver" | "HandedOver" | "Promoting" => "the Deployment has rolled the rest in",
        "TakingBack" | "RollingBack" => "the stable pods are all available again and the new ones are gone",
        "TargetNotFound" => "the Deployment is created",
        "PausedByPerson"
        | "SecondPlan"
        | "MidRollout"
        | "InvalidPlan"
        | "UnsupportedStrategy"
        | "NameTaken"
        | "StableLost"
        | "OptedOut" => "a person, as said above",
        _ => return String::new(),
    };
    match (facts.reason.as_str(), facts.wake) {
        ("PauseStep" | "WaitingForCanary", Some(at)) => format!("{text} ({})", times::ahead(s.now, at)),
        _ => text.to_owned(),
    }
}

/// Who changed what.
fn change(s: &Situation, facts: &Facts, page: &mut Page) {
    let status = &facts.status;
    let record = |name: &str| s.releases.iter().find(|r| r.metadata.name.as_deref() == Some(name));
    let (head, release) = if let Some(progress) = &status.release {
        let head = format!("{} by {}, {} ago", progress.name, progress.by, times::span(progress.started_at, s.now));
        (head, record(&progress.name))
    } else if let Some(rejected) = &status.rejected {
        let release = record(&rejected.release);
        let by = release.map_or("unknown", |r| r.spec.by.as_str());
        (format!("{} by {by}, taken back {} ago", rejected.release, times::span(rejected.at, s.now)), release)
    } else {
        let held = s.seen.deployment.as_ref().and_then(|d| d.metadata.annotation(names::HELD));
        match held.filter(|mark| *mark != names::RELEASED) {
            Some(mark) => (format!("held, {mark}"), None),
            None => return,
        }
    };
    page.say("change", &head);
    let changes = release.map(|r| r.spec.changes.as_slice()).unwrap_or_default();
    page.rows("", changes.iter().map(|change| format!("  {}", changed(change))));
}

/// One change: images with their values, others by their place alone.
fn changed(change: &Change) -> String {
    let path = change.path.trim_start_matches("spec.");
    let container = path.strip_prefix("containers[").and_then(|rest| rest.strip_suffix("].image"));
    let place = container.map_or_else(|| path.to_owned(), |container| format!("image of {container}:"));
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{place} {} → {}", paint(DIM, from), paint(NEW, to)),
        (None, Some(to)) => format!("{place} {}", paint(NEW, to)),
        _ => format!("{place} changed"),
    }
}

fn pods(facts: &Facts, page: &mut Page) {
    let side = |label: &str, side: &Side| {
        let count = format!("{} of {} available", side.available, side.asked);
        format!("{} {}  {count}  {}  {}", pad(label, 6), panel::dots(side), side.replica_set, paint(DIM, side.image()))
    };
    let both = [("stable", &facts.stable), ("new", &facts.new)];
    page.rows("pods", both.iter().filter_map(|(label, s)| Some(side(label, s.as_ref()?))));
    let troubled = both.iter().filter_map(|(_, s)| s.as_ref()).flat_map(|s| &s.pods);
    let troubled = troubled.filter_map(|pod| Some(format!("{}: {}", pod.name, paint(BAD, pod.trouble.as_ref()?))));
    page.rows("trouble", troubled.take(5));
}

/// Conditions of the plan that somebody should know of.
fn notes(s: &Situation, page: &mut Page) {
    let wanted = ["Guarded", "Drains", "WeightsExact"];
    let conditions = s.decided.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    for condition in conditions.iter().filter(|c| wanted.contains(&c.type_.as_str()) && c.status == "False") {
        page.say("note", &format!("{} {}", paint(WARN, format!("{}:", condition.type_)), condition.message));
    }
}

/// What is decided next, and when.
fn next(s: &Situation, facts: &Facts, page: &mut Page) {
    for write in &s.decided.writes {
        page.say("next", &format!("{}: {}", write.target, write.why));
    }
    match facts.wake {
        Some(at) => page.say("decides", &format!("{}, or at any change", times::ahead(s.now, at))),
        None => page.say("decides", "at any change"),
    }
    if s.status().is_none() {
        let text = "no manager has written this plan's status: is trimtab-manager running?";
        page.say("note", &paint(WARN, text));
    }
}

fn releases(s: &Situation, page: &mut Page) {
    let row = |release: &Release| {
        let name = release.metadata.name.as_deref().unwrap_or_default();
        let (result, message, when) = match &release.status {
            Some(status) => {
                let end = status.finished_at.unwrap_or(status.started_at);
                let message = if status.verdict.is_some() { status.message.clone() } else { String::new() };
                (format!("{:?}", status.result), message, format!("{} ago", times::span(end, s.now)))
            }
            None => ("Running".to_owned(), String::new(), String::new()),
        };
        let style = match result.as_str() {
            "Promoted" => GOOD,
            "TakenBack" => BAD,
            _ => WARN,
        };
        let told = if message.is_empty() { String::new() } else { format!(" — {message}") };
        let head = format!("{} {} {}", pad(name, 12), pad(&paint(style, result), 10), pad(&when, 10));
        format!("{head} {}{}", release.spec.summary, paint(DIM, told))
    };
    let columns = page.columns;
    let rows = s.releases.iter().take(3).map(row);
    let rows: Vec<String> = rows.map(|row| crate::paint::clip(&row, columns.saturating_sub(LABEL + 2))).collect();
    page.rows("releases", rows);
}

/// The commands that make sense now.
fn commands(s: &Situation, facts: &Facts, program: &str, options: &str, page: &mut Page) {
    let held_by_failure = facts.reason == "FailedAndPaused";
    let by_request = facts.reason == "PausedByRequest";
    let verbs: &[(&str, &str)] = match facts.phase {
        Phase::Paused if held_by_failure => &[
            ("promote", "go on in spite of it"),
            ("retry", "try the step again"),
            ("abort", "take the new revision back"),
        ],
        Phase::Paused if by_request => {
            &[("resume", "go on"), ("promote --full", "skip the other steps"), ("abort", "take the new revision back")]
        }
        Phase::Paused | Phase::Releasing => &[
            ("promote", "go on to the next step"),
            ("promote --full", "skip the other steps"),
            ("pause", "stop here"),
            ("abort", "take the new revision back"),
        ],
        Phase::Promoting => &[("watch", "see it to its end"), ("abort", "take the new revision back")],
        Phase::TakingBack => &[("watch", "see it to its end")],
        Phase::TakenBack => &[
            ("retry", "try the same change once more"),
            ("undo", "write the stable template back into the Deployment"),
        ],
        Phase::Stable if !facts.status.history.is_empty() => {
            &[("restart", "restart all pods, as a release"), ("undo", "go back to the revision before")]
        }
        Phase::Stable => &[("restart", "restart all pods, as a release")],
        Phase::Blocked if facts.reason == "MidRollout" => &[("promote --full", "let the change roll")],
        Phase::Waiting | Phase::Blocked => &[("watch", "see what becomes of it")],
    };
    let line = |verb: &str| format!("{program} {verb} {}{options}", s.name());
    let room = verbs.iter().map(|(verb, _)| line(verb).chars().count()).max().unwrap_or(0);
    let rows = verbs.iter().map(|(verb, what)| format!("{}  {}", pad(&line(verb), room), paint(DIM, what)));
    page.rows("you can", rows);
}
