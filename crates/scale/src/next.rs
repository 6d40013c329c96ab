//! The next moment at which the size can change although everything measured stays as it is, and what ends then.

use jiff::{SignedDuration, Timestamp};
use trimtab_crds::{NextChange, Recommendation, ScaleHistory};

use crate::ScaleSnapshot;
use crate::bounds::{Rules, expires};
use crate::groups::after;
use crate::stabilise::Windows;

/// The stages as far as they hold a change up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub current: i32,
    /// Before stabilisation.
    pub wanted: i32,
    pub stabilised: i32,
    pub rated: i32,
}

/// When recommendations that hold a change up end.
pub(crate) fn window_ends(held: Held, windows: Windows, past: &[Recommendation], now: Timestamp) -> Option<NextChange> {
    if held.stabilised == held.wanted {
        return None;
    }
    let down = held.wanted < held.stabilised;
    let window = if down { windows.down } else { windows.up };
    // A larger one, or for growth a smaller one, holds it; the last of these to end frees the next step.
    let holds = |one: &&Recommendation| {
        (if down { one.replicas >= held.stabilised } else { one.replicas <= held.stabilised })
            && windows.end(one, window) > now
    };
    let at = past.iter().filter(holds).map(|one| windows.end(one, window)).max()?;
    let (size, wanted) = (held.stabilised, held.wanted);
    let message =
        format!("{size} was recommended within the last {} s: from then on {wanted} counts", window.as_secs());
    Some(NextChange { at, reason: "StabilizationWindow".to_owned(), message })
}

/// When a limit of speed lets more through.
pub(crate) fn limit_ends(
    held: Held,
    seen: &ScaleSnapshot,
    history: &ScaleHistory,
    now: Timestamp,
) -> Option<NextChange> {
    let behavior = seen.spec.behavior.as_ref().filter(|_| held.rated != held.stabilised)?;
    let up = held.stabilised > held.current;
    let (rules, events) =
        if up { (Rules::up(behavior), &history.ups) } else { (Rules::down(behavior), &history.downs) };
    let ends = events.iter().flat_map(|event| rules.policies.iter().map(|policy| expires(event, policy)));
    let first = ends.filter(|end| *end > now).min();
    // What changes now is itself a change that has to grow old.
    let shortest = rules.policies.iter().map(|policy| policy.period_seconds).min()?;
    let at = first.unwrap_or(after(now, SignedDuration::from_secs(shortest.into())));
    let message = format!("the limits of speed allow {} now", held.rated);
    Some(NextChange { at, reason: if up { "ScaleUpLimit" } else { "ScaleDownLimit" }.to_owned(), message })
}

/// The earliest of several.
pub(crate) fn earliest(all: impl IntoIterator<Item = Option<NextChange>>) -> Option<NextChange> {
    all.into_iter().flatten().min_by_key(|next| next.at)
}
