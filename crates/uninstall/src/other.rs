//! What is not the release of a Deployment: sizes that an Autoscaler sets, configuration that other workloads read frozen,
//! Jobs that are being made anew.

use serde_json::Value;
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, ObjectRef, Verb, Write};

use crate::{
    Next,
    standing::{Standing, State},
};

/// Something else that Trimtab looks after.
#[derive(Debug, Clone)]
pub enum Other {
    /// A workload whose size an Autoscaler sets.
    Scaled(Scaled),
    /// A StatefulSet or DaemonSet whose pods read frozen configuration: the pins of its template.
    Frozen(ObjectRef, String),
    /// A Job that is being made anew.
    Job(KeptJob),
}

/// A workload whose size an Autoscaler sets.
#[derive(Debug, Clone)]
pub struct Scaled {
    /// The Autoscaler.
    pub autoscaler: String,
    /// The workload, where its kind is one of Kubernetes' own.
    pub target: Option<ObjectRef>,
    /// The workload in words: `deployment/web`.
    pub words: String,
    /// The workload's namespace.
    pub namespace: String,
    /// Its size, if known.
    pub replicas: Option<i32>,
    /// The fewest pods that it may have.
    pub min: i32,
    /// Whether the Autoscaler put it to sleep.
    pub asleep: bool,
    /// Whether the Autoscaler writes sizes at all.
    pub writes: bool,
}

/// A Job that is being made anew: its body is kept in a ControllerRevision.
#[derive(Debug, Clone)]
pub struct KeptJob {
    /// Metadata of what is kept.
    pub metadata: Meta,
    /// The Job's name.
    pub job: String,
    /// The Job as it is to be made.
    pub body: Value,
    /// Whether a Job of its name is there.
    pub there: bool,
    /// Whether the manager kept it, as it is. Whoever may write ControllerRevisions need not be allowed to make Jobs.
    pub proven: bool,
}

impl KeptJob {
    /// What a person runs to have the Job made, once they have looked at it.
    fn by_hand(&self) -> String {
        let (revision, ns) = (&self.metadata.name, &self.metadata.namespace);
        format!("kubectl get controllerrevision {revision} -n {ns} -o jsonpath={{.data}} | kubectl create -n {ns} -f -")
    }
}

impl Scaled {
    /// Reads an Autoscaler, of whatever version; `replicas` is its target's size.
    pub fn read(autoscaler: &Value, replicas: Option<i32>) -> Option<Self> {
        let text = |pointer: &str| autoscaler.pointer(pointer).and_then(Value::as_str);
        let (kind, name) = (text("/spec/targetRef/kind")?, text("/spec/targetRef/name")?);
        let namespace = text("/metadata/namespace")?;
        let known = target_kind(text("/spec/targetRef/apiVersion").unwrap_or("apps/v1"), kind);
        Some(Self {
            autoscaler: text("/metadata/name")?.to_owned(),
            target: known.map(|kind| kind.object(namespace, name)),
            words: format!("{}/{name}", kind.to_lowercase()),
            namespace: namespace.to_owned(),
            replicas,
            min: autoscaler
                .pointer("/spec/minReplicas")
                .and_then(Value::as_i64)
                .map_or(1, |n| n.try_into().unwrap_or(1)),
            asleep: autoscaler.pointer("/status/history/asleep").and_then(Value::as_bool).unwrap_or(false),
            writes: text("/spec/mode").unwrap_or("Auto") == "Auto",
        })
    }

    fn is_asleep(&self) -> bool {
        self.asleep && self.replicas.is_none_or(|replicas| replicas == 0) && self.writes
    }
}

/// A kind that can be scaled, of Kubernetes' own.
pub(crate) fn target_kind(api_version: &str, kind: &str) -> Option<Kind> {
    let known = [names::DEPLOYMENT, names::STATEFUL_SET, names::REPLICA_SET];
    known.into_iter().find(|one| one.kind == kind && api_version.starts_with("apps/"))
}

impl Other {
    /// How it stands.
    pub fn survey(&self) -> Option<Standing> {
        let mut standing = match self {
            Self::Scaled(scaled) => of_scaled(scaled)?,
            Self::Frozen(workload, pins) => Standing {
                namespace: workload.namespace.clone(),
                kind: workload.kind.kind.to_owned(),
                name: workload.name.clone(),
                state: State::Frozen,
                says: "its pods read frozen configuration".to_owned(),
                left_alone: "its pods go on reading the frozen revisions, which go with what names them".to_owned(),
                frozen: pins.clone(),
                ..Standing::default()
            },
            Self::Job(kept) => of_job(kept),
        };
        standing.waits = standing.state.waits();
        Some(standing)
    }

    /// What to do so that it needs Trimtab no more: what sleeps is woken, a Job is made.
    pub fn decide(&self) -> Next {
        let mut next = Next::default();
        match self {
            Self::Scaled(scaled) if scaled.is_asleep() => match &scaled.target {
                Some(target) => {
                    let verb = Verb::Scale { replicas: scaled.min.max(1), from: None };
                    let why = "wake it: nobody else will".to_owned();
                    next.writes.push(Write { target: target.clone(), verb, why });
                    next.waits_for = Some("it to be awake".to_owned());
                }
                None => {
                    let (what, ns) = (&scaled.words, &scaled.namespace);
                    next.blocked = Some(format!(
                        "Autoscaler {} put {what} to sleep: kubectl scale {what} -n {ns} --replicas={}",
                        scaled.autoscaler,
                        scaled.min.max(1)
                    ));
                }
            },
            Self::Job(kept) if !kept.proven => {
                let (revision, ns) = (&kept.metadata.name, &kept.metadata.namespace);
                next.blocked = Some(format!(
                    "ControllerRevision {revision} says that Job {} is kept in it, and it is not known to be what the manager \
                     kept (its key could not be read, or made another): no Job is made of it. Look at it; if the Job is to be \
                     there: {}; then: kubectl delete controllerrevision {revision} -n {ns}",
                    kept.job,
                    kept.by_hand()
                ));
            }
            Self::Job(kept) => {
                if kept.there {
                    next.waits_for = Some(format!("the old Job {} to go", kept.job));
                    return next;
                }
                let target = names::JOB.object(&kept.metadata.namespace, &kept.job);
                next.writes.push(Write::create(target, kept.body.clone(), "make the Job anew"));
                let what = kept.metadata.object(names::CONTROLLER_REVISION);
                next.writes.push(Write::delete(what, &kept.metadata.uid, "forget what was kept of the Job"));
                next.waits_for = Some("the Job to be made".to_owned());
            }
            Self::Scaled(_) | Self::Frozen(..) => {}
        }
        next
    }
}

fn of_scaled(scaled: &Scaled) -> Option<Standing> {
    if !scaled.writes {
        return None;
    }
    let (kind, name) = scaled.words.split_once('/').unwrap_or(("", &scaled.words));
    let kind = scaled.target.as_ref().map_or(kind, |target| target.kind.kind);
    let (name, by, what, ns) = (name.to_owned(), &scaled.autoscaler, &scaled.words, &scaled.namespace);
    let mut standing = Standing { namespace: ns.clone(), kind: kind.to_owned(), name, ..Standing::default() };
    if scaled.is_asleep() {
        let wake = format!("kubectl scale {what} -n {ns} --replicas={}", scaled.min.max(1));
        let resumed = format!("it is woken, with {} pods", scaled.min.max(1)).replace(" 1 pods", " one pod");
        standing.state = State::Asleep;
        standing.says = format!("Autoscaler {by} put it to sleep");
        standing.left_alone = "nobody wakes it".to_owned();
        standing.taken_back.clone_from(&resumed);
        standing.resumed = resumed;
        standing.by_hand = vec![wake];
    } else {
        standing.state = State::Scaled;
        standing.says = format!("Autoscaler {by} sets its size");
        standing.left_alone = "it keeps the size that it has".to_owned();
        standing.by_hand = vec![format!("kubectl autoscale {what} -n {ns} --min={} --max=N", scaled.min.max(1))];
    }
    Some(standing)
}

fn of_job(kept: &KeptJob) -> Standing {
    let made = if kept.proven { "it is made" } else { "it is not made: nobody knows whether the manager kept it" };
    Standing {
        namespace: kept.metadata.namespace.clone(),
        kind: "Job".to_owned(),
        name: kept.job.clone(),
        state: State::JobKept,
        says: "it was deleted for a change of its configuration, to be made anew".to_owned(),
        left_alone: format!("it is not made; ControllerRevision {} keeps it", kept.metadata.name),
        resumed: made.to_owned(),
        taken_back: made.to_owned(),
        by_hand: vec![kept.by_hand()],
        ..Standing::default()
    }
}
