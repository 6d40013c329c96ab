//! The ConfigMaps and Secrets of workloads: which workload a change of one concerns, and what is known of those that a
//! workload reads. One look-up each; nothing is searched. Not what follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trimtab::{Selector, Store, Watches};
use trimtab_config::{ConfigMapView, Known, Object, SecretView, Source, SourceKind, copy_names};
use trimtab_release::{DeploymentView, DigestKey, ReplicaSetView, SourceView};

use super::Workload;

/// Helm keeps its releases in Secrets, large ones and many. No pod reads them.
const NOT_HELM: &str = "type!=helm.sh/release.v1";

/// The stores of ConfigMaps and Secrets.
#[derive(Debug)]
pub(super) struct Sources {
    config_maps: Store<ConfigMapView>,
    secrets: Store<SecretView>,
}

impl Sources {
    pub(super) fn new(watches: &mut Watches<Workload>, deployments: &Store<DeploymentView>) -> Self {
        let readers = deployments.clone();
        let config_maps = watches
            .watch::<ConfigMapView>(Selector::default())
            .index("copies", |map| copies(&map.0))
            .wakes(move |map| workloads(&readers, &map.0))
            .store();
        let readers = deployments.clone();
        let secrets = watches
            .watch::<SecretView>(Selector::all().fields(NOT_HELM))
            .index("copies", |secret| copies(&secret.0))
            .wakes(move |secret| workloads(&readers, &secret.0))
            .store();
        Self { config_maps, secrets }
    }

    /// What is known of all that a Deployment reads, and of what its ReplicaSets name.
    pub(super) fn gather(
        &self,
        deployment: &DeploymentView,
        replica_sets: &[Arc<ReplicaSetView>],
        key: &DigestKey,
    ) -> BTreeMap<Source, Known<SourceView>> {
        let reads = deployment.spec.template.reads.sources.keys().cloned();
        let named = replica_sets.iter().map(|rs| &rs.spec.template.config).chain([&deployment.spec.template.config]);
        let named = named.flat_map(|pins| pins.0.keys().cloned());
        let sources: BTreeSet<Source> = reads.chain(named).collect();
        let namespace = deployment.metadata.namespace.as_str();
        sources.into_iter().map(|source| (source.clone(), self.known(namespace, &source, key))).collect()
    }

    fn known(&self, namespace: &str, source: &Source, key: &DigestKey) -> Known<SourceView> {
        let live = self.get(source.kind, namespace, &source.name);
        let id = id(namespace, source);
        let copies: Vec<SourceView> = match source.kind {
            SourceKind::ConfigMap => {
                self.config_maps.by_index("copies", &id).into_iter().map(SourceView::ConfigMap).collect()
            }
            SourceKind::Secret => self.secrets.by_index("copies", &id).into_iter().map(SourceView::Secret).collect(),
        };
        let names = live.iter().flat_map(|live| copy_names(source, live.as_ref(), key.bytes()));
        let is_copy = |name: &String| copies.iter().any(|copy| copy.as_ref().metadata.name == *name);
        let strangers =
            names.filter(|name| !is_copy(name) && self.get(source.kind, namespace, name).is_some()).collect();
        Known { live, copies, strangers }
    }

    fn get(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<SourceView> {
        match kind {
            SourceKind::ConfigMap => self.config_maps.get(namespace, name).map(SourceView::ConfigMap),
            SourceKind::Secret => self.secrets.get(namespace, name).map(SourceView::Secret),
        }
    }
}

fn id(namespace: &str, source: &Source) -> String {
    format!("{namespace}/{source}")
}

fn copies(object: &Object) -> Vec<String> {
    object.copy_of().map(|source| id(&object.metadata.namespace, &source)).into_iter().collect()
}

/// What a guarded Deployment reads. The text of any other's template is not kept, so that nothing is found in it.
pub(super) fn of_deployment(deployment: &DeploymentView) -> Vec<String> {
    let sources = deployment.spec.template.reads.sources.keys();
    sources.map(|source| id(&deployment.metadata.namespace, source)).collect()
}

/// The workloads that a change of an object concerns: those that read it, or what it is a copy of.
fn workloads(deployments: &Store<DeploymentView>, object: &Object) -> Vec<Workload> {
    let source = object.copy_of().unwrap_or_else(|| object.source());
    let readers = deployments.by_index("source", &id(&object.metadata.namespace, &source));
    readers.iter().map(|d| Workload::new(&d.metadata.namespace, &d.metadata.name)).collect()
}
