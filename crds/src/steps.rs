//! The steps of a canary. What they mean is decided in the release engine, not here.

use std::{str::FromStr, time::Duration};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A canary: a few pods of the new revision beside the stable ones, more with every step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.steps) || self.steps.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()"
).message("the weights of the steps must not fall: sort the setWeight steps from the smallest to the largest"))]
pub struct Canary {
    /// What happens one after the other. Without steps a change is promoted at once, in the Deployment's own way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub steps: Vec<Step>,
}

/// One step; exactly one of its fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.setWeight), has(self.setCanaryScale), has(self.pause)].filter(x, x).size() == 1"
).message("a step has exactly one of setWeight, setCanaryScale and pause: write each as an item of its own"))]
pub struct Step {
    /// The share of the new revision, in percent. Without a traffic router it is made of pods: with N stable pods the
    /// canary runs `N·w/(100−w)` of them, rounded, at least one and at most N; 100 promotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub set_weight: Option<i32>,
    /// The size of the canary, whatever its weight, until the next `setCanaryScale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_canary_scale: Option<CanaryScale>,
    /// Waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// The size of the canary; exactly one of its fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.replicas), has(self.weight), has(self.matchTrafficWeight)].filter(x, x).size() == 1"
).message("setCanaryScale has exactly one of replicas, weight and matchTrafficWeight"))]
pub struct CanaryScale {
    /// This many pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub replicas: Option<i32>,
    /// This many percent of the Deployment's replicas, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<i32>,
    /// As the weight asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_traffic_weight: Option<bool>,
}

/// Waits for a time, or until promoted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// How long; until promoted if left out. `30s`, `5m`, `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationText>,
}

/// A duration as Go and Kubernetes write it: `30s`, `5m`, `1h30m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DurationText(
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))] pub String,
);

impl DurationText {
    /// The duration; `None` where the text is not one (the API server refuses such a text, but an object may be older
    /// than the rule).
    pub fn get(&self) -> Option<Duration> {
        parse_duration(&self.0)
    }
}

/// Parses a duration in Go's syntax. `None` if it is not one, or negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let parsed = kube::core::Duration::from_str(text).ok()?;
    if parsed.is_negative() { None } else { Some(parsed.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("-5s"), None);
        assert_eq!(parse_duration("soon"), None);
    }
}
