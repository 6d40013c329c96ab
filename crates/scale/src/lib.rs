//! How many pods a workload has: what each metric asks for, what they ask for together, and what past recommendations,
//! limits of speed, and the smallest and largest size leave of it.
//!
//! The arithmetic is that of Kubernetes' HorizontalPodAutoscaler, to the integer; where it deliberately differs, an option of
//! the spec says so. Whatever is not known never makes a workload smaller. There is no client, no clock and no random number:
//! who asks the servers, and who writes the size, is the controller.

mod activity;
mod autoscaler;
pub mod beat;
mod bounds;
mod decide;
mod formula;
mod groups;
mod history;
mod metric;
mod next;
pub mod questions;
mod ratio;
mod reconcile;
mod recorded;
mod requests;
mod scheduled;
mod seen;
mod snapshot;
mod stabilise;
mod unread;
mod views;

pub use autoscaler::AutoscalerView;
pub use decide::{Decision, Finding, Verdict, decide_scale, decide_scale_with};
pub use history::settle;
pub use reconcile::{conclude, late, reconcile, snapshot};
pub use recorded::Recorded;
pub use scheduled::Scheduled;
pub use seen::{SAMPLES, SELECTOR, Seen};
pub use snapshot::{
    ContainerView, ForecastView, Missing, Observation, Options, Phase, PodSample, PodView, Readiness, ReleaseView,
    ScaleSnapshot, TargetView,
};
pub use unread::{HPAS, Unread};
pub use views::{
    GuardView, HpaView, OwnerView, ScalePod, Scaled, ScaledDeployment, ScaledStatefulSet, query_of, selects,
};
