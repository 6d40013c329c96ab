//! What others make beside us: objects under the names that we would use, records that look like ours, and plans that are
//! deleted while what they own stays.

use serde_json::{Value, json};
use trimtab_crds::names;

use super::WEB;
use super::server::{CONFIG_MAPS, Cluster, DEPLOYMENTS, PLANS, RELEASES, REPLICA_SETS, owner, text};

/// Uid of the owner of what others make: it exists for as long as the test runs.
pub const STRANGER: &str = "stranger";
/// Uid of an owner that others add to our objects; it is gone.
const BESIDE: &str = "beside";
/// How many numbers of Releases are looked at for one that is free, and a few more.
const NUMBERS: i64 = 60;

fn strangers_own() -> Value {
    json!([{"apiVersion": "v1", "kind": "Somebody", "name": "else", "uid": STRANGER, "controller": true}])
}

impl Cluster {
    /// Somebody else's object takes the name of the ReplicaSet that would be the canary of the held change.
    pub fn take_canary_name(&mut self) {
        let seen = self.snapshot();
        let Some(deployment) = seen.deployment else { return };
        let name = format!("{WEB}-{}", trimtab_release::hash_label(&deployment.spec.template.digest));
        let meta = json!({"annotations": {names::CANARY_OF: WEB}, "ownerReferences": strangers_own()});
        let template = json!({"metadata": {"labels": {"app": "other"}}, "spec": {"containers": []}});
        self.create(REPLICA_SETS, &name, json!({"metadata": meta, "spec": {"replicas": 0, "template": template}}));
    }

    /// Somebody adds an owner that manages nothing before that of every ReplicaSet.
    pub fn add_owner_first(&mut self) {
        let names: Vec<String> = self.list(REPLICA_SETS).map(|rs| text(rs, "/metadata/name").to_owned()).collect();
        let owner = json!({"apiVersion": "v1", "kind": "Somebody", "name": "beside", "uid": BESIDE});
        for name in names {
            self.update(REPLICA_SETS, &name, "bob", |rs| {
                let owners = rs["metadata"]["ownerReferences"].as_array_mut();
                if let Some(owners) = owners.filter(|owners| owners[0] != owner) {
                    owners.insert(0, owner.clone());
                }
            });
        }
    }

    /// Somebody else's Releases take this many of the next names, or all that are looked at.
    pub fn take_release_names(&mut self, count: Option<i64>) {
        let Some(plan) = self.plan_name() else { return };
        let last = self.status().map_or(0, |status| status.sequence);
        for number in last + 1..=last + count.unwrap_or(NUMBERS) {
            let spec = json!({"plan": "other", "target": "other", "sequence": number, "by": "bob", "summary": "",
                "changes": [], "digest": "v1:0", "stableDigest": "", "stableTemplate": {}});
            let meta = json!({"ownerReferences": strangers_own()});
            self.create(RELEASES, &format!("{plan}-{number}"), json!({"metadata": meta, "spec": spec}));
        }
    }

    /// Somebody writes a record of this plan and workload that says to keep what is stable, and keeps something else.
    pub fn forge_release(&mut self) {
        let (Some(plan), Some(status)) = (self.plan_name(), self.status()) else { return };
        let Some(stable) = status.stable else { return };
        let evil =
            json!({"metadata": {"labels": {"app": WEB}}, "spec": {"containers": [{"name": "web", "image": "evil"}]}});
        let spec = json!({"plan": plan, "target": WEB, "sequence": 1_000_000, "by": "bob", "summary": "", "changes": [],
            "digest": stable.digest, "stableDigest": stable.digest, "stableTemplate": evil});
        self.create(RELEASES, "forged", json!({"metadata": {"ownerReferences": strangers_own()}, "spec": spec}));
        let at = self.now.to_string();
        let status = json!({"result": "Promoted", "message": "", "startedAt": at, "finishedAt": at, "steps": []});
        self.update_status(RELEASES, "forged", |release| release["status"] = status);
    }

    /// Somebody else's ConfigMaps take so many of the names that a copy of what is live could have.
    pub fn take_copy_names(&mut self, count: usize) {
        let source = trimtab_config::Source::config_map(WEB);
        let Some(live) = self.get(CONFIG_MAPS, WEB) else { return };
        let view: trimtab_config::ConfigMapView = serde_json::from_str(&live.to_string()).unwrap();
        let named = trimtab_config::copy_names(&source, &view.0, &[0; 32]);
        for name in named.iter().take(count) {
            let body = json!({"metadata": {"ownerReferences": strangers_own()}, "data": {"app.conf": "evil"}});
            self.create(CONFIG_MAPS, name, body);
        }
    }

    /// A copy is exported, renamed, and created again.
    pub fn clone_copy(&mut self) {
        let is_copy = |map: &&Value| text(map, "/metadata/name").starts_with("web-");
        let Some(mut copy) = self.list(CONFIG_MAPS).find(is_copy).cloned() else { return };
        if let Some(meta) = copy["metadata"].as_object_mut() {
            meta.remove("ownerReferences");
        }
        self.create(CONFIG_MAPS, "backup", copy);
    }

    /// `kubectl delete releaseplan --cascade=orphan`: what the plan owns stays, without an owner. Where that is another's
    /// workload now, a plan of the same name is made for that.
    pub fn orphan_plan(&mut self, for_another: bool) {
        let Some(name) = self.plan_name() else { return };
        let uid = self.get(PLANS, &name).map(|plan| text(plan, "/metadata/uid").to_owned()).unwrap_or_default();
        self.delete(PLANS, &name);
        for kind in [REPLICA_SETS, RELEASES] {
            let owned: Vec<String> = self
                .list(kind)
                .filter(|object| owner(object) == Some(uid.as_str()))
                .map(|object| text(object, "/metadata/name").to_owned())
                .collect();
            for name in owned {
                self.update(kind, &name, "system:serviceaccount:kube-system:generic-garbage-collector", |object| {
                    _ = object["metadata"].as_object_mut().map(|meta| meta.remove("ownerReferences"));
                });
            }
        }
        self.watch.orphans = true;
        if for_another {
            let spec =
                json!({"targetRef": {"kind": "Deployment", "name": "other"}, "strategy": {"canary": {"steps": []}}});
            self.create(PLANS, &name, json!({"metadata": {}, "spec": spec}));
        }
    }

    /// `kubectl delete deployment --cascade=orphan`: its ReplicaSets stay, without an owner.
    pub fn orphan_deployment(&mut self) {
        let uid = self.deployment().map(|d| text(d, "/metadata/uid").to_owned()).unwrap_or_default();
        self.watch.orphans = true;
        let owned = self.list(REPLICA_SETS).filter(|rs| owner(rs) == Some(uid.as_str()));
        let names: Vec<String> = owned.map(|rs| text(rs, "/metadata/name").to_owned()).collect();
        self.delete(DEPLOYMENTS, WEB);
        for name in names {
            self.update(REPLICA_SETS, &name, "system:serviceaccount:kube-system:generic-garbage-collector", |rs| {
                _ = rs["metadata"].as_object_mut().map(|meta| meta.remove("ownerReferences"));
            });
        }
    }

    /// Somebody takes the plan's reference off its ReplicaSets.
    pub fn lose_owners(&mut self) {
        let Some(uid) =
            self.plan_name().and_then(|name| self.get(PLANS, &name)).map(|plan| plan["metadata"]["uid"].clone())
        else {
            return;
        };
        self.watch.orphans = true;
        let names: Vec<String> = self.list(REPLICA_SETS).map(|rs| text(rs, "/metadata/name").to_owned()).collect();
        for name in names {
            self.update(REPLICA_SETS, &name, "bob", |rs| {
                if let Some(owners) = rs["metadata"]["ownerReferences"].as_array_mut() {
                    owners.retain(|owner| owner["uid"] != uid);
                }
            });
        }
    }

    /// Somebody makes a ReplicaSet that looks like one of the Deployment, of the template that it asks for. A Deployment takes it, and then
    /// looks at no availability.
    pub fn make_look_alike(&mut self) {
        let Some(deployment) = self.deployment().cloned() else { return };
        (self.watch.orphans, self.watch.floor, self.watch.smallest) = (true, 0, 0);
        let mut template = deployment["spec"]["template"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!("alike");
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"]["pod-template-hash"] = json!("alike");
        let meta = json!({"labels": template["metadata"]["labels"]});
        let spec = json!({"replicas": deployment["spec"]["replicas"], "minReadySeconds": 0, "selector": selector,
            "template": template});
        self.create(REPLICA_SETS, "web-alike", json!({"metadata": meta, "spec": spec}));
    }

    /// Somebody scales a ReplicaSet of the Deployment that has no pods.
    pub fn scale_old_set(&mut self) {
        let uid = self.deployment().map(|d| text(d, "/metadata/uid").to_owned()).unwrap_or_default();
        let idle = |rs: &&Value| owner(rs) == Some(uid.as_str()) && rs["spec"]["replicas"] == 0;
        let Some(name) = self.list(REPLICA_SETS).find(idle).map(|rs| text(rs, "/metadata/name").to_owned()) else {
            return;
        };
        (self.watch.floor, self.watch.smallest) = (0, 0);
        let size = self.replicas();
        self.update(REPLICA_SETS, &name, "bob", |rs| rs["spec"]["replicas"] = json!(size));
    }

    /// The strangers' objects go.
    pub fn remove_strangers(&mut self) {
        self.delete(CONFIG_MAPS, "backup");
        for kind in [REPLICA_SETS, RELEASES, CONFIG_MAPS] {
            let names: Vec<String> = self
                .list(kind)
                .filter(|object| owner(object) == Some(STRANGER))
                .map(|object| text(object, "/metadata/name").to_owned())
                .collect();
            names.iter().for_each(|name| self.delete(kind, name));
        }
    }
}
