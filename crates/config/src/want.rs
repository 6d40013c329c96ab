//! Which pins a template is to have: one small rule a source. Not when they are written, nor what else a release needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::pins::LENGTHS;
use crate::{Known, LiveReason, Object, Pin, Pins, Reads, Reference, Source, live_by_nature};

/// The longest name of a ConfigMap or Secret.
const LONGEST_NAME: usize = 253;

/// How a workload's sources are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Copied, and pinned.
    Frozen,
    /// Read as it is.
    Live,
}

/// What the pins of a workload follow from.
pub struct Situation<'a, O> {
    /// What the template reads.
    pub reads: &'a Reads,
    /// What is known of these sources.
    pub known: &'a BTreeMap<Source, Known<O>>,
    /// The pins that the template has.
    pub template: &'a Pins,
    /// The pins of the stable revision.
    pub stable: &'a Pins,
    /// The live revision of each source that was last taken into account.
    pub considered: &'a BTreeMap<Source, Pin>,
    /// Pins that people set, which stay until they take them off.
    pub overrides: &'a Pins,
    /// Whether a new revision is on its way in any case, so that what has no pin yet can get one.
    pub joins: bool,
    /// Sources that were frozen before: what they look like by now does not make them live.
    pub frozen: &'a BTreeSet<Source>,
    /// The key under which digests of Secrets are made.
    pub key: &'a [u8; 32],
}

/// The pins that a template is to have, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Want {
    /// The pins of the frozen sources.
    pub pins: Pins,
    /// The live revision of each frozen source.
    pub live: BTreeMap<Source, Pin>,
    /// Sources that people pinned: what is live is not taken into account until they unpin it.
    pub overridden: BTreeSet<Source>,
    /// Sources whose live object is not what is pinned, by a person's wish or by an undo.
    pub ahead: Vec<Source>,
    /// Sources without a pin: a pod that starts reads the live object.
    pub unprotected: Vec<Source>,
    /// Sources that are not frozen, with the reason where it is their nature.
    pub unfrozen: BTreeMap<Source, Option<LiveReason>>,
    /// Sources that are frozen since they were before, though they look by now like something that is read live.
    pub still_frozen: BTreeMap<Source, LiveReason>,
    /// Secrets that this process does not read: pinned as they are, and never anew.
    pub unread: BTreeSet<Source>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
}

/// What stands in the way of freezing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no such object, and pods do not start without it.
    Missing(Source),
    /// It is there, and of a type that is not looked at.
    Unseen(Source),
    /// An entry is not there without which pods do not start.
    MissingKey(Source, Box<str>),
    /// The name of the copy would be too long.
    NameTooLong(Source),
    /// The source is not there, and pods would read an object of this name in its place.
    Appeared(Source, String),
    /// Other objects have every name that the copy could have: these.
    NamesTaken(Source, Vec<String>),
    /// A revision that is pinned is not kept any more.
    Gone(Source, Pin),
    /// A copy does not hold what its name says.
    Changed(Source, Pin),
    /// It was frozen, and is by now what is never copied.
    NeverFrozen(Source, LiveReason),
}

impl Problem {
    /// The source that it is about.
    pub fn source(&self) -> &Source {
        match self {
            Self::Missing(source)
            | Self::Unseen(source)
            | Self::MissingKey(source, _)
            | Self::NameTooLong(source)
            | Self::NamesTaken(source, _)
            | Self::Gone(source, _)
            | Self::Appeared(source, _)
            | Self::NeverFrozen(source, _)
            | Self::Changed(source, _) => source,
        }
    }

    /// A stable code.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "ConfigMissing",
            Self::Unseen(_) => "ConfigTypeNotRead",
            Self::MissingKey(..) => "ConfigKeyMissing",
            Self::NameTooLong(_) => "ConfigNameTooLong",
            Self::NamesTaken(..) => "ConfigNamesTaken",
            Self::Gone(..) => "ConfigGone",
            Self::Changed(..) | Self::Appeared(..) => "ConfigCopyChanged",
            Self::NeverFrozen(..) => "ConfigNeverFrozen",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(source) => {
                write!(f, "{source} is not there and is not optional: create it, or take the reference out")
            }
            Self::Unseen(source) => write!(
                f,
                "{source} is of the type in which Helm keeps its releases, which is not looked at: make it of another type, or \
                 take the reference out"
            ),
            Self::MissingKey(source, key) => {
                write!(
                    f,
                    "{source} has no key {key:?}, without which pods do not start: put it back, or take the reference out"
                )
            }
            Self::NameTooLong(source) => {
                let room = LONGEST_NAME - LENGTHS[0] - 1;
                write!(
                    f,
                    "{source} cannot be copied: its name has more than {room} letters; shorten it, or set its mode to Live"
                )
            }
            Self::NamesTaken(source, names) => write!(
                f,
                "{source} cannot be copied: {} are not what Trimtab copied, and the copy could have no other name; delete or \
                 rename one of them",
                names.join(", ")
            ),
            Self::Gone(source, pin) => write!(
                f,
                "revision {pin} of {source} is pinned and is not kept any more: see kubectl trimtab config history {source}"
            ),
            Self::Appeared(source, name) => write!(
                f,
                "{source} is not there, and pods read {name} in its place, which Trimtab did not make: delete or rename it"
            ),
            Self::Changed(source, pin) => write!(
                f,
                "{} is not what Trimtab copied: somebody made it anew; delete it, and it is copied again",
                pin.copy_name(source)
            ),
            Self::NeverFrozen(source, nature) => write!(
                f,
                "{source} was frozen, and is by now {nature}, which is never copied: make it as it was, or set its mode to Live \
                 in the plan"
            ),
        }
    }
}

/// The code of [`unread_words`].
pub const SECRETS_NOT_READ: &str = "SecretsNotRead";

/// What it means for a workload that Secrets are not read, and what to do.
pub fn unread_words<'s>(unread: impl IntoIterator<Item = &'s Source>) -> String {
    let names: Vec<String> = unread.into_iter().map(ToString::to_string).collect();
    format!(
        "{} is not looked at, since the manager runs with --secrets=false: pods read what they are pinned to, or else the live \
         object, whose changes reach them unjudged; run it with --secrets=true, or set the mode to Live",
        names.join(", ")
    )
}

/// The pins that a template is to have. `mode` is the plan's word on a source; `None` leaves it to its nature.
pub fn want<O: AsRef<Object>>(seen: &Situation<'_, O>, mode: impl Fn(&Source) -> Option<Mode>) -> Want {
    let mut want = Want::default();
    for (source, reference) in &seen.reads.sources {
        let Some(known) = seen.known.get(source) else {
            want.leave(seen, source, mode(source));
            continue;
        };
        let nature = known.live.as_ref().and_then(|object| live_by_nature(object.as_ref()));
        let always = nature.is_some_and(LiveReason::always);
        let said = mode(source);
        // Whoever may write a Secret can let it look like one that is renewed. That nobody has to judge its changes any
        // more is for the plan to say.
        if let Some(nature) = nature.filter(|_| said != Some(Mode::Live) && seen.frozen.contains(source)) {
            if always {
                want.problems.push(Problem::NeverFrozen(source.clone(), nature));
                continue;
            }
            if said.is_none() {
                want.still_frozen.insert(source.clone(), nature);
            }
            want.freeze(seen, source, reference, known);
            continue;
        }
        let chosen = said.filter(|_| !always);
        if chosen.unwrap_or(if nature.is_some() { Mode::Live } else { Mode::Frozen }) == Mode::Live {
            want.unfrozen.insert(source.clone(), nature.filter(|_| chosen.is_none()));
            continue;
        }
        want.freeze(seen, source, reference, known);
    }
    want
}

impl Want {
    /// Nothing is frozen any more of what was.
    pub fn all_live(pinned: &Pins) -> Self {
        Self { unfrozen: pinned.0.keys().map(|source| (source.clone(), None)).collect(), ..Self::default() }
    }

    /// What is not looked at stays as it is.
    fn leave<O>(&mut self, seen: &Situation<'_, O>, source: &Source, mode: Option<Mode>) {
        if mode == Some(Mode::Live) {
            self.unfrozen.insert(source.clone(), None);
            return;
        }
        if let Some(pin) = seen.template.get(source).or_else(|| seen.stable.get(source)) {
            self.pins.0.insert(source.clone(), pin.clone());
        }
        self.unread.insert(source.clone());
    }

    fn freeze<O: AsRef<Object>>(
        &mut self,
        seen: &Situation<'_, O>,
        source: &Source,
        reference: &Reference,
        known: &Known<O>,
    ) {
        let Some(live) = live_pin(source, known, seen.key) else {
            self.problems.push(no_name(source, known, seen.key));
            return;
        };
        let kept = seen.template.get(source).or_else(|| seen.stable.get(source));
        let considered = seen.considered.get(source);
        let unchanged = considered.is_none_or(|considered| *considered == live);
        let pin = match (seen.overrides.get(source), kept) {
            (Some(pin), _) => Some(pin.clone()),
            (None, Some(pin)) if considered.is_some() && unchanged => Some(pin.clone()),
            // A pod on its copy needs no live object.
            (None, Some(pin)) if live == Pin::Absent && !reference.optional => Some(pin.clone()),
            (None, None) if unchanged && !seen.joins => None,
            _ if live == Pin::Absent && !reference.optional => {
                let missing = if known.unseen { Problem::Unseen } else { Problem::Missing };
                self.problems.push(missing(source.clone()));
                return;
            }
            _ => Some(live.clone()),
        };
        self.live.insert(source.clone(), live.clone());
        if seen.overrides.get(source).is_some() {
            self.overridden.insert(source.clone());
        }
        let Some(pin) = pin else {
            self.unprotected.push(source.clone());
            return;
        };
        if pin != live {
            self.ahead.push(source.clone());
        }
        self.problems.extend(problem(source, reference, known, &pin, &live));
        self.pins.0.insert(source.clone(), pin);
    }
}

/// Why no copy of what is live could have a name.
fn no_name<O: AsRef<Object>>(source: &Source, known: &Known<O>, key: &[u8; 32]) -> Problem {
    let mut names = known.live.iter().flat_map(|live| copy_names(source, live.as_ref(), key)).collect::<Vec<_>>();
    names.retain(|name| name.len() <= LONGEST_NAME);
    if names.is_empty() { Problem::NameTooLong(source.clone()) } else { Problem::NamesTaken(source.clone(), names) }
}

/// What is wrong with a pin: its pods would not start, or would read what is not the revision.
pub fn problem<O: AsRef<Object>>(
    source: &Source,
    reference: &Reference,
    known: &Known<O>,
    pin: &Pin,
    live: &Pin,
) -> Option<Problem> {
    let copy = known.copies.iter().map(AsRef::as_ref).find(|copy| copy.metadata.name == pin.copy_name(source));
    let content = match (pin, copy) {
        (Pin::Absent, _) => {
            let name = pin.copy_name(source);
            return known.strangers.contains(&name).then(|| Problem::Appeared(source.clone(), name));
        }
        (_, Some(copy)) if !is_intact(copy, pin) => return Some(Problem::Changed(source.clone(), pin.clone())),
        (_, Some(copy)) => &copy.content,
        (pin, None) if known.strangers.contains(&pin.copy_name(source)) => {
            return Some(Problem::Changed(source.clone(), pin.clone()));
        }
        (pin, None) if pin == live => &known.live.as_ref()?.as_ref().content,
        (pin, None) => return Some(Problem::Gone(source.clone(), pin.clone())),
    };
    let missing = reference.keys.iter().find(|key| !content.has_key(key))?;
    Some(Problem::MissingKey(source.clone(), missing.clone()))
}

/// Whether a copy holds what its name says. Of a Secret only the process that made it could tell.
pub(crate) fn is_intact(copy: &Object, pin: &Pin) -> bool {
    let Pin::Revision(suffix) = pin else { return true };
    match copy.source().kind {
        crate::SourceKind::ConfigMap => copy.revision(&[0; 32]).starts_with(&format!("v1:{suffix}")),
        crate::SourceKind::Secret => true,
    }
}

/// The pin of what the live object holds now: of the copy that holds the same, or of one to be made. `None` if no name
/// is short enough.
///
/// A copy is recognised by what it holds and not by the key of its name, so that a lost key makes no new revision of
/// equal content.
pub fn live_pin<O: AsRef<Object>>(source: &Source, known: &Known<O>, key: &[u8; 32]) -> Option<Pin> {
    let Some(live) = known.live.as_ref().map(AsRef::as_ref) else { return Some(Pin::Absent) };
    let same = |copy: &&Object| copy.content == live.content && copy.type_ == live.type_;
    let suffix_of = |copy: &'_ Object| -> Option<Box<str>> {
        copy.metadata.name.strip_prefix(&source.name)?.strip_prefix('-').map(Into::into)
    };
    // Of several the one that is made first: another of a longer name changes nothing.
    let suffixes = known.copies.iter().map(AsRef::as_ref).filter(same).filter_map(suffix_of);
    if let Some(suffix) = suffixes.min_by_key(|suffix| suffix.len()) {
        return Some(Pin::Revision(suffix));
    }
    let revision = live.revision(key);
    let (_, digits) = revision.split_once(':')?;
    let taken = |name: &str| {
        known.strangers.iter().any(|stranger| stranger == name)
            || known.copies.iter().any(|copy| copy.as_ref().metadata.name == name)
    };
    let pins = LENGTHS.iter().filter_map(|length| digits.get(..*length)).map(|suffix| Pin::Revision(suffix.into()));
    pins.filter(|pin| pin.copy_name(source).len() <= LONGEST_NAME).find(|pin| !taken(&pin.copy_name(source)))
}

/// The names that a copy of this object could have.
pub fn copy_names(source: &Source, live: &Object, key: &[u8; 32]) -> Vec<String> {
    let revision = live.revision(key);
    let digits = revision.split_once(':').map_or("", |(_, digits)| digits);
    LENGTHS
        .iter()
        .filter_map(|length| digits.get(..*length))
        .map(|suffix| format!("{}-{suffix}", source.name))
        .collect()
}

#[cfg(test)]
mod tests;
