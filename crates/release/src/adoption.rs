//! Canaries that have lost their owner: what counts as one, and that the plan owns it again. That no Deployment takes it meanwhile is by
//! its labels.

use trimtab_crds::names;
use trimtab_plan::Severity;

use crate::{canary, draft::Draft, labels, views::ReplicaSetView};

/// Whether a canary of this Deployment has lost its owner: nobody owns it, and its labels keep it out of the Deployment. Whoever
/// marked another ReplicaSet so could as well have scaled or deleted it.
pub fn is_adrift(deployment: &str, rs: &ReplicaSetView) -> bool {
    rs.metadata.controller().is_none()
        && rs.metadata.deletion_timestamp.is_none()
        && rs.metadata.annotation(names::CANARY_OF) == Some(deployment)
        && labels::is_outside(rs)
}

/// Owns the canary again where somebody took its owner away. True if that comes first.
pub(crate) fn reclaim(draft: &mut Draft<'_>, rs: &ReplicaSetView) -> bool {
    if !is_adrift(&draft.world.deployment.metadata.name, rs) {
        return false;
    }
    draft.write(canary::claim(&draft.world, rs));
    let message = format!("somebody took the owner of ReplicaSet {} away: the plan owns it again", rs.metadata.name);
    draft.say(draft.status.phase, "CanaryReclaimed", message.clone());
    draft.tell(Severity::Warning, "CanaryReclaimed", "Adopt", message);
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_canary_without_owner_is_adrift_of_its_deployment_alone() {
        let set = |labels: serde_json::Value| -> ReplicaSetView {
            serde_json::from_value(json!({
                "metadata": {"name": "web-1", "uid": "1", "labels": labels, "annotations": {names::CANARY_OF: "web"}},
                "spec": {"replicas": 0, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}
            }))
            .unwrap()
        };
        let canary = set(json!({}));
        assert!(is_adrift("web", &canary) && !is_adrift("api", &canary));
        // What was promoted keeps the mark.
        assert!(!is_adrift("web", &set(json!({"app": "web"}))));
    }
}
