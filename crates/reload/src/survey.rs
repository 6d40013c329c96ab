//! What has changed for a workload: the revisions that its pods have against those that are live. Not what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use trimtab_config::{Object, Pin, Source, SourceKind};

use crate::options::LAST_RELOADED_FROM;
use crate::record::{Applied, Record, revision};
use crate::workload::{Template, trigger_variable};
use crate::{How, Options, Workload};

/// What has changed for a workload.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Survey {
    /// Sources whose live revision its pods do not have.
    pub changes: Vec<Change>,
    /// What its record is to say of everything else.
    #[serde(skip)]
    pub kept: BTreeMap<Source, Applied>,
    /// Whether the record says so already.
    pub recorded: bool,
    /// The expressions that sources were looked for by.
    #[serde(skip)]
    pub expressions: BTreeSet<String>,
    /// Sources that our annotation names and that are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Source>,
}

/// How many sources that are gone are remembered of those that only expressions name: nothing else bounds their number.
const MOST_GONE: usize = 32;

/// A source that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The source.
    pub source: Source,
    /// Whose rules it is reloaded by.
    pub how: How,
    /// Whether it is new, gone, or has other data.
    pub is: Is,
    /// The live revision.
    #[serde(skip)]
    pub to: Applied,
    /// Who wrote it last, as the API server recorded it.
    pub by: Option<Box<str>>,
    /// Whether its time is that of this change: some writes leave the time of the one before.
    pub dated: bool,
    /// The digest to write where Reloader writes one.
    #[serde(skip)]
    pub trigger: Option<String>,
}

/// What became of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Is {
    /// It was not there before.
    Created,
    /// It has other data.
    Changed,
    /// It is gone.
    Deleted,
}

/// Compares what is live with what a workload's pods have.
pub fn survey<'o>(
    options: &Options,
    workload: &Workload,
    candidates: &BTreeSet<Source>,
    live: impl Fn(&Source) -> Option<&'o Object>,
) -> Survey {
    let record = Record::of(workload);
    let mut survey = Survey::default();
    let key = options.digest_key.bytes();
    let (mut concerned, mut gone_by_expression) = (BTreeSet::new(), vec![]);
    let (expressions, literals) = (options.expressions(workload), options.literals(workload));
    let absent = Applied { pin: Pin::Absent, written: None };
    for source in candidates {
        let object = live(source);
        let Some(how) = options.how(workload, source, object) else { continue };
        concerned.insert(source);
        let to = Applied { pin: revision(object, key), written: object.and_then(|o| o.author.as_ref()?.at) };
        let by_expression = !literals.contains(source);
        // What an expression names that was looked for before was not there then.
        let looked_for = || expressions.iter().any(|one| record.expressions.contains(&one.id) && one.fits(source));
        let was_absent = || Some(&absent).filter(|_| by_expression && looked_for());
        let known = record.applied.get(source).or_else(was_absent);
        let compared = Compared { how, source, object, known: known.map(|known| &known.pin), to: &to.pin };
        match compared.is(options, &workload.template) {
            Some(is) => survey.changes.push(Change {
                source: source.clone(),
                how,
                is,
                by: object.and_then(|o| Some(o.author.as_ref()?.manager.clone())),
                dated: known.is_some_and(|known| known.written.is_some() && known.written < to.written),
                trigger: object.map(|o| o.trigger_hash(key)),
                to,
            }),
            // A source that is gone keeps its last revision: if it comes back as it was, nothing has changed.
            None => {
                let gone = to.pin == Pin::Absent;
                let kept = known.filter(|known| gone || known.pin == to.pin).cloned().unwrap_or(to);
                if gone && by_expression {
                    gone_by_expression.push((kept, source));
                } else {
                    survey.kept.insert(source.clone(), kept);
                }
            }
        }
    }
    survey.missing = options.only_named(workload).into_iter().filter(|source| live(source).is_none()).collect();
    survey.kept.extend(latest(gone_by_expression));
    survey.expressions = expressions.into_iter().map(|one| one.id).collect();
    let forgotten = record.applied.keys().any(|source| !concerned.contains(source));
    let looked_for = survey.expressions.is_empty() || survey.expressions == record.expressions;
    let same = survey.kept.iter().all(|(source, kept)| record.applied.get(source) == Some(kept));
    survey.recorded = !forgotten && looked_for && same;
    survey
}

/// What is remembered of sources that are gone and that only expressions name: if one comes back as it was, nothing has
/// changed. That one was not there needs no note.
fn latest(gone: Vec<(Applied, &Source)>) -> impl Iterator<Item = (Source, Applied)> {
    let mut gone: Vec<_> = gone.into_iter().filter(|(kept, _)| kept.pin != Pin::Absent).collect();
    gone.sort_by_key(|(kept, source)| (std::cmp::Reverse(kept.written), *source));
    gone.into_iter().take(MOST_GONE).map(|(kept, source)| (source.clone(), kept))
}

/// One source, as pods have it and as it is.
struct Compared<'a> {
    how: How,
    source: &'a Source,
    object: Option<&'a Object>,
    known: Option<&'a Pin>,
    to: &'a Pin,
}

impl Compared<'_> {
    /// What became of the source since the pods were made; `None` if nothing did, or nobody knows.
    fn is(&self, options: &Options, template: &Template) -> Option<Is> {
        if self.known == Some(self.to) {
            return None;
        }
        let Some(object) = self.object else {
            let had = self.known.is_some_and(|known| *known != Pin::Absent) || noted(template, self.source).is_some();
            return (had && self.how == How::Reloader && options.on_delete).then_some(Is::Deleted);
        };
        match self.known {
            Some(Pin::Revision(_)) => Some(Is::Changed),
            Some(Pin::Absent) => (self.how == How::Native || options.on_create).then_some(Is::Created),
            // Seen for the first time. Reloader's digest is believed where there is one; its collisions are rare, and what
            // is recorded afterwards has none. Without it, what the pods have is what there is, as far as anybody can tell.
            None => {
                let same = |hash: &str| {
                    hash == object.reloader_hash() || hash == object.trigger_hash(options.digest_key.bytes())
                };
                noted(template, self.source).filter(|hash| !same(hash)).map(|_| Is::Changed)
            }
        }
    }
}

/// The digest of a source that Reloader, or we in its place, noted in a template.
fn noted<'t>(template: &'t Template, source: &Source) -> Option<std::borrow::Cow<'t, str>> {
    let variable = trigger_variable(source);
    // Two names can make one variable: then its value is of either.
    let shared = template.uses.keys().any(|other| other != source && trigger_variable(other) == variable);
    let mut values = template.containers.iter().filter_map(|container| container.triggers.get(variable.as_str()));
    if let Some(value) = values.next().filter(|_| !shared) {
        return Some(value.as_ref().into());
    }
    let note: Value = serde_json::from_str(template.annotations.get(LAST_RELOADED_FROM)?).ok()?;
    let kind = note["type"].as_str().or(note["kind"].as_str())?;
    let same = match source.kind {
        SourceKind::ConfigMap => kind.eq_ignore_ascii_case("configmap"),
        SourceKind::Secret => kind.eq_ignore_ascii_case("secret"),
    };
    let hash = note["hash"].as_str().filter(|_| same && note["name"] == *source.name)?;
    Some(hash.to_owned().into())
}

impl Change {
    /// When its data was written, if that can be told.
    pub fn written(&self) -> Option<Timestamp> {
        self.to.written.filter(|_| self.is != Is::Deleted)
    }
}
