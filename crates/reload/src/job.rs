//! Jobs, whose templates cannot be changed: they are deleted and made anew. What is to be made is kept in a
//! ControllerRevision first, so that no failure and no crash in between loses the Job.
//!
//! A Job is made of nothing but what this made, and once: whoever may write ControllerRevisions need not be allowed to make
//! Jobs. What is kept is signed when it is made, and sealed with its uid before the Job goes. One that somebody creates again
//! has another uid.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use trimtab_config::{DigestKey, canonical};
use trimtab_crds::names;
use trimtab_plan::{Answer, Ask, Kind, Meta, Notice, PatchOp, Plan, Question, Severity, Watched, Write};

use crate::blocked::Blocked;
use crate::decide::{AGAIN, Snapshot, read, sources, tell};
use crate::{Workload, trigger};

/// On what is kept: the uid of the Job that is replaced.
const REPLACES: &str = "trimtab.dev/replaces";
/// Start of the names of what is kept.
const PREFIX: &str = "reloaded-job-";
/// What the digest of what is kept begins with while the Job is still there, and once it may go; and what it is of.
const BEGUN: &str = "j1:";
const SEALED: &str = "j2:";
const PURPOSE: &str = "trimtab.dev/reloaded-job";

/// The name of the question whether a Job was made anew.
pub const JOB_MADE: &str = "job-made";

/// The question: whether a Job was made anew since a version. What is there does not tell: somebody may have deleted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMade {
    /// Namespace of the Job.
    pub namespace: String,
    /// Its name.
    pub job: String,
    /// The uid of the one that was replaced.
    pub replaces: String,
    /// The version at which it was begun.
    pub since: String,
}

/// What is kept of a Job while it is made anew, without the Job itself.
#[derive(Debug, Clone, Serialize)]
pub struct KeptJob {
    /// Metadata.
    pub metadata: Meta,
    /// What the proof is of.
    #[serde(skip)]
    signed: String,
}

impl<'de> Deserialize<'de> for KeptJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: Meta,
            #[serde(default)]
            data: Value,
        }
        let Raw { metadata, data } = Raw::deserialize(deserializer)?;
        let replaces = metadata.annotation(REPLACES).unwrap_or_default();
        // A text as long as a Job is not kept: its digest under no key stands for it.
        let content = DigestKey::default().sign(PURPOSE, &canonical(&data));
        let signed = signed(&metadata.namespace, &metadata.name, replaces, &content);
        Ok(Self { metadata, signed })
    }
}

/// What is proven: of which Job it is kept, and what. The API server refuses to change `data`, and names are no more changed.
fn signed(namespace: &str, name: &str, replaces: &str, content: &str) -> String {
    format!("{namespace}/{name}/{replaces}/{content}")
}

fn proof(key: &DigestKey, namespace: &str, name: &str, replaces: &str, data: &Value) -> String {
    let content = DigestKey::default().sign(PURPOSE, &canonical(data));
    format!("{BEGUN}{}", key.sign(PURPOSE, &signed(namespace, name, replaces, &content)))
}

impl KeptJob {
    /// The name of what is kept of a Job.
    pub fn name_of(job: &str) -> String {
        format!("{PREFIX}{job}")
    }

    /// The name of the Job that is kept under a name.
    pub fn job_of(kept: &str) -> &str {
        kept.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// The name of the Job.
    pub fn job(&self) -> &str {
        Self::job_of(&self.metadata.name)
    }

    /// The uid of the Job that is replaced.
    pub fn replaces(&self) -> &str {
        self.metadata.annotation(REPLACES).unwrap_or_default()
    }

    /// Whether a Job may be made of it: a manager with this key sealed it, this very object and as it is, and nobody is
    /// deleting it. What is deleted was made use of, however long somebody keeps it from going.
    pub fn is_ours(&self, key: &DigestKey) -> bool {
        self.is_proven_by(&self.seal(key)) && self.metadata.deletion_timestamp.is_none()
    }

    /// Whether a manager with this key made it. It may have been created again since by somebody else.
    fn is_begun(&self, key: &DigestKey) -> bool {
        self.is_proven_by(&format!("{BEGUN}{}", key.sign(PURPOSE, &self.signed)))
    }

    /// Whether a manager with this key has to do with it: while the Job is there, no more is asked.
    pub(crate) fn is_known(&self, key: &DigestKey) -> bool {
        self.is_begun(key) || self.is_proven_by(&self.seal(key))
    }

    fn is_proven_by(&self, proof: &str) -> bool {
        self.metadata.name.starts_with(PREFIX) && self.metadata.annotation(names::DIGEST) == Some(proof)
    }

    /// The proof of this very object.
    fn seal(&self, key: &DigestKey) -> String {
        format!("{SEALED}{}", key.sign(PURPOSE, &format!("{}/{}", self.metadata.uid, self.signed)))
    }
}

impl Watched for KeptJob {
    const KIND: Kind = names::CONTROLLER_REVISION;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Keeps what is to be made. The Job goes once that is sealed.
pub(crate) fn begin(now: Timestamp, seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) -> Option<Blocked> {
    if let Some(kept) = &seen.kept {
        let message = unproven(kept);
        plan.because("KeptJobUnproven", message.clone());
        return Some(Blocked { reason: "KeptJobUnproven", message });
    }
    let id = format!("job/{}/{}", workload.metadata.uid, workload.metadata.resource_version);
    let job = read(now, seen, id, workload.object(), plan)?;
    let record = trigger::record(now, workload, &seen.survey, true);
    let mut body = cleaned(job);
    for (name, value) in trigger::annotations(&record) {
        body["metadata"]["annotations"][name.as_str()] = value;
    }
    let (namespace, uid) = (&workload.metadata.namespace, &workload.metadata.uid);
    let name = KeptJob::name_of(&workload.metadata.name);
    let proof = proof(&seen.options.proof_key, namespace, &name, uid, &body);
    let kept = names::CONTROLLER_REVISION.object(namespace, &name);
    let revision = json!({
        "metadata": {
            "labels": {names::RELOADED_JOB: "true", "app.kubernetes.io/managed-by": "trimtab"},
            "annotations": {REPLACES: uid, names::DIGEST: proof},
        },
        "revision": 1,
        "data": body,
    });
    plan.because("Replacing", format!("made anew for {}", sources(&seen.survey)));
    plan.writes.push(Write::create(kept, revision, "keep the Job that is to be made"));
    tell(workload, Severity::Normal, "Reloaded", "Replace", format!("made anew for {}", sources(&seen.survey)), plan);
    None
}

/// The Job is there, and so is what was kept: either the old one is still to go, or all is done.
pub(crate) fn go_on(seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) {
    let Some(kept) = &seen.kept else { return };
    if kept.metadata.annotation(REPLACES) != Some(workload.metadata.uid.as_str()) {
        plan.because("Replaced", "the Job was made anew");
        let what = kept.metadata.object(names::CONTROLLER_REVISION);
        plan.writes.push(Write::delete(what, &kept.metadata.uid, "forget what was kept of the Job"));
        return;
    }
    if kept.metadata.deletion_timestamp.is_some() {
        plan.because("Replacing", "what was kept of the Job is being deleted, and is kept anew once it is gone");
        return;
    }
    plan.because("Replacing", "the Job is deleted, and made anew once it is gone");
    let key = &seen.options.proof_key;
    if !kept.is_ours(key) {
        plan.writes.push(seal(kept, key));
    }
    if workload.metadata.deletion_timestamp.is_none() {
        plan.writes.push(Write::delete(workload.object(), &workload.metadata.uid, "make room for the new one"));
    }
}

/// Makes what is kept the only object of which the Job can be made. While the Job that it replaces is there, that harms nobody
/// whoever created it: what it holds is signed.
fn seal(kept: &KeptJob, key: &DigestKey) -> Write {
    let digest = format!("/metadata/annotations/{}", PatchOp::escape(names::DIGEST));
    let before = kept.metadata.annotation(names::DIGEST).unwrap_or_default();
    let ops = vec![
        PatchOp::test("/metadata/uid", kept.metadata.uid.clone()),
        PatchOp::test(digest.clone(), before),
        PatchOp::add(digest, kept.seal(key)),
    ];
    Write::patch(kept.metadata.object(names::CONTROLLER_REVISION), ops, "seal what is kept of the Job")
}

/// The Job is gone: makes what was kept, and forgets it at once, so that a Job that somebody then deletes stays deleted.
pub(crate) fn make_again(now: Timestamp, seen: &Snapshot, plan: &mut Plan<()>) {
    let Some(kept) = &seen.kept else { return };
    let (meta, key) = (&kept.metadata, &seen.options.proof_key);
    let object = meta.object(names::CONTROLLER_REVISION);
    if meta.deletion_timestamp.is_some() {
        plan.because("Replaced", "what was kept of the Job is being deleted: no Job is made of it any more");
        return;
    }
    if !kept.is_ours(key) {
        let note = unproven(kept);
        plan.because("KeptJobUnproven", note.clone());
        let (uid, severity) = (meta.uid.clone(), Severity::Warning);
        plan.notices.push(Notice { about: object, uid, severity, reason: "KeptJobUnproven", action: "Wait", note });
        return;
    }
    match was_made(now, seen, kept, plan) {
        Made::No => {}
        Made::Unknown => return,
        Made::Yes => {
            plan.because("Replaced", "the Job was made anew, and somebody has deleted it since");
            plan.writes.push(Write::delete(object, &meta.uid, "forget what was kept of the Job"));
            return;
        }
    }
    plan.because("Replacing", "the Job is gone, and is made anew from what was kept of it");
    let Some(revision) = read(now, seen, format!("kept/{}", meta.uid), object.clone(), plan) else { return };
    // Somebody may have put another in its place meanwhile.
    let read = KeptJob::deserialize(revision).is_ok_and(|read| read.is_ours(key) && read.metadata.uid == meta.uid);
    if !read {
        return;
    }
    let target = names::JOB.object(&meta.namespace, kept.job());
    plan.writes.push(Write::create(target, revision["data"].clone(), "make the Job anew"));
    plan.writes.push(Write::delete(object, &meta.uid, "forget what was kept of the Job"));
}

/// Whether the Job was made anew already.
enum Made {
    No,
    Yes,
    Unknown,
}

/// A process that ended between making the Job and forgetting what was kept of it leaves what one leaves that ended before.
fn was_made(now: Timestamp, seen: &Snapshot, kept: &KeptJob, plan: &mut Plan<()>) -> Made {
    if let Some(made) = seen.made_anew {
        return if made { Made::Yes } else { Made::No };
    }
    let id = format!("made/{}", kept.metadata.uid);
    let question = JobMade {
        namespace: kept.metadata.namespace.clone(),
        job: kept.job().to_owned(),
        replaces: kept.replaces().to_owned(),
        since: kept.metadata.resource_version.clone(),
    };
    let input = serde_json::to_value(&question).unwrap_or_default();
    let answer = seen.answers.get(&id);
    if let Some(Answer::Failed(why)) = answer {
        // An answer is forgotten once nobody asks: the next decision asks anew.
        plan.because("Reading", format!("whether the Job was made anew already is not known, and asked again: {why}"));
        plan.wake_by(now.checked_add(AGAIN).unwrap_or(now));
        return Made::Unknown;
    }
    // Asked again where it is answered, too, so that the answer stays.
    plan.asks.push(Ask { id, question: Question::Custom { name: JOB_MADE, input, about: None }, timeout_seconds: 15 });
    match answer {
        Some(Answer::Object(value)) if value["made"] == true => Made::Yes,
        // Nobody can tell any more: a Job twice is better than none.
        Some(_) => Made::No,
        None => {
            plan.because("Reading", "whether the Job was made anew already");
            Made::Unknown
        }
    }
}

/// What is to be done with what looks like a Job that is kept and was not made by us, or under another key.
fn unproven(kept: &KeptJob) -> String {
    let (name, namespace) = (&kept.metadata.name, &kept.metadata.namespace);
    format!(
        "ControllerRevision {name} says that Job {} is kept in it, and is not what this manager sealed: no Job is made of it. Look \
         at it, make the Job if it is to be there (kubectl get controllerrevision {name} -n {namespace} -o jsonpath='{{.data}}' | \
         kubectl create -n {namespace} -f -), and delete it",
        kept.job()
    )
}

/// The Job as somebody would write it: without what the API server and the Job controller added.
fn cleaned(job: &Value) -> Value {
    const ADDED: [&str; 4] =
        ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];
    let mut spec = job["spec"].clone();
    let meta = &job["metadata"];
    let mut labels = [meta["labels"].clone(), spec["template"]["metadata"]["labels"].clone()];
    if spec["manualSelector"] != true {
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("selector");
        }
        for map in labels.iter_mut().filter_map(Value::as_object_mut) {
            ADDED.iter().for_each(|label| _ = map.remove(*label));
        }
    }
    let [own, template] = labels;
    if template.is_object() {
        spec["template"]["metadata"]["labels"] = template;
    }
    let mut annotations = meta["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove("batch.kubernetes.io/job-tracking");
    json!({
        "apiVersion": names::JOB.api_version(), "kind": names::JOB.kind,
        "metadata": {
            "labels": own, "annotations": annotations, "ownerReferences": meta["ownerReferences"],
            "finalizers": Value::Null,
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_kept_as_it_was_written() {
        let job = json!({
            "metadata": {"name": "j", "uid": "u", "resourceVersion": "1", "labels": {"a": "b", "job-name": "j"},
                "annotations": {"x": "y"}},
            "spec": {"selector": {"matchLabels": {"controller-uid": "u"}}, "backoffLimit": 3,
                "template": {"metadata": {"labels": {"controller-uid": "u", "app": "j"}}, "spec": {}}},
            "status": {"active": 1}
        });
        let kept = cleaned(&job);
        assert_eq!(
            kept["spec"],
            json!({"backoffLimit": 3, "template": {"metadata": {"labels": {"app": "j"}}, "spec": {}}})
        );
        assert_eq!(kept["metadata"]["labels"], json!({"a": "b"}));
        assert!(kept.get("status").is_none() && kept["metadata"].get("uid").is_none());
    }
}
