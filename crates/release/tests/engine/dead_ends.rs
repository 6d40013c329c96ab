//! No dead end: in every state that a history reaches, whatever was refused, failed, or changed by an admission, something
//! leads on by itself, or people read what they can do; and an abort is always heard.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;
use trimtab_crds::{Phase, ReleasePlanStatus, Stage, mark, names};
use trimtab_plan::Wake;

use crate::histories::{Event, anything, config, happen};
use crate::model::{Cluster, Cut, DEPLOYMENTS, Fate, RELEASES, REPLICA_SETS, Reconciled};
use crate::obstacles::{AUXILIARY, Obstacle, WRITES, arise, obstacle, set_strategy};
use crate::world::{Setup, brief, check_end, check_ends, check_faults, four_with, half, setups};

/// What tells people that they have to act, and how.
const ACT: [&str; 13] = [
    "promote, retry or abort",
    "kubectl ",
    "change the Deployment",
    "change it back",
    "edit the plan",
    "create it",
    "delete ",
    "set its strategy",
    "correct",
    "take the reference out",
    "has to allow it",
    "until a version runs",
    "make it change Deployments too",
];

/// In this state something leads on: a write, a question, a time, an event of the cluster, or a person who is told. Once things
/// have settled, a time at which it is only looked again leads nowhere.
pub fn check_leads_on(cluster: &Cluster, settled: bool) -> Result<(), String> {
    let mut copy = cluster.clone();
    let (now, seen) = (copy.now, copy.snapshot());
    let done = copy.act(now, &seen, Cut::No, |_, _| {});
    if done.moved() || done.status_refused || (done.wake != Wake::OnChange && !settled) || copy.rest_of_round() {
        return Ok(());
    }
    let Some(status) = copy.status() else { return check_told_without_plan(&copy, &done) };
    // What failed on the server's side is tried again by itself, with growing pauses.
    let tried_again =
        status.conditions.iter().any(|condition| ["WriteFailed", "WriteKeepsFailing"].contains(&&*condition.reason));
    if done.refused > 0 && tried_again {
        return Ok(());
    }
    let told = status.phase == Phase::Stable || ACT.iter().any(|words| status.message.contains(words));
    if told { Ok(()) } else { Err(format!("a dead end: {}", brief(&status))) }
}

fn check_told_without_plan(cluster: &Cluster, done: &Reconciled) -> Result<(), String> {
    let guarded = cluster.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty());
    let told = done.plan.notices.iter().any(|notice| ACT.iter().any(|words| notice.note.contains(words)));
    if !guarded || !cluster.held() || told || done.refused > 0 {
        return Ok(());
    }
    Err(format!("held without a plan, and nobody is told: {:?}", done.plan))
}

fn stage(status: Option<&ReleasePlanStatus>) -> Option<(String, Stage)> {
    let release = status?.release.as_ref()?;
    Some((release.name.clone(), release.stage))
}

/// A person's abort is heard here: the release is being taken back, or over. One that is being taken back already refuses it not.
/// Where there is no release it is answered.
pub fn check_abort_is_heard(cluster: &Cluster) -> Result<(), String> {
    let mut copy = cluster.clone();
    let Some((name, before)) = stage(copy.status().as_ref()) else { return check_abort_is_answered(copy) };
    copy.request("abort:probe");
    if before == Stage::TakingBack {
        let refused =
            |notice: &trimtab_plan::Notice| notice.reason == "RequestRefused" && notice.note.contains("probe");
        return match copy.reconcile().plan.notices.iter().find(|notice| refused(notice)) {
            Some(notice) if copy.deployment().is_some() => Err(format!("an abort was refused: {}", notice.note)),
            _ => Ok(()),
        };
    }
    copy.settle()?;
    match stage(copy.status().as_ref()) {
        Some((same, stage)) if same == name && stage != Stage::TakingBack => {
            Err(format!("an abort was not heard: {}", brief(&copy.status().unwrap_or_default())))
        }
        _ => Ok(()),
    }
}

fn check_abort_is_answered(mut copy: Cluster) -> Result<(), String> {
    copy.request("abort:probe");
    let last = copy.settle()?;
    let Some(status) = copy.status().filter(|_| !last.status_refused) else { return Ok(()) };
    let answered = status.handled_request.as_deref() == Some("abort:probe");
    if answered { Ok(()) } else { Err(format!("an abort is not answered: {}", brief(&status))) }
}

#[derive(Clone, Debug)]
enum Turn {
    Event(Event),
    Obstacle(Obstacle),
}

fn turns(most: usize) -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![10 => anything().prop_map(Turn::Event), 1 => obstacle().prop_map(Turn::Obstacle)];
    prop::collection::vec(turn, 0..most)
}

/// More of the same, with other histories each time: as many as `SOAK_HISTORIES` says, and a week of virtual time behind
/// each of them.
#[test]
#[ignore = "a long run, for `make soak`"]
fn soak_histories_of_a_week_end_nowhere_else_than_where_people_are_told() {
    let histories = std::env::var("SOAK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let cases = ProptestConfig { cases: histories, max_shrink_iters: 3_000, failure_persistence: None, ..config(1) };
    let cases = ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Random, ..cases };
    let week = prop::collection::vec(0..20_000u32, 60);
    let result = TestRunner::new(cases).run(&(setups(), turns(60), week), |(setup, turns, pauses)| {
        check_turns(&setup, &turns, &pauses).map_err(TestCaseError::fail)
    });
    result.unwrap_or_else(|why| panic!("{why}"));
}

/// With a pause behind each turn, in seconds of virtual time.
fn check_turns(setup: &Setup, turns: &[Turn], pauses: &[u32]) -> Result<(), String> {
    let mut cluster = setup.with_history();
    for (count, turn) in turns.iter().enumerate() {
        match turn {
            Turn::Event(event) => happen(&mut cluster, event, count),
            Turn::Obstacle(obstacle) => arise(&mut cluster, *obstacle),
        }
        if std::env::var("TRACE").is_ok() {
            println!("{turn:?}");
        }
        cluster.advance(pauses.get(count).copied().unwrap_or(0).into());
        check_leads_on(&cluster, false)?;
        check_faults(&cluster)?;
    }
    check_abort_is_heard(&cluster)?;
    cluster.settle()?;
    check_leads_on(&cluster, true)?;
    check_abort_is_heard(&cluster)?;
    // Once nothing stands in the way any more, all ends as it does without.
    cluster.allow_all();
    cluster.remove_strangers();
    cluster.heal();
    cluster.advance(300);
    check_end(&mut cluster).map(drop)
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn whatever_stands_in_the_way_something_leads_on_and_an_abort_is_heard(
        setup in setups(),
        turns in turns(60),
    ) {
        check_turns(&setup, &turns, &[]).map_err(TestCaseError::fail)?;
    }
}

// One by one.

fn message(cluster: &mut Cluster) -> String {
    cluster.status().map(|status| status.message).unwrap_or_default()
}

/// Goes through a promotion and a take-back with this refused, to where they end without.
fn check_auxiliary(kind: &'static str, verb: &'static str) {
    let mut cluster = four_with(half()).stable();
    cluster.edit_plan(|plan| plan["spec"]["historyLimit"] = json!(1));
    cluster.configure("a");
    cluster.settle().unwrap();
    cluster.request("promote-full:0");
    cluster.settle().unwrap();
    cluster.refuse_writes(kind, verb, Fate::Denied, None);
    cluster.clone_copy();
    cluster.set_image("app:2");
    cluster.set_config("b");
    cluster.settle().unwrap();
    let phase = cluster.status().unwrap().phase;
    assert_eq!(phase, Phase::Paused, "{kind} {verb}: {}", message(&mut cluster));
    cluster.request("promote:1");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Stable, "{kind} {verb}: {}", message(&mut cluster));
    cluster.set_image("app:crash");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::TakenBack, "{kind} {verb}: {}", message(&mut cluster));
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:2".to_owned(), 4)], "{kind} {verb}");
    cluster.allow_all();
    check_ends(&mut cluster, Phase::TakenBack, &[("app:2", 4)]);
    let open = cluster.list(RELEASES).filter(|release| release["status"]["finishedAt"].is_null()).count();
    assert_eq!(open, 0, "{kind} {verb}: every record is closed once that is allowed");
}

#[test]
fn no_release_and_no_take_back_waits_for_housekeeping() {
    for (kind, verb) in AUXILIARY {
        check_auxiliary(kind, verb);
    }
}

#[test]
fn a_refused_chore_is_told_with_what_is_refused_and_is_no_failure() {
    let mut cluster = four_with(half()).stable();
    cluster.edit_plan(|plan| plan["spec"]["historyLimit"] = json!(1));
    for image in ["app:2", "app:3"] {
        cluster.set_image(image);
        cluster.request(&format!("promote-full:{image}"));
        cluster.refuse_writes(RELEASES, "delete", Fate::Denied, None);
        cluster.settle().unwrap();
        cluster.request(&format!("promote-full:again-{image}"));
        cluster.settle().unwrap();
    }
    let plan = cluster.reconcile().plan;
    let [chore] = &plan.housekeeping[..] else { panic!("{:?}", plan.housekeeping) };
    assert_eq!((chore.about.kind.kind, plan.writes.len()), ("ReleasePlan", 0));
}

/// Every write of a kind refused for ever at every stage: what is said names it, and an abort is heard.
#[test]
fn a_write_that_is_refused_for_ever_is_named_and_an_abort_is_heard() {
    for (kind, verb) in WRITES {
        for rounds in 0..12 {
            let mut cluster = four_with(json!([{"setWeight": 50}, {"pause": {"duration": "5s"}}])).stable();
            cluster.set_image("app:2");
            for _ in 0..rounds {
                cluster.advance(1);
                cluster.round();
            }
            cluster.refuse_writes(kind, verb, Fate::Denied, None);
            let case = format!("{kind} {verb} after {rounds} rounds");
            check_abort_is_heard(&cluster).unwrap_or_else(|why| panic!("{case}: {why}"));
            cluster.settle().unwrap();
            check_leads_on(&cluster, true).unwrap_or_else(|why| panic!("{case}: {why}"));
            check_abort_is_heard(&cluster).unwrap_or_else(|why| panic!("{case}: {why}"));
        }
    }
}

/// Somebody else writes the same object over and over, or a precondition that an admission makes void: that passes by itself, or
/// it is told.
#[test]
fn a_write_that_conflicts_without_end_is_named_and_an_abort_is_heard() {
    // A canary whose size meets conflicts for ever is late in the end, and is taken back.
    let kinds = [(DEPLOYMENTS, "patch", "Deployment"), (REPLICA_SETS, "create", "ReplicaSet")];
    for (kind, verb, shown) in kinds {
        let mut cluster = four_with(json!([{"setWeight": 50}, {"setWeight": 100}])).stable();
        cluster.refuse_writes(kind, verb, Fate::Conflicts, None);
        cluster.set_image("app:2");
        cluster.round();
        let at_once = message(&mut cluster);
        assert!(!at_once.contains("fails again"), "a conflict is no news yet: {at_once}");
        cluster.settle().unwrap();
        let told = message(&mut cluster);
        assert!(told.contains("fails again and again") && told.contains(shown), "{kind} {verb}: {told}");
        let status = cluster.status().unwrap();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(ready.status, "False", "{kind} {verb}: a change is held and cannot begin: {}", brief(&status));
        check_leads_on(&cluster, true).unwrap_or_else(|why| panic!("{kind} {verb}: {why}"));
        cluster.request("abort:1");
        cluster.settle().unwrap();
        let status = cluster.status().unwrap();
        assert_eq!(status.handled_request.as_deref(), Some("abort:1"), "{kind} {verb}: {}", brief(&status));
        cluster.allow_all();
        cluster.advance(300);
        cluster.settle().unwrap();
        cluster.set_image("app:3");
        check_ends(&mut cluster, Phase::Stable, &[("app:3", 4)]);
    }
}

#[test]
fn a_canary_that_fails_is_taken_back_although_its_size_cannot_be_written() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"setWeight": 50}, {"pause": {}}])).stable();
    cluster.set_image("app:hang");
    cluster.settle().unwrap();
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    cluster.set_image("app:2");
    cluster.refuse_writes(REPLICA_SETS, "patch", Fate::Denied, None);
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert!(status.release.is_none(), "the canary never got a pod, and its deadline counts: {}", brief(&status));
}

#[test]
fn undo_writes_once_and_what_an_admission_makes_of_it_is_judged_like_any_change() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.adversity.marks_deployments = true;
    cluster.request("undo:1");
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert_eq!((status.undo, status.phase, cluster.image()), (None, Phase::Paused, "app:1"), "{}", status.message);
    // A later template is not overwritten with the old one, and an abort is heard.
    cluster.set_image("app:3");
    cluster.settle().unwrap();
    assert_eq!(cluster.image(), "app:3");
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused, "{}", message(&mut cluster));
    cluster.request("abort:2");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
}

#[test]
fn undo_that_an_admission_reverts_ends_and_the_canary_is_still_judged() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.adversity.forces_image = Some("app:2");
    cluster.request("undo:1");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().undo, None);
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused, "{}", message(&mut cluster));
    cluster.request("abort:2");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
}

#[test]
fn undo_is_not_lost_on_reads_that_fail() {
    for fails in 1..4 {
        let mut setup = four_with(json!([]));
        setup.history = 0;
        let mut cluster = setup.stable();
        cluster.set_image("app:2");
        cluster.settle().unwrap();
        cluster.adversity.failing_reads = fails;
        cluster.request("undo:1");
        check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    }
}

#[test]
fn undo_does_not_overwrite_a_change_that_came_while_its_template_was_read() {
    let mut setup = four_with(json!([]));
    setup.history = 0;
    let mut cluster = setup.stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.adversity.failing_reads = 1_000_000;
    cluster.request("undo:1");
    for _ in 0..30 {
        cluster.advance(1);
        cluster.round();
    }
    assert!(cluster.status().unwrap().undo.is_some());
    cluster.set_image("app:3");
    cluster.advance(1);
    cluster.round();
    cluster.adversity.failing_reads = 0;
    check_ends(&mut cluster, Phase::Stable, &[("app:3", 4)]);
}

/// The strategy becomes `Recreate` after so many rounds of a release.
#[test]
fn a_strategy_that_becomes_recreate_in_mid_release_leaves_no_canary() {
    for rounds in 0..16 {
        let mut cluster = four_with(json!([{"setWeight": 50}, {"pause": {"duration": "3s"}}])).stable();
        cluster.set_image("app:2");
        for _ in 0..rounds {
            cluster.advance(1);
            cluster.round();
        }
        set_strategy(&mut cluster, "Recreate");
        cluster.settle().unwrap();
        let status = cluster.status().unwrap();
        assert_eq!(cluster.canaries(), [""; 0], "after {rounds} rounds: {}", brief(&status));
        assert!(status.release.is_none(), "after {rounds} rounds: {}", brief(&status));
        assert_eq!(cluster.images().len(), 1, "after {rounds} rounds: {:?}", cluster.images());
        check_leads_on(&cluster, true).unwrap();
        set_strategy(&mut cluster, "RollingUpdate");
        check_end(&mut cluster).unwrap();
    }
}

#[test]
fn an_abort_is_heard_by_a_plan_that_is_not_wholly_understood() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.edit_plan(|plan| plan["spec"]["traffic"] = json!({"httpRoute": {"name": "web"}}));
    cluster.request("abort:1");
    cluster.settle().unwrap();
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:1".to_owned(), 4)]);
    cluster.edit_plan(|plan| _ = plan["spec"].as_object_mut().unwrap().remove("traffic"));
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
}

/// What is being taken back goes on its way, whatever the plan asks of later releases: that is no new judgement.
#[test]
fn a_take_back_comes_to_its_end_by_a_plan_that_is_not_wholly_understood() {
    for (image, aborted) in [("app:crash", false), ("app:crash", true), ("app:3", false), ("app:1", false)] {
        for rounds in 0..8 {
            let mut cluster = four_with(half()).stable();
            cluster.set_image("app:2");
            cluster.settle().unwrap();
            cluster.set_image(image);
            for _ in 0..rounds {
                cluster.advance(1);
                cluster.round();
            }
            cluster.edit_plan(|plan| plan["spec"]["traffic"] = json!({"httpRoute": {"name": "web"}}));
            if aborted {
                cluster.request("abort:1");
            }
            check_abort_is_heard(&cluster).unwrap();
            cluster.settle().unwrap();
            let status = cluster.status().unwrap();
            let ended = status.release.as_ref().is_none_or(|release| release.stage != Stage::TakingBack);
            assert!(ended, "{image} after {rounds} rounds: {}", brief(&status));
            assert_eq!(cluster.images().get("app:1"), Some(&4), "{image} after {rounds} rounds");
        }
    }
}

#[test]
fn an_owner_that_somebody_adds_to_a_replica_set_stops_nothing() {
    for rounds in 0..16 {
        for aborted in [false, true] {
            let case = format!("after {rounds} rounds, aborted: {aborted}");
            let mut cluster = four_with(json!([{"setWeight": 50}, {"pause": {"duration": "3s"}}])).stable();
            cluster.set_image("app:2");
            for _ in 0..rounds {
                cluster.advance(1);
                cluster.round();
            }
            cluster.add_owner_first();
            if aborted {
                cluster.request("abort:1");
            }
            let status = check_end(&mut cluster).unwrap_or_else(|why| panic!("{case}: {why}"));
            let promoted = !aborted || status.phase == Phase::Stable;
            let images = cluster.images();
            assert_eq!(images.len(), 1, "{case}: {images:?}, {}", brief(&status));
            assert!(promoted || status.phase == Phase::TakenBack, "{case}: {}", brief(&status));
        }
    }
}

#[test]
fn where_no_pod_of_stable_is_left_people_are_told_what_brings_one_back() {
    for aborted in [false, true] {
        for (request, image) in [("undo:2", "app:1"), ("promote-full:2", "app:2")] {
            let mut cluster = four_with(half()).stable();
            cluster.set_image("app:2");
            cluster.settle().unwrap();
            if aborted {
                cluster.request("abort:1");
                cluster.settle().unwrap();
            }
            cluster.delete_stable();
            cluster.settle().unwrap();
            let status = cluster.status().unwrap();
            let told = ["kubectl trimtab undo web", "kubectl trimtab promote --full web"];
            assert!(told.iter().all(|words| status.message.contains(words)), "{}", brief(&status));
            assert_eq!(status.phase, Phase::Blocked);
            check_leads_on(&cluster, true).unwrap();
            cluster.request(request);
            check_ends(&mut cluster, Phase::Stable, &[(image, 4)]);
        }
    }
}

/// Stable pods cannot come back, so the canary that is to go is all that serves: a release of `app:2` at the side, and the
/// pods of stable are new and hang.
fn stalled() -> Cluster {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.watch.floor = 0;
    for which in 0..2 {
        let uid = cluster.pods[which].uid.clone();
        if let Some(pod) = cluster.pods.iter_mut().find(|pod| pod.uid == uid) {
            (pod.sick, pod.ready_since) = (true, None);
        }
    }
    cluster.advance(1);
    cluster.round();
    cluster.request("abort:1");
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert_eq!(status.phase, Phase::Blocked, "{}", brief(&status));
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "TakeBackStalled"));
    assert!(status.message.contains("kubectl trimtab promote web"), "{}", status.message);
    cluster
}

#[test]
fn a_take_back_that_gets_nowhere_is_told_after_its_deadline_and_goes_on_by_itself() {
    let mut cluster = stalled();
    assert_eq!(cluster.images()["app:2"], 2, "what serves stays until stable is back");
    cluster.heal();
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
}

#[test]
fn a_person_can_keep_the_new_revision_when_its_take_back_gets_nowhere() {
    for (request, phase) in
        [("promote:2", Phase::Stable), ("promote-full:2", Phase::Stable), ("retry:2", Phase::Paused)]
    {
        let mut cluster = stalled();
        cluster.request(request);
        cluster.settle().unwrap();
        assert_eq!(cluster.status().unwrap().phase, phase, "{request}: {}", message(&mut cluster));
    }
}

#[test]
fn an_undo_of_a_take_back_that_gets_nowhere_is_kept_until_it_is_over() {
    let mut cluster = stalled();
    cluster.request("undo:2");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().handled_request.as_deref(), Some("undo:2"));
    cluster.heal();
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    assert_eq!(cluster.image(), "app:1");
    assert!(cluster.annotation(names::HELD).is_some_and(mark::is_released), "{:?}", cluster.annotation(names::HELD));
}

#[test]
fn the_later_word_counts_where_a_take_back_gets_nowhere() {
    let mut cluster = stalled();
    cluster.request("undo:2");
    cluster.settle().unwrap();
    cluster.request("retry:3");
    cluster.settle().unwrap();
    let status = cluster.status().unwrap();
    assert_eq!(
        (status.phase, cluster.image(), status.undo.as_ref()),
        (Phase::Paused, "app:2", None),
        "{}",
        brief(&status)
    );
}

#[test]
fn what_a_person_released_past_the_plan_can_be_aborted() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:hang");
    cluster.release_by_hand();
    cluster.settle().unwrap();
    check_leads_on(&cluster, true).unwrap();
    cluster.request("abort:1");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
}
