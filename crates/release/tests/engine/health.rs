//! How tools that wait read a plan, by their own rules: kstatus, which Flux, `helm --wait` and `kubectl` plug-ins use, and Argo CD's
//! rule for objects that have conditions of this shape. What a plan is to say when is for `world` and the tests to say.

use trimtab_crds::ReleasePlanStatus;

/// What kstatus makes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Current,
    InProgress,
    Failed,
}

/// `sigs.k8s.io/cli-utils/pkg/kstatus/status`, `checkGenericProperties` and what follows it for a custom resource.
pub fn kstatus(generation: i64, status: &ReleasePlanStatus) -> Health {
    if status.observed_generation.is_some_and(|seen| seen != generation) {
        return Health::InProgress;
    }
    let holds = |type_: &str| {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_);
        found.map(|condition| condition.status == "True")
    };
    match (holds("Reconciling"), holds("Stalled"), holds("Ready")) {
        (Some(true), ..) => Health::InProgress,
        (_, Some(true), _) => Health::Failed,
        (.., Some(false)) => Health::InProgress,
        _ => Health::Current,
    }
}

/// What Argo CD makes of it, by the rule that its documentation gives for objects with these conditions.
pub fn argo(generation: i64, status: &ReleasePlanStatus) -> &'static str {
    match kstatus(generation, status) {
        Health::Current => "Healthy",
        Health::InProgress => "Progressing",
        Health::Failed => "Degraded",
    }
}
