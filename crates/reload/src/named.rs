//! What the annotations of a workload name, to be reloaded for or not: sources, words and expressions. Lists are read once for each
//! version of a workload, however many sources and looks ask. Whoever may annotate it writes them, so of each no more is kept
//! than counts. Not what follows from it.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use trimtab_config::{Source, SourceKind};
use trimtab_crds::names;

use crate::expressions::{self, is_expression, may_fit};

/// How many entries of a list in an annotation are read.
const MOST_ENTRIES: usize = 100;
/// How much of an entry is told to people.
const SHOWN: usize = 80;
/// How many things that are wrong are remembered.
const TOLD: usize = 8;

/// What tells a set of expressions from all others.
pub type PatternsId = [u8; 32];

/// The expressions by which a workload's annotations name sources, as they are written: nothing was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    all: Vec<(SourceKind, String)>,
    id: PatternsId,
}

impl Default for Patterns {
    fn default() -> Self {
        Self::new(vec![])
    }
}

impl Patterns {
    fn new(all: Vec<(SourceKind, String)>) -> Self {
        let add = |sum: Sha256, (kind, entry): &(SourceKind, String)| {
            sum.chain_update(kind.short()).chain_update([0]).chain_update(entry).chain_update([0])
        };
        let id = all.iter().fold(Sha256::new(), add).finalize().into();
        Self { all, id }
    }

    /// What they are known by.
    pub fn id(&self) -> PatternsId {
        self.id
    }

    /// Each, and the kind of sources that it is for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(SourceKind, String)> {
        self.all.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one of them is for sources of this kind.
    pub fn concern(&self, kind: SourceKind) -> bool {
        self.all.iter().any(|(own, _)| *own == kind)
    }

    /// Whether one of them may fit a source, as far as can be told without comparing the two.
    pub fn may_fit(&self, source: &Source) -> bool {
        self.all.iter().any(|(kind, entry)| *kind == source.kind && may_fit(entry, &source.name))
    }
}

/// What the annotations of a workload name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    /// Whether nothing reloads the workload: ours says so.
    pub(crate) off: bool,
    /// Of which kinds all sources that it reads do: ours says so.
    pub(crate) kinds: BTreeSet<SourceKind>,
    /// The sources that are named in so many letters.
    pub(crate) sources: BTreeSet<Source>,
    pub(crate) patterns: Patterns,
    /// Those that never reload it, by kind and by name.
    pub(crate) excluded_kinds: BTreeSet<SourceKind>,
    pub(crate) excluded: BTreeSet<Source>,
    /// What is wrong with them; for people.
    pub(crate) problems: Vec<String>,
}

/// A list of Reloader's that names sources of a kind, and those that exclude some.
pub(crate) struct List<'a> {
    pub(crate) kind: SourceKind,
    /// The name of its annotation.
    pub(crate) name: &'a str,
    pub(crate) list: &'a str,
    /// The name of the others'.
    pub(crate) exclude: &'a str,
    pub(crate) excluded: [&'a str; 2],
}

impl Named {
    /// What ours name.
    pub(crate) fn ours(wish: &str, exclude: &str) -> Self {
        let mut named = Self { off: is_off(wish), ..Self::default() };
        named.note_long(names::RELOAD, wish);
        named.note_long(names::RELOAD_EXCLUDE, exclude);
        for entry in entries(wish) {
            match (kinds(entry), entry.parse::<Source>()) {
                (Some(kinds), _) => named.kinds.extend(kinds),
                (None, Ok(source)) => _ = named.sources.insert(source),
                (None, Err(_)) if is_off(entry) => {}
                (None, Err(_)) => named.note(format!(
                    "{}: {:?} is unknown: write auto, configmaps, secrets, off, cm/NAME or secret/NAME",
                    names::RELOAD,
                    shown(entry)
                )),
            }
        }
        for entry in entries(exclude) {
            named.excluded_kinds.extend(kind(entry));
            named.excluded.extend(entry.parse::<Source>());
        }
        named
    }

    /// What Reloader's name.
    pub(crate) fn theirs(lists: &[List<'_>]) -> Self {
        let (mut named, mut patterns) = (Self::default(), vec![]);
        for List { kind, name, list, exclude, excluded } in lists {
            named.note_long(name, list);
            excluded.iter().for_each(|list| named.note_long(exclude, list));
            let of = |entry: &str| Source { kind: *kind, name: entry.to_owned() };
            for entry in entries(list) {
                if Source::is_name(entry) {
                    named.sources.insert(of(entry));
                } else if !is_expression(entry) {
                    let kind = kind.kind().kind;
                    named.note(format!("{name}: no {kind} can be called {:?}: correct the name", shown(entry)));
                } else if entry.len() > expressions::LONGEST {
                    let (shown, most) = (shown(entry), expressions::LONGEST);
                    named.note(format!("{name}: {shown:?}… is longer than {most} letters: use a shorter expression"));
                } else {
                    patterns.push((*kind, entry.to_owned()));
                }
            }
            let names = excluded.iter().flat_map(|list| entries(list)).filter(|entry| Source::is_name(entry));
            named.excluded.extend(names.map(of));
        }
        if patterns.len() > expressions::MOST {
            let (most, all) = (expressions::MOST, lists.iter().map(|list| list.name).collect::<Vec<_>>().join(" and "));
            named.note(format!(
                "{all} have more than {most} expressions together: the first {most} count; join some to one (a|b)"
            ));
            patterns.truncate(most);
        }
        named.patterns = Patterns::new(patterns);
        named
    }

    fn note(&mut self, problem: String) {
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        }
    }

    fn note_long(&mut self, name: &str, list: &str) {
        if all_entries(list).nth(MOST_ENTRIES).is_some() {
            self.note(format!(
                "{name} has more than {MOST_ENTRIES} entries: the first {MOST_ENTRIES} count; take some out"
            ));
        }
    }
}

/// The entries of a list in an annotation, as many as are read.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    all_entries(list).take(MOST_ENTRIES)
}

fn all_entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// As much of an entry as people are told.
pub(crate) fn shown(entry: &str) -> String {
    entry.chars().take(SHOWN).collect()
}

pub(crate) fn is_off(value: &str) -> bool {
    matches!(value.trim(), "off" | "false" | "none")
}

/// The kinds of which a word means all sources.
fn kinds(entry: &str) -> Option<Vec<SourceKind>> {
    match entry {
        "auto" | "true" => Some(vec![SourceKind::ConfigMap, SourceKind::Secret]),
        entry => kind(entry).map(|kind| vec![kind]),
    }
}

fn kind(entry: &str) -> Option<SourceKind> {
    match entry {
        "configmaps" | "configmap" => Some(SourceKind::ConfigMap),
        "secrets" | "secret" => Some(SourceKind::Secret),
        _ => None,
    }
}
