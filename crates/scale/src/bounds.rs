//! What the limits of speed, and the smallest and the largest size, leave of a number. The HPA does both at once and gives one
//! reason; here they are told apart, and the reason is the same.

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{Behavior, PolicyType, ScaleEvent, ScaleHistory, ScalingPolicy, ScalingRules, SelectPolicy};

use crate::groups::after;

/// The rules for one direction, with what is left out filled in as the HPA's API fills it in.
#[derive(Debug)]
pub(crate) struct Rules<'s> {
    pub select: SelectPolicy,
    pub policies: &'s [ScalingPolicy],
}

const UP: [ScalingPolicy; 2] = [
    ScalingPolicy { type_: PolicyType::Pods, value: 4, period_seconds: 15 },
    ScalingPolicy { type_: PolicyType::Percent, value: 100, period_seconds: 15 },
];
const DOWN: [ScalingPolicy; 1] = [ScalingPolicy { type_: PolicyType::Percent, value: 100, period_seconds: 15 }];

impl<'s> Rules<'s> {
    pub(crate) fn up(behavior: &'s Behavior) -> Self {
        Self::of(behavior.scale_up.as_ref(), &UP)
    }

    pub(crate) fn down(behavior: &'s Behavior) -> Self {
        Self::of(behavior.scale_down.as_ref(), &DOWN)
    }

    fn of(own: Option<&'s ScalingRules>, default: &'s [ScalingPolicy]) -> Self {
        Self {
            select: own.and_then(|rules| rules.select_policy).unwrap_or_default(),
            policies: own.and_then(|rules| rules.policies.as_deref()).unwrap_or(default),
        }
    }

    /// The longest time that a policy of this direction looks back.
    pub(crate) fn longest(&self) -> i32 {
        self.policies.iter().map(|policy| policy.period_seconds).max().unwrap_or_default()
    }
}

/// What the limits leave of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited {
    /// After the limit of speed.
    pub rated: i32,
    /// After the smallest and the largest size too.
    pub bounded: i32,
    /// The HPA's reason.
    pub reason: &'static str,
}

/// The size now, and the smallest and the largest that it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub current: i32,
    pub min: i32,
    pub max: i32,
    /// The size that it was set to since it was measured.
    pub doubled: Option<i32>,
}

/// What the limits leave of a number.
pub(crate) fn limit(
    now: Timestamp,
    behavior: Option<&Behavior>,
    history: &ScaleHistory,
    range: Range,
    desired: i32,
) -> Limited {
    let Range { current, min, max, doubled } = range;
    let free = Limited { rated: desired, bounded: desired, reason: "DesiredWithinRange" };
    let Some(behavior) = behavior else {
        if desired < min {
            return Limited { rated: desired, bounded: min, reason: "TooFewReplicas" };
        }
        // Against a single wild measurement: at most double for each.
        let most = doubled.map_or(current.saturating_mul(2).max(4), |set| set.max(current));
        return up(desired, most, max);
    };
    if desired > current {
        up(desired, up_limit(now, &Rules::up(behavior), history, current).max(current), max)
    } else if desired < current {
        let limit = down_limit(now, &Rules::down(behavior), history, current).min(current);
        let rated = if min < limit { desired.max(limit) } else { desired };
        let reason = match (rated == desired, desired < min) {
            (false, _) => "ScaleDownLimit",
            (true, true) => "TooFewReplicas",
            (true, false) => "DesiredWithinRange",
        };
        Limited { rated, bounded: rated.max(min), reason }
    } else {
        free
    }
}

fn up(desired: i32, limit: i32, max: i32) -> Limited {
    let rated = if limit < max { desired.min(limit) } else { desired };
    let reason = match (rated == desired, desired > max) {
        (false, _) => "ScaleUpLimit",
        (true, true) => "TooManyReplicas",
        (true, false) => "DesiredWithinRange",
    };
    Limited { rated, bounded: rated.min(max), reason }
}

fn up_limit(now: Timestamp, rules: &Rules<'_>, history: &ScaleHistory, current: i32) -> i32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = at_start(now, policy, history, current);
        match policy.type_ {
            PolicyType::Pods => start.saturating_add(policy.value),
            // Rounded up, or a small workload could never grow.
            PolicyType::Percent => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    });
    match rules.select {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => limits.min().unwrap_or(i32::MAX),
        SelectPolicy::Max => limits.max().unwrap_or(i32::MIN),
    }
}

fn down_limit(now: Timestamp, rules: &Rules<'_>, history: &ScaleHistory, current: i32) -> i32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = at_start(now, policy, history, current);
        match policy.type_ {
            PolicyType::Pods => start.saturating_sub(policy.value),
            PolicyType::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    });
    match rules.select {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => limits.max().unwrap_or(i32::MIN),
        SelectPolicy::Max => limits.min().unwrap_or(i32::MAX),
    }
}

/// The size at the beginning of a policy's time.
fn at_start(now: Timestamp, policy: &ScalingPolicy, history: &ScaleHistory, current: i32) -> i32 {
    let changed = |events: &[ScaleEvent]| {
        let recent = events.iter().filter(|event| expires(event, policy) > now);
        recent.fold(0i32, |sum, event| sum.saturating_add(event.change))
    };
    current.saturating_sub(changed(&history.ups)).saturating_add(changed(&history.downs))
}

/// When an event does not count for a policy any more.
pub(crate) fn expires(event: &ScaleEvent, policy: &ScalingPolicy) -> Timestamp {
    after(event.at, SignedDuration::from_secs(policy.period_seconds.into()))
}
