//! What was released past the plan while no manager ran, and was changed again before one looked.

use serde_json::json;
use trimtab_crds::{Phase, names};

use crate::model::{RELEASES, REPLICA_SETS};
use crate::world::{brief, check_end, four_with, half};

/// The manager was down, which is when a person releases past it. What it finds serves whole, so it is what a later change is
/// compared with.
#[test]
fn what_was_released_past_the_plan_while_nobody_looked_is_not_rolled_back_for_a_later_change() {
    let check = |under_way: bool, opted_out: bool| {
        let why = format!("a release was under way: {under_way}, the guard was off meanwhile: {opted_out}");
        let mut cluster = four_with(half()).stable();
        cluster.set_image("app:2");
        if under_way {
            cluster.settle().unwrap();
        }
        if opted_out {
            cluster.opt_out();
            cluster.pause(false);
        } else {
            cluster.release_by_hand();
        }
        (0..30).for_each(|_| {
            cluster.advance(1);
            cluster.rest_of_round();
        });
        cluster.edit(|deployment| deployment["metadata"]["annotations"][names::PLAN] = json!("web"));
        cluster.rest_of_round();
        assert_eq!(cluster.images().get("app:2").copied().map(|n| n >= 4), Some(true), "{why}: {:?}", cluster.images());
        cluster.set_image("app:3");
        let made = cluster.made.get("app:1").copied();
        let status = check_end(&mut cluster).unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!(status.phase, Phase::Paused, "{why}: {}", brief(&status));
        let images = [("app:2".to_owned(), 4), ("app:3".to_owned(), 4)];
        assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), images, "{why}");
        assert_eq!(cluster.made.get("app:1").copied(), made, "{why}: what was replaced came back");
        if under_way {
            let result = &cluster.get(RELEASES, "web-1").unwrap()["status"]["result"];
            assert_eq!(result, &json!("Bypassed"), "{why}");
        }
    };
    check(true, false);
    check(false, false);
    check(true, true);
    check(false, true);
}

/// It served as little as what never had a pod: it becomes stable only once it is whole.
#[test]
fn what_was_released_past_the_plan_and_hangs_is_not_stable_for_a_later_change() {
    for under_way in [true, false] {
        let mut cluster = four_with(half()).stable();
        cluster.set_image("app:hang");
        if under_way {
            (0..4).for_each(|_| _ = cluster.round());
        }
        cluster.release_by_hand();
        (0..30).for_each(|_| {
            cluster.advance(1);
            cluster.rest_of_round();
        });
        cluster.set_image("app:3");
        cluster.settle().unwrap();
        let status = cluster.status().unwrap();
        let hangs = cluster.list(REPLICA_SETS).find(|rs| rs["spec"]["template"].to_string().contains("hang"));
        let hangs = hangs.map(|rs| rs["metadata"]["name"].as_str().unwrap().to_owned());
        assert!(status.stable.as_ref().map(|stable| &stable.replica_set) != hangs.as_ref(), "{}", brief(&status));
        assert!(cluster.images().contains_key("app:1"), "{:?}", cluster.images());
    }
}
