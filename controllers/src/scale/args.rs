//! The flags of autoscaling: the HPA controller's own, with its names and defaults. Each autoscaler can say otherwise.

use std::time::Duration;

use clap::Args;
use trimtab_scale::Options;

use crate::args::duration;

/// What holds for all autoscalers that say nothing else.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Autoscaling")]
pub struct ScaleArgs {
    /// How often an autoscaler decides if nothing happens before.
    #[arg(long = "autoscaler-sync-period", default_value = "15s", value_parser = duration, value_name = "DURATION")]
    pub sync_period: Duration,

    /// How far a metric may be from its target without a change.
    #[arg(long = "autoscaler-tolerance", default_value_t = 0.1, value_name = "SHARE")]
    pub tolerance: f64,

    /// For how long past recommendations keep a workload from becoming smaller.
    #[arg(long = "autoscaler-downscale-stabilization", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub downscale_stabilization: Duration,

    /// After its start a pod's CPU counts only while it is ready and was so for a whole sample.
    #[arg(long = "autoscaler-cpu-initialization-period", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub cpu_initialization_period: Duration,

    /// A pod that became unready within this time from its start was never ready.
    #[arg(long = "autoscaler-initial-readiness-delay", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub initial_readiness_delay: Duration,
}

impl ScaleArgs {
    /// As decisions take them.
    pub fn options(&self) -> Options {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Options {
            tolerance: if self.tolerance.is_finite() { self.tolerance.max(0.0) } else { 0.1 },
            downscale_stabilization_seconds: seconds(self.downscale_stabilization),
            cpu_initialization_seconds: seconds(self.cpu_initialization_period),
            initial_readiness_delay_seconds: seconds(self.initial_readiness_delay),
            interval_seconds: seconds(self.sync_period).max(1),
        }
    }
}
