//! How the demo speaks: chapters, sentences, commands with what they printed, and promises with a number behind each. What
//! it tells is in `story`.

use std::time::Duration;

use crate::paint::{BAD, BOLD, DIM, GOOD, NEW, WARN, columns, line, on_terminal, pad, paint, width, wrap};

const INDENT: &str = "   ";
const WIDEST: usize = 96;
const BREATH: Duration = Duration::from_secs(5);

/// Tells the story and counts the promises.
#[derive(Default)]
pub struct Narrator {
    chapter: usize,
    kept: usize,
    broken: Vec<String>,
}

/// Columns that are written on.
fn room() -> usize {
    columns().unwrap_or(80).clamp(40, WIDEST)
}

impl Narrator {
    /// What comes first.
    pub fn title(&self, head: &str, text: &str) {
        line("");
        line(&format!(" {}", paint(BOLD, head)));
        for one in wrap(text, room() - 2) {
            line(&format!(" {}", paint(DIM, one)));
        }
    }

    /// Begins a chapter.
    pub fn chapter(&mut self, head: &str) {
        self.chapter += 1;
        let head = format!("{} {}", self.chapter, head);
        let rule = "─".repeat(room().saturating_sub(width(&head) + 3));
        line("");
        line(&format!(" {} {}", paint(BOLD, head), paint(DIM, rule)));
    }

    /// Says something.
    pub fn say(&self, text: &str) {
        for one in wrap(text, room() - INDENT.len()) {
            line(&format!("{INDENT}{one}"));
        }
    }

    /// A command that is run, as a person would write it.
    pub fn command(&self, text: &str) {
        line(&format!("{INDENT}{} {}", paint(DIM, "$"), paint(NEW, text)));
    }

    /// What a command printed.
    pub fn printed(&self, text: &str, warning: bool) {
        for one in text.lines() {
            let lines = if warning { wrap(one, room() - INDENT.len() - 2) } else { vec![one.to_owned()] };
            for one in lines {
                let one = crate::paint::clip(&one, room().max(80) - INDENT.len() - 2);
                line(&format!("{INDENT}  {}", paint(if warning { WARN } else { DIM }, one)));
            }
        }
    }

    /// A promise: whether it was kept, and the number that shows it.
    pub fn promise(&mut self, kept: bool, text: &str, number: &str) {
        let sign = if kept { paint(GOOD, "✓") } else { paint(BAD, "✗") };
        let columns = room() - INDENT.len() - 2;
        let number = paint(if kept { GOOD } else { BAD }, number);
        let gap = columns.saturating_sub(width(&number));
        if width(text) + 2 <= gap {
            line(&format!("{INDENT}{sign} {}{number}", pad(text, gap)));
        } else {
            let lines = wrap(text, columns);
            let (last, others) = lines.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
            for (i, one) in others.iter().enumerate() {
                line(&format!("{INDENT}{} {one}", if i == 0 { sign.as_str() } else { " " }));
            }
            let sign = if others.is_empty() { sign.as_str() } else { " " };
            let (last, number) =
                if width(last) + 2 <= gap { (pad(last, gap), number) } else { (format!("{last}  "), number) };
            line(&format!("{INDENT}{sign} {last}{number}"));
        }
        if kept {
            self.kept += 1;
        } else {
            self.broken.push(text.to_owned());
        }
    }

    /// Whether every promise was kept; says so.
    pub fn verdict(&self, took: Duration) -> bool {
        line("");
        let all = self.kept + self.broken.len();
        let took = format!("in {} s", took.as_secs());
        if self.broken.is_empty() {
            line(&format!(" {} {}", paint(GOOD.bold(), format!("✓ {all} of {all} promises kept")), paint(DIM, took)));
            return true;
        }
        let text = format!("✗ {} of {all} promises broken", self.broken.len());
        line(&format!(" {} {}", paint(BAD.bold(), text), paint(DIM, took)));
        for text in &self.broken {
            line(&format!("{INDENT}{} {text}", paint(BAD, "✗")));
        }
        false
    }

    /// Lines of a list: a command and what it does, where there is room for that.
    pub fn list(&self, rows: &[(String, &str)]) {
        let longest = rows.iter().map(|(_, what)| width(what)).max().unwrap_or(0);
        let space = room().saturating_sub(INDENT.len() + 2 + longest);
        let tab = rows.iter().map(|(command, _)| width(command)).filter(|w| *w <= space).max().unwrap_or(0);
        for (command, what) in rows {
            let text = match width(command) <= tab {
                true => format!("{}  {}", pad(&paint(NEW, command), tab), paint(DIM, what)),
                false => paint(NEW, command),
            };
            line(&format!("{INDENT}{}", text.trim_end()));
        }
    }

    /// Leaves a person the time to read; nothing is left where nobody watches.
    pub async fn breath(&self) {
        if on_terminal() {
            tokio::time::sleep(BREATH).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_is_enough() {
        let mut say = Narrator::default();
        say.promise(true, "this is so", "1 of 1");
        assert!(say.verdict(Duration::ZERO));
        say.promise(false, "and that is not", "0 of 1");
        assert!(!say.verdict(Duration::ZERO));
    }
}
