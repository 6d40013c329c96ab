//! Configuration as a part of releases: a changed ConfigMap is released like code, and taken back like code.

use serde_json::json;
use trimtab_crds::{Phase, names};

use crate::model::{CONFIG_MAPS, Cluster, RELEASES, WEB};
use crate::world::{check_end, check_faults, four_with};

/// Four pods that read `a`, pinned and stable; the plan asks a person at half.
pub fn configured() -> Cluster {
    let mut cluster = four_with(json!([])).stable();
    cluster.configure("a");
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    assert_eq!(cluster.copies(), ["a"], "the release that brought the volume pinned what it reads");
    cluster.edit_plan(|plan| {
        plan["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
    });
    cluster.settle().unwrap();
    cluster
}

/// Where it ends, and what the pods read then.
fn check(cluster: &mut Cluster, phase: Phase, configs: &[(&str, usize)]) {
    let status = check_end(cluster).unwrap();
    assert_eq!(status.phase, phase, "{}", status.message);
    let wanted: Vec<(String, usize)> = configs.iter().map(|(config, n)| ((*config).to_owned(), *n)).collect();
    assert_eq!(cluster.configs().into_iter().collect::<Vec<_>>(), wanted);
}

fn releases(cluster: &Cluster) -> Vec<(String, String)> {
    let mut all: Vec<_> = cluster
        .list(RELEASES)
        .map(|r| {
            (r["spec"]["summary"].as_str().unwrap().to_owned(), r["status"]["result"].as_str().unwrap().to_owned())
        })
        .collect();
    all.sort();
    all
}

/// A stable pod is deleted, and comes back.
fn delete_stable_pod(cluster: &mut Cluster, config: &str) {
    let uid = cluster.pods.iter().find(|pod| pod.config.as_deref() == Some(config)).unwrap().uid.clone();
    cluster.pods.retain(|pod| pod.uid != uid);
    cluster.settle().unwrap();
}

#[test]
fn a_changed_config_map_is_a_release_with_all_its_steps() {
    let mut cluster = configured();
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
    cluster.request("promote");
    check(&mut cluster, Phase::Stable, &[("b", 4)]);
    assert!(
        releases(&cluster).contains(&("config cm/web".to_owned(), "Promoted".to_owned())),
        "{:?}",
        releases(&cluster)
    );
}

#[test]
fn a_stable_pod_that_comes_back_in_a_bad_release_reads_the_old_configuration() {
    let mut cluster = configured();
    cluster.set_config("crash");
    check(&mut cluster, Phase::TakenBack, &[("a", 4)]);
    delete_stable_pod(&mut cluster, "a");
    check(&mut cluster, Phase::TakenBack, &[("a", 4)]);
    cluster.request("undo");
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    delete_stable_pod(&mut cluster, "a");
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    assert_eq!(cluster.copies(), ["a"], "what nothing names is gone");
}

#[test]
fn image_and_configuration_changed_together_are_one_release() {
    for config_first in [true, false] {
        let mut cluster = configured();
        let before = cluster.status().unwrap().sequence;
        if config_first {
            cluster.set_config("b");
            cluster.round();
            cluster.set_image("app:2");
        } else {
            cluster.set_image("app:2");
            cluster.round();
            cluster.set_config("b");
        }
        check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
        assert_eq!(cluster.status().unwrap().sequence, before + 1);
        assert_eq!(cluster.made["app:2"], 4, "no pod of a half change was made");
        cluster.request("promote");
        check(&mut cluster, Phase::Stable, &[("b", 4)]);
    }
}

#[test]
fn a_second_change_replaces_the_canary() {
    let mut cluster = configured();
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
    cluster.set_config("c");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("c", 4)]);
    assert!(releases(&cluster).contains(&("config cm/web".to_owned(), "Superseded".to_owned())));
}

#[test]
fn changing_it_back_ends_the_release() {
    let mut cluster = configured();
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
    cluster.set_config("a");
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    assert!(releases(&cluster).contains(&("config cm/web".to_owned(), "Cancelled".to_owned())));
    assert_eq!(cluster.copies(), ["a"]);
}

#[test]
fn what_was_rejected_is_tried_again_only_once_it_changes() {
    let mut cluster = configured();
    cluster.set_config("crash");
    check(&mut cluster, Phase::TakenBack, &[("a", 4)]);
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
}

#[test]
fn undo_and_rollout_undo_bring_code_and_configuration_back_together() {
    for with_kubectl in [true, false] {
        let mut cluster = configured();
        cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
        cluster.set_image("app:2");
        cluster.set_config("b");
        check(&mut cluster, Phase::Stable, &[("b", 4)]);
        if with_kubectl {
            cluster.kubectl_undo();
        } else {
            cluster.request("undo");
        }
        check(&mut cluster, Phase::Stable, &[("a", 4)]);
        assert_eq!(cluster.image(), "app:1");
        // The live object is ahead, and stays so until it changes.
        let source = cluster.status().unwrap().config.unwrap().sources[0].clone();
        assert!(source.note.unwrap().contains("ahead"), "{:?}", cluster.status());
        cluster.set_config("c");
        check(&mut cluster, Phase::Stable, &[("c", 4)]);
    }
}

#[test]
fn what_was_never_pinned_restarts_nothing_until_it_changes() {
    let mut cluster = Cluster::new();
    cluster.deploy(4, (json!(1), json!(0)), "app:1");
    cluster.configure("a");
    cluster.plan(WEB, json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}}));
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    assert_eq!(cluster.made["app:1"], 4);
    assert_eq!(condition(&mut cluster, "ConfigProtected"), "False NotAdopted");
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
    cluster.request("promote");
    check(&mut cluster, Phase::Stable, &[("b", 4)]);
    assert_eq!(condition(&mut cluster, "ConfigProtected"), "True Frozen");
}

#[test]
fn adopt_now_is_a_release_of_its_own() {
    let mut cluster = Cluster::new();
    cluster.deploy(4, (json!(1), json!(0)), "app:1");
    cluster.configure("a");
    cluster.plan(WEB, json!({"config": {"adopt": "Now"}, "strategy": {"canary": {"steps": []}}}));
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    assert_eq!(condition(&mut cluster, "ConfigProtected"), "True Frozen");
    assert_eq!(cluster.made["app:1"], 8);
}

#[test]
fn without_tracking_pods_read_what_is_live() {
    let mut cluster = Cluster::new();
    cluster.deploy(2, (json!(1), json!(0)), "app:1");
    cluster.configure("a");
    cluster.plan(WEB, json!({"config": {"track": "None"}}));
    check(&mut cluster, Phase::Stable, &[("a", 2)]);
    cluster.set_config("b");
    check(&mut cluster, Phase::Stable, &[("a", 2)]);
    assert!(cluster.copies().is_empty() && cluster.status().unwrap().config.is_none());
}

fn condition(cluster: &mut Cluster, type_: &str) -> String {
    let conditions = cluster.status().unwrap().conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == type_).unwrap();
    format!("{} {}", found.status, found.reason)
}

#[test]
fn a_key_that_pods_need_and_that_was_taken_out_blocks_before_any_pod() {
    let mut cluster = configured();
    cluster.edit_config(|map| map["data"] = json!({"other": "x"}));
    let status = check_end(&mut cluster).unwrap();
    assert_eq!((status.phase, cluster.configs()), (Phase::Blocked, [("a".to_owned(), 4)].into()), "{}", status.message);
    assert!(status.message.contains("no key \"app.conf\""), "{}", status.message);
    assert_eq!(condition(&mut cluster, "Stalled"), "True ConfigKeyMissing");
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
}

#[test]
fn a_deleted_config_map_harms_no_pod() {
    let mut cluster = configured();
    cluster.delete(CONFIG_MAPS, WEB);
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    delete_stable_pod(&mut cluster, "a");
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    cluster.set_image("app:2");
    check(&mut cluster, Phase::Paused, &[("a", 8)]);
}

#[test]
fn a_person_s_pin_stays_until_it_is_taken_off() {
    let mut cluster = configured();
    cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
    let pins = cluster.deployment().unwrap()["spec"]["template"]["metadata"]["annotations"][names::CONFIG].clone();
    cluster.set_config("b");
    check(&mut cluster, Phase::Stable, &[("b", 4)]);
    cluster.edit_plan(|plan| plan["metadata"]["annotations"] = json!({names::CONFIG_PINNED: pins}));
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    cluster.set_config("c");
    check(&mut cluster, Phase::Stable, &[("a", 4)]);
    cluster.edit_plan(|plan| plan["metadata"]["annotations"] = json!({}));
    check(&mut cluster, Phase::Stable, &[("c", 4)]);
}

#[test]
fn copies_go_when_nothing_names_them() {
    let mut cluster = configured();
    cluster.edit_plan(|plan| plan["spec"]["historyLimit"] = json!(1));
    cluster.edit(|d| d["spec"]["revisionHistoryLimit"] = json!(1));
    cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
    for config in ["b", "c", "d"] {
        cluster.set_config(config);
        check(&mut cluster, Phase::Stable, &[(config, 4)]);
    }
    assert_eq!(cluster.copies(), ["c", "d"], "one old revision is kept, with its configuration");
    cluster.delete_deployment();
    cluster.delete(crate::model::PLANS, WEB);
    cluster.settle().unwrap();
    assert!(cluster.copies().is_empty());
    check_faults(&cluster).unwrap();
}

#[test]
fn what_a_policy_refuses_reaches_no_pod_and_says_where_it_is_wrong() {
    let mut cluster = configured();
    cluster.refuse();
    cluster.set_config("refused");
    let status = check_end(&mut cluster).unwrap();
    assert_eq!((status.phase, cluster.configs()), (Phase::Blocked, [("a".to_owned(), 4)].into()), "{}", status.message);
    let says = "cm/web is refused: app.conf, line 1: it is odd (rule sane of ConfigPolicy strict)";
    assert!(status.message.starts_with(says), "{}", status.message);
    assert_eq!(condition(&mut cluster, "Stalled"), "True ConfigRefused");
    cluster.set_config("b");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
    // In mid-release it is no better: the canary that is there goes on.
    cluster.set_config("refused");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("b", 4)]);
}

#[test]
fn a_policy_is_asked_about_what_was_tried_before_it_came() {
    let mut cluster = configured();
    cluster.set_config("refused");
    check(&mut cluster, Phase::Paused, &[("a", 4), ("refused", 4)]);
    cluster.request("abort:1");
    check(&mut cluster, Phase::TakenBack, &[("a", 4)]);
    cluster.refuse();
    cluster.request("retry:2");
    check(&mut cluster, Phase::Blocked, &[("a", 4)]);
    assert_eq!(condition(&mut cluster, "Stalled"), "True ConfigRefused");
    // Nor does another image on top of it release it.
    cluster.set_image("app:2");
    check(&mut cluster, Phase::Blocked, &[("a", 4)]);
}

#[test]
fn what_is_to_be_read_live_is_pinned_no_longer() {
    let live = |cluster: &mut Cluster, config: serde_json::Value| {
        let pinned = |cluster: &Cluster| {
            let template = &cluster.deployment().unwrap()["spec"]["template"];
            template["metadata"]["annotations"][names::CONFIG].is_string()
        };
        assert!(pinned(cluster));
        cluster.edit_plan(|plan| plan["spec"]["config"] = config);
        check(cluster, Phase::Paused, &[("a", 8)]);
        assert!(!pinned(cluster), "the change of the template is held, and names no copy");
        cluster.request("promote:1");
        check(cluster, Phase::Stable, &[("a", 4)]);
    };
    let mut cluster = configured();
    live(&mut cluster, json!({"sources": [{"kind": "ConfigMap", "name": "web", "mode": "Live"}]}));
    let status = cluster.status().unwrap().config.unwrap();
    assert!(status.sources.iter().all(|source| source.pinned.is_none()), "{status:?}");
    live(&mut configured(), json!({"track": "None"}));
}

/// A template that was stable while it read something else is not what was stable.
#[test]
fn what_is_read_live_again_goes_through_the_steps() {
    let live = json!({"sources": [{"kind": "ConfigMap", "name": "web", "mode": "Live"}]});
    for config in [live, json!({"track": "None"})] {
        let mut cluster = four_with(json!([{"setWeight": 50}, {"pause": {}}])).stable();
        cluster.edit_plan(|plan| plan["spec"]["config"] = json!({"track": "None"}));
        cluster.configure("a");
        cluster.request("promote-full:1");
        check(&mut cluster, Phase::Stable, &[("a", 4)]);
        cluster.edit_plan(|plan| plan["spec"]["config"] = json!({"adopt": "Now"}));
        cluster.request("promote-full:2");
        check(&mut cluster, Phase::Stable, &[("a", 4)]);
        cluster.set_config("bad");
        cluster.request("undo:3");
        check(&mut cluster, Phase::Stable, &[("a", 4)]);
        cluster.edit_plan(|plan| plan["spec"]["config"] = config.clone());
        check(&mut cluster, Phase::Paused, &[("a", 4), ("bad", 4)]);
    }
}

/// The template names a copy.
fn pinned(cluster: &Cluster) -> bool {
    let template = &cluster.deployment().unwrap()["spec"]["template"];
    template["metadata"]["annotations"][names::CONFIG].is_string()
}

/// Somebody lets `web` be read live, and that is taken back: what is stable stays, until the next change.
#[test]
fn an_undo_of_what_is_pinned_no_longer_stays_until_the_next_change() {
    let listed = json!({"sources": [{"kind": "ConfigMap", "name": "web", "mode": "Live"}]});
    for config in [listed, json!({"track": "None"})] {
        for by in ["undo", "abort and undo", "undo once it is stable", "a late take-back"] {
            let why = format!("{by}, {config}");
            let mut cluster = configured();
            let before = cluster.list(RELEASES).count();
            if by == "a late take-back" {
                cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
                cluster.settle().unwrap();
            }
            cluster.edit_plan(|plan| plan["spec"]["config"] = config.clone());
            match by {
                "undo" => {
                    check(&mut cluster, Phase::Paused, &[("a", 8)]);
                    cluster.request("undo:1");
                }
                "abort and undo" => {
                    check(&mut cluster, Phase::Paused, &[("a", 8)]);
                    cluster.request("abort:1");
                    check(&mut cluster, Phase::TakenBack, &[("a", 4)]);
                    cluster.request("undo:2");
                }
                "undo once it is stable" => {
                    cluster.request("promote-full:1");
                    check(&mut cluster, Phase::Stable, &[("a", 4)]);
                    assert!(!pinned(&cluster), "{why}");
                    cluster.request("undo:2");
                }
                _ => {
                    // Every new pod is available, and the last stable one about to go: the stable template is written back.
                    for _ in 0..60 {
                        cluster.advance(1);
                        cluster.round();
                        if cluster.status().unwrap().message.contains("4 of 4 pods are new") {
                            break;
                        }
                    }
                    cluster.request("abort:1");
                }
            }
            check(&mut cluster, Phase::Stable, &[("a", 4)]);
            let released = cluster.list(RELEASES).count();
            for _ in 0..2 {
                cluster.advance(3_600);
                check(&mut cluster, Phase::Stable, &[("a", 4)]);
                assert!(pinned(&cluster), "{why}: what is stable is back");
                assert_eq!(cluster.list(RELEASES).count(), released, "{why}: nothing more is released");
            }
            assert!(released <= before + 2, "{why}: {:?}", releases(&cluster));
            // With the next change the plan's word counts again, and so it does where it is given anew.
            let mut copy = cluster.clone();
            copy.set_image("app:2");
            copy.request("promote-full:3");
            check(&mut copy, Phase::Stable, &[("a", 4)]);
            assert!(!pinned(&copy), "{why}: the next change");
            cluster.edit_plan(|plan| plan["spec"]["config"] = json!({}));
            check(&mut cluster, Phase::Stable, &[("a", 4)]);
            cluster.edit_plan(|plan| plan["spec"]["config"] = config.clone());
            cluster.settle().unwrap();
            assert!(!pinned(&cluster), "{why}: asked for anew");
        }
    }
}
