//! What is known of expressions, and what that costs, with names that come and go.

use std::cell::RefCell;

use serde_json::json;
use trimtab_reload::DeploymentView;

use super::sets::{CAME_OF_A_NAMESPACE, OF_A_NAMESPACE};
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
    let told = |fits: &Fits| options.problems(&view, fits).iter().any(|problem| problem.contains("more than 10000"));
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
    let known = |namespace: &str| fitting.lock().letters(namespace);
    assert!(known("crowd").1 <= OF_A_NAMESPACE && known("calm").0 == 1);
    // One workload whose annotation is another all the time, with names of things that are not there: as many as are looked for,
    // as long as may be, and longer.
    for (length, count) in [(253, 350), (4_000, 50)] {
        for n in 0..count {
            let absent: Vec<String> = (0..64).map(|m| format!("{n}-{m}-{}", "x".repeat(length - 20))).collect();
            let named = format!("a[x]{n},{}", absent.join(","));
            fits(&fitting, &options, &workload("crowd", &named), &names);
        }
        let (sets, letters, _) = known("crowd");
        assert!(sets > 1 && letters <= OF_A_NAMESPACE, "{sets} sets know {letters} letters");
    }
    assert_eq!(known("calm").0, 1, "a crowd pushed out another namespace's");
    // Who does not look while very many come begins anew.
    (0..20_000).for_each(|n| fitting.came("calm", Source::config_map(format!("new-{n}"))));
    let (sets, _, came) = known("calm");
    assert!(sets == 0 && came <= CAME_OF_A_NAMESPACE, "{sets} sets, {came} letters came");
    assert_eq!(fits(&fitting, &options, &calm, &names).len(), 1);
    assert_eq!(known("calm").2, 0, "what all have seen is not kept");
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
    // Workloads with the same expression that remember others, one after the other.
    for n in 0..20 {
        let gone: Vec<String> = (0..60).map(|m| format!("cm/x-{n}-{m}=aa")).collect();
        fits(&fitting, &options, &view(&gone.join(",")), &names);
    }
    assert!(fitting.lock().letters("ns").1 <= GONE * "x-10-10".len(), "{:?}", fitting.lock().letters("ns"));
}

/// A namespace in which names come and go, as those of runs of a workflow do.
#[test]
fn names_that_are_gone_make_room_for_those_that_come() {
    let (fitting, options, names) = (Fitting::default(), Options::default(), sources(5));
    let view = workload("ns", "web-.*|x+");
    fits(&fitting, &options, &view, &names);
    let come = |n: usize| {
        let source = Source::config_map(format!("web-run-{n}"));
        names.borrow_mut().insert(source.clone());
        fitting.came("ns", source.clone());
        source
    };
    for n in 0..2_200 {
        let source = come(n);
        assert!(fits(&fitting, &options, &view, &names).fit(&source), "{source}");
        let woken = fitting.concerned(&options, "ns", &source, vec![((), view.clone())]);
        assert_eq!(woken, [()], "{source}");
        names.borrow_mut().remove(&source);
    }
    // As many as there is room for, and more: told, until so many are gone that all are looked after.
    let all: Vec<Source> = (0..2_100).map(come).collect();
    let full = fits(&fitting, &options, &view, &names);
    assert!(full.full && all.iter().any(|source| !full.fit(source)));
    all.iter().skip(600).take(1_400).for_each(|source| _ = names.borrow_mut().remove(source));
    let left = fits(&fitting, &options, &view, &names);
    assert!(!left.full && names.borrow().iter().all(|source| left.fit(source)));
}

/// Going through all names anew takes several looks, and each goes on where the one before ended.
#[test]
fn what_begins_anew_comes_to_an_end() {
    let (fitting, options, names) = (Fitting::default(), Options::default(), sources(7_000));
    names.borrow_mut().extend((0..2_500).map(|n| Source::config_map(format!("app-{n}"))));
    let view = workload("ns", &format!("app-.*,{}", expressions(31)));
    assert!(fits(&fitting, &options, &view, &names).full);
    names.borrow_mut().retain(|source| source.name.starts_with("web") || source.name.ends_with('7'));
    let left = fits(&fitting, &options, &view, &names);
    assert_eq!((left.full, left.len()), (false, 250 + 31));
}

#[test]
fn annotations_are_read_once_for_each_version_of_a_workload() {
    let (fitting, options, names) = (Fitting::default(), Options::default(), sources(100));
    let long: Vec<String> = (0..100).map(|n| format!("{n}{}", "+".repeat(2_500))).collect();
    let view = workload("ns", &format!("web-.*,{}", long.join(",")));
    let read = options.patterns(&view);
    assert!(
        read.concern(SourceKind::ConfigMap) && !read.may_fit(&Source::config_map("7+")),
        "what is too long is kept"
    );
    fits(&fitting, &options, &view, &names);
    fitting.concerned(&options, "ns", &Source::config_map("web-7"), vec![((), view.clone())]);
    assert!(std::ptr::eq(read, options.patterns(&view)));
    // What is the same is known together, whoever has it.
    let (same, other) = (workload("ns", "web-.*"), workload("ns", "web.*"));
    assert_eq!(read.id(), options.patterns(&same).id());
    assert_ne!(read.id(), options.patterns(&other).id());
}
