//! The API server: objects with their versions, the status subresource, preconditions, owners and the garbage collector.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use trimtab_plan::{Answer, Answers, Class, Failure, StatusWrite, Subresource, Verb, Watched, Write};
use trimtab_release::{DeploymentView, PlanView, Proof, ReleaseView, ReplicaSetView};

use super::{NAMESPACE, WEB, adversity::Fate, patch, pods::Pod, policy, policy::Request, strangers::STRANGER};

pub const DEPLOYMENTS: &str = "deployments";
pub const REPLICA_SETS: &str = "replicasets";
pub const PLANS: &str = "releaseplans";
pub const RELEASES: &str = "releases";
pub const CONFIG_MAPS: &str = "configmaps";
pub const SECRETS: &str = "secrets";

/// Who writes when Trimtab does.
pub const TRIMTAB: &str = "system:serviceaccount:trimtab:trimtab";
const OURS: Request<'static> = Request { user: TRIMTAB, keeps_releases: true, applied: false };

/// The cluster.
#[derive(Clone)]
pub struct Cluster {
    pub now: Timestamp,
    pub objects: BTreeMap<(&'static str, String), Value>,
    pub pods: Vec<Pod>,
    /// How long a pod takes to start.
    pub start_seconds: i64,
    /// The image whose pods fail their probes.
    pub broken: Option<String>,
    pub answers: Answers,
    /// Since when a write of ours has failed as it does, and which.
    pub failing: Option<(String, Timestamp)>,
    /// What configuration must satisfy.
    pub policies: Vec<Arc<trimtab_release::ConfigPolicyView>>,
    /// Whether the hold policy is installed.
    pub policy: bool,
    /// How long the API server's word on the hold is believed, where it is asked.
    pub proof: Option<Proof>,
    /// Pods ever made, by image.
    pub made: BTreeMap<String, usize>,
    /// What stands in the way.
    pub adversity: super::adversity::Adversity,
    /// What tests watch over.
    pub watch: super::pods::Watch,
    counter: u64,
    views: Views,
}

/// Views of objects, as a store keeps them.
#[derive(Clone, Default)]
struct Views {
    deployments: BTreeMap<String, Arc<DeploymentView>>,
    replica_sets: BTreeMap<String, Arc<ReplicaSetView>>,
    plans: BTreeMap<String, Arc<PlanView>>,
    releases: BTreeMap<String, Arc<ReleaseView>>,
}

fn view<T: Watched>(cache: &mut BTreeMap<String, Arc<T>>, name: &str, object: &Value) -> Arc<T> {
    let version = text(object, "/metadata/resourceVersion");
    if let Some(known) = cache.get(name).filter(|known| known.meta().resource_version == version) {
        return known.clone();
    }
    let parsed: Arc<T> =
        Arc::new(serde_json::from_str(&object.to_string()).unwrap_or_else(|e| panic!("{e}: {object}")));
    cache.insert(name.to_owned(), parsed.clone());
    parsed
}

pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub fn int(object: &Value, path: &str) -> i32 {
    object.pointer(path).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
}

/// Uid of the managing owner.
pub fn owner(object: &Value) -> Option<&str> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == json!(true))?["uid"].as_str()
}

/// The API server keeps no map of labels or annotations without an entry.
fn drop_empty(object: &mut Value) {
    for place in ["/metadata", "/spec/template/metadata"] {
        let Some(meta) = object.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
        meta.retain(|field, value| {
            let is_map = ["labels", "annotations"].contains(&field.as_str());
            !(is_map && value.as_object().is_some_and(serde_json::Map::is_empty))
        });
    }
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            objects: BTreeMap::new(),
            pods: vec![],
            start_seconds: 0,
            broken: None,
            answers: BTreeMap::new(),
            failing: None,
            policies: vec![],
            policy: true,
            proof: None,
            made: BTreeMap::new(),
            adversity: super::adversity::Adversity::default(),
            watch: super::pods::Watch::default(),
            counter: 0,
            views: Views::default(),
        }
    }

    pub fn advance(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
    }

    pub fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn get(&self, kind: &'static str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    pub fn list(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.objects.range((kind, String::new())..).take_while(move |((k, _), _)| *k == kind).map(|(_, object)| object)
    }

    pub fn deployment(&self) -> Option<&Value> {
        self.get(DEPLOYMENTS, WEB)
    }

    /// Creates an object; false if one of this name exists.
    pub fn create(&mut self, kind: &'static str, name: &str, mut body: Value) -> bool {
        if self.get(kind, name).is_some() {
            return false;
        }
        let (uid, version) = (self.next(), self.next());
        if let Some(map) = body.as_object_mut() {
            map.remove("status");
        }
        let meta = &mut body["metadata"];
        meta["name"] = json!(name);
        meta["namespace"] = json!(NAMESPACE);
        meta["uid"] = json!(format!("uid-{uid}"));
        meta["resourceVersion"] = json!(version.to_string());
        meta["generation"] = json!(1);
        // `metav1.Time` has no fractions.
        meta["creationTimestamp"] = json!(Timestamp::from_second(self.now.as_second()).unwrap().to_string());
        if kind == PLANS {
            super::people::note_manifest(&mut body);
        }
        self.objects.insert((kind, name.to_owned()), body);
        true
    }

    /// An update of the object itself by `user`: its status stays as it is.
    pub fn update(&mut self, kind: &'static str, name: &str, user: &str, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.get(kind, name) else { return };
        let mut new = old.clone();
        change(&mut new);
        self.replace(kind, name, Request { user, keeps_releases: user == TRIMTAB, applied: false }, new);
    }

    /// A write of a whole object, as it comes out of a patch or of a manifest: what only the server sets stays.
    pub fn replace(&mut self, kind: &'static str, name: &str, request: Request<'_>, mut new: Value) {
        let Some(old) = self.get(kind, name).cloned() else { return };
        match old.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => drop(new.as_object_mut().map(|map| map.remove("status"))),
        }
        if kind == DEPLOYMENTS && self.policy {
            self.admit_deployment(&mut new);
            policy::hold(&old, &mut new, request);
        }
        for field in ["uid", "name", "namespace", "generation", "resourceVersion", "creationTimestamp"] {
            new["metadata"][field] = old["metadata"][field].clone();
        }
        drop_empty(&mut new);
        if new == old {
            return;
        }
        let annotations = |object: &Value| object.pointer("/metadata/annotations").cloned();
        let bumps = new["spec"] != old["spec"] || (kind == DEPLOYMENTS && annotations(&new) != annotations(&old));
        if bumps {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        self.store(kind, name, new);
    }

    /// An update of the status: nothing else changes, but for the annotations of a Deployment.
    pub fn update_status(&mut self, kind: &'static str, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.get(kind, name).cloned() else { return };
        let mut new = old.clone();
        change(&mut new);
        new["spec"] = old["spec"].clone();
        if kind != DEPLOYMENTS {
            new["metadata"] = old["metadata"].clone();
        } else if self.policy {
            policy::keep(&old, &mut new);
        }
        if new != old {
            self.store(kind, name, new);
        }
    }

    fn store(&mut self, kind: &'static str, name: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.next().to_string());
        self.objects.insert((kind, name.to_owned()), object);
    }

    pub fn delete(&mut self, kind: &'static str, name: &str) {
        self.objects.remove(&(kind, name.to_owned()));
    }

    /// Deletes what has lost all its owners. True if anything went.
    pub fn tick_garbage(&mut self) -> bool {
        let uids = self.objects.values().map(|object| text(object, "/metadata/uid").to_owned());
        let uids: BTreeSet<String> = uids.chain([STRANGER.to_owned()]).collect();
        let orphaned = |object: &Value| {
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            owners.is_some_and(|owners| {
                !owners.is_empty() && owners.iter().all(|owner| !uids.contains(text(owner, "/uid")))
            })
        };
        let before = self.objects.len() + self.pods.len();
        self.objects.retain(|_, object| !orphaned(object));
        let gone: Vec<Pod> = self.pods.iter().filter(|pod| !uids.contains(&pod.owner)).cloned().collect();
        for pod in &gone {
            self.remove_pod(&pod.uid, "the garbage collector");
        }
        before != self.objects.len() + self.pods.len()
    }

    /// Performs one of our writes as the server does, with all that stands in its way.
    pub fn write(&mut self, index: usize, write: &Write) -> Result<(), Failure> {
        match self.refusal(index, write) {
            Some((failure, fate)) => {
                if fate == Fate::Lost {
                    _ = self.carry_out(index, write);
                }
                Err(failure)
            }
            None => self.carry_out(index, write),
        }
    }

    fn carry_out(&mut self, index: usize, write: &Write) -> Result<(), Failure> {
        let fail = |class, reason: &str, message: String| {
            Err(Failure { index, class, reason: reason.to_owned(), message, lasting: false })
        };
        let kind = self.kind(write.target.kind.plural);
        let name = write.target.name.clone();
        assert_eq!(write.target.namespace, NAMESPACE, "writes stay in their namespace");
        let Some(old) = self.get(kind, &name).cloned() else {
            return match &write.verb {
                Verb::Create { body } => {
                    let mut body = body.clone();
                    if kind == REPLICA_SETS {
                        self.admit_canary(&mut body);
                        self.admit_size(&mut body);
                    }
                    self.create(kind, &name, body);
                    Ok(())
                }
                Verb::CopyFrom { source, uid, resource_version, fields, body } => {
                    let found = self.get(self.kind(source.kind.plural), &source.name).cloned().unwrap_or_default();
                    let same = text(&found, "/metadata/uid") == uid
                        && text(&found, "/metadata/resourceVersion") == resource_version;
                    if !same {
                        return fail(Class::Transient, "Precondition", format!("{source} is another by now"));
                    }
                    let mut body = body.clone();
                    for field in fields {
                        if let Some(value) = found.get(*field) {
                            body[*field] = value.clone();
                        }
                    }
                    if kind == CONFIG_MAPS {
                        self.admit_copy(&mut body);
                    }
                    self.create(kind, &name, body);
                    Ok(())
                }
                Verb::Delete { .. } => Ok(()),
                _ => fail(Class::Transient, "NotFound", format!("{} not found", write.target)),
            };
        };
        match &write.verb {
            Verb::Create { .. } | Verb::CopyFrom { .. } => {
                fail(Class::Transient, "AlreadyExists", format!("{} exists", write.target))
            }
            Verb::Delete { uid, .. } => {
                assert!(uid.is_some(), "every delete names the uid");
                if uid.as_deref() != Some(text(&old, "/metadata/uid")) {
                    return fail(Class::Transient, "Precondition", "another uid".to_owned());
                }
                self.delete(kind, &name);
                Ok(())
            }
            Verb::Patch { ops, subresource } => match patch::json_patch(&old, ops) {
                Ok(new) if *subresource == Some(Subresource::Status) => {
                    self.update_status(kind, &name, |object| *object = new);
                    Ok(())
                }
                Ok(mut new) => {
                    if kind == REPLICA_SETS {
                        self.admit_size(&mut new);
                    }
                    self.replace(kind, &name, OURS, new);
                    Ok(())
                }
                Err(why) => fail(Class::Transient, "Precondition", why),
            },
            Verb::Merge { body, subresource: None } => {
                let uid = body.pointer("/metadata/uid");
                if uid.is_some() && uid != old.pointer("/metadata/uid") {
                    return fail(Class::Transient, "Conflict", "another uid".to_owned());
                }
                let mut new = old;
                patch::merge(&mut new, body);
                self.replace(kind, &name, OURS, new);
                Ok(())
            }
            other => panic!("the model does not know {other:?}"),
        }
    }

    /// What would become of a write of the Deployment or of a pod, as far as `keep` names it.
    pub fn rehearse(&self, write: &Write, keep: &[&'static str]) -> Answer {
        let new = match (&write.verb, self.deployment()) {
            (Verb::Merge { body, .. }, Some(old)) => {
                let mut new = old.clone();
                patch::merge(&mut new, body);
                if self.policy {
                    policy::hold(old, &mut new, OURS);
                }
                new
            }
            (Verb::Create { body }, _) if self.policy => policy::freeze(body.clone()),
            (Verb::Create { body }, _) => body.clone(),
            _ => return Answer::NotFound,
        };
        let kept = keep.iter().filter_map(|place| Some(((*place).to_owned(), new.pointer(place)?.clone())));
        Answer::Object(Value::Object(kept.collect()))
    }

    fn kind(&self, plural: &str) -> &'static str {
        let kinds = [DEPLOYMENTS, REPLICA_SETS, PLANS, RELEASES, CONFIG_MAPS, SECRETS];
        kinds.into_iter().find(|kind| *kind == plural).unwrap_or_else(|| panic!("{plural} is not written to"))
    }

    pub fn write_status(&mut self, write: &StatusWrite) -> Result<(), Fate> {
        assert_eq!(write.target.kind.plural, PLANS);
        let refused = self.fate(PLANS, "status");
        if let Some(fate) = refused.filter(|fate| *fate != Fate::Lost) {
            return Err(fate);
        }
        self.update_status(PLANS, &write.target.name, |plan| {
            if text(plan, "/metadata/uid") == write.uid {
                plan["status"] = write.status.clone();
            }
        });
        refused.map_or(Ok(()), Err)
    }

    pub fn deployment_view(&mut self) -> Option<Arc<DeploymentView>> {
        let object = self.objects.get(&(DEPLOYMENTS, WEB.to_owned()))?;
        Some(view(&mut self.views.deployments, WEB, object))
    }

    pub fn plan_views(&mut self) -> Vec<Arc<PlanView>> {
        let (objects, views) = (&self.objects, &mut self.views.plans);
        objects.iter().filter(|((k, _), _)| *k == PLANS).map(|((_, n), o)| view(views, n, o)).collect()
    }

    pub fn replica_set_views(&mut self) -> Vec<Arc<ReplicaSetView>> {
        let (objects, views) = (&self.objects, &mut self.views.replica_sets);
        objects.iter().filter(|((k, _), _)| *k == REPLICA_SETS).map(|((_, n), o)| view(views, n, o)).collect()
    }

    pub fn release_views(&mut self) -> Vec<Arc<ReleaseView>> {
        let (objects, views) = (&self.objects, &mut self.views.releases);
        objects.iter().filter(|((k, _), _)| *k == RELEASES).map(|((_, n), o)| view(views, n, o)).collect()
    }
}
