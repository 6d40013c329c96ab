//! The ConfigMaps and Secrets of workloads: which workload a change of one concerns, and what is known of those that a
//! workload reads. One look-up each; nothing is searched. Not what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use trimtab::{Key, Permission, Selector, Store, Watches};
use trimtab_config::{
    ConfigMapView, DigestKey, Known, Object, Pin, Pins, Reads, SecretView, Source, SourceKind, SourceView, copy_names,
};

/// Helm keeps its releases in Secrets, large ones and many. No pod reads them.
pub const NOT_HELM: &str = "type!=helm.sh/release.v1";

/// The stores of ConfigMaps and Secrets.
#[derive(Debug)]
pub struct Sources {
    config_maps: Store<ConfigMapView>,
    /// `None`: they are left alone.
    secrets: Option<Store<SecretView>>,
}

/// What it needs to copy sources, beside watching them: one copy for each revision, and `get` of what is copied and of what
/// policies look at.
pub fn copying(secrets: bool) -> Vec<Permission> {
    let verbs = &["get", "create", "patch", "delete"];
    let config_maps = Permission { group: "", resource: "configmaps", verbs };
    let secrets = secrets.then_some(Permission { group: "", resource: "secrets", verbs });
    [config_maps].into_iter().chain(secrets).collect()
}

impl Sources {
    /// Watches ConfigMaps, and Secrets if they are to be read. `readers` gives the workloads that read a source, which is
    /// named as [`id`] names it.
    pub fn new<K: Key>(
        watches: &mut Watches<K>,
        secrets: bool,
        readers: impl Fn(&str) -> Vec<K> + Clone + Send + Sync + 'static,
    ) -> Self {
        let of_maps = readers.clone();
        let config_maps = watches
            .watch::<ConfigMapView>(Selector::default())
            .index("copies", |map| copies(&map.0))
            .wakes(move |map| concerned(&map.0).iter().flat_map(|source| of_maps(source)).collect())
            .store();
        let secrets = secrets.then(|| {
            watches
                .watch::<SecretView>(Selector::all().fields(NOT_HELM))
                .index("copies", |secret| copies(&secret.0))
                .wakes(move |secret| concerned(&secret.0).iter().flat_map(|source| readers(source)).collect())
                .store()
        });
        Self { config_maps, secrets }
    }

    /// What is known of all that templates read, and of what pins name; of what is left alone, nothing.
    pub fn gather<'p>(
        &self,
        namespace: &str,
        reads: impl IntoIterator<Item = &'p Reads>,
        pins: impl Iterator<Item = &'p Pins>,
        key: &DigestKey,
    ) -> BTreeMap<Source, Known<SourceView>> {
        let read = reads.into_iter().flat_map(|reads| reads.sources.keys());
        let mut sources: BTreeMap<Source, BTreeSet<String>> =
            read.map(|source| (source.clone(), BTreeSet::new())).collect();
        for (source, pin) in pins.flat_map(|pins| &pins.0) {
            sources.entry(source.clone()).or_default().insert(pin.copy_name(source));
        }
        let looked_at = |source: &Source| source.kind != SourceKind::Secret || self.secrets.is_some();
        let sources = sources.into_iter().filter(|(source, _)| looked_at(source));
        sources
            .map(|(source, pinned)| {
                let known = self.known(namespace, &source, pinned, key);
                (source, known)
            })
            .collect()
    }

    /// What is known of one source; `pinned` are the names under which pods read it.
    fn known(&self, namespace: &str, source: &Source, pinned: BTreeSet<String>, key: &DigestKey) -> Known<SourceView> {
        let live = self.get(source.kind, namespace, &source.name);
        let id = id(namespace, source);
        let copies: Vec<SourceView> = match source.kind {
            SourceKind::ConfigMap => {
                self.config_maps.by_index("copies", &id).into_iter().map(SourceView::ConfigMap).collect()
            }
            SourceKind::Secret => {
                let copies = self.secrets.iter().flat_map(|secrets| secrets.by_index("copies", &id));
                copies.map(SourceView::Secret).collect()
            }
        };
        let names = live.iter().flat_map(|live| copy_names(source, live.as_ref(), key.bytes()));
        let is_copy = |name: &String| copies.iter().any(|copy| copy.as_ref().metadata.name == *name);
        let names: BTreeSet<String> = names.chain(pinned).collect();
        let is_stranger = |name: &String| !is_copy(name) && self.get(source.kind, namespace, name).is_some();
        let strangers = names.into_iter().filter(is_stranger).collect();
        Known { live, copies, strangers }
    }

    fn get(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<SourceView> {
        match kind {
            SourceKind::ConfigMap => self.config_maps.get(namespace, name).map(SourceView::ConfigMap),
            SourceKind::Secret => self.secrets.as_ref()?.get(namespace, name).map(SourceView::Secret),
        }
    }
}

/// The name of a source in a namespace, as indexes have it.
pub fn id(namespace: &str, source: &Source) -> String {
    format!("{namespace}/{source}")
}

/// All that a template reads, as indexes have it.
pub fn ids(namespace: &str, reads: &Reads) -> Vec<String> {
    reads.sources.keys().map(|source| id(namespace, source)).collect()
}

fn copies(object: &Object) -> Vec<String> {
    object.copy_of().map(|source| id(&object.metadata.namespace, &source)).into_iter().collect()
}

/// The sources that a change of an object concerns: itself, or what it is a copy of; and what pods would read it in place of, which it
/// stands in the way of where it is no copy.
fn concerned(object: &Object) -> BTreeSet<String> {
    let source = object.copy_of().unwrap_or_else(|| object.source());
    let in_the_way = Pin::in_place_of(&object.source());
    [source].iter().chain(&in_the_way).map(|source| id(&object.metadata.namespace, source)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, sources: &[&str]) {
        let meta = json!({"name": name, "namespace": "shop", "uid": "u"});
        let map: ConfigMapView = serde_json::from_value(json!({"metadata": meta, "data": {}})).unwrap();
        let wanted: BTreeSet<String> = sources.iter().map(|source| format!("shop/{source}")).collect();
        assert_eq!(concerned(&map.0), wanted, "{name}");
    }

    #[test]
    fn a_change_concerns_the_source_in_whose_place_pods_would_read_the_object() {
        check("web", &["cm/web"]);
        check("web-conf", &["cm/web-conf"]);
        // Nobody reads these by their names; they stand in the way of a pin.
        check("web-absent", &["cm/web-absent", "cm/web"]);
        check("web-4f7c19ab20", &["cm/web-4f7c19ab20", "cm/web"]);
        check("-absent", &["cm/-absent"]);
    }
}
