//! The rules of the design, one test each: the hold (2.1), and the canary that the Deployment takes over (2.2).

use serde_json::{Value, json};
use trimtab_crds::{Phase, Stage, names, policies};
use trimtab_plan::{PatchOp, Verb, Write};

use crate::model::{Cluster, Cut, DEPLOYMENTS, PLANS, RELEASES, REPLICA_SETS, WEB};
use crate::world::{Setup, check_end, check_ends, check_faults, four_with, half, sizes};

/// Goes on, a second at a time, until something is so.
fn until(cluster: &mut Cluster, what: &str, mut so: impl FnMut(&mut Cluster) -> bool) {
    for _ in 0..200 {
        if so(cluster) {
            return;
        }
        cluster.advance(1);
        cluster.round();
    }
    panic!("never {what}: {:?}", cluster.status());
}

fn until_says(cluster: &mut Cluster, part: &str) {
    until(cluster, part, |c| c.status().is_some_and(|status| status.message.contains(part)));
}

fn until_stage(cluster: &mut Cluster, stage: Stage) {
    until(cluster, "in that stage", |c| c.status().unwrap().release.is_some_and(|r| r.stage == stage));
}

fn result(cluster: &Cluster, release: &str) -> Value {
    cluster.get(RELEASES, release).unwrap()["status"]["result"].clone()
}

fn canary(cluster: &Cluster) -> Value {
    let name = cluster.canaries().pop().unwrap_or_else(|| panic!("no canary: {:?}", sizes(cluster)));
    cluster.get(REPLICA_SETS, &name).unwrap().clone()
}

fn decided(cluster: &mut Cluster) -> Vec<Write> {
    let (now, seen) = (cluster.now, cluster.snapshot());
    trimtab_release::decide(now, &seen).writes
}

fn patches_of(writes: &[Write], plural: &str) -> Vec<Vec<PatchOp>> {
    let to = writes.iter().filter(|write| write.target.kind.plural == plural);
    to.filter_map(|write| match &write.verb {
        Verb::Patch { ops, subresource: None } => Some(ops.clone()),
        _ => None,
    })
    .collect()
}

fn uids(cluster: &Cluster, image: &str) -> Vec<String> {
    cluster.pods.iter().filter(|pod| pod.image == image).map(|pod| pod.uid.clone()).collect()
}

// 2.1: a change never starts by itself.

#[test]
fn the_model_of_the_hold_follows_the_policy_as_it_is_written() {
    let hold = policies::all().into_iter().find(|file| file.file == "policy-hold.yaml").unwrap();
    let digest = trimtab_release::template_digest(&hold.objects[0]);
    let known = "v1:cc6a802996e64b7f9d0aa069aec045f21ddc188f";
    assert_eq!(digest, known, "the policy was changed: bring tests/model/policy.rs in step, then this digest");
}

#[test]
fn the_first_creation_is_not_held_and_a_deployment_is_guarded_afterwards() {
    let mut cluster = Cluster::new();
    cluster.deploy(2, (json!(1), json!(0)), "app:1");
    cluster.plan(WEB, json!({"strategy": {"canary": {"steps": half()}}}));
    assert!(!cluster.held());
    cluster.reconcile();
    assert_eq!(cluster.annotation(names::PLAN), Some(WEB));
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 2)]);
}

#[test]
fn a_changed_template_is_held_with_the_name_of_who_changed_it_and_the_record_keeps_that() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    assert!(cluster.paused());
    assert_eq!(cluster.annotation(names::HELD), Some("by alice"));
    cluster.settle().unwrap();
    assert_eq!(cluster.get(RELEASES, "web-1").unwrap()["spec"]["by"], json!("alice"));
}

#[test]
fn a_pause_that_a_person_had_set_is_respected_until_they_resume() {
    let mut cluster = four_with(half()).stable();
    cluster.pause(true);
    cluster.set_image("app:2");
    assert_eq!(cluster.annotation(names::HELD), Some("paused, by alice"));
    check_ends(&mut cluster, Phase::Waiting, &[("app:1", 4)]);
    cluster.pause(false);
    assert_eq!(cluster.annotation(names::HELD), Some("by alice"));
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
}

#[test]
fn absence_never_releases() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.edit(|d| d["metadata"]["annotations"] = json!({}));
    assert!(cluster.held() && cluster.paused());
    assert_eq!(cluster.annotation(names::PLAN), Some(WEB));
    cluster.pause(false);
    assert!(cluster.held() && cluster.paused());
}

#[test]
fn promotion_is_one_write_of_paused_and_released() {
    let mut cluster = four_with(json!([{"setWeight": 50}])).stable();
    cluster.set_image("app:2");
    let mut seen = vec![];
    until(&mut cluster, "released", |cluster| {
        seen.extend(patches_of(&decided(cluster), DEPLOYMENTS));
        !cluster.paused()
    });
    let held = format!("/metadata/annotations/{}", PatchOp::escape(names::HELD));
    let [ops] = seen.as_slice() else { panic!("one write to the Deployment, not {seen:?}") };
    assert!(ops.contains(&PatchOp::add("/spec/paused", false)) && ops.contains(&PatchOp::add(held, names::RELEASED)));
}

#[test]
fn a_person_can_make_the_same_write_and_the_release_records_it() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.release_by_hand();
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
    assert_eq!(result(&cluster, "web-1"), json!("Bypassed"));
}

#[test]
fn an_emergency_release_of_a_revision_from_history_ends_well_too() {
    let mut cluster = four_with(half()).with_history();
    cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
    cluster.set_image("app:0");
    cluster.settle().unwrap();
    cluster.release_by_hand();
    check_ends(&mut cluster, Phase::Stable, &[("app:0", 4)]);
}

#[test]
fn opting_out_is_an_empty_annotation_and_then_changes_roll_at_once() {
    let mut cluster = four_with(half()).stable();
    cluster.opt_out();
    cluster.set_image("app:2");
    assert!(!cluster.held() && !cluster.paused());
    check_ends(&mut cluster, Phase::Waiting, &[("app:2", 4)]);
}

#[test]
fn opting_out_in_mid_release_removes_the_canary_and_says_how_to_go_on() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.opt_out();
    check_ends(&mut cluster, Phase::Waiting, &[("app:1", 4)]);
    assert!(cluster.status().unwrap().message.contains("kubectl rollout resume"));
    assert_eq!(result(&cluster, "web-1"), json!("Cancelled"));
    cluster.pause(false);
    check_ends(&mut cluster, Phase::Waiting, &[("app:2", 4)]);
}

#[test]
fn with_every_process_dead_a_change_stays_held_and_stable_pods_go_on_and_scale() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.scale(6);
    cluster.pods.remove(0);
    for _ in 0..10 {
        cluster.advance(1);
        cluster.rest_of_round();
    }
    assert!(cluster.held());
    assert_eq!(cluster.images()["app:1"], 6);
    assert_eq!(cluster.images().len(), 1);
}

#[test]
fn no_other_state_is_kept_in_the_deployment_s_annotations() {
    let mut cluster = four_with(json!([{"setWeight": 50}])).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    let annotations = cluster.deployment().unwrap()["metadata"]["annotations"].as_object().unwrap();
    let names: Vec<&str> = annotations.keys().map(String::as_str).collect();
    assert_eq!(names, [names::REVISION, "team", names::HELD, names::PLAN]);
}

#[test]
fn kubectl_s_undo_is_held_although_it_brings_back_an_old_mark_of_release() {
    let mut cluster = four_with(half()).with_history();
    cluster.kubectl_undo();
    assert!(cluster.held() && cluster.paused(), "{:?}", cluster.deployment());
    // Back to a recent stable revision: without steps (rollbackWindow).
    check_ends(&mut cluster, Phase::Stable, &[("app:0", 4)]);
}

#[test]
fn our_undo_works_while_the_deployment_is_held_where_kubectl_s_refuses() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.kubectl_undo();
    assert_eq!(cluster.image(), "app:2");
    cluster.request("undo:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    assert_eq!(cluster.image(), "app:1");
}

#[test]
fn our_restart_is_released_like_any_change() {
    let mut cluster = four_with(half()).stable();
    cluster.request("restart:1");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().phase, Phase::Paused);
    cluster.request("promote:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    assert_eq!(cluster.made["app:1"], 8, "every pod was restarted once");
}

#[test]
fn a_change_back_to_stable_ends_the_release_at_once_and_nothing_is_held() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.set_image("app:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    assert!(!cluster.held() && !cluster.paused());
    assert_eq!(cluster.made["app:1"], 4, "no stable pod was made again");
    assert_eq!(result(&cluster, "web-1"), json!("Cancelled"));
}

#[test]
fn a_new_revision_in_mid_release_starts_over_from_stable() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.set_image("app:3");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:3", 4)]);
    assert_eq!(result(&cluster, "web-1"), json!("Superseded"));
}

#[test]
fn a_rejected_revision_is_not_tried_again_until_it_changes_or_retry() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:crash");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    cluster.edit(|d| d["metadata"]["annotations"]["note"] = json!("applied again"));
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    cluster.request("retry:1");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    assert_eq!(cluster.list(RELEASES).count(), 2, "it was tried a second time");
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:2", 4)]);
}

#[test]
fn a_held_deployment_without_a_plan_is_still_seen() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.delete(PLANS, WEB);
    check_end(&mut cluster).unwrap();
    assert!(cluster.held() && cluster.canaries().is_empty());
    assert_eq!(cluster.reconcile().plan.because[0].reason, "HeldWithoutPlan");
}

#[test]
fn a_deleted_plan_leaves_no_trace_and_restarts_nothing() {
    let mut cluster = four_with(half()).stable();
    let before = uids(&cluster, "app:1");
    cluster.delete(PLANS, WEB);
    cluster.settle().unwrap();
    assert_eq!(cluster.annotation(names::PLAN), None);
    assert_eq!(cluster.annotation(names::HELD), None);
    assert_eq!(uids(&cluster, "app:1"), before);
}

#[test]
fn a_person_s_pause_in_mid_promotion_is_theirs_to_end() {
    let mut cluster = Setup::new(8, json!(1), json!(0), json!([{"setWeight": 10}])).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, "rolling:");
    cluster.pause(true);
    let status = check_end(&mut cluster).unwrap();
    assert_eq!(status.phase, Phase::Waiting, "{}", status.message);
    assert!(cluster.paused() && status.message.contains("kubectl rollout resume"), "{}", status.message);
    cluster.pause(false);
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 8)]);
}

// 2.2, rule 1: templates are carried as raw JSON.

#[test]
fn rule_1_the_canary_s_template_is_the_deployment_s_but_for_the_hash() {
    let mut cluster = four_with(half()).stable();
    cluster.edit(|d| d["spec"]["template"]["spec"]["fieldOfTheFuture"] = json!({"b": [1, 2.5], "a": "ü"}));
    cluster.settle().unwrap();
    let mut template = canary(&cluster)["spec"]["template"].clone();
    let labels = template["metadata"]["labels"].as_object_mut().unwrap();
    let hash = labels.remove(names::POD_TEMPLATE_HASH).unwrap();
    assert_eq!(template, cluster.deployment().unwrap()["spec"]["template"]);
    assert_eq!(canary(&cluster)["spec"]["selector"]["matchLabels"][names::POD_TEMPLATE_HASH], hash);
    assert!(hash.as_str().unwrap().starts_with('t'), "Kubernetes' own hashes have no t");
}

#[test]
fn rule_1_a_canary_stored_with_another_template_never_gets_a_pod() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.advance(1);
    cluster.reconcile();
    let name = cluster.canaries().pop().unwrap();
    cluster.update(REPLICA_SETS, &name, "webhook", |rs| rs["spec"]["template"]["spec"]["hostNetwork"] = json!(true));
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    assert!(cluster.status().unwrap().message.contains("admission"), "{:?}", cluster.status());
    assert_eq!(cluster.made.get("app:2"), None);
}

// 2.2, rule 2: a rollback to history.

#[test]
fn rule_2_a_rollback_takes_the_deployment_s_own_replica_set_and_returns_it() {
    let mut cluster = four_with(half()).with_history();
    cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
    let before: Vec<String> = sizes(&cluster).into_iter().map(|(name, _)| name).collect();
    cluster.set_image("app:0");
    check_ends(&mut cluster, Phase::Paused, &[("app:0", 4), ("app:1", 4)]);
    let during: Vec<String> = sizes(&cluster).into_iter().map(|(name, _)| name).collect();
    assert_eq!(before, during, "no second ReplicaSet of the same template");
    cluster.request("abort:1");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    assert_eq!(sizes(&cluster).len(), 2, "it is back in the history");
}

#[test]
fn rule_2_a_rollback_to_history_is_promoted_with_the_canary_s_pods() {
    let mut cluster = four_with(half()).with_history();
    cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
    cluster.set_image("app:0");
    cluster.settle().unwrap();
    let canaries = uids(&cluster, "app:0");
    cluster.request("promote:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:0", 4)]);
    assert_eq!(uids(&cluster, "app:0"), canaries);
}

#[test]
fn rule_2_the_reference_is_replaced_only_while_the_set_has_no_replicas() {
    let mut cluster = four_with(half()).with_history();
    cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
    cluster.set_image("app:0");
    let ops = patches_of(&decided(&mut cluster), REPLICA_SETS).pop().unwrap();
    assert!(ops.contains(&PatchOp::test("/spec/replicas", 0)), "{ops:?}");
}

#[test]
fn rule_2_a_canary_that_somebody_deletes_is_made_again_wherever_it_came_from() {
    for changed in ["app:0", "app:2"] {
        let mut both = [("app:1", 4), (changed, 4)];
        both.sort_unstable();
        let mut cluster = four_with(half()).with_history();
        cluster.edit_plan(|plan| plan["spec"]["rollbackWindow"] = json!(0));
        for turn in 0..2 {
            cluster.set_image(changed);
            for _ in 0..2 {
                check_ends(&mut cluster, Phase::Paused, &both);
                let name = cluster.canaries().pop().unwrap();
                cluster.delete(REPLICA_SETS, &name);
            }
            check_ends(&mut cluster, Phase::Paused, &both);
            cluster.request(&format!("abort:{turn}"));
            check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
            cluster.set_image("app:1");
            check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
        }
    }
}

// 2.2, rule 3: before handing over.

#[test]
fn rule_3_the_canary_is_handed_over_whole_with_the_sizes_that_keep_proportions() {
    let mut cluster = Setup::new(10, json!(3), json!(0), json!([{"setCanaryScale": {"replicas": 5}}])).stable();
    cluster.set_image("app:2");
    until_stage(&mut cluster, Stage::Promoting);
    let ops = patches_of(&decided(&mut cluster), REPLICA_SETS).pop().unwrap();
    let annotation = |name| format!("/metadata/annotations/{}", PatchOp::escape(name));
    assert!(ops.contains(&PatchOp::test("/status/availableReplicas", 5)), "{ops:?}");
    assert!(ops.contains(&PatchOp::add(annotation(names::DESIRED_REPLICAS), "10")), "{ops:?}");
    assert!(ops.contains(&PatchOp::add(annotation(names::MAX_REPLICAS), "13")), "{ops:?}");
}

#[test]
fn rule_3_ten_pods_with_surge_three_and_a_canary_of_five_become_eight_and_five() {
    let mut cluster = Setup::new(10, json!(3), json!(0), json!([{"setCanaryScale": {"replicas": 5}}])).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, "giving the canary");
    let sizes: Vec<i32> = sizes(&cluster).into_iter().map(|(_, size)| size).collect();
    assert_eq!(sizes, [8, 5], "as measured on a cluster");
}

#[test]
fn rule_3_a_canary_pod_that_fails_at_the_last_moment_stops_the_handover() {
    let mut cluster = four_with(json!([{"setWeight": 50}])).stable();
    cluster.set_image("app:2");
    until_stage(&mut cluster, Stage::Promoting);
    let (now, seen) = (cluster.now, cluster.snapshot());
    let canary = cluster.pods.iter().position(|pod| pod.image == "app:2").unwrap();
    cluster.pods[canary].ready_since = None;
    cluster.pods[canary].sick = true;
    cluster.tick_replica_sets();
    cluster.act(now, &seen, Cut::No, |_, _| {});
    assert_eq!(cluster.canaries().len(), 1, "it is still ours: {:?}", cluster.watch.trace);
    cluster.heal();
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
}

fn check_handover(replicas: i32, canary: i32, surge: Value, unavailable: Value) {
    let steps = json!([{"setCanaryScale": {"replicas": canary}}, {"pause": {}}]);
    let mut cluster = Setup::new(replicas, surge, unavailable, steps).stable();
    let n = usize::try_from(replicas).unwrap();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    let canaries = uids(&cluster, "app:2");
    assert_eq!(canaries.len(), usize::try_from(canary).unwrap());
    cluster.request("promote:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", n)]);
    check_faults(&cluster).unwrap();
    let kept = uids(&cluster, "app:2");
    assert!(canaries.iter().all(|uid| kept.contains(uid)), "every canary pod is kept");
    assert_eq!(cluster.made["app:2"], n, "and no pod was made twice");
}

#[test]
fn rule_3_canary_pods_become_the_stable_pods_and_availability_is_kept() {
    check_handover(4, 1, json!("25%"), json!("25%"));
    check_handover(4, 4, json!(1), json!(0));
    check_handover(6, 3, json!(0), json!(1));
    check_handover(4, 2, json!(1), json!(0));
    check_handover(10, 5, json!(3), json!(0));
    check_handover(1, 1, json!(1), json!(0));
    check_handover(1, 1, json!(0), json!(1));
}

// 2.2, rule 4: unpausing.

#[test]
fn rule_4_nothing_is_released_before_the_deployment_has_recognised_the_canary() {
    let mut cluster = four_with(json!([{"setWeight": 50}])).stable();
    cluster.set_image("app:2");
    until_stage(&mut cluster, Stage::Promoting);
    cluster.reconcile();
    assert!(cluster.canaries().is_empty(), "handed over");
    for _ in 0..5 {
        assert_eq!(cluster.reconcile().writes, 0, "the Deployment's controller has not run");
    }
    assert!(cluster.paused());
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
}

#[test]
fn rule_4_an_edit_in_between_is_not_released_unjudged() {
    let mut cluster = four_with(json!([{"setWeight": 50}])).stable();
    cluster.set_image("app:2");
    until(&mut cluster, "about to be released", |c| !patches_of(&decided(c), DEPLOYMENTS).is_empty());
    let (now, seen) = (cluster.now, cluster.snapshot());
    cluster.set_image("app:crash");
    cluster.act(now, &seen, Cut::No, |_, _| {});
    assert!(cluster.paused() && cluster.held());
    assert!(cluster.watch.trace.iter().any(|line| line.contains("/metadata/generation")), "{:?}", cluster.watch.trace);
}

// 2.2, rule 5: taking back.

fn check_taken_back(part: &str, replicas: i32, surge: Value, unavailable: Value) {
    let mut cluster = Setup::new(replicas, surge, unavailable, json!([{"setWeight": 30}])).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, part);
    cluster.request("abort:1");
    let status = check_end(&mut cluster).unwrap();
    // When every new pod is available already, the Deployment gets the stable template: nothing is rejected then.
    assert_eq!(status.phase, if cluster.image() == "app:1" { Phase::Stable } else { Phase::TakenBack }, "{part}");
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:1".to_owned(), 6)], "{part}");
    check_faults(&cluster).unwrap();
}

#[test]
fn rule_5_taking_back_works_at_every_moment_after_the_handover() {
    for (surge, unavailable) in [(json!(1), json!(0)), (json!(0), json!(1)), (json!(2), json!(2))] {
        for part in ["setWeight 30", "promoting:", "giving the canary", "letting the Deployment", "3 of 6 pods are new"]
        {
            check_taken_back(part, 6, surge.clone(), unavailable.clone());
        }
    }
}

#[test]
fn rule_5_a_revision_that_breaks_in_mid_promotion_is_taken_back_while_the_canary_still_serves() {
    let mut cluster = Setup::new(6, json!(1), json!(0), json!([{"setWeight": 30}])).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, "4 of 6 pods are new");
    let broken = cluster.pods.iter().position(|pod| pod.image == "app:2" && pod.ready_since.is_none());
    let broken = broken.unwrap_or_else(|| cluster.pods.iter().position(|pod| pod.image == "app:2").unwrap());
    cluster.watch.floor -= 1;
    cluster.pods[broken].crashing = true;
    cluster.pods[broken].sick = true;
    cluster.pods[broken].ready_since = None;
    cluster.advance(1);
    cluster.round();
    until_says(&mut cluster, "canary pods left");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 6)]);
    assert_eq!(result(&cluster, "web-1"), json!("TakenBack"));
}

/// Pods that a larger Deployment has yet to get say nothing against the new revision, nor do stable ones that break; pods of its own
/// that served do.
#[test]
fn rule_5_scaling_up_in_mid_promotion_takes_nothing_back_but_pods_that_are_lost_do() {
    for (lost, phase) in [(None, Phase::Stable), (Some("app:1"), Phase::Stable), (Some("app:2"), Phase::TakenBack)] {
        let mut cluster = four_with(json!([{"setWeight": 20}])).stable();
        cluster.set_image("app:2");
        until_says(&mut cluster, "rolling:");
        cluster.scale(12);
        lost.into_iter().for_each(|image| cluster.break_image(image));
        for _ in 0..20 {
            cluster.advance(1);
            cluster.reconcile();
            cluster.tick_deployment();
            cluster.tick_replica_sets();
            // New pods take their time.
            cluster.pods.iter_mut().filter(|pod| pod.ready_since.is_none()).for_each(|pod| pod.sick = true);
        }
        cluster.heal();
        let status = check_end(&mut cluster).unwrap();
        assert_eq!(status.phase, phase, "{lost:?} lost: {}", status.message);
    }
}

/// A pod of the new revision that is taken away says nothing against it: another takes its place. One that stays and no longer
/// serves does.
#[test]
fn rule_5_a_pod_that_is_evicted_in_mid_promotion_takes_nothing_back_but_one_that_no_longer_serves_does() {
    for (evicted, phase) in [(true, Phase::Stable), (false, Phase::TakenBack)] {
        let mut cluster = Setup::new(8, json!(1), json!(0), json!([{"setWeight": 10}])).stable();
        cluster.set_image("app:2");
        let new = |pod: &crate::model::Pod| pod.image == "app:2" && pod.ready_since.is_some();
        until(&mut cluster, "half way", |cluster| {
            cluster.available() == 8 && cluster.pods.iter().filter(|pod| new(pod)).count() == 5
        });
        cluster.tick_replica_sets();
        cluster.reconcile();
        cluster.start_seconds = 20;
        let which = cluster.pods.iter().position(new).unwrap();
        if evicted {
            cluster.evict(which);
        } else {
            cluster.watch.floor -= 1;
            (cluster.pods[which].ready_since, cluster.pods[which].sick) = (None, true);
        }
        for _ in 0..10 {
            cluster.advance(1);
            cluster.round();
        }
        cluster.heal();
        let status = check_end(&mut cluster).unwrap();
        assert_eq!(status.phase, phase, "evicted {evicted}: {}", status.message);
    }
}

/// Twenty slow pods, twelve of them new, become five: the deadline of the next new one begins with the last that came.
#[test]
fn rule_5_what_goes_on_in_a_smaller_deployment_is_not_late() {
    for planned in [true, false] {
        let spec = json!({"strategy": {"canary": {"steps": []}}, "progressDeadline": "10s"});
        let mut cluster = Cluster::new();
        cluster.deploy(20, (json!(1), json!(0)), "app:1");
        if planned {
            cluster.plan(WEB, spec.clone());
        }
        cluster.settle().unwrap();
        cluster.start_seconds = 6;
        cluster.set_image("app:2");
        let is_new = |cluster: &Cluster| cluster.pods.iter().filter(|pod| pod.image == "app:2" && pod.served).count();
        until(&mut cluster, "half way", |cluster| is_new(cluster) == 12);
        if !planned {
            cluster.plan(WEB, spec);
        }
        cluster.advance(1);
        cluster.round();
        cluster.scale(5);
        let mut late = vec![];
        until(&mut cluster, "over", |cluster| {
            let status = cluster.status().unwrap_or_default();
            let told = status.message.contains("gets nowhere") || status.message.contains("no further pod");
            late.extend(told.then_some(status.message));
            matches!(status.phase, Phase::Stable | Phase::TakenBack)
        });
        assert!(late.is_empty(), "with a plan from the beginning: {planned}: {late:?}");
        check_ends(&mut cluster, Phase::Stable, &[("app:2", 5)]);
    }
}

#[test]
fn rule_5_another_change_when_the_last_stable_pod_is_gone_is_not_lost() {
    let mut cluster = Setup::new(1, json!(1), json!(0), json!([{"setWeight": 50}])).stable();
    cluster.set_image("app:2");
    until_says(&mut cluster, "giving the canary");
    cluster.set_image("app:crash");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:2", 1)]);
    assert_eq!((cluster.image(), cluster.held()), ("app:crash", true));
    assert_eq!(result(&cluster, "web-1"), json!("Promoted"));
}

#[test]
fn rule_5_a_release_without_a_canary_is_taken_back_with_nothing_left_over() {
    let mut cluster = four_with(json!([])).stable();
    cluster.set_image("app:crash");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    assert!(cluster.canaries().is_empty());
}

#[test]
fn rule_5_a_controller_reference_is_replaced_in_one_write_and_never_removed() {
    let mut cluster = Setup::new(8, json!(1), json!(0), json!([{"setWeight": 20}])).stable();
    cluster.set_image("app:2");
    let mut aborted = false;
    until(&mut cluster, "over", |cluster| {
        for ops in patches_of(&decided(cluster), REPLICA_SETS) {
            for op in ops {
                assert!(!matches!(&op, PatchOp::Remove { .. }), "{op:?}");
                if let PatchOp::Add { path, value } = &op
                    && path.contains("ownerReferences")
                {
                    assert_eq!((path.as_str(), value.as_array().map(Vec::len)), ("/metadata/ownerReferences", Some(1)));
                }
            }
        }
        let status = cluster.status().unwrap();
        if !aborted && status.message.contains("pods are new") {
            aborted = true;
            cluster.request("abort:1");
        }
        status.phase == Phase::TakenBack
    });
}

#[test]
fn rule_5_another_change_that_a_person_releases_meanwhile_is_followed_not_stopped() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.set_image("app:3");
    cluster.release_by_hand();
    check_ends(&mut cluster, Phase::Stable, &[("app:3", 4)]);
    check_faults(&cluster).unwrap();
}

// 2.2, rule 6: the stable template.

#[test]
fn rule_6_the_release_keeps_the_stable_template_and_undo_finds_it_there() {
    let mut setup = four_with(json!([]));
    setup.history = 0;
    let mut cluster = setup.stable();
    let stable = cluster.deployment().unwrap()["spec"]["template"].clone();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    assert_eq!(sizes(&cluster).len(), 1, "the history is gone");
    let kept = &cluster.get(RELEASES, "web-1").unwrap()["spec"]["stableTemplate"];
    assert_eq!(trimtab_release::template_digest(kept), trimtab_release::template_digest(&stable));
    cluster.request("undo:1");
    check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
}

/// Where the history went, a later release has no template to keep; an earlier one from the same revision has.
#[test]
fn rule_6_the_stable_template_is_found_in_whichever_release_keeps_it() {
    for request in ["undo:9", "abort:9"] {
        let mut setup = four_with(half());
        setup.history = 0;
        let mut cluster = setup.stable();
        cluster.set_image("app:2");
        cluster.settle().unwrap();
        cluster.request("abort:1");
        cluster.settle().unwrap();
        cluster.scale(0);
        cluster.settle().unwrap();
        cluster.set_image("app:3");
        cluster.settle().unwrap();
        assert_eq!(cluster.list(REPLICA_SETS).count(), 0, "the history is gone: {:?}", sizes(&cluster));
        cluster.scale(4);
        if request.starts_with("abort") {
            until(&mut cluster, "whole", |cluster| cluster.available() == 4);
            cluster.request(request);
        } else {
            cluster.start_seconds = 100;
            until_stage(&mut cluster, Stage::Promoting);
            cluster.request("abort:2");
            cluster.settle().unwrap();
            cluster.request(request);
        }
        cluster.start_seconds = 0;
        cluster.settle().unwrap();
        let told = cluster.status().unwrap().message;
        assert_eq!(cluster.image(), "app:1", "{request}: {told}");
        check_ends(&mut cluster, Phase::Stable, &[("app:1", 4)]);
    }
}

// 2.2, rule 7: what a canary has of its Deployment.

#[test]
fn rule_7_a_canary_has_the_deployment_s_min_ready_seconds() {
    let mut cluster = four_with(half()).stable();
    cluster.edit(|d| d["spec"]["minReadySeconds"] = json!(17));
    cluster.set_image("app:2");
    cluster.reconcile();
    assert_eq!(canary(&cluster)["spec"]["minReadySeconds"], json!(17));
}

#[test]
fn rule_7_a_canary_goes_when_its_deployment_goes() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.delete_deployment();
    check_ends(&mut cluster, Phase::Waiting, &[]);
    assert_eq!(result(&cluster, "web-1"), json!("Cancelled"));
}

#[test]
fn rule_7_a_canary_goes_when_its_deployment_is_created_again_before_anybody_looked() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.delete_deployment();
    cluster.tick_garbage();
    cluster.tick_garbage();
    cluster.deploy(3, (json!(1), json!(0)), "app:3");
    check_ends(&mut cluster, Phase::Stable, &[("app:3", 3)]);
    assert_eq!(result(&cluster, "web-1"), json!("Cancelled"));
}

#[test]
fn rule_7_a_canary_goes_when_its_plan_goes() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.delete(PLANS, WEB);
    cluster.settle().unwrap();
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), [("app:1".to_owned(), 4)]);
}

// 3: what a user touches.

#[test]
fn no_replicas_are_promoted_without_steps_where_the_plan_says_so() {
    let mut cluster = Setup::new(0, json!(1), json!(0), half()).stable();
    cluster.set_image("app:2");
    check_ends(&mut cluster, Phase::Stable, &[]);
    assert_eq!(result(&cluster, "web-1"), json!("Promoted"));
}

#[test]
fn a_recent_stable_revision_skips_the_steps() {
    let mut cluster = four_with(half()).with_history();
    cluster.set_image("app:0");
    check_ends(&mut cluster, Phase::Stable, &[("app:0", 4)]);
}

#[test]
fn each_request_is_consumed_once() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}, {"pause": {}}])).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.request("promote:1");
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().step.as_deref(), Some("4/4"), "one promote is one step");
    cluster.request("promote:2");
    check_ends(&mut cluster, Phase::Stable, &[("app:2", 4)]);
}

#[test]
fn edited_steps_continue_at_the_first_whose_weight_is_not_below_the_current_one() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"pause": {}}])).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    let steps = json!([{"setWeight": 5}, {"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = steps);
    cluster.settle().unwrap();
    assert_eq!(cluster.status().unwrap().step.as_deref(), Some("3/5"));
}

#[test]
fn on_failure_pause_stops_where_it_is_until_somebody_decides() {
    let mut cluster = four_with(half()).stable();
    cluster.edit_plan(|plan| plan["spec"]["onFailure"] = json!("Pause"));
    cluster.set_image("app:crash");
    check_ends(&mut cluster, Phase::Paused, &[("app:1", 4), ("app:crash", 4)]);
    cluster.request("abort:1");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
}

#[test]
fn a_canary_that_never_becomes_available_is_taken_back_at_its_deadline() {
    let mut cluster = four_with(half()).stable();
    cluster.set_image("app:hang");
    check_ends(&mut cluster, Phase::TakenBack, &[("app:1", 4)]);
    assert!(cluster.status().unwrap().message.contains("progressDeadline"));
}

#[test]
fn steps_that_are_edited_again_and_again_leave_a_record_of_the_last() {
    let mut cluster = four_with(json!([{"setWeight": 20}, {"pause": {}}])).stable();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    for turn in 0..150 {
        cluster.edit_plan(|plan| {
            plan["spec"]["strategy"]["canary"]["steps"] =
                json!([{"setWeight": 20}, {"pause": {"duration": format!("{}s", 1_000 + turn)}}]);
        });
        cluster.reconcile();
        cluster.reconcile();
    }
    let steps = cluster.status().unwrap().release.unwrap().steps;
    assert!(steps.len() == 100, "{}", steps.len());
}
