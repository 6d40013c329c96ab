//! The controller of frozen configuration without steps: wakes StatefulSets and DaemonSets that opted in, gathers what they
//! read, and leaves every decision to `trimtab-config`.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use trimtab::{Controller, Permission, Selector, Store, Watches};
use trimtab_config::{
    DaemonSetView, DigestKey, RevisionView, StatefulSetView, Tracked, TrackedSnapshot, known_sources, refused, track,
};
use trimtab_crds::names;
use trimtab_plan::{Answers, Failure, Kind, Notice, Outcome, OwnerRef, Plan, StatusWrite, Write};

use crate::sources::{self, Sources};
use crate::workload::Workload;

/// How the controller is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long nothing must have changed before pins are written.
    pub quiet_period: Duration,
    /// The key under which digests of Secrets are made.
    pub digest_key: DigestKey,
    /// Whether Secrets are read and copied.
    pub secrets: bool,
}

/// The controller.
#[derive(Debug)]
pub struct Tracking {
    stateful_sets: Store<StatefulSetView>,
    daemon_sets: Store<DaemonSetView>,
    revisions: Store<RevisionView>,
    sources: Sources,
    options: Options,
}

/// The key of a workload that opted in.
fn key(kind: Kind, tracked: &Tracked) -> Vec<Workload> {
    tracked.opted_in().then(|| Workload::of(kind, &tracked.metadata)).into_iter().collect()
}

/// The workload that a revision with pins belongs to.
fn owner(revision: &RevisionView) -> Vec<Workload> {
    let owner = revision.metadata.controller().filter(|_| !revision.pins.is_empty());
    let kind = |owner: &OwnerRef| [names::STATEFUL_SET, names::DAEMON_SET].into_iter().find(|kind| owner.is(kind));
    let workload = |owner: &OwnerRef| {
        let (namespace, name) = (revision.metadata.namespace.clone(), owner.name.clone());
        Some(Workload { kind: kind(owner)?, namespace, name })
    };
    owner.and_then(workload).into_iter().collect()
}

impl Tracking {
    /// Declares what is watched.
    pub fn new(watches: &mut Watches<Workload>, options: Options) -> Self {
        let stateful_sets = watches
            .watch::<StatefulSetView>(Selector::default())
            .index("source", |set| sources::ids(&set.0.metadata.namespace, &set.0.reads))
            .wakes(|set| key(names::STATEFUL_SET, &set.0))
            .store();
        let daemon_sets = watches
            .watch::<DaemonSetView>(Selector::default())
            .index("source", |set| sources::ids(&set.0.metadata.namespace, &set.0.reads))
            .wakes(|set| key(names::DAEMON_SET, &set.0))
            .store();
        let revisions = watches
            .watch::<RevisionView>(Selector::default())
            .index("owner", |revision| revision.metadata.controller().map(|o| o.uid.clone()).into_iter().collect())
            .wakes(owner)
            .store();
        let (stateful, daemon) = (stateful_sets.clone(), daemon_sets.clone());
        let sources = Sources::new(watches, options.secrets, move |source| {
            let (stateful, daemon) = (stateful.by_index("source", source), daemon.by_index("source", source));
            let stateful = stateful.iter().map(|set| Workload::of(names::STATEFUL_SET, &set.0.metadata));
            stateful.chain(daemon.iter().map(|set| Workload::of(names::DAEMON_SET, &set.0.metadata))).collect()
        });
        Self { stateful_sets, daemon_sets, revisions, sources, options }
    }

    fn workload(&self, key: &Workload) -> Option<Arc<Tracked>> {
        if key.kind == names::STATEFUL_SET {
            self.stateful_sets.get(&key.namespace, &key.name).map(|set| set.0.clone())
        } else {
            self.daemon_sets.get(&key.namespace, &key.name).map(|set| set.0.clone())
        }
    }
}

impl Controller for Tracking {
    const NAME: &'static str = "config";
    type Key = Workload;
    type Snapshot = TrackedSnapshot;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        let mut needed = vec![
            Permission { group: "apps", resource: "statefulsets", verbs: &["patch"] },
            Permission { group: "apps", resource: "daemonsets", verbs: &["patch"] },
        ];
        needed.extend(sources::copying(self.options.secrets));
        needed
    }

    fn gather(&self, key: &Workload, _answers: &Answers) -> Option<TrackedSnapshot> {
        let workload = self.workload(key).filter(|w| w.opted_in() && w.metadata.deletion_timestamp.is_none())?;
        let revisions = self.revisions.by_index("owner", &workload.metadata.uid);
        let unpinned = workload.unpinned();
        let pins = revisions.iter().map(|revision| &revision.pins).chain([&workload.pins]).chain(unpinned.pins());
        let sources = known_sources(&self.sources, &key.namespace, [&workload.reads], pins, &self.options.digest_key);
        Some(TrackedSnapshot {
            kind: key.kind,
            workload,
            revisions,
            sources,
            quiet_period: self.options.quiet_period,
            digest_key: self.options.digest_key.clone(),
        })
    }

    fn decide(now: Timestamp, seen: &TrackedSnapshot) -> Plan<()> {
        track(now, seen)
    }

    fn refused(seen: &TrackedSnapshot, write: &Write, failure: &Failure) -> Vec<Notice> {
        refused(seen, write, failure)
    }

    fn conclude(_: Timestamp, _: &TrackedSnapshot, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
        None
    }
}
