//! Plans that cannot be read, because their CRD is not the program's: they are told so on the object, and nothing else
//! is done. Most of all, a Deployment that one of them guards is not let go as if its plan were gone.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use trimtab_crds::names;
use trimtab_plan::{Condition, Meta, Notice, Plan, Severity, Subresource, Verb, Write, set_condition};

use crate::{Snapshot, report, views::DeploymentView};

/// A plan that cannot be read.
#[derive(Debug, Clone, Serialize)]
pub struct UnreadablePlan {
    /// Its metadata.
    pub metadata: Meta,
    /// What could not be read.
    pub error: String,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// The reason in conditions, events and `why`.
const REASON: &str = "Unreadable";

/// Whether the plan that guards this Deployment is one that cannot be read.
pub(crate) fn guards(seen: &Snapshot, deployment: &DeploymentView) -> bool {
    let plan = deployment.metadata.annotation(names::PLAN);
    seen.unreadable.iter().any(|unreadable| Some(unreadable.metadata.name.as_str()) == plan)
}

/// Tells each of them.
pub(crate) fn tell<S>(now: Timestamp, seen: &Snapshot, plan: &mut Plan<S>) {
    for unreadable in seen.unreadable.iter().filter(|u| u.metadata.deletion_timestamp.is_none()) {
        let name = &unreadable.metadata.name;
        let message = format!(
            "ReleasePlan {name} cannot be read: {}; correct it, or run the version of Trimtab that wrote it: until then \
             changes of its Deployment stay held, and nothing is released or taken back",
            unreadable.error
        );
        plan.because(REASON, message.clone());
        plan.notices.push(Notice {
            about: unreadable.metadata.object(names::RELEASE_PLAN),
            uid: unreadable.metadata.uid.clone(),
            severity: Severity::Warning,
            reason: REASON,
            action: "Check",
            note: message.clone(),
        });
        if let Some(write) = condition(now, unreadable, &message) {
            plan.tidy(write, unreadable.metadata.object(names::RELEASE_PLAN), &unreadable.metadata.uid);
        }
    }
}

/// Sets its conditions, and leaves the rest of the status: it may hold a release that goes on when the plan is mended.
fn condition(now: Timestamp, unreadable: &UnreadablePlan, message: &str) -> Option<Write> {
    let mut conditions = unreadable.conditions.clone();
    for (type_, value) in [("Ready", false), ("Stalled", true)] {
        let new = report::condition_of(now, unreadable.metadata.generation, type_, value, REASON, message);
        set_condition(&mut conditions, new);
    }
    if conditions == unreadable.conditions {
        return None;
    }
    let body =
        json!({"metadata": {"uid": unreadable.metadata.uid}, "status": {"conditions": conditions, "message": message}});
    Some(Write {
        target: unreadable.metadata.object(names::RELEASE_PLAN),
        verb: Verb::Merge { body, subresource: Some(Subresource::Status) },
        why: "tell that the plan cannot be read".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trimtab_plan::Chore;

    use super::*;
    use crate::decide;

    fn unreadable(conditions: Vec<Condition>) -> UnreadablePlan {
        let metadata = Meta {
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
            uid: "p".to_owned(),
            generation: 3,
            ..Meta::default()
        };
        UnreadablePlan { metadata, error: "spec.rollbackWindow: invalid type".to_owned(), conditions }
    }

    /// A Deployment that names the plan, with nothing held: without its plan it would be let go.
    fn guarded() -> Arc<DeploymentView> {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "d", "annotations": {names::PLAN: "web"}},
            "spec": {"template": {"spec": {"containers": []}}},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn seen(deployment: bool, conditions: Vec<Condition>) -> Snapshot {
        Snapshot {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            deployment: deployment.then(guarded),
            unreadable: vec![unreadable(conditions)],
            ..Snapshot::default()
        }
    }

    #[test]
    fn it_is_told_on_the_object_and_once() {
        let now = Timestamp::from_second(100).unwrap();
        for deployment in [true, false] {
            let plan = decide(now, &seen(deployment, vec![]));
            assert_eq!(plan.writes, [], "only the plan is written");
            let [Chore { write, .. }] = &plan.housekeeping[..] else { panic!("{:?}", plan.housekeeping) };
            let Verb::Merge { body, subresource: Some(Subresource::Status) } = &write.verb else { panic!("{write:?}") };
            assert_eq!(write.target, names::RELEASE_PLAN.object("shop", "web"));
            let ready = &body["status"]["conditions"][0];
            assert_eq!(
                (&ready["type"], &ready["status"], &ready["reason"]),
                (&json!("Ready"), &json!("False"), &json!(REASON))
            );
            assert!(ready["message"].as_str().unwrap().contains("spec.rollbackWindow: invalid type; correct it"));
            assert_eq!((plan.notices[0].reason, plan.notices[0].uid.as_str()), (REASON, "p"));
            // What was written is what is seen next: nothing more is written.
            let conditions = serde_json::from_value(body["status"]["conditions"].clone()).unwrap();
            let later = Timestamp::from_second(200).unwrap();
            let again = decide(later, &seen(deployment, conditions));
            assert_eq!((again.writes, again.housekeeping), (vec![], vec![]));
        }
    }
}
