//! The first note of a workload: what its pods can have of sources, as times and versions tell.

use super::*;

const OURS_ALL: &str = "trimtab.dev/reload";

/// A second of the first minute, and a version, if somebody watched.
type When = (u32, Option<u64>);

fn at((second, version): When) -> (String, Option<u64>) {
    (format!("2026-01-01T00:00:{second:02}Z"), version)
}

/// A Deployment that was made in second 10 at version 100 and has pods from then on, and ConfigMap `web`.
struct Case {
    watched: bool,
    optional: bool,
    made: When,
    written: When,
    pods: Vec<When>,
}

impl Case {
    fn new(made: When, written: When, pods: &[When]) -> Self {
        Self { watched: made.1.is_some(), optional: false, made, written, pods: pods.to_vec() }
    }

    fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    fn world(&self, annotations: Value) -> World {
        let world = World::new(annotations);
        let mut world = if self.optional { world.optional() } else { world };
        world.workload["metadata"]["creationTimestamp"] = at((10, None)).0.into();
        let mut births = BTreeMap::new();
        let (made, made_version) = at(self.made);
        let (written, data_version) = at(self.written);
        let map = world.sources.get_mut(&"cm/web".parse().unwrap()).unwrap();
        map["metadata"]["creationTimestamp"] = made.into();
        map["metadata"]["managedFields"][0]["time"] = written.into();
        if self.watched {
            births.insert("w".to_owned(), Birth { made: Some(100), data: Some(100) });
        }
        if let (Some(made), Some(data)) = (made_version, data_version) {
            births.insert("cm/web".to_owned(), Birth { made: Some(made), data: Some(data) });
        }
        for (second, version) in &self.pods {
            let pod = pod(*second, "a");
            if version.is_some() {
                let uid = pod["metadata"]["uid"].as_str().unwrap();
                births.insert(uid.to_owned(), Birth { made: *version, data: *version });
            }
            world.pods.push(pod);
        }
        World { births, ..world }
    }

    fn check(&self, expected: &str) {
        check(&self.world(json!({OURS_ALL: "auto"})), expected);
    }
}

#[test]
fn what_was_written_after_a_workload_was_made_and_before_its_pods_were_is_no_reason_to_restart() {
    let case = |made, written, pods: &[u32]| {
        Case::new((made, None), (written, None), &pods.iter().map(|second| (*second, None)).collect::<Vec<_>>())
    };
    case(5, 5, &[11]).check("Noting");
    case(5, 9, &[11]).check("Noting");
    case(5, 20, &[21, 22]).check("AlreadyFresh");
    case(5, 20, &[11]).check(OURS);
    case(5, 20, &[11, 21]).check(OURS);
    // One that pods cannot start without, and that came later: they started with it, unless it changed once more.
    case(20, 20, &[11]).check("Noting");
    case(15, 20, &[11]).check(OURS);
    case(15, 20, &[21]).check("AlreadyFresh");
    // One that they start without.
    case(20, 20, &[11]).optional().check(OURS);
    case(20, 20, &[21]).optional().check("AlreadyFresh");
    case(5, 5, &[11]).optional().check("Noting");
    // Within one second nobody can tell who did not watch.
    case(5, 10, &[10]).check("Noting");
    case(10, 10, &[10]).optional().check("Noting");
}

#[test]
fn within_one_second_versions_tell_what_came_first() {
    let case = |made, data, pod| Case::new((10, Some(made)), (10, Some(data)), &[(10, Some(pod))]);
    case(50, 90, 110).check("Noting");
    case(50, 120, 110).check(OURS);
    case(50, 120, 130).check("AlreadyFresh");
    // Made after the workload: pods that need it have it, unless it changed once more.
    case(105, 105, 103).check("Noting");
    case(105, 120, 103).check(OURS);
    case(105, 105, 103).optional().check(OURS);
    case(105, 105, 110).optional().check("AlreadyFresh");
    case(50, 50, 103).optional().check("Noting");
}

#[test]
fn a_change_within_the_second_in_which_its_workload_was_noted_is_told_by_versions() {
    // Noted while there were no pods yet; changed after that, with a time that is the same.
    let check = |pod_second, pod: Option<u64>, written: Option<u64>, expected: &str| {
        let case = Case::new((10, Some(50)), (10, Some(90)), &[(pod_second, pod)]);
        let mut world = case.world(json!({OURS_ALL: "auto"}));
        world.apply();
        let map = world.sources.get_mut(&"cm/web".parse().unwrap()).unwrap();
        map["data"] = json!({"a": "2"});
        world.births.insert("cm/web".to_owned(), Birth { made: Some(50), data: written });
        super::check(&world, expected);
    };
    check(10, Some(130), Some(120), "AlreadyFresh");
    check(10, Some(110), Some(120), OURS);
    // A list brought one of the two: nobody knows.
    check(10, None, Some(120), OURS);
    check(11, Some(130), None, OURS);
}

#[test]
fn a_source_whose_event_came_late_was_there_before() {
    // Seen without its source first, although that is older.
    let late = |case: &Case, annotations: Value| {
        let mut world = case.world(annotations);
        world.options.on_create = true;
        let map = world.sources.remove(&"cm/web".parse().unwrap()).unwrap();
        world.apply();
        world.sources.insert("cm/web".parse().unwrap(), map);
        world.shown()
    };
    for annotations in [json!({OURS_ALL: "auto"}), json!({AUTO: "true"})] {
        let (before, after) = ((10, Some(90)), (10, Some(120)));
        let pods = [(10, Some(110))];
        assert_eq!(late(&Case::new(before, before, &pods), annotations.clone()), "Noting");
        assert_eq!(late(&Case::new(before, before, &pods).optional(), annotations.clone()), "Noting");
        let changed = late(&Case::new(before, after, &pods), annotations.clone());
        assert!(changed.starts_with("Restarting"), "{changed}");
        let came = late(&Case::new(after, after, &pods).optional(), annotations);
        assert!(came.starts_with("Restarting"), "{came}");
    }
}

#[test]
fn a_workload_without_pods_and_runs_of_jobs_are_not_restarted_on_a_guess() {
    let changed = Case::new((5, None), (20, None), &[]);
    changed.check(OURS);
    let mut idle = changed.world(json!({OURS_ALL: "auto"}));
    idle.workload["spec"]["replicas"] = 0.into();
    check(&idle, "AlreadyFresh");
    // Its pods come yet: until they do, nobody can tell whether they have the change.
    let mut young = changed.world(json!({OURS_ALL: "auto"}));
    young.workload["status"] = json!({});
    check(&young, "Rolling");
    young.pods.push(pod(21, "a"));
    check(&young, "AlreadyFresh");
    young.pods.push(pod(11, "a"));
    check(&young, OURS);
    let mut job = changed.world(json!({AUTO: "true"}));
    job.kind = "Job";
    check(&job, "Noting");
}

#[test]
fn what_nothing_starts_without_is_not_waited_for_in_the_record() {
    let mut world = Case::new((20, None), (20, None), &[(21, None)]).world(json!({OURS_ALL: "auto"}));
    let map = world.sources.remove(&"cm/web".parse().unwrap()).unwrap();
    world.apply();
    check(&world, "UpToDate");
    world.sources.insert("cm/web".parse().unwrap(), map);
    check(&world, "Noting");
    world.apply();
    check(&world, "UpToDate");
}

/// Noted long since, with one pod; its template is changed to read ConfigMap `other`, which was written after that pod was made.
fn begins_to_read(strategy: &str) -> World {
    let mut world = World::new(json!({OURS_ALL: "auto"}));
    world.workload["metadata"]["creationTimestamp"] = at((10, None)).0.into();
    world.pods = vec![pod(11, "a")];
    world.apply();
    check(&world, "UpToDate");
    world.sources.insert("cm/other".parse().unwrap(), config_map(json!({"a": "1"}), 20));
    let reads = &mut world.workload["spec"]["template"]["spec"]["containers"][0]["envFrom"];
    reads.as_array_mut().unwrap().push(json!({"configMapRef": {"name": "other"}}));
    world.workload["spec"]["strategy"] = json!({"type": strategy});
    world.workload["metadata"]["generation"] = 2.into();
    world
}

#[test]
fn a_template_that_begins_to_read_a_source_is_not_restarted_on_top_of_its_own_rollout() {
    let mut world = begins_to_read("RollingUpdate");
    check(&world, "Rolling");
    // The status of the rollout may be seen before its pods.
    world.workload["status"]["observedGeneration"] = 2.into();
    world.workload["status"]["updatedReplicas"] = 0.into();
    check(&world, "Rolling");
    (world.workload["status"]["replicas"], world.workload["status"]["updatedReplicas"]) = (2.into(), 1.into());
    check(&world, "Rolling");
    world.pods.push(pod(30, "b"));
    check(&world, "Rolling");
    let mut over = world.clone();
    over.pods.remove(0);
    over.workload["status"]["replicas"] = 1.into();
    check(&over, "AlreadyFresh");
    over.apply();
    check(&over, "UpToDate");
    // Written once more since the new pods were made: they have it no more than the old ones.
    world.sources.insert("cm/other".parse().unwrap(), config_map(json!({"a": "2"}), 40));
    check(&world, OURS);
    world.pods.remove(0);
    (world.workload["status"]["replicas"], world.workload["status"]["availableReplicas"]) = (1.into(), 0.into());
    check(&world, OURS);
}

#[test]
fn a_template_that_begins_to_read_a_source_is_restarted_where_nothing_rolls() {
    let mut world = begins_to_read("RollingUpdate");
    world.workload["status"]["observedGeneration"] = 2.into();
    check(&world, OURS);
    let gave_up = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    (world.workload["status"]["updatedReplicas"], world.workload["status"]["conditions"]) = (0.into(), gave_up);
    check(&world, OURS);
}

/// It would keep a place that it does not take.
#[test]
fn one_that_waits_for_its_pods_has_no_place() {
    let mut waits = World::noted(json!({OURS_ALL: "auto"}));
    waits.set("cm/web", json!({"a": "2"}));
    waits.options.max_per_source = 1;
    let mut goes = waits.clone();
    goes.workload["metadata"]["name"] = json!("z");
    waits.workload["status"] = json!({});
    check(&waits, "Rolling");
    let mut board = Board::default();
    for world in [&waits, &goes] {
        board.put(world.now, &world.options, Member::seen(world.now, &world.snapshot(), true).unwrap());
    }
    assert_eq!(board.turn(goes.now, &goes.options, "deployment/z"), Turn::Go);
    // Its pods lack the change: it is in line from now on.
    waits.pods = vec![pod(1, "a")];
    board.put(waits.now, &waits.options, Member::seen(waits.now, &waits.snapshot(), true).unwrap());
    assert!(matches!(board.turn(waits.now, &waits.options, "deployment/shop"), Turn::Wait(..)));
    board.remove(goes.now, &goes.options, "deployment/z");
    assert!(board.woken("").contains("deployment/shop"));
}
