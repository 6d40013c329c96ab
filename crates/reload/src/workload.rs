//! Workloads as reloads see them: what their templates read and where, what restarted them last, and how far their
//! rollout is. Not whether they are to be reloaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use trimtab_config::{Source, SourceKind};
use trimtab_crds::names;
use trimtab_plan::{Kind, Meta, ObjectRef, TextMap, Watched};

use crate::named::Named;
use crate::progress::{Progress, progress};

/// A workload of any kind that can be reloaded.
#[derive(Debug, Clone, Serialize)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Metadata.
    pub metadata: Meta,
    /// Its pod template.
    #[serde(skip)]
    pub template: Template,
    /// How far its rollout is.
    pub progress: Progress,
    /// Whether it is paused (a Deployment) or suspended (a CronJob).
    pub paused: bool,
    /// Of a CronJob, whether it wants no second run beside one that is under way.
    pub exclusive: bool,
    /// Of a CronJob, whether its status names runs that are under way.
    pub active: bool,
    /// Of a Job, whether it has ended.
    pub ended: bool,
    /// Whether it is to have no pods.
    pub idle: bool,
    /// The conditions of its status that are about reloads: reason and message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<(String, String)>,
    /// What its annotations name, once somebody has asked.
    #[serde(skip)]
    pub(crate) named: OnceLock<Box<Named>>,
}

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
    /// Where its files are.
    pub mounts: Vec<Mount>,
}

/// Files of a source in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// The container.
    pub container: Box<str>,
    /// The folder.
    pub path: Box<str>,
    /// The keys that are files there and their paths, where not all are.
    pub items: Option<BTreeMap<String, String>>,
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

impl Workload {
    /// What people call it: `deployment/web`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind.kind.to_ascii_lowercase(), self.metadata.name)
    }

    /// The object.
    pub fn object(&self) -> ObjectRef {
        self.metadata.object(self.kind)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotation(name)
    }

    /// Whether it says what it said before, whatever else of its status has changed. A template is the same while the generation
    /// is.
    pub fn is_as(&self, before: &Self) -> bool {
        let spoken = |of: &Self| (of.paused, of.exclusive, of.active, of.ended, of.idle);
        let (own, other) = (&self.metadata, &before.metadata);
        own.generation != 0
            && (&own.uid, own.generation, own.deletion_timestamp)
                == (&other.uid, other.generation, other.deletion_timestamp)
            && (&own.labels, &own.annotations, &own.owner_references)
                == (&other.labels, &other.annotations, &other.owner_references)
            && spoken(self) == spoken(before)
            && self.progress == before.progress
            && self.blocked == before.blocked
    }

    /// Whether a change of its template makes pods anew.
    pub(crate) fn rolls(&self) -> bool {
        ![names::CRON_JOB, names::JOB].contains(&self.kind)
    }

    /// Whether its pods are to read their files anew without a restart.
    pub(crate) fn is_hot(&self) -> bool {
        self.annotation(names::RELOAD_MODE).is_some_and(|mode| mode.trim() != "restart")
    }

    fn of(kind: Kind, metadata: Meta, spec: &Value, status: &Value) -> Self {
        let is_cron_job = kind == names::CRON_JOB;
        let template = if is_cron_job { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] };
        let exclusive = is_cron_job && matches!(spec["concurrencyPolicy"].as_str(), Some("Forbid" | "Replace"));
        let conditions = items(&status["conditions"]);
        let has_ended = |c: &Value| matches!(c["type"].as_str(), Some("Complete" | "Failed")) && c["status"] == "True";
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let blocked = conditions
            .filter(|c| c["type"] == crate::BLOCKED && c["status"] == "True")
            .map(|c| (text(&c["reason"]), text(&c["message"])))
            .next();
        Self {
            kind,
            template: Template::of(template),
            progress: progress(kind, &metadata, spec, status),
            paused: spec["paused"].as_bool().unwrap_or(false) || spec["suspend"].as_bool().unwrap_or(false),
            exclusive,
            active: is_cron_job && items(&status["active"]).next().is_some(),
            ended: items(&status["conditions"]).any(has_ended),
            idle: spec["replicas"] == 0,
            blocked,
            named: OnceLock::new(),
            metadata,
        }
    }
}

impl Template {
    /// Whether pods do not start while a source is missing.
    pub(crate) fn requires(&self, source: &Source) -> bool {
        self.uses.get(source).is_some_and(|used| used.required)
    }

    fn of(template: &Value) -> Self {
        let spec = &template["spec"];
        let annotations = &template["metadata"]["annotations"];
        let annotations = annotations.as_object().into_iter().flatten();
        let annotations = annotations.filter_map(|(name, value)| Some((name, value.as_str()?)));
        let volumes = volumes(spec);
        let mut found = Self { annotations: annotations.collect(), ..Self::default() };
        for (index, container) in items(&spec["containers"]).enumerate() {
            found.read(&volumes, container, Some(index));
            let variables = items(&container["env"]).filter_map(|e| Some((e["name"].as_str()?, e["value"].as_str()?)));
            let mut names = BTreeSet::new();
            let repeats = items(&container["env"]).any(|e| !names.insert(e["name"].as_str()));
            found.containers.push(Container {
                name: container["name"].as_str().unwrap_or_default().into(),
                triggers: variables
                    .filter(|(n, _)| n.starts_with(TRIGGER))
                    .map(|(n, v)| (n.into(), v.into()))
                    .collect(),
                repeats,
            });
        }
        for container in items(&spec["initContainers"]) {
            found.read(&volumes, container, None);
        }
        // What no container mounts is read by nobody, but pods do not start without it.
        for Volume { source, required, .. } in volumes.values().flatten() {
            let unmounted = || Use { fixed: true, required: *required, ..Use::default() };
            found.uses.entry(source.clone()).or_insert_with(unmounted);
        }
        found
    }

    fn read(&mut self, volumes: &Volumes, container: &Value, index: Option<usize>) {
        let mut note = |source: &Source, fixed: bool, required: bool, mount: Option<Mount>| {
            let known = self.uses.entry(source.clone()).or_default();
            known.container = known.container.or(index);
            known.fixed |= fixed || index.is_none();
            known.required |= required;
            known.mounts.extend(mount);
        };
        for (source, required) in variables(container) {
            note(&source, true, required, None);
        }
        for mount in items(&container["volumeMounts"]) {
            let (name, path) = (mount["name"].as_str().unwrap_or_default(), &mount["mountPath"]);
            let sub_path = !mount["subPath"].is_null() || !mount["subPathExpr"].is_null();
            for Volume { source, items, required } in volumes.get(name).into_iter().flatten() {
                let mount = Mount {
                    container: container["name"].as_str().unwrap_or_default().into(),
                    path: path.as_str().unwrap_or_default().into(),
                    items: items.clone(),
                };
                note(source, sub_path, *required, (!sub_path).then_some(mount));
            }
        }
    }
}

type Items = Option<BTreeMap<String, String>>;
type Volumes<'v> = BTreeMap<&'v str, Vec<Volume>>;

/// A source in a volume.
struct Volume {
    source: Source,
    items: Items,
    required: bool,
}

fn volumes(spec: &Value) -> Volumes<'_> {
    let read = |place: &Value, source| Volume { source, items: paths(place), required: is_required(place) };
    let one = |map: &Value, secret: &Value| -> Vec<Volume> {
        let found = name(&map["name"]).map(|name| read(map, Source::config_map(name)));
        let secret_name = name(&secret["secretName"]).or_else(|| name(&secret["name"]));
        found.into_iter().chain(secret_name.map(|name| read(secret, Source::secret(name)))).collect()
    };
    let of = |volume: &Value| {
        let mut sources = one(&volume["configMap"], &volume["secret"]);
        for part in items(&volume["projected"]["sources"]) {
            sources.extend(one(&part["configMap"], &part["secret"]));
        }
        sources
    };
    items(&spec["volumes"]).filter_map(|volume| Some((volume["name"].as_str()?, of(volume)))).collect()
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

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The name of a source; what none can be called is looked for nowhere, and the pods do not start.
fn name(name: &Value) -> Option<&str> {
    name.as_str().filter(|name| Source::is_name(name))
}

macro_rules! workloads {
    ($($(#[$doc:meta])* $view:ident, $kind:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Serialize)]
            #[serde(transparent)]
            pub struct $view(pub Arc<Workload>);

            impl Watched for $view {
                const KIND: Kind = $kind;

                fn meta(&self) -> &Meta {
                    &self.0.metadata
                }
            }

            impl AsRef<Arc<Workload>> for $view {
                fn as_ref(&self) -> &Arc<Workload> {
                    &self.0
                }
            }

            impl<'de> Deserialize<'de> for $view {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    #[derive(Deserialize)]
                    struct Raw {
                        metadata: Meta,
                        #[serde(default)]
                        spec: Value,
                        #[serde(default)]
                        status: Value,
                    }
                    let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
                    Ok(Self(Arc::new(Workload::of($kind, metadata, &spec, &status))))
                }
            }
        )*
    };
}

workloads! {
    /// A Deployment.
    DeploymentView, names::DEPLOYMENT;
    /// A StatefulSet.
    StatefulSetView, names::STATEFUL_SET;
    /// A DaemonSet.
    DaemonSetView, names::DAEMON_SET;
    /// A CronJob.
    CronJobView, names::CRON_JOB;
    /// A Job.
    JobView, names::JOB;
    /// A Rollout of Argo Rollouts.
    RolloutView, names::ROLLOUT;
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

    #[test]
    fn a_status_is_news_where_it_says_something_else() {
        let of = |change: &dyn Fn(&mut Value)| {
            let metadata =
                json!({"name": "web", "namespace": "ns", "uid": "u", "generation": 2, "resourceVersion": "1"});
            let status = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
            let mut all = json!({"metadata": metadata, "spec": {"replicas": 1}, "status": status});
            change(&mut all);
            serde_json::from_value::<DeploymentView>(all).unwrap().0
        };
        let before = of(&|_| {});
        let check = |news: bool, change: &dyn Fn(&mut Value)| {
            assert_eq!(of(change).is_as(&before), !news, "{:?}", of(change));
        };
        check(false, &|_| {});
        check(false, &|all| all["metadata"]["resourceVersion"] = "2".into());
        check(false, &|all| all["status"]["readyReplicas"] = 2.into());
        check(true, &|all| all["status"]["replicas"] = 1.into());
        check(true, &|all| all["metadata"]["generation"] = 3.into());
        check(true, &|all| all["metadata"]["annotations"]["a"] = "b".into());
        check(true, &|all| all["metadata"]["labels"]["a"] = "b".into());
        check(true, &|all| all["metadata"]["uid"] = "v".into());
        check(true, &|all| all["spec"]["paused"] = true.into());
        let blocked = json!([{"type": crate::BLOCKED, "status": "True", "reason": "R", "message": "m"}]);
        check(true, &|all| all["status"]["conditions"] = blocked.clone());
    }

    #[test]
    fn nonsense_reads_nothing() {
        for spec in [json!(null), json!({"volumes": {}, "containers": "x"}), json!({"containers": [1, null]})] {
            assert!(template(spec).uses.is_empty());
        }
    }
}
