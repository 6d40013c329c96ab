//! How many restart at once, of a namespace and for each source. Not who.

use std::collections::BTreeMap;

use trimtab_config::Source;

use crate::Options;

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: usize,
    by_source: BTreeMap<Source, usize>,
}

/// Why there is no place left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Full {
    /// So many of the namespace are restarting.
    Namespace(usize),
    /// As many as may are restarting for a source.
    Source(Source),
}

impl Places {
    /// Somebody has a place, for these sources.
    pub(super) fn take(&mut self, sources: &[Source]) {
        self.all += 1;
        sources.iter().for_each(|source| *self.by_source.entry(source.clone()).or_default() += 1);
    }

    /// Somebody has it no more.
    pub(super) fn give(&mut self, sources: &[Source]) {
        self.all = self.all.saturating_sub(1);
        for source in sources {
            let Some(count) = self.by_source.get_mut(source) else { continue };
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(source);
            }
        }
    }

    /// Whether as many of the namespace are restarting as may.
    pub(super) fn is_full(&self, options: &Options) -> bool {
        options.max_per_namespace > 0 && self.all >= options.max_per_namespace
    }

    /// Why there is no place left for these sources, if there is none.
    pub(super) fn full<'s>(&self, options: &Options, sources: impl Iterator<Item = &'s Source>) -> Option<Full> {
        if self.is_full(options) {
            return Some(Full::Namespace(self.all));
        }
        let full = |source: &&Source| self.by_source.get(*source).is_some_and(|count| *count >= options.max_per_source);
        let mut sources = sources.filter(|_| options.max_per_source > 0);
        sources.find(full).cloned().map(Full::Source)
    }
}

impl Full {
    /// For people.
    pub(super) fn message(&self, options: &Options) -> String {
        match self {
            Self::Namespace(all) => format!("{all} workloads of the namespace are restarting, as many as may at once"),
            Self::Source(source) => {
                format!("{} workloads are restarting for {source}, as many as may at once", options.max_per_source)
            }
        }
    }
}
