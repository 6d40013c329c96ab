//! A process may die before and after any write: the end is the same, and no pod is made twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use trimtab_crds::Phase;

use crate::histories::config;
use crate::model::{CONFIG_MAPS, Cluster, Cut, RELEASES, WEB};
use crate::world::{Setup, check_end, four_with, setups};

/// What people do, one thing after the other, each once everything has come to rest.
#[derive(Clone, Debug)]
enum Deed {
    Image(&'static str),
    Request(&'static str),
    ByHand,
    Scale(i32),
    Config(&'static str),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => prop::sample::select(vec!["app:0", "app:1", "app:2", "app:crash", "app:hang"]).prop_map(Deed::Image),
        4 => prop::sample::select(trimtab_release::REQUESTS.to_vec()).prop_map(Deed::Request),
        1 => Just(Deed::ByHand),
        1 => (0..6i32).prop_map(Deed::Scale),
        3 => prop::sample::select(vec!["a", "b", "c"]).prop_map(Deed::Config),
    ];
    prop::collection::vec(deed, 1..5)
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        2 => Just(Cut::No),
        3 => (0..4usize).prop_map(Cut::After),
        1 => (0..4usize).prop_map(Cut::Fails),
    ];
    prop::collection::vec(cut, 1..60)
}

/// Where things end, without times and names that time makes.
#[derive(Debug, PartialEq)]
struct End {
    phase: Phase,
    image: String,
    held: bool,
    pods: BTreeMap<String, usize>,
    configs: BTreeMap<String, usize>,
    copies: Vec<String>,
    made: BTreeMap<String, usize>,
    records: Vec<(String, String)>,
    sequence: i64,
}

fn end(cluster: &mut Cluster) -> Result<End, String> {
    let status = check_end(cluster)?;
    let records = cluster
        .list(RELEASES)
        .map(|release| (release["metadata"]["name"].to_string(), release["status"]["result"].to_string()));
    // How many pods of a broken image Kubernetes tries before it is stopped is its own affair.
    let good = cluster.made.iter().filter(|(image, _)| !image.contains("crash") && !image.contains("hang"));
    Ok(End {
        phase: status.phase,
        image: cluster.image().to_owned(),
        held: cluster.held(),
        pods: cluster.images(),
        configs: cluster.configs(),
        copies: cluster.copies(),
        made: good.map(|(image, count)| (image.clone(), *count)).collect(),
        records: records.collect(),
        sequence: status.sequence,
    })
}

fn run(setup: &Setup, deeds: &[Deed], mut cut: impl FnMut() -> Cut) -> Result<End, String> {
    let mut cluster = setup.with_history();
    for (count, deed) in deeds.iter().enumerate() {
        match deed {
            Deed::Image(image) => cluster.set_image(image),
            Deed::Request(verb) => cluster.request(&format!("{verb}:{count}")),
            Deed::ByHand => cluster.release_by_hand(),
            Deed::Scale(replicas) => cluster.scale(*replicas),
            Deed::Config(value) if cluster.get(CONFIG_MAPS, WEB).is_none() => cluster.configure(value),
            Deed::Config(value) => cluster.set_config(value),
        }
        cluster.settle_with(|_| cut())?;
    }
    end(&mut cluster)
}

fn check_cuts(setup: &Setup, deeds: &[Deed], cuts: &[Cut]) -> Result<(), String> {
    let whole = run(setup, deeds, || Cut::No)?;
    let mut left = cuts.iter();
    let cut = run(setup, deeds, || left.next().copied().unwrap_or(Cut::No))?;
    if cut == whole { Ok(()) } else { Err(format!("uninterrupted: {whole:#?}\ninterrupted: {cut:#?}")) }
}

proptest! {
    #![proptest_config(config(80))]

    #[test]
    fn a_process_that_dies_between_any_two_writes_changes_nothing_in_the_end(
        setup in setups(),
        deeds in deeds(),
        cuts in cuts(),
    ) {
        check_cuts(&setup, &deeds, &cuts).map_err(TestCaseError::fail)?;
    }
}

/// Cuts the history at every reconcile, after every number of writes.
fn check_every_cut(setup: &Setup, deeds: &[Deed]) {
    let mut reconciles = 0;
    let uncut = || {
        reconciles += 1;
        Cut::No
    };
    let whole = run(setup, deeds, uncut).unwrap();
    for reconcile in 0..reconciles {
        for after in 0..3 {
            for cut in [Cut::After(after), Cut::Fails(after)] {
                let mut count = 0;
                let cut_once = || {
                    count += 1;
                    if count == reconcile + 1 { cut } else { Cut::No }
                };
                let end = run(setup, deeds, cut_once).unwrap();
                assert_eq!(end, whole, "{cut:?} in reconcile {reconcile} of {deeds:?}");
            }
        }
    }
}

#[test]
fn a_promotion_may_be_cut_anywhere() {
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": "5s"}}, {"setWeight": 50}]);
    check_every_cut(&four_with(steps), &[Deed::Image("app:2")]);
}

#[test]
fn a_rollback_to_history_may_be_cut_anywhere() {
    let mut setup = four_with(json!([{"setWeight": 50}]));
    setup.replicas = 2;
    check_every_cut(&setup, &[Deed::Image("app:2"), Deed::Image("app:0")]);
}

#[test]
fn taking_back_may_be_cut_anywhere() {
    check_every_cut(&four_with(json!([{"setWeight": 50}])), &[Deed::Image("app:crash"), Deed::Request("undo")]);
}

#[test]
fn taking_back_without_a_canary_may_be_cut_anywhere() {
    check_every_cut(&four_with(json!([])), &[Deed::Image("app:crash")]);
}

#[test]
fn a_release_of_configuration_may_be_cut_anywhere() {
    let mut setup = four_with(json!([{"setWeight": 50}]));
    setup.replicas = 2;
    check_every_cut(&setup, &[Deed::Config("a"), Deed::Config("b"), Deed::Config("crash"), Deed::Request("undo")]);
}
