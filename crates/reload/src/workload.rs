//! Workloads as reloads see them: their kind, what restarted them last, and how far their rollout is. Not what their templates
//! read, nor whether they are to be reloaded.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, ObjectRef, Watched};

use crate::named::Named;
use crate::progress::{Progress, Turnover, progress, turnover};
use crate::template::{Template, items};

/// A workload of any kind that can be reloaded.
#[derive(Debug, Clone, Serialize)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Metadata.
    pub metadata: Meta,
    /// Its pod template.
    #[serde(skip)]
    pub template: Template,
    /// How far its rollout is.
    pub progress: Progress,
    /// Which pods there are of that rollout.
    pub turnover: Turnover,
    /// Whether it is paused (a Deployment) or suspended (a CronJob).
    pub paused: bool,
    /// Of a CronJob, whether it wants no second run beside one that is under way.
    pub exclusive: bool,
    /// Of a CronJob, whether its status names runs that are under way.
    pub active: bool,
    /// Of a Job, whether it has ended.
    pub ended: bool,
    /// Whether it is to have no pods.
    pub idle: bool,
    /// The conditions of its status that are about reloads: reason and message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<(String, String)>,
    /// What its annotations name, once somebody has asked.
    #[serde(skip)]
    pub(crate) named: OnceLock<Box<Named>>,
}

impl Workload {
    /// What people call it: `deployment/web`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind.kind.to_ascii_lowercase(), self.metadata.name)
    }

    /// The object.
    pub fn object(&self) -> ObjectRef {
        self.metadata.object(self.kind)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotation(name)
    }

    /// Whether it says what it said before, whatever else of its status has changed.
    pub fn is_as(&self, before: &Self) -> bool {
        // All are named, so that none is forgotten. A template is the same while the generation is, and what annotations name while
        // they are.
        let Self {
            kind: _,
            metadata,
            template: _,
            progress,
            turnover,
            paused,
            exclusive,
            active,
            ended,
            idle,
            blocked,
            named: _,
        } = before;
        let flags = (self.paused, self.exclusive, self.active, self.ended, self.idle);
        is_as(&self.metadata, metadata)
            && flags == (*paused, *exclusive, *active, *ended, *idle)
            && (&self.progress, &self.turnover, &self.blocked) == (progress, turnover, blocked)
    }

    /// Whether a change of its template makes pods anew.
    pub(crate) fn rolls(&self) -> bool {
        ![names::CRON_JOB, names::JOB].contains(&self.kind)
    }

    /// Whether its pods are to read their files anew without a restart.
    pub(crate) fn is_hot(&self) -> bool {
        self.annotation(names::RELOAD_MODE).is_some_and(|mode| mode.trim() != "restart")
    }

    fn of(kind: Kind, metadata: Meta, spec: &Value, status: &Value) -> Self {
        let is_cron_job = kind == names::CRON_JOB;
        let template = if is_cron_job { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] };
        let exclusive = is_cron_job && matches!(spec["concurrencyPolicy"].as_str(), Some("Forbid" | "Replace"));
        let conditions = items(&status["conditions"]);
        let has_ended = |c: &Value| matches!(c["type"].as_str(), Some("Complete" | "Failed")) && c["status"] == "True";
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let blocked = conditions
            .filter(|c| c["type"] == crate::BLOCKED && c["status"] == "True")
            .map(|c| (text(&c["reason"]), text(&c["message"])))
            .next();
        Self {
            kind,
            template: Template::of(template),
            progress: progress(kind, &metadata, spec, status),
            turnover: turnover(&metadata, status),
            paused: spec["paused"].as_bool().unwrap_or(false) || spec["suspend"].as_bool().unwrap_or(false),
            exclusive,
            active: is_cron_job && items(&status["active"]).next().is_some(),
            ended: items(&status["conditions"]).any(has_ended),
            idle: spec["replicas"] == 0,
            blocked,
            named: OnceLock::new(),
            metadata,
        }
    }
}

/// Whether metadata say what they said before, but for the annotation in which the controller of Deployments counts what it made.
fn is_as(own: &Meta, before: &Meta) -> bool {
    let told = |meta: &Meta| (meta.generation, meta.creation_timestamp, meta.deletion_timestamp);
    // Of a kind without a generation nobody knows whether its template is the same.
    own.generation != 0
        && told(own) == told(before)
        && (&own.uid, &own.labels, &own.owner_references) == (&before.uid, &before.labels, &before.owner_references)
        && texts(own).eq(texts(before))
}

fn texts(meta: &Meta) -> impl Iterator<Item = (&str, &str)> {
    meta.annotations.iter().filter(|(name, _)| *name != names::REVISION)
}

macro_rules! workloads {
    ($($(#[$doc:meta])* $view:ident, $kind:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Serialize)]
            #[serde(transparent)]
            pub struct $view(pub Arc<Workload>);

            impl Watched for $view {
                const KIND: Kind = $kind;

                fn meta(&self) -> &Meta {
                    &self.0.metadata
                }
            }

            impl AsRef<Arc<Workload>> for $view {
                fn as_ref(&self) -> &Arc<Workload> {
                    &self.0
                }
            }

            impl<'de> Deserialize<'de> for $view {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    #[derive(Deserialize)]
                    struct Raw {
                        metadata: Meta,
                        #[serde(default)]
                        spec: Value,
                        #[serde(default)]
                        status: Value,
                    }
                    let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
                    Ok(Self(Arc::new(Workload::of($kind, metadata, &spec, &status))))
                }
            }
        )*
    };
}

workloads! {
    /// A Deployment.
    DeploymentView, names::DEPLOYMENT;
    /// A StatefulSet.
    StatefulSetView, names::STATEFUL_SET;
    /// A DaemonSet.
    DaemonSetView, names::DAEMON_SET;
    /// A CronJob.
    CronJobView, names::CRON_JOB;
    /// A Job.
    JobView, names::JOB;
    /// A Rollout of Argo Rollouts.
    RolloutView, names::ROLLOUT;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_news_where_it_says_something_else() {
        let of = |change: &dyn Fn(&mut Value)| {
            let metadata =
                json!({"name": "web", "namespace": "ns", "uid": "u", "generation": 2, "resourceVersion": "1"});
            let status = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
            let mut all = json!({"metadata": metadata, "spec": {"replicas": 1}, "status": status});
            change(&mut all);
            serde_json::from_value::<DeploymentView>(all).unwrap().0
        };
        let before = of(&|_| {});
        let check = |news: bool, change: &dyn Fn(&mut Value)| {
            assert_eq!(of(change).is_as(&before), !news, "{:?}", of(change));
        };
        check(false, &|_| {});
        check(false, &|all| all["metadata"]["resourceVersion"] = "2".into());
        check(false, &|all| all["status"]["readyReplicas"] = 2.into());
        check(false, &|all| all["metadata"]["annotations"][names::REVISION] = "2".into());
        check(true, &|all| all["status"]["replicas"] = 1.into());
        check(true, &|all| all["status"]["updatedReplicas"] = 2.into());
        check(true, &|all| all["metadata"]["generation"] = 3.into());
        check(true, &|all| all["metadata"]["annotations"]["a"] = "b".into());
        check(true, &|all| all["metadata"]["labels"]["a"] = "b".into());
        check(true, &|all| all["metadata"]["uid"] = "v".into());
        check(true, &|all| all["spec"]["paused"] = true.into());
        let blocked = json!([{"type": crate::BLOCKED, "status": "True", "reason": "R", "message": "m"}]);
        check(true, &|all| all["status"]["conditions"] = blocked.clone());
    }
}
