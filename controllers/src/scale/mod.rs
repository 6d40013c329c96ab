//! The controller of sizes: wakes autoscalers when their target, its pods, its release or what is measured changes, gathers
//! what their decisions see, and leaves every decision to `trimtab-scale`.

pub mod args;
mod crowds;
mod discovery;
mod gauges;
mod grant;
mod lists;
mod lookups;
mod metrics;
mod pods;
mod prometheus;
mod shared;
mod sources;
mod target;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use trimtab::{Controller, Permission, Selector, Store, Watches};
use trimtab_crds::{AutoscalerStatus, ScaleMode, ScaleTargetRef, names};
use trimtab_plan::{Answer, Answers, Kind, Meta, ObjectRef, Outcome, Plan, StatusWrite};
use trimtab_scale::questions::FoundScale;
use trimtab_scale::{
    AutoscalerView, GuardView, HPAS, HpaView, Options, OwnerView, PodView, ReleaseView, ScalePod, Scaled,
    ScaledDeployment, ScaledStatefulSet, Seen, Unread, conclude, late, reconcile,
};

pub use lists::Lists;
use pods::{MANY, Selected, fitting, rarest, whose};
pub use sources::answerer;
use target::{id, id_of, target_id};

/// The most others that a status names as scaling the same target.
const OTHERS: usize = 3;

/// The controller.
#[derive(Debug)]
pub struct Scaling {
    autoscalers: Store<AutoscalerView>,
    deployments: Store<ScaledDeployment>,
    stateful_sets: Store<ScaledStatefulSet>,
    owners: Store<OwnerView>,
    pods: Store<ScalePod>,
    hpas: Store<HpaView>,
    plans: Store<GuardView>,
    options: Options,
    /// When the first autoscaler was looked at before everything was read.
    wanted: OnceLock<Timestamp>,
}

/// How many labels of a pod are in the index. What has more stands there once, for whatever may select it.
const LABELS: usize = 64;

/// Where the pods of a namespace stand that have many labels.
fn of_many_labels(namespace: &str) -> String {
    format!("{namespace}/")
}

/// Where a pod stands in the index of labels.
fn indexed(pod: &Meta) -> Vec<String> {
    if pod.labels.len() > LABELS {
        return vec![of_many_labels(&pod.namespace)];
    }
    let labels = pod.labels.iter().filter(|(name, _)| !name.ends_with("-template-hash"));
    labels.map(|(name, value)| label_id(&pod.namespace, name, value)).collect()
}

/// Labels as the store indexes them.
fn label_id(namespace: &str, name: &str, value: &str) -> String {
    format!("{namespace}/{name}={value}")
}

fn keys(autoscalers: &Store<AutoscalerView>, target: &str) -> Vec<ObjectRef> {
    autoscalers.by_index("target", target).iter().map(|one| one.metadata.object(names::AUTOSCALER)).collect()
}

/// Every autoscaler: all of them wait for what has not been read to its end.
fn all(autoscalers: &Store<AutoscalerView>) -> impl Fn() -> Vec<ObjectRef> + Send + Sync + use<> {
    let autoscalers = autoscalers.clone();
    move || autoscalers.list().iter().map(|one| one.metadata.object(names::AUTOSCALER)).collect()
}

impl Scaling {
    /// Declares what is watched.
    pub fn new(watches: &mut Watches<ObjectRef>, options: Options) -> Self {
        let autoscalers = watches
            .watch::<AutoscalerView>(Selector::default())
            .index("target", |one| vec![target_id(&one.metadata.namespace, &one.spec.target_ref)])
            .index("namespace", |one| vec![one.metadata.namespace.clone()])
            .wakes(|one| vec![one.metadata.object(names::AUTOSCALER)])
            .store();
        let gauges = gauges::Gauges(autoscalers.clone());
        watches.metrics().with_registry(|registry| registry.register_collector(Box::new(gauges)));
        let scaling = autoscalers.clone();
        let deployments = watches
            .watch::<ScaledDeployment>(Selector::default())
            .once_any::<AutoscalerView>()
            .wakes_once_listed(all(&autoscalers))
            .wakes(move |one| keys(&scaling, &id_of(names::DEPLOYMENT, &one.0.metadata)))
            .store();
        let scaling = autoscalers.clone();
        let stateful_sets = watches
            .watch::<ScaledStatefulSet>(Selector::default())
            .once_any::<AutoscalerView>()
            .wakes_once_listed(all(&autoscalers))
            .wakes(move |one| keys(&scaling, &id_of(names::STATEFUL_SET, &one.0.metadata)))
            .store();
        let owners = watches
            .watch::<OwnerView>(Selector::default())
            .once_any::<AutoscalerView>()
            .wakes_once_listed(all(&autoscalers))
            .wakes(|_| vec![])
            .store();
        let (scaling, sets) = (autoscalers.clone(), owners.clone());
        let pods = watches
            .watch::<ScalePod>(Selector::default())
            .once_any::<AutoscalerView>()
            .wakes_once_listed(all(&autoscalers))
            .index("label", |pod| indexed(&pod.metadata))
            .wakes(move |pod| top_of(&sets, pod).map(|top| keys(&scaling, &top)).unwrap_or_default())
            .store();
        let scaling = autoscalers.clone();
        let hpas = watches
            .watch::<HpaView>(Selector::default())
            .once_any::<AutoscalerView>()
            .wakes_once_listed(all(&autoscalers))
            .index("target", |hpa| vec![target_id(&hpa.metadata.namespace, &hpa.spec.scale_target_ref)])
            .wakes(move |hpa| keys(&scaling, &target_id(&hpa.metadata.namespace, &hpa.spec.scale_target_ref)))
            .store();
        let scaling = autoscalers.clone();
        let plans = watches
            .watch::<GuardView>(Selector::default())
            .once_any::<AutoscalerView>()
            .wakes_once_listed(all(&autoscalers))
            .index("target", |plan| vec![guarded(plan)])
            .wakes(move |plan| keys(&scaling, &guarded(plan)))
            .store();
        Self { autoscalers, deployments, stateful_sets, owners, pods, hpas, plans, options, wanted: OnceLock::new() }
    }

    /// What is not all there yet of what was there when the first autoscaler came.
    fn unread(&self) -> Unread {
        let all = [
            ("Deployments", self.deployments.is_synced()),
            ("StatefulSets", self.stateful_sets.is_synced()),
            ("ReplicaSets", self.owners.is_synced()),
            ("Pods", self.pods.is_synced()),
            (HPAS, self.hpas.is_synced()),
            ("ReleasePlans", self.plans.is_synced()),
        ];
        let kinds: Vec<&'static str> = all.into_iter().filter(|(_, synced)| !synced).map(|(kind, _)| kind).collect();
        let since = (!kinds.is_empty()).then(|| *self.wanted.get_or_init(trimtab::clock::now));
        Unread { kinds, since }
    }

    /// The target, where its kind is watched.
    fn target(&self, namespace: &str, target: &ScaleTargetRef) -> (Option<Kind>, Option<Arc<Scaled>>) {
        let is = |kind: Kind| target.kind == kind.kind && target.api_version.starts_with("apps/");
        if is(names::DEPLOYMENT) {
            let found = self.deployments.get(namespace, &target.name);
            (Some(names::DEPLOYMENT), found.map(|found| found.0.clone()))
        } else if is(names::STATEFUL_SET) {
            let found = self.stateful_sets.get(namespace, &target.name);
            (Some(names::STATEFUL_SET), found.map(|found| found.0.clone()))
        } else {
            (None, None)
        }
    }

    /// The target of an autoscaler, and which pods are its own, as far as that is known.
    fn found(&self, autoscaler: &AutoscalerView, answers: &Answers) -> Found {
        let (namespace, target_ref) = (&autoscaler.metadata.namespace, &autoscaler.spec.target_ref);
        let (kind, target) = self.target(namespace, target_ref);
        let (selected, uid) = match (&target, answered(answers)) {
            (Some(target), _) => (Selected::read(&target.selector), target.metadata.uid.clone()),
            (None, Some(found)) if kind.is_none() => (Selected::asked(found.selector), found.uid),
            _ => (None, String::new()),
        };
        Found { kind, target, selected, uid }
    }

    /// The label under which pods that a selector fits are looked for, and how many there are at most, with those of many labels.
    fn candidates(&self, namespace: &str, selected: &Selected) -> (Option<String>, usize) {
        let count = |label: &String| self.pods.count_by_index("label", label);
        let labels = selected.labels().into_iter().map(|(name, value)| label_id(namespace, &name, &value));
        match rarest(labels, count) {
            Some((label, own)) => (Some(label), own + count(&of_many_labels(namespace))),
            None => (None, self.pods.count_namespace(namespace)),
        }
    }

    /// The pods that a selector fits, with whose they are.
    fn pods(&self, namespace: &str, selected: &Selected, uid: &str, id: &str) -> Vec<Arc<PodView>> {
        let candidates = match self.candidates(namespace, selected).0 {
            Some(label) => {
                let mut found = self.pods.any_order_by_index("label", &label);
                found.extend(self.pods.any_order_by_index("label", &of_many_labels(namespace)));
                found
            }
            None => self.pods.list_namespace(namespace),
        };
        fitting(candidates.iter().map(AsRef::as_ref), selected, |pod| {
            let controller = pod.metadata.controller().filter(|owner| owner.is(&names::REPLICA_SET));
            let set = controller.and_then(|owner| self.owners.get(&pod.metadata.namespace, &owner.name));
            whose(pod, set.as_deref(), uid, id)
        })
    }
}

/// What is known of a target.
struct Found {
    kind: Option<Kind>,
    target: Option<Arc<Scaled>>,
    selected: Option<Selected>,
    uid: String,
}

/// The release that is under way, by the plans of the target.
fn release(plans: &[Arc<GuardView>]) -> Option<ReleaseView> {
    let running = |plan: &Arc<GuardView>| {
        let release = plan.status.release.as_ref()?;
        Some(ReleaseView { name: release.name.clone(), phase: plan.status.phase.clone().unwrap_or_default() })
    };
    plans.iter().find_map(running)
}

/// What else scales the target: every HorizontalPodAutoscaler, and autoscalers that were there first and write. The eldest by name, the
/// others by their number.
fn others(me: &AutoscalerView, hpas: &[Arc<HpaView>], autoscalers: &[Arc<AutoscalerView>]) -> Vec<String> {
    let writes = |one: &&Arc<AutoscalerView>| one.spec.mode == ScaleMode::Auto && one.metadata.uid != me.metadata.uid;
    let first = |one: &&Arc<AutoscalerView>| writes(one) && age(&one.metadata) < age(&me.metadata);
    let (hpas, count) = eldest(hpas.iter().map(|hpa| (&hpa.metadata, &**hpa)));
    let (autoscalers, more) = eldest(autoscalers.iter().filter(first).map(|one| (&one.metadata, &one.metadata.name)));
    let called = hpas.into_iter().map(HpaView::called);
    let mut all: Vec<String> = called.chain(autoscalers.into_iter().map(|name| format!("Autoscaler {name}"))).collect();
    all.truncate(OTHERS);
    all.sort();
    let more = (count + more).saturating_sub(all.len());
    all.extend((more > 0).then(|| format!("and {more} more")));
    all
}

/// Who was there first.
fn age(meta: &Meta) -> (Option<Timestamp>, &str) {
    (meta.creation_timestamp, &meta.name)
}

/// The eldest few of some, and how many there are.
fn eldest<'a, T>(all: impl Iterator<Item = (&'a Meta, &'a T)>) -> (Vec<&'a T>, usize) {
    let (mut few, mut count) = (BTreeMap::new(), 0);
    for (meta, one) in all {
        count += 1;
        few.insert(age(meta), one);
        if few.len() > OTHERS {
            few.pop_last();
        }
    }
    (few.into_values().collect(), count)
}

/// The object that a pod belongs to in the end.
fn top_of(sets: &Store<OwnerView>, pod: &ScalePod) -> Option<String> {
    let (namespace, owner) = (&pod.metadata.namespace, pod.metadata.controller()?);
    if !owner.is(&names::REPLICA_SET) {
        return Some(id(namespace, &owner.group, &owner.kind, &owner.name));
    }
    let set = sets.get(namespace, &owner.name)?;
    match (&set.canary_of, set.metadata.controller()) {
        (Some(name), _) => Some(id(namespace, names::DEPLOYMENT.group, names::DEPLOYMENT.kind, name)),
        (None, Some(top)) => Some(id(namespace, &top.group, &top.kind, &top.name)),
        (None, None) => Some(id_of(names::REPLICA_SET, &set.metadata)),
    }
}

fn guarded(plan: &GuardView) -> String {
    let (namespace, name) = (&plan.metadata.namespace, &plan.spec.target_ref.name);
    id(namespace, names::DEPLOYMENT.group, names::DEPLOYMENT.kind, name)
}

/// The scale that was answered last.
fn answered(answers: &Answers) -> Option<FoundScale> {
    let asked = |id: &&String| id.starts_with(trimtab_scale::questions::SCALE);
    match answers.get(answers.keys().rev().find(asked)?)? {
        Answer::Object(value) => serde::Deserialize::deserialize(value).ok(),
        _ => None,
    }
}

impl Controller for Scaling {
    const NAME: &'static str = "scale";
    type Key = ObjectRef;
    type Snapshot = Seen;
    type Status = Option<AutoscalerStatus>;

    fn permissions(&self) -> Vec<Permission> {
        vec![
            Permission { group: names::GROUP, resource: "autoscalers/status", verbs: &["patch"] },
            // Of other kinds, whoever installs them grants their scale: see `sources`.
            Permission { group: "apps", resource: "deployments/scale", verbs: &["patch"] },
            Permission { group: "apps", resource: "statefulsets/scale", verbs: &["patch"] },
            Permission { group: "apps", resource: "replicasets/scale", verbs: &["get", "patch"] },
            // Custom and external metrics have names of their own, which whoever uses them grants: see `metrics`.
            Permission { group: "metrics.k8s.io", resource: "pods", verbs: &["list"] },
        ]
    }

    fn gathers_much(&self, key: &ObjectRef, answers: &Answers) -> bool {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else { return false };
        if self.unread().holds(trimtab::clock::now()) {
            return false;
        }
        let selected = self.found(&autoscaler, answers).selected;
        selected.is_some_and(|selected| self.candidates(&key.namespace, &selected).1 > MANY)
    }

    fn gather(&self, key: &ObjectRef, answers: &Answers) -> Option<Seen> {
        let autoscaler = self.autoscalers.get(&key.namespace, &key.name)?;
        let target_ref = &autoscaler.spec.target_ref;
        let target_id = target_id(&key.namespace, target_ref);
        let unread = self.unread();
        // Nothing is looked for where it cannot all be found.
        let waits = unread.holds(trimtab::clock::now());
        let Found { kind, target, selected, uid } = self.found(&autoscaler, answers);
        let selected = selected.filter(|_| !waits);
        let pods = selected.map(|selected| self.pods(&key.namespace, &selected, &uid, &target_id)).unwrap_or_default();
        Some(Seen {
            release: release(&self.plans.by_index("target", &target_id)),
            others: {
                let hpas = self.hpas.by_index("target", &target_id);
                others(&autoscaler, &hpas, &self.autoscalers.any_order_by_index("target", &target_id))
            },
            neighbours: self.autoscalers.count_by_index("namespace", &key.namespace),
            crowd: self.pods.count_namespace(&key.namespace),
            autoscaler,
            kind,
            target,
            pods,
            answers: answers.clone(),
            options: self.options,
            unread,
        })
    }

    fn is_costly(seen: &Seen) -> bool {
        seen.is_costly()
    }

    fn decide(now: Timestamp, seen: &Seen) -> Plan<Option<AutoscalerStatus>> {
        reconcile(now, seen)
    }

    fn late(now: Timestamp, seen: &Seen) -> Option<Plan<Option<AutoscalerStatus>>> {
        Some(late(now, seen))
    }

    fn conclude(
        now: Timestamp,
        seen: &Seen,
        plan: &Plan<Option<AutoscalerStatus>>,
        outcome: &Outcome,
    ) -> Option<StatusWrite> {
        conclude(now, seen, plan, outcome)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(number: usize) -> serde_json::Value {
        let name = format!("{number:0>250}");
        json!({"name": name, "namespace": "shop", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
    }

    fn autoscaler(number: usize) -> Arc<AutoscalerView> {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let spec = json!({"targetRef": target, "maxReplicas": 3, "mode": "Auto"});
        Arc::new(serde_json::from_value(json!({"metadata": metadata(number), "spec": spec})).unwrap())
    }

    fn hpa(number: usize) -> Arc<HpaView> {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        Arc::new(
            serde_json::from_value(json!({"metadata": metadata(number), "spec": {"scaleTargetRef": target}})).unwrap(),
        )
    }

    #[test]
    fn of_a_pod_with_many_labels_one_place_is_in_the_index() {
        let indexed_of = |count: usize| {
            let labels: BTreeMap<String, String> = (0..count).map(|n| (format!("l{n}"), "x".to_owned())).collect();
            let meta = json!({"name": "a", "namespace": "shop", "uid": "a", "labels": labels});
            indexed(&serde_json::from_value(meta).unwrap())
        };
        assert_eq!(indexed_of(1), [label_id("shop", "l0", "x")]);
        assert_eq!(indexed_of(LABELS).len(), LABELS);
        assert_eq!(indexed_of(LABELS + 1), [of_many_labels("shop")]);
        assert_ne!(of_many_labels("shop"), label_id("shop", "", ""));
    }

    #[test]
    fn however_many_scale_one_target_few_are_named() {
        let all: Vec<_> = (0..2_000).rev().map(autoscaler).collect();
        let named = |me: usize, hpas: &[Arc<HpaView>]| others(&autoscaler(me), hpas, &all);
        assert_eq!(named(0, &[]), [""; 0]);
        assert_eq!(named(2, &[]), [0, 1].map(|number| format!("Autoscaler {number:0>250}")));
        let many = named(1_999, &[]);
        assert!(many.concat().len() < 1_024 && many.len() == 4, "{many:?}");
        assert!(many[0].ends_with("00") && many[2].ends_with("02") && many[3] == "and 1996 more", "{many:?}");
        let hpas: Vec<_> = (0..2_000).rev().map(hpa).collect();
        let many = named(1_999, &hpas);
        assert!(many[0].starts_with("HorizontalPodAutoscaler 0") && many[3] == "and 3996 more", "{many:?}");
    }
}
