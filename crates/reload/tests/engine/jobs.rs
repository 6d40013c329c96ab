//! Jobs that are made anew, and runs of CronJobs: what is made of what, and how many at once.

use super::*;

/// What becomes of what is kept when the manager goes on.
fn sealed(world: &World, kept: &Value) -> Value {
    let plan = World { kept: Some(kept.clone()), ..world.clone() }.decide();
    let [seal, delete] = plan.writes.as_slice() else { panic!("{plan:?}") };
    assert!(matches!(delete.verb, Verb::Delete { .. }) && delete.target.kind.kind == "Job");
    let Verb::Patch { ops, .. } = &seal.verb else { panic!("{seal:?}") };
    let ops: Vec<Value> = ops.iter().map(|op| serde_json::to_value(op).unwrap()).collect();
    let mut sealed = kept.clone();
    for op in ops {
        let (path, value) = (op["path"].as_str().unwrap(), op["value"].clone());
        match op["op"].as_str().unwrap() {
            "test" => assert_eq!(sealed.pointer(path), Some(&value)),
            _ => *sealed.pointer_mut(path).unwrap() = value,
        }
    }
    sealed
}

/// A Job that is being made anew, and what is kept of it.
fn kept_job() -> (World, Value) {
    let mut world = World::new(json!({AUTO: "true"}));
    world.kind = "Job";
    world.options.proof_key = DigestKey::new([9; 32]);
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    let ask = world.decide().asks[0].clone();
    world.answers.insert(ask.id, Answer::Object(world.workload.clone()));
    let plan = world.decide();
    let Verb::Create { body: mut kept } = plan.writes[0].verb.clone() else { panic!("{plan:?}") };
    kept["metadata"]["name"] = "reloaded-job-shop".into();
    kept["metadata"]["namespace"] = "ns".into();
    kept["metadata"]["uid"] = "k".into();
    world.answers.clear();
    let kept = sealed(&world, &kept);
    (world, kept)
}

/// What is written and told while such a thing is there, first beside the Job and then without it.
fn check_kept(change: impl Fn(&mut Value), key: u8, beside: &str, without: &str) {
    let (mut world, mut kept) = kept_job();
    world.options.proof_key = DigestKey::new([key; 32]);
    change(&mut kept);
    world.kept = Some(kept.clone());
    let shown = |plan: &Plan<()>| {
        let writes = plan.writes.iter().filter(|write| matches!(write.verb, Verb::Create { .. } | Verb::Delete { .. }));
        let writes = writes.map(|write| format!("{} {}", write.target.kind.kind, write.target.name));
        let told = plan.notices.iter().map(|notice| notice.reason.to_owned());
        writes.chain(told).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(&world.decide()), beside, "beside the Job");
    let gone = Snapshot { workload: None, ..world.snapshot() };
    let plan = decide(world.now, &gone);
    let read = plan.asks.first().map(|ask| (ask.id.clone(), Answer::Object(kept.clone())));
    let plan = decide(world.now, &Snapshot { answers: read.into_iter().collect(), ..gone });
    assert_eq!(shown(&plan), without, "without the Job");
}

#[test]
fn a_job_is_made_of_nothing_but_what_was_kept_of_it_by_this_manager() {
    let all = "Job shop ControllerRevision reloaded-job-shop";
    check_kept(|_| {}, 9, "Job shop", all);
    // What the API server adds is no part of it.
    check_kept(|kept| kept["metadata"]["resourceVersion"] = "7".into(), 9, "Job shop", all);
    let (refused, image) = ("KeptJobUnproven", "/data/spec/template/spec/containers/0/image");
    let set = |path: &'static str, value: Value| {
        move |kept: &mut Value| {
            let (parent, name) = path.rsplit_once('/').unwrap();
            kept.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value.clone();
        }
    };
    check_kept(set(image, json!("evil")), 9, refused, refused);
    check_kept(set("/data/spec/suspend", json!(true)), 9, refused, refused);
    check_kept(set("/metadata/annotations/trimtab.dev~1digest", json!("")), 9, refused, refused);
    check_kept(set("/metadata/annotations/trimtab.dev~1digest", json!("j1:00")), 9, refused, refused);
    check_kept(set("/metadata/annotations/trimtab.dev~1replaces", json!("other")), 9, refused, refused);
    check_kept(set("/metadata/namespace", json!("elsewhere")), 9, refused, refused);
    check_kept(set("/metadata/name", json!("reloaded-job-other")), 9, refused, refused);
    check_kept(set("/metadata/name", json!("any")), 9, refused, refused);
    // Created again, once it had done its work; or kept from going by somebody's finalizer.
    check_kept(set("/metadata/uid", json!("another")), 9, refused, refused);
    check_kept(set("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")), 9, "", "");
    // Made by a manager with another key.
    check_kept(|_| {}, 8, refused, refused);
}

#[test]
fn a_cron_job_that_forbids_two_runs_has_one_whoever_started_it() {
    let mut world = World::new(json!({AUTO: "true"}));
    world.kind = "CronJob";
    let template = world.workload["spec"]["template"].clone();
    world.workload["spec"] = json!({"jobTemplate": {"spec": {"template": template}}, "concurrencyPolicy": "Forbid"});
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    let run = |name: &str, runs| Run { name: name.to_owned(), runs };
    let with = |policy: &str, jobs: Vec<Run>| {
        let mut world = World { jobs, ..world.clone() };
        world.workload["spec"]["concurrencyPolicy"] = policy.into();
        world
    };
    check(&with("Forbid", vec![run("shop-1", true)]), "JobRunning");
    check(&with("Replace", vec![run("shop-1", true)]), "JobRunning");
    check(&with("Allow", vec![run("shop-1", true)]), "Reading");
    check(&with("Forbid", vec![run("shop-1", false)]), "Reading");
    let mut listed = with("Forbid", vec![]);
    listed.workload["status"]["active"] = json!([{"name": "shop-1"}]);
    check(&listed, "JobRunning");
    let mut suspended = with("Forbid", vec![]);
    suspended.workload["spec"]["suspend"] = true.into();
    let said = suspended.decide().because[0].message.clone();
    assert!(said.starts_with("it is suspended: nothing is run for the change"), "{said}");
}

#[test]
fn a_job_that_is_made_anew_is_lost_at_no_cut() {
    let mut world = World::new(json!({AUTO: "true"}));
    world.kind = "Job";
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    let ask = world.decide().asks[0].clone();
    world.answers.insert(ask.id, Answer::Object(world.workload.clone()));
    let plan = world.decide();
    let [keep] = plan.writes.as_slice() else { panic!("{plan:?}") };
    let Verb::Create { body: kept } = keep.verb.clone() else { panic!("{keep:?}") };
    let mut revision = kept.clone();
    revision["metadata"]["name"] = keep.target.name.as_str().into();
    revision["metadata"]["namespace"] = "ns".into();
    revision["metadata"]["uid"] = "k".into();
    // Seen: it is sealed, and the Job is deleted. Cut off between the two: the second follows.
    let begun = revision.clone();
    let revision = sealed(&world, &begun);
    world.kept = Some(revision.clone());
    assert!(matches!(world.decide().writes.as_slice(), [w] if matches!(w.verb, Verb::Delete { .. })));
    // What is not sealed is of no use once the Job is gone: it was deleted by somebody, or this was created again.
    let again = World { kept: Some(begun), ..world.clone() };
    let plan = decide(world.now, &Snapshot { workload: None, answers: Answers::new(), ..again.snapshot() });
    assert!(plan.writes.is_empty() && plan.notices[0].reason == "KeptJobUnproven", "{plan:?}");
    // Gone: made anew from what was kept.
    let gone = Snapshot { workload: None, answers: Answers::new(), ..world.snapshot() };
    let ask = decide(world.now, &gone).asks[0].clone();
    let gone = Snapshot { answers: [(ask.id, Answer::Object(revision))].into(), ..gone };
    let plan = decide(world.now, &gone);
    let [make, forget] = plan.writes.as_slice() else { panic!("{plan:?}") };
    assert!(matches!(&make.verb, Verb::Create { body } if body["spec"]["template"].is_object()));
    assert_eq!(make.target.name, "shop");
    // In the same breath: a Job that somebody deletes from now on stays deleted.
    assert!(matches!(forget.verb, Verb::Delete { .. }) && forget.target.name == "reloaded-job-shop");
    // There again: what was kept is forgotten.
    world.workload["metadata"]["uid"] = "new".into();
    assert!(matches!(world.decide().writes.as_slice(), [w] if w.target.name == "reloaded-job-shop"));
}

#[test]
fn a_cron_job_runs_now_for_reloader_s_users_and_at_its_time_for_ours() {
    let cron = |annotations: Value| {
        let mut world = World::new(annotations);
        world.kind = "CronJob";
        world.workload["spec"] = json!({"jobTemplate": {"spec": {"template": world.workload["spec"]["template"]}}});
        world.apply();
        world.set("cm/web", json!({"a": "2"}));
        world
    };
    check(&cron(json!({"trimtab.dev/reload": "auto"})), "NextRun");
    let mut world = cron(json!({AUTO: "true"}));
    let mut suspended = world.clone();
    suspended.workload["spec"]["suspend"] = true.into();
    check(&suspended, "NextRun");
    let asked = world.decide();
    let ask = &asked.asks[0];
    assert!(matches!(&ask.question, Question::Get(object) if object.name == "shop"));
    world.answers.insert(ask.id.clone(), Answer::Object(world.workload.clone()));
    let plan = world.decide();
    let [run, note] = plan.writes.as_slice() else { panic!("{plan:?}") };
    assert!(matches!(&run.verb, Verb::Create { body } if body["metadata"]["ownerReferences"][0]["uid"] == "w"));
    assert!(matches!(&note.verb, Verb::Merge { .. }));
    // Cut off between the two: the run is not started again.
    world.jobs = vec![Run { name: run.target.name.clone(), runs: false }];
    world.answers.clear();
    check(&world, "NextRun");
}

#[test]
fn a_cron_job_runs_for_a_value_that_comes_back() {
    let mut world = World::new(json!({AUTO: "true"}));
    world.kind = "CronJob";
    world.workload["spec"] = json!({"jobTemplate": {"spec": {"template": world.workload["spec"]["template"]}}});
    world.apply();
    for (change, value) in ["2", "1", "2", "1"].into_iter().enumerate() {
        world.now += jiff::SignedDuration::from_hours(2);
        world.set("cm/web", json!({ "a": value }));
        let written = json!(world.now.to_string());
        world.sources.get_mut(&Source::config_map("web")).unwrap()["metadata"]["managedFields"][0]["time"] = written;
        let ask = world.decide().asks[0].id.clone();
        world.answers.insert(ask, Answer::Object(world.workload.clone()));
        let run = world.decide().writes[0].target.name.clone();
        world.jobs.push(Run { name: run, runs: false });
        assert_eq!(world.decide().writes.len(), 1, "it is run once more after a crash");
        world.apply();
        check(&world, "UpToDate");
        assert_eq!(world.jobs.len(), change + 1);
    }
}

#[test]
fn a_job_that_was_made_anew_and_deleted_stays_deleted() {
    let after = |made_anew: Option<bool>, answer: Option<Answer>| {
        let (mut world, kept) = kept_job();
        world.made_anew = made_anew;
        let answers: Answers = [("kept/k".to_owned(), Answer::Object(kept.clone()))].into();
        let made = answer.map(|answer| ("made/k".to_owned(), answer));
        world.kept = Some(kept);
        let gone = Snapshot { workload: None, answers: answers.into_iter().chain(made).collect(), ..world.snapshot() };
        let plan = decide(world.now, &gone);
        let open = plan.asks.iter().filter(|ask| !gone.answers.contains_key(&ask.id));
        let asks = open.map(|ask| format!("?{}", ask.id));
        let writes = plan.writes.iter().map(|write| write.target.kind.kind.to_owned());
        asks.chain(writes).collect::<Vec<_>>().join(" ")
    };
    let said = |made: bool| Some(Answer::Object(json!({"made": made})));
    let (make, forget) = ("Job ControllerRevision", "ControllerRevision");
    assert_eq!(after(Some(false), None), make);
    assert_eq!(after(Some(true), None), forget);
    assert_eq!(after(None, None), "?made/k");
    assert_eq!(after(None, said(true)), forget);
    assert_eq!(after(None, said(false)), make);
    // Nobody can tell any more.
    assert_eq!(after(None, Some(Answer::NotFound)), make);
    // What passes says nothing, and is asked about anew once its answer is forgotten.
    assert_eq!(after(None, Some(Answer::Failed("429 Too Many Requests".to_owned()))), "");
}
