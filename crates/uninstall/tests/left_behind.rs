//! Properties over releases that are left behind anywhere: the manager is gone at any moment, also between two writes, and the
//! way out is gone in the model of Kubernetes that the release engine's own tests use. Availability is kept at every
//! deletion of a pod, nothing stays held, no canary stays, and it comes to an end. Where something stands in the way, whoever
//! goes it reads what it waits for or what they have to do, and it ends once nothing does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

#[path = "../../release/tests/model/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the model is the release engine's; not all of it is of use here")]
mod model;

use model::{Cluster, Cut, DEPLOYMENTS, Fate, REPLICA_SETS, WEB};
use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_uninstall::{Mode, Next, PlanFacts, Snapshot, decide, survey};

/// A release that is left behind.
#[derive(Clone, Debug)]
struct Story {
    replicas: i32,
    limits: (Value, Value),
    steps: Value,
    image: &'static str,
    /// Whether a person aborts it, after so many rounds.
    abort: Option<u8>,
    /// Rounds of the manager before it is gone.
    rounds: u8,
    /// After so many writes of its last round.
    cut: u8,
    mode: Mode,
    /// What of Kubernetes happens between two looks of the way out, bit by bit.
    order: Vec<u8>,
}

fn stories() -> impl Strategy<Value = Story> {
    let limits = prop::sample::select(vec![
        (json!(1), json!(0)),
        (json!(0), json!(1)),
        (json!("25%"), json!("25%")),
        (json!("100%"), json!(0)),
        (json!(0), json!("50%")),
        (json!(3), json!("10%")),
    ]);
    let steps = prop::sample::select(vec![
        json!([]),
        json!([{"setWeight": 20}]),
        json!([{"setWeight": 50}, {"pause": {}}]),
        json!([{"setWeight": 20}, {"pause": {"duration": "3s"}}, {"setWeight": 50}, {"pause": {"duration": "5s"}}]),
        json!([{"setWeight": 99}, {"pause": {"duration": "3s"}}]),
    ]);
    let image = prop::sample::select(vec!["app:2", "app:2", "app:crash"]);
    let mode = prop::sample::select(vec![Mode::Resume, Mode::TakeBack]);
    let abort = prop::option::of(0..40u8);
    let order = prop::collection::vec(any::<u8>(), 1..60);
    (0..8i32, limits, steps, image, abort, 0..60u8, 0..4u8, mode, order).prop_map(
        |(replicas, limits, steps, image, abort, rounds, cut, mode, order)| Story {
            replicas,
            limits,
            steps,
            image,
            abort,
            rounds,
            cut,
            mode,
            order,
        },
    )
}

fn seen(cluster: &mut Cluster) -> Snapshot {
    let plan = cluster.plan_of_web().cloned();
    let sets = cluster.replica_set_views();
    let of_web = |rs: &trimtab_release::ReplicaSetView| {
        rs.metadata.controller().is_some_and(|o| o.is(&names::DEPLOYMENT))
            || rs.metadata.annotation(names::CANARY_OF) == Some(WEB)
    };
    Snapshot {
        namespace: model::NAMESPACE.to_owned(),
        name: WEB.to_owned(),
        deployment: cluster.deployment_view(),
        plan: plan.as_ref().and_then(PlanFacts::read),
        replica_sets: sets.into_iter().filter(|rs| of_web(rs)).collect(),
        copies: vec![],
    }
}

/// One look of the way out. What was seen may be older than the writes.
fn look(cluster: &mut Cluster, mode: Mode, stale: u8) -> Look {
    look_while(cluster, mode, stale, |_| {})
}

/// The same, while something happens between what is seen and the writes.
fn look_while(cluster: &mut Cluster, mode: Mode, stale: u8, meanwhile: impl FnOnce(&mut Cluster)) -> Look {
    let old = seen(cluster);
    meanwhile(cluster);
    for tick in 0..stale {
        kubernetes(cluster, tick);
    }
    let next = decide(mode, &old);
    if std::env::var("TRACE").is_ok() {
        println!("{next:?} of {:?}", survey(&old).map(|standing| standing.state));
    }
    let mut refused = None;
    for (index, write) in next.writes.iter().enumerate() {
        // A refused write is looked at again.
        if let Err(failure) = cluster.write(index, write) {
            refused = Some(failure.reason).filter(|reason| reason != "Precondition");
            break;
        }
    }
    Look { over: next.is_over() && stale == 0, refused, next }
}

/// What came of a look.
struct Look {
    over: bool,
    /// Why the server refused a write, other than that the object was another by then.
    refused: Option<String>,
    next: Next,
}

impl Look {
    /// Whoever goes the way out reads what is waited for, or what they have to do.
    fn is_told(&self) -> bool {
        let told = self.next.blocked.as_ref().is_some_and(|why| why.contains("kubectl "));
        told || self.refused.is_some() || self.next.waits_for.is_some() || !self.next.writes.is_empty()
    }
}

fn kubernetes(cluster: &mut Cluster, which: u8) {
    match which % 4 {
        0 => _ = cluster.tick_deployment(),
        1 => _ = cluster.tick_replica_sets(),
        2 => _ = cluster.tick_pods(),
        _ => _ = all_of_kubernetes(cluster),
    }
    cluster.advance(1);
}

/// A round of Kubernetes. The floor of availability stays: the model lets it go where nothing is guarded any more.
fn all_of_kubernetes(cluster: &mut Cluster) -> bool {
    let mut changed = cluster.tick_deployment();
    changed |= cluster.tick_replica_sets();
    changed |= cluster.tick_pods();
    changed | cluster.tick_garbage()
}

fn leave_behind(story: &Story) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.deploy(story.replicas, story.limits.clone(), "app:1");
    cluster.plan(WEB, json!({"strategy": {"canary": {"steps": story.steps}}}));
    cluster.settle().unwrap();
    cluster.set_image(story.image);
    for round in 0..story.rounds {
        if story.abort == Some(round) {
            cluster.request("abort:1");
        }
        cluster.round();
        cluster.advance(1);
    }
    let (now, last) = (cluster.now, cluster.snapshot());
    cluster.act(now, &last, Cut::After(usize::from(story.cut)), |_, _| {});
    cluster
}

fn check(story: &Story) -> Result<(), String> {
    let mut cluster = leave_behind(story);
    let asked_before = if is_taken_back(&mut cluster) { "app:1".to_owned() } else { cluster.image().to_owned() };
    for which in &story.order {
        kubernetes(&mut cluster, *which);
        if let Some(why) = look(&mut cluster, story.mode, (which >> 2) % 4).next.blocked {
            return Err(format!("blocked: {why}"));
        }
    }
    goes_out(&mut cluster, story.mode)?;
    check_free(&mut cluster, story, &asked_before)
}

/// A change that comes while what was stable is let go is found held by the next look, and goes the way that was asked for.
#[test]
fn a_change_that_comes_between_a_look_and_its_writes_is_not_left_paused() {
    for (mode, image) in [(Mode::Resume, "app:2"), (Mode::TakeBack, "app:1")] {
        let mut story = quiet(json!([{"setWeight": 50}, {"pause": {}}]), mode);
        story.image = "app:1";
        let mut cluster = leave_behind(&story);
        look_while(&mut cluster, mode, 0, |cluster| cluster.set_image("app:2"));
        goes_out(&mut cluster, mode).unwrap();
        check_free(&mut cluster, &story, image).unwrap();
        assert_eq!(cluster.image(), image, "{mode:?}");
    }
}

/// One write asked for replicas of what slept: nobody is there any more to give them.
#[test]
fn what_sleeps_and_was_to_be_woken_gets_its_replicas_and_keeps_no_mark() {
    for (mode, image) in [(Mode::Resume, "app:2"), (Mode::TakeBack, "app:1")] {
        let mut story = quiet(json!([{"setWeight": 50}, {"pause": {}}]), mode);
        story.image = "app:1";
        let mut cluster = leave_behind(&story);
        cluster.settle().unwrap();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.edit(|deployment| {
            deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
            deployment["spec"]["replicas"] = json!(4);
        });
        assert_eq!(cluster.replicas(), 0, "{mode:?}");
        goes_out(&mut cluster, mode).unwrap();
        assert_eq!((cluster.replicas(), cluster.image()), (4, image), "{mode:?}");
        check_free(&mut cluster, &story, image).unwrap();
        let marked = cluster.list(DEPLOYMENTS).chain(cluster.list(REPLICA_SETS)).find(|object| {
            object["metadata"]["annotations"].as_object().is_some_and(|all| all.contains_key(names::WAKE_TO))
        });
        assert_eq!(marked, None, "{mode:?}");
    }
}

/// Also where the last stable pod is about to go: whoever ends the manager then does not release what a person aborted.
#[test]
fn what_is_being_taken_back_when_the_manager_ends_goes_back() {
    for mode in [Mode::Resume, Mode::TakeBack] {
        for rounds in 0..40 {
            let mut story = quiet(json!([{"setWeight": 50}, {"pause": {"duration": "3s"}}]), mode);
            (story.abort, story.rounds) = (Some(rounds), rounds + 1);
            let mut cluster = leave_behind(&story);
            let asked_before = if is_taken_back(&mut cluster) { "app:1" } else { "app:2" };
            goes_out(&mut cluster, mode).unwrap();
            let case = format!("{mode:?}, aborted after {rounds} rounds");
            check_free(&mut cluster, &story, asked_before).unwrap_or_else(|why| panic!("{case}: {why}"));
        }
    }
}

/// Whether the plan's status says that what the Deployment asks for is being taken back.
fn is_taken_back(cluster: &mut Cluster) -> bool {
    let seen = seen(cluster);
    let digest = seen.deployment.as_ref().map(|deployment| deployment.spec.template.digest.clone());
    let release = seen.plan.and_then(|plan| plan.release);
    release.is_some_and(|release| release.taken_back.is_some() && Some(release.digest) == digest)
}

/// Four pods, and nothing beside the release.
fn quiet(steps: Value, mode: Mode) -> Story {
    let limits = (json!(1), json!(0));
    let (image, abort, rounds, cut, order) = ("app:2", None, 0, 0, vec![]);
    Story { replicas: 4, limits, steps, image, abort, rounds, cut, mode, order }
}

/// Goes the way out to its end, with nothing in its way.
fn goes_out(cluster: &mut Cluster, mode: Mode) -> Result<(), String> {
    let mut over = false;
    for _ in 0..400 {
        let seen = look(cluster, mode, 0);
        if let Some(why) = seen.next.blocked {
            return Err(format!("blocked: {why}"));
        }
        over = seen.over;
        let quiet = !all_of_kubernetes(cluster);
        cluster.advance(1);
        if over && quiet {
            break;
        }
    }
    if !over {
        return Err(format!("it never ends: {:?}", survey(&seen(cluster))));
    }
    for _ in 0..60 {
        all_of_kubernetes(cluster);
        cluster.advance(1);
    }
    Ok(())
}

fn check_free(cluster: &mut Cluster, story: &Story, asked_before: &str) -> Result<(), String> {
    // The plan's status says for ever that its release is at its steps: nobody is there to say more.
    cluster.watch.faults.retain(|fault| !fault.contains(" in the steps: "));
    if !cluster.watch.faults.is_empty() {
        return Err(format!("{:#?}", cluster.watch.faults));
    }
    if cluster.held() || cluster.paused() || cluster.annotation(names::PLAN).is_some() {
        return Err(format!("held: {:?}", cluster.deployment()));
    }
    if !cluster.canaries().is_empty() {
        return Err(format!("canaries are left: {:?}", cluster.canaries()));
    }
    if asked_before == "app:1" && cluster.image() != "app:1" {
        return Err("what had gone back was released".to_owned());
    }
    let revisions = cluster.list(REPLICA_SETS).count();
    if revisions > 2 {
        return Err(format!("{revisions} ReplicaSets of two revisions"));
    }
    let image = cluster.image().to_owned();
    let right = cluster.pods.iter().filter(|pod| pod.image == image).count();
    let wanted = usize::try_from(story.replicas).unwrap();
    // Pods that crash never let the Deployment come to its end: Kubernetes alone would not either.
    if !image.contains("crash") && (right != wanted || cluster.pods.len() != wanted) {
        return Err(format!("{:?} where {wanted} of {image} are asked for", cluster.images()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_release_left_behind_anywhere_goes_on_without_a_gap(story in stories()) {
        if let Err(fault) = check(&story) {
            return Err(TestCaseError::fail(fault));
        }
    }

    #[test]
    fn whatever_stands_in_the_way_out_is_told_and_it_ends_without(
        story in stories(),
        hindrances in prop::collection::vec((0..60usize, hindrances()), 1..5),
    ) {
        check_hindered(&story, &hindrances).map_err(TestCaseError::fail)?;
    }
}

/// What stands in the way out.
#[derive(Clone, Copy, Debug)]
enum Hindrance {
    /// Writes of a kind are not simply carried out, so often, or until all is allowed.
    Refuse(usize, Fate, Option<u32>),
    MarkDeployments,
    DenyPods(&'static str),
    /// The plan is deleted and what it owns stays; perhaps one of its name is made for another workload.
    OrphanPlan(bool),
    /// Somebody guards the Deployment again, once: a manager that was not ended.
    GuardAgain,
    /// A person changes the Deployment between a look and its writes.
    Edit(&'static str),
    AllowAll,
}

/// Every kind of write of the way out of a Deployment.
const WRITES: [(&str, &str); 3] = [(DEPLOYMENTS, "patch"), (REPLICA_SETS, "patch"), (REPLICA_SETS, "delete")];

fn hindrances() -> impl Strategy<Value = Hindrance> {
    let fate = prop::sample::select(vec![Fate::Denied, Fate::Fails, Fate::Lost, Fate::Conflicts]);
    prop_oneof![
        6 => (0..WRITES.len(), fate, prop::option::of(1..6u32)).prop_map(|(which, fate, times)| {
            let times = if fate == Fate::Conflicts { times.or(Some(6)) } else { times };
            Hindrance::Refuse(which, fate, times)
        }),
        1 => Just(Hindrance::MarkDeployments),
        1 => prop::sample::select(vec!["app:1", "app:2"]).prop_map(Hindrance::DenyPods),
        1 => any::<bool>().prop_map(Hindrance::OrphanPlan),
        1 => Just(Hindrance::GuardAgain),
        2 => prop::sample::select(vec!["app:1", "app:2", "app:3"]).prop_map(Hindrance::Edit),
        1 => Just(Hindrance::AllowAll),
    ]
}

fn hinder(cluster: &mut Cluster, hindrance: Hindrance) {
    match hindrance {
        Hindrance::Refuse(which, fate, times) => {
            let (kind, verb) = WRITES[which];
            cluster.refuse_writes(kind, verb, fate, times);
        }
        Hindrance::MarkDeployments => cluster.adversity.marks_deployments = true,
        Hindrance::DenyPods(image) => cluster.adversity.denies_pods_of = Some(image),
        Hindrance::OrphanPlan(for_another) => cluster.orphan_plan(for_another),
        Hindrance::GuardAgain => cluster.edit(|d| d["metadata"]["annotations"][names::PLAN] = json!(WEB)),
        Hindrance::Edit(image) => cluster.set_image(image),
        Hindrance::AllowAll => cluster.allow_all(),
    }
}

/// Whether nothing of ours holds the Deployment.
fn is_free(cluster: &Cluster) -> bool {
    let guarded = cluster.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty());
    !guarded && !cluster.held() && cluster.canaries().is_empty()
}

fn check_hindered(story: &Story, hindrances: &[(usize, Hindrance)]) -> Result<(), String> {
    let mut cluster = leave_behind(story);
    for (turn, which) in story.order.iter().enumerate() {
        let now = hindrances.iter().filter(|(at, _)| at % story.order.len() == turn).map(|(_, hindrance)| *hindrance);
        let (edits, others): (Vec<_>, Vec<_>) = now.partition(|one| matches!(one, Hindrance::Edit(_)));
        others.into_iter().for_each(|one| hinder(&mut cluster, one));
        kubernetes(&mut cluster, *which);
        let seen = look_while(&mut cluster, story.mode, (which >> 2) % 4, |cluster| {
            edits.into_iter().for_each(|one| hinder(cluster, one));
        });
        if !seen.is_told() && !is_free(&cluster) && (which >> 2) % 4 == 0 {
            return Err(format!("not free, and nothing is said: {:?}", survey(&self::seen(&mut cluster))));
        }
    }
    // However long it is waited for.
    for _ in 0..100 {
        let before = is_free(&cluster);
        let seen = look(&mut cluster, story.mode, 0);
        if !seen.is_told() && !before {
            return Err(format!("not free, and nothing is said: {:?}", survey(&self::seen(&mut cluster))));
        }
        all_of_kubernetes(&mut cluster);
        cluster.advance(1);
    }
    cluster.allow_all();
    if let Err(why) = goes_out(&mut cluster, story.mode) {
        // Without its plan nobody knows what is stable of two revisions that both have pods: a person is told what to do.
        let orphaned = hindrances.iter().any(|(_, hindrance)| matches!(hindrance, Hindrance::OrphanPlan(_)));
        return if orphaned && why.contains("is known to be stable") { Ok(()) } else { Err(why) };
    }
    if is_free(&cluster) && !cluster.paused() { Ok(()) } else { Err(format!("held: {:?}", cluster.deployment())) }
}
