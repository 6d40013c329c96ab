//! What a decision sees, from lists of a namespace instead of watches: for the command line, which looks once.

use std::sync::Arc;

use trimtab_crds::names;
use trimtab_plan::Answers;
use trimtab_scale::{AutoscalerView, GuardView, HpaView, Options, OwnerView, ScalePod, Scaled, Seen};

use super::{Selected, answered, guarded, others, release, target_id, whose};

/// Everything of a namespace that decisions of autoscalers see.
#[derive(Debug, Default)]
pub struct Lists {
    /// Deployments.
    pub deployments: Vec<Arc<Scaled>>,
    /// StatefulSets.
    pub stateful_sets: Vec<Arc<Scaled>>,
    /// Autoscalers.
    pub autoscalers: Vec<Arc<AutoscalerView>>,
    /// ReplicaSets.
    pub owners: Vec<OwnerView>,
    /// Pods.
    pub pods: Vec<ScalePod>,
    /// HorizontalPodAutoscalers.
    pub hpas: Vec<Arc<HpaView>>,
    /// ReleasePlans.
    pub plans: Vec<Arc<GuardView>>,
}

impl Lists {
    /// What a decision about one autoscaler sees. `None` if there is no such one.
    pub fn seen(&self, name: &str, answers: &Answers, options: Options) -> Option<Seen> {
        let autoscaler = self.autoscalers.iter().find(|one| one.metadata.name == name)?.clone();
        let (namespace, target_ref) = (&autoscaler.metadata.namespace, &autoscaler.spec.target_ref);
        let target_id = target_id(namespace, target_ref);
        let apps = target_ref.api_version.starts_with("apps/");
        let (kind, all) = match target_ref.kind.as_str() {
            "Deployment" if apps => (Some(names::DEPLOYMENT), &self.deployments),
            "StatefulSet" if apps => (Some(names::STATEFUL_SET), &self.stateful_sets),
            _ => (None, &self.deployments),
        };
        let target = all.iter().find(|one| kind.is_some() && one.metadata.name == target_ref.name).cloned();
        let (selected, uid) = match (&target, answered(answers)) {
            (Some(target), _) => (Some(Selected::Read(target.selector.clone())), target.metadata.uid.clone()),
            (None, Some(found)) => {
                let parsed = found.selector.parse().ok();
                (parsed.map(|parsed| Selected::Asked(found.selector, parsed)), found.uid)
            }
            (None, None) => (None, String::new()),
        };
        let set = |pod: &ScalePod| {
            let owner = pod.metadata.controller().filter(|owner| owner.is(&names::REPLICA_SET))?;
            self.owners.iter().find(|set| set.metadata.name == owner.name)
        };
        let fits = |pod: &&ScalePod| selected.as_ref().is_some_and(|one| one.matches(&pod.metadata.labels));
        let pods = self.pods.iter().filter(fits).map(|pod| whose(pod, set(pod), &uid, &target_id));
        let mut pods: Vec<_> = pods.collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let same = |hpa: &&Arc<HpaView>| super::target_id(namespace, &hpa.spec.scale_target_ref) == target_id;
        let hpas: Vec<_> = self.hpas.iter().filter(same).cloned().collect();
        let same = |one: &&Arc<AutoscalerView>| super::target_id(namespace, &one.spec.target_ref) == target_id;
        let autoscalers: Vec<_> = self.autoscalers.iter().filter(same).cloned().collect();
        let plans: Vec<_> = self.plans.iter().filter(|plan| guarded(plan) == target_id).cloned().collect();
        Some(Seen {
            release: release(&plans),
            others: others(&autoscaler, &hpas, &autoscalers),
            neighbours: self.autoscalers.len(),
            autoscaler,
            kind,
            target,
            pods,
            answers: answers.clone(),
            options,
            complete: true,
        })
    }
}
