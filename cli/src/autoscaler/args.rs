//! The options of `trimtab autoscaler` and how they are written. Not what they do.

use std::path::PathBuf;

use clap::{Args as Options, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{Milli, Quantity};

use crate::args::{Cluster, Form, name};

/// `autoscaler`
#[derive(Debug, Subcommand)]
pub enum Autoscaler {
    /// Decide recorded snapshots again, and show every stage; with --check, 1 at the first that comes out otherwise
    Decide(Decide),
    /// List what schedules will do: each opening and closing, and the sizes that hold from then on
    Schedule(Schedule),
    /// Try an autoscaler on load that was recorded: what it costs, and where it is too little
    Backtest(Backtest),
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

/// `autoscaler schedule`
#[derive(Debug, Options)]
pub struct Schedule {
    /// The autoscaler, in the cluster
    #[arg(value_name = "NAME", value_parser = name, required_unless_present = "file")]
    pub name: Option<String>,
    /// The autoscaler as YAML or JSON; no cluster is asked
    #[arg(short, long, value_name = "FILE", conflicts_with = "name")]
    pub file: Option<PathBuf>,
    /// How far ahead: 12h, 7d, 4w
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = span)]
    pub next: SignedDuration,
    /// From when on; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// `autoscaler backtest`
#[derive(Debug, Options)]
pub struct Backtest {
    /// The autoscaler as YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// What was measured: a CSV file with the header time,METRIC,…; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "prometheus")]
    pub metrics: Option<PathBuf>,
    /// Ask the server at this address for the autoscaler's Prometheus metrics
    #[arg(long, value_name = "URL", conflicts_with = "metrics", requires = "from", requires = "to")]
    pub prometheus: Option<String>,
    /// When it begins; with the first row if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// When it ends; with the last row if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// Try the same on Kubernetes' own autoscaler beside it
    #[arg(long, value_enum, value_name = "WHAT")]
    pub compare: Option<Compare>,
    /// How long a pod takes from being asked for to serving
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = span)]
    pub pod_start: SignedDuration,
    /// How many pods there are at the beginning; as many as the load needs if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1_000_000))]
    pub initial: Option<i32>,
    /// How finely time passes, and how far apart the samples of --prometheus are
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = span)]
    pub step: SignedDuration,
    /// What a pod requests, for targets in percent: cpu=500m; 1 of each resource if left out
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_parser = request)]
    pub request: Vec<(String, Milli)>,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    /// Draw the curves into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write a page with the table and the curves into this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What is tried beside an autoscaler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compare {
    /// The HorizontalPodAutoscaler with the same metrics, sizes and behavior
    Hpa,
}

/// A duration above 0 in weeks, days, hours, minutes and seconds.
pub(super) fn span(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "write a duration such as 30s, 12h, 7d or 1d12h".to_owned();
    let mut total = SignedDuration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "w" => 604_800,
            "d" => 86_400,
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(wrong()),
        };
        let part = number.parse::<i64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)?;
        total = total.checked_add(SignedDuration::from_secs(part)).ok_or_else(wrong)?;
        rest = after;
    }
    // A thousand years are more than anybody can mean, and far from where times end.
    let sound = total.is_positive() && total < SignedDuration::from_hours(24 * 365 * 1000);
    if sound { Ok(total) } else { Err(wrong()) }
}

/// `cpu=500m`
fn request(text: &str) -> Result<(String, Milli), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let read = parts.and_then(|(name, quantity)| Some((name.to_owned(), Quantity::from(quantity).milli()?)));
    read.filter(|(_, milli)| milli.0 > 0).ok_or_else(|| "write RESOURCE=QUANTITY, such as cpu=500m".to_owned())
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
        let Ok(Autoscaler::Decide(decide)) = parse("trimtab autoscaler decide -f - --at 2026-03-02T09:00:00Z -o json")
        else {
            panic!("it is no decide")
        };
        assert_eq!((decide.file.to_str(), decide.output, decide.check), (Some("-"), Form::Json, false));
        assert_eq!(decide.at, Some("2026-03-02T09:00:00Z".parse().unwrap()));
        assert!(parse("trimtab autoscaler decide").unwrap_err().contains("--file"));
        assert!(parse("trimtab autoscaler decide -f a --at noon").unwrap_err().contains("2026-03-02T09:00:00Z"));
        assert!(parse("trimtab autoscaler decide -f a --check --at 2026-03-02T09:00:00Z").is_err());
    }

    #[test]
    fn schedules_are_of_a_file_or_of_the_cluster() {
        let Ok(Autoscaler::Schedule(asked)) = parse("trimtab autoscaler schedule web -n shop --next 2d12h") else {
            panic!("it is no schedule")
        };
        assert_eq!((asked.name.as_deref(), asked.next), (Some("web"), SignedDuration::from_hours(60)));
        assert!(parse("trimtab autoscaler schedule -f a.yaml").is_ok());
        assert!(parse("trimtab autoscaler schedule").is_err());
        assert!(parse("trimtab autoscaler schedule web -f a.yaml").is_err());
    }

    #[test]
    fn a_backtest_has_one_source_of_measurements() {
        let base = "trimtab autoscaler backtest -f a.yaml";
        let Ok(Autoscaler::Backtest(asked)) =
            parse(&format!("{base} --metrics m.csv --compare hpa --request cpu=500m --pod-start 1m --initial 3"))
        else {
            panic!("it is no backtest")
        };
        assert_eq!((asked.compare, asked.request), (Some(Compare::Hpa), vec![("cpu".to_owned(), Milli(500))]));
        assert_eq!((asked.pod_start, asked.step), (SignedDuration::from_secs(60), SignedDuration::from_secs(15)));
        let times = "--from 2026-03-02T00:00:00Z --to 2026-03-03T00:00:00Z";
        assert!(parse(&format!("{base} --prometheus http://p:9090 {times}")).is_ok());
        assert!(parse(&format!("{base} --prometheus http://p:9090")).unwrap_err().contains("--from"));
        assert!(parse(base).unwrap_err().contains("--metrics"));
        assert!(parse(&format!("{base} --metrics m --request cpu")).unwrap_err().contains("cpu=500m"));
    }

    #[test]
    fn durations_have_days_and_weeks() {
        let check = |text, seconds: Option<i64>| {
            assert_eq!(span(text).ok(), seconds.map(SignedDuration::from_secs), "{text}");
        };
        check("7d", Some(604_800));
        check("1w", Some(604_800));
        check("1d12h30m5s", Some(131_405));
        for wrong in ["", "0s", "7", "d", "-1d", "1.5h", "7 d", "99999999999999999999d", "9999999999w", "1y"] {
            check(wrong, None);
        }
    }
}
