//! What will change and when: the openings and closings of windows in order, worked out one at a time as they are asked
//! for. Not how they are printed.

use jiff::Timestamp;
use serde::Serialize;

use crate::meter::Meter;
use crate::schedules::Stand;
use crate::{Effect, Limits, Schedules};

/// Windows that open or close at a moment, and what holds from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The windows that open.
    pub opened: Vec<String>,
    /// The windows that close.
    pub closed: Vec<String>,
    /// The sizes that hold from then on, and why.
    pub effect: Effect,
    /// Whether they differ from those before.
    pub resizes: bool,
}

/// The changes to come, in order, as far as there is something left to look.
#[derive(Debug, Clone)]
pub struct Upcoming<'s> {
    schedules: &'s Schedules,
    own: Limits,
    to: Timestamp,
    /// What holds before the next change.
    pub(crate) effect: Effect,
    /// How each window stands before it. Since when it is open and until when is worked out when it opens, and not again.
    pub(crate) stands: Vec<Stand>,
    pub(crate) meter: Meter,
}

impl<'s> Upcoming<'s> {
    pub(crate) fn new(schedules: &'s Schedules, (from, to): (Timestamp, Timestamp), own: Limits, meter: Meter) -> Self {
        let stands = schedules.stands(from, &meter);
        let effect = Effect::of(&schedules.open(&stands), own);
        Self { schedules, own, to, effect, stands, meter }
    }
}

impl Iterator for Upcoming<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        // What a window that was not looked at does next would be missing.
        if self.meter.is_spent() {
            return None;
        }
        let at = self.stands.iter().filter_map(|stand| stand.flip).min().filter(|at| *at <= self.to)?;
        let (mut opened, mut closed) = (vec![], vec![]);
        self.meter.count(u64::try_from(self.stands.len()).unwrap_or(u64::MAX));
        for (window, stand) in self.schedules.windows.iter().zip(&mut self.stands) {
            if stand.flip == Some(at) {
                let open = window.is_open(at, &self.meter);
                if open { &mut opened } else { &mut closed }.push(window.name.clone());
                *stand = Stand { open, since: open.then_some(at), flip: window.flip(at, open, &self.meter) };
            }
        }
        let effect = Effect::of(&self.schedules.open(&self.stands), self.own);
        let resizes = !effect.bounds_alike(&self.effect);
        self.effect = effect.clone();
        Some(Change { at, opened, closed, effect, resizes })
    }
}
