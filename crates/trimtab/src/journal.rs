//! The journal: the last decisions about each key, for people who ask why. Kept in memory, bounded, and forgotten with
//! the key. Not a log, and nothing that a decision may rest on.

mod also;

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use trimtab_plan::{Because, Kind, ObjectRef};

use crate::admin::WhySource;
use also::Also;

/// Decisions kept for a key, and the fewest where there are many keys.
const DECISIONS: usize = 16;
const FEWEST: usize = 2;
/// Decisions kept for all keys together, as far as each has its fewest: thousands of keys that change all day would cost more
/// than everything else.
const TOTAL: usize = 6_000;
/// What of it is for namespaces alike, however many keys each has.
const ALIKE: usize = TOTAL / 2;
/// Text kept for a key, in bytes.
const BYTES: usize = 8 * 1024;
/// Text kept of one sentence.
const SENTENCE: usize = 400;

/// What was decided about an object lately, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The object.
    pub object: ObjectRef,
    /// What was decided about, where it is something else that concerns the object.
    #[serde(rename = "decidedAbout", skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<ObjectRef>,
    /// The decisions; of several controllers, one after the other.
    pub decisions: Vec<Decision>,
}

/// A decision and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whose decision it was.
    pub controller: &'static str,
    /// When it was taken first.
    pub first: Timestamp,
    /// When it was last taken anew, with nothing different.
    pub last: Timestamp,
    /// How often it was taken in a row.
    pub times: u32,
    /// What woke the key the last time.
    pub triggers: Vec<Box<str>>,
    /// What it rests on and waits for.
    pub because: Vec<Reason>,
    /// What was written.
    pub writes: Vec<WriteRecord>,
    /// What went wrong besides a write: a panic, say.
    pub error: Option<Box<str>>,
    /// When it is to be taken again at the latest.
    pub wake: Option<Timestamp>,
    /// How long the last one took, writes included, in microseconds.
    pub took_micros: u64,
}

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable code in CamelCase.
    pub reason: &'static str,
    /// A sentence.
    pub message: Box<str>,
}

impl From<&Because> for Reason {
    fn from(because: &Because) -> Self {
        Self { reason: because.reason, message: short(&because.message) }
    }
}

/// One write and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteRecord {
    /// The verb and the object: "patch Deployment shop/web".
    pub what: Box<str>,
    /// Why it was made.
    pub why: Box<str>,
    /// `done`, `no change`, `not tried`, or what went wrong.
    pub result: Box<str>,
}

/// Shortens a sentence to what the journal keeps.
pub(crate) fn short(text: &str) -> Box<str> {
    match text.char_indices().nth(SENTENCE) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}

/// The decisions of all controllers; cheap to clone.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// A `Vec` each, although the oldest go first: most have one decision, and room for more would cost much.
    stories: HashMap<Place, Vec<Decision>>,
    /// How many stories each namespace has.
    namespaces: HashMap<Box<str>, usize>,
    also: Also,
    kinds: BTreeSet<(Kind, &'static str)>,
}

/// Kind, namespace and name of an object, and the controller: less than an `ObjectRef`, since there is one for each key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    kind: &'static str,
    controller: &'static str,
    namespace: Box<str>,
    name: Box<str>,
}

impl Place {
    fn new(controller: &'static str, object: &ObjectRef) -> Self {
        let (namespace, name) = (object.namespace.as_str().into(), object.name.as_str().into());
        Self { kind: object.kind.kind, controller, namespace, name }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a decision about an object, and which others it concerns: people may ask about those too.
    pub(crate) fn record(&self, object: &ObjectRef, concerns: &[ObjectRef], mut decision: Decision) {
        decision.shrink();
        let mut entries = self.lock();
        let place = Place::new(decision.controller, object);
        entries.kinds.insert((object.kind, decision.controller));
        for other in concerns.iter().filter(|other| *other != object) {
            entries.kinds.insert((other.kind, decision.controller));
            entries.also.note(&place, Place::new(decision.controller, other));
        }
        if !entries.stories.contains_key(&place) {
            *entries.namespaces.entry(place.namespace.clone()).or_default() += 1;
        }
        let most = entries.share(&place.namespace);
        let story = entries.stories.entry(place).or_default();
        match story.last_mut() {
            Some(last) if last.is_same(&decision) => last.repeat(decision),
            _ => {
                story.reserve_exact(1);
                story.push(decision);
            }
        }
        while story.len() > most || (story.len() > 1 && story.iter().map(Decision::bytes).sum::<usize>() > BYTES) {
            story.remove(0);
        }
    }

    /// Forgets an object.
    pub(crate) fn forget(&self, controller: &'static str, object: &ObjectRef) {
        let place = Place::new(controller, object);
        let mut entries = self.lock();
        if entries.stories.remove(&place).is_some()
            && let Some(own) = entries.namespaces.get_mut(&place.namespace)
        {
            *own -= 1;
            if *own == 0 {
                entries.namespaces.remove(&place.namespace);
            }
        }
        entries.also.forget(&place);
    }

    /// What was decided lately about an object, or with consequences for it; the kind may be given as `Deployment`,
    /// `deployment` or `deployments`.
    pub fn why(&self, kind: &str, namespace: &str, name: &str) -> Option<Why> {
        let entries = self.lock();
        let asked = |k: &Kind| k.kind.eq_ignore_ascii_case(kind) || k.plural.eq_ignore_ascii_case(kind);
        let mut found: Option<Why> = None;
        for (kind, controller) in entries.kinds.iter().filter(|(k, _)| asked(k)) {
            let object = kind.object(namespace, name);
            let place = Place::new(controller, &object);
            let others = entries.also.stories(&place);
            for story in std::iter::once(&place).chain(others) {
                let Some(decisions) = entries.stories.get(story) else { continue };
                let why = found.get_or_insert_with(|| Why { object: object.clone(), about: vec![], decisions: vec![] });
                why.decisions.extend(decisions.iter().cloned());
                why.about.extend(entries.object(story).filter(|about| *about != object));
            }
        }
        found
    }
}

impl Entries {
    /// How many decisions a key of a namespace may have: its part of all, or of what its namespace has, whichever is more.
    fn share(&self, namespace: &str) -> usize {
        let own = self.namespaces.get(namespace).copied().unwrap_or(1);
        let alike = ALIKE / (self.namespaces.len() * own).max(1);
        alike.max(TOTAL / self.stories.len().max(1)).clamp(FEWEST, DECISIONS)
    }

    /// The object in a place.
    fn object(&self, place: &Place) -> Option<ObjectRef> {
        let same = |(kind, controller): &&(Kind, &str)| kind.kind == place.kind && *controller == place.controller;
        self.kinds.iter().find(same).map(|(kind, _)| kind.object(&place.namespace, &place.name))
    }
}

impl WhySource for Journal {
    fn why(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        Self::why(self, kind, namespace, name).map(|why| why.text(crate::clock::now()))
    }

    fn why_json(&self, kind: &str, namespace: &str, name: &str) -> Option<serde_json::Value> {
        Self::why(self, kind, namespace, name).and_then(|why| serde_json::to_value(why).ok())
    }

    fn keys(&self) -> Vec<String> {
        // Every decision waits for the lock: the list is made beside it.
        let places: Vec<Place> = {
            let entries = self.lock();
            entries.stories.keys().chain(entries.also.objects()).cloned().collect()
        };
        let line = |place: &Place| format!("{}/{}/{}", place.kind, place.namespace, place.name);
        let lines: BTreeSet<_> = places.iter().map(line).collect();
        lines.into_iter().collect()
    }
}

impl Decision {
    /// Whether it says the same as another.
    fn is_same(&self, other: &Self) -> bool {
        self.because == other.because && self.writes == other.writes && self.error == other.error
    }

    /// Gives back the room that its lists have for more.
    fn shrink(&mut self) {
        self.triggers.shrink_to_fit();
        self.because.shrink_to_fit();
        self.writes.shrink_to_fit();
    }

    fn repeat(&mut self, again: Self) {
        let (first, times) = (self.first, self.times.saturating_add(1));
        *self = Self { first, times, ..again };
    }

    fn bytes(&self) -> usize {
        let texts = self.triggers.iter().map(|text| text.len());
        let reasons = self.because.iter().map(|reason| reason.message.len() + 32);
        let writes = self.writes.iter().map(|write| write.what.len() + write.why.len() + write.result.len() + 48);
        texts.chain(reasons).chain(writes).sum::<usize>() + self.error.as_ref().map_or(0, |error| error.len())
    }

    fn text(&self, now: Timestamp, to: &mut String) -> fmt::Result {
        let ago = ago(now.duration_since(self.last));
        let clock = self.last.strftime("%H:%M:%S");
        let millis = self.took_micros / 1000;
        let tenths = self.took_micros / 100 % 10;
        writeln!(to, "{clock}  {ago}, {} in {millis}.{tenths} ms", self.controller)?;
        if self.times > 1 {
            let since = self.first.strftime("%H:%M:%S");
            writeln!(to, "    the same {} times since {since}", self.times)?;
        }
        if !self.triggers.is_empty() {
            writeln!(to, "    woken by  {}", self.triggers.join(", "))?;
        }
        for (i, reason) in self.because.iter().enumerate() {
            writeln!(
                to,
                "    {} {}: {}",
                if i == 0 { "because  " } else { "     and " },
                reason.reason,
                reason.message
            )?;
        }
        for write in &self.writes {
            writeln!(to, "    wrote     {} to {}: {}", write.what, write.why, write.result)?;
        }
        if self.writes.is_empty() && self.error.is_none() {
            writeln!(to, "    wrote     nothing")?;
        }
        if let Some(error) = &self.error {
            writeln!(to, "    failed    {error}")?;
        }
        if let Some(wake) = self.wake {
            let left = wake.duration_since(now);
            let when = if left.is_positive() { format!("in {}", span(left)) } else { "now".to_owned() };
            writeln!(to, "    again     {when}, or when something changes")?;
        }
        Ok(())
    }
}

impl Why {
    /// The story for a person, newest decision first.
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = format!("{}\n", self.object);
        for about in &self.about {
            // Writing to a String cannot fail.
            _ = writeln!(text, "decided with {about}");
        }
        let mut decisions: Vec<_> = self.decisions.iter().collect();
        decisions.sort_by_key(|decision| std::cmp::Reverse(decision.last));
        for decision in decisions {
            text.push('\n');
            // Writing to a String cannot fail.
            _ = decision.text(now, &mut text);
        }
        text
    }
}

fn ago(passed: SignedDuration) -> String {
    if passed.as_secs() < 1 { "just now".to_owned() } else { format!("{} ago", span(passed)) }
}

fn span(length: SignedDuration) -> String {
    match length.as_secs() {
        seconds @ ..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", seconds / 60),
        seconds @ 5400..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::namespaced("apps", "v1", "Deployment", "deployments");

    fn decision(second: i64, message: &str) -> Decision {
        let at = Timestamp::from_second(second).unwrap();
        Decision {
            controller: "release",
            first: at,
            last: at,
            times: 1,
            triggers: vec!["Deployment web changed".into()],
            because: vec![Reason { reason: "Paused", message: message.into() }],
            writes: vec![],
            error: None,
            wake: Some(Timestamp::from_second(1_100).unwrap()),
            took_micros: 1_250,
        }
    }

    #[test]
    fn the_same_again_is_counted() {
        let (journal, object) = (Journal::default(), KIND.object("shop", "web"));
        for second in 1..=5 {
            journal.record(&object, &[], decision(second, "step 1 waits"));
        }
        let why = journal.why("deployments", "shop", "web").unwrap();
        assert_eq!((why.decisions.len(), why.decisions[0].times), (1, 5));
        assert_eq!(why.decisions[0].first.as_second(), 1);
        assert_eq!(why.decisions[0].last.as_second(), 5);
    }

    #[test]
    fn a_story_is_bounded_and_forgotten() {
        let (journal, object) = (Journal::default(), KIND.object("shop", "web"));
        for second in 0..100 {
            journal.record(&object, &[], decision(second, &format!("{second}{}", "x".repeat(300))));
        }
        assert_eq!(journal.why("Deployment", "shop", "web").unwrap().decisions.len(), DECISIONS);
        for second in 0..100 {
            let because = vec![Reason { reason: "R", message: format!("{second}{}", "x".repeat(3000)).into() }];
            journal.record(&object, &[], Decision { because, ..decision(second, "") });
        }
        assert_eq!(journal.why("Deployment", "shop", "web").unwrap().decisions.len(), 2);
        journal.forget("release", &object);
        assert_eq!(journal.why("Deployment", "shop", "web"), None);
    }

    #[test]
    fn many_stories_are_shorter_each() {
        let journal = Journal::default();
        let count = |object: &ObjectRef| journal.why("Deployment", "shop", &object.name).unwrap().decisions.len();
        let objects: Vec<ObjectRef> = (0..TOTAL).map(|n| KIND.object("shop", &format!("web-{n}"))).collect();
        let mut all = 0;
        for of in [1, TOTAL / 4, TOTAL] {
            for (second, object) in (0..20).flat_map(|second| objects.iter().take(of).map(move |one| (second, one))) {
                journal.record(object, &[], decision(second, &format!("{second}")));
            }
            all = objects.iter().take(of).map(count).sum();
            assert_eq!(count(&objects[0]), (TOTAL / of).clamp(FEWEST, DECISIONS), "of {of}");
        }
        assert_eq!(all, FEWEST * TOTAL);
    }

    #[test]
    fn a_namespace_with_very_many_keys_shortens_its_own_stories() {
        let journal = Journal::default();
        let calm = KIND.object("calm", "web");
        for n in 0..TOTAL {
            journal.record(&KIND.object("crowd", &format!("web-{n}")), &[], decision(1, "x"));
        }
        for second in 0..20 {
            journal.record(&calm, &[], decision(second, &format!("{second}")));
            journal.record(&KIND.object("crowd", "web-0"), &[], decision(second, &format!("{second}")));
        }
        let count = |namespace: &str| {
            let name = if namespace == "calm" { "web" } else { "web-0" };
            journal.why("Deployment", namespace, name).unwrap().decisions.len()
        };
        assert_eq!((count("calm"), count("crowd")), (DECISIONS, FEWEST));
        journal.forget("release", &calm);
        assert!(!journal.lock().namespaces.contains_key("calm"));
    }

    #[test]
    fn what_a_decision_concerns_can_be_asked_about() {
        const PLANS: Kind = Kind::namespaced("trimtab.dev", "v1alpha1", "ReleasePlan", "releaseplans");
        let (journal, object) = (Journal::default(), KIND.object("shop", "web"));
        let plan = |n: u32| PLANS.object("shop", &format!("p{n}"));
        journal.record(&object, &[plan(0), object.clone()], decision(1, "it waits"));
        for kind in ["ReleasePlan", "releaseplan", "ReleasePlans"] {
            let why = journal.why(kind, "shop", "p0").unwrap();
            assert_eq!((&why.object, &why.about[..], why.decisions.len()), (&plan(0), &[object.clone()][..], 1));
        }
        let text = journal.why("releaseplan", "shop", "p0").unwrap().text(Timestamp::from_second(1).unwrap());
        assert!(text.starts_with("ReleasePlan shop/p0\ndecided with Deployment shop/web\n\n"), "{text}");
        assert_eq!(journal.why("Deployment", "shop", "web").unwrap().about, []);
        assert_eq!(WhySource::keys(&journal), ["Deployment/shop/web", "ReleasePlan/shop/p0"]);
        // Bounded, the oldest first, unless named again.
        for n in 1..8 {
            journal.record(&object, &[plan(n)], decision(2, "it waits"));
        }
        journal.record(&object, &[plan(0), plan(8)], decision(3, "it waits"));
        assert!(journal.why("releaseplan", "shop", "p0").is_some());
        assert_eq!(journal.why("releaseplan", "shop", "p1"), None);
        journal.forget("release", &object);
        assert_eq!(journal.why("releaseplan", "shop", "p0"), None);
        assert_eq!(WhySource::keys(&journal), [""; 0]);
    }

    #[test]
    fn the_text_reads_like_a_story() {
        let (journal, object) = (Journal::default(), KIND.object("shop", "web"));
        let write =
            WriteRecord { what: "patch Deployment shop/web".into(), why: "hold it".into(), result: "done".into() };
        journal.record(
            &object,
            &[],
            Decision { writes: vec![write], ..decision(1_000, "step 1 of 3 waits for a person") },
        );
        let text = journal.why("deployment", "shop", "web").unwrap().text(Timestamp::from_second(1_030).unwrap());
        let expected = "\
Deployment shop/web

00:16:40  30 s ago, release in 1.2 ms
    woken by  Deployment web changed
    because   Paused: step 1 of 3 waits for a person
    wrote     patch Deployment shop/web to hold it: done
    again     in 70 s, or when something changes
";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_sentences_are_cut_between_characters() {
        assert_eq!(&*short("kurz"), "kurz");
        assert_eq!(short(&"ä".repeat(1000)).chars().count(), SENTENCE + 1);
    }
}
