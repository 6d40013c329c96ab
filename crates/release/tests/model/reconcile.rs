//! Our controller in the model: gathers, decides, applies, concludes; and everything
//! that happens until nothing happens any more.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use trimtab_config::{Source, SourceKind, SourceLookup, SourceView};
use trimtab_crds::{CanaryLoad, ReleasePlanStatus, names};
use trimtab_plan::{Answer, Applied, Failure, ObjectRef, Outcome, Plan, Question, Verb, Wake, Write};
use trimtab_release::{
    ConfigPolicyView, DeploymentView, Lookup, PlanView, PodView, ReleaseView, ReplicaSetView, Settings, Snapshot,
    UnreadablePlan, conclude, decide, gather, targets, workloads,
};

use super::server::Cluster;
use super::{NAMESPACE, WEB};

/// Longer than a round, so that it is seen to be waited for.
const QUIET_PERIOD: Duration = Duration::from_secs(3);

/// Where a process dies in a reconcile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// Nowhere.
    No,
    /// After this many writes; nothing else is written.
    After(usize),
    /// Before this write fails on the server's side; the status is written.
    Fails(usize),
}

/// The objects of a model as a store has them.
struct Found<'c> {
    cluster: &'c Cluster,
    deployment: Option<Arc<DeploymentView>>,
    plans: Vec<Arc<PlanView>>,
    replica_sets: Vec<Arc<ReplicaSetView>>,
    releases: Vec<Arc<ReleaseView>>,
}

impl SourceLookup for Found<'_> {
    fn looks_at(&self, _: SourceKind) -> bool {
        true
    }

    fn source(&self, kind: SourceKind, _: &str, name: &str) -> Option<SourceView> {
        self.cluster.source(kind, name)
    }

    fn copies(&self, _: &str, source: &Source) -> Vec<SourceView> {
        self.cluster.copies_of(source)
    }

    fn is_unread(&self, kind: SourceKind, _: &str, name: &str) -> bool {
        self.cluster.is_unread(kind, name)
    }
}

impl Lookup for Found<'_> {
    fn deployment(&self, _: &ObjectRef) -> Option<Arc<DeploymentView>> {
        self.deployment.clone()
    }

    fn plans_of(&self, workload: &ObjectRef) -> Vec<Arc<PlanView>> {
        self.plans.iter().filter(|plan| targets(plan) == *workload).cloned().collect()
    }

    fn unreadable_plan(&self, _: &str, _: &str) -> Option<UnreadablePlan> {
        None
    }

    fn replica_sets_of(&self, workload: &ObjectRef) -> Vec<Arc<ReplicaSetView>> {
        self.replica_sets.iter().filter(|rs| workloads(rs).contains(workload)).cloned().collect()
    }

    fn replica_set(&self, _: &str, name: &str) -> Option<Arc<ReplicaSetView>> {
        self.replica_sets.iter().find(|rs| rs.metadata.name == name).cloned()
    }

    fn pods_of(&self, replica_set: &ReplicaSetView) -> Vec<Arc<PodView>> {
        let pods = self.cluster.pods.iter().filter(|pod| pod.owner == replica_set.metadata.uid);
        pods.map(|pod| Arc::new(pod.view())).collect()
    }

    fn releases_of(&self, workload: &ObjectRef) -> Vec<Arc<ReleaseView>> {
        self.releases.iter().filter(|release| release.spec.target == workload.name).cloned().collect()
    }

    fn release(&self, _: &str, name: &str) -> Option<Arc<ReleaseView>> {
        self.releases.iter().find(|release| release.metadata.name == name).cloned()
    }

    fn policies(&self, _: &str) -> Vec<Arc<ConfigPolicyView>> {
        self.cluster.policies.clone()
    }

    fn unreadable_policies(&self, _: &str) -> Vec<String> {
        vec![]
    }

    fn canary_load(&self, _: &ObjectRef) -> Option<CanaryLoad> {
        None
    }
}

/// What a reconcile did.
#[derive(Debug)]
pub struct Reconciled {
    /// Writes that the server accepted, or that came too late or too early.
    pub writes: usize,
    /// Writes that the server accepted and that changed nothing: nobody is woken by them.
    pub idle: usize,
    /// Writes that it refused, and will refuse again.
    pub refused: usize,
    pub status: bool,
    /// Whether the status could not be written: the framework tells of it by an event, and tries again.
    pub status_refused: bool,
    /// Questions that had no answer yet.
    pub unanswered: usize,
    pub wake: Wake,
    pub plan: Plan<Option<ReleasePlanStatus>>,
}

impl Reconciled {
    pub fn quiet(&self) -> bool {
        !self.moved() && self.refused == 0
    }

    /// Whether anything was written or asked.
    pub fn moved(&self) -> bool {
        self.writes > 0 || self.status || self.unanswered > 0
    }
}

impl Cluster {
    /// What a decision sees now; nothing where nothing targets or guards the Deployment.
    pub fn snapshot(&mut self) -> Snapshot {
        let (deployment, plans) = (self.deployment_view(), self.plan_views());
        let (replica_sets, releases) = (self.replica_set_views(), self.release_views());
        let settings = Settings { quiet_period: QUIET_PERIOD, proof: self.proof, ..Settings::default() };
        let found = Found { cluster: self, deployment, plans, replica_sets, releases };
        let web = names::DEPLOYMENT.object(NAMESPACE, WEB);
        gather(&web, &found, &settings, &self.answers).unwrap_or_else(|| Snapshot {
            namespace: web.namespace,
            name: web.name,
            ..Snapshot::default()
        })
    }

    pub fn reconcile(&mut self) -> Reconciled {
        let (now, seen) = (self.now, self.snapshot());
        self.act(now, &seen, Cut::No, |_, _| {})
    }

    /// Acts on what was seen then; `between` happens before each write.
    pub fn act(
        &mut self,
        now: Timestamp,
        seen: &Snapshot,
        cut: Cut,
        mut between: impl FnMut(&mut Self, usize),
    ) -> Reconciled {
        let plan = decide(now, seen);
        let unanswered = plan.asks.iter().filter(|ask| !seen.answers.contains_key(&ask.id)).count();
        if std::env::var("TRACE").is_ok() {
            for write in &plan.writes {
                println!("    {} {}: {}", now, write.target, write.why);
            }
            if let Some(status) = &plan.status {
                println!("    {} {:?}: {}", now, status.phase, status.message);
            }
        }
        self.note_release(seen, &plan);
        self.answer(&plan);
        let mut outcome = Outcome::default();
        let total = plan.writes.len();
        let mut done = Reconciled {
            writes: 0,
            idle: 0,
            refused: 0,
            status: false,
            status_refused: false,
            unanswered,
            wake: plan.wake,
            plan: plan.clone(),
        };
        for (index, write) in plan.writes.iter().enumerate() {
            if cut == Cut::After(index) {
                return done;
            }
            between(self, index);
            if cut == Cut::Fails(index) {
                outcome.failed = Some(trimtab_plan::Failure {
                    index,
                    class: trimtab_plan::Class::Transient,
                    reason: "InternalError".to_owned(),
                    message: "the server failed".to_owned(),
                    lasting: false,
                });
                break;
            }
            match self.perform(index, write, &mut done) {
                Ok(()) => outcome.applied.push(Applied { resource_version: String::new(), changed: true }),
                Err(failure) => {
                    outcome.failed = Some(failure);
                    break;
                }
            }
        }
        if outcome.failed.is_none() {
            self.failing = None;
        }
        if cut == Cut::After(total) {
            return done;
        }
        if let Some(status) = conclude(now, seen, &plan, &outcome) {
            match self.write_status(&status) {
                Ok(()) => done.status = true,
                Err(_) => (done.refused, done.status_refused) = (done.refused + 1, true),
            }
        }
        if cut == Cut::After(total + 1) {
            return done;
        }
        for chore in &plan.housekeeping {
            _ = self.perform(0, &chore.write, &mut done);
        }
        done
    }

    /// Notes a release that a decision begins, as the policies are that it sees.
    fn note_release(&mut self, seen: &Snapshot, plan: &Plan<Option<ReleasePlanStatus>>) {
        let Some(progress) = plan.status.as_ref().and_then(|status| status.release.as_ref()) else { return };
        let before = seen.plans.iter().filter_map(|plan| plan.status.as_ref()?.release.as_ref());
        if before.into_iter().all(|before| before.name != progress.name) {
            self.note_begun(seen, &progress.name);
        }
    }

    /// Performs one write, and counts what came of it.
    fn perform(&mut self, index: usize, write: &Write, done: &mut Reconciled) -> Result<(), Failure> {
        let before = self.next();
        let mut result = self.write(index, write);
        if let Err(failure) = &mut result {
            failure.lasting = failure.class == trimtab_plan::Class::Transient && self.lasts(write, &failure.reason);
        }
        match &result {
            Ok(()) if self.next() == before + 1 && !matches!(write.verb, Verb::Delete { .. }) => done.idle += 1,
            Err(failure)
                if failure.lasting
                    || ["Forbidden", "InternalError", "AlreadyExists"].contains(&failure.reason.as_str()) =>
            {
                done.refused += 1
            }
            _ => done.writes += 1,
        }
        if let Err(failure) = &result {
            self.watch.trace.push(format!("{} failed: {}", write.why, failure.message));
        }
        result
    }

    /// Whether this write has failed like this for a minute.
    fn lasts(&mut self, write: &Write, reason: &str) -> bool {
        let print = format!("{} {reason}", write.target);
        let now = self.now;
        let since = self.failing.take().filter(|(same, _)| *same == print).map_or(now, |(_, since)| since);
        self.failing = Some((print, since));
        now.duration_since(since).as_secs() >= 60
    }

    /// The pool answers what was asked; answers that nobody asks for any more are dropped.
    fn answer(&mut self, plan: &Plan<Option<ReleasePlanStatus>>) {
        self.answers.retain(|id, _| plan.asks.iter().any(|ask| ask.id == *id));
        for ask in &plan.asks {
            // What was said stays said for as long as it is asked.
            if matches!(ask.question, Question::Rehearse { .. }) && self.answers.contains_key(&ask.id) {
                continue;
            }
            let answer = match &ask.question {
                Question::Get(_) if self.read_fails() => Answer::Failed("the server failed".to_owned()),
                Question::Get(target) => {
                    let found = self.objects.get(&(super::RELEASES, target.name.clone())).cloned();
                    found.map_or(Answer::NotFound, Answer::Object)
                }
                Question::Custom { input, .. } => self.judge(input),
                Question::Rehearse { write, keep } => self.rehearse(write, keep),
            };
            self.answers.insert(ask.id.clone(), answer);
        }
    }

    /// One round of everything in a fixed order. True if anything changed.
    pub fn round(&mut self) -> bool {
        let seen = self.reconcile();
        let changed = !seen.quiet();
        self.rest_of_round() | changed
    }

    /// What Kubernetes does in a round.
    pub fn rest_of_round(&mut self) -> bool {
        let mut changed = self.tick_deployment();
        changed |= self.tick_replica_sets();
        changed |= self.tick_pods();
        changed |= self.tick_garbage();
        self.raise_floor();
        changed
    }

    /// Runs until nothing changes but by time, then lets time pass to the next deadline, until there is none.
    /// Returns the last reconcile, or what goes on for ever.
    pub fn settle(&mut self) -> Result<Reconciled, String> {
        self.settle_with(|_| Cut::No)
    }

    /// The same, with a process that dies now and then.
    pub fn settle_with(&mut self, mut cut: impl FnMut(usize) -> Cut) -> Result<Reconciled, String> {
        let (mut reconciles, mut refused, mut looks) = (0, 0, 0);
        for _ in 0..1_000 {
            self.advance(1);
            let (now, seen) = (self.now, self.snapshot());
            reconciles += 1;
            let cut = cut(reconciles);
            let done = self.act(now, &seen, cut, |_, _| {});
            let changed = self.rest_of_round();
            // A process that died starts again, and decides anew.
            if changed || done.moved() || cut != Cut::No {
                looks = 0;
                continue;
            }
            // What is refused is tried again, slowly.
            refused += usize::from(done.refused > 0);
            if done.refused > 0 && refused < 20 {
                self.advance(120);
                continue;
            }
            match done.wake {
                Wake::OnChange => match self.late_at() {
                    // Kubernetes says by then that its rollout gets nowhere.
                    Some(at) => self.now = self.now.max(at),
                    None => return Ok(done),
                },
                Wake::At(at) if done.refused > 0 && (at <= self.now || refused > 60) => return Ok(done),
                Wake::At(at) if at <= self.now => {
                    return Err(format!("wakes at {at} without end: {:?}", done.plan.because));
                }
                // It looks again now and then, and nothing comes of it.
                Wake::At(_) if looks > 40 => return Ok(done),
                Wake::At(at) => (self.now, looks) = (at, looks + 1),
            }
        }
        Err(format!("never settles: {:?}", self.status().map(|status| (status.phase, status.message))))
    }

    /// Status of the first plan of the workload.
    pub fn status(&mut self) -> Option<ReleasePlanStatus> {
        self.plan_views().iter().find(|plan| plan.spec.target_ref.name == WEB).and_then(|plan| plan.status.clone())
    }
}
