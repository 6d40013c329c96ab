//! What the steps of a plan ask for, step by step. Not whether they are done.

use std::time::Duration;

use trimtab_crds::{CanaryScale, Progress, Step};

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

/// Where a release goes on after its steps were edited: at the first step whose weight is not below what it has.
pub(crate) fn resume_at(steps: &[Step], progress: &Progress) -> usize {
    steps.iter().position(|step| step.set_weight.is_some_and(|w| w >= progress.weight)).unwrap_or(steps.len())
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
