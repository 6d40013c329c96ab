//! Requests whenever they are made: before a release has begun as much as in its middle. None skips more than it says,
//! and none is forgotten.

use serde_json::json;
use trimtab_crds::{Phase, names};

use crate::model::{CONFIG_MAPS, Cluster, DEPLOYMENTS, Fate, PLANS, RELEASES, REPLICA_SETS, WEB};
use crate::world::{brief, check_end, check_faults, four_with};

const HALF: &str = r#"[{"setWeight": 50}, {"pause": {}}]"#;

/// `app:2` is stable, `app:1` was before it, and a plan with one step that asks a person guards it.
fn second() -> Cluster {
    four_with(serde_json::from_str(HALF).unwrap()).with_history_of("app:1", "app:2")
}

/// The same, and its pods read ConfigMap `web`, which holds `a`, is pinned, and may hold what a policy allows.
fn configured() -> Cluster {
    let mut cluster = four_with(json!([])).stable();
    cluster.configure("a");
    cluster.settle().unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.edit_plan(|plan| {
        plan["spec"]["strategy"]["canary"]["steps"] = serde_json::from_str(HALF).unwrap();
    });
    cluster.refuse();
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Stable);
    cluster
}

/// What a cluster is in when a request comes: nothing has begun yet, or it has ended.
struct Before {
    name: &'static str,
    make: fn() -> Cluster,
}

fn quiet_image(cluster: &mut Cluster) {
    cluster.set_image("app:3");
}

const BEFORE: [Before; 9] = [
    Before {
        name: "an image was changed a moment ago",
        make: || {
            let mut cluster = configured();
            quiet_image(&mut cluster);
            cluster
        },
    },
    Before {
        name: "an image waits in the quiet period",
        make: || {
            let mut cluster = configured();
            quiet_image(&mut cluster);
            cluster.reconcile();
            cluster
        },
    },
    Before {
        name: "a ConfigMap was changed a moment ago",
        make: || {
            let mut cluster = configured();
            cluster.set_config("b");
            cluster
        },
    },
    Before {
        name: "a ConfigMap waits in the quiet period",
        make: || {
            let mut cluster = configured();
            cluster.set_config("b");
            cluster.reconcile();
            cluster
        },
    },
    Before {
        name: "a ConfigMap is refused by a policy",
        make: || {
            let mut cluster = configured();
            cluster.set_config("refused");
            cluster.settle().unwrap();
            assert_eq!(cluster.status().unwrap().phase, Phase::Blocked);
            cluster
        },
    },
    Before {
        name: "a template newly reads what a policy refuses",
        make: || {
            let mut cluster = second();
            cluster.refuse();
            cluster.configure("refused");
            cluster.settle().unwrap();
            assert_eq!(cluster.status().unwrap().phase, Phase::Blocked);
            cluster
        },
    },
    Before {
        name: "a template newly reads what is not there",
        make: || {
            let mut cluster = second();
            cluster.configure("b");
            cluster.delete(CONFIG_MAPS, WEB);
            cluster.settle().unwrap();
            assert_eq!(cluster.status().unwrap().phase, Phase::Blocked);
            cluster
        },
    },
    Before {
        name: "a key that pods need was taken out",
        make: || {
            let mut cluster = configured();
            cluster.edit_config(|map| map["data"] = json!({"other": "x"}));
            cluster.settle().unwrap();
            assert_eq!(cluster.status().unwrap().phase, Phase::Blocked);
            cluster
        },
    },
    Before {
        name: "a change was taken back",
        make: || {
            let mut cluster = configured();
            cluster.set_image("app:crash");
            cluster.settle().unwrap();
            assert_eq!(cluster.status().unwrap().phase, Phase::TakenBack);
            cluster
        },
    },
];

/// What must hold while a request is answered: pods that are made from now on read revisions that were looked at, and
/// none of them was made within the quiet period.
struct Watch {
    at: jiff::Timestamp,
    before: Vec<String>,
    revisions: Vec<String>,
}

impl Watch {
    fn new(cluster: &Cluster) -> Self {
        let before = cluster.pods.iter().map(|pod| pod.uid.clone()).collect();
        let revisions = cluster.list(crate::model::REPLICA_SETS).map(|rs| rs["metadata"]["uid"].to_string()).collect();
        Self { at: cluster.now, before, revisions }
    }

    fn check(&self, cluster: &Cluster) -> Result<(), String> {
        check_faults(cluster)?;
        for pod in cluster.pods.iter().filter(|pod| !self.before.contains(&pod.uid)) {
            let rs = cluster.list(crate::model::REPLICA_SETS).find(|rs| rs["metadata"]["uid"] == json!(pod.owner));
            let Some(rs) = rs else { continue };
            let template = &rs["spec"]["template"];
            let reads = template["spec"]["volumes"].is_array();
            let pinned = template["metadata"]["annotations"][names::CONFIG].is_string();
            if reads && !pinned {
                return Err(format!("a pod of {} reads what is live", pod.image));
            }
            if pod.config.as_deref() == Some("refused") {
                return Err(format!("a pod of {} reads what a policy refuses", pod.image));
            }
            let is_new = !self.revisions.contains(&rs["metadata"]["uid"].to_string());
            if is_new && cluster.now < self.at + jiff::SignedDuration::from_secs(3) {
                return Err(format!("a pod of {} was made within the quiet period", pod.image));
            }
        }
        Ok(())
    }
}

/// One state, one request: nothing reaches a pod that must not, and the request is answered. Says where it ended.
fn check(before: &Before, verb: &str) -> Result<(Cluster, Vec<String>), String> {
    let mut cluster = (before.make)();
    let watch = Watch::new(&cluster);
    let id = format!("{verb}:1");
    cluster.request(&id);
    let mut told = vec![];
    for _ in 0..60 {
        cluster.advance(1);
        let done = cluster.reconcile();
        told.extend(done.plan.notices.into_iter().map(|notice| format!("{}: {}", notice.reason, notice.note)));
        cluster.rest_of_round();
        watch.check(&cluster)?;
    }
    check_end(&mut cluster)?;
    watch.check(&cluster)?;
    if cluster.status().unwrap().handled_request.as_deref() != Some(id.as_str()) {
        return Err(format!("not answered: {}", crate::world::brief(&cluster.status().unwrap())));
    }
    Ok((cluster, told))
}

#[test]
fn no_request_skips_pins_policies_or_the_quiet_period_and_each_is_answered() {
    let mut wrong = vec![];
    for before in &BEFORE {
        for verb in trimtab_release::REQUESTS {
            if let Err(why) = check(before, verb) {
                wrong.push(format!("{verb}, when {}: {why}", before.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a request comes to when it is made before the release has begun.
fn check_kept(verb: &str, phase: Phase, images: &[(&str, usize)]) {
    for before in &BEFORE[..2] {
        let (mut cluster, told) = check(before, verb).unwrap();
        let status = cluster.status().unwrap();
        assert_eq!(status.phase, phase, "{verb}, when {}: {}", before.name, status.message);
        let wanted: Vec<(String, usize)> = images.iter().map(|(image, n)| ((*image).to_owned(), *n)).collect();
        assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), wanted, "{verb}, when {}", before.name);
        let refused = told.iter().find(|note| note.starts_with("RequestRefused"));
        assert_eq!(refused, None, "{verb}, when {}", before.name);
    }
}

#[test]
fn a_request_that_comes_before_its_release_waits_for_it() {
    check_kept("promote", Phase::Paused, &[("app:2", 4), ("app:3", 4)]);
    check_kept("promote-full", Phase::Stable, &[("app:3", 4)]);
    check_kept("abort", Phase::TakenBack, &[("app:2", 4)]);
    check_kept("pause", Phase::Paused, &[("app:2", 4), ("app:3", 4)]);
    check_kept("resume", Phase::Paused, &[("app:2", 4), ("app:3", 4)]);
    check_kept("undo", Phase::Stable, &[("app:2", 4)]);
}

#[test]
fn a_request_that_cannot_be_carried_out_is_answered_with_what_stands_in_the_way() {
    let check_told = |which: usize, verb: &str, part: &str| {
        let before = &BEFORE[which];
        let (_, told) = check(before, verb).unwrap();
        let refused = told.iter().find(|note| note.starts_with("RequestRefused"));
        assert!(refused.is_some_and(|note| note.contains(part)), "{verb}, when {}: {told:#?}", before.name);
    };
    for verb in ["promote", "promote-full", "abort", "pause", "resume"] {
        check_told(5, verb, "is refused");
        check_told(6, verb, "cm/web");
    }
    check_told(4, "undo", "is refused");
    check_told(7, "undo", "no key");
    check_told(8, "abort", "retry");
    check_told(0, "restart", "a change is held");
}

#[test]
fn undo_of_a_change_that_did_not_become_stable_brings_back_what_is_stable_never_what_was_before() {
    for before in &BEFORE {
        let (mut cluster, _) = check(before, "undo").unwrap();
        assert_eq!(cluster.image(), "app:2", "{}", before.name);
        assert!(!cluster.held(), "{}", before.name);
        assert_eq!(cluster.images().keys().collect::<Vec<_>>(), ["app:2"], "{}: {:?}", before.name, cluster.status());
    }
}

#[test]
fn undo_with_nothing_held_goes_one_revision_back() {
    let mut cluster = second();
    cluster.request("undo:1");
    cluster.reconcile();
    let message = cluster.status().unwrap().message;
    assert!(message.contains("app:1"), "it says which: {message}");
    check_end(&mut cluster).unwrap();
    assert_eq!(cluster.image(), "app:1");
}

#[test]
fn undo_where_nothing_is_known_to_be_stable_changes_nothing() {
    let mut cluster = second();
    // In mid-rollout of something else, nothing is stable.
    cluster.edit_plan(|plan| plan["status"]["stable"] = json!(null));
    cluster.set_image("app:3");
    cluster.release_by_hand();
    cluster.rest_of_round();
    cluster.set_image("app:4");
    cluster.request("undo:1");
    cluster.settle().unwrap();
    assert_ne!(cluster.image(), "app:1");
}

#[test]
fn a_request_for_what_has_replaced_the_change_waits_until_that_has_begun() {
    let mut cluster = second();
    cluster.set_image("app:3");
    cluster.settle().unwrap();
    cluster.set_image("app:4");
    cluster.request("promote-full:1");
    let status = check_end(&mut cluster).unwrap();
    assert_eq!((status.phase, cluster.image()), (Phase::Stable, "app:4"), "{}", status.message);
    assert_eq!(cluster.get(RELEASES, "web-2").unwrap()["status"]["result"], json!("Superseded"));
}

#[test]
fn a_person_s_pause_is_not_passed_by_a_request() {
    let mut cluster = second();
    cluster.pause(true);
    cluster.set_image("app:3");
    cluster.request("promote-full:1");
    let status = check_end(&mut cluster).unwrap();
    assert_eq!(status.phase, Phase::Waiting, "{}", status.message);
    assert_eq!(status.handled_request.as_deref(), Some("promote-full:1"));
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:2".to_owned(), 4)]);
}

#[test]
fn a_request_to_a_plan_without_its_deployment_is_answered() {
    let mut cluster = Cluster::new();
    cluster.plan(WEB, json!({}));
    cluster.request("promote:1");
    cluster.reconcile();
    let status = cluster.status().unwrap();
    assert_eq!(status.handled_request, None, "the Deployment may come with the plan");
    let done = check_end(&mut cluster).unwrap();
    assert_eq!(done.handled_request.as_deref(), Some("promote:1"));
    assert!(done.conditions.iter().any(|c| (c.type_.as_str(), c.status.as_str()) == ("Stalled", "True")), "{done:?}");
}

#[test]
fn a_request_to_a_second_plan_is_answered_and_not_carried_out_when_that_takes_over() {
    let mut cluster = second();
    cluster.plan("zweiter", json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}}));
    cluster.update(PLANS, "zweiter", "alice", |plan| {
        plan["metadata"]["annotations"][names::REQUEST] = json!("promote-full:1");
    });
    cluster.set_image("app:3");
    cluster.settle().unwrap();
    assert_eq!(cluster.get(PLANS, "zweiter").unwrap()["status"]["handledRequest"], json!("promote-full:1"));
    cluster.delete(PLANS, WEB);
    assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Paused);
}

/// What is refused has no effect: once the obstacle goes, what was taken back stays so.
#[test]
fn a_request_that_is_refused_tries_nothing_again_that_was_taken_back() {
    type Change = fn(&mut Cluster);
    let obstacles: [(&str, Change); 2] = [
        ("a policy refuses it", |c| c.set_config("refused")),
        ("it lacks a key", |c| c.edit_config(|map| map["data"] = json!({"other": "x"}))),
    ];
    for (why, set) in obstacles {
        for settled in [true, false] {
            let mut cluster = configured();
            cluster.set_image("app:3");
            cluster.settle().unwrap();
            cluster.request("abort:1");
            assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::TakenBack, "{why}");
            set(&mut cluster);
            if settled {
                cluster.settle().unwrap();
            }
            cluster.request("promote-full:2");
            let told = check_end(&mut cluster).unwrap();
            assert_eq!(told.handled_request.as_deref(), Some("promote-full:2"), "{why}: {}", told.message);
            let released = cluster.list(RELEASES).count();
            cluster.set_config("a");
            let after = check_end(&mut cluster).unwrap();
            assert_eq!((after.phase, cluster.list(RELEASES).count()), (Phase::TakenBack, released), "{why}");
            // Without an obstacle it is carried out.
            cluster.request("promote-full:3");
            assert_eq!(check_end(&mut cluster).unwrap().phase, Phase::Stable, "{why}");
            assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:3".to_owned(), 4)], "{why}");
        }
    }
}

/// What an undo brings back needs none of the copies that the change would have needed.
#[test]
fn an_undo_between_releases_waits_for_no_write_of_the_configuration() {
    let mut cluster = configured();
    cluster.refuse_writes(CONFIG_MAPS, "create", Fate::Denied, None);
    cluster.set_image("app:3");
    cluster.set_config("b");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Blocked);
    cluster.request("undo:1");
    for _ in 0..10 {
        cluster.advance(1);
        cluster.round();
    }
    assert_eq!(cluster.status().unwrap().handled_request.as_deref(), Some("undo:1"), "{:?}", cluster.status());
    assert_eq!(cluster.image(), "app:2");
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:2".to_owned(), 4)]);
}

/// The manager was away while the quiet period passed, and the undo is the first that it reads.
#[test]
fn an_undo_that_comes_with_the_end_of_the_quiet_period_is_carried_out() {
    let mut cluster = configured();
    // No policy is to be asked first.
    cluster.policies.clear();
    cluster.settle().unwrap();
    let before = cluster.list(RELEASES).count();
    cluster.set_image("app:3");
    cluster.set_config("b");
    cluster.reconcile();
    cluster.advance(10);
    cluster.request("undo:1");
    for _ in 0..3 {
        cluster.advance(1);
        cluster.round();
    }
    let told = brief(&cluster.status().unwrap());
    assert_eq!(cluster.image(), "app:2", "{told}");
    cluster.settle().unwrap();
    assert_eq!(cluster.image(), "app:2");
    let of_change =
        cluster.list(RELEASES).skip(before).any(|release| release["spec"]["summary"].to_string().contains("app:3"));
    assert!(!of_change, "nothing of the change was released");
}

/// Where the writes that come before a release are refused, its release may never begin.
#[test]
fn an_abort_of_a_release_that_cannot_begin_is_answered_and_what_else_is_asked_waits() {
    for (kind, verb, words) in [
        (CONFIG_MAPS, "create", "ConfigMap"),
        (DEPLOYMENTS, "patch", "Deployment"),
        (REPLICA_SETS, "create", "ReplicaSet"),
        // Where the decision that begins the release is the one that is refused.
        (RELEASES, "create", "Release"),
    ] {
        let mut cluster = configured();
        cluster.policies.clear();
        cluster.refuse_writes(kind, verb, Fate::Denied, None);
        cluster.set_image("app:3");
        cluster.set_config("b");
        cluster.settle().unwrap();
        let waits = cluster.status().unwrap();
        assert!(waits.phase == Phase::Blocked && waits.message.contains(words), "{}", brief(&waits));
        cluster.request("promote:1");
        cluster.settle().unwrap();
        let waits = cluster.status().unwrap();
        assert!(
            waits.message.contains(words) && waits.message.contains("asked meanwhile: promote"),
            "{}",
            brief(&waits)
        );
        cluster.request("abort:2");
        let notices = cluster.reconcile().plan.notices;
        let answer = notices.iter().find(|notice| notice.reason == "RequestRefused");
        assert!(answer.is_some_and(|notice| notice.note.contains("has not begun")), "{kind}: {notices:?}");
        cluster.settle().unwrap();
        let after = cluster.status().unwrap();
        assert_eq!(after.handled_request.as_deref(), Some("abort:2"), "{kind}: {}", brief(&after));
        assert_eq!(after.phase, Phase::Blocked, "it is still told what stands in the way: {}", brief(&after));
        // Nothing was forgotten of the change.
        cluster.allow_all();
        cluster.advance(600);
        cluster.settle().unwrap();
        assert_eq!(cluster.status().unwrap().phase, Phase::Paused, "{kind}: {}", brief(&cluster.status().unwrap()));
    }
}

/// The release would begin in the very decision whose write is refused: the ReplicaSet of the history becomes its canary.
#[test]
fn an_abort_of_a_change_back_to_history_is_answered_where_its_replica_set_cannot_be_taken() {
    let mut cluster = second();
    cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
    cluster.settle().unwrap();
    let before = cluster.status().unwrap();
    cluster.refuse_writes(REPLICA_SETS, "patch", Fate::Denied, None);
    cluster.set_image("app:1");
    cluster.settle().unwrap();
    cluster.request("abort:1");
    let notices = cluster.reconcile().plan.notices;
    let begun = notices.iter().any(|notice| notice.reason == "ReleaseStarted");
    let told = notices.iter().any(|notice| notice.note.contains("begins by itself once that is allowed"));
    assert!(told && !begun, "{notices:?}");
    cluster.settle().unwrap();
    let after = cluster.status().unwrap();
    assert_eq!(after.handled_request.as_deref(), Some("abort:1"), "{}", brief(&after));
    assert_eq!((after.phase, after.release.is_none()), (Phase::Blocked, true), "{}", brief(&after));
    assert_eq!(after.sequence, before.sequence, "a release is counted that never began");
    cluster.allow_all();
    cluster.advance(600);
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused, "{}", brief(&cluster.status().unwrap()));
}
