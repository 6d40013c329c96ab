//! What the steps of a plan ask for, step by step. Not whether they are done.

use std::time::Duration;

use trimtab_crds::{CanaryScale, Step};

use crate::{
    arithmetic::{canary_replicas, percent_up},
    digest::value_digest,
};

/// What a step asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A canary of the size that [`canary_size`] gives.
    Size,
    /// To be promoted: `setWeight: 100`.
    Promote,
    /// Time.
    PauseFor(Duration),
    /// A person.
    PauseUntilPromoted,
}

/// What a step asks for; `None` for a step that asks for nothing (an object older than the rules).
pub(crate) fn asks(step: &Step) -> Option<Asks> {
    if let Some(pause) = &step.pause {
        return Some(match pause.duration.as_ref().and_then(trimtab_crds::DurationText::get) {
            Some(duration) => Asks::PauseFor(duration),
            None => Asks::PauseUntilPromoted,
        });
    }
    match step.set_weight {
        Some(100..) => Some(Asks::Promote),
        Some(_) => Some(Asks::Size),
        None => step.set_canary_scale.as_ref().map(|_| Asks::Size),
    }
}

/// Weight that the steps up to and including `index` ask for; 0 before the first.
pub(crate) fn weight_at(steps: &[Step], index: usize) -> i32 {
    steps.iter().take(index + 1).rev().find_map(|step| step.set_weight).unwrap_or(0)
}

/// Size of the canary after the step at `index`, beside `stable` pods. A canary exists from the first step on, so that
/// a plan which begins with a pause has one pod to look at.
pub(crate) fn canary_size(steps: &[Step], index: usize, stable: i32) -> i32 {
    if stable <= 0 {
        return 0;
    }
    let scale = steps.iter().take(index + 1).rev().find_map(|step| step.set_canary_scale.as_ref());
    let by_weight = canary_replicas(stable, weight_at(steps, index));
    let size = match scale {
        Some(CanaryScale { replicas: Some(replicas), .. }) => *replicas,
        Some(CanaryScale { weight: Some(weight), .. }) => percent_up(stable, *weight),
        _ => by_weight,
    };
    // Above N a canary would have to be cut down before the Deployment can take it over.
    size.clamp(1, stable)
}

/// A step in words.
pub(crate) fn words(step: &Step) -> String {
    let scale = |s: &CanaryScale| match (s.replicas, s.weight) {
        (Some(replicas), _) => format!("setCanaryScale {replicas} pods"),
        (_, Some(weight)) => format!("setCanaryScale {weight}%"),
        _ => "setCanaryScale as weight".to_owned(),
    };
    if let Some(weight) = step.set_weight {
        format!("setWeight {weight}")
    } else if let Some(s) = &step.set_canary_scale {
        scale(s)
    } else {
        match step.pause.as_ref().and_then(|p| p.duration.as_ref()) {
            Some(duration) => format!("pause {}", duration.0),
            None => "pause until promoted".to_owned(),
        }
    }
}

/// Identity of a list of steps, to notice edits.
pub(crate) fn steps_digest(steps: &[Step]) -> String {
    value_digest(&serde_json::to_value(steps).unwrap_or_default())
}

/// Whether nothing is tried before the change is promoted.
pub(crate) fn none_before_promotion(steps: &[Step]) -> bool {
    steps.first().and_then(asks).is_none_or(|asks| asks == Asks::Promote)
}

/// Where a release of this weight goes on after its steps were edited: at the first step whose weight is not below it, and
/// never behind a pause that it has not been through. Which of the new pauses it has been through is told by the weights: a
/// pause counts only where a weight follows it that the release has reached.
pub(crate) fn resume_at(steps: &[Step], weight: i32) -> usize {
    let reached = |index: usize| weight_at(steps, index) <= weight;
    let last = (0..steps.len()).rev().find(|index| reached(*index)).unwrap_or(0);
    let mut index = (0..last).find(|index| weight_at(steps, *index) == weight_at(steps, last)).unwrap_or(last);
    let is_size = |index: usize| steps.get(index).and_then(asks) == Some(Asks::Size);
    // A size that is followed by another one is not waited at, and what the release has is more.
    while weight_at(steps, index) < weight && is_size(index) && is_size(index + 1) {
        index += 1;
    }
    index
}

/// What is wrong with a plan's steps, if anything, and how to mend it. The API server refuses such plans; an object may
/// be older than its rules.
pub(crate) fn fault(steps: &[Step]) -> Option<String> {
    let mut last = 0;
    for (index, step) in steps.iter().enumerate() {
        let place = index + 1;
        if asks(step).is_none() {
            return Some(format!("step {place} asks for nothing: give it one of setWeight, setCanaryScale and pause"));
        }
        if let Some(weight) = step.set_weight {
            if !(1..=100).contains(&weight) {
                return Some(format!("step {place} has weight {weight}: use 1 to 100"));
            }
            if weight < last {
                return Some(format!("step {place} has weight {weight} after {last}: weights must not fall"));
            }
            last = weight;
        }
        let duration = step.pause.as_ref().and_then(|p| p.duration.as_ref());
        if let Some(text) = duration.filter(|d| d.get().is_none()) {
            return Some(format!("step {place} pauses for {:?}: write a duration such as 30s or 5m", text.0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(yaml: &str) -> Vec<Step> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn check_sizes(yaml: &str, stable: i32, sizes: &[i32]) {
        let steps = steps(yaml);
        let got: Vec<i32> = (0..steps.len()).map(|i| canary_size(&steps, i, stable)).collect();
        assert_eq!(got, sizes, "{yaml}");
    }

    #[test]
    fn sizes_follow_weights_and_scales() {
        check_sizes("[{setWeight: 5}, {pause: {}}, {setWeight: 25}, {setWeight: 50}]", 10, &[1, 1, 3, 10]);
        check_sizes("[{setCanaryScale: {replicas: 4}}, {setWeight: 5}]", 10, &[4, 4]);
        check_sizes(
            "[{setCanaryScale: {weight: 25}}, {setCanaryScale: {matchTrafficWeight: true}}, {setWeight: 50}]",
            10,
            &[3, 1, 10],
        );
        check_sizes("[{pause: {}}, {setWeight: 20}]", 4, &[1, 1]);
        check_sizes("[{setWeight: 20}]", 0, &[0]);
        check_sizes("[{setCanaryScale: {replicas: 99}}]", 4, &[4]);
    }

    #[test]
    fn an_edit_resumes_at_the_weight_that_was_reached_and_behind_no_other_pause() {
        let check =
            |yaml: &str, weight, index| assert_eq!(resume_at(&steps(yaml), weight), index, "{yaml} at {weight}");
        check("[{setWeight: 5}, {setWeight: 20}, {pause: {}}, {setWeight: 50}]", 20, 1);
        check("[{setWeight: 5}, {setWeight: 50}, {pause: {}}]", 20, 1);
        check("[{setWeight: 20}, {pause: {}}]", 50, 0);
        check("[{setWeight: 10}, {pause: {}}, {setWeight: 100}]", 20, 0);
        check("[{setWeight: 10}, {pause: {}}, {setWeight: 50}]", 20, 0);
        check("[{setWeight: 10}, {setCanaryScale: {replicas: 2}}, {pause: {}}, {setWeight: 50}]", 20, 1);
        check("[{setWeight: 10}, {pause: {}}, {setWeight: 20}, {pause: {}}]", 20, 2);
        check("[{setCanaryScale: {replicas: 1}}, {pause: {}}, {setWeight: 50}]", 0, 0);
        check("[{pause: {}}, {setWeight: 50}]", 20, 0);
        check("[{setWeight: 50}]", 20, 0);
        check("[{setWeight: 100}]", 20, 0);
        check("[]", 20, 0);
    }

    fn lists() -> impl Strategy<Value = Vec<Step>> {
        let one = prop::sample::select(vec![
            "{setWeight: 1}",
            "{setWeight: 2}",
            "{setWeight: 3}",
            "{setCanaryScale: {replicas: 2}}",
            "{pause: {}}",
            "{pause: {duration: 5s}}",
            "{setWeight: 100}",
        ]);
        let sorted = |mut list: Vec<&'static str>| {
            let places: Vec<usize> = (0..list.len()).filter(|i| list[*i].contains("setWeight")).collect();
            let mut weights: Vec<&str> = places.iter().map(|i| list[*i]).collect();
            weights.sort_by_key(|weight| (weight.len(), *weight));
            places.iter().zip(weights).for_each(|(place, weight)| list[*place] = weight);
            list.iter().map(|step| steps(&format!("[{step}]")).remove(0)).collect()
        };
        prop::collection::vec(one, 0..7).prop_map(sorted)
    }

    fn pauses(step: &Step) -> bool {
        step.pause.is_some()
    }

    proptest! {
        #[test]
        fn an_edit_passes_no_pause_and_never_promotes(list in lists(), weight in 0..4i32) {
            prop_assert_eq!(fault(&list), None);
            let index = resume_at(&list, weight);
            let promotes = list.get(index).and_then(asks).is_none_or(|asks| asks == Asks::Promote);
            prop_assert_eq!(promotes, none_before_promotion(&list), "{}", index);
            for (place, _) in list.iter().enumerate().take(index).filter(|(_, step)| pauses(step)) {
                let reached = list[place..=index].iter().any(|step| step.set_weight.is_some_and(|w| w <= weight));
                prop_assert!(reached, "the pause at {} is passed, on at {}", place, index);
            }
        }

        #[test]
        fn an_edit_that_leaves_sizes_alone_goes_no_step_on(list in lists(), place in 0..7usize) {
            let place = place.min(list.len().saturating_sub(1));
            prop_assert!(resume_at(&list, weight_at(&list, place)) <= place);
        }
    }

    #[test]
    fn faults_say_how_to_mend_them() {
        let check = |yaml: &str, part: &str| assert!(fault(&steps(yaml)).unwrap().contains(part), "{yaml}");
        check("[{setWeight: 50}, {setWeight: 20}]", "weights must not fall");
        check("[{setWeight: 0}]", "use 1 to 100");
        check("[{setWeight: 101}]", "use 1 to 100");
        check("[{}]", "asks for nothing");
        check("[{pause: {duration: soon}}]", "such as 30s");
        assert_eq!(fault(&steps("[{setWeight: 20}, {pause: {}}, {setWeight: 100}]")), None);
    }
}
