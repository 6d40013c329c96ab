//! One workload as the API server has it now, and what the engine decides about it: the very function that the manager
//! calls. Reads only.

use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use kube::api::ListParams;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use trimtab_config::VALIDATE;
use trimtab_controllers::validation;
use trimtab_crds::{Release, ReleasePlan, ReleasePlanStatus, names};
use trimtab_plan::{Answer, Ask, Kind, Plan, Question};
use trimtab_release::{PlanView, Snapshot, decide};

use crate::reading::Reading;
use crate::{args::Reference, connect::Connection};

/// So many rounds of questions are more than a decision needs.
const ROUNDS: usize = 4;

/// One workload, and what is decided about it.
pub struct Situation {
    /// When it was seen.
    pub now: Timestamp,
    /// The plan that is asked about.
    pub plan: ReleasePlan,
    /// What the decision sees.
    pub seen: Snapshot,
    /// What it decides.
    pub decided: Plan<Option<ReleasePlanStatus>>,
    /// The pods of all revisions, as they are stored.
    pub pods: Vec<Value>,
    /// The records of its releases, the newest first.
    pub releases: Vec<Release>,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

/// Reads a plan and its workload.
pub async fn read(to: &Connection, reference: &Reference) -> Result<Situation> {
    let plan = to.find(reference).await?;
    let target = names::DEPLOYMENT.object(&to.namespace, &plan.spec.target_ref.name);
    let (mut reading, as_they_came) = Reading::of(to, &target.name).await?;
    let seen = reading.gather(to, &target).await?;
    let values = |objects: Vec<Box<RawValue>>| -> Vec<Value> {
        objects.iter().filter_map(|object| serde_json::from_str(object.get()).ok()).collect()
    };
    let [pods, releases] = as_they_came.map(values);
    let mut found = Situation::of(Timestamp::now(), plan, seen, pods, &releases)?;
    found.ask(to).await;
    Ok(found)
}

fn url(namespace: &str, kind: Kind) -> String {
    let base = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    format!("{base}/{}/namespaces/{namespace}/{}", kind.version, kind.plural)
}

/// An object of the namespace, if it is there.
async fn one<T: DeserializeOwned>(to: &Connection, kind: Kind, name: &str) -> Result<Option<T>> {
    let request = kube::core::Request::new(url(&to.namespace, kind)).get(name, &kube::api::GetParams::default())?;
    match to.client.request::<T>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(to.explain(error)),
    }
}

pub(crate) async fn get(to: &Connection, kind: Kind, name: &str) -> Result<Option<Value>> {
    one(to, kind, name).await
}

/// The same as it came.
pub(crate) async fn object_text(to: &Connection, kind: Kind, name: &str) -> Result<Option<Box<RawValue>>> {
    one(to, kind, name).await
}

pub(crate) async fn list<T: DeserializeOwned>(to: &Connection, kind: Kind, labels: &str) -> Result<Vec<T>> {
    let request = kube::core::Request::new(url(&to.namespace, kind)).list(&ListParams::default().labels(labels))?;
    let found: List<T> = to.client.request(request).await.map_err(|e| to.explain(e))?;
    Ok(found.items)
}

/// The objects of a kind as they came.
pub(crate) async fn objects(to: &Connection, kind: Kind, labels: &str) -> Result<Vec<Box<RawValue>>> {
    list(to, kind, labels).await
}

impl Situation {
    /// Decides on what is seen.
    pub fn of(
        now: Timestamp,
        plan: ReleasePlan,
        seen: Option<Snapshot>,
        pods: Vec<Value>,
        releases: &[Value],
    ) -> Result<Self> {
        let seen = seen.context("nothing is decided about it: its plan cannot be read by this version of trimtab")?;
        let mine = |release: &&Value| release.pointer("/spec/target").and_then(Value::as_str) == Some(&seen.name);
        let mut records: Vec<Release> =
            releases.iter().filter(mine).filter_map(|r| serde_json::from_value(r.clone()).ok()).collect();
        records.sort_by_key(|release| std::cmp::Reverse(release.spec.sequence));
        let decided = decide(now, &seen);
        Ok(Self { now, plan, seen, decided, pods, releases: records })
    }

    /// Answers what the decision asks, as far as that is done by reading, and decides again.
    async fn ask(&mut self, to: &Connection) {
        let reader = trimtab::Reader::new(to.client.clone(), trimtab::metrics::Metrics::default());
        let judge = validation::answerer();
        for _ in 0..ROUNDS {
            let open: Vec<Ask> =
                self.decided.asks.iter().filter(|ask| !self.seen.answers.contains_key(&ask.id)).cloned().collect();
            let before = self.seen.answers.len();
            for Ask { id, question, .. } in open {
                let answer = match question {
                    Question::Get(object) => reader.get(&object).await,
                    Question::Custom { name: VALIDATE, input, .. } => {
                        judge.answer(reader.clone(), VALIDATE, input).await
                    }
                    _ => continue,
                };
                // What the caller may not read the manager may.
                if !matches!(answer, Answer::Failed(_)) {
                    self.seen.answers.insert(id, answer);
                }
            }
            if self.seen.answers.len() == before {
                return;
            }
            self.decided = decide(self.now, &self.seen);
        }
    }

    /// The plan's status as it is stored.
    pub fn status(&self) -> Option<&ReleasePlanStatus> {
        self.plan.status.as_ref()
    }

    /// Name of the plan.
    pub fn name(&self) -> &str {
        self.plan.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether a stored condition is true, and would be if the manager decided now: a status may be a moment old.
    pub fn is(&self, condition: &str) -> bool {
        let holds = |status: Option<&ReleasePlanStatus>| {
            status.is_some_and(|s| s.conditions.iter().any(|c| c.type_ == condition && c.status == "True"))
        };
        holds(self.status()) && (self.decided.status.is_none() || holds(self.decided.status.as_ref()))
    }

    /// What the decision would be after a request.
    pub fn if_asked(&self, request: &str) -> Plan<Option<ReleasePlanStatus>> {
        let mut seen = self.seen.clone();
        for plan in &mut seen.plans {
            if plan.metadata.name == self.name() {
                let mut asked = PlanView::clone(plan);
                asked.metadata.annotations = asked.metadata.annotations.with(names::REQUEST, request);
                *plan = Arc::new(asked);
            }
        }
        decide(self.now, &seen)
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({"now": self.now, "seen": self.seen, "decided": self.decided})
    }
}
