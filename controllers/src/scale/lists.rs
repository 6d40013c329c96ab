//! What a decision sees, from lists of a namespace instead of watches: for the command line, which looks once.

use std::sync::Arc;

use trimtab_crds::names;
use trimtab_plan::Answers;
use trimtab_scale::{AutoscalerView, GuardView, HpaView, Options, OwnerView, ScalePod, Scaled, Seen, Unread};

use super::pods::{Selected, fitting, whose};
use super::target::target_id as target_id_of;
use super::{answered, guarded, others, release};

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
        let target_id = target_id_of(namespace, target_ref);
        let apps = target_ref.api_version.starts_with("apps/");
        let (kind, all) = match target_ref.kind.as_str() {
            "Deployment" if apps => (Some(names::DEPLOYMENT), &self.deployments),
            "StatefulSet" if apps => (Some(names::STATEFUL_SET), &self.stateful_sets),
            _ => (None, &self.deployments),
        };
        let target = all.iter().find(|one| kind.is_some() && one.metadata.name == target_ref.name).cloned();
        let (selected, uid) = match (&target, answered(answers)) {
            (Some(target), _) => (Selected::read(&target.selector), target.metadata.uid.clone()),
            (None, Some(found)) => (Selected::asked(found.selector), found.uid),
            (None, None) => (None, String::new()),
        };
        let set = |pod: &ScalePod| {
            let owner = pod.metadata.controller().filter(|owner| owner.is(&names::REPLICA_SET))?;
            self.owners.iter().find(|set| set.metadata.name == owner.name)
        };
        let view = |pod: &ScalePod| whose(pod, set(pod), &uid, &target_id);
        let pods = selected.map(|selected| fitting(self.pods.iter(), &selected, view)).unwrap_or_default();
        let same = |hpa: &&Arc<HpaView>| target_id_of(namespace, &hpa.spec.scale_target_ref) == target_id;
        let hpas: Vec<_> = self.hpas.iter().filter(same).cloned().collect();
        let same = |one: &&Arc<AutoscalerView>| target_id_of(namespace, &one.spec.target_ref) == target_id;
        let autoscalers: Vec<_> = self.autoscalers.iter().filter(same).cloned().collect();
        let plans: Vec<_> = self.plans.iter().filter(|plan| guarded(plan) == target_id).cloned().collect();
        Some(Seen {
            release: release(&plans),
            others: others(&autoscaler, &hpas, &autoscalers),
            neighbours: self.autoscalers.len(),
            crowd: self.pods.len(),
            autoscaler,
            kind,
            target,
            pods,
            answers: answers.clone(),
            options,
            unread: Unread::default(),
        })
    }
}
