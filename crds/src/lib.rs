//! What users of Trimtab touch: the API types, and what the API server must know (CRDs and admission policies).
//!
//! The YAML files beside this crate are generated from it (`make generate`) and applied as they are:
//! `kubectl apply -f crds/`. There is no client here and no decision; only shapes, their rules and their names.

mod api_version;
mod autoscaler;
mod autoscaler_metrics;
mod autoscaler_status;
mod config;
mod config_policy;
pub mod mark;
pub mod names;
pub mod pins;
pub mod policies;
mod quantity;
mod release;
mod release_plan;
mod steps;

pub use api_version::api_version;
pub use autoscaler::{
    Autoscaler, AutoscalerSpec, Behavior, Compat, Fallback, ForecastSpec, Improvement, PolicyType, ScaleMode,
    ScaleTargetRef, ScalingPolicy, ScalingRules, SelectPolicy, Startup,
};
pub use autoscaler_metrics::{
    ContainerResourceMetric, DescribedObject, ExternalMetric, MetricIdentifier, MetricSelector,
    MetricSelectorRequirement, MetricSpec, MetricTarget, MetricType, ObjectMetric, PodsMetric, PrometheusMetric,
    ResourceMetric, TargetType,
};
pub use autoscaler_status::{
    AutoscalerStatus, CanaryLoad, LeftOut, LeftOutPod, MetricStage, NextChange, PendingScale, PodCounts,
    Recommendation, ScaleDecision, ScaleEvent, ScaleHistory, ScaleStage, ScaleStageName, UnknownSince,
};
pub use config::{
    Adopt, Config, ConfigKind, ConfigMode, ConfigSource, ConfigStatus, PendingChange, SourceStatus, Track,
};
pub use config_policy::{ConfigFormat, ConfigPolicy, ConfigPolicySpec, ConfigRule, ConfigSelector};
pub use kube::{CustomResourceExt, Resource};
pub use quantity::{Milli, Quantity};
pub use release::{Change, Release, ReleaseResult, ReleaseSpec, ReleaseStatus, StepRecord, Template};
pub use release_plan::{
    CanaryProgress, FirstRollout, OnFailure, PastRevision, Phase, Progress, Rejected, ReleasePlan, ReleasePlanSpec,
    ReleasePlanStatus, Revision, Stage, Strategy, TargetKind, TargetRef, TargetStatus, Undo, Verdict, Weight,
    WhileScaledToZero,
};
pub use steps::{Canary, CanaryScale, DurationText, Pause, Step, parse_duration};
