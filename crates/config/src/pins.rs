//! Pins: which revision of each source the pods of a template read. They stand in one annotation of the template,
//! `cm/web=4f7c19ab20,secret/tls=99aa01cd34`, and a policy inside the API server carries them out on every pod.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Source;

/// Which revision of one source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// The copy of this suffix: `web-4f7c19ab20`.
    Revision(Box<str>),
    /// There was no such object, and it was optional.
    Absent,
}

/// Lengths of a revision's suffix: the first at which it meets nothing else.
pub(crate) const LENGTHS: [usize; 3] = [10, 20, 32];

/// Written where there was no object. No revision is called so: revisions are hexadecimal.
const ABSENT: &str = "absent";

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(suffix) => f.write_str(suffix),
            Self::Absent => f.write_str(ABSENT),
        }
    }
}

impl Pin {
    /// Reads a pin; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        // As the policy reads it: what it would not match is no pin.
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if text.is_empty() || text.len() > 32 || !text.chars().all(fits) {
            return None;
        }
        Some(if text == ABSENT { Self::Absent } else { Self::Revision(text.into()) })
    }

    /// Whether a text is the end of a copy's name.
    pub fn is_suffix(text: &str) -> bool {
        LENGTHS.contains(&text.len()) && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    }

    /// The source in whose place pods would read an object, going by its name alone: that of a copy, or of what is absent.
    pub fn in_place_of(object: &Source) -> Option<Source> {
        let (name, pin) = object.name.rsplit_once('-')?;
        let is_pin = pin == ABSENT || Self::is_suffix(pin);
        (is_pin && !name.is_empty()).then(|| Source { kind: object.kind, name: name.to_owned() })
    }

    /// Name of the copy that pods read in place of the source.
    pub fn copy_name(&self, source: &Source) -> String {
        format!("{}-{self}", source.name)
    }
}

/// Pins by source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(pub BTreeMap<Source, Pin>);

impl Pins {
    /// Reads the annotation. What is no pin is left out; of two pins of one source the first counts, as in the policy.
    pub fn parse(text: &str) -> Self {
        let mut pins = BTreeMap::new();
        for entry in text.split(',') {
            let Some((source, pin)) = entry.split_once('=') else { continue };
            let (Ok(source), Some(pin)) = (source.trim().parse::<Source>(), Pin::parse(pin.trim())) else { continue };
            pins.entry(source).or_insert(pin);
        }
        Self(pins)
    }

    /// The pins that a pod template carries, as the policy that carries them out reads them: an entry that it would leave out
    /// is no pin.
    pub fn in_template(annotation: Option<&str>) -> Self {
        let mut pins = BTreeMap::new();
        for entry in annotation.unwrap_or_default().split(',') {
            let Some((source, pin)) = entry.split_once('=') else { continue };
            let (Ok(named), Some(pin)) = (source.parse::<Source>(), Pin::parse(pin)) else { continue };
            let exact = named.to_string() == source;
            if exact && (pin == Pin::Absent || Pin::is_suffix(&pin.to_string())) {
                pins.entry(named).or_insert(pin);
            }
        }
        Self(pins)
    }

    /// The pin of a source.
    pub fn get(&self, source: &Source) -> Option<&Pin> {
        self.0.get(source)
    }

    /// The pins that people wrote into an annotation, if there is one.
    pub fn of(annotation: Option<&str>) -> Self {
        annotation.map(Self::parse).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (source, pin)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{source}={pin}")?;
        }
        Ok(())
    }
}

impl Serialize for Pins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_written_as_they_are_read_and_in_order() {
        let text = "cm/feature=absent,cm/web=4f7c19ab20,secret/tls=99aa01cd34";
        assert_eq!(Pins::parse(text).to_string(), text);
        assert_eq!(Pins::parse("secret/a=1,cm/b=2").to_string(), "cm/b=2,secret/a=1");
    }

    #[test]
    fn a_template_s_pins_are_read_as_the_policy_reads_them() {
        for (text, read) in trimtab_crds::pins::CASES {
            assert_eq!(Pins::in_template(Some(text)).to_string(), *read, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_pin_is_left_out_and_the_first_of_two_counts() {
        let pins = Pins::parse("cm/web=ABC,cm/web=1,cm/web=2,pod/x=1,,=,cm/=1,cm/a=,cm/b=1-2");
        assert_eq!(pins.to_string(), "cm/web=1");
        assert!(Pins::parse("").is_empty());
    }
}
