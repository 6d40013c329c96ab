//! Pods that take their time to start, and stable ones that are broken when a change comes: the change that mends it is promoted,
//! and pods that never served say nothing against it.

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::Phase;

use crate::histories::{Event, config, happen, machine, promote_to_the_end};
use crate::model::Cluster;
use crate::world::{Setup, brief, check_end, check_faults, check_pods, four_with, half, setups};

/// `app:1` is stable, `app:0` was before it, and pods take longer to start than a dip is forgiven.
fn slow(steps: Value) -> Cluster {
    let mut cluster = four_with(steps).with_history();
    cluster.start_seconds = 10;
    cluster
}

/// Where it ends, and that all pods are of this image.
fn check(cluster: &mut Cluster, image: &str, why: &str) {
    let status = check_end(cluster).unwrap_or_else(|error| panic!("{why}: {error}"));
    assert_eq!(status.phase, Phase::Stable, "{why}: {}", brief(&status));
    check_pods(cluster, image).unwrap_or_else(|error| panic!("{why}: {error}"));
    check_faults(cluster).unwrap();
}

#[test]
fn a_broken_revision_is_left_for_one_that_works_however_slowly_that_starts() {
    // Back to what was stable before, and on to what mends it, with steps and without.
    for (image, steps) in [("app:0", half()), ("app:2", json!([])), ("app:2", json!([{"setWeight": 20}]))] {
        for flaps in [false, true] {
            let why = format!("{image} by {steps}, flaps: {flaps}");
            let mut cluster = slow(steps.clone());
            cluster.break_image("app:1");
            cluster.settle().unwrap();
            cluster.set_image(image);
            for round in 0..60 {
                match round % 8 {
                    2 if flaps => cluster.heal(),
                    5 => cluster.break_image("app:1"),
                    _ => {}
                }
                cluster.advance(1);
                cluster.round();
            }
            check(&mut cluster, image, &why);
        }
    }
}

#[test]
fn a_change_together_with_a_larger_size_waits_for_the_pods_of_that_size() {
    for steps in [json!([]), json!([{"setWeight": 20}])] {
        let mut cluster = slow(steps.clone());
        cluster.set_image("app:2");
        cluster.scale(12);
        check(&mut cluster, "app:2", &format!("{steps}"));
    }
}

#[test]
fn one_that_wakes_with_a_change_waits_for_its_pods() {
    let mut cluster = slow(json!([]));
    cluster.scale(0);
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.scale(4);
    check(&mut cluster, "app:2", "woken");
}

#[test]
fn a_second_change_can_be_rolled_where_the_first_did_not_mend_what_is_broken() {
    let mut cluster = slow(half());
    cluster.break_image("app:1");
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused);
    cluster.set_image("app:3");
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert!(status.message.contains("kubectl trimtab promote --full web"), "{}", brief(&status));
    assert_eq!(cluster.images().get("app:2"), Some(&4), "what serves stays");
    cluster.request("promote-full:1");
    check(&mut cluster, "app:3", "the second fix");
}

/// What goes on beside a release, and harms none of its own pods.
#[derive(Clone, Debug)]
enum Beside {
    Machine(Event),
    Breaks,
    Heals,
    Evicts(u8),
    ScalesUp,
}

fn beside() -> impl Strategy<Value = Beside> {
    prop_oneof![
        14 => machine().prop_map(Beside::Machine),
        2 => Just(Beside::Breaks),
        1 => Just(Beside::Heals),
        2 => any::<u8>().prop_map(Beside::Evicts),
        1 => Just(Beside::ScalesUp),
    ]
}

fn check_mended(setup: &Setup, image: &str, start_seconds: i64, events: &[Beside]) -> Result<(), String> {
    let setup = Setup { replicas: setup.replicas.max(1), ..setup.clone() };
    let mut cluster = setup.with_history();
    cluster.start_seconds = start_seconds;
    cluster.set_image(image);
    for (count, event) in events.iter().enumerate() {
        match event {
            Beside::Machine(event) => happen(&mut cluster, event, count),
            Beside::Breaks => cluster.break_image("app:1"),
            Beside::Heals => cluster.heal(),
            Beside::Evicts(which) => cluster.evict(usize::from(*which)),
            Beside::ScalesUp => {
                let replicas = cluster.replicas();
                cluster.scale(replicas + 3);
            }
        }
    }
    promote_to_the_end(&mut cluster)?;
    cluster.heal();
    let status = check_end(&mut cluster)?;
    if status.phase != Phase::Stable {
        return Err(format!("not promoted: {}", brief(&status)));
    }
    check_pods(&cluster, image)
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn a_change_that_works_is_promoted_whatever_breaks_of_the_revision_before(
        setup in setups(),
        image in prop::sample::select(vec!["app:0", "app:2"]),
        start_seconds in 0..12i64,
        events in prop::collection::vec(beside(), 0..80),
    ) {
        check_mended(&setup, image, start_seconds, &events).map_err(TestCaseError::fail)?;
    }
}
