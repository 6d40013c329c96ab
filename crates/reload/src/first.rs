//! What a workload's pods have of a source that nothing is noted of: times and versions tell which came first. Not what is done
//! about it.

use std::cmp::Ordering;

use jiff::Timestamp;
use trimtab_config::{Object, Source};

use crate::{Is, Workload};

/// The versions at which an object came about, where somebody watched. Times of the API server are of whole seconds; the
/// versions of its objects tell what came first within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// When it was made.
    pub made: Option<u64>,
    /// When its data was last written, if it has any; not before.
    pub data: Option<u64>,
}

/// A workload and a source that it reads, side by side.
pub(crate) struct Side<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) made: Option<Birth>,
    pub(crate) source: &'a Source,
    pub(crate) object: &'a Object,
    pub(crate) born: Option<Birth>,
}

impl Side<'_> {
    /// When the data was written, as far as that is known: not before.
    fn written(&self) -> Option<Timestamp> {
        let author = self.object.author.as_ref().and_then(|author| author.at);
        author.or(self.object.metadata.creation_timestamp)
    }

    /// Which came first: something at this time and version, or the workload.
    fn order(&self, time: Option<Timestamp>, version: Option<u64>) -> Option<Ordering> {
        let (time, made) = (time?, self.workload.metadata.creation_timestamp?);
        match time.as_second().cmp(&made.as_second()) {
            Ordering::Equal => Some(version?.cmp(&self.made?.made?)),
            order => Some(order),
        }
    }

    /// Whether the source was there when the workload was made.
    pub(crate) fn came_before(&self) -> bool {
        let order = self.order(self.object.metadata.creation_timestamp, self.born.and_then(|born| born.made));
        order == Some(Ordering::Less)
    }

    /// Whether pods do not start while the source is missing.
    pub(crate) fn is_required(&self) -> bool {
        self.workload.template.requires(self.source)
    }

    /// What became of the source since the workload was made, as far as that is certain. Its pods may be younger.
    pub(crate) fn since_made(&self) -> Option<Is> {
        // The next run of a CronJob reads what is live, and no Job is run again for what may have been before it.
        if !self.workload.rolls() {
            return None;
        }
        let written = self.written();
        if self.order(written, self.born.and_then(|born| born.data)) != Some(Ordering::Greater) {
            return None;
        }
        let again = written > self.object.metadata.creation_timestamp
            || self.born.is_some_and(|born| born.made.is_some_and(|made| born.data > Some(made)));
        match again {
            true => Some(Is::Changed),
            // Pods that need it started with it.
            false => (!self.is_required()).then_some(Is::Created),
        }
    }
}
