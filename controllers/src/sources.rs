//! The ConfigMaps and Secrets of workloads: which workload a change of one concerns, and where they are found. One look-up
//! each; nothing is searched. Not what is gathered of them.

use std::collections::BTreeSet;

use serde::Deserialize;
use trimtab::{Key, Permission, Selector, Store, Watches};
use trimtab_config::{ConfigMapView, Object, Pin, Reads, SecretView, Source, SourceKind, SourceLookup, SourceView};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, Watched};

/// Helm keeps its releases in Secrets, large ones and many.
pub const NOT_HELM: &str = "type!=helm.sh/release.v1";
/// Those. No pod is to read them, and whoever may create Secrets can give one this type: kubelets look at none. So their names
/// are watched.
const HELM: &str = "type=helm.sh/release.v1";

/// A Secret of which nothing is known but that it is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Unread")]
pub struct UnreadSecret(Meta);

#[derive(Deserialize)]
struct Unread {
    metadata: Meta,
}

impl From<Unread> for UnreadSecret {
    fn from(unread: Unread) -> Self {
        let Meta { name, namespace, uid, resource_version, .. } = unread.metadata;
        Self(Meta { name, namespace, uid, resource_version, ..Meta::default() })
    }
}

impl Watched for UnreadSecret {
    const KIND: Kind = names::SECRET;

    fn meta(&self) -> &Meta {
        &self.0
    }
}

/// The stores of ConfigMaps and Secrets.
#[derive(Debug)]
pub struct Sources {
    config_maps: Store<ConfigMapView>,
    /// `None`: they are left alone.
    secrets: Option<Store<SecretView>>,
    /// The Secrets that are there and that `secrets` does not have.
    unread: Option<Store<UnreadSecret>>,
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
        let (of_maps, of_unread) = (readers.clone(), readers.clone());
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
        let unread = secrets.is_some().then(|| {
            watches
                .watch::<UnreadSecret>(Selector::all().fields(HELM).metadata_only())
                .wakes(move |secret| {
                    let source = Source::secret(&secret.0.name);
                    let all = in_place(&secret.0.namespace, &source, &source);
                    all.iter().flat_map(|source| of_unread(source)).collect()
                })
                .store()
        });
        Self { config_maps, secrets, unread }
    }
}

impl SourceLookup for Sources {
    fn looks_at(&self, kind: SourceKind) -> bool {
        kind != SourceKind::Secret || self.secrets.is_some()
    }

    fn source(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<SourceView> {
        match kind {
            SourceKind::ConfigMap => self.config_maps.get(namespace, name).map(SourceView::ConfigMap),
            SourceKind::Secret => self.secrets.as_ref()?.get(namespace, name).map(SourceView::Secret),
        }
    }

    fn copies(&self, namespace: &str, source: &Source) -> Vec<SourceView> {
        let id = id(namespace, source);
        match source.kind {
            SourceKind::ConfigMap => {
                self.config_maps.by_index("copies", &id).into_iter().map(SourceView::ConfigMap).collect()
            }
            SourceKind::Secret => {
                let copies = self.secrets.iter().flat_map(|secrets| secrets.by_index("copies", &id));
                copies.map(SourceView::Secret).collect()
            }
        }
    }

    fn is_unread(&self, kind: SourceKind, namespace: &str, name: &str) -> bool {
        let unread = self.unread.as_ref().filter(|_| kind == SourceKind::Secret);
        unread.is_some_and(|unread| unread.get(namespace, name).is_some())
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
    in_place(&object.metadata.namespace, &object.source(), &source)
}

/// What an object is of, and what pods would read it in place of, by its name.
fn in_place(namespace: &str, object: &Source, of: &Source) -> BTreeSet<String> {
    [of].into_iter().chain(&Pin::in_place_of(object)).map(|source| id(namespace, source)).collect()
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
        // By its name alone, what is not read.
        let object = Source::secret("db-absent");
        let wanted = BTreeSet::from(["shop/secret/db".to_owned(), "shop/secret/db-absent".to_owned()]);
        assert_eq!(in_place("shop", &object, &object), wanted);
    }

    #[test]
    fn of_a_secret_that_is_not_read_nothing_is_kept_but_its_name() {
        let labels = json!({"owner": "helm", "name": "web"});
        let meta = json!({"name": "sh.helm.release.v1.web.v1", "namespace": "shop", "uid": "u", "labels": labels});
        let unread: UnreadSecret =
            serde_json::from_value(json!({"kind": "PartialObjectMetadata", "metadata": meta})).unwrap();
        assert!(unread.0.name.starts_with("sh.helm") && unread.0.labels.is_empty() && unread.0.annotations.is_empty());
    }
}
