//! What a course costs, where it was too little, and how restless it was. Plain sums over its steps, in their order.

use serde::Serialize;

use crate::Course;

/// What a course amounts to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// How long it was.
    pub hours: f64,
    /// Pods that were asked for, times hours.
    pub replica_hours: f64,
    /// Minutes in which the load of the pods that serve was above their target by more than the tolerance.
    pub under_provisioned_minutes: f64,
    /// Minutes in which nothing was known of the load.
    pub unknown_minutes: f64,
    /// How often the size changed.
    pub changes: u32,
    /// The same for each hour.
    pub changes_per_hour: f64,
    /// By how many pods at most at once.
    pub largest_step: i32,
    /// How often a change went the other way than the one before it.
    pub reversals: u32,
    /// The same for each hour.
    pub reversals_per_hour: f64,
    /// In 95 of 100 steps the load of a pod by its target was no more than this. None if nothing was known, or if there was
    /// load and no pod for longer than that.
    pub p95_load: Option<f64>,
    /// The fewest pods.
    pub smallest: i32,
    /// The most pods.
    pub largest: i32,
}

/// What a course amounts to. The tolerance is how far above its target a pod may be without being short.
pub fn score(course: &Course, tolerance: f64) -> Score {
    let step = course.step.as_secs_f64();
    let hours = course.ticks.len() as f64 * step / 3600.0;
    let (mut pods, mut under, mut unknown) = (0i64, 0u32, 0u32);
    let (mut changes, mut largest_step, mut reversals, mut last) = (0u32, 0i32, 0u32, 0i32);
    let mut before = course.initial;
    let mut ratios = Vec::with_capacity(course.ticks.len());
    for tick in &course.ticks {
        pods += i64::from(tick.size);
        match tick.ratio() {
            Some(ratio) => {
                under += u32::from(ratio > 1.0 + tolerance);
                ratios.push(ratio);
            }
            None => unknown += 1,
        }
        let change = tick.size.saturating_sub(before);
        if change != 0 {
            changes += 1;
            largest_step = largest_step.max(change.saturating_abs());
            reversals += u32::from(last != 0 && last != change.signum());
            last = change.signum();
        }
        before = tick.size;
    }
    let sizes = || course.ticks.iter().map(|tick| tick.size).chain([course.initial]);
    let minutes = |steps: u32| f64::from(steps) * step / 60.0;
    Score {
        hours,
        replica_hours: pods as f64 * step / 3600.0,
        under_provisioned_minutes: minutes(under),
        unknown_minutes: minutes(unknown),
        changes,
        changes_per_hour: f64::from(changes) / hours,
        largest_step,
        reversals,
        reversals_per_hour: f64::from(reversals) / hours,
        p95_load: percentile(ratios, 95).filter(|ratio| ratio.is_finite()),
        smallest: sizes().min().unwrap_or_default(),
        largest: sizes().max().unwrap_or_default(),
    }
}

/// The smallest value that so many of a hundred do not exceed.
fn percentile(mut values: Vec<f64>, of_hundred: usize) -> Option<f64> {
    let rank = (values.len() * of_hundred).div_ceil(100).checked_sub(1)?;
    Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
}
