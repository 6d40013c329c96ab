//! How long it is believed what the API server said of its policies: few plans ask often; of many, each tells all others. Not
//! what is asked, nor what follows from the answer.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use trimtab::{Heard, KeyWaker, Store, clock};
use trimtab_release::{PlanView, Proof, is_let_go};

use super::key::Workload;

/// How long an answer counts, for each plan that there is: all together ask less than once a second.
const FOR_EACH: Duration = Duration::from_secs(3);
/// At least so long.
const SHORTEST: Duration = Duration::from_secs(60);
/// At most so long: with very many plans there are more questions.
const LONGEST: Duration = Duration::from_secs(600);
/// How long after a doubt there is no other: whoever changes a policy again and again must not have everything asked all the time.
const CALM: SignedDuration = SignedDuration::from_secs(60);

/// What is known of the plans' answers together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Proofs {
    plans: Arc<OnceLock<Store<PlanView>>>,
    doubted: Arc<Mutex<Option<Timestamp>>>,
}

impl Proofs {
    /// Whose answers these are.
    pub(super) fn of(&self, plans: &Store<PlanView>) {
        _ = self.plans.set(plans.clone());
    }

    /// Hears of a plan: if the API server lets go what it held until now, all others ask anew.
    pub(super) fn heard(&self, heard: &Heard<'_, PlanView>, waker: &KeyWaker<Workload>) {
        if heard.old.is_none_or(is_let_go) || !is_let_go(heard.new) || !self.doubt(clock::now()) {
            return;
        }
        let plans = self.plans.get().map(Store::list).unwrap_or_default();
        plans.iter().for_each(|plan| waker.wake(Workload::of_plan(plan)));
    }

    fn doubt(&self, now: Timestamp) -> bool {
        let mut doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        if doubted.is_some_and(|last| now.duration_since(last).abs() < CALM) {
            return false;
        }
        *doubted = Some(now);
        true
    }

    /// What is believed now.
    pub(super) fn now(&self) -> Proof {
        let plans = self.plans.get().map_or(0, Store::len);
        let doubted = *self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        Proof { period: period(plans), doubted }
    }
}

fn period(plans: usize) -> Duration {
    FOR_EACH.saturating_mul(u32::try_from(plans).unwrap_or(u32::MAX)).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_plans_ask_often_and_many_seldom() {
        for (plans, seconds) in [(0, 60), (1, 60), (100, 300), (200, 600), (usize::MAX, 600)] {
            assert_eq!(period(plans), Duration::from_secs(seconds), "{plans}");
        }
    }

    #[test]
    fn a_doubt_comes_once_a_minute_at_most() {
        let proofs = Proofs::default();
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        assert_eq!([0_i64, 1, 59, 60, 61].map(|second| proofs.doubt(at(second))), [true, false, false, true, false]);
        assert_eq!(proofs.now().doubted, Some(at(60)));
    }
}
