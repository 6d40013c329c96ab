//! What will change and when: the openings and closings of windows in order, worked out one at a time as they are asked
//! for. Not how they are printed.

use jiff::Timestamp;
use serde::Serialize;

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

/// The changes to come, in order.
#[derive(Debug, Clone)]
pub struct Upcoming<'s> {
    schedules: &'s Schedules,
    own: Limits,
    to: Timestamp,
    /// What holds before the next change.
    effect: Effect,
    /// When each window opens or closes next.
    flips: Vec<Option<Timestamp>>,
}

impl<'s> Upcoming<'s> {
    pub(crate) fn new(schedules: &'s Schedules, from: Timestamp, to: Timestamp, own: Limits) -> Self {
        let flips = schedules.windows.iter().map(|window| window.flip(from)).collect();
        Self { schedules, own, to, effect: schedules.effect(from, own), flips }
    }
}

impl Iterator for Upcoming<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        let at = self.flips.iter().flatten().min().copied().filter(|at| *at <= self.to)?;
        let (mut opened, mut closed) = (vec![], vec![]);
        for (window, flip) in self.schedules.windows.iter().zip(&mut self.flips) {
            if *flip == Some(at) {
                let list = if window.is_open(at) { &mut opened } else { &mut closed };
                list.push(window.name.clone());
                *flip = window.flip(at);
            }
        }
        let effect = self.schedules.effect(at, self.own);
        let resizes = !effect.bounds_alike(&self.effect);
        self.effect = effect.clone();
        Some(Change { at, opened, closed, effect, resizes })
    }
}
