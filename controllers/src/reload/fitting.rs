//! Which sources of a namespace the expressions of annotations fit. They are compared when a source appears or an annotation changes,
//! beside the threads of the process and a part at a time, and kept by namespace and set of expressions: a look at a workload costs
//! what fits, and only that wakes it. Not how they are compared.

mod sets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trimtab_config::{Source, SourceKind};
use trimtab_reload::{Fits, NAMES, Options, PatternsId, Ready, Workload as View};

use sets::{Set, Sets, weighed};

/// For how long one look compares; the next one goes on from there.
const PART: Duration = Duration::from_millis(500);
/// Of how many sources it is remembered that they were compared while they were not there, for all workloads of a set.
const GONE: usize = 256;

/// The names of the sources that are there.
pub(super) trait Names {
    /// Those of a namespace, sorted.
    fn all(&self, namespace: &str, kind: SourceKind) -> Vec<Source>;
    /// Whether one is there.
    fn has(&self, namespace: &str, source: &Source) -> bool;
}

/// What is known; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Fitting(Arc<Mutex<Sets>>);

impl Fitting {
    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source came to a namespace.
    pub(super) fn came(&self, namespace: &str, source: Source) {
        self.lock().came(namespace, source);
    }

    /// Those of a namespace's workloads that a source may concern by an expression.
    pub(super) fn concerned<K>(
        &self,
        options: &Options,
        namespace: &str,
        source: &Source,
        workloads: Vec<(K, Arc<View>)>,
    ) -> Vec<K> {
        let ids: HashSet<PatternsId> = workloads.iter().map(|(_, view)| options.patterns(view).id()).collect();
        // Nobody waits for more than the looking up.
        let ready: HashMap<PatternsId, Arc<Set>> = {
            let all = self.lock();
            ids.into_iter().filter_map(|id| Some((id, all.ready(namespace, id)?))).collect()
        };
        let concerns = |view: &View| {
            let patterns = options.patterns(view);
            match ready.get(&patterns.id()) {
                Some(set) => set.fits.fit(source),
                None => patterns.may_fit(source),
            }
        };
        workloads.into_iter().filter(|(_, view)| concerns(view)).map(|(key, _)| key).collect()
    }

    /// What the expressions of a workload fit, if all is known.
    pub(super) fn known(&self, options: &Options, view: &View, names: &impl Names) -> Option<Arc<Fits>> {
        let patterns = options.patterns(view);
        if patterns.is_empty() {
            return Some(Arc::default());
        }
        let namespace = &view.metadata.namespace;
        let set = self.lock().used(namespace, patterns.id())?;
        if set.fits.lacks_some(|source| names.has(namespace, source)) {
            return None;
        }
        let gone = options.gone(view, |source| names.has(namespace, source));
        gone.iter().all(|source| set.gone.contains(source) || set.fits.fit(source)).then(|| set.fits.clone())
    }

    /// Compares the expressions of a workload with what they have not been compared with, or a part of it.
    pub(super) fn compare(&self, options: &Options, view: &View, names: &impl Names) {
        let (namespace, patterns) = (&view.metadata.namespace, options.patterns(view));
        if patterns.is_empty() {
            return;
        }
        let (ready, id) = (options.ready(namespace, patterns), patterns.id());
        let (base, came) = self.lock().begin(namespace, id, ready.fits());
        let mut set = Set::clone(&base);
        let there: Vec<Source> = [SourceKind::ConfigMap, SourceKind::Secret]
            .into_iter()
            .filter(|kind| patterns.concern(*kind))
            .flat_map(|kind| names.all(namespace, kind))
            .collect();
        let crowded = there.len() > NAMES;
        let is_there = |source: &Source| names.has(namespace, source);
        let fits = Arc::make_mut(&mut set.fits);
        // What was not looked at for want of room may be there still.
        let room = fits.full && fits.retain(is_there);
        if room || (fits.crowded && !crowded) {
            (set.reached, set.through, fits.full) = (None, false, false);
            set.gone.clear();
        }
        fits.crowded = crowded;
        let until = Instant::now() + PART;
        if !set.through {
            let reached = set.reached.take();
            let rest = there.into_iter().take(NAMES).filter(|source| reached.as_ref().is_none_or(|at| source > at));
            set.through = true;
            for source in rest {
                compare_one(&ready, &mut set, &source, is_there);
                if Instant::now() >= until {
                    (set.reached, set.through) = (Some(source), false);
                    break;
                }
            }
        }
        if set.through {
            for (number, source) in came {
                if !crowded && patterns.concern(source.kind) {
                    compare_one(&ready, &mut set, &source, is_there);
                }
                set.next = number + 1;
                if Instant::now() >= until {
                    break;
                }
            }
        }
        let gone = options.gone(view, is_there);
        compare_gone(&ready, &mut set, gone, until);
        let found = weighed(set);
        self.lock().end(namespace, id, &base, found);
    }
}

/// Compares with a source. For the first that finds no room, those make some that are gone.
fn compare_one(ready: &Ready, set: &mut Set, source: &Source, is_there: impl Fn(&Source) -> bool) {
    let fits = Arc::make_mut(&mut set.fits);
    let was_full = fits.full;
    ready.compare(source, fits);
    if fits.full && !was_full && fits.retain(is_there) {
        fits.full = false;
        ready.compare(source, fits);
        // Of these some may have fitted.
        set.gone.clear();
    }
}

/// Compares what is not there, and notes as much as it came to. What finds no room here is nothing that could be looked after.
fn compare_gone(ready: &Ready, set: &mut Set, gone: BTreeSet<Source>, until: Instant) {
    let new = gone.iter().filter(|source| !set.gone.contains(*source)).count();
    if set.gone.len() + new > GONE {
        set.gone.clear();
    }
    let fits = Arc::make_mut(&mut set.fits);
    let was_full = fits.full;
    for source in gone {
        if set.gone.contains(&source) {
            continue;
        }
        ready.compare(&source, fits);
        set.gone.insert(source);
        if Instant::now() >= until {
            break;
        }
    }
    fits.full = was_full;
}
