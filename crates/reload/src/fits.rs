//! Which sources the expressions of a workload fit. Comparing takes as long as whoever writes expressions and sources likes, so it is
//! done beforehand, and decisions see what came of it. Not when it is done, nor where that is kept.

use std::collections::{BTreeMap, BTreeSet};

use trimtab_config::Source;

use crate::expressions::Expression;
use crate::named::Patterns;
use crate::opt_in::MOST_SOURCES;
use crate::record::Record;
use crate::{Options, Workload};

/// With how many sources of a namespace expressions are compared.
pub const NAMES: usize = 10_000;
/// With how many sources they are compared that a workload reads or remembers and that are not there.
pub const GONE: usize = 64;

/// About how many bytes a name takes beside its letters, and what an expression is noted as.
const NAME: usize = 96;
const ID: usize = 64;

/// The expressions of a workload, ready to be compared.
#[derive(Debug)]
pub struct Ready(Vec<Option<Expression>>);

impl Ready {
    /// Nothing compared yet.
    pub fn fits(&self) -> Fits {
        let ids = self.0.iter().map(|one| one.as_ref().map(|one| one.id.clone())).collect();
        Fits { ids, ..Fits::default() }
    }

    /// Compares all of them with one source.
    pub fn compare(&self, source: &Source, fits: &mut Fits) {
        if fits.fitting.contains_key(source) {
            return;
        }
        let fit = |(position, one): (usize, &Option<Expression>)| {
            one.as_ref().filter(|one| one.fits(source)).map(|_| 1_u32 << position)
        };
        let found = self.0.iter().enumerate().filter_map(fit).fold(0, |all, one| all | one);
        if found == 0 {
            return;
        }
        if fits.fitting.len() >= 2 * MOST_SOURCES {
            fits.full = true;
        } else {
            fits.fitting.insert(source.clone(), found);
        }
    }
}

/// What the expressions of a workload fit.
#[derive(Debug, Clone, Default)]
pub struct Fits {
    /// What each is noted as, by its position; `None` if it is no expression.
    ids: Vec<Option<String>>,
    /// Those that fit, by their positions. At most twice as many as are looked after, as some may be gone.
    fitting: BTreeMap<Source, u32>,
    /// Whether there were more.
    pub full: bool,
    /// Whether the namespace has more sources than are compared.
    pub crowded: bool,
}

impl Fits {
    /// Whether one of the expressions fits a source.
    pub fn fit(&self, source: &Source) -> bool {
        self.fitting.contains_key(source)
    }

    /// The sources that fit, some of which may be gone.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.fitting.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.fitting.len()
    }

    /// About how many bytes all of this takes.
    pub fn bytes(&self) -> usize {
        let names = self.fitting.keys().map(|source| NAME + source.name.len());
        names.sum::<usize>() + self.ids.len() * ID
    }

    /// Whether nothing fits.
    pub fn is_empty(&self) -> bool {
        self.fitting.is_empty()
    }

    /// Forgets all sources but these; says whether there were others.
    pub fn retain(&mut self, keep: impl Fn(&Source) -> bool) -> bool {
        let before = self.fitting.len();
        self.fitting.retain(|source, _| keep(source));
        self.fitting.len() < before
    }

    /// Whether sources were left out for want of room that would be looked after by now, since many of those that fitted are gone.
    pub fn lacks_some(&self, is_there: impl Fn(&Source) -> bool) -> bool {
        self.full && self.fitting.keys().filter(|source| is_there(source)).count() < MOST_SOURCES
    }

    /// What the expressions are noted as that fit a source.
    pub(crate) fn ids_for(&self, source: &Source) -> impl Iterator<Item = &str> {
        let fit = self.fitting.get(source).copied().unwrap_or(0);
        let ids = self.ids.iter().enumerate().filter(move |(position, _)| fit & (1 << position) != 0);
        ids.filter_map(|(_, id)| id.as_deref())
    }

    /// What all of them are noted as.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.ids.iter().flatten().cloned().collect()
    }

    /// Whether the text in this position is no expression.
    pub(crate) fn is_none(&self, position: usize) -> bool {
        self.ids.get(position).is_some_and(Option::is_none)
    }
}

impl Options {
    /// Makes expressions of a namespace ready to be compared. They are compiled, if that was not done lately.
    pub fn ready(&self, namespace: &str, patterns: &Patterns) -> Ready {
        Ready(patterns.iter().map(|(kind, entry)| self.expressions.get(namespace, *kind, entry)).collect())
    }

    /// The sources that a workload reads or remembers and that are not there, as far as expressions are compared with them.
    pub fn gone(&self, workload: &Workload, is_there: impl Fn(&Source) -> bool) -> BTreeSet<Source> {
        let literals = self.literals(workload);
        let all = Record::of(workload).applied.into_keys().chain(literals);
        all.filter(|source| !is_there(source)).take(GONE).collect()
    }
}
