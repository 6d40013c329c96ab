//! The options of `trimtab autoscaler` and how they are written. Not what they do.

use std::path::PathBuf;

use clap::{Args as Options, Subcommand};
use jiff::Timestamp;

use crate::args::Form;

/// `autoscaler`
#[derive(Debug, Subcommand)]
pub enum Autoscaler {
    /// Decide recorded snapshots again, and show every stage; with --check, 1 at the first that comes out otherwise
    Decide(Decide),
}

/// `autoscaler decide`
#[derive(Debug, Options)]
pub struct Decide {
    /// What the decision sees, as JSON; several in one file are decided one after the other; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Decide as if it were this time: 2026-03-02T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "check")]
    pub at: Option<Timestamp>,
    /// Compare with the decision that is stored beside each snapshot
    #[arg(long)]
    pub check: bool,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// A moment as RFC 3339 writes it.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time with its zone, such as 2026-03-02T09:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Verb};

    fn parse(line: &str) -> Result<Autoscaler, String> {
        match Args::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?.verb {
            Verb::Autoscaler(what) => Ok(what),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_decision_is_asked_for_with_a_file_and_maybe_a_time() {
        let Autoscaler::Decide(decide) =
            parse("trimtab autoscaler decide -f - --at 2026-03-02T09:00:00Z -o json").unwrap();
        assert_eq!((decide.file.to_str(), decide.output, decide.check), (Some("-"), Form::Json, false));
        assert_eq!(decide.at, Some("2026-03-02T09:00:00Z".parse().unwrap()));
        assert!(parse("trimtab autoscaler decide").unwrap_err().contains("--file"));
        assert!(parse("trimtab autoscaler decide -f a --at noon").unwrap_err().contains("2026-03-02T09:00:00Z"));
        assert!(parse("trimtab autoscaler decide -f a --check --at 2026-03-02T09:00:00Z").is_err());
    }
}
