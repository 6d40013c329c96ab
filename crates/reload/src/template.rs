//! What pod templates read of configuration, and where: into variables, or as files. Not what is live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use trimtab_config::{Source, SourceKind};
use trimtab_plan::TextMap;

/// What a pod template says of configuration.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// Annotations.
    pub annotations: TextMap,
    /// Containers, without init containers.
    pub containers: Vec<Container>,
    /// What it reads.
    pub uses: BTreeMap<Source, Use>,
}

/// A container of a template.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// Name.
    pub name: Box<str>,
    /// Its variables with values that Reloader may have written.
    pub triggers: BTreeMap<Box<str>, Box<str>>,
    /// Whether its list of variables names one twice. A patch that merges by names then changes the order of the list, and
    /// so what `$(NAME)` stands for.
    pub repeats: bool,
}

/// How a template reads a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Use {
    /// The container that reads it, by position; `None` where only init containers do.
    pub container: Option<usize>,
    /// Whether it is read in a way that only a restart renews: a variable, a `subPath`, or an init container.
    pub fixed: bool,
    /// Whether its pods do not start while it is missing.
    pub required: bool,
    /// Where its files are, one for each time that a volume names it.
    pub mounts: Vec<Mount>,
}

/// Files of a source in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where the volume is; the same for all of its sources, whose number times that of the places has no bound.
    pub places: Arc<[Place]>,
    /// The keys that are files there and their paths, where not all are.
    pub items: Option<BTreeMap<String, String>>,
}

/// Where a volume is in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The container.
    pub container: Box<str>,
    /// The folder.
    pub path: Box<str>,
}

/// What Reloader's variables are called by: all of them begin so.
const TRIGGER: &str = "STAKATER_";

/// The variable in which Reloader, and we in its place, note the digest of a source.
pub fn trigger_variable(source: &Source) -> String {
    let mut name = String::from(TRIGGER);
    let mut letter = false;
    for c in source.name.chars() {
        let fits = c.is_ascii_alphanumeric();
        if fits {
            name.push(c.to_ascii_uppercase());
        } else if letter {
            name.push('_');
        }
        letter = fits;
    }
    name + match source.kind {
        SourceKind::ConfigMap => "_CONFIGMAP",
        SourceKind::Secret => "_SECRET",
    }
}

impl Template {
    /// Whether pods do not start while a source is missing.
    pub(crate) fn requires(&self, source: &Source) -> bool {
        self.uses.get(source).is_some_and(|used| used.required)
    }

    pub(crate) fn of(template: &Value) -> Self {
        let spec = &template["spec"];
        let annotations = &template["metadata"]["annotations"];
        let annotations = annotations.as_object().into_iter().flatten();
        let annotations = annotations.filter_map(|(name, value)| Some((name, value.as_str()?)));
        let mut found = Self { annotations: annotations.collect(), ..Self::default() };
        let mut mounted = BTreeMap::new();
        for (index, container) in items(&spec["containers"]).enumerate() {
            found.read(container, Some(index), &mut mounted);
            found.containers.push(Container::of(container));
        }
        for container in items(&spec["initContainers"]) {
            found.read(container, None, &mut mounted);
        }
        let mut unmounted = vec![];
        for volume in items(&spec["volumes"]) {
            match volume["name"].as_str().and_then(|name| mounted.remove(name)) {
                Some(by) => found.read_volume(volume, by),
                None => unmounted.push(volume),
            }
        }
        // What no container mounts is read by nobody, but pods do not start without it.
        for (source, _, required) in unmounted.into_iter().flat_map(sources) {
            let elsewhere = found.uses.contains_key(&source);
            found.note(source, required, None).fixed |= !elsewhere;
        }
        found
    }

    /// What a container reads into variables, and which volumes it has where.
    fn read<'t>(&mut self, container: &'t Value, index: Option<usize>, mounted: &mut BTreeMap<&'t str, Mounted>) {
        for (source, required) in variables(container) {
            self.note(source, required, index).fixed = true;
        }
        for mount in items(&container["volumeMounts"]) {
            let by = mounted.entry(mount["name"].as_str().unwrap_or_default()).or_default();
            let sub_path = !mount["subPath"].is_null() || !mount["subPathExpr"].is_null();
            by.container = by.container.or(index);
            by.fixed |= sub_path || index.is_none();
            let text = |value: &Value| value.as_str().unwrap_or_default().into();
            let place = || Place { container: text(&container["name"]), path: text(&mount["mountPath"]) };
            by.places.extend((!sub_path).then(place));
        }
    }

    fn read_volume(&mut self, volume: &Value, by: Mounted) {
        let places: Arc<[Place]> = by.places.into();
        for (source, items, required) in sources(volume) {
            let known = self.note(source, required, by.container);
            known.fixed |= by.fixed;
            known.mounts.extend((!places.is_empty()).then(|| Mount { places: places.clone(), items }));
        }
    }

    fn note(&mut self, source: Source, required: bool, index: Option<usize>) -> &mut Use {
        let known = self.uses.entry(source).or_default();
        known.container = known.container.into_iter().chain(index).min();
        known.required |= required;
        known
    }
}

impl Container {
    fn of(container: &Value) -> Self {
        let variables = items(&container["env"]).filter_map(|e| Some((e["name"].as_str()?, e["value"].as_str()?)));
        let mut names = BTreeSet::new();
        let repeats = items(&container["env"]).any(|e| !names.insert(e["name"].as_str()));
        Self {
            name: container["name"].as_str().unwrap_or_default().into(),
            triggers: variables.filter(|(n, _)| n.starts_with(TRIGGER)).map(|(n, v)| (n.into(), v.into())).collect(),
            repeats,
        }
    }
}

type Items = Option<BTreeMap<String, String>>;

/// How containers have a volume.
#[derive(Default)]
struct Mounted {
    container: Option<usize>,
    fixed: bool,
    places: Vec<Place>,
}

/// The sources of a volume, which keys of them are files, and whether pods do not start without them. One may be there many times.
fn sources(volume: &Value) -> impl Iterator<Item = (Source, Items, bool)> {
    let one = |map: &Value, secret: &Value| {
        let found = name(&map["name"]).map(|name| (Source::config_map(name), paths(map), is_required(map)));
        let secret_name = name(&secret["secretName"]).or_else(|| name(&secret["name"]));
        let secret = secret_name.map(|name| (Source::secret(name), paths(secret), is_required(secret)));
        found.into_iter().chain(secret)
    };
    let parts = items(&volume["projected"]["sources"]);
    one(&volume["configMap"], &volume["secret"])
        .chain(parts.flat_map(move |part| one(&part["configMap"], &part["secret"])))
}

fn is_required(reference: &Value) -> bool {
    reference["optional"] != true
}

fn paths(place: &Value) -> Items {
    let path = |item: &Value| Some((item["key"].as_str()?.to_owned(), item["path"].as_str()?.to_owned()));
    place["items"].as_array().map(|items| items.iter().filter_map(path).collect())
}

/// What a container reads into variables, and whether it does not start while that is missing.
fn variables(container: &Value) -> BTreeSet<(Source, bool)> {
    let from = items(&container["envFrom"]).map(|from| (&from["configMapRef"], &from["secretRef"]));
    let variables =
        items(&container["env"]).map(|e| (&e["valueFrom"]["configMapKeyRef"], &e["valueFrom"]["secretKeyRef"]));
    let both = from.chain(variables);
    both.flat_map(|(map, secret)| {
        let found = name(&map["name"]).map(|name| (Source::config_map(name), is_required(map)));
        found.into_iter().chain(name(&secret["name"]).map(|name| (Source::secret(name), is_required(secret))))
    })
    .collect()
}

pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The name of a source; what none can be called is looked for nowhere, and the pods do not start.
fn name(name: &Value) -> Option<&str> {
    name.as_str().filter(|name| Source::is_name(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(spec: Value) -> Template {
        Template::of(&json!({ "spec": spec }))
    }

    #[test]
    fn variables_are_called_as_reloader_calls_them() {
        for (source, variable) in [
            (Source::config_map("app-config"), "STAKATER_APP_CONFIG_CONFIGMAP"),
            (Source::config_map("app.config"), "STAKATER_APP_CONFIG_CONFIGMAP"),
            (Source::secret("a--b.1"), "STAKATER_A_B_1_SECRET"),
        ] {
            assert_eq!(trigger_variable(&source), variable);
        }
    }

    #[test]
    fn the_container_that_reads_a_source_is_found_and_how_it_does() {
        let found = template(json!({
            "volumes": [
                {"name": "v", "configMap": {"name": "files", "items": [{"key": "k", "path": "p"}]}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "both"}}, {"configMap": {"name": "files"}}]}},
                {"name": "s", "secret": {"secretName": "single"}},
                {"name": "n", "configMap": {"name": "unmounted"}}
            ],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "early"}}]}],
            "containers": [
                {"name": "a", "env": [{"name": "STAKATER_X_CONFIGMAP", "value": "1"}, {"name": "Y", "value": "2"}]},
                {"name": "b", "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "p", "mountPath": "/p"},
                        {"name": "s", "mountPath": "/s/x", "subPath": "x"}]}
            ]
        }));
        let shown: Vec<_> =
            found.uses.iter().map(|(s, u)| (s.to_string(), u.container, u.fixed, u.mounts.len())).collect();
        let row = |s: &str, c, f, m| (s.to_owned(), c, f, m);
        assert_eq!(
            shown,
            [
                row("cm/early", None, true, 0),
                row("cm/files", Some(1), false, 2),
                row("cm/unmounted", None, true, 0),
                row("secret/both", Some(1), false, 1),
                row("secret/key", Some(1), true, 0),
                row("secret/single", Some(1), true, 0),
            ]
        );
        assert_eq!(found.containers[0].triggers.len(), 1);
    }

    /// Neither the sources of a volume nor the places where it is mounted have a bound: what is kept is not their product.
    #[test]
    fn what_is_kept_of_a_template_grows_as_it_does() {
        let sources: Vec<Value> = (0..1_000).map(|n| json!({"configMap": {"name": format!("a{}", n % 500)}})).collect();
        let mounts: Vec<Value> = (0..1_000).map(|n| json!({"name": "v", "mountPath": format!("/{n}")})).collect();
        let found = template(json!({
            "volumes": [{"name": "v", "projected": {"sources": sources}}],
            "containers": [{"name": "a", "volumeMounts": mounts}, {"name": "b", "volumeMounts": mounts}]
        }));
        let kept: usize = found.uses.values().map(|used| used.mounts.len()).sum();
        assert!(kept <= 1_000, "{kept}");
        assert!(found.uses.values().all(|used| !used.fixed && used.required && used.container == Some(0)));
    }

    #[test]
    fn nonsense_reads_nothing() {
        for spec in [json!(null), json!({"volumes": {}, "containers": "x"}), json!({"containers": [1, null]})] {
            assert!(template(spec).uses.is_empty());
        }
    }
}
