//! What the schedules of a spec say at a moment, as a decision needs it. Which windows are open is `trimtab-schedule`'s.

use jiff::Timestamp;
use trimtab_crds::{AutoscalerSpec, NextChange};
use trimtab_schedule::{Effect, Limits, Problem, Schedules};

/// What the schedules of a spec say at a moment. It stays the same up to the next moment at which a window opens or closes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    pub(crate) effect: Effect,
    pub(crate) next: Option<NextChange>,
    /// Whether there are to be pods from then on, whatever is measured.
    pub(crate) opens: bool,
    pub(crate) problems: String,
}

impl Scheduled {
    /// What schedules that were read say at a moment, and what is wrong with them.
    pub fn read(now: Timestamp, (schedules, problems): &(Schedules, Vec<Problem>), spec: &AutoscalerSpec) -> Self {
        let own = Limits { min: spec.min_replicas, max: spec.max_replicas };
        let said = schedules.said(now, own);
        let opens = said.next.as_ref().is_some_and(|change| change.effect.min.replicas > 0);
        let next = said.next.map(|change| NextChange {
            at: change.at,
            reason: "Schedule".to_owned(),
            message: format!("a schedule: {}", change.effect.because),
        });
        let problems: Vec<String> = problems.iter().chain(&said.problems).map(ToString::to_string).collect();
        Self { effect: said.effect, next, opens, problems: problems.join("; ") }
    }
}
