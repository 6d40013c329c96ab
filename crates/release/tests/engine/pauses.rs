//! A person's pause (`kubectl rollout pause`) while a release is promoted or taken back: what is taken back is held, so that whoever
//! resumes the Deployment starts nothing of it.

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::Phase;

use crate::histories::{Event, config, happen, machine, promote_to_the_end};
use crate::model::{Cluster, DEPLOYMENTS, Fate, RELEASES};
use crate::world::{Setup, brief, check_end, check_faults, check_pods, four_with, setups};

/// Goes on until the plan says this.
fn until_says(cluster: &mut Cluster, part: &str) {
    for _ in 0..60 {
        if cluster.status().is_some_and(|status| status.message.contains(part)) {
            return;
        }
        cluster.advance(1);
        cluster.round();
    }
    panic!("never says {part:?}: {:?}", cluster.status());
}

/// What was taken back stays in the Deployment, held, and whoever resumes that starts no pod of it.
fn check_held(cluster: &mut Cluster, why: &str) {
    check_pause_stays(cluster.clone(), why);
    let made = cluster.made.get("app:2").copied();
    for resumed in [false, true] {
        if resumed {
            cluster.pause(false);
        }
        let status = check_end(cluster).unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!(status.phase, Phase::TakenBack, "{why}: {}", brief(&status));
        assert!(cluster.held(), "{why}");
        assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:1".to_owned(), 4)], "{why}");
        check_faults(cluster).unwrap();
    }
    assert_eq!(cluster.made.get("app:2").copied(), made, "{why}: no pod of it was made");
}

/// A take-back does not end a person's pause: the next change waits for them too.
fn check_pause_stays(mut cluster: Cluster, why: &str) {
    check_end(&mut cluster).unwrap_or_else(|error| panic!("{why}: {error}"));
    cluster.set_image("app:3");
    let status = check_end(&mut cluster).unwrap_or_else(|error| panic!("{why}: {error}"));
    assert_eq!((status.phase, cluster.made.get("app:3")), (Phase::Waiting, None), "{why}: {}", brief(&status));
    assert!(status.message.contains("kubectl rollout resume"), "{why}: {}", status.message);
    cluster.pause(false);
    promote_to_the_end(&mut cluster).unwrap();
    check_pods(&cluster, "app:3").unwrap();
}

/// `app:2` rolls, and a person pauses it there.
fn paused(steps: &Value, at: &str) -> Cluster {
    let mut cluster = four_with(steps.clone()).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, at);
    cluster.pause(true);
    cluster
}

#[test]
fn what_is_taken_back_while_a_person_has_paused_the_deployment_is_held() {
    for steps in [json!([]), json!([{"setWeight": 20}])] {
        for at in ["letting the Deployment roll", "rolling:"] {
            let why = format!("aborted at {at:?} by {steps}");
            let mut cluster = paused(&steps, at);
            cluster.request("abort:1");
            check_held(&mut cluster, &why);

            let why = format!("failed at {at:?} by {steps}");
            let mut cluster = paused(&steps, at);
            (0..3).for_each(|_| _ = cluster.rest_of_round());
            let Some(new) = cluster.pods.iter().position(|pod| pod.image == "app:2") else { continue };
            cluster.watch.floor -= 1;
            (cluster.pods[new].crashing, cluster.pods[new].ready_since) = (true, None);
            check_held(&mut cluster, &why);

            let why = format!("paused after it was aborted at {at:?} by {steps}");
            let mut cluster = paused(&steps, at);
            cluster.pause(false);
            cluster.request("abort:1");
            cluster.reconcile();
            cluster.pause(true);
            check_held(&mut cluster, &why);

            let why = format!("the hold is refused for a while, at {at:?} by {steps}");
            let mut cluster = paused(&steps, at);
            cluster.refuse_writes(DEPLOYMENTS, "patch", Fate::Fails, Some(3));
            cluster.request("abort:1");
            check_held(&mut cluster, &why);
        }
    }
}

/// Whoever asks for the abort has the Deployment roll back, which a paused one cannot.
#[test]
fn where_no_stable_pod_is_left_a_take_back_ends_a_person_s_pause() {
    let mut cluster = four_with(json!([])).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, "rolling: 4 of 4");
    cluster.pause(true);
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:2".to_owned(), 4)]);
    cluster.request("abort:1");
    let status = check_end(&mut cluster).unwrap();
    assert_eq!((status.phase, cluster.image()), (Phase::Stable, "app:1"), "{}", brief(&status));
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:1".to_owned(), 4)]);
    check_faults(&cluster).unwrap();
}

#[test]
fn one_that_falls_asleep_while_a_person_has_paused_it_stays_held() {
    let mut cluster = paused(&json!([]), "letting the Deployment roll");
    cluster.scale(0);
    let status = check_end(&mut cluster).unwrap();
    assert_eq!((status.phase, cluster.held()), (Phase::Waiting, true), "{}", brief(&status));
    cluster.pause(false);
    check_end(&mut cluster).unwrap();
    assert!(cluster.held());
}

#[test]
fn a_person_who_has_opted_out_is_not_held_by_a_take_back() {
    let mut cluster = paused(&json!([{"setWeight": 20}]), "rolling:");
    cluster.request("abort:1");
    cluster.reconcile();
    cluster.opt_out();
    check_end(&mut cluster).unwrap();
    assert!(!cluster.held(), "{:?}", cluster.status());
}

/// The promise: what the last release of a template took back is held, whatever the plan says.
fn check_promise(cluster: &mut Cluster) -> Result<(), String> {
    let digest = cluster.deployment_view().unwrap().spec.template.digest.clone();
    let of_it = cluster.list(RELEASES).filter(|release| release["spec"]["digest"] == json!(digest));
    let last = of_it.max_by_key(|release| release["spec"]["sequence"].as_i64()).cloned();
    match last.map(|release| release["status"]["result"].clone()) {
        Some(result) if result == json!("TakenBack") && !cluster.held() => {
            Err(format!("taken back and not held: {:?}", cluster.status().map(|status| brief(&status))))
        }
        _ => Ok(()),
    }
}

/// What happens before and after the moment at which the change is aborted, if it is.
#[derive(Clone, Debug)]
enum Move {
    Machine(Event),
    Pause(bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![8 => machine().prop_map(Move::Machine), 1 => any::<bool>().prop_map(Move::Pause)];
    prop::collection::vec(one, 0..30)
}

fn check(setup: &Setup, image: &str, rounds: u8, aborted: bool, parts: [&[Move]; 2]) -> Result<(), String> {
    let mut cluster = setup.stable();
    cluster.set_image(image);
    for _ in 0..rounds {
        cluster.advance(1);
        cluster.round();
    }
    cluster.pause(true);
    for (part, moves) in parts.into_iter().enumerate() {
        for (count, one) in moves.iter().enumerate() {
            match one {
                Move::Machine(event) => happen(&mut cluster, event, count),
                Move::Pause(paused) => cluster.pause(*paused),
            }
        }
        if part == 0 && aborted {
            cluster.request("abort:1");
        }
    }
    for resumed in [false, true] {
        if resumed {
            cluster.pause(false);
        }
        let status = check_end(&mut cluster)?;
        check_promise(&mut cluster)?;
        if status.message.contains("past the plan") {
            return Err(format!("nobody released it past the plan: {}", brief(&status)));
        }
    }
    let wanted = if cluster.held() { "app:1" } else { cluster.image() }.to_owned();
    check_pods(&cluster, &wanted)
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn whenever_a_person_pauses_what_is_taken_back_is_held(
        setup in setups(),
        image in prop::sample::select(vec!["app:2", "app:crash", "app:hang"]),
        rounds in 0..20u8,
        aborted in any::<bool>(),
        before in moves(),
        after in moves(),
    ) {
        check(&setup, image, rounds, aborted, [&before, &after]).map_err(TestCaseError::fail)?;
    }
}
