//! What decisions leave to those after them: recommendations, changes of size, and since when a metric is unknown. Kept as
//! small as it can be without any later decision becoming another one: of several equal recommendations the last is enough.

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{AutoscalerSpec, Recommendation, ScaleEvent, ScaleHistory};
use trimtab_schedule::ScheduleWindow;

use crate::ScaleSnapshot;
use crate::bounds::Rules;
use crate::groups::after;
use crate::stabilise::Windows;

/// More are never kept: a metric that asks for another number each second must not fill the object.
const MOST: usize = 200;

/// Takes into account a change of size that was about to be written: it was made if the size is the new one.
pub fn settle(mut history: ScaleHistory, spec: &AutoscalerSpec, size: i32) -> ScaleHistory {
    let Some(pending) = history.pending.take() else { return history };
    if pending.to != size {
        return history;
    }
    history.asleep = size == 0;
    if let Some(behavior) = &spec.behavior {
        let change = pending.to.saturating_sub(pending.from);
        let (list, change, own) = match change > 0 {
            true => (&mut history.ups, change, Rules::up(behavior).longest()),
            false => (&mut history.downs, -change, Rules::down(behavior).longest()),
        };
        note(list, ScaleEvent { at: pending.at, change }, own);
    }
    history
}

/// Notes a change of size where the HPA would. It writes over the last change that no policy of the change's own direction
/// looks back to, even if one of the other direction still does, so the places of changes matter.
fn note(list: &mut Vec<ScaleEvent>, event: ScaleEvent, own: i32) {
    let is_old = |old: &ScaleEvent| after(old.at, seconds(own)) < event.at;
    match list.iter().rposition(is_old) {
        Some(place) => list[place] = event,
        None => list.push(event),
    }
}

/// The history as this decision finds it: settled, without what counts for nothing any more, and begun if there is none.
pub(crate) fn found(now: Timestamp, seen: &ScaleSnapshot, windows: Windows) -> ScaleHistory {
    let size = seen.target.replicas;
    let mut history = settle(until(now, seen.history.clone()), &seen.spec, size);
    if size != 0 && std::mem::take(&mut history.asleep) {
        // Somebody woke it: it goes to sleep again once nothing was active for a whole time.
        history.inactive_since = None;
    }
    if history.recommendations.is_empty() {
        // Nobody can tell any more who made it 0: of what may sleep it is taken for sleep, which ends by itself.
        history.asleep |= size == 0 && may_sleep(&seen.spec);
        // What is there counts as recommended: a process that knows nothing yet makes nothing smaller.
        history.recommendations.push(Recommendation { at: now, replicas: size, lasting: false });
    }
    prune(now, &mut history, seen, windows);
    history
}

/// The history without times to come: where a clock was put back, what was noted by it would hold a size until it is as late again.
fn until(now: Timestamp, mut history: ScaleHistory) -> ScaleHistory {
    let bound = |at: &mut Timestamp| *at = (*at).min(now);
    history.recommendations.iter_mut().for_each(|one| bound(&mut one.at));
    history.ups.iter_mut().chain(&mut history.downs).for_each(|change| bound(&mut change.at));
    history.unknown.iter_mut().for_each(|one| bound(&mut one.since));
    history.inactive_since.iter_mut().for_each(bound);
    history.pending.iter_mut().for_each(|noted| bound(&mut noted.at));
    history
}

/// Whether there are times or loads for which a spec asks for no pods.
fn may_sleep(spec: &AutoscalerSpec) -> bool {
    let sleeps = |window: &ScheduleWindow| window.replicas.or(window.min_replicas) == Some(0);
    spec.min_replicas == 0 || spec.schedules.iter().any(sleeps)
}

/// The recommendations with the times at which each was made last.
pub(crate) fn points(seen: &ScaleSnapshot, now: Timestamp, history: &ScaleHistory) -> Vec<Recommendation> {
    let last = seen.previous.unwrap_or(now).min(now);
    let point =
        |one: &Recommendation| Recommendation { at: if one.lasting { one.at.max(last) } else { one.at }, ..*one };
    history.recommendations.iter().map(point).collect()
}

/// Ends what was recommended until the decision before this one.
pub(crate) fn interrupt(now: Timestamp, seen: &ScaleSnapshot, history: &mut ScaleHistory) {
    let last = seen.previous.unwrap_or(now).min(now);
    for one in history.recommendations.iter_mut().filter(|one| one.lasting) {
        (one.at, one.lasting) = (one.at.max(last), false);
    }
}

/// Notes what is recommended now.
pub(crate) fn record(
    now: Timestamp,
    seen: &ScaleSnapshot,
    windows: Windows,
    history: &mut ScaleHistory,
    replicas: i32,
) {
    if !history.recommendations.last().is_some_and(|last| last.lasting && last.replicas == replicas) {
        interrupt(now, seen, history);
        history.recommendations.push(Recommendation { at: now, replicas, lasting: true });
    }
    prune(now, history, seen, windows);
}

fn prune(now: Timestamp, history: &mut ScaleHistory, seen: &ScaleSnapshot, windows: Windows) {
    let up = !windows.up.is_zero();
    let all = std::mem::take(&mut history.recommendations);
    let (mut most, mut least) = (i32::MIN, i32::MAX);
    let mut kept: Vec<Recommendation> = vec![];
    // From the newest on: one counts only while no later one is as large, or with an upward window, as small.
    for one in all.into_iter().rev() {
        let alive = one.lasting || windows.end(&one, windows.longest()) > now;
        let counts = one.replicas > most || (up && one.replicas < least);
        // The newest stays even when it counts for nothing: that there was one is what tells this from the first decision.
        if kept.is_empty() || (alive && counts) {
            kept.push(one);
        }
        // A lasting one is as good as one of this moment.
        (most, least) = (most.max(one.replicas), least.min(one.replicas));
    }
    bound(&mut kept);
    kept.reverse();
    history.recommendations = kept;
    let (up, down) = match &seen.spec.behavior {
        Some(behavior) => (Rules::up(behavior).longest(), Rules::down(behavior).longest()),
        None => (0, 0),
    };
    forget(&mut history.ups, now, up, down);
    forget(&mut history.downs, now, down, up);
}

/// Leaves no more recommendations than are ever kept, the newest first. Those that go count on as their largest and their
/// smallest one, for a little longer than they would have: no change comes sooner by it.
fn bound(kept: &mut Vec<Recommendation>) {
    if kept.len() <= MOST {
        return;
    }
    let gone = kept.split_off(MOST - 2);
    let at = gone.first().map_or(Timestamp::MIN, |first| first.at);
    let of = |replicas: Option<i32>| Some(Recommendation { at, replicas: replicas?, lasting: false });
    let sizes = || gone.iter().map(|one| one.replicas);
    kept.extend(of(sizes().max()).into_iter().chain(of(sizes().min())));
}

/// Drops changes of size that no policy comes to look back to.
fn forget(list: &mut Vec<ScaleEvent>, now: Timestamp, own: i32, other: i32) {
    // Where the other direction looks back further, an old change is also the place at which the next one is noted.
    if other <= own {
        list.retain(|event| after(event.at, seconds(own)) > now);
    } else if list.len() > MOST {
        list.retain(|event| after(event.at, seconds(other)) > now);
        list.drain(..list.len().saturating_sub(MOST));
    }
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn snapshot(behavior: serde_json::Value) -> ScaleSnapshot {
        serde_json::from_value(serde_json::json!({
            "spec": {"targetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 9, "behavior": behavior},
            "target": {"replicas": 4, "statusReplicas": 4},
        }))
        .unwrap()
    }

    fn check(sequence: &[(i64, i32)], expected: &[(i64, i32, bool)]) {
        let mut seen = snapshot(serde_json::json!(null));
        let windows = Windows::of(None, 300);
        let mut history = ScaleHistory::default();
        for (second, replicas) in sequence {
            record(at(*second), &seen, windows, &mut history, *replicas);
            seen.previous = Some(at(*second));
        }
        let kept: Vec<_> = history.recommendations.iter().map(|r| (r.at.as_second(), r.replicas, r.lasting)).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_lasts_is_noted_once_and_ends_with_the_decision_that_saw_it_last() {
        check(&[(0, 5), (15, 5), (30, 5)], &[(0, 5, true)]);
        check(&[(0, 5), (15, 5), (30, 3)], &[(15, 5, false), (30, 3, true)]);
        check(&[(0, 5), (15, 3), (30, 7)], &[(30, 7, true)]);
        check(&[(0, 5), (15, 3), (400, 3)], &[(15, 3, true)]);
    }

    #[test]
    fn a_change_that_was_about_to_be_written_counts_if_it_was_made() {
        let seen = snapshot(serde_json::json!({}));
        let pending = Some(trimtab_crds::PendingScale { at: at(7), from: 4, to: 6 });
        let history = ScaleHistory { pending, ..ScaleHistory::default() };
        assert_eq!(settle(history.clone(), &seen.spec, 6).ups, [ScaleEvent { at: at(7), change: 2 }]);
        assert!(settle(history, &seen.spec, 4).ups.is_empty());
    }
}
