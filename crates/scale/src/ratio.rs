//! How far what is measured is from what it should be, and how many pods follow. The sums are of integers and the averages are
//! cut off, as the HPA does it: one thousandth decides at the edge of a tolerance.

use std::collections::BTreeMap;

/// How far a ratio may be from 1 without a change. A closed interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    /// Below.
    pub down: f64,
    /// Above.
    pub up: f64,
}

impl Tolerance {
    /// Whether a ratio asks for no change.
    pub(crate) fn holds(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What the pods use, and how that compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// What is measured by what it should be.
    pub ratio: f64,
    /// Percent of what is requested, for a target in percent.
    pub utilization: Option<i32>,
    /// The average over the pods, in thousandths.
    pub average: i64,
}

/// What per-pod samples are compared with.
#[derive(Debug)]
pub(crate) enum Scale<'s> {
    /// A percentage of requests.
    Requests { percent: i32, of: BTreeMap<&'s str, i64> },
    /// A number for each pod, in thousandths.
    Each(i64),
}

impl Scale<'_> {
    /// How samples compare. `None` if nothing is requested by any pod that has one.
    pub(crate) fn usage(&self, samples: &BTreeMap<&str, i64>) -> Option<Usage> {
        match self {
            Self::Each(target) => {
                let total: i128 = samples.values().copied().map(i128::from).sum();
                let average = cut(total.checked_div(i128::try_from(samples.len()).ok()?)?);
                Some(Usage { ratio: average as f64 / *target as f64, utilization: None, average })
            }
            Self::Requests { percent, of } => {
                let (mut used, mut requested, mut pods) = (0i128, 0i128, 0i128);
                for (pod, value) in samples {
                    let Some(request) = of.get(pod) else { continue };
                    (used, requested, pods) = (used + i128::from(*value), requested + i128::from(*request), pods + 1);
                }
                let utilization = (used * 100).checked_div(requested)?;
                let utilization = utilization.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                let average = cut(used.checked_div(pods)?);
                let ratio = f64::from(utilization) / f64::from(*percent);
                Some(Usage { ratio, utilization: Some(utilization), average })
            }
        }
    }

    /// What a pod without a sample is assumed to use when the others use too little: what it should, so that it is not
    /// taken for idle; all that it requests where the target is a share of that.
    pub(crate) fn assumed(&self, pod: &str) -> i64 {
        match self {
            Self::Each(target) => *target,
            Self::Requests { percent, of } => {
                let request = of.get(pod).copied().unwrap_or_default();
                cut(i128::from(request) * i128::from((*percent).max(100)) / 100)
            }
        }
    }
}

/// The smallest number of pods that is not below a float; a number that no size can be is the nearest that can.
pub(crate) fn pods(value: f64) -> i32 {
    value.ceil() as i32
}

fn cut(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
