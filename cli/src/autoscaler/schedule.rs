//! `trimtab autoscaler schedule`: each opening and closing of an autoscaler's windows in the time to come, and the sizes that
//! hold from then on. When that is, `trimtab-schedule` says, as it does for decisions.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use trimtab_crds::AutoscalerSpec;
use trimtab_schedule::{Bound, Change, Effect, Limits, Problem, Schedules, zone};

use crate::{
    Exit,
    args::Form,
    autoscaler::{
        args::Schedule,
        explain::{paragraph, table},
        spec::{self, Named},
    },
    paint::{BAD, BOLD, DIM, GOOD, NEW, WARN, columns, out, paint},
};

/// More rows tell nobody anything.
const MOST: usize = 1000;

/// Prints what schedules will do.
pub async fn run(options: Schedule) -> Result<Exit> {
    let named = match (&options.file, &options.name) {
        (Some(file), _) => spec::of_file(file)?,
        (None, name) => spec::of_cluster(name.as_deref().unwrap_or_default(), &options.cluster).await?,
    };
    let from = options.from.unwrap_or_else(Timestamp::now);
    let ahead = look(&named.spec, from, options.next);
    out(&match options.output {
        Form::Json => format!("{:#}\n", ahead.json(from)),
        Form::Text => text(&named, &ahead, from, columns().unwrap_or(110)),
    });
    Ok(Exit::Done)
}

/// What is to come.
struct Ahead {
    problems: Vec<Problem>,
    conflicts: Vec<Problem>,
    now: Effect,
    to: Timestamp,
    changes: Vec<Change>,
    more: bool,
}

fn look(spec: &AutoscalerSpec, from: Timestamp, next: SignedDuration) -> Ahead {
    let own = Limits { min: spec.min_replicas, max: spec.max_replicas };
    let (schedules, problems) = Schedules::read(&spec.schedules);
    let to = from.saturating_add(next).unwrap_or(Timestamp::MAX);
    let mut changes: Vec<Change> = schedules.upcoming(from, to, own).take(MOST + 1).collect();
    let more = changes.len() > MOST;
    changes.truncate(MOST);
    let now = schedules.effect(from, own);
    Ahead { problems, conflicts: schedules.conflicts(own), now, to, changes, more }
}

impl Ahead {
    fn json(&self, from: Timestamp) -> Value {
        json!({
            "from": from, "to": self.to, "problems": self.problems, "conflicts": self.conflicts, "effect": self.now,
            "changes": self.changes, "complete": !self.more,
        })
    }
}

fn text(named: &Named, ahead: &Ahead, from: Timestamp, columns: usize) -> String {
    let spec = &named.spec;
    let head = format!("Autoscaler {}", paint(BOLD, &named.name));
    let own = format!("{} to {} replicas outside of windows", spec.min_replicas, spec.max_replicas);
    let mut lines = vec![format!("{head} · {}\n", paint(DIM, own))];
    let told = |style, label: &str, problem: &Problem| {
        let what = format!("{} {}", paint(style, format!("{}, {}:", problem.window, problem.field)), problem.message);
        paragraph(label, &what, columns)
    };
    lines.extend(ahead.problems.iter().flat_map(|problem| told(BAD, "left out", problem)));
    lines.extend(ahead.conflicts.iter().flat_map(|problem| told(WARN, "conflict", problem)));
    lines.extend(paragraph(
        "at first",
        &format!("{} {}", sizes(&ahead.now), paint(DIM, format!("· {}", because(&ahead.now)))),
        columns,
    ));
    lines.extend(paragraph("until", &format!("{} UTC, from {}", minute(ahead.to), minute(from)), columns));
    lines.push("\n".to_owned());
    if spec.schedules.is_empty() {
        lines.extend(paragraph("", "it has no windows: write them under spec.schedules", columns));
    } else if ahead.changes.is_empty() {
        lines.extend(paragraph("", "no window opens or closes in this time: look further with --next 4w", columns));
    } else {
        let rows = ahead.changes.iter().flat_map(|change| rows(spec, change)).collect();
        lines.push(table(&["LOCAL TIME", "UTC", "WINDOW", "SIZES", "WHY"], rows, columns));
    }
    if ahead.more {
        lines.push(format!(
            "  and more: these are the first {MOST}; begin later with --from, or look less far with --next\n"
        ));
    }
    lines.concat()
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// A row for each window that opens or closes; what holds then stands in the last of them.
fn rows(spec: &AutoscalerSpec, change: &Change) -> Vec<Vec<String>> {
    let closed = change.closed.iter().map(|name| (name, paint(DIM, "closes")));
    let opened = change.opened.iter().map(|name| (name, paint(GOOD, "opens")));
    let mut rows: Vec<Vec<String>> = closed
        .chain(opened)
        .map(|(name, what)| {
            let utc = change.at.strftime("%m-%d %H:%M").to_string();
            vec![local(spec, name, change.at), paint(DIM, utc), format!("{name} {what}"), String::new(), String::new()]
        })
        .collect();
    if let Some([.., last_but_one, last]) = rows.last_mut().map(Vec::as_mut_slice) {
        *last_but_one = if change.resizes { sizes(&change.effect) } else { paint(DIM, "as before") };
        *last = because(&change.effect);
    }
    rows
}

/// What the clocks of a window's zone show.
fn local(spec: &AutoscalerSpec, window: &str, at: Timestamp) -> String {
    let name = spec.schedules.iter().find(|one| one.name == window).map(|one| one.time_zone.as_str());
    let Some(zone) = name.and_then(|name| zone(name).ok()) else { return minute(at) };
    let offset = zone.to_offset(at);
    let shown = at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string();
    // Around a change of clocks people look twice.
    let day = SignedDuration::from_hours(24);
    let before = at.saturating_sub(day).map(|before| zone.to_offset(before));
    if before.is_ok_and(|before| before != offset) {
        format!("{shown} {}", paint(WARN, "(clocks changed)"))
    } else {
        shown
    }
}

fn sizes(effect: &Effect) -> String {
    match effect.exact() {
        Some(size) => paint(NEW, size),
        None => paint(NEW, format!("{} to {}", effect.min.replicas, effect.max.replicas)),
    }
}

/// Whose the bounds are, without the sizes, which stand beside it.
fn because(effect: &Effect) -> String {
    if !effect.is_scheduled() {
        return "no window has a say".to_owned();
    }
    let whose = |bound: &Bound| {
        let who = bound.window.clone().unwrap_or_else(|| "its own".to_owned());
        match bound.asked {
            Some(asked) => format!("{who}, which asks for {asked}"),
            None => who,
        }
    };
    let (min, max) = (whose(&effect.min), whose(&effect.max));
    if min == max { min } else { format!("at least: {min}; at most: {max}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::plain;

    fn named(schedules: &Value) -> Named {
        let spec = json!({"targetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 10,
                          "schedules": schedules});
        Named { name: "web".to_owned(), spec: serde_json::from_value(spec).unwrap() }
    }

    fn check(schedules: &Value, from: &str, hours: i64, expected: &str) {
        let (named, from) = (named(schedules), from.parse().unwrap());
        let ahead = look(&named.spec, from, SignedDuration::from_hours(hours));
        assert_eq!(plain(&text(&named, &ahead, from, 110)), expected);
    }

    #[test]
    fn openings_and_closings_are_told_in_their_own_time_across_a_change_of_clocks() {
        let schedules = json!([
            {"name": "office", "start": "0 8 * * *", "end": "0 18 * * *", "timeZone": "Europe/Berlin", "minReplicas": 5},
            {"name": "sale", "start": "0 12 29 3 *", "duration": "2h", "timeZone": "America/New_York", "replicas": 20,
             "priority": 1},
            {"name": "big", "start": "0 0 1 1 *", "duration": "1h", "timeZone": "UTC", "minReplicas": 30},
            {"name": "wrong", "start": "0 8 * *", "duration": "2h", "timeZone": "UTC", "replicas": 20}]);
        check(
            &schedules,
            "2026-03-28T12:00:00Z",
            36,
            "Autoscaler web · 2 to 10 replicas outside of windows\n\
             \x20 left out  wrong, start: it has 4 of five fields: write minute hour day-of-month month day-of-week, for\n\
             \x20           example 30 6 * * 1-5\n\
             \x20 conflict  big, minReplicas: 30 is above the object's maxReplicas, 10: give the window its own maxReplicas\n\
             \x20 at first  5 to 10 · at least: office; at most: its own\n\
             \x20 until     2026-03-30 00:00 UTC, from 2026-03-28 12:00\n\
             \n\
             \x20 LOCAL TIME                                   UTC           WINDOW          SIZES     WHY\n\
             \x20 Sat 2026-03-28 18:00 CET                     03-28 17:00   office closes   2 to 10   no window has a say\n\
             \x20 Sun 2026-03-29 08:00 CEST (clocks changed)   03-29 06:00   office opens    5 to 10   at least: office; at\n\
             \x20                                                                                      most: its own\n\
             \x20 Sun 2026-03-29 18:00 CEST (clocks changed)   03-29 16:00   office closes\n\
             \x20 Sun 2026-03-29 12:00 EDT                     03-29 16:00   sale opens      20        sale\n\
             \x20 Sun 2026-03-29 14:00 EDT                     03-29 18:00   sale closes     2 to 10   no window has a say\n",
        );
    }

    #[test]
    fn nothing_to_tell_is_told() {
        check(
            &json!([]),
            "2026-03-28T12:00:00Z",
            24,
            "Autoscaler web · 2 to 10 replicas outside of windows\n\
             \x20 at first  2 to 10 · no window has a say\n\
             \x20 until     2026-03-29 12:00 UTC, from 2026-03-28 12:00\n\
             \n\
             \x20           it has no windows: write them under spec.schedules\n",
        );
    }
}
