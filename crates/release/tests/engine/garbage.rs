//! Hostile input: whatever a cluster holds, a decision is made without a panic, and a second time the same.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trimtab_crds::names;
use trimtab_plan::{Answer, Outcome};
use trimtab_release::{Snapshot, conclude, decide};

use crate::histories::config;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "web", "released", "by alice", "paused, by bob", "paused, ", "promote:1",
                                   "undo", "abort", "restart", "retry", "promote-full:x", "web-1", "u1", "u2", "u3",
                                   "99999999999999999999", "-1", "7"]).prop_map(str::to_owned),
        1 => ".{0,40}",
        1 => "[a-z/~\\\\\"'{}]{0,300}",
    ]
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -2..12i32, 1 => Just(i32::MAX), 1 => Just(i32::MIN), 1 => any::<i32>()]
}

fn time() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "2026-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-30T22:00:00Z",
        "-009999-01-02T01:59:59Z",
        "2026-01-01T00:00:10.123456789Z",
    ])
    .prop_map(str::to_owned)
}

fn limit() -> impl Strategy<Value = Value> {
    prop_oneof![
        number().prop_map(|n| json!(n)),
        prop::sample::select(vec!["25%", "-5%", "%", "1e9%", "9223372036854775807%", "x"]).prop_map(|s| json!(s)),
        Just(Value::Null),
        Just(json!({"a": []})),
        Just(json!(1.5)),
    ]
}

fn template() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (1..4u8).prop_map(|n| json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}},
                                          "spec": {"containers": [{"name": "web", "image": format!("app:{n}")}]}})),
        1 => Just(json!({})),
        1 => Just(Value::Null),
        1 => Just(json!({"metadata": {"labels": 7, "annotations": "no"}, "spec": {"containers": {"name": 1}}})),
        1 => Just(json!([1, "a", null])),
    ]
}

fn uid() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["u1", "u2", "u3", ""])
}

prop_compose! {
    fn meta(names: &'static [&'static str])(
        name in prop::sample::select(names), uid in uid(), generation in any::<i8>(), created in time(),
        deleted in prop::option::weighted(0.1, time()),
        annotations in prop::collection::btree_map(prop::sample::select(vec![
            names::PLAN, names::HELD, names::REQUEST, names::REVISION, names::CANARY_OF, names::DESIRED_REPLICAS,
        ]), text(), 0..5),
        owner in prop::option::of((uid(), prop::sample::select(vec!["Deployment", "ReleasePlan", "ReplicaSet"]),
                                   any::<bool>())),
    ) -> Value {
        let mut meta = json!({
            "name": name, "namespace": "shop", "uid": uid, "generation": generation, "creationTimestamp": created,
            "annotations": annotations,
        });
        if let Some(deleted) = deleted {
            meta["deletionTimestamp"] = json!(deleted);
        }
        if let Some((uid, kind, controller)) = owner {
            meta["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": uid, "controller": controller}]);
        }
        meta
    }
}

prop_compose! {
    fn deployment()(meta in meta(&["web"]), replicas in number(), paused in any::<bool>(), template in template(),
                    surge in limit(), unavailable in limit(), observed in any::<i8>(), counts in [number(), number(), number()],
                    strategy in prop::sample::select(vec!["RollingUpdate", "Recreate", ""])) -> Value {
        json!({"metadata": meta, "spec": {
            "replicas": replicas, "paused": paused, "template": template, "minReadySeconds": replicas,
            "strategy": {"type": strategy, "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        }, "status": {"observedGeneration": observed, "replicas": counts[0], "updatedReplicas": counts[1],
                      "availableReplicas": counts[2]}})
    }
}

prop_compose! {
    fn replica_set()(meta in meta(&["web-a", "web-b", "web-c"]), replicas in number(), template in template(),
                     observed in any::<i8>(), counts in [number(), number()]) -> Value {
        json!({"metadata": meta, "spec": {"replicas": replicas, "template": template},
               "status": {"observedGeneration": observed, "replicas": counts[0], "availableReplicas": counts[1],
                          "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "quota"}]}})
    }
}

prop_compose! {
    fn pod()(meta in meta(&["p", "q"]), phase in text(), restarts in number(),
             reason in prop::sample::select(vec!["CrashLoopBackOff", "Completed", ""])) -> Value {
        json!({"metadata": meta, "status": {"phase": phase, "containerStatuses": [
            {"name": "web", "restartCount": restarts, "state": {"waiting": {"reason": reason}},
             "lastState": {"terminated": {"exitCode": 1}}}]}})
    }
}

fn step() -> impl Strategy<Value = Value> {
    prop_oneof![
        number().prop_map(|w| json!({"setWeight": w})),
        Just(json!({})),
        text().prop_map(|d| json!({"pause": {"duration": d}})),
        Just(json!({"pause": {"duration": "9999999h"}})),
        Just(json!({"pause": {}})),
        number().prop_map(|n| json!({"setCanaryScale": {"replicas": n}})),
        number().prop_map(|n| json!({"setCanaryScale": {"weight": n}})),
    ]
}

fn digest() -> impl Strategy<Value = String> {
    let known = |n| {
        trimtab_release::template_digest(&json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": format!("app:{n}")}]}}))
    };
    prop::sample::select(vec![known(1), known(2), known(3), String::new(), "v1:x".to_owned()])
}

prop_compose! {
    fn progress()(name in text(), digest in digest(), at in [time(), time(), time()], step in number(),
                  stage in prop::sample::select(vec!["Steps", "Promoting", "TakingBack", "Bypassed"]),
                  since in prop::option::of(time()), most in number(), weight in number(), paused in any::<bool>(),
                  canary in prop::option::of((prop::sample::select(vec!["web-a", "web-b", "x"]), any::<bool>(), number())),
                  verdict in prop::option::of(text()), records in 0..3usize) -> Value {
        json!({
            "name": name, "digest": digest, "by": name, "startedAt": at[0], "stage": stage, "stageStartedAt": at[1],
            "step": step, "stepStartedAt": at[2], "unavailableSince": since, "pauseStartedAt": since,
            "mostAvailable": most, "weight": weight, "paused": paused,
            "steps": (0..records).map(|_| json!({"step": "x", "startedAt": at[0]})).collect::<Vec<_>>(),
            "canary": canary.map(|(set, history, n)| json!({"replicaSet": set, "fromHistory": history, "replicas": n})),
            "verdict": verdict.map(|reason| json!({"reason": reason, "message": "because"})),
        })
    }
}

prop_compose! {
    fn status()(target in prop::option::of(uid()), stable in prop::option::of((digest(), prop::sample::select(vec!["web-a", "gone"]))),
                release in prop::option::of(progress()), rejected in prop::option::of((digest(), time())),
                history in prop::collection::vec(digest(), 0..3), sequence in prop_oneof![Just(0i64), Just(7)],
                handled in prop::option::of(text()), undo in prop::option::of(digest())) -> Value {
        json!({
            "target": target.map(|uid| json!({"uid": uid})),
            "stable": stable.map(|(digest, set)| json!({"digest": digest, "replicaSet": set})),
            "release": release,
            "rejected": rejected.map(|(digest, at)| json!({"digest": digest, "release": "web-1", "at": at,
                                                           "verdict": {"reason": "Aborted", "message": "m"}})),
            "history": history.iter().map(|digest| json!({"digest": digest, "release": "web-1"})).collect::<Vec<_>>(),
            "sequence": sequence, "handledRequest": handled,
            "undo": undo.map(|digest| json!({"digest": digest, "release": "web-1"})),
        })
    }
}

prop_compose! {
    fn plan()(meta in meta(&["web", "other", "third"]), steps in prop::collection::vec(step(), 0..4), deadline in text(),
              window in number(), limit in number(), pause in any::<bool>(), status in prop::option::weighted(0.9, status())) -> Value {
        let mut plan = json!({"metadata": meta, "spec": {
            "targetRef": {"name": "web"}, "strategy": {"canary": {"steps": steps}}, "progressDeadline": deadline,
            "rollbackWindow": window, "historyLimit": limit, "onFailure": if pause { "Pause" } else { "Rollback" },
        }});
        if let Some(status) = status {
            plan["status"] = status;
        }
        plan
    }
}

prop_compose! {
    fn release()(meta in meta(&["web-1", "web-8"]), plan in text(), sequence in any::<i64>(), at in time(),
                 over in any::<bool>()) -> Value {
        json!({"metadata": meta, "spec": {"plan": plan, "target": "web", "sequence": sequence, "digest": ""},
               "status": {"result": "Running", "message": "", "startedAt": at, "finishedAt": over.then_some(at.clone())}})
    }
}

fn views<T: DeserializeOwned>(objects: &[Value]) -> Vec<Arc<T>> {
    objects
        .iter()
        .map(|o| Arc::new(serde_json::from_str(&o.to_string()).unwrap_or_else(|e| panic!("{e}: {o}"))))
        .collect()
}

prop_compose! {
    fn snapshot()(deployment in prop::option::weighted(0.9, deployment()), plans in prop::collection::vec(plan(), 0..3),
                  sets in prop::collection::vec(replica_set(), 0..4), pods in prop::collection::vec(pod(), 0..3),
                  releases in prop::collection::vec(release(), 0..3),
                  answer in prop::option::of(prop::sample::select(vec![
                      Answer::NotFound, Answer::Failed("no".to_owned()), Answer::Object(json!({"spec": 1})),
                  ])), digest in digest()) -> Snapshot {
        let mut seen = Snapshot {
            namespace: "shop".to_owned(), name: "web".to_owned(),
            deployment: views(&deployment.into_iter().collect::<Vec<_>>()).pop(),
            plans: views(&plans), replica_sets: views(&sets), canary_pods: views(&pods), releases: views(&releases),
            ..Snapshot::default()
        };
        if let Some(answer) = answer {
            seen.answers.insert(format!("undo/web-1/{digest}"), answer);
        }
        seen
    }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn a_decision_never_panics_and_is_always_the_same(seen in snapshot(), now in time()) {
        let now: Timestamp = now.parse().unwrap();
        let plan = decide(now, &seen);
        prop_assert_eq!(&plan, &decide(now, &seen));
        let said = conclude(now, &seen, &plan, &Outcome::default());
        prop_assert_eq!(plan.status.is_some(), seen.plans.iter().any(|p| p.metadata.deletion_timestamp.is_none()));
        if let (Some(status), Some(said)) = (&plan.status, said) {
            prop_assert!(!status.message.is_empty(), "{:?}", status);
            let read: trimtab_crds::ReleasePlanStatus = serde_json::from_value(said.status).unwrap();
            prop_assert_eq!(&read, status, "a status survives the way to the server and back");
        }
        for write in plan.writes.iter().chain(plan.housekeeping.iter().map(|chore| &chore.write)) {
            prop_assert_eq!(&write.target.namespace, "shop");
            prop_assert!(!write.why.is_empty() && !write.target.name.is_empty());
        }
    }
}
