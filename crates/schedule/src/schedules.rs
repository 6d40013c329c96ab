//! The windows of one object together: which are open at a moment, in the order of their importance, and which sizes follow.
//! Not what changes when, which is in `upcoming`.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::meter::Meter;
use crate::window::Window;
use crate::{Effect, Limits, Problem, ScheduleWindow, Upcoming};

/// A window that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// Its name.
    pub name: String,
    /// Since when. Left out if that is longer ago than is looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it closes. Left out if that is further away than is looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Its priority.
    pub priority: i32,
    /// The fewest replicas that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// The most replicas that it asks for. The same as the fewest if it asks for an exact size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i32>,
}

/// Windows that were read and can be asked about any moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schedules {
    pub(crate) windows: Vec<Window>,
}

impl Schedules {
    /// Reads windows. Those with a problem are left out, so that one mistake does not silence the others.
    pub fn read(windows: &[ScheduleWindow]) -> (Self, Vec<Problem>) {
        let (mut read, mut problems, mut names) = (vec![], vec![], BTreeSet::new());
        for window in windows {
            match window.read() {
                _ if !names.insert(&window.name) => problems.push(Problem {
                    window: window.name.clone(),
                    field: "name",
                    message: "another window before it has this name: give each its own".to_owned(),
                }),
                Ok(window) => read.push(window),
                Err(problem) => problems.push(problem),
            }
        }
        (Self { windows: read }, problems)
    }

    /// Windows that cannot have what they ask for beside the object's own bounds. They are heeded all the same: a window
    /// goes before the object's own bounds.
    pub fn conflicts(&self, own: Limits) -> Vec<Problem> {
        let conflict = |window: &Window| {
            let (field, message) = match (window.sizes.min, window.sizes.max) {
                (Some(min), None) if min > own.max => {
                    let max = own.max;
                    (
                        "minReplicas",
                        format!("{min} is above the object's maxReplicas, {max}: give the window its own maxReplicas"),
                    )
                }
                (None, Some(max)) if max < own.min => {
                    let min = own.min;
                    (
                        "maxReplicas",
                        format!("{max} is below the object's minReplicas, {min}: give the window its own minReplicas"),
                    )
                }
                _ => return None,
            };
            Some(Problem { window: window.name.clone(), field, message })
        };
        self.windows.iter().filter_map(conflict).collect()
    }

    /// The windows that are open at a moment, the most important first: by priority, then the one that opened later, then
    /// by name.
    pub fn active(&self, now: Timestamp) -> Vec<Open> {
        self.open(&self.stands(now, &Meter::bounded()))
    }

    /// How each window stands at a moment. Each has the same share of what is left to look, and half of it tells since when it
    /// is open: that decides whose sizes hold.
    pub(crate) fn stands(&self, now: Timestamp, meter: &Meter) -> Vec<Stand> {
        let count = self.windows.len();
        let stand = |(index, window): (usize, &Window)| {
            let open = window.is_open(now, meter);
            meter.share((count - index) * 2);
            let since = if open { window.since(now, meter) } else { None };
            meter.share(count - index);
            Stand { open, since, flip: window.flip(now, open, meter) }
        };
        let stands = self.windows.iter().enumerate().map(stand).collect();
        meter.share_all();
        stands
    }

    /// The windows that are open where all stand so, the most important first.
    pub(crate) fn open(&self, stands: &[Stand]) -> Vec<Open> {
        let open = self.windows.iter().zip(stands).filter(|(_, stand)| stand.open).map(|(window, stand)| Open {
            name: window.name.clone(),
            since: stand.since,
            until: stand.flip,
            priority: window.priority,
            min_replicas: window.sizes.min,
            max_replicas: window.sizes.max,
        });
        let mut open: Vec<Open> = open.collect();
        open.sort_by(|a, b| {
            (Reverse(a.priority), Reverse(a.since), &a.name).cmp(&(Reverse(b.priority), Reverse(b.since), &b.name))
        });
        open
    }

    /// The sizes that hold at a moment beside the object's own bounds.
    pub fn effect(&self, now: Timestamp, own: Limits) -> Effect {
        Effect::of(&self.active(now), own)
    }

    /// Every opening and closing after the one moment and up to the other, in order; those at one moment are one change.
    pub fn upcoming(&self, from: Timestamp, to: Timestamp, own: Limits) -> Upcoming<'_> {
        Upcoming::new(self, (from, to), own, Meter::unlimited())
    }
}

/// How a window stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    pub open: bool,
    /// Since when it is open, where that is known.
    pub since: Option<Timestamp>,
    /// When it opens or closes next, where that is known.
    pub flip: Option<Timestamp>,
}
