//! A restart changes a variable of its own and no other: neither its value nor its place, whatever the list looks like.

#![expect(clippy::unwrap_used, reason = "this is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_config::{ConfigMapView, Source, SourceView};
use trimtab_plan::{Answers, Verb};
use trimtab_reload::{DeploymentView, Options, Snapshot, Strategy as Style, decide, survey};

const VARIABLE: &str = "STAKATER_WEB_CONFIGMAP";

/// A Deployment's variables after a reload for ConfigMap `web`, merged as the API server merges a list by its names.
fn reloaded(env: &[Value], style: Style) -> Vec<Value> {
    let options = Options { strategy: style, quiet_period: std::time::Duration::ZERO, ..Options::default() };
    let web = Source::config_map("web");
    let object = json!({"metadata": {"name": "web", "namespace": "ns"}, "data": {"a": "2"}});
    let live = SourceView::ConfigMap(Arc::new(serde_json::from_str::<ConfigMapView>(&object.to_string()).unwrap()));
    let container = json!({"name": "app", "env": env, "envFrom": [{"configMapRef": {"name": "web"}}]});
    let workload = json!({
        "metadata": {"name": "shop", "namespace": "ns", "uid": "w", "annotations": {
            "reloader.stakater.com/auto": "true", "trimtab.dev/reload-applied": "cm/web=0000000000"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    });
    let workload = serde_json::from_value::<DeploymentView>(workload).unwrap().0;
    let survey =
        survey(&options, &workload, &BTreeSet::from([web]), &Arc::default(), |_| Some(live.as_ref()), |_| None);
    let seen = Snapshot {
        turn: None,
        made: Default::default(),
        made_anew: None,
        versions: BTreeMap::new(),
        pods: vec![],
        jobs: vec![],
        kept: None,
        answers: Answers::new(),
        options: Arc::new(options),
        workload: Some(workload),
        survey,
    };
    let plan = decide("2026-01-01T00:00:00Z".parse().unwrap(), &seen);
    let [write] = plan.writes.as_slice() else { return vec![json!(format!("{:?}", plan.because))] };
    let body = match &write.verb {
        Verb::Strategic { body, .. } => body,
        other => return vec![json!(format!("{other:?}"))],
    };
    let template = &body["spec"]["template"];
    assert!(template["metadata"]["annotations"].is_object() || template["spec"]["containers"].is_array(), "no restart");
    merged(env, template["spec"]["containers"][0]["env"].as_array().map_or(&[], Vec::as_slice))
}

/// Items of one name are one to it: the patch goes to the first of them, and the others move to it.
fn merged(env: &[Value], patch: &[Value]) -> Vec<Value> {
    if patch.is_empty() {
        return env.to_vec();
    }
    let mut env = env.to_vec();
    for item in patch {
        match env.iter_mut().find(|there| there["name"] == item["name"]) {
            Some(there) => *there = item.clone(),
            None => env.push(item.clone()),
        }
    }
    let names: Vec<Value> = env.iter().map(|item| item["name"].clone()).collect();
    env.sort_by_key(|item| names.iter().position(|name| *name == item["name"]));
    env
}

fn variable() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["LOG", "URL", "MODE", "LAST", VARIABLE]);
    let value = prop_oneof![
        "[a-z]{1,3}".prop_map(|value| json!({"value": value})),
        Just(json!({"value": "x-$(LOG)-$(URL)"})),
        Just(json!({"valueFrom": {"configMapKeyRef": {"name": "web", "key": "a"}}})),
        Just(json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})),
    ];
    (name, value).prop_map(|(name, mut variable)| {
        variable["name"] = name.into();
        variable
    })
}

proptest! {
    #[test]
    fn no_other_variable_changes_nor_does_their_order(env in prop::collection::vec(variable(), 0..8)) {
        for style in [Style::Default, Style::EnvVars, Style::Annotations] {
            let others = |env: &[Value]| env.iter().filter(|one| one["name"] != VARIABLE).cloned().collect::<Vec<_>>();
            prop_assert_eq!(others(&reloaded(&env, style)), others(&env), "{:?}", style);
        }
    }
}

#[test]
fn a_list_that_names_a_variable_twice_is_left_as_it_is() {
    let env = [
        json!({"name": "LOG", "value": "info"}),
        json!({"name": "URL", "value": "collector.example/?level=$(LOG)"}),
        json!({"name": "LOG", "value": "debug"}),
        json!({"name": "LAST", "value": "$(LOG)-$(URL)"}),
    ];
    assert_eq!(reloaded(&env, Style::EnvVars), env);
    let reloaded = reloaded(&env[..2], Style::EnvVars);
    assert_eq!((reloaded.len(), &reloaded[..2]), (3, &env[..2]));
}
