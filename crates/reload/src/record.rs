//! What a workload's own annotations remember: the revision of each source that its pods have, and its latest reloads.
//! Kept on the workload and not on its template, so that keeping it restarts nothing. Not what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trimtab_config::{Object, Pin, Pins, Source};
use trimtab_crds::names;

use crate::opt_in::MOST_SOURCES;
use crate::{Workload, expressions};

/// How long reloads are remembered.
pub(crate) const MEMORY: Duration = Duration::from_hours(1);
/// How many are.
const MOST: usize = 8;
/// The longest text of them that is read, and the longest that is written: a reload may be for very many sources.
const LONGEST_LOG: usize = 64 << 10;
const LONGEST_WRITTEN: usize = 48 << 10;
/// The letters of a revision that are kept: as many as in the name of a copy.
const LETTERS: usize = 10;

/// A revision that pods have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The revision, or that there was no such object.
    pub pin: Pin,
    /// When its data was written, as far as that is known.
    pub written: Option<Timestamp>,
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When it was begun.
    pub at: Timestamp,
    /// The revisions that it was for.
    pub to: Pins,
    /// Who had written them: field managers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub by: BTreeSet<String>,
    /// Whether the workload was not settled before, so that its not settling afterwards says nothing of the change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// By source.
    pub applied: BTreeMap<Source, Applied>,
    /// The latest reloads, the oldest first.
    pub log: Vec<Reload>,
    /// The expressions that sources were looked for by.
    pub expressions: BTreeSet<String>,
}

/// The revision of an object, as pins and copies have it.
pub(crate) fn revision(object: Option<&Object>, key: &[u8; 32]) -> Pin {
    let Some(object) = object else { return Pin::Absent };
    let revision = object.revision(key);
    let digits = revision.split_once(':').map_or("", |(_, digits)| digits);
    Pin::Revision(digits.get(..LETTERS).unwrap_or(digits).into())
}

impl Record {
    /// Reads the annotations. What cannot be read is unknown, and nothing is restarted for it.
    pub fn of(workload: &Workload) -> Self {
        let applied = workload.annotation(names::RELOAD_APPLIED).unwrap_or_default();
        let applied = applied.split(',').take(2 * MOST_SOURCES).filter_map(read).collect();
        let log = workload.annotation(names::RELOAD_LOG).filter(|text| text.len() <= LONGEST_LOG);
        let mut log: Vec<Reload> = log.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        log.drain(..log.len().saturating_sub(MOST));
        let expressions = workload.annotation(names::RELOAD_EXPRESSIONS).unwrap_or_default().split(',');
        let expressions =
            expressions.take(2 * expressions::MOST).filter(|id| !id.is_empty()).map(str::to_owned).collect();
        Self { applied, log, expressions }
    }

    /// The last reload, if it is still remembered.
    pub fn last(&self) -> Option<&Reload> {
        self.log.last()
    }

    /// The reloads for a source since a time.
    pub fn since(&self, source: &Source, time: Timestamp) -> impl Iterator<Item = &Reload> {
        self.log.iter().filter(move |reload| reload.at > time && reload.to.get(source).is_some())
    }

    /// Adds a reload, and forgets the oldest.
    pub fn push(&mut self, reload: Reload) {
        let oldest = reload.at.checked_sub(MEMORY).unwrap_or(reload.at);
        self.log.retain(|earlier| earlier.at > oldest);
        self.log.push(reload);
        self.log.drain(..self.log.len().saturating_sub(MOST));
    }

    /// The text of the log's annotation; none if there is nothing to remember.
    pub fn log_text(&self) -> Option<String> {
        let mut texts = (0..self.log.len()).filter_map(|from| serde_json::to_string(self.log.get(from..)?).ok());
        let last = self.log.len().checked_sub(1)?;
        texts.find(|text| text.len() <= LONGEST_WRITTEN).or_else(|| serde_json::to_string(self.log.get(last..)?).ok())
    }

    /// The text of the annotation that says what is applied.
    pub fn applied_text(&self) -> String {
        self.to_string()
    }

    /// What is applied, as pins.
    pub fn pins(&self) -> Pins {
        Pins(self.applied.iter().map(|(source, applied)| (source.clone(), applied.pin.clone())).collect())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (source, applied)) in self.applied.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{source}={}", applied.pin)?;
            if let Some(written) = applied.written {
                write!(f, "@{written}")?;
            }
        }
        Ok(())
    }
}

/// Reads `cm/web=4f7c19ab20@2026-01-01T00:00:00Z`.
fn read(entry: &str) -> Option<(Source, Applied)> {
    let (source, rest) = entry.trim().split_once('=')?;
    let (pin, written) = rest.split_once('@').map_or((rest, None), |(pin, written)| (pin, written.parse().ok()));
    Some((source.parse().ok()?, Applied { pin: Pin::parse(pin)?, written }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "cm/feature=absent,cm/web=4f7c19ab20@2026-01-01T00:00:00Z,secret/tls=99aa01cd34";
        let record = Record { applied: text.split(',').filter_map(read).collect(), ..Record::default() };
        assert_eq!(record.applied_text(), text);
        let nonsense = "cm/web=x@y,=,cm/web,pod/a=1,cm/b=1@never";
        let record = Record { applied: nonsense.split(',').filter_map(read).collect(), ..Record::default() };
        assert_eq!(record.applied_text(), "cm/b=1,cm/web=x");
    }

    #[test]
    fn the_log_is_short_and_forgets() {
        let mut record = Record::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let reload =
            |second| Reload { at: at(second), to: Pins::parse("cm/a=1"), by: BTreeSet::new(), unsettled: false };
        (0..20).for_each(|second| record.push(reload(second)));
        assert_eq!((record.log.len(), record.log[0].at), (MOST, at(12)));
        record.push(reload(4000));
        assert_eq!(record.log.len(), 1);
        assert_eq!(record.since(&Source::config_map("a"), at(0)).count(), 1);
        assert_eq!(record.since(&Source::config_map("b"), at(0)).count(), 0);
    }
}
