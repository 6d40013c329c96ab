//! Decisions of reloads on workloads and sources as the API server has them: for each case, what is patched and why.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod bounds;
mod dead_ends;
mod first;
mod hot;
mod jobs;
mod left;
mod named;
mod twice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_config::{ConfigMapView, DigestKey, SecretView, Source, SourceKind, SourceView};
use trimtab_plan::{Answer, Answers, Plan, Question, Verb, Wake};
use trimtab_reload::{
    Birth, Board, CronJobView, DeploymentView, Fits, JobView, KeptJob, Member, Options, PodView, RolloutView, Run,
    Snapshot, Strategy, Survey, Turn, Workload, decide, survey,
};

const AUTO: &str = "reloader.stakater.com/auto";
const APPLIED: &str = "trimtab.dev/reload-applied";

/// A cluster of one workload.
#[derive(Clone)]
struct World {
    workload: Value,
    kind: &'static str,
    sources: BTreeMap<Source, Value>,
    options: Options,
    pods: Vec<Value>,
    answers: Answers,
    kept: Option<Value>,
    jobs: Vec<Run>,
    births: BTreeMap<String, Birth>,
    made_anew: Option<bool>,
    now: Timestamp,
}

fn config_map(data: Value, second: u32) -> Value {
    let time = format!("2026-01-01T00:00:{second:02}Z");
    json!({
        "metadata": {"uid": "u", "resourceVersion": "1",
            "managedFields": [{"manager": "kubectl-edit", "time": time, "fieldsV1": {"f:data": {}}}]},
        "data": data,
    })
}

impl World {
    /// A Deployment that reads ConfigMap `web` and Secret `db` into variables, with these annotations, noted by us.
    fn new(annotations: Value) -> Self {
        let container = json!({"name": "app", "env": [{"name": "X", "value": "1"}],
            "envFrom": [{"configMapRef": {"name": "web"}}, {"secretRef": {"name": "db"}}]});
        let workload = json!({
            "metadata": {"name": "shop", "namespace": "ns", "uid": "w", "resourceVersion": "9", "generation": 1,
                "annotations": annotations},
            "spec": {"replicas": 1, "template": {"metadata": {}, "spec": {"containers": [container]}}},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
        });
        let mut world = Self {
            workload,
            kind: "Deployment",
            sources: BTreeMap::new(),
            options: Options { quiet_period: std::time::Duration::ZERO, ..Options::default() },
            pods: vec![],
            answers: Answers::new(),
            kept: None,
            jobs: vec![],
            births: BTreeMap::new(),
            made_anew: Some(false),
            now: "2026-01-01T01:00:00Z".parse().unwrap(),
        };
        world.set("cm/web", json!({"a": "1"}));
        world.set("secret/db", json!({"p": "aHVudGVyMg=="}));
        world
    }

    /// The same once its present configuration is noted.
    fn noted(annotations: Value) -> Self {
        let mut world = Self::new(annotations);
        world.apply();
        world
    }

    fn set(&mut self, source: &str, data: Value) {
        let second = u32::try_from(self.sources.len()).unwrap() + 1;
        self.sources.insert(source.parse().unwrap(), config_map(data, second));
    }

    /// The same with a ConfigMap `web` that pods start without.
    fn optional(mut self) -> Self {
        let container = &mut self.workload["spec"]["template"]["spec"]["containers"][0];
        container["envFrom"][0]["configMapRef"]["optional"] = true.into();
        self
    }

    fn tag(&mut self, source: &str, annotation: &str, value: &str) {
        self.sources.get_mut(&source.parse().unwrap()).unwrap()["metadata"]["annotations"] = json!({annotation: value});
    }

    fn remove(&mut self, source: &str) {
        self.sources.remove(&source.parse().unwrap());
    }

    fn workload(&self) -> Arc<Workload> {
        match self.kind {
            "Job" => serde_json::from_value::<JobView>(self.workload.clone()).unwrap().0,
            "Rollout" => serde_json::from_value::<RolloutView>(self.workload.clone()).unwrap().0,
            "CronJob" => serde_json::from_value::<CronJobView>(self.workload.clone()).unwrap().0,
            _ => serde_json::from_value::<DeploymentView>(self.workload.clone()).unwrap().0,
        }
    }

    fn view(source: &Source, object: &Value) -> SourceView {
        let mut object = object.clone();
        object["metadata"]["name"] = source.name.as_str().into();
        object["metadata"]["uid"] = source.to_string().into();
        match source.kind {
            SourceKind::ConfigMap => {
                SourceView::ConfigMap(Arc::new(serde_json::from_str::<ConfigMapView>(&object.to_string()).unwrap()))
            }
            SourceKind::Secret => {
                SourceView::Secret(Arc::new(serde_json::from_str::<SecretView>(&object.to_string()).unwrap()))
            }
        }
    }

    /// What its expressions fit, as the controller compares them.
    fn fits(&self, workload: &Workload) -> Arc<Fits> {
        let ready = self.options.ready("ns", self.options.patterns(workload));
        let mut fits = ready.fits();
        let gone = self.options.gone(workload, |source| self.sources.contains_key(source));
        self.sources.keys().chain(&gone).for_each(|source| ready.compare(source, &mut fits));
        Arc::new(fits)
    }

    fn snapshot(&self) -> Snapshot {
        let workload = self.workload();
        let live: BTreeMap<Source, SourceView> =
            self.sources.iter().map(|(source, object)| (source.clone(), Self::view(source, object))).collect();
        let is_there = |source: &Source| live.contains_key(source);
        let fits = self.fits(&workload);
        let candidates: BTreeSet<Source> = self.options.candidates(&workload, &fits, is_there);
        let survey = survey(
            &self.options,
            &workload,
            &candidates,
            &fits,
            |source| live.get(source).map(AsRef::as_ref),
            |object| self.births.get(&object.uid).copied(),
        );
        let pods = self.pods.iter().map(|pod| Arc::new(serde_json::from_value::<PodView>(pod.clone()).unwrap()));
        let mut seen = Snapshot {
            turn: None,
            versions: survey.changes.iter().map(|change| (change.source.clone(), "1".to_owned())).collect(),
            pods: pods.collect(),
            made: self.births.iter().filter_map(|(uid, birth)| Some((uid.clone(), birth.made?))).collect(),
            jobs: self.jobs.clone(),
            kept: self.kept.clone().map(|kept| Arc::new(serde_json::from_value::<KeptJob>(kept).unwrap())),
            made_anew: self.made_anew,
            answers: self.answers.clone(),
            options: Arc::new(self.options.clone()),
            workload: Some(workload).filter(|_| !self.workload.is_null()),
            survey,
        };
        seen.turn = self.turn(&seen);
        seen
    }

    /// Alone in its namespace.
    fn turn(&self, seen: &Snapshot) -> Option<Turn> {
        let (mut board, member) = (Board::default(), Member::seen(self.now, seen, true)?);
        let id = member.id.clone();
        board.put(self.now, &self.options, member);
        Some(board.turn(self.now, &self.options, &id))
    }

    fn decide(&self) -> Plan<()> {
        decide(self.now, &self.snapshot())
    }

    /// Decides and performs merge patches and strategic ones on the workload, as the API server does.
    fn apply(&mut self) -> Plan<()> {
        let plan = self.decide();
        for write in plan.writes.iter().filter(|write| write.target.kind.kind == self.kind) {
            match &write.verb {
                Verb::Merge { body, .. } | Verb::Strategic { body, .. } => merge(&mut self.workload, body),
                other => panic!("{other:?}"),
            }
        }
        plan
    }

    /// The reasons, and how each write changes the pod template.
    fn shown(&self) -> String {
        let plan = self.decide();
        let mut shown: Vec<String> = plan.because.iter().map(|because| because.reason.to_owned()).collect();
        for write in &plan.writes {
            let template = match &write.verb {
                Verb::Merge { body, .. } | Verb::Strategic { body, .. } => body["spec"]["template"].clone(),
                _ => Value::Null,
            };
            for variable in template["spec"]["containers"].as_array().into_iter().flatten() {
                for env in variable["env"].as_array().into_iter().flatten() {
                    let gone = if env["$patch"] == "delete" { "-" } else { "" };
                    shown.push(format!("{gone}{}", env["name"].as_str().unwrap()));
                }
            }
            let annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
            shown.extend(annotations.keys().map(|name| name.rsplit('/').next().unwrap().to_owned()));
        }
        shown.join(" ")
    }
}

/// A merge patch, with lists of named items merged by name.
fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else { return };
    for (name, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else if value.is_object() {
            if !into[name].is_object() {
                into[name] = json!({});
            }
            merge(&mut into[name], value);
        } else if let Some(items) = value.as_array().filter(|items| items.iter().all(|item| item["name"].is_string())) {
            for item in items {
                let list = into[name].as_array_mut().unwrap();
                match list.iter_mut().find(|there| there["name"] == item["name"]) {
                    Some(_) if item["$patch"] == "delete" => list.retain(|there| there["name"] != item["name"]),
                    Some(there) => merge(there, item),
                    None => list.push(item.clone()),
                }
            }
            // The API server takes items of one name for one: it puts them where the first of them is.
            let list = into[name].as_array_mut().unwrap();
            let names: Vec<Value> = list.iter().map(|item| item["name"].clone()).collect();
            list.sort_by_key(|item| names.iter().position(|name| *name == item["name"]));
        } else {
            into[name] = value.clone();
        }
    }
}

fn check(world: &World, expected: &str) {
    assert_eq!(world.shown(), expected, "{:#}", world.workload["metadata"]["annotations"]);
}

/// What a change of ConfigMap `web` does to a workload with these annotations.
fn check_change(annotations: Value, expected: &str) {
    let mut world = World::noted(annotations);
    world.set("cm/web", json!({"a": "2"}));
    check(&world, expected);
}

const VARIABLE: &str = "Restarting STAKATER_WEB_CONFIGMAP";
const OURS: &str = "Restarting reloaded";

#[test]
fn what_is_seen_for_the_first_time_is_noted_and_restarts_nothing() {
    let mut world = World::new(json!({AUTO: "true"}));
    check(&world, "Noting");
    world.apply();
    check(&world, "UpToDate");
    assert!(world.decide().writes.is_empty());
}

#[test]
fn a_change_restarts_once_in_one_patch_with_the_record_of_it() {
    let mut world = World::noted(json!({AUTO: "true"}));
    world.set("cm/web", json!({"a": "2"}));
    world.set("secret/db", json!({"p": "b3RoZXI="}));
    check(&world, "Restarting STAKATER_WEB_CONFIGMAP STAKATER_DB_SECRET");
    let plan = world.apply();
    assert_eq!(plan.writes.len(), 1);
    check(&world, "UpToDate");
    let variables = world.workload["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    // printf 'a=2' | sha1sum
    assert_eq!(variables[1]["value"], "d6dbf8a400e3e00c352f9ceeca960bdf64ab6377");
    // Not printf 'p=other' | sha1sum: that could be guessed.
    assert_ne!(variables[2]["value"], "c4cff577995c45965d070ac740158e3f39fd9f74");
    assert_eq!(variables[0]["name"], "X");
}

#[test]
fn reloader_s_annotations_mean_what_they_mean_to_reloader() {
    check_change(json!({AUTO: "true"}), VARIABLE);
    check_change(json!({AUTO: "T"}), VARIABLE);
    check_change(json!({"configmap.reloader.stakater.com/auto": "true"}), VARIABLE);
    check_change(json!({"secret.reloader.stakater.com/auto": "true"}), "UpToDate");
    check_change(json!({AUTO: "false"}), "UpToDate");
    check_change(json!({"configmap.reloader.stakater.com/reload": "other, web"}), VARIABLE);
    check_change(json!({"configmap.reloader.stakater.com/reload": "w.*"}), VARIABLE);
    check_change(json!({"configmap.reloader.stakater.com/reload": "x|we"}), "UpToDate");
    check_change(json!({"configmap.reloader.stakater.com/reload": "["}), "BadAnnotation UpToDate");
    check_change(json!({"reloader.stakater.com/search": "true"}), "UpToDate");
    check_change(json!({AUTO: "true", "configmaps.exclude.reloader.stakater.com/reload": "web"}), "UpToDate");
    check_change(json!({AUTO: "true", "secrets.exclude.reloader.stakater.com/reload": "web"}), VARIABLE);
}

#[test]
fn tags_of_sources_count() {
    let mut world = World::noted(json!({"reloader.stakater.com/search": "true"}));
    world.tag("cm/web", "reloader.stakater.com/match", "true");
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    world.tag("cm/web", "reloader.stakater.com/match", "true");
    check(&world, VARIABLE);
    let mut world = World::noted(json!({AUTO: "true"}));
    world.set("cm/web", json!({"a": "2"}));
    world.tag("cm/web", "reloader.stakater.com/ignore", "true");
    assert!(!world.shown().contains("Restarting"), "{}", world.shown());
}

#[test]
fn annotations_of_the_template_count_where_the_workload_has_none() {
    let mut world = World::new(json!({}));
    world.workload["spec"]["template"]["metadata"]["annotations"] = json!({AUTO: "true"});
    world.apply();
    world.set("cm/web", json!({"a": "2"}));
    check(&world, VARIABLE);
}

#[test]
fn a_named_source_that_is_not_read_restarts_the_workload_too() {
    let mut world = World::new(json!({"configmap.reloader.stakater.com/reload": "other"}));
    world.set("cm/other", json!({"a": "1"}));
    world.apply();
    world.set("cm/other", json!({"a": "2"}));
    check(&world, "Restarting STAKATER_OTHER_CONFIGMAP");
}

#[test]
fn our_annotation_says_which_sources_count() {
    let ours = |value: &str| json!({"trimtab.dev/reload": value});
    check_change(ours("auto"), OURS);
    check_change(ours("true"), OURS);
    check_change(ours("configmaps"), OURS);
    check_change(ours("secrets"), "UpToDate");
    check_change(ours("cm/web"), OURS);
    check_change(ours("secret/db,cm/web"), OURS);
    check_change(ours("off"), "UpToDate");
    check_change(ours("atuo"), "BadAnnotation UpToDate");
    check_change(json!({"trimtab.dev/reload": "auto", "trimtab.dev/reload-exclude": "cm/web"}), "UpToDate");
    check_change(json!({"trimtab.dev/reload": "off", AUTO: "true"}), "UpToDate");
}

#[test]
fn strategies_are_reloader_s() {
    let mut world = World::noted(json!({AUTO: "true"}));
    world.options.strategy = Strategy::Annotations;
    world.set("cm/web", json!({"a": "2"}));
    check(&world, "Restarting last-reloaded-from");
    world.apply();
    let note =
        &world.workload["spec"]["template"]["metadata"]["annotations"]["reloader.stakater.com/last-reloaded-from"];
    let note: Value = serde_json::from_str(note.as_str().unwrap()).unwrap();
    assert_eq!(
        (&note["type"], &note["name"], &note["containerRefs"]),
        (&json!("CONFIGMAP"), &json!("web"), &json!(["app"]))
    );
    assert_eq!(note["hash"], "d6dbf8a400e3e00c352f9ceeca960bdf64ab6377");
    let mut world = World::noted(json!({"trimtab.dev/reload": "auto"}));
    world.options.strategy = Strategy::EnvVars;
    world.set("cm/web", json!({"a": "2"}));
    check(&world, VARIABLE);
}

#[test]
fn what_reloader_noted_is_recognised_and_what_it_missed_is_caught_up_with() {
    let with = |hash: &str| {
        let mut world = World::new(json!({AUTO: "true"}));
        let variables = json!([{"name": "STAKATER_WEB_CONFIGMAP", "value": hash}]);
        world.workload["spec"]["template"]["spec"]["containers"][0]["env"] = variables;
        world
    };
    check(&with("86eda770a6060824b090dd4df091e3bd4121279c"), "Noting");
    check(&with("d6dbf8a400e3e00c352f9ceeca960bdf64ab6377"), VARIABLE);
}

#[test]
fn a_source_that_comes_or_goes_restarts_where_that_is_asked_for() {
    let gone = |annotations: Value, options: &dyn Fn(&mut Options)| {
        let mut world = World::noted(annotations);
        options(&mut world.options);
        world.remove("cm/web");
        world
    };
    check(&gone(json!({AUTO: "true"}), &|_| {}), "UpToDate");
    check(&gone(json!({"trimtab.dev/reload": "auto"}), &|_| {}), "UpToDate");
    let deleted = gone(json!({AUTO: "true"}), &|options| options.on_delete = true);
    check(&deleted, "Restarting -STAKATER_WEB_CONFIGMAP");
    // Gone and back as it was: nothing has changed.
    let mut world = gone(json!({AUTO: "true"}), &|_| {});
    world.apply();
    world.set("cm/web", json!({"a": "1"}));
    assert!(!world.shown().contains("Restarting"));
    world.set("cm/web", json!({"a": "2"}));
    check(&world, VARIABLE);
    let created = |annotations: Value, on_create: bool, optional: bool| {
        let world = World::new(annotations);
        let mut world = if optional { world.optional() } else { world };
        world.options.on_create = on_create;
        world.remove("cm/web");
        world.apply();
        world.set("cm/web", json!({"a": "1"}));
        world.shown()
    };
    for optional in [false, true] {
        assert_eq!(created(json!({AUTO: "true"}), false, optional), "Noting");
        assert_eq!(created(json!({AUTO: "true"}), true, optional), VARIABLE);
    }
    // Pods that need it have not started without it.
    assert_eq!(created(json!({"trimtab.dev/reload": "auto"}), false, false), "Noting");
    assert_eq!(created(json!({"trimtab.dev/reload": "auto"}), false, true), OURS);
}

/// Reloader's digest does not tell these two apart.
#[test]
fn contents_that_reloader_takes_for_the_same_restart_all_the_same() {
    let mut world = World::new(json!({AUTO: "true"}));
    world.set("cm/web", json!({"a": "1;b=2"}));
    world.apply();
    world.set("cm/web", json!({"a": "x"}));
    world.apply();
    world.set("cm/web", json!({"a": "1;b=2"}));
    world.apply();
    world.set("cm/web", json!({"a": "1", "b": "2"}));
    check(&world, OURS);
    world.apply();
    check(&world, "UpToDate");
}

/// Reloader calls both by one variable, and writes it in turn.
#[test]
fn two_sources_with_one_variable_restart_once_each() {
    let mut world = World::new(json!({AUTO: "true"}));
    let container = &mut world.workload["spec"]["template"]["spec"]["containers"][0];
    container["envFrom"] = json!([{"configMapRef": {"name": "a-b"}}, {"configMapRef": {"name": "a.b"}}]);
    world.set("cm/a-b", json!({"a": "1"}));
    world.set("cm/a.b", json!({"a": "2"}));
    world.apply();
    world.set("cm/a-b", json!({"a": "3"}));
    check(&world, OURS);
    world.apply();
    check(&world, "UpToDate");
}

#[test]
fn after_an_undo_the_next_change_restarts_although_the_template_names_it_already() {
    for (annotations, expected) in [(json!({AUTO: "true"}), OURS), (json!({"trimtab.dev/reload": "auto"}), OURS)] {
        let mut world = World::noted(annotations);
        world.set("cm/web", json!({"a": "2"}));
        world.apply();
        let template = world.workload["spec"]["template"].clone();
        world.set("cm/web", json!({"a": "3"}));
        world.apply();
        world.workload["spec"]["template"] = template.clone();
        check(&world, "UpToDate");
        world.set("cm/web", json!({"a": "2"}));
        check(&world, expected);
        world.apply();
        assert_ne!(world.workload["spec"]["template"], template);
    }
}

#[test]
fn workloads_that_others_look_after_are_left_alone() {
    let opted_in = |annotations: Value| {
        let world = World::new(annotations);
        world.options.opted_in(&world.workload())
    };
    assert!(opted_in(json!({AUTO: "true"})));
    assert!(!opted_in(json!({AUTO: "true", "trimtab.dev/plan": "shop"})));
    assert!(opted_in(json!({AUTO: "true", "trimtab.dev/plan": ""})));
    assert!(!opted_in(json!({AUTO: "true", "trimtab.dev/config-track": "Referenced"})));
    assert!(!opted_in(json!({})));
}

fn pod(second: u32, revision: &str) -> Value {
    let time = format!("2026-01-01T00:00:{second:02}Z");
    json!({"metadata": {"name": format!("shop-{second}"), "namespace": "ns", "uid": format!("p{second}"),
        "creationTimestamp": time, "labels": {"pod-template-hash": revision}},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}})
}

#[test]
fn pods_that_started_after_the_change_are_not_restarted() {
    let mut world = World::noted(json!({AUTO: "true"}));
    world.set("cm/web", json!({"a": "2"}));
    let with = |pods: Vec<Value>| World { pods, ..world.clone() };
    check(&with(vec![pod(20, "a"), pod(30, "a")]), "AlreadyFresh");
    check(&with(vec![pod(1, "a"), pod(30, "a")]), VARIABLE);
    let mut rolling = with(vec![pod(1, "a"), pod(30, "b")]);
    rolling.workload["status"]["replicas"] = 2.into();
    check(&rolling, "Rolling");
}

#[test]
fn a_pause_after_a_change_is_begun_and_ended() {
    let pause = "deployment.reloader.stakater.com/pause-period";
    let mut of_template = World::new(json!({AUTO: "true"}));
    of_template.workload["spec"]["template"]["metadata"]["annotations"] = json!({pause: "5m"});
    of_template.apply();
    let mut world = World::noted(json!({AUTO: "true", pause: "5m"}));
    for world in [&mut of_template, &mut world] {
        world.set("cm/web", json!({"a": "2"}));
        world.apply();
        assert_eq!(world.workload["spec"]["paused"], true);
        check(world, "Paused UpToDate");
    }
    world.now = "2026-01-01T01:05:00Z".parse().unwrap();
    check(&world, "Resuming UpToDate");
    world.apply();
    assert_eq!(world.workload["spec"]["paused"], false);
    // One that a person paused is only patched.
    let mut world = World::noted(json!({AUTO: "true", pause: "5m"}));
    world.workload["spec"]["paused"] = true.into();
    world.set("cm/web", json!({"a": "2"}));
    check(&world, VARIABLE);
    world.apply();
    check(&world, "UpToDate");
}

#[test]
fn the_quiet_period_is_waited_out() {
    let mut world = World::noted(json!({AUTO: "true"}));
    world.options.quiet_period = std::time::Duration::from_millis(500);
    world.sources.insert(Source::config_map("web"), config_map(json!({"a": "2"}), 50));
    world.pods = vec![pod(1, "a")];
    world.now = "2026-01-01T00:00:51Z".parse().unwrap();
    check(&world, "QuietPeriod");
    world.now = "2026-01-01T00:00:51.5Z".parse().unwrap();
    check(&world, VARIABLE);
    // Pods that no watch has shown may have it.
    world.pods.clear();
    check(&world, "Rolling");
    world.now = "2026-01-01T00:00:56Z".parse().unwrap();
    check(&world, VARIABLE);
}

#[test]
fn no_secret_shows_anywhere() {
    let mut world = World::noted(json!({AUTO: "true"}));
    world.options.digest_key = DigestKey::new([7; 32]);
    world.set("secret/db", json!({"p": "b3RoZXI="}));
    let seen = world.snapshot();
    let shown = format!("{seen:?} {} {:?}", serde_json::to_string(&seen).unwrap(), world.decide());
    for secret in ["b3RoZXI", "other", "c4cff577995c45965d070ac740158e3f39fd9f74"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains(APPLIED));
}

#[test]
fn where_secrets_are_not_read_a_workload_that_needs_one_is_told() {
    let mut world = World::noted(json!({"trimtab.dev/reload": "auto"}));
    world.options.secrets = false;
    // As a process sees it that does not read them.
    world.sources.remove(&"secret/db".parse().unwrap());
    let plan = world.decide();
    let told: Vec<&str> = plan.notices.iter().map(|notice| notice.reason).collect();
    assert_eq!(told, ["SecretsNotRead"]);
    assert!(plan.notices[0].note.starts_with("changes of secret/db reload nothing"), "{}", plan.notices[0].note);
    assert!(plan.because.iter().all(|because| because.reason != "Restarting"), "{:?}", plan.because);
    // ConfigMaps reload as ever.
    world.set("cm/web", json!({"a": "2"}));
    assert!(world.decide().because.iter().any(|because| because.reason == "Restarting"));
    // Who does not want it is not told.
    let mut world = World::noted(json!({"trimtab.dev/reload": "configmaps"}));
    world.options.secrets = false;
    assert!(world.decide().notices.is_empty());
}
