//! Which pins a template is to have: one small rule a source. Not when they are written, nor what else a release needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::pins::LENGTHS;
use crate::{Known, LiveReason, Object, Pin, Pins, Reads, Reference, Source, live_by_nature};

/// The longest name of a ConfigMap or Secret.
const LONGEST_NAME: usize = 253;

/// How a workload's sources are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Copied, and pinned.
    Frozen,
    /// Read as it is.
    Live,
}

/// What the pins of a workload follow from.
pub struct Situation<'a, O> {
    /// What the template reads.
    pub reads: &'a Reads,
    /// What is known of these sources.
    pub known: &'a BTreeMap<Source, Known<O>>,
    /// The pins that the template has.
    pub template: &'a Pins,
    /// The pins of the stable revision.
    pub stable: &'a Pins,
    /// The live revision of each source that was last taken into account.
    pub considered: &'a BTreeMap<Source, Pin>,
    /// Pins that people set, which stay until they take them off.
    pub overrides: &'a Pins,
    /// Whether a new revision is on its way in any case, so that what has no pin yet can get one.
    pub joins: bool,
    /// The key under which digests of Secrets are made.
    pub key: &'a [u8; 32],
}

/// The pins that a template is to have, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Want {
    /// The pins of the frozen sources.
    pub pins: Pins,
    /// The live revision of each frozen source.
    pub live: BTreeMap<Source, Pin>,
    /// Sources that people pinned: what is live is not taken into account until they unpin it.
    pub overridden: BTreeSet<Source>,
    /// Sources whose live object is not what is pinned, by a person's wish or by an undo.
    pub ahead: Vec<Source>,
    /// Sources without a pin: a pod that starts reads the live object.
    pub unprotected: Vec<Source>,
    /// Sources that are not frozen, with the reason where it is their nature.
    pub unfrozen: BTreeMap<Source, Option<LiveReason>>,
    /// Secrets that this process does not read: pinned as they are, and never anew.
    pub unread: BTreeSet<Source>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
}

/// What stands in the way of freezing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no such object, and pods do not start without it.
    Missing(Source),
    /// An entry is not there without which pods do not start.
    MissingKey(Source, Box<str>),
    /// The name of the copy would be too long.
    NameTooLong(Source),
    /// A revision that is pinned is not kept any more.
    Gone(Source, Pin),
    /// A copy does not hold what its name says.
    Changed(Source, Pin),
}

impl Problem {
    /// The source that it is about.
    pub fn source(&self) -> &Source {
        match self {
            Self::Missing(source)
            | Self::MissingKey(source, _)
            | Self::NameTooLong(source)
            | Self::Gone(source, _)
            | Self::Changed(source, _) => source,
        }
    }

    /// A stable code.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "ConfigMissing",
            Self::MissingKey(..) => "ConfigKeyMissing",
            Self::NameTooLong(_) => "ConfigNameTooLong",
            Self::Gone(..) => "ConfigGone",
            Self::Changed(..) => "ConfigCopyChanged",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(source) => {
                write!(f, "{source} is not there and is not optional: create it, or take the reference out")
            }
            Self::MissingKey(source, key) => {
                write!(
                    f,
                    "{source} has no key {key:?}, without which pods do not start: put it back, or take the reference out"
                )
            }
            Self::NameTooLong(source) => {
                let room = LONGEST_NAME - LENGTHS[0] - 1;
                write!(
                    f,
                    "{source} cannot be copied: its name has more than {room} letters; shorten it, or set its mode to Live"
                )
            }
            Self::Gone(source, pin) => write!(
                f,
                "revision {pin} of {source} is pinned and is not kept any more: see kubectl trimtab config history {source}"
            ),
            Self::Changed(source, pin) => write!(
                f,
                "{} is not what Trimtab copied: somebody made it anew; delete it, and it is copied again",
                pin.copy_name(source)
            ),
        }
    }
}

/// The code of [`unread_words`].
pub const SECRETS_NOT_READ: &str = "SecretsNotRead";

/// What it means for a workload that Secrets are not read, and what to do.
pub fn unread_words<'s>(unread: impl IntoIterator<Item = &'s Source>) -> String {
    let names: Vec<String> = unread.into_iter().map(ToString::to_string).collect();
    format!(
        "{} is not looked at, since the manager runs with --secrets=false: pods read what they are pinned to, or else the live \
         object, whose changes reach them unjudged; run it with --secrets=true, or set the mode to Live",
        names.join(", ")
    )
}

/// The pins that a template is to have. `mode` is the plan's word on a source; `None` leaves it to its nature.
pub fn want<O: AsRef<Object>>(seen: &Situation<'_, O>, mode: impl Fn(&Source) -> Option<Mode>) -> Want {
    let mut want = Want::default();
    for (source, reference) in &seen.reads.sources {
        let Some(known) = seen.known.get(source) else {
            want.leave(seen, source, mode(source));
            continue;
        };
        let nature = known.live.as_ref().and_then(|object| live_by_nature(object.as_ref()));
        let always = nature.is_some_and(LiveReason::always);
        let chosen = mode(source).filter(|_| !always);
        if chosen.unwrap_or(if nature.is_some() { Mode::Live } else { Mode::Frozen }) == Mode::Live {
            want.unfrozen.insert(source.clone(), nature.filter(|_| chosen.is_none()));
            continue;
        }
        want.freeze(seen, source, reference, known);
    }
    want
}

impl Want {
    /// What is not looked at stays as it is.
    fn leave<O>(&mut self, seen: &Situation<'_, O>, source: &Source, mode: Option<Mode>) {
        if mode == Some(Mode::Live) {
            self.unfrozen.insert(source.clone(), None);
            return;
        }
        if let Some(pin) = seen.template.get(source).or_else(|| seen.stable.get(source)) {
            self.pins.0.insert(source.clone(), pin.clone());
        }
        self.unread.insert(source.clone());
    }

    fn freeze<O: AsRef<Object>>(
        &mut self,
        seen: &Situation<'_, O>,
        source: &Source,
        reference: &Reference,
        known: &Known<O>,
    ) {
        let Some(live) = live_pin(source, known, seen.key) else {
            self.problems.push(Problem::NameTooLong(source.clone()));
            return;
        };
        let kept = seen.template.get(source).or_else(|| seen.stable.get(source));
        let considered = seen.considered.get(source);
        let unchanged = considered.is_none_or(|considered| *considered == live);
        let pin = match (seen.overrides.get(source), kept) {
            (Some(pin), _) => Some(pin.clone()),
            (None, Some(pin)) if considered.is_some() && unchanged => Some(pin.clone()),
            // A pod on its copy needs no live object.
            (None, Some(pin)) if live == Pin::Absent && !reference.optional => Some(pin.clone()),
            (None, None) if unchanged && !seen.joins => None,
            _ if live == Pin::Absent && !reference.optional => {
                self.problems.push(Problem::Missing(source.clone()));
                return;
            }
            _ => Some(live.clone()),
        };
        self.live.insert(source.clone(), live.clone());
        if seen.overrides.get(source).is_some() {
            self.overridden.insert(source.clone());
        }
        let Some(pin) = pin else {
            self.unprotected.push(source.clone());
            return;
        };
        if pin != live {
            self.ahead.push(source.clone());
        }
        self.problems.extend(problem(source, reference, known, &pin, &live));
        self.pins.0.insert(source.clone(), pin);
    }
}

/// What is wrong with a pin.
fn problem<O: AsRef<Object>>(
    source: &Source,
    reference: &Reference,
    known: &Known<O>,
    pin: &Pin,
    live: &Pin,
) -> Option<Problem> {
    let copy = known.copies.iter().map(AsRef::as_ref).find(|copy| copy.metadata.name == pin.copy_name(source));
    let content = match (pin, copy) {
        (Pin::Absent, _) => return None,
        (_, Some(copy)) if !is_intact(copy, pin) => return Some(Problem::Changed(source.clone(), pin.clone())),
        (_, Some(copy)) => &copy.content,
        (pin, None) if known.strangers.contains(&pin.copy_name(source)) => {
            return Some(Problem::Changed(source.clone(), pin.clone()));
        }
        (pin, None) if pin == live => &known.live.as_ref()?.as_ref().content,
        (pin, None) => return Some(Problem::Gone(source.clone(), pin.clone())),
    };
    let missing = reference.keys.iter().find(|key| !content.has_key(key))?;
    Some(Problem::MissingKey(source.clone(), missing.clone()))
}

/// Whether a copy holds what its name says. Of a Secret only the process that made it could tell.
pub(crate) fn is_intact(copy: &Object, pin: &Pin) -> bool {
    let Pin::Revision(suffix) = pin else { return true };
    match copy.source().kind {
        crate::SourceKind::ConfigMap => copy.revision(&[0; 32]).starts_with(&format!("v1:{suffix}")),
        crate::SourceKind::Secret => true,
    }
}

/// The pin of what the live object holds now: of the copy that holds the same, or of one to be made. `None` if no name
/// is short enough.
///
/// A copy is recognised by what it holds and not by the key of its name, so that a lost key makes no new revision of
/// equal content.
pub fn live_pin<O: AsRef<Object>>(source: &Source, known: &Known<O>, key: &[u8; 32]) -> Option<Pin> {
    let Some(live) = known.live.as_ref().map(AsRef::as_ref) else { return Some(Pin::Absent) };
    let same = |copy: &&Object| copy.content == live.content && copy.type_ == live.type_;
    let suffix_of = |copy: &'_ Object| -> Option<Box<str>> {
        copy.metadata.name.strip_prefix(&source.name)?.strip_prefix('-').map(Into::into)
    };
    // Of several the one that is made first: another of a longer name changes nothing.
    let suffixes = known.copies.iter().map(AsRef::as_ref).filter(same).filter_map(suffix_of);
    if let Some(suffix) = suffixes.min_by_key(|suffix| suffix.len()) {
        return Some(Pin::Revision(suffix));
    }
    let revision = live.revision(key);
    let (_, digits) = revision.split_once(':')?;
    let taken = |name: &str| {
        known.strangers.iter().any(|stranger| stranger == name)
            || known.copies.iter().any(|copy| copy.as_ref().metadata.name == name)
    };
    let pins = LENGTHS.iter().filter_map(|length| digits.get(..*length)).map(|suffix| Pin::Revision(suffix.into()));
    pins.filter(|pin| pin.copy_name(source).len() <= LONGEST_NAME).find(|pin| !taken(&pin.copy_name(source)))
}

/// The names that a copy of this object could have.
pub fn copy_names(source: &Source, live: &Object, key: &[u8; 32]) -> Vec<String> {
    let revision = live.revision(key);
    let digits = revision.split_once(':').map_or("", |(_, digits)| digits);
    LENGTHS
        .iter()
        .filter_map(|length| digits.get(..*length))
        .map(|suffix| format!("{}-{suffix}", source.name))
        .collect()
}

#[cfg(test)]
mod tests {
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
        let known = Known { live: Some(Any(map("web", data))), copies: vec![], strangers: vec![] };
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
        let volume =
            json!({"configMap": {"name": "web", "optional": case.optional, "items": [{"key": "k", "path": "k"}]}});
        let reads = reads(&json!({"spec": {"volumes": [volume]}}));
        let known = Known {
            live: case.live.map(|data| Any(map("web", data))),
            copies: case.copies.iter().map(|data| copy(data)).collect(),
            strangers: vec![],
        };
        let seen = Situation {
            reads: &reads,
            known: &[(web(), known)].into(),
            template: &pins(case.template),
            stable: &pins(case.stable),
            considered: &pins(case.considered).0,
            overrides: &pins(case.pinned),
            joins: case.joins,
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
        object.content =
            serde_json::from_str::<ConfigMapView>(r#"{"metadata":{},"data":{"other":""}}"#).unwrap().0.content;
        let reads = reads(&json!({"spec": {"volumes": [{"configMap": {"name": "web", "items": [{"key": "k"}]}}]}}));
        let known = Known { live: Some(Any(object)), copies: vec![], strangers: vec![] };
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
            key: &KEY,
        };
        assert_eq!(want(&seen, |_| None).problems, [Problem::MissingKey(web(), "k".into())]);
        assert!(want(&seen, |_| Some(Mode::Live)).pins.is_empty());
    }

    #[test]
    fn a_name_that_is_taken_gives_way_to_a_longer_one() {
        let mut known = Known { live: Some(Any(map("web", "a"))), copies: vec![], strangers: vec![] };
        let short = live_pin(&web(), &known, &KEY).unwrap();
        known.strangers.push(short.copy_name(&web()));
        let long = live_pin(&web(), &known, &KEY).unwrap().to_string();
        assert!(long.len() == 20 && long.starts_with(&short.to_string()));
        let name = "x".repeat(243);
        let source = Source::config_map(name.clone());
        let known = Known { live: Some(Any(map(&name, "a"))), copies: vec![], strangers: vec![] };
        assert_eq!(live_pin(&source, &known, &KEY), None);
    }

    #[test]
    fn a_longer_name_of_the_same_copy_steers_nothing() {
        let short = copy("a");
        let mut long = map("web", "a");
        long.metadata.name = format!("{}0123456789", short.0.metadata.name);
        let known = Known { live: Some(Any(map("web", "a"))), copies: vec![Any(long), short], strangers: vec![] };
        assert_eq!(live_pin(&web(), &known, &KEY).unwrap().to_string(), suffix("a"));
    }

    #[test]
    fn what_only_looks_like_a_pinned_copy_is_not_read() {
        let reads = reads(&json!({"spec": {"volumes": [{"configMap": {"name": "web"}}]}}));
        let strangers = vec![format!("web-{}", suffix("a")), format!("web-{}", suffix("b"))];
        for pinned in ["a", "b"] {
            let known = Known { live: Some(Any(map("web", "a"))), copies: vec![], strangers: strangers.clone() };
            let seen = Situation {
                reads: &reads,
                known: &[(web(), known)].into(),
                template: &pins(Some(pinned)),
                stable: &pins(Some(pinned)),
                considered: &pins(Some("a")).0,
                overrides: &pins(Some(pinned)),
                joins: false,
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
            [(web(), Known { live: Some(Any(map("web", "a"))), copies: vec![forged], strangers: vec![] })].into();
        let seen = Situation {
            reads: &reads,
            known: &known,
            template: &pins(Some("b")),
            stable: &pins(Some("b")),
            considered: &pins(Some("a")).0,
            overrides: &Pins::default(),
            joins: false,
            key: &KEY,
        };
        assert_eq!(want(&seen, |_| None).problems[0].reason(), "ConfigCopyChanged");
    }
}
