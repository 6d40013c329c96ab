//! Colour, widths and the terminal: how text reaches a person. Not what the text says.
//!
//! Text is made with styles in it; they are taken out when it is written to something that shows none (a file, a pipe, a
//! terminal under `NO_COLOR`).

use std::io::{IsTerminal, Write, stdout};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use anstyle::{AnsiColor, Style};

/// What is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What somebody should look at.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What went wrong.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What is under way, and what is new.
pub const NEW: Style = AnsiColor::Cyan.on_default();
/// What matters.
pub const BOLD: Style = Style::new().bold();
/// What can be skipped.
pub const DIM: Style = Style::new().dimmed();

/// Text in a style.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Text without its styles.
pub fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    plain(text).chars().count()
}

/// A text filled up with spaces to so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// A text cut to so many columns; its styles end where it is cut.
pub fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut out, mut taken, mut escape) = (String::new(), 0, false);
    for c in text.chars() {
        if escape || c == '\u{1b}' {
            escape = c == '\u{1b}' || !c.is_ascii_alphabetic();
            out.push(c);
        } else if taken + 1 < columns {
            out.push(c);
            taken += 1;
        } else {
            break;
        }
    }
    format!("{out}…\u{1b}[0m")
}

/// A text in lines of at most so many columns, broken between words.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| width(line));
        match lines.last_mut() {
            Some(last) if line == 0 => last.push_str(word),
            Some(last) if line + 1 + width(word) <= columns => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Whether standard output is a terminal that can be drawn on again.
pub fn on_terminal() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether a person can be asked: input and messages are both on a terminal.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Columns of the terminal; none where output is no terminal.
pub fn columns() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Writes to standard output, with or without styles as it is able to show. A reader that has gone away is no error.
pub fn out(text: &str) {
    let mut stream = stdout().lock();
    let _ = match AutoStream::choice(&stream) {
        ColorChoice::Never => write!(stream, "{}", strip_str(text)),
        _ => write!(stream, "{text}"),
    };
    let _ = stream.flush();
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    out(&format!("{text}\n"));
}

/// Writes a message for people to standard error.
pub fn tell(text: &str) {
    anstream::eprintln!("{text}");
}

/// A part of the terminal that is drawn anew; line by line where output is no terminal.
pub struct Live {
    terminal: bool,
    drawn: usize,
    last: String,
}

impl Live {
    /// Nothing drawn yet.
    pub fn new() -> Self {
        Self { terminal: on_terminal(), drawn: 0, last: String::new() }
    }

    /// Shows a picture on a terminal, and elsewhere a line, with what stands before it, if it says something new.
    pub fn show(&mut self, picture: &[String], before: &str, text: &str) {
        if !self.terminal {
            if self.last != text {
                line(&format!("{before}{text}"));
                text.clone_into(&mut self.last);
            }
            return;
        }
        let columns = columns().unwrap_or(80);
        let lines: Vec<String> = picture.iter().map(|line| clip(line, columns)).collect();
        let drawn = lines.join("\n");
        if drawn == self.last {
            return;
        }
        self.clear();
        line(&drawn);
        self.drawn = lines.len();
        self.last = drawn;
    }

    /// Takes the picture away.
    pub fn clear(&mut self) {
        if self.terminal && self.drawn > 0 {
            let mut stream = stdout().lock();
            let _ = write!(stream, "\u{1b}[{}A\u{1b}[J", self.drawn);
            let _ = stream.flush();
        }
        self.drawn = 0;
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_counts_what_is_seen() {
        let text = format!("{} and more", paint(GOOD, "green"));
        assert_eq!(plain(&clip(&text, 8)), "green a…");
        assert_eq!(clip("short", 8), "short");
        assert_eq!(pad(&paint(BAD, "x"), 3).len(), paint(BAD, "x").len() + 2);
    }

    #[test]
    fn wrapping_keeps_words_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible word", 7), ["incomprehensible", "word"]);
        assert_eq!(wrap("", 7), [""]);
    }
}
