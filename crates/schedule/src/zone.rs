//! Time zones by name. Those that are compiled in, never the machine's: a static image has none, and the same question
//! must have the same answer wherever it is asked.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// What is compiled in, with a cache of what was read of it.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
/// What separates the parts of a zone's name.
const PARTS: [char; 2] = ['/', '_'];

/// A name that is no time zone's, with a remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a time zone: {remedy}")]
pub struct UnknownZone {
    /// What was asked for.
    pub name: String,
    /// What to write instead.
    pub remedy: String,
}

/// The time zone of this IANA name, as it was when this program was built.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    let unknown = || UnknownZone { name: name.to_owned(), remedy: remedy(name) };
    ZONES.get(name).ok().filter(|zone| !zone.is_unknown()).ok_or_else(unknown)
}

fn remedy(name: &str) -> String {
    let like: Vec<String> = alike(name);
    match like.as_slice() {
        [] => "write an IANA name, for example Europe/Berlin, America/New_York or UTC".to_owned(),
        [one] => format!("write {one}"),
        [first, rest @ ..] => format!("write an IANA name, for example {first} or {}", rest.join(" or ")),
    }
}

/// Up to three zones whose name holds this one, or differs from it in little.
fn alike(name: &str) -> Vec<String> {
    let asked = name.trim().replace(' ', "_").to_ascii_lowercase();
    let asked = asked.rsplit('/').next().unwrap_or_default();
    if !(3..=40).contains(&asked.len()) {
        return vec![];
    }
    let near = |known: &str| {
        let last = known.rsplit('/').next().unwrap_or_default();
        known.split(PARTS).any(|part| part == asked) || last == asked || distance(last, asked) <= 1 + asked.len() / 8
    };
    let known = ZONES.available().map(|zone| zone.as_str().to_owned()).filter(|zone| zone.contains('/'));
    let mut found: Vec<String> = known.filter(|known| near(&known.to_ascii_lowercase())).collect();
    found.sort_by_key(|known| (distance(&known.to_ascii_lowercase(), &name.to_ascii_lowercase()), known.clone()));
    found.truncate(3);
    found
}

/// How many letters have to be changed, added or taken away.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let cost = (corner + usize::from(a != b)).min(above + 1).min(left + 1);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            (corner, left) = (above, cost);
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(name: &str) -> String {
        zone(name).unwrap_err().to_string()
    }

    #[test]
    fn zones_are_found_by_their_iana_names_and_nothing_else() {
        for name in ["Europe/Berlin", "europe/berlin", "UTC", "Etc/UTC", "Australia/Lord_Howe", "Asia/Calcutta"] {
            assert!(zone(name).is_ok(), "{name}");
        }
        for name in ["", "Local", "PST", "+02:00", "Mars/Olympus", "Etc/Unknown", "../etc/passwd", "Zürich"] {
            assert!(zone(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_nearly_a_zone_is_told_its_name() {
        assert_eq!(remedy("Berlin"), r#""Berlin" is not a time zone: write Europe/Berlin"#);
        assert_eq!(remedy("Europe/Berlyn"), r#""Europe/Berlyn" is not a time zone: write Europe/Berlin"#);
        assert!(remedy("New York").contains("America/New_York"), "{}", remedy("New York"));
        assert!(remedy("Nowhere at all").contains("for example Europe/Berlin"));
    }

    #[test]
    fn letters_that_differ_are_counted() {
        assert_eq!(distance("berlin", "berlyn"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
