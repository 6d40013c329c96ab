//! Properties over random histories: whatever happens in whatever order, availability, stable pods and canary pods are
//! kept, and things come to an end that is explained.

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::json;
use trimtab_crds::{Phase, names};

use crate::model::{Cluster, Cut, WEB};
use crate::world::{Setup, brief, check_end, check_faults, check_lasting, check_pods, setups, steps};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    Reconcile,
    /// A reconcile that acts on what it saw before this many other things happened, some of them between its writes.
    Stale(u8),
    /// A reconcile whose process dies after some writes, or whose write fails.
    Dies(u8, bool),
    Deployment,
    ReplicaSet(u8),
    Pods,
    Garbage,
    Wait(u8),
    Person(Person),
}

/// What people and bad luck do.
#[derive(Clone, Debug)]
pub enum Person {
    Image(u8),
    Scale(i32),
    Request(&'static str),
    ByHand,
    Pause(bool),
    KubectlUndo,
    KubectlRestart,
    Sicken(u8),
    Evict(u8),
    /// No pod of this image passes its probe any more.
    Break(u8),
    /// From now on pods take so many seconds to start.
    Slow(u8),
    Heal,
    EditSteps(serde_json::Value),
    DeletePlan,
    MakePlanAgain(u8),
    DeleteCanary,
    DeleteStable,
    CreatePlan,
    DeleteDeployment,
    CreateDeployment,
    DropAnnotations,
    OnFailurePause,
    OptOut,
    OptIn,
    SecondPlan,
}

pub fn machine() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Reconcile),
        2 => (0..4u8).prop_map(Event::Stale),
        1 => (0..4u8, any::<bool>()).prop_map(|(n, fails)| Event::Dies(n, fails)),
        4 => Just(Event::Deployment),
        5 => (0..4u8).prop_map(Event::ReplicaSet),
        4 => Just(Event::Pods),
        1 => Just(Event::Garbage),
        2 => (0..40u8).prop_map(Event::Wait),
    ]
}

fn person() -> impl Strategy<Value = Person> {
    prop_oneof![
        6 => (0..6u8).prop_map(Person::Image),
        2 => (0..8i32).prop_map(Person::Scale),
        6 => prop::sample::select(trimtab_release::REQUESTS.to_vec()).prop_map(Person::Request),
        1 => Just(Person::ByHand),
        1 => any::<bool>().prop_map(Person::Pause),
        1 => Just(Person::KubectlUndo),
        1 => Just(Person::KubectlRestart),
        2 => any::<u8>().prop_map(Person::Sicken),
        2 => any::<u8>().prop_map(Person::Evict),
        1 => (0..6u8).prop_map(Person::Break),
        1 => (0..12u8).prop_map(Person::Slow),
        2 => Just(Person::Heal),
        1 => steps().prop_map(Person::EditSteps),
        1 => Just(Person::DeletePlan),
        2 => (0..4u8).prop_map(Person::MakePlanAgain),
        1 => Just(Person::DeleteCanary),
        1 => Just(Person::DeleteStable),
        1 => Just(Person::CreatePlan),
        1 => Just(Person::DeleteDeployment),
        2 => Just(Person::CreateDeployment),
        1 => Just(Person::DropAnnotations),
        1 => Just(Person::OnFailurePause),
        1 => Just(Person::OptOut),
        1 => Just(Person::OptIn),
        1 => Just(Person::SecondPlan),
    ]
}

pub fn anything() -> impl Strategy<Value = Event> {
    prop_oneof![6 => machine(), 1 => person().prop_map(Event::Person)]
}

pub fn happen(cluster: &mut Cluster, event: &Event, count: usize) {
    match event {
        Event::Reconcile => drop(cluster.reconcile()),
        Event::Stale(ticks) => stale(cluster, *ticks),
        Event::Dies(n, fails) => {
            let (now, seen) = (cluster.now, cluster.snapshot());
            let cut = if *fails { Cut::Fails(usize::from(*n)) } else { Cut::After(usize::from(*n)) };
            cluster.act(now, &seen, cut, |_, _| {});
        }
        Event::Deployment => drop(cluster.tick_deployment()),
        Event::ReplicaSet(which) => one_set(cluster, *which),
        Event::Pods => drop(cluster.tick_pods()),
        Event::Garbage => drop(cluster.tick_garbage()),
        Event::Wait(seconds) => cluster.advance(i64::from(*seconds)),
        Event::Person(person) => act(cluster, person, count),
    }
    cluster.raise_floor();
    if std::env::var("TRACE").is_ok() {
        println!(
            "{event:?}: floor {}, {:?}, {:?}",
            cluster.watch.floor,
            cluster.images(),
            crate::world::sizes(cluster)
        );
    }
}

fn one_set(cluster: &mut Cluster, which: u8) {
    let names: Vec<String> = cluster.replica_set_views().iter().map(|rs| rs.metadata.name.clone()).collect();
    if let Some(name) = names.get(usize::from(which) % names.len().max(1)) {
        cluster.tick_replica_set(name);
    }
}

fn stale(cluster: &mut Cluster, ticks: u8) {
    let (now, seen) = (cluster.now, cluster.snapshot());
    for tick in 0..ticks {
        one_set(cluster, tick);
        cluster.tick_deployment();
        cluster.tick_pods();
    }
    cluster.act(now, &seen, Cut::No, |cluster, index| match (index + usize::from(ticks)) % 4 {
        0 => drop(cluster.tick_deployment()),
        1 => drop(cluster.tick_replica_sets()),
        2 => drop(cluster.tick_pods()),
        _ => {}
    });
}

fn act(cluster: &mut Cluster, person: &Person, count: usize) {
    const IMAGES: [&str; 6] = ["app:1", "app:2", "app:3", "app:crash", "app:hang", "app:0"];
    match person {
        Person::Image(which) => cluster.set_image(IMAGES[usize::from(*which)]),
        Person::Scale(replicas) => cluster.scale(*replicas),
        Person::Request(verb) => cluster.request(&format!("{verb}:{count}")),
        Person::ByHand => cluster.release_by_hand(),
        Person::Pause(paused) => cluster.pause(*paused),
        Person::KubectlUndo => cluster.kubectl_undo(),
        Person::KubectlRestart => cluster.restart(&count.to_string()),
        Person::Sicken(which) => cluster.sicken(usize::from(*which)),
        Person::Evict(which) => cluster.evict(usize::from(*which)),
        Person::Break(which) => cluster.break_image(IMAGES[usize::from(*which)]),
        Person::Slow(seconds) => cluster.start_seconds = i64::from(*seconds),
        Person::Heal => cluster.heal(),
        Person::EditSteps(steps) => {
            if let Err(why) = crate::edits::check_edit(cluster, steps) {
                cluster.fault(why);
            }
            let steps = steps.clone();
            cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = steps);
        }
        Person::DeletePlan => {
            if let Some(name) = cluster.plan_name() {
                cluster.delete(crate::model::PLANS, &name);
            }
        }
        Person::MakePlanAgain(rounds) => {
            cluster.make_plan_again(*rounds);
            if let Err(why) = crate::made_again::check_made_again(cluster) {
                cluster.fault(why);
            }
        }
        Person::DeleteCanary => {
            cluster.canaries().iter().for_each(|name| cluster.delete(crate::model::REPLICA_SETS, name))
        }
        Person::DeleteStable => cluster.delete_stable(),
        Person::CreatePlan if cluster.plan_name().is_none() => {
            // One of this name may be another workload's by now.
            let name = if cluster.get(crate::model::PLANS, WEB).is_none() { WEB } else { "again" };
            cluster.plan(name, json!({"strategy": {"canary": {"steps": [{"setWeight": 30}]}}}));
        }
        Person::CreatePlan => {}
        Person::DeleteDeployment => cluster.delete_deployment(),
        Person::CreateDeployment => {
            cluster.tick_garbage();
            cluster.tick_garbage();
            cluster.deploy(3, (json!(1), json!(0)), "app:1");
        }
        Person::DropAnnotations => cluster.edit(|d| d["metadata"]["annotations"] = json!({"team": "shop"})),
        Person::OptOut => cluster.opt_out(),
        Person::OptIn => cluster.edit(|d| d["metadata"]["annotations"][names::PLAN] = json!(WEB)),
        Person::SecondPlan => cluster.plan("zweiter", json!({})),
        Person::OnFailurePause => cluster.edit_plan(|plan| plan["spec"]["onFailure"] = json!("Pause")),
    }
}

fn check_chaos(setup: &Setup, events: &[Event]) -> Result<(), String> {
    let mut cluster = setup.with_history();
    for (count, event) in events.iter().enumerate() {
        happen(&mut cluster, event, count);
        check_faults(&cluster)?;
    }
    // Whoever waits while pods are broken is not left waiting either.
    cluster.settle()?;
    if let Some(status) = cluster.status() {
        check_lasting(&cluster, &status)?;
    }
    cluster.heal();
    check_end(&mut cluster).map(drop)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn whatever_happens_availability_is_kept_and_things_settle(
        setup in setups(),
        events in prop::collection::vec(anything(), 0..80),
    ) {
        check_chaos(&setup, &events).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn a_good_change_is_promoted_without_a_second_restart_in_any_order_of_events(
        setup in setups(),
        events in prop::collection::vec(machine(), 0..80),
    ) {
        check_promotion(&setup, &events).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_rejected_revision_leaves_every_stable_pod_untouched(
        setup in setups(),
        image in prop::sample::select(vec!["app:crash", "app:hang"]),
        events in prop::collection::vec(machine(), 0..60),
    ) {
        check_rejection(&setup, image, &events).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn an_abort_at_any_moment_ends_with_the_stable_revision_or_the_promoted_one(
        setup in setups(),
        before in prop::collection::vec(machine(), 0..80),
        after in prop::collection::vec(machine(), 0..40),
        how in 0..3u8,
    ) {
        check_abort(&setup, &before, &after, how).map_err(TestCaseError::fail)?;
    }
}

/// This many cases, always the same ones; others, and as many as it says, with `PROPTEST_CASES`. Failures become named
/// tests, not files of seeds.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(20_260_101) };
    let cases = asked.unwrap_or(cases);
    ProptestConfig { cases, rng_seed, max_shrink_iters: 3_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// People promote where they are asked.
pub fn promote_to_the_end(cluster: &mut Cluster) -> Result<(), String> {
    for count in 0..10 {
        cluster.settle()?;
        if cluster.status().unwrap().phase != Phase::Paused {
            return Ok(());
        }
        cluster.request(&format!("promote:{count}"));
    }
    Err("asks for ever".to_owned())
}

fn largest_canary(cluster: &mut Cluster) -> usize {
    let status = cluster.status();
    let canary = status.and_then(|s| s.release).and_then(|r| r.canary);
    canary.map_or(0, |c| usize::try_from(c.replicas).unwrap())
}

fn check_promotion(setup: &Setup, events: &[Event]) -> Result<(), String> {
    let mut cluster = setup.stable();
    cluster.set_image("app:2");
    cluster.watch.peak = cluster.pods.len();
    let mut largest = 0;
    for (count, event) in events.iter().enumerate() {
        happen(&mut cluster, event, count);
        largest = largest.max(largest_canary(&mut cluster));
    }
    let n = usize::try_from(setup.replicas).unwrap();
    promote_to_the_end(&mut cluster)?;
    check_faults(&cluster)?;
    let status = check_end(&mut cluster)?;
    if status.phase != Phase::Stable {
        return Err(format!("not promoted: {}", brief(&status)));
    }
    check_pods(&cluster, "app:2")?;
    // Where the steps ask for fewer pods than before, some are made again.
    if !shrinks(&setup.steps, setup.replicas) && cluster.made.get("app:2").copied().unwrap_or(0) != n {
        return Err(format!("{} pods were made for {n}", cluster.made["app:2"]));
    }
    let surge = usize::try_from(surge(&cluster)).unwrap();
    let canary = largest_asked(&setup.steps, setup.replicas).max(largest);
    let most = n + canary.max(surge);
    if cluster.watch.peak > most {
        return Err(format!("{} pods at once, {most} were promised", cluster.watch.peak));
    }
    Ok(())
}

fn shrinks(steps: &serde_json::Value, _replicas: i32) -> bool {
    steps.to_string().contains("matchTrafficWeight")
}

/// The largest canary that the steps ask for.
fn largest_asked(steps: &serde_json::Value, replicas: i32) -> usize {
    let asked = steps.as_array().unwrap().iter().map(|step| {
        if let Some(weight) = step["setWeight"].as_i64().filter(|w| *w < 100) {
            return trimtab_release::canary_replicas(replicas, i32::try_from(weight).unwrap());
        }
        let scale = &step["setCanaryScale"];
        let by_replicas = scale["replicas"].as_i64().map_or(0, |n| i32::try_from(n).unwrap());
        let by_weight = scale["weight"].as_i64().map_or(0, |w| trimtab_release::percent_up(replicas, w as i32));
        by_replicas.max(by_weight).max(1).min(replicas)
    });
    usize::try_from(asked.max().unwrap_or(0)).unwrap()
}

fn surge(cluster: &Cluster) -> i32 {
    let spec = &cluster.deployment().unwrap()["spec"];
    let rolling = &spec["strategy"]["rollingUpdate"];
    trimtab_release::limits(cluster.replicas(), &rolling["maxSurge"], &rolling["maxUnavailable"]).0
}

fn check_rejection(setup: &Setup, image: &str, events: &[Event]) -> Result<(), String> {
    let mut cluster = setup.stable();
    let stable: Vec<String> = cluster.pods.iter().map(|pod| pod.uid.clone()).collect();
    cluster.set_image(image);
    for (count, event) in events.iter().enumerate() {
        happen(&mut cluster, event, count);
    }
    cluster.settle()?;
    check_faults(&cluster)?;
    let status = check_end(&mut cluster)?;
    let first = &setup.steps[0];
    let tried = setup.replicas > 0 && !first.is_null() && first["setWeight"] != json!(100);
    if status.phase != Phase::TakenBack && setup.replicas > 0 && !template_was_written_back(setup, &cluster) {
        return Err(format!("not taken back: {}", brief(&status)));
    }
    let left = stable.iter().filter(|uid| cluster.pods.iter().any(|pod| pod.uid == **uid)).count();
    if tried && (left != stable.len() || cluster.pods.len() != stable.len()) {
        return Err(format!("{left} of {} stable pods are left, {:?}", stable.len(), cluster.images()));
    }
    if setup.replicas > 0 {
        check_pods(&cluster, "app:1")?;
    }
    Ok(())
}

/// With one pod that may be unavailable and hardly any history, the stable ReplicaSet is gone before the new pod fails: then the only way back
/// is the template.
fn template_was_written_back(setup: &Setup, cluster: &Cluster) -> bool {
    setup.history <= 1 && setup.replicas == 1 && matches!(cluster.image(), "app:1" | "app:2")
}

fn check_abort(setup: &Setup, before: &[Event], after: &[Event], how: u8) -> Result<(), String> {
    let mut cluster = setup.stable();
    cluster.set_image("app:2");
    for (count, event) in before.iter().enumerate() {
        happen(&mut cluster, event, count);
    }
    match how {
        0 => cluster.request("abort:1"),
        1 => cluster.set_image("app:1"),
        _ => cluster.set_image("app:crash"),
    }
    for (count, event) in after.iter().enumerate() {
        happen(&mut cluster, event, count);
    }
    check_faults(&cluster)?;
    let status = check_end(&mut cluster)?;
    let wanted = match (how, status.phase) {
        (0, Phase::TakenBack) => "app:1",
        // The request came before or after the release, and was refused; or the stable template was written back.
        (0, Phase::Stable) => cluster.image(),
        (0, Phase::Paused) => return Ok(()),
        (1, Phase::Stable) => "app:1",
        (2, Phase::TakenBack) if cluster.held() => return Ok(()),
        (2, Phase::Stable) if setup.replicas == 0 => return Ok(()),
        (2, Phase::Stable) if template_was_written_back(setup, &cluster) => cluster.image(),
        _ => return Err(format!("ends at {}", brief(&status))),
    };
    check_pods(&cluster, wanted)?;
    if cluster.annotation(names::PLAN) != Some(WEB) {
        return Err("no longer guarded".to_owned());
    }
    Ok(())
}

// Histories that ended nowhere once, found by chance and kept by name.

fn check_history(setup: &Setup, events: &[Event]) {
    check_chaos(setup, events).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_take_back_to_a_revision_that_never_ran_and_does_not_work_is_told() {
    let setup = Setup::new(0, json!(1), json!(0), json!([]));
    let events = [
        Event::Person(Person::Image(3)),
        Event::Reconcile,
        Event::Reconcile,
        Event::Deployment,
        Event::Reconcile,
        Event::Person(Person::Image(0)),
        Event::Person(Person::Scale(1)),
        Event::Dies(0, false),
        Event::Stale(0),
        Event::Person(Person::Image(1)),
    ];
    check_history(&setup, &events);
}

#[test]
fn a_plan_that_finds_what_runs_held_does_not_release_it_against_itself() {
    let mut setup = Setup::new(1, json!(1), json!(0), json!([{"setWeight": 20}]));
    setup.history = 0;
    let events = [
        Event::Person(Person::Sicken(0)),
        Event::Person(Person::KubectlRestart),
        Event::Reconcile,
        Event::Stale(1),
        Event::Person(Person::Request("undo")),
        Event::Person(Person::SecondPlan),
        Event::Reconcile,
        Event::Reconcile,
        Event::Person(Person::DeletePlan),
        Event::Reconcile,
        Event::Reconcile,
        Event::Person(Person::Image(1)),
    ];
    check_history(&setup, &events);
}

#[test]
fn a_canary_that_is_all_that_serves_goes_with_its_plan_where_a_person_deletes_that() {
    let mut setup = Setup::new(1, json!("25%"), json!("25%"), json!([{"setWeight": 20}]));
    setup.history = 0;
    let events = [
        Event::Person(Person::SecondPlan),
        Event::Person(Person::KubectlRestart),
        Event::Reconcile,
        Event::Reconcile,
        Event::Reconcile,
        Event::Person(Person::DeletePlan),
        Event::Person(Person::Sicken(0)),
        Event::Stale(2),
        Event::Garbage,
        Event::Person(Person::CreateDeployment),
    ];
    check_history(&setup, &events);
}

#[test]
fn taking_a_change_back_stops_no_other_that_somebody_lets_roll() {
    let mut setup = Setup::new(5, json!(0), json!(1), json!([{"setWeight": 20}]));
    setup.history = 0;
    let events = [
        Event::Person(Person::Image(1)),
        Event::Reconcile,
        Event::Reconcile,
        Event::Reconcile,
        Event::Person(Person::ByHand),
        Event::Person(Person::OptOut),
        Event::Stale(3),
        Event::Person(Person::Image(3)),
        Event::Stale(3),
        Event::ReplicaSet(3),
    ];
    check_history(&setup, &events);
}

#[test]
fn a_change_that_wakes_with_its_deployment_and_is_changed_back_costs_no_pod_that_serves() {
    let mut setup = Setup::new(0, json!(1), json!(0), json!([]));
    setup.history = 1;
    let events = [
        Event::Reconcile,
        Event::Person(Person::Image(5)),
        Event::Person(Person::Scale(2)),
        Event::Deployment,
        Event::Reconcile,
        Event::Deployment,
        Event::Stale(1),
        Event::Reconcile,
        Event::Person(Person::Image(0)),
        Event::Reconcile,
        Event::Reconcile,
    ];
    check_history(&setup, &events);
}
