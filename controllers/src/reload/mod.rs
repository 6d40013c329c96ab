//! The controller of reloads: wakes workloads without a plan whose configuration changed, gathers what their pods have and
//! what is live, and leaves every decision to `trimtab-reload`.

pub mod args;
mod births;
mod boards;
mod fitting;
mod hot;
mod live;
mod made;
mod turns;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use trimtab::{Controller, KeyWaker, Permission, Selector, Store, Watches, clock};
use trimtab_config::{Source, SourceView};
use trimtab_crds::names;
use trimtab_plan::{Answers, Failure, Kind, Meta, Notice, Outcome, Plan, StatusWrite, Watched, Write};
use trimtab_reload::{
    CronJobView, DaemonSetView, DeploymentView, JobView, KeptJob, LabelSelector, Member, Options, PodView, RolloutView,
    Run, Snapshot, StatefulSetView, Survey, Workload as View, decide, refused, survey,
};

use crate::sources;
use crate::workload::Workload;
use births::Births;
use boards::Busy;
use fitting::{Fitting, Names};
pub use hot::answerer;
use live::Live;
use turns::{Looked, Turns};
use workloads::Workloads;

/// What the controller is told beside the options of its decisions.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The options of its decisions.
    pub options: Options,
    /// Whether the cluster has Rollouts of Argo Rollouts.
    pub rollouts: bool,
    /// Namespaces without these labels are left alone.
    pub namespaces: Option<LabelSelector>,
}

/// The controller.
pub struct Reloading {
    workloads: Workloads,
    jobs: Store<JobView>,
    pods: Store<PodView>,
    kept: Store<KeptJob>,
    sources: Live,
    namespaces: Option<(Store<NamespaceView>, LabelSelector)>,
    births: Births,
    fitting: Fitting,
    turns: Turns,
    waker: KeyWaker<Workload>,
    /// Whether Rollouts of Argo Rollouts are watched.
    rollouts: bool,
    options: Arc<Options>,
}

/// A namespace.
#[derive(Debug, serde::Deserialize)]
struct NamespaceView {
    metadata: Meta,
}

impl Watched for NamespaceView {
    const KIND: Kind = Kind::cluster("", "v1", "Namespace", "namespaces");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Reloading {
    /// Declares what is watched.
    pub fn new(watches: &mut Watches<Workload>, setup: Setup) -> Self {
        let (options, busy, births) = (Arc::new(setup.options), Busy::default(), Births::default());
        let mut workloads = Workloads::default();
        workloads.watch::<DeploymentView>(watches, &options, &busy, &births);
        workloads.watch::<StatefulSetView>(watches, &options, &busy, &births);
        workloads.watch::<DaemonSetView>(watches, &options, &busy, &births);
        workloads.watch::<CronJobView>(watches, &options, &busy, &births);
        workloads.watch::<JobView>(watches, &options, &busy, &births);
        if setup.rollouts {
            workloads.watch::<RolloutView>(watches, &options, &busy, &births);
        }
        let kept = watches
            .watch::<KeptJob>(Selector::labels(names::RELOADED_JOB))
            .hears(births.of_new())
            .wakes(|kept: &KeptJob| {
                let (namespace, name) = (kept.metadata.namespace.clone(), kept.job().to_owned());
                vec![Workload { kind: names::JOB, namespace, name }]
            })
            .store();
        let jobs = watches
            .watch::<JobView>(Selector::default())
            .hears({
                let (births, kept) = (births.clone(), kept.clone());
                move |heard| note_made(&births, &kept, &heard.new.0.metadata)
            })
            .index("owner", |job| job.0.metadata.controller().map(|owner| owner.uid.clone()).into_iter().collect())
            .wakes({
                // A CronJob that waits for a run to end: its own status does not name all of them.
                let busy = busy.clone();
                move |job| cron_job_of(&job.0).filter(|key| busy.may_want(key)).into_iter().collect()
            })
            .store();
        let pods = watches
            .watch::<PodView>(Selector::default())
            .index("workload", |pod| pod_of(pod).map(|key| key.to_string()).into_iter().collect())
            .hears(births.of_new())
            .wakes({
                // Only what waits for its pods is woken by them.
                let busy = busy.clone();
                move |pod| pod_of(pod).filter(|key| busy.may_want(key)).into_iter().collect()
            })
            .store();
        let fitting = Fitting::default();
        let (read, reading, noted, fit) = (workloads.clone(), options.clone(), busy.clone(), fitting.clone());
        let sources = Live::new(watches, options.secrets, &births, &fitting, move |namespace, source| {
            let readers = readers(&read, &reading, &fit, namespace, source);
            noted.add(&readers);
            readers
        });
        let listed = workloads.clone();
        let namespaces = setup.namespaces.map(|selector| {
            let store = watches
                .watch::<NamespaceView>(Selector::default())
                .wakes(move |namespace| {
                    let all = listed.by_index("namespace", &namespace.metadata.name);
                    all.into_iter().map(|(key, _)| key).collect()
                })
                .store();
            (store, selector)
        });
        let (turns, waker, rollouts) = (Turns::new(busy), watches.waker(), setup.rollouts);
        Self { workloads, jobs, pods, kept, sources, namespaces, births, fitting, turns, waker, rollouts, options }
    }

    fn is_selected(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|(store, selector)| {
            store.get("", namespace).is_some_and(|found| selector.matches(&found.metadata.labels))
        })
    }

    fn survey(&self, workload: &View) -> (Survey, BTreeMap<Source, String>) {
        let namespace = &workload.metadata.namespace;
        let Some(fits) = self.fitting.known(&self.options, workload, &self.sources) else {
            return (Survey { comparing: true, ..Survey::default() }, BTreeMap::new());
        };
        let candidates = self.options.candidates(workload, &fits, |source| self.sources.has(namespace, source));
        let live: BTreeMap<&Source, SourceView> =
            candidates.iter().filter_map(|source| Some((source, self.sources.get(namespace, source)?))).collect();
        let object = |source: &Source| live.get(source).map(AsRef::as_ref);
        let found = survey(&self.options, workload, &candidates, &fits, object, |object| self.births.of(object));
        let version = |source: &Source| Some(live.get(source)?.as_ref().metadata.resource_version.clone());
        let changed = found.changes.iter().map(|change| &change.source);
        let versions = changed.filter_map(|source| Some((source.clone(), version(source)?))).collect();
        (found, versions)
    }

    /// How a workload is, beside others and its Jobs; without one if there is nothing to decide about it.
    fn see(&self, key: &Workload, answers: Option<&Answers>) -> Snapshot {
        let view = self.workloads.get(key).filter(|view| self.options.concerns(view));
        let workload = view.filter(|_| self.is_selected(&key.namespace));
        let own = workload.as_ref().filter(|view| self.options.opted_in(view));
        let (survey, versions) = own.map(|view| self.survey(view)).unwrap_or_default();
        let pods = if survey.changes.is_empty() { vec![] } else { self.pods.by_index("workload", &key.to_string()) };
        let since: Option<Vec<u64>> = survey.changes.iter().map(|change| change.version).collect();
        let since = since.into_iter().flatten().max();
        let made = |uid: &str| Some((uid.to_owned(), self.births.made_after(&key.namespace, uid, since)?));
        Snapshot {
            workload,
            survey,
            turn: None,
            made: pods.iter().filter_map(|pod| made(&pod.metadata.uid)).collect(),
            pods,
            versions,
            jobs: vec![],
            kept: None,
            made_anew: None,
            answers: answers.cloned().unwrap_or_default(),
            options: self.options.clone(),
        }
    }
}

/// The workloads of its namespace that a source concerns.
fn readers(
    workloads: &Workloads,
    options: &Options,
    fitting: &Fitting,
    namespace: &str,
    source: &Source,
) -> Vec<Workload> {
    let reading = workloads.by_index("source", &sources::id(namespace, source));
    let by_pattern = fitting.concerned(options, namespace, source, workloads.by_index("pattern", namespace));
    reading.into_iter().map(|(key, _)| key).chain(by_pattern).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Notes that a Job was made anew, if it is not the one that something is kept of.
fn note_made(births: &Births, kept: &Store<KeptJob>, job: &Meta) {
    let kept = kept.get(&job.namespace, &KeptJob::name_of(&job.name));
    if let Some(kept) = kept.filter(|kept| kept.replaces() != job.uid) {
        births.made_of(&job.namespace, &kept.metadata.uid);
    }
}

fn cron_job_of(job: &View) -> Option<Workload> {
    let owner = job.metadata.controller().filter(|owner| owner.is(&names::CRON_JOB))?;
    Some(Workload { kind: names::CRON_JOB, namespace: job.metadata.namespace.clone(), name: owner.name.clone() })
}

fn pod_of(pod: &PodView) -> Option<Workload> {
    let (kind, name) = pod.workload()?;
    Some(Workload { kind, namespace: pod.metadata.namespace.clone(), name: name.to_owned() })
}

impl Controller for Reloading {
    const NAME: &'static str = "reload";
    type Key = Workload;
    type Snapshot = Snapshot;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        let patched = ["deployments", "statefulsets", "daemonsets", "deployments/status", "daemonsets/status"];
        let patched = patched.map(|resource| Permission { group: "apps", resource, verbs: &["patch"] });
        let others = [
            Permission { group: "apps", resource: "controllerrevisions", verbs: &["get", "create", "patch", "delete"] },
            // Where a pod is reloaded without a restart: it is looked at and so are the sources of its files, and an
            // annotation lets its kubelet bring these at once.
            Permission { group: "", resource: "pods", verbs: &["get", "patch"] },
            Permission { group: "", resource: "configmaps", verbs: &["get"] },
            // Whole ones are asked for, to make Jobs of them.
            Permission { group: "batch", resource: "cronjobs", verbs: &["get", "patch"] },
            Permission { group: "batch", resource: "jobs", verbs: &["get", "create", "patch", "delete"] },
        ];
        let secrets = Permission { group: "", resource: "secrets", verbs: &["get"] };
        let rollouts = Permission { group: names::ROLLOUT.group, resource: names::ROLLOUT.plural, verbs: &["patch"] };
        let switched = [self.options.secrets.then_some(secrets), self.rollouts.then_some(rollouts)];
        patched.into_iter().chain(others).chain(switched.into_iter().flatten()).collect()
    }

    fn must_prepare(&self, key: &Workload) -> bool {
        let view = self.workloads.get(key).filter(|view| self.options.opted_in(view));
        view.is_some_and(|view| self.fitting.known(&self.options, &view, &self.sources).is_none())
    }

    fn prepare(&self, key: &Workload) {
        if let Some(view) = self.workloads.get(key) {
            self.fitting.compare(&self.options, &view, &self.sources);
        }
    }

    fn gather(&self, key: &Workload, answers: &Answers) -> Option<Snapshot> {
        let (now, mut seen) = (clock::now(), None);
        let own = || Member::seen(now, seen.insert(self.see(key, Some(answers))), true);
        let others = |other: &Workload| Member::seen(now, &self.see(other, None), false);
        let by_id = |id: &str| self.workloads.key(&key.namespace, id);
        let Looked { turn, woken } = self.turns.look((now, &self.options), key, own, others, by_id);
        woken.iter().filter_map(|id| self.workloads.key(&key.namespace, id)).for_each(|key| self.waker.wake(key));
        let seen = seen?;
        let kept =
            if key.kind == names::JOB { self.kept.get(&key.namespace, &KeptJob::name_of(&key.name)) } else { None };
        if seen.workload.is_none() && kept.is_none() {
            return None;
        }
        let runs = seen.workload.as_ref().filter(|_| key.kind == names::CRON_JOB && !seen.survey.changes.is_empty());
        let jobs = runs.map(|view| self.jobs.by_index("owner", &view.metadata.uid)).unwrap_or_default();
        Some(Snapshot {
            turn,
            jobs: jobs.iter().map(|job| Run::of(&job.0)).collect(),
            made_anew: kept.as_ref().and_then(|kept| self.births.is_made_of(&key.namespace, &kept.metadata.uid)),
            kept,
            ..seen
        })
    }

    fn decide(now: Timestamp, seen: &Snapshot) -> Plan<()> {
        decide(now, seen)
    }

    fn refused(seen: &Snapshot, write: &Write, failure: &Failure) -> Vec<Notice> {
        refused(seen, write, failure)
    }

    fn conclude(_: Timestamp, _: &Snapshot, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
        None
    }
}
