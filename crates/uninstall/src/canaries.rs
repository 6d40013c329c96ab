//! Canaries at the side: given to the Deployment where they are of use, and otherwise ended as its own pods take over.

use trimtab_plan::Write;
use trimtab_release::{ReplicaSetView, writes};

use crate::snapshot::{Scene, Snapshot};

/// What comes of a canary in this round: writes, or what is waited for. Both empty: nothing is left to do about it.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) writes: Vec<Write>,
    pub(crate) waits_for: Option<String>,
}

impl Turn {
    fn write(write: Write, why: String) -> Self {
        Self { writes: vec![write], waits_for: Some(why) }
    }

    pub(crate) fn wait(why: String) -> Self {
        Self { writes: vec![], waits_for: Some(why) }
    }
}

/// Whether the Deployment can have this canary: it is of what is asked for, and has a pod that is of use.
pub(crate) fn of_use(scene: &Scene<'_>, rs: &ReplicaSetView) -> bool {
    rs.spec.template.digest == scene.digest()
        // One that has lost its owner is given to nobody: it goes as the Deployment's own pods come.
        && rs.metadata.controller().is_some()
        && scene.held().is_some()
        && scene.replicas() > 0
        && (rs.status.available_replicas > 0 || rs.status.observed_generation < rs.metadata.generation)
}

/// Gives the Deployment those pods of a canary that are available. The others go first: the handover is right only for
/// a canary that is whole.
pub(crate) fn give(scene: &Scene<'_>, rs: &ReplicaSetView) -> Turn {
    let name = &rs.metadata.name;
    if rs.status.observed_generation < rs.metadata.generation {
        return Turn::wait(format!("canary {name} to be seen by its controller"));
    }
    let size = rs.status.available_replicas.min(scene.replicas());
    if rs.spec.replicas > size {
        let why = "only its available pods are given to the Deployment";
        return Turn::write(writes::scale(rs, size, why), format!("canary {name} to have {size} pods"));
    }
    if rs.status.replicas > rs.spec.replicas || rs.status.available_replicas < rs.spec.replicas || !scene.observed() {
        return Turn::wait(format!("the pods of canary {name}"));
    }
    Turn::write(writes::hand_over(scene.deployment, rs), "the Deployment to take the canary over".to_owned())
}

/// Pods of a ReplicaSet that are available and stay.
fn surely_available(rs: &ReplicaSetView) -> i32 {
    let seen = rs.status.observed_generation >= rs.metadata.generation;
    if seen { rs.status.available_replicas.min(rs.spec.replicas) } else { 0 }
}

/// Ends a canary: its pods that serve stay until the Deployment's own have taken their place.
pub(crate) fn end(seen: &Snapshot, rs: &ReplicaSetView) -> Turn {
    let Some(scene) = seen.scene() else {
        return Turn::write(writes::delete(rs), "the canary of a Deployment that is gone to go".to_owned());
    };
    let serving: i32 = scene.owned().map(surely_available).fold(0, i32::saturating_add);
    let missing = scene.replicas().saturating_sub(serving).max(0);
    let keep = rs.spec.replicas.min(rs.status.available_replicas).min(missing);
    let name = &rs.metadata.name;
    let waits_for = format!(
        "canary {name} to go: {} pods are left of it, {serving} of {} of the Deployment's own are available",
        rs.status.replicas,
        scene.replicas()
    );
    if rs.spec.replicas > keep {
        return Turn::write(writes::scale(rs, keep, "the Deployment's own pods are available"), waits_for);
    }
    let gone = rs.spec.replicas == 0 && rs.status.replicas == 0;
    if !gone || rs.status.observed_generation < rs.metadata.generation {
        return Turn::wait(waits_for);
    }
    let write = if writes::was_the_deployments(rs) && rs.metadata.controller().is_some() {
        writes::return_to_history(scene.deployment, rs)
    } else {
        writes::delete(rs)
    };
    Turn::write(write, waits_for)
}
