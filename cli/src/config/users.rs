//! The workloads that read a ConfigMap or Secret, and the revisions that their pods read.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;
use trimtab_config::{Pins, Source, reads};
use trimtab_crds::names;
use trimtab_plan::Kind;

use super::revisions::Revision;
use crate::{connect::Connection, situation::list};

/// A workload that reads the source.
pub struct Reader {
    /// `deployment/web`
    pub workload: String,
    /// The plan that guards it.
    pub plan: String,
    /// The revision that its template names; `live` without one.
    pub pinned: String,
    /// The keys without which its pods do not start.
    pub needs: String,
}

/// Who reads a source.
pub struct Users {
    source: Source,
    /// The workloads whose templates read it.
    pub readers: Vec<Reader>,
    /// By pin: the workloads with pods of that revision, and how many.
    running: BTreeMap<String, Vec<String>>,
}

const KINDS: [Kind; 5] = [
    names::DEPLOYMENT,
    Kind::namespaced("apps", "v1", "StatefulSet", "statefulsets"),
    Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets"),
    Kind::namespaced("batch", "v1", "CronJob", "cronjobs"),
    Kind::namespaced("batch", "v1", "Job", "jobs"),
];

impl Users {
    /// Reads them.
    pub async fn read(to: &Connection, source: &Source) -> Result<Self> {
        let mut readers = vec![];
        for kind in KINDS {
            let workloads = list::<Value>(to, kind, "").await?;
            readers.extend(workloads.iter().filter_map(|workload| reader(kind, workload, source)));
        }
        let mut running = BTreeMap::<String, Vec<String>>::new();
        for set in list::<Value>(to, names::REPLICA_SET, "").await? {
            let pods = set["spec"]["replicas"].as_i64().unwrap_or(0);
            let template = &set["spec"]["template"];
            if pods > 0 && reads(template).sources.contains_key(source) {
                let name = match is_canary(&set) {
                    true => {
                        set["metadata"]["annotations"][names::CANARY_OF].as_str().map(|of| format!("{of} (canary)"))
                    }
                    false => set.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str).map(str::to_owned),
                };
                let name = name.unwrap_or_default();
                let pin = pin(template, source).unwrap_or_default();
                running.entry(pin).or_default().push(format!("{name} {pods}×"));
            }
        }
        Ok(Self { source: source.clone(), readers, running })
    }

    /// The workloads with pods that read a revision, and how many pods.
    pub fn of(&self, revision: &Revision) -> Vec<String> {
        let pinned = revision.suffix.as_ref().and_then(|suffix| self.running.get(suffix));
        let live = self.running.get("").filter(|_| revision.live);
        let live = live.into_iter().flatten().map(|user| format!("{user} (live)"));
        pinned.into_iter().flatten().cloned().chain(live).collect()
    }

    /// The source.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

/// Whether a plan controls this ReplicaSet: a canary that was handed over keeps its annotation.
fn is_canary(set: &Value) -> bool {
    set.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str) == Some("ReleasePlan")
}

fn pin(template: &Value, source: &Source) -> Option<String> {
    let pins =
        template.pointer("/metadata/annotations").and_then(|annotations| annotations.get(names::CONFIG)?.as_str());
    Pins::in_template(pins).get(source).map(ToString::to_string)
}

fn reader(kind: Kind, workload: &Value, source: &Source) -> Option<Reader> {
    let template = match kind.kind {
        "CronJob" => &workload["spec"]["jobTemplate"]["spec"]["template"],
        _ => &workload["spec"]["template"],
    };
    let reference = reads(template).sources.remove(source)?;
    let name = workload["metadata"]["name"].as_str()?;
    let plan = workload["metadata"]["annotations"][names::PLAN].as_str().filter(|plan| !plan.is_empty());
    Some(Reader {
        workload: format!("{}/{name}", kind.kind.to_ascii_lowercase()),
        plan: plan.unwrap_or("-").to_owned(),
        pinned: pin(template, source).unwrap_or_else(|| "live".to_owned()),
        needs: match (reference.optional, reference.keys.is_empty()) {
            (true, _) => "optional".to_owned(),
            (false, true) => "it".to_owned(),
            (false, false) => reference.keys.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", "),
        },
    })
}
