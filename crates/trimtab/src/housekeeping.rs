//! What a decision tidies up: done when all the rest is, each on its own. Nothing waits for it. A refusal is told to people
//! and tried again later; it is no failure of the reconcile, or a key would be slowed down in what matters.

use std::time::Duration;

use tokio::time::Instant;
use trimtab_plan::{Chore, Class, Notice, Outcome, Write};

use crate::apply::{Applier, Trail};

/// When what failed in passing is tried again.
const SOON: Duration = Duration::from_secs(10);
/// When what was refused is tried again, unless the key is decided anew before.
const LATER: Duration = Duration::from_secs(300);

/// What came of it.
#[derive(Default)]
pub(crate) struct Tidied {
    /// Each write with its outcome.
    pub(crate) outcomes: Vec<(Write, Outcome)>,
    /// What people are told.
    pub(crate) notices: Vec<Notice>,
    /// When the rest is tried again.
    pub(crate) again: Option<Duration>,
}

impl Tidied {
    fn later(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }

    /// The writes that changed something.
    pub(crate) fn done(&self) -> Vec<&Write> {
        let changed = |outcome: &Outcome| outcome.applied.iter().any(|applied| applied.changed);
        self.outcomes.iter().filter(|(_, outcome)| changed(outcome)).map(|(write, _)| write).collect()
    }
}

/// Does all chores that can be done before the deadline.
pub(crate) async fn tidy(applier: &Applier, chores: Vec<Chore>, deadline: Instant, trail: &mut Trail) -> Tidied {
    let mut tidied = Tidied::default();
    for chore in chores {
        if Instant::now() >= deadline {
            tidied.later(SOON);
            break;
        }
        let outcome = applier.apply(std::slice::from_ref(&chore.write), deadline, trail).await;
        let class = outcome.failed.as_ref().map(|failure| failure.class);
        match class {
            None => {}
            Some(Class::Blocked) => tidied.later(LATER),
            Some(Class::Transient | Class::Fatal) => tidied.later(SOON),
        }
        tidied.notices.extend(outcome.failed.as_ref().and_then(|failure| chore.refused(failure)));
        tidied.outcomes.push((chore.write, outcome));
        if class == Some(Class::Fatal) {
            break;
        }
    }
    tidied
}
