//! Reloads: workloads without a plan restart, or read their files anew, when configuration that they read has changed.
//!
//! Everything is told from what is there now: the revisions that are live, against those that a workload's annotations
//! say its pods have. So a change made while nobody watched is found once, and nothing is done twice. There is no client,
//! no clock and no random number.

mod blocked;
mod board;
mod breaker;
mod cron;
mod decide;
mod expressions;
mod first;
mod fits;
mod hot;
mod job;
mod labels;
mod member;
mod named;
mod noted;
mod opt_in;
mod options;
mod pods;
mod progress;
mod record;
mod standing;
mod survey;
mod template;
mod trigger;
mod workload;

pub use blocked::BLOCKED;
pub use board::{Board, Turn};
pub use decide::{Run, Snapshot, decide, refused};
pub use expressions::Expressions;
pub use first::Birth;
pub use fits::{Fits, NAMES, Ready};
pub use hot::{Action, Files, HOT_RELOAD, HotReload, Verify};
pub use job::{JOB_MADE, JobMade, KeptJob};
pub use labels::{LabelSelector, NoSelector};
pub use member::Member;
pub use named::{Patterns, PatternsId};
pub use opt_in::How;
pub use options::{Options, ReloaderNames, Strategy};
pub use pods::PodView;
pub use progress::{Progress, Turnover};
pub use record::{Applied, Record, Reload};
pub use survey::{Change, Is, Survey, survey};
pub use template::{Container, Mount, Place, Template, Use, trigger_variable};
pub use workload::{CronJobView, DaemonSetView, DeploymentView, JobView, RolloutView, StatefulSetView, Workload};
