//! What schedules say at a moment, whole and within a bound: what they cost is for whoever writes them to decide, and expressions
//! can be written that come to an answer only after millions of looks. Not how the sizes follow, which is in `effect`.

use jiff::Timestamp;

use crate::meter::{LOOKS, Meter};
use crate::schedules::Stand;
use crate::window::Window;
use crate::{Change, Effect, Limits, Problem, Schedules, Upcoming};

/// What schedules say at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The sizes that hold.
    pub effect: Effect,
    /// The next change of these sizes, if there is one as far as is looked.
    pub next: Option<Change>,
    /// Windows that are open and do not close as far as is looked. Their sizes hold all the same.
    pub problems: Vec<Problem>,
    /// How many looks it took.
    pub looks: u64,
}

impl Schedules {
    /// What they say at a moment.
    pub fn said(&self, now: Timestamp, own: Limits) -> Said {
        let mut upcoming = Upcoming::new(self, (now, Timestamp::MAX), own, Meter::bounded());
        let (effect, problems) = (upcoming.effect.clone(), endless(&self.windows, &upcoming.stands));
        let next = upcoming.find(|change| change.resizes);
        Said { effect, next, problems, looks: upcoming.meter.looks() }
    }

    /// The next change of the sizes that hold. `None` if there is none as far as is looked.
    pub fn next_change(&self, now: Timestamp, own: Limits) -> Option<Change> {
        self.said(now, own).next
    }
}

/// The windows that are open and of which it is not known when they close.
fn endless(windows: &[Window], stands: &[Stand]) -> Vec<Problem> {
    let open = windows.iter().zip(stands).filter(|(_, stand)| stand.open && stand.flip.is_none());
    let problem = |(window, _): (&Window, _)| Problem {
        window: window.name.clone(),
        field: window.closed_by(),
        message: format!(
            "it is open, and does not close as far as is looked ({LOOKS} looks at the times of all windows): its sizes hold, but not \
             until when; let no start come whenever it is about to close, or leave the window out and set the object's own minReplicas \
             and maxReplicas"
        ),
    };
    open.map(problem).collect()
}
