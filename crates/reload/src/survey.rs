//! What has changed for a workload: the revisions that its pods have against those that are live. Not what is done about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use trimtab_config::{Object, Pin, Source};
use trimtab_plan::Meta;

use crate::first::Side;
use crate::fits::Fits;
use crate::noted::Noted;
use crate::opt_in::MOST_SOURCES;
use crate::record::{Applied, Record, revision};
use crate::{Birth, How, Options, Workload};

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
    /// What they fit.
    #[serde(skip)]
    pub fits: Arc<Fits>,
    /// Whether they have not been compared with all sources yet: then nothing else is known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub comparing: bool,
    /// Sources that our annotation names and that are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Source>,
    /// Whether there are more sources than are looked after.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
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
    /// Whether its template may have begun to read it with the rollout that is under way: then nothing is known of what pods have of it,
    /// save that those of an earlier template have nothing.
    #[serde(skip)]
    pub begun: bool,
    /// Whether its time is that of this change: some writes leave the time of the one before.
    pub dated: bool,
    /// At which version its data was written, where somebody watched.
    #[serde(skip)]
    pub version: Option<u64>,
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

/// Compares what is live with what a workload's pods have. `births` tells when an object came about.
pub fn survey<'o>(
    options: &Options,
    workload: &Workload,
    candidates: &BTreeSet<Source>,
    fits: &Arc<Fits>,
    live: impl Fn(&Source) -> Option<&'o Object>,
    births: impl Fn(&Meta) -> Option<Birth>,
) -> Survey {
    let record = Record::of(workload);
    let mut survey =
        Survey { full: fits.full || candidates.len() >= MOST_SOURCES, fits: fits.clone(), ..Survey::default() };
    let key = options.digest_key.bytes();
    let (mut concerned, mut gone_by_expression) = (BTreeSet::new(), vec![]);
    let literals = options.literals(workload);
    let absent = Applied { pin: Pin::Absent, written: None };
    let (noted, made) = (Noted::of(&workload.template), births(&workload.metadata));
    for source in candidates {
        let object = live(source);
        let Some(how) = options.how(fits, workload, source, object) else { continue };
        concerned.insert(source);
        let to = Applied { pin: revision(object, key), written: object.and_then(|o| o.author.as_ref()?.at) };
        let by_expression = !literals.contains(source);
        // What an expression names that was looked for before was not there then.
        let looked_for = || fits.ids_for(source).any(|id| record.expressions.contains(id));
        let was_absent = || Some(&absent).filter(|_| by_expression && looked_for());
        let known = record.applied.get(source).or_else(was_absent);
        let born = object.and_then(|object| births(&object.metadata));
        let side = object.map(|object| Side { workload, made, source, object, born });
        let compared = Compared { how, source, side, known: known.map(|known| &known.pin), to: &to.pin };
        match compared.is(options, &noted) {
            Some(is) => survey.changes.push(Change {
                source: source.clone(),
                how,
                is,
                // A template that was never changed has begun nothing since its workload was made.
                begun: known.is_none() && noted.digest(source).is_none() && workload.metadata.generation > 1,
                by: object.and_then(|o| Some(o.author.as_ref()?.manager.clone())),
                dated: known.is_none_or(|known| known.pin == Pin::Absent || is_dated(known, &to)),
                version: born.and_then(|born| born.data),
                trigger: object.map(|o| o.trigger_hash(key)),
                to,
            }),
            // Nothing has started without it: when it is there, it has not changed.
            None if known.is_none() && object.is_none() && how == How::Native && workload.template.requires(source) => {
            }
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
    survey.expressions = fits.ids();
    let forgotten = record.applied.keys().any(|source| !concerned.contains(source));
    let looked_for = survey.expressions.is_empty() || survey.expressions == record.expressions;
    let same = survey.kept.iter().all(|(source, kept)| record.applied.get(source) == Some(kept));
    survey.recorded = !forgotten && looked_for && same;
    survey
}

/// Whether the time of a revision is another one than that of the one before.
fn is_dated(known: &Applied, to: &Applied) -> bool {
    known.written.is_some() && known.written < to.written
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
    /// The source beside the workload, if it is there.
    side: Option<Side<'a>>,
    known: Option<&'a Pin>,
    to: &'a Pin,
}

impl Compared<'_> {
    /// What became of the source since the pods were made; `None` if nothing did, or nobody knows.
    fn is(&self, options: &Options, noted: &Noted<'_>) -> Option<Is> {
        if self.known == Some(self.to) {
            return None;
        }
        let Some(side) = &self.side else {
            let had = self.known.is_some_and(|known| *known != Pin::Absent) || noted.digest(self.source).is_some();
            return (had && self.how == How::Reloader && options.on_delete).then_some(Is::Deleted);
        };
        let wanted = |is: &Is| *is != Is::Created || self.how == How::Native || options.on_create;
        match self.known {
            Some(Pin::Revision(_)) => Some(Is::Changed),
            // Its event came after that of the workload, and it did not.
            Some(Pin::Absent) if side.came_before() => side.since_made().filter(wanted),
            Some(Pin::Absent) => {
                let changed = side.since_made().filter(|is| *is == Is::Changed);
                // Pods that need it have waited for it. Reloader makes them anew nevertheless.
                let created = || (self.how == How::Reloader || !side.is_required()).then_some(Is::Created);
                changed.or_else(created).filter(wanted)
            }
            // Seen for the first time. Reloader's digest is believed where there is one; its collisions are rare, and what
            // is recorded afterwards has none. Without it, times tell whether the pods can have what there is.
            None => match noted.digest(self.source) {
                Some(hash) => {
                    let key = options.digest_key.bytes();
                    let same = hash == side.object.reloader_hash() || hash == side.object.trigger_hash(key);
                    (!same).then_some(Is::Changed)
                }
                None => side.since_made().filter(wanted),
            },
        }
    }
}

impl Change {
    /// When its data was written, if that can be told.
    pub fn written(&self) -> Option<Timestamp> {
        self.to.written.filter(|_| self.is != Is::Deleted)
    }
}
