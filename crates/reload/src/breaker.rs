//! The breaker: a source that changes again and again, as when two programs fight over it, must not restart its workloads
//! for ever. Not the quiet period, which joins changes that belong together.

use std::time::Duration;

use crate::Change;
use crate::record::{MEMORY, Record};
use jiff::Timestamp;

/// Within this time...
const WINDOW: Duration = Duration::from_mins(10);
/// ...so many reloads for one source are no more than a busy day.
const FREE: usize = 3;
/// How long a source must then rest; twice as long after each further reload within the hour.
const REST: Duration = Duration::from_mins(1);
const LONGEST_REST: Duration = Duration::from_mins(30);

/// A breaker that has tripped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tripped {
    /// When the source may reload its workload again if nobody changes it before.
    pub(crate) until: Timestamp,
    /// For people.
    pub(crate) message: String,
}

/// Whether a change comes too often.
pub(crate) fn tripped(now: Timestamp, record: &Record, change: &Change) -> Option<Tripped> {
    let since = |age: Duration| now.checked_sub(age).unwrap_or(now);
    let recent = record.since(&change.source, since(WINDOW)).count();
    let hour: Vec<_> = record.since(&change.source, since(MEMORY)).collect();
    // Back and forth between the same revisions is a fight, however slow.
    let returns = hour.iter().any(|reload| reload.to.get(&change.source) == Some(&change.to.pin));
    if recent < FREE && !(hour.len() >= FREE && returns) {
        return None;
    }
    let further = u32::try_from(hour.len().saturating_sub(FREE)).unwrap_or(u32::MAX).min(8);
    let rest = (REST * 2u32.pow(further)).min(LONGEST_REST);
    let latest = change.written().into_iter().chain(hour.last().map(|reload| reload.at)).max().unwrap_or(now);
    let until = latest.checked_add(rest).unwrap_or(now);
    (now < until).then(|| Tripped { until, message: message(change, &hour, rest) })
}

fn message(change: &Change, hour: &[&crate::record::Reload], rest: Duration) -> String {
    let Change { source, .. } = change;
    let mut managers: Vec<&str> = hour.iter().flat_map(|reload| &reload.by).map(String::as_str).collect();
    managers.extend(change.by.as_deref());
    managers.sort_unstable();
    managers.dedup();
    let who = match managers.as_slice() {
        [] => "somebody keeps changing it".to_owned(),
        [one] => format!("{one} keeps changing it"),
        several => format!("{} are changing it in turn", several.join(" and ")),
    };
    let minutes = rest.as_secs() / 60;
    format!(
        "{source} has restarted this workload {} times within the hour: {who}. It is not restarted again until {source} has not \
         changed for {minutes} min; let only one of them write it",
        hour.len()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trimtab_config::{Pin, Pins, Source};

    use super::*;
    use crate::record::{Applied, Reload};
    use crate::{How, Is};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(times: &[i64]) -> Record {
        let mut record = Record::default();
        for (index, second) in times.iter().enumerate() {
            let (to, by) = if index % 2 == 0 { ("cm/a=aa", "one") } else { ("cm/a=bb", "two") };
            let by = BTreeSet::from([by.to_owned()]);
            record.push(Reload { at: at(*second), to: Pins::parse(to), by, unsettled: false });
        }
        record
    }

    fn change(to: &str, written: i64) -> Change {
        Change {
            source: Source::config_map("a"),
            how: How::Native,
            is: Is::Changed,
            to: Applied { pin: Pin::parse(to).unwrap(), written: Some(at(written)) },
            by: Some("two".into()),
            begun: false,
            dated: true,
            version: None,
            trigger: None,
        }
    }

    #[test]
    fn the_fourth_reload_within_ten_minutes_waits_and_names_who_fights() {
        assert_eq!(tripped(at(100), &record(&[0, 30]), &change("cc", 100)), None);
        let stopped = tripped(at(100), &record(&[0, 30, 60]), &change("cc", 100)).unwrap();
        assert_eq!(stopped.until, at(160));
        assert!(
            stopped.message.contains("3 times within the hour: one and two are changing it in turn"),
            "{}",
            stopped.message
        );
        assert_eq!(tripped(at(160), &record(&[0, 30, 60]), &change("cc", 100)), None);
    }

    #[test]
    fn a_slow_fight_back_and_forth_is_stopped_too_and_a_person_at_work_is_not() {
        let slow = record(&[0, 600, 1200]);
        assert_eq!(tripped(at(1801), &slow, &change("cc", 1800)), None);
        assert!(tripped(at(1801), &slow, &change("bb", 1800)).is_some());
    }

    #[test]
    fn each_further_reload_within_the_hour_takes_a_longer_rest() {
        let rest = |times: &[i64], now| tripped(at(now), &record(times), &change("bb", now)).unwrap().until;
        assert_eq!(rest(&[0, 10, 20, 100], 200), at(320));
        assert_eq!(rest(&[0, 10, 20, 100, 300], 600), at(840));
    }
}
