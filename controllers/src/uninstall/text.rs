//! The report for people: a table, then a paragraph for each workload that waits.

use std::fmt::Write;

use trimtab_uninstall::{Standing, State};

use super::run::Report;

/// Workloads of which nothing is to be said but that they are guarded: so many are listed, where there are more.
const LISTED: usize = 10;

/// The report for people.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    if report.workloads.is_empty() {
        out.push_str("Trimtab has to do with no workload here.\n");
    } else {
        table(report, &mut out);
    }
    for workload in report.workloads.iter().filter(|workload| workload.waits && report.mode.is_none()) {
        paragraph(workload, &mut out);
    }
    let mut line = |text: &str| writeln!(out, "{text}").unwrap_or_default();
    if !report.open.is_empty() {
        line("\nNot at its end:");
        report.open.iter().for_each(|open| line(&format!("  {}: {}", open.workload, open.why)));
    }
    if !report.notes.is_empty() {
        line("");
        report.notes.iter().for_each(|note| line(&format!("Note: {note}.")));
    }
    line(&format!("\n{}", verdict(report)));
    out
}

fn table(report: &Report, out: &mut String) {
    let guarded = report.workloads.iter().filter(|w| is_quiet(w)).count();
    // One more line is no shorter than the last workload.
    let listed = if guarded > LISTED + 1 { LISTED } else { guarded };
    let mut quiet = 0;
    let rows: Vec<[String; 4]> = report
        .workloads
        .iter()
        .filter(|w| {
            quiet += usize::from(is_quiet(w));
            !is_quiet(w) || quiet <= listed
        })
        .map(|w| {
            let kind = w.kind.to_lowercase();
            [w.namespace.clone(), format!("{kind}/{}", w.name), w.state.words().to_owned(), w.says.clone()]
        })
        .collect();
    let stands = if report.mode.is_some() { "HOW IT STOOD" } else { "HOW IT STANDS" };
    let headings = ["NAMESPACE", "WORKLOAD", "STATE", stands].map(str::to_owned);
    let width = |i: usize| rows.iter().chain([&headings]).map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [namespace, workload, state, says] in [&headings].into_iter().chain(&rows) {
        let (a, b, c) = (widths[0], widths[1], widths[2]);
        let _infallible = writeln!(out, "{namespace:a$}   {workload:b$}   {state:c$}   {says}");
    }
    if guarded > listed {
        let _infallible = writeln!(out, "… and {} more that are guarded, of which nothing waits", guarded - listed);
    }
}

fn is_quiet(workload: &Standing) -> bool {
    workload.state == State::Guarded && !workload.waits
}

fn paragraph(workload: &Standing, out: &mut String) {
    let mut line = |text: String| writeln!(out, "{text}").unwrap_or_default();
    line(format!("\n{} {} in {}: {}.", workload.kind, workload.name, workload.namespace, workload.says));
    line(format!("  left alone   {}", workload.left_alone));
    if !workload.resumed.is_empty() {
        line(format!("  --resume     {}", workload.resumed));
    }
    if !workload.taken_back.is_empty() {
        line(format!("  --take-back  {}", workload.taken_back));
    }
    if !workload.by_hand.is_empty() {
        line(format!("  by hand      {}", workload.by_hand.join(" && ")));
    }
}

fn verdict(report: &Report) -> String {
    let guarded = report.workloads.iter().filter(|w| matches!(w.state, State::Guarded | State::Rolling)).count();
    let many = |n: usize| if n == 1 { "1 workload".to_owned() } else { format!("{n} workloads") };
    match (report.mode, report.waiting) {
        (Some(_), _) if report.open.is_empty() => {
            "Nothing waits for Trimtab any more, and nothing is guarded.".to_owned()
        }
        (Some(_), _) => format!("{} still need somebody.", many(report.open.len())),
        (None, 0) if guarded == 0 => "Nothing waits for Trimtab.".to_owned(),
        (None, 0) => format!(
            "Nothing waits for Trimtab; {} would be held at the next change: --resume frees them.",
            many(guarded)
        ),
        (None, n) => format!("{} would wait for ever without Trimtab.", many(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_not_lost_among_what_does_not() {
        let guarded = |n: usize| Standing { name: format!("web-{n:03}"), state: State::Guarded, ..Standing::default() };
        let held = Standing { name: "late".to_owned(), state: State::Held, waits: true, ..Standing::default() };
        for (count, lines, more) in [(3, 5, false), (11, 13, false), (12, 13, true), (300, 13, true)] {
            let workloads = (0..count).map(guarded).chain([held.clone()]).collect();
            let report = Report { workloads, waiting: 1, ..Report::default() };
            let mut out = String::new();
            table(&report, &mut out);
            assert!(out.contains("/late "), "{out}");
            assert_eq!(out.lines().count(), lines, "{count}: {out}");
            let told = format!("… and {} more that are guarded", count.saturating_sub(LISTED));
            assert_eq!(out.contains(&told), more, "{out}");
        }
    }
}
