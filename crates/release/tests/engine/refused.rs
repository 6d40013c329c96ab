//! What ConfigPolicies refuse reaches no pod of a release, by whatever name its pods would read it: the live object, an
//! earlier revision, what only looks like one, and what is read live.

use proptest::prelude::*;
use serde_json::json;
use trimtab_crds::{ConfigMode, Phase, names};

use crate::configuration::configured;
use crate::histories::{Event, config, happen, machine};
use crate::model::{CONFIG_MAPS, Cluster};
use crate::world::{check_end, check_faults, four_with};

/// Where it ends, what the pods read of ConfigMap `web` then, and what is said.
fn check(cluster: &mut Cluster, phase: Phase, configs: &[(&str, usize)], says: &str) {
    let status = check_end(cluster).unwrap();
    assert_eq!(status.phase, phase, "{}", status.message);
    assert!(status.message.contains(says), "{}", status.message);
    let wanted: Vec<(String, usize)> = configs.iter().map(|(config, n)| ((*config).to_owned(), *n)).collect();
    assert_eq!(cluster.configs().into_iter().collect::<Vec<_>>(), wanted);
}

/// It is refused, every pod that there was goes on, and no request changes that.
fn check_refused(cluster: &mut Cluster, stable: &str, says: &str) {
    check(cluster, Phase::Blocked, &[(stable, 4)], says);
    let status = cluster.status().unwrap();
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "ConfigRefused"));
    cluster.request("promote-full:refused");
    check(cluster, Phase::Blocked, &[(stable, 4)], says);
}

fn without_steps(cluster: &mut Cluster) {
    cluster.edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([]));
    cluster.settle().unwrap();
}

/// `a` was stable, then `b`.
fn one_after_the_other() -> Cluster {
    let mut cluster = configured();
    without_steps(&mut cluster);
    cluster.set_config("b");
    check(&mut cluster, Phase::Stable, &[("b", 4)], "");
    cluster
}

#[test]
fn a_policy_that_came_since_is_asked_about_an_earlier_revision() {
    for by in ["undo", "kubectl rollout undo", "a pin of the plan", "a pin in the template"] {
        let mut cluster = one_after_the_other();
        let pin = cluster.pin_of("a").unwrap();
        cluster.refuse_all(&["a"]);
        match by {
            "undo" => cluster.request("undo:1"),
            "kubectl rollout undo" => cluster.kubectl_undo(),
            "a pin of the plan" => cluster.pin_by_plan(Some(&pin)),
            _ => cluster.pin_in_template(&pin),
        }
        let says = format!(
            "revision {pin} of cm/web is refused: app.conf, line 1: it is odd (rule sane of ConfigPolicy strict); it is kept \
             as it was: let the policy allow it, or release another"
        );
        check_refused(&mut cluster, "b", &says);
        // Whoever needs it back changes the policy, and it goes on.
        let mut allowed = cluster.clone();
        allowed.refuse_all(&[]);
        check(&mut allowed, Phase::Stable, &[("a", 4)], "");
        // Or stays where they are.
        match by {
            "a pin of the plan" => cluster.pin_by_plan(None),
            _ => cluster.request("undo:2"),
        }
        check(&mut cluster, Phase::Stable, &[("b", 4)], "");
    }
}

#[test]
fn what_stable_pods_read_already_is_not_asked_about_again() {
    let mut cluster = configured();
    cluster.refuse_all(&["a"]);
    cluster.set_image("app:2");
    check(&mut cluster, Phase::Paused, &[("a", 8)], "");
    // Nor what a bad release is undone to.
    cluster.request("undo:1");
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
}

#[test]
fn what_only_looks_like_a_copy_is_asked_about() {
    let mut cluster = configured();
    cluster.refuse_all(&["evil"]);
    let pin = cluster.look_alike("evil");
    cluster.pin_in_template(&pin);
    check_refused(&mut cluster, "a", "is refused");
    // Where the stable template names it, and does not read it, no pod has it.
    let mut cluster = four_with(json!([])).stable();
    cluster.create(CONFIG_MAPS, "web", json!({"metadata": {}, "data": {"app.conf": "a"}}));
    let pin = cluster.look_alike("evil");
    cluster.edit(|d| d["spec"]["template"]["metadata"]["annotations"] = json!({}));
    cluster.pin_in_template(&pin);
    check(&mut cluster, Phase::Stable, &[], "");
    cluster.refuse_all(&["evil"]);
    cluster.edit_plan(|plan| plan["metadata"]["annotations"] = json!({}));
    cluster.pin_by_plan(Some(&pin));
    cluster.edit(|d| {
        d["spec"]["template"]["spec"]["volumes"] = json!([{"name": "c", "configMap": {"name": "web"}}]);
    });
    let status = check_end(&mut cluster).unwrap();
    assert!(status.phase == Phase::Blocked && status.message.contains("is refused"), "{}", status.message);
}

/// ConfigMap `web` is read live.
fn read_live(by: &str) -> Cluster {
    let mut cluster = configured();
    without_steps(&mut cluster);
    let mode = match by {
        "mode" => json!({"sources": [{"kind": "ConfigMap", "name": "web", "mode": "Live"}]}),
        "listed" => json!({"track": "Listed"}),
        _ => json!({"track": "None"}),
    };
    cluster.edit_plan(|plan| plan["spec"]["config"] = mode);
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
    cluster
}

#[test]
fn what_is_read_live_is_asked_about_when_a_release_begins() {
    for by in ["mode", "listed", "none"] {
        let mut cluster = read_live(by);
        cluster.refuse_all(&["refused"]);
        cluster.set_config("refused");
        check(&mut cluster, Phase::Stable, &[("a", 4)], "");
        cluster.set_image("app:2");
        check_refused(&mut cluster, "a", "cm/web, which is read live, is refused");
        cluster.set_config("b");
        check(&mut cluster, Phase::Stable, &[("b", 4)], "");
    }
}

#[test]
fn what_is_refused_is_not_reached_by_reading_it_live() {
    let mut cluster = configured();
    cluster.refuse();
    cluster.set_config("refused");
    check_refused(&mut cluster, "a", "cm/web is refused");
    cluster.edit_plan(|plan| plan["spec"]["config"] = json!({"track": "None"}));
    check_refused(&mut cluster, "a", "cm/web, which is read live, is refused");
}

fn mode_of_secret(cluster: &mut Cluster) -> (ConfigMode, Option<String>) {
    let sources = cluster.status().unwrap().config.unwrap().sources;
    let found = sources.into_iter().find(|status| status.source == "secret/db").unwrap();
    (found.mode, found.note)
}

/// Pods read Secret `db` as well.
fn with_secret(renewed: bool) -> Cluster {
    let mut cluster = configured();
    without_steps(&mut cluster);
    cluster.configure_secret("aaaa");
    cluster.renew_secret(renewed);
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
    assert_eq!(mode_of_secret(&mut cluster).0, if renewed { ConfigMode::Live } else { ConfigMode::Frozen });
    cluster
}

#[test]
fn a_frozen_secret_that_becomes_renewed_stays_frozen_until_the_plan_says_otherwise() {
    let mut cluster = with_secret(false);
    cluster.refuse_all(&["bbbb"]);
    cluster.set_secret("bbbb");
    check_refused(&mut cluster, "a", "secret/db is refused");
    cluster.renew_secret(true);
    check_refused(&mut cluster, "a", "secret/db is refused");
    cluster.refuse_all(&["cccc"]);
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
    let (mode, note) = mode_of_secret(&mut cluster);
    let note = note.unwrap_or_default();
    assert!(mode == ConfigMode::Frozen && note.contains("renewed by a program") && note.contains("Live"), "{note}");
    // With the plan's word it is read live, and asked about all the same.
    cluster.set_secret("cccc");
    cluster.edit_plan(|plan| {
        plan["spec"]["config"] = json!({"sources": [{"kind": "Secret", "name": "db", "mode": "Live"}]});
    });
    check_refused(&mut cluster, "a", "secret/db, which is read live, is refused");
    cluster.set_secret("dddd");
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
    assert_eq!(mode_of_secret(&mut cluster).0, ConfigMode::Live);
}

#[test]
fn a_secret_that_is_renewed_when_it_is_first_seen_is_read_live_and_asked_about() {
    let mut cluster = with_secret(true);
    cluster.refuse_all(&["bbbb"]);
    cluster.set_secret("bbbb");
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
    cluster.set_image("app:2");
    check_refused(&mut cluster, "a", "secret/db, which is read live, is refused");
}

#[test]
fn a_secret_of_a_type_that_is_not_looked_at_is_no_way_past_a_policy() {
    let mut cluster = with_secret(true);
    cluster.refuse_all(&["bbbb"]);
    cluster.remake_secret("helm.sh/release.v1", "bbbb");
    cluster.set_image("app:2");
    let status = check_end(&mut cluster).unwrap();
    assert_eq!(status.phase, Phase::Blocked, "{}", status.message);
    assert!(!cluster.made.contains_key("app:2") && status.message.contains("Helm"), "{}", status.message);
    cluster.remake_secret("kubernetes.io/tls", "aaaa");
    check(&mut cluster, Phase::Stable, &[("a", 4)], "");
}

/// What people and others do to configuration.
#[derive(Clone, Debug)]
enum Act {
    Machine(Event),
    Settle,
    Config(&'static str),
    Secret(&'static str),
    Refuse(&'static [&'static str]),
    Image(u8),
    Request(&'static str),
    KubectlUndo,
    PinByPlan(Option<&'static str>),
    PinInTemplate(&'static str),
    LookAlike(&'static str),
    Renew(bool),
    Track(&'static str),
}

const VALUES: [&str; 4] = ["a", "b", "c", "odd"];
const SECRETS: [&str; 3] = ["aaaa", "bbbb", "cccc"];
const REFUSED: [&[&str]; 5] = [&[], &["odd"], &["a"], &["a", "b", "aaaa"], &["c", "odd", "bbbb", "cccc"]];

fn acts() -> impl Strategy<Value = Act> {
    let value = || prop::sample::select(VALUES.to_vec());
    let whole = prop::sample::select(vec!["{}", "None", "Live", "Listed"]);
    let verbs = prop::sample::select(trimtab_release::REQUESTS.to_vec());
    prop_oneof![
        5 => machine().prop_map(Act::Machine),
        8 => Just(Act::Settle),
        3 => value().prop_map(Act::Config),
        1 => prop::sample::select(SECRETS.to_vec()).prop_map(Act::Secret),
        3 => prop::sample::select(REFUSED.to_vec()).prop_map(Act::Refuse),
        1 => (0..3u8).prop_map(Act::Image),
        4 => verbs.prop_map(Act::Request),
        1 => Just(Act::KubectlUndo),
        1 => prop::option::of(value()).prop_map(Act::PinByPlan),
        2 => value().prop_map(Act::PinInTemplate),
        1 => value().prop_map(Act::LookAlike),
        1 => any::<bool>().prop_map(Act::Renew),
        1 => whole.prop_map(Act::Track),
    ]
}

fn act(cluster: &mut Cluster, act: &Act, count: usize) -> Result<(), String> {
    match act {
        Act::Machine(event) => happen(cluster, event, count),
        Act::Settle => cluster.settle().map(drop)?,
        Act::Config(value) => cluster.set_config(value),
        Act::Secret(value) => cluster.set_secret(value),
        Act::Refuse(values) => cluster.refuse_all(values),
        Act::Image(number) => cluster.set_image(&format!("app:{number}")),
        Act::Request(verb) => cluster.request(&format!("{verb}:{count}")),
        Act::KubectlUndo => cluster.kubectl_undo(),
        Act::PinByPlan(None) => cluster.pin_by_plan(None),
        Act::PinByPlan(Some(value)) => {
            let pin = cluster.pin_of(value);
            cluster.pin_by_plan(pin.as_deref());
        }
        Act::PinInTemplate(value) => {
            if let Some(pin) = cluster.pin_of(value) {
                cluster.pin_in_template(&pin);
            }
        }
        Act::LookAlike(value) => {
            let pin = cluster.look_alike(value);
            cluster.pin_in_template(&pin);
        }
        Act::Renew(renewed) => cluster.renew_secret(*renewed),
        Act::Track(track) => cluster.edit_plan(|plan| {
            let live = json!({"sources": [{"kind": "ConfigMap", "name": "web", "mode": "Live"},
                                          {"kind": "Secret", "name": "db", "mode": "Live"}]});
            plan["spec"]["config"] = match *track {
                "{}" => json!({}),
                "Live" => live,
                track => json!({"track": track}),
            };
        }),
    }
    Ok(())
}

fn check_acts(renewed: bool, steps: bool, history: &[Act]) -> Result<(), String> {
    let mut cluster = with_secret(renewed);
    if steps {
        cluster
            .edit_plan(|plan| plan["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]));
    }
    cluster.edit_plan(|plan| plan["metadata"]["annotations"] = json!({names::REQUEST: ""}));
    for (count, one) in history.iter().enumerate() {
        act(&mut cluster, one, count)?;
        check_faults(&cluster)?;
    }
    check_end(&mut cluster).map(drop)
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn no_pod_that_a_release_makes_reads_what_the_policies_refused_when_it_began(
        renewed in any::<bool>(),
        steps in any::<bool>(),
        history in prop::collection::vec(acts(), 0..40),
    ) {
        check_acts(renewed, steps, &history).map_err(TestCaseError::fail)?;
    }
}
