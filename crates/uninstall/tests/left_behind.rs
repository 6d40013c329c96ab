//! Properties over releases that are left behind anywhere: the manager is gone at any moment, also between two writes, and the
//! way out is gone in the model of Kubernetes that the release engine's own tests use. Availability is kept at every
//! deletion of a pod, nothing stays held, no canary stays, and it comes to an end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

#[path = "../../release/tests/model/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the model is the release engine's; not all of it is of use here")]
mod model;

use model::{Cluster, Cut, PLANS, REPLICA_SETS, WEB};
use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_uninstall::{Mode, PlanFacts, Snapshot, decide, survey};

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
    let plan = cluster.list(PLANS).next().cloned();
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

/// One look of the way out; whether it is over. What was seen may be older than the writes.
fn look(cluster: &mut Cluster, mode: Mode, stale: u8) -> Result<bool, String> {
    let old = seen(cluster);
    for tick in 0..stale {
        kubernetes(cluster, tick);
    }
    let next = decide(mode, &old);
    if std::env::var("TRACE").is_ok() {
        println!("{next:?} of {:?}", survey(&old).map(|standing| standing.state));
    }
    if let Some(why) = &next.blocked {
        return Err(format!("blocked: {why}"));
    }
    for (index, write) in next.writes.iter().enumerate() {
        // A refused write is looked at again.
        if cluster.write(index, write).is_err() {
            break;
        }
    }
    Ok(next.is_over() && stale == 0)
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
    let asked_before = cluster.image().to_owned();
    for which in &story.order {
        kubernetes(&mut cluster, *which);
        look(&mut cluster, story.mode, (which >> 2) % 4)?;
    }
    let mut over = false;
    for _ in 0..400 {
        over = look(&mut cluster, story.mode, 0)?;
        let quiet = !all_of_kubernetes(&mut cluster);
        cluster.advance(1);
        if over && quiet {
            break;
        }
    }
    if !over {
        return Err(format!("it never ends: {:?}", survey(&seen(&mut cluster))));
    }
    for _ in 0..60 {
        all_of_kubernetes(&mut cluster);
        cluster.advance(1);
    }
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
}
