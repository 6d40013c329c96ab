//! The sources of reloads as they are: watched, found by name, and listed for expressions. Not what has changed in them.

use trimtab::{Selector, Store, Watches};
use trimtab_config::{ConfigMapView, Object, SecretView, Source, SourceKind, SourceView};

use super::births::Births;
use super::fitting::{Fitting, Names};
use crate::sources::NOT_HELM;
use crate::workload::Workload;

/// The sources as they are.
#[derive(Clone)]
pub(super) struct Live {
    config_maps: Store<ConfigMapView>,
    /// `None`: they are left alone.
    secrets: Option<Store<SecretView>>,
}

impl Live {
    /// Watches ConfigMaps, and Secrets if they are to be read. `readers` gives the workloads that a source concerns.
    pub(super) fn new(
        watches: &mut Watches<Workload>,
        secrets: bool,
        births: &Births,
        fitting: &Fitting,
        readers: impl Fn(&str, &Source) -> Vec<Workload> + Clone + Send + Sync + 'static,
    ) -> Self {
        let of_maps = readers.clone();
        let heard = |births: &Births, fitting: &Fitting| {
            let (births, fitting) = (births.clone(), fitting.clone());
            move |old: Option<&Object>, new: &Object, listed| {
                if old.is_none() {
                    fitting.came(&new.metadata.namespace, new.source());
                }
                births.heard(old, new, listed);
            }
        };
        let (of_map, of_secret) = (heard(births, fitting), heard(births, fitting));
        let config_maps = watches
            .watch::<ConfigMapView>(Selector::default())
            .hears(move |heard| of_map(heard.old.map(|old| &old.0), &heard.new.0, heard.listed))
            .wakes(move |map| of_maps(&map.0.metadata.namespace, &map.0.source()))
            .store();
        let secrets = secrets.then(|| {
            watches
                .watch::<SecretView>(Selector::all().fields(NOT_HELM))
                .hears(move |heard| of_secret(heard.old.map(|old| &old.0), &heard.new.0, heard.listed))
                .wakes(move |secret| readers(&secret.0.metadata.namespace, &secret.0.source()))
                .store()
        });
        Self { config_maps, secrets }
    }

    pub(super) fn get(&self, namespace: &str, source: &Source) -> Option<SourceView> {
        match source.kind {
            SourceKind::ConfigMap => self.config_maps.get(namespace, &source.name).map(SourceView::ConfigMap),
            SourceKind::Secret => self.secrets.as_ref()?.get(namespace, &source.name).map(SourceView::Secret),
        }
    }
}

impl Names for Live {
    fn all(&self, namespace: &str, kind: SourceKind) -> Vec<Source> {
        match kind {
            SourceKind::ConfigMap => {
                self.config_maps.list_namespace(namespace).iter().map(|map| map.0.source()).collect()
            }
            SourceKind::Secret => {
                let all = self.secrets.iter().flat_map(|secrets| secrets.list_namespace(namespace));
                all.map(|secret| secret.0.source()).collect()
            }
        }
    }

    fn has(&self, namespace: &str, source: &Source) -> bool {
        self.get(namespace, source).is_some()
    }
}
