//! Which pins follow from what, case by case.

use serde_json::json;

use super::*;
use crate::{ConfigMapView, reads};

const KEY: [u8; 32] = [7; 32];

struct Any(Object);

impl AsRef<Object> for Any {
    fn as_ref(&self) -> &Object {
        &self.0
    }
}

fn map(name: &str, data: &str) -> Object {
    let object = json!({"metadata": {"name": name}, "data": {"k": data}});
    serde_json::from_str::<ConfigMapView>(&object.to_string()).unwrap().0
}

fn web() -> Source {
    Source::config_map("web")
}

/// The suffix under which this data is copied.
fn suffix(data: &str) -> String {
    let known = Known { live: Some(Any(map("web", data))), copies: vec![], strangers: vec![], unseen: false };
    live_pin(&web(), &known, &KEY).unwrap().to_string()
}

fn copy(data: &str) -> Any {
    Any(map(&format!("web-{}", suffix(data)), data))
}

/// A template that reads `web`; data of the live object, if it is there; pins by data.
struct Case {
    live: Option<&'static str>,
    copies: &'static [&'static str],
    template: Option<&'static str>,
    stable: Option<&'static str>,
    considered: Option<&'static str>,
    pinned: Option<&'static str>,
    joins: bool,
    optional: bool,
}

const CASE: Case = Case {
    live: Some("a"),
    copies: &["a", "b"],
    template: None,
    stable: None,
    considered: None,
    pinned: None,
    joins: false,
    optional: false,
};

fn pins(data: Option<&str>) -> Pins {
    Pins(data.map(|data| (web(), Pin::Revision(suffix(data).into()))).into_iter().collect())
}

fn run(case: &Case) -> Want {
    let volume = json!({"configMap": {"name": "web", "optional": case.optional, "items": [{"key": "k", "path": "k"}]}});
    let reads = reads(&json!({"spec": {"volumes": [volume]}}));
    let known = Known {
        live: case.live.map(|data| Any(map("web", data))),
        copies: case.copies.iter().map(|data| copy(data)).collect(),
        strangers: vec![],
        unseen: false,
    };
    let seen = Situation {
        reads: &reads,
        known: &[(web(), known)].into(),
        template: &pins(case.template),
        stable: &pins(case.stable),
        considered: &pins(case.considered).0,
        overrides: &pins(case.pinned),
        joins: case.joins,
        frozen: &BTreeSet::new(),
        key: &KEY,
    };
    want(&seen, |_| None)
}

/// The pin that comes out, by the data that it is of; or the problem.
fn check(case: &Case, expected: &str) {
    let want = run(case);
    let shown = match (want.problems.first(), want.pins.get(&web())) {
        (Some(problem), _) => problem.reason().to_owned(),
        (None, Some(Pin::Absent)) => "absent".to_owned(),
        (None, Some(pin)) => {
            let of = ["a", "b", "c"].into_iter().find(|data| suffix(data) == pin.to_string());
            of.unwrap_or("unknown").to_owned()
        }
        (None, None) => "none".to_owned(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn what_was_never_pinned_waits_for_the_next_release() {
    check(&CASE, "none");
    check(&Case { considered: Some("a"), ..CASE }, "none");
    check(&Case { joins: true, ..CASE }, "a");
    check(&Case { considered: Some("b"), ..CASE }, "a");
}

#[test]
fn a_live_change_is_taken_up_and_an_undo_stays() {
    let pinned = Case { template: Some("a"), stable: Some("a"), considered: Some("a"), ..CASE };
    check(&pinned, "a");
    check(&Case { live: Some("b"), ..pinned }, "b");
    // The template was taken back to `a` while `b` is live and known.
    let undone = Case { live: Some("b"), considered: Some("b"), ..pinned };
    check(&undone, "a");
    assert_eq!(run(&undone).ahead, [web()]);
    check(&Case { live: Some("c"), ..undone }, "c");
}

#[test]
fn a_write_that_drops_the_pins_changes_nothing() {
    check(&Case { stable: Some("a"), live: Some("b"), considered: Some("b"), joins: true, ..CASE }, "a");
}

#[test]
fn what_is_not_read_keeps_its_pin_and_is_named() {
    let secret: Source = "secret/db".parse().unwrap();
    let template = json!({"spec": {"containers": [{"name": "a", "envFrom": [{"secretRef": {"name": "db"}}]}]}});
    let reads = reads(&template);
    let pinned = Pins([(secret.clone(), Pin::Revision("4f7c19ab20".into()))].into());
    let none = Pins::default();
    let run = |template: &Pins, mode| {
        let (known, considered) = (BTreeMap::<Source, Known<Any>>::new(), BTreeMap::new());
        let seen = Situation {
            reads: &reads,
            known: &known,
            template,
            stable: &none,
            considered: &considered,
            overrides: &none,
            joins: true,
            frozen: &BTreeSet::new(),
            key: &KEY,
        };
        want(&seen, |_| mode)
    };
    let (kept, open, live) = (run(&pinned, None), run(&none, None), run(&pinned, Some(Mode::Live)));
    assert_eq!((&kept.pins, kept.unread.len(), kept.problems.len()), (&pinned, 1, 0));
    assert_eq!((&open.pins, open.unread.len(), open.problems.len()), (&none, 1, 0));
    assert_eq!((&live.pins, live.unread.len(), live.unfrozen.len()), (&none, 0, 1));
    assert!(unread_words(&open.unread).starts_with("secret/db is not looked at"));
}

#[test]
fn a_person_s_pin_stays_until_it_is_taken_off() {
    let pinned = Case { pinned: Some("a"), template: Some("b"), live: Some("b"), considered: Some("b"), ..CASE };
    check(&pinned, "a");
    assert!(run(&pinned).overridden.contains(&web()), "what is live is not taken into account meanwhile");
    check(&Case { pinned: None, template: Some("a"), considered: None, live: Some("b"), ..CASE }, "b");
}

#[test]
fn what_is_missing_blocks_unless_it_is_optional_or_a_copy_is_there() {
    let gone = Case { live: None, joins: true, ..CASE };
    check(&gone, "ConfigMissing");
    check(&Case { optional: true, ..gone }, "absent");
    check(&Case { template: Some("a"), considered: Some("a"), ..gone }, "a");
    check(&Case { template: Some("a"), considered: Some("a"), optional: true, ..gone }, "absent");
}

#[test]
fn a_revision_that_is_not_kept_blocks() {
    check(&Case { copies: &[], template: Some("b"), considered: Some("a"), ..CASE }, "ConfigGone");
    check(&Case { copies: &[], template: Some("a"), considered: Some("a"), ..CASE }, "a");
}

#[test]
fn a_key_that_a_pod_needs_blocks() {
    let mut object = map("web", "a");
    object.content = serde_json::from_str::<ConfigMapView>(r#"{"metadata":{},"data":{"other":""}}"#).unwrap().0.content;
    let reads = reads(&json!({"spec": {"volumes": [{"configMap": {"name": "web", "items": [{"key": "k"}]}}]}}));
    let known = Known { live: Some(Any(object)), copies: vec![], strangers: vec![], unseen: false };
    let (none, empty) = (Pins::default(), BTreeMap::new());
    let known = [(web(), known)].into();
    let seen = Situation {
        reads: &reads,
        known: &known,
        template: &none,
        stable: &none,
        considered: &empty,
        overrides: &none,
        joins: true,
        frozen: &BTreeSet::new(),
        key: &KEY,
    };
    assert_eq!(want(&seen, |_| None).problems, [Problem::MissingKey(web(), "k".into())]);
    assert!(want(&seen, |_| Some(Mode::Live)).pins.is_empty());
}

#[test]
fn what_appears_in_place_of_a_source_that_is_not_there_is_told() {
    let (key, name) = (Pin::Absent, Pin::Absent.copy_name(&web()));
    let known = Known::<Any> { live: None, copies: vec![], strangers: vec![name.clone()], unseen: false };
    let reference = Reference { optional: true, ..Reference::default() };
    let problem = problem(&web(), &reference, &known, &key, &Pin::Absent).unwrap();
    assert!(problem.reason() == "ConfigCopyChanged" && problem.to_string().contains(&name), "{problem}");
}

#[test]
fn a_name_that_is_taken_gives_way_to_a_longer_one() {
    let mut known = Known { live: Some(Any(map("web", "a"))), copies: vec![], strangers: vec![], unseen: false };
    let short = live_pin(&web(), &known, &KEY).unwrap();
    known.strangers.push(short.copy_name(&web()));
    let long = live_pin(&web(), &known, &KEY).unwrap().to_string();
    assert!(long.len() == 20 && long.starts_with(&short.to_string()));
    known.strangers.extend(copy_names(&web(), &map("web", "a"), &KEY));
    assert_eq!(live_pin(&web(), &known, &KEY), None);
    let problem = no_name(&web(), &known, &KEY);
    assert!(problem.reason() == "ConfigNamesTaken" && problem.to_string().contains("delete or rename"), "{problem}");
    let name = "x".repeat(243);
    let source = Source::config_map(name.clone());
    let known = Known { live: Some(Any(map(&name, "a"))), copies: vec![], strangers: vec![], unseen: false };
    assert_eq!(live_pin(&source, &known, &KEY), None);
    assert_eq!(no_name(&source, &known, &KEY).reason(), "ConfigNameTooLong");
}

#[test]
fn a_longer_name_of_the_same_copy_steers_nothing() {
    let short = copy("a");
    let mut long = map("web", "a");
    long.metadata.name = format!("{}0123456789", short.0.metadata.name);
    let known =
        Known { live: Some(Any(map("web", "a"))), copies: vec![Any(long), short], strangers: vec![], unseen: false };
    assert_eq!(live_pin(&web(), &known, &KEY).unwrap().to_string(), suffix("a"));
}

#[test]
fn what_only_looks_like_a_pinned_copy_is_not_read() {
    let reads = reads(&json!({"spec": {"volumes": [{"configMap": {"name": "web"}}]}}));
    let strangers = vec![format!("web-{}", suffix("a")), format!("web-{}", suffix("b"))];
    for pinned in ["a", "b"] {
        let known =
            Known { live: Some(Any(map("web", "a"))), copies: vec![], strangers: strangers.clone(), unseen: false };
        let seen = Situation {
            reads: &reads,
            known: &[(web(), known)].into(),
            template: &pins(Some(pinned)),
            stable: &pins(Some(pinned)),
            considered: &pins(Some("a")).0,
            overrides: &pins(Some(pinned)),
            joins: false,
            frozen: &BTreeSet::new(),
            key: &KEY,
        };
        assert_eq!(want(&seen, |_| None).problems[0].reason(), "ConfigCopyChanged", "{pinned}");
    }
}

#[test]
fn a_copy_that_was_made_anew_is_not_trusted() {
    let reads = reads(&json!({"spec": {"volumes": [{"configMap": {"name": "web"}}]}}));
    let forged = Any(map(&format!("web-{}", suffix("b")), "forged"));
    let known: BTreeMap<Source, Known<Any>> =
        [(web(), Known { live: Some(Any(map("web", "a"))), copies: vec![forged], strangers: vec![], unseen: false })]
            .into();
    let seen = Situation {
        reads: &reads,
        known: &known,
        template: &pins(Some("b")),
        stable: &pins(Some("b")),
        considered: &pins(Some("a")).0,
        overrides: &Pins::default(),
        joins: false,
        frozen: &BTreeSet::new(),
        key: &KEY,
    };
    assert_eq!(want(&seen, |_| None).problems[0].reason(), "ConfigCopyChanged");
}

#[test]
fn what_was_frozen_does_not_become_live_by_what_it_looks_like() {
    let check = |type_: &str, annotated: bool, frozen: bool, mode: Option<Mode>, expected: &str| {
        let source = Source::secret("db");
        let annotations = if annotated { json!({"cert-manager.io/certificate-name": "x"}) } else { json!({}) };
        let object = json!({"metadata": {"name": "db", "annotations": annotations}, "type": type_, "data": {}});
        let live = serde_json::from_str::<crate::SecretView>(&object.to_string()).unwrap().0;
        let known = Known { live: Some(Any(live)), copies: vec![], strangers: vec![], unseen: false };
        let seen = Situation {
            reads: &reads(&json!({"spec": {"volumes": [{"secret": {"secretName": "db"}}]}})),
            known: &[(source.clone(), known)].into(),
            template: &Pins::default(),
            stable: &Pins::default(),
            considered: &BTreeMap::new(),
            overrides: &Pins::default(),
            joins: true,
            frozen: &frozen.then(|| source.clone()).into_iter().collect(),
            key: &KEY,
        };
        let want = want(&seen, |_| mode);
        let shown = match want.problems.first() {
            Some(problem) => problem.reason(),
            None if want.unfrozen.contains_key(&source) => "live",
            None if want.still_frozen.contains_key(&source) => "still frozen",
            None => "frozen",
        };
        assert_eq!(shown, expected, "{type_} {annotated} {frozen} {mode:?}");
    };
    let (tls, registry) = ("kubernetes.io/tls", "kubernetes.io/dockerconfigjson");
    check("Opaque", true, false, None, "live");
    check("Opaque", true, true, None, "still frozen");
    check("Opaque", true, true, Some(Mode::Live), "live");
    check("Opaque", true, true, Some(Mode::Frozen), "frozen");
    check("Opaque", false, true, None, "frozen");
    // Deleted and made anew, with another type.
    check(tls, false, false, None, "live");
    check(tls, false, true, None, "still frozen");
    check(registry, false, false, Some(Mode::Frozen), "live");
    check(registry, false, true, Some(Mode::Frozen), "ConfigNeverFrozen");
    check(registry, false, true, None, "ConfigNeverFrozen");
    check(registry, false, true, Some(Mode::Live), "live");
}
