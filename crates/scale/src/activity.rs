//! Whether a workload is needed, by what its metrics say of that. What follows from it, sleep or waking, is in `decide`.

use trimtab_crds::{MetricSpec, MetricStage, Quantity};

/// What the metrics that can tell it say of whether a workload is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// This one says that it is.
    Active(usize),
    /// None does, and this one is not known.
    Unknown(usize),
    /// Each says that it is not.
    Inactive,
    /// There is none that can tell.
    Untold,
}

impl Activity {
    /// What the metrics of a spec say, by what is known of each.
    pub(crate) fn of(specs: &[MetricSpec], stages: &[MetricStage]) -> Self {
        let tell = specs.iter().zip(stages).enumerate().filter(|(_, (spec, _))| spec.can_wake());
        let mut found = Self::Untold;
        for (index, (spec, stage)) in tell {
            found = match (is_active(spec, stage), found) {
                (Some(true), _) => return Self::Active(index),
                (None, Self::Untold | Self::Inactive) => Self::Unknown(index),
                (Some(false), Self::Untold) => Self::Inactive,
                (_, found) => found,
            };
        }
        found
    }
}

/// Whether a metric says that the workload is needed; nothing if that is not known.
fn is_active(spec: &MetricSpec, stage: &MetricStage) -> Option<bool> {
    if stage.reason == "Fallback" {
        return Some(true);
    }
    let above = spec.activation.as_ref().and_then(Quantity::milli).map_or(0, |milli| milli.0);
    stage.value.map(|value| value.0 > above)
}
