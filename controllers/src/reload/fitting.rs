//! Which sources of a namespace the expressions of annotations fit. They are compared when a source appears or an annotation changes,
//! beside the threads of the process and a part at a time, and kept by namespace and set of expressions: a look at a workload costs
//! what fits, and only that wakes it. Not how they are compared.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trimtab_config::{Source, SourceKind};
use trimtab_reload::{Fits, NAMES, Options, Patterns, Workload as View};

/// For how long one look compares; the next one goes on from there.
const PART: Duration = Duration::from_millis(500);
/// How many names are kept of a namespace, and of all together.
const OF_A_NAMESPACE: usize = 20_000;
const ALL: usize = 100_000;
/// As how many names a set counts beside those that it fits.
const EMPTY: usize = 16;
/// Of how many sources it is remembered that they were compared while they were not there, for all workloads of a set.
const GONE: usize = 256;
/// How many sources are remembered that came to a namespace.
const CAME: usize = 1_024;

/// The names of the sources that are there.
pub(super) trait Names {
    /// Those of a namespace, sorted.
    fn all(&self, namespace: &str, kind: SourceKind) -> Vec<Source>;
    /// Whether one is there.
    fn has(&self, namespace: &str, source: &Source) -> bool;
}

/// What is known; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Fitting {
    keys: Arc<(RandomState, RandomState)>,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    namespaces: HashMap<String, Own>,
    /// The number of the next source that comes, of all namespaces: none is given twice.
    next: u64,
}

/// What is known of a namespace in which an expression names sources.
#[derive(Default)]
struct Own {
    /// Those that were used last are at the end.
    sets: Vec<Set>,
    /// The sources that came last, each with its number.
    came: VecDeque<(u64, Source)>,
    /// Beyond the number of the last one.
    next: u64,
}

/// What a set of expressions is known by: two sums with keys of this process.
type Id = (u64, u64);

/// What a set of expressions fits.
#[derive(Clone)]
struct Set {
    id: Id,
    fits: Arc<Fits>,
    /// The last source that it was compared with on its way through all of them; `None` before the first.
    reached: Option<Source>,
    /// Whether it is through.
    through: bool,
    /// The number of the first source that came and that it has not been compared with.
    next: u64,
    /// Sources that were not there and that it was compared with.
    gone: BTreeSet<Source>,
}

impl Own {
    fn set(&self, id: Id) -> Option<&Set> {
        self.sets.iter().rev().find(|set| set.id == id)
    }

    /// Whether it is known what a set fits, of all that came.
    fn is_ready(&self, set: &Set) -> bool {
        set.through && set.next == self.next
    }

    /// Forgets what came, as far as every set was compared with it.
    fn forget_came(&mut self) {
        let oldest = self.sets.iter().map(|set| set.next).min().unwrap_or(self.next);
        while self.came.front().is_some_and(|(number, _)| *number < oldest) {
            self.came.pop_front();
        }
    }

    fn names(&self) -> usize {
        self.sets.iter().map(|set| set.fits.len() + EMPTY).sum()
    }
}

impl Fitting {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, patterns: &Patterns) -> Id {
        (self.keys.0.hash_one(patterns), self.keys.1.hash_one(patterns))
    }

    /// A source came to a namespace.
    pub(super) fn came(&self, namespace: &str, source: Source) {
        let mut all = self.lock();
        let All { namespaces, next } = &mut *all;
        let Some(own) = namespaces.get_mut(namespace) else { return };
        own.came.push_back((*next, source));
        *next += 1;
        own.next = *next;
        own.forget_came();
        if own.came.len() > CAME
            && let Some((number, _)) = own.came.pop_front()
        {
            // Those that have not seen it begin anew.
            own.sets.retain(|set| set.next > number);
        }
    }

    /// Those of a namespace's workloads that a source may concern by an expression.
    pub(super) fn concerned<K>(
        &self,
        options: &Options,
        namespace: &str,
        source: &Source,
        workloads: Vec<(K, Arc<View>)>,
    ) -> Vec<K> {
        let all = self.lock();
        let own = all.namespaces.get(namespace);
        let concerns = |view: &View| {
            let patterns = options.patterns(view);
            let id = self.id(&patterns);
            match own.and_then(|own| Some((own, own.set(id)?))) {
                Some((own, set)) if own.is_ready(set) => set.fits.fit(source),
                _ => patterns.may_fit(source),
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
        let gone = options.gone(view, |source| names.has(namespace, source));
        let all = self.lock();
        let own = all.namespaces.get(namespace)?;
        let set = own.set(self.id(&patterns)).filter(|set| own.is_ready(set))?;
        gone.iter().all(|source| set.gone.contains(source) || set.fits.fit(source)).then(|| set.fits.clone())
    }

    /// Compares the expressions of a workload with what they have not been compared with, or a part of it.
    pub(super) fn compare(&self, options: &Options, view: &View, names: &impl Names) {
        let (namespace, patterns) = (&view.metadata.namespace, options.patterns(view));
        if patterns.is_empty() {
            return;
        }
        let ready = options.ready(namespace, &patterns);
        let (mut set, came) = self.begin(namespace, self.id(&patterns), ready.fits());
        let there: Vec<Source> = [SourceKind::ConfigMap, SourceKind::Secret]
            .into_iter()
            .filter(|kind| patterns.concern(*kind))
            .flat_map(|kind| names.all(namespace, kind))
            .collect();
        let crowded = there.len() > NAMES;
        let fits = Arc::make_mut(&mut set.fits);
        // What was not looked at for want of room may be there still.
        let room = fits.full && fits.retain(|source| names.has(namespace, source));
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
                ready.compare(&source, fits);
                if Instant::now() >= until {
                    (set.reached, set.through) = (Some(source), false);
                    break;
                }
            }
        }
        if set.through {
            for (number, source) in came {
                if !crowded && patterns.concern(source.kind) {
                    ready.compare(&source, fits);
                }
                set.next = number + 1;
                if Instant::now() >= until {
                    break;
                }
            }
        }
        let gone = options.gone(view, |source| names.has(namespace, source));
        if !gone.is_subset(&set.gone) {
            gone.iter().for_each(|source| ready.compare(source, fits));
            if set.gone.len() > GONE {
                set.gone.clear();
            }
            set.gone.extend(gone);
        }
        self.end(namespace, set);
    }

    /// What is known of a set, and what came since.
    fn begin(&self, namespace: &str, id: Id, none: Fits) -> (Set, Vec<(u64, Source)>) {
        let mut all = self.lock();
        let All { namespaces, next } = &mut *all;
        let own = namespaces.entry(namespace.to_owned()).or_insert_with(|| {
            // What came while nobody looked here has no number.
            *next += 1;
            Own { next: *next, ..Own::default() }
        });
        let set = own.set(id).cloned().unwrap_or_else(|| {
            let fits = Arc::new(none);
            let set = Set { id, fits, reached: None, through: false, next: own.next, gone: BTreeSet::new() };
            own.sets.push(set.clone());
            set
        });
        let came = own.came.iter().filter(|(number, _)| *number >= set.next).cloned().collect();
        (set, came)
    }

    fn end(&self, namespace: &str, set: Set) {
        let mut all = self.lock();
        let Some(own) = all.namespaces.get_mut(namespace) else { return };
        // Another look at the same may have come further, or what came meanwhile is forgotten already.
        let further = own.set(set.id).is_some_and(|other| (other.through, other.next) > (set.through, set.next));
        let first = own.came.front().map_or(own.next, |(number, _)| *number);
        if !further {
            own.sets.retain(|other| other.id != set.id);
            if set.next >= first {
                own.sets.push(set);
            }
        }
        while own.sets.len() > 1 && own.names() > OF_A_NAMESPACE {
            own.sets.remove(0);
        }
        own.forget_came();
        while all.namespaces.values().map(Own::names).sum::<usize>() > ALL {
            let Some(own) = all.namespaces.values_mut().max_by_key(|own| own.names()) else { break };
            own.sets.remove(0);
        }
        all.namespaces.retain(|_, own| !own.sets.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;
    use trimtab_reload::DeploymentView;

    use super::*;

    impl Names for RefCell<BTreeSet<Source>> {
        fn all(&self, _: &str, kind: SourceKind) -> Vec<Source> {
            self.borrow().iter().filter(|source| source.kind == kind).cloned().collect()
        }

        fn has(&self, _: &str, source: &Source) -> bool {
            self.borrow().contains(source)
        }
    }

    /// A workload of a namespace whose annotation names these.
    fn workload(namespace: &str, named: &str) -> Arc<View> {
        let annotations = json!({"configmap.reloader.stakater.com/reload": named});
        let metadata = json!({"name": "web", "namespace": namespace, "annotations": annotations});
        serde_json::from_value::<DeploymentView>(json!({ "metadata": metadata })).unwrap().0
    }

    fn sources(count: usize) -> RefCell<BTreeSet<Source>> {
        RefCell::new((0..count).map(|n| Source::config_map(format!("web-{n}"))).collect())
    }

    /// Compares until all is known, as one look after the other does.
    fn fits(fitting: &Fitting, options: &Options, view: &View, names: &impl Names) -> Arc<Fits> {
        for _ in 0..1_000 {
            if let Some(fits) = fitting.known(options, view, names) {
                return fits;
            }
            fitting.compare(options, view, names);
        }
        panic!("it never ends");
    }

    fn expressions(count: usize) -> String {
        (0..count).map(|n| format!("[vw]eb-{n}_*")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn names_are_compared_once_and_a_look_costs_what_fits() {
        let (fitting, options, names) = (Fitting::default(), Options::default(), sources(5_000));
        let view = workload("crowd", &expressions(32));
        assert_eq!(fits(&fitting, &options, &view, &names).len(), 32);
        assert_eq!(options.expressions.compared(), 5_000 * 32);
        // Twenty workloads with the same annotation, and a write a second.
        for _ in 0..200 {
            fits(&fitting, &options, &view, &names);
            let woken = fitting.concerned(&options, "crowd", &Source::config_map("web-99"), vec![((), view.clone())]);
            assert!(woken.is_empty(), "a source that fits nothing wakes");
        }
        assert_eq!(options.expressions.compared(), 5_000 * 32, "what is known was compared again");
        let woken = fitting.concerned(&options, "crowd", &Source::config_map("web-7"), vec![((), view.clone())]);
        assert_eq!(woken, [()]);
        // One more is compared once, and may concern it until then.
        let new = Source::config_map("veb-3");
        names.borrow_mut().insert(new.clone());
        fitting.came("crowd", new.clone());
        assert_eq!(fitting.concerned(&options, "crowd", &new, vec![((), view.clone())]), [()]);
        assert!(fits(&fitting, &options, &view, &names).fit(&new));
        assert_eq!(options.expressions.compared(), 5_001 * 32);
        assert_eq!(options.expressions.compiled(), 32);
        // In another namespace nothing is known by that.
        assert!(fitting.known(&options, &workload("calm", "w+"), &names).is_none());
    }

    #[test]
    fn names_beyond_the_bound_are_not_compared_and_told() {
        let (fitting, options, names) = (Fitting::default(), Options::default(), sources(NAMES + 3));
        let view = workload("crowd", "web-.*0_*");
        let told =
            |fits: &Fits| options.problems(&view, fits).iter().any(|problem| problem.contains("more than 10000"));
        let found = fits(&fitting, &options, &view, &names);
        assert!(options.expressions.compared() <= NAMES && told(&found));
        names.borrow_mut().retain(|source| source.name.len() < 8);
        fitting.came("crowd", Source::config_map("web-0"));
        assert!(!told(&fits(&fitting, &options, &view, &names)));
    }

    #[test]
    fn what_a_namespace_knows_is_bounded_and_pushes_out_only_its_own() {
        let (fitting, options, names) = (Fitting::default(), Options::default(), sources(3_000));
        let calm = workload("calm", "web-1_*");
        fits(&fitting, &options, &calm, &names);
        for n in 0..30 {
            let view = workload("crowd", &format!("web-.*|x{n}"));
            let found = fits(&fitting, &options, &view, &names);
            assert!(found.full && found.len() == 2_000, "{}", found.len());
        }
        let all = fitting.lock();
        assert!(all.namespaces["crowd"].names() <= OF_A_NAMESPACE && all.namespaces["calm"].sets.len() == 1);
        drop(all);
        // Who does not look while very many come begins anew.
        (0..2 * CAME).for_each(|n| fitting.came("calm", Source::config_map(format!("new-{n}"))));
        assert!(fitting.lock().namespaces["calm"].came.len() <= CAME);
        assert_eq!(fits(&fitting, &options, &calm, &names).len(), 1);
    }

    #[test]
    fn what_is_gone_and_remembered_is_compared_too() {
        let (fitting, options, names) = (Fitting::default(), Options::default(), sources(3));
        let view = |gone: &str| {
            let annotations =
                json!({"configmap.reloader.stakater.com/reload": "old_*.*", "trimtab.dev/reload-applied": gone});
            let metadata = json!({"name": "web", "namespace": "ns", "annotations": annotations});
            serde_json::from_value::<DeploymentView>(json!({ "metadata": metadata })).unwrap().0
        };
        let found = fits(&fitting, &options, &view("cm/old-1=aa,cm/new=bb"), &names);
        assert!(found.fit(&Source::config_map("old-1")) && !found.fit(&Source::config_map("new")));
        assert!(fits(&fitting, &options, &view("cm/old-2=aa"), &names).fit(&Source::config_map("old-2")));
    }
}
