//! What recent recommendations leave of a number: it goes down only to the largest of them, and up only to the smallest.

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{Behavior, Recommendation};

use crate::groups::after;

/// For how long recommendations count in each direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub up: SignedDuration,
    pub down: SignedDuration,
    /// Whether there is a `behavior`: without one the rule is older and differs at the window's very end.
    pub behaves: bool,
}

impl Windows {
    pub(crate) fn of(behavior: Option<&Behavior>, downscale_seconds: u32) -> Self {
        let default = SignedDuration::from_secs(downscale_seconds.into());
        let Some(behavior) = behavior else {
            return Self { up: SignedDuration::ZERO, down: default, behaves: false };
        };
        let own = |rules: Option<&trimtab_crds::ScalingRules>| {
            let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
            seconds.map(|seconds| SignedDuration::from_secs(seconds.max(0).into()))
        };
        let (up, down) = (own(behavior.scale_up.as_ref()), own(behavior.scale_down.as_ref()));
        Self { up: up.unwrap_or_default(), down: down.unwrap_or(default), behaves: true }
    }

    /// For how long a recommendation can come to count.
    pub(crate) fn longest(self) -> SignedDuration {
        self.up.max(self.down)
    }

    /// The first moment at which a recommendation does not count any more.
    pub(crate) fn end(self, recommendation: &Recommendation, window: SignedDuration) -> Timestamp {
        let end = after(recommendation.at, window);
        if self.behaves { end } else { after(end, SignedDuration::from_nanos(1)) }
    }
}

/// The number after stabilisation, and the HPA's reason.
pub(crate) fn stabilise(
    now: Timestamp,
    windows: Windows,
    past: &[Recommendation],
    current: i32,
    desired: i32,
) -> (i32, &'static str) {
    let recent = |window| past.iter().filter(move |one| windows.end(one, window) > now).map(|one| one.replicas);
    let most = recent(windows.down).max().map_or(desired, |most| most.max(desired));
    if !windows.behaves {
        return (most, if most == desired { "ReadyForNewScale" } else { "ScaleDownStabilized" });
    }
    let least = recent(windows.up).min().map_or(desired, |least| least.min(desired));
    // Not `clamp`: it panics where the bounds are the wrong way round, which a history from elsewhere could make them.
    let stabilised = current.max(least).min(most);
    let reason = match stabilised == desired {
        true => "ReadyForNewScale",
        false if desired >= current => "ScaleUpStabilized",
        false => "ScaleDownStabilized",
    };
    (stabilised, reason)
}
