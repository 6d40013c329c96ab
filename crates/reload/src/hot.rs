//! Reloads without a restart: each pod is told to read its files anew, and asked whether it has. Not how a pod is told:
//! that is the answerer's.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trimtab_config::{Pins, Source, SourceKind};
use trimtab_crds::names;
use trimtab_plan::{Answer, Ask, ObjectRef, Plan, Question, Verb, Write};

use crate::decide::Snapshot;
use crate::{Change, Is, PodView, Workload};

/// The name of the question.
pub const HOT_RELOAD: &str = "hot-reload";
/// How long a pod may take: the kubelet brings changed files within a minute, and sooner where it is told to.
const TIMEOUT_SECONDS: u32 = 75;
/// What an answer may take beside that, to be given at all: some seconds, and the wait behind all others that are asked, which says nothing
/// of the pod.
const BESIDE: u32 = 525;
/// The most bytes of a question that say which files changed: whoever writes a template may mount a source very often.
const QUESTION: usize = 64 << 10;
/// What a text takes beside its letters.
const BESIDE_TEXT: usize = 32;
/// The most pods of a workload that are asked at a time.
const AT_ONCE: usize = 32;
/// How soon a pod is asked anew about what is live by then.
const ANEW: Duration = Duration::from_secs(1);

/// The question: let one pod read its files anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HotReload {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Its address.
    pub ip: String,
    /// What makes it read them.
    pub action: Action,
    /// How it shows that it has.
    #[serde(default)]
    pub verify: Option<Verify>,
    /// The files that changed.
    pub mounts: Vec<Files>,
    /// How long it may take, in seconds.
    pub timeout_seconds: u32,
}

impl HotReload {
    /// The pod.
    pub fn pod(&self) -> ObjectRef {
        names::POD.object(&self.namespace, &self.pod)
    }
}

/// What makes a pod read its files anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A POST.
    Http {
        /// Port of the pod.
        port: u16,
        /// Path, with the slash.
        path: String,
    },
    /// A signal to the first process of a container.
    Signal {
        /// The container.
        container: String,
        /// The signal: `HUP`.
        signal: String,
    },
}

/// Where a pod answers with a value that it has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Port of the pod.
    pub port: u16,
    /// Path, with the slash.
    pub path: String,
    /// The ConfigMap.
    pub source: Source,
    /// Its key.
    pub key: String,
}

/// Files of one source in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// The source.
    pub source: Source,
    /// The version of it that the decision is about.
    pub resource_version: String,
    /// The container.
    pub container: String,
    /// The folder.
    pub path: String,
    /// The keys that are files there and their paths, where not all are.
    #[serde(default)]
    pub items: Option<BTreeMap<String, String>>,
}

/// What came of a reload without a restart.
pub(crate) enum Hot {
    /// It is not asked for, or cannot be.
    Restart,
    /// It is under way.
    Waits,
    /// All pods have read the change.
    Done,
    /// A pod did not; they are restarted instead.
    Failed(String),
}

/// Reloads the pods of a workload without a restart: one first, then the others. Pods that are not ready cannot be told: they are waited
/// for as long as a rollout is, and where none is ready, nothing is waited for: what changed may be what mends them.
pub(crate) fn reload(now: Timestamp, seen: &Snapshot, workload: &Workload, plan: &mut Plan<()>) -> Hot {
    let wish = match wish(workload) {
        None => return Hot::Restart,
        Some(Err(why)) => return Hot::Failed(why),
        Some(Ok(wish)) => wish,
    };
    if let Some(change) = seen.survey.changes.iter().find(|c| !is_hot(workload, &c.source) || c.is != Is::Changed) {
        plan.because("NeedsRestart", format!("{} is read in a way that only a restart renews", change.source));
        return Hot::Restart;
    }
    let Some(files) = files(seen, workload) else {
        return Hot::Failed(format!(
            "what changed is mounted in too many places, or as too many files by name: no more than {} KiB of them are asked about; it is \
             restarted",
            QUESTION >> 10
        ));
    };
    if !seen.pods.iter().any(|pod| pod.stays() && pod.hears()) {
        plan.because("NeedsRestart", "none of its pods is ready, so none can be told to read its files anew");
        return Hot::Restart;
    }
    let pods: Vec<&PodView> = seen.pods.iter().map(AsRef::as_ref).filter(|pod| is_stale(seen, pod)).collect();
    if let Some(pod) = pods.iter().find(|pod| pod.stuck.is_some()) {
        let stuck = pod.stuck.as_deref().unwrap_or_default();
        return Hot::Failed(format!("pod {} is in {stuck} and reads nothing; it is restarted", pod.metadata.name));
    }
    if let Some(unready) = pods.iter().find(|pod| !pod.hears()) {
        let written = seen.survey.changes.iter().filter_map(Change::written).max();
        let until = written.and_then(|written| written.checked_add(seen.options.deadline).ok()).unwrap_or(now);
        if now >= until {
            let minutes = seen.options.deadline.as_secs() / 60;
            let name = &unready.metadata.name;
            return Hot::Failed(format!("pod {name} is not ready {minutes} min after the change, it is restarted"));
        }
        plan.wake_by(until);
    }
    let question = Asked { seen, workload, wish: &wish, files: &files };
    question.ask(now, &pods, plan)
}

/// Whether a pod may have been made before one of the changes.
fn is_stale(seen: &Snapshot, pod: &PodView) -> bool {
    let made = seen.made.get(&pod.metadata.uid).copied();
    pod.stays() && !seen.survey.changes.iter().all(|change| pod.is_after(change, made))
}

/// What all pods of a workload are asked.
struct Asked<'a> {
    seen: &'a Snapshot,
    workload: &'a Workload,
    wish: &'a Wish,
    files: &'a [Files],
}

impl Asked<'_> {
    /// Asks one pod, and some at a time once one has read the change.
    fn ask(&self, now: Timestamp, pods: &[&PodView], plan: &mut Plan<()>) -> Hot {
        let pins = Pins(self.seen.survey.changes.iter().map(|c| (c.source.clone(), c.to.pin.clone())).collect());
        let answer = |pod: &PodView| self.seen.answers.get(&id(pod, &pins));
        let has_read =
            |pod: &&&PodView| matches!(answer(pod), Some(Answer::Object(value)) if value["reloaded"] == true);
        let done = pods.iter().filter(has_read).count();
        let mut free = if done == 0 { 1 } else { AT_ONCE };
        for pod in pods.iter().filter(|pod| pod.hears()) {
            match answer(pod) {
                Some(Answer::Failed(why)) => {
                    // The answer is kept for as long as the workload waits for its turn to restart.
                    plan.asks = vec![self.about(pod, &pins)];
                    plan.housekeeping.clear();
                    let name = &pod.metadata.name;
                    return Hot::Failed(format!("pod {name} did not read {pins} anew, it is restarted: {why}"));
                }
                Some(_) if has_read(&pod) => plan.asks.push(self.about(pod, &pins)),
                _ if free == 0 => {}
                // What this was about is not live any more, though its contents may be. It is asked anew, once its answer is forgotten.
                Some(_) => {
                    free -= 1;
                    plan.wake_by(now.checked_add(ANEW).unwrap_or(now));
                }
                None => {
                    free -= 1;
                    nudge(pod, self.workload, &pins, plan);
                    plan.asks.push(self.about(pod, &pins));
                }
            }
        }
        if done == pods.len() && done > 0 {
            plan.asks.clear();
            plan.because("HotReloaded", format!("{done} pods have read the change"));
            return Hot::Done;
        }
        plan.because("HotReloading", format!("{done} of {} pods have read the change", pods.len()));
        Hot::Waits
    }

    fn about(&self, pod: &PodView, pins: &Pins) -> Ask {
        let changed = |verify: &&Verify| self.seen.survey.changes.iter().any(|change| change.source == verify.source);
        let question = HotReload {
            namespace: pod.metadata.namespace.clone(),
            pod: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ip: pod.ip.to_string(),
            action: self.wish.action.clone(),
            verify: self.wish.verify.as_ref().filter(changed).cloned(),
            mounts: self.files.to_vec(),
            timeout_seconds: TIMEOUT_SECONDS,
        };
        let input = serde_json::to_value(&question).unwrap_or_default();
        let question = Question::Custom { name: HOT_RELOAD, input, about: None };
        Ask { id: id(pod, pins), question, timeout_seconds: TIMEOUT_SECONDS + BESIDE }
    }
}

fn id(pod: &PodView, pins: &Pins) -> String {
    format!("hot/{}/{pins}", pod.metadata.uid)
}

/// Lets the kubelet look at a pod at once: it does when an annotation changes. It does so by itself too, so nothing waits for this.
fn nudge(pod: &PodView, workload: &Workload, pins: &Pins, plan: &mut Plan<()>) {
    let text = pins.to_string();
    if pod.metadata.annotation(names::RELOADED) == Some(text.as_str()) {
        return;
    }
    let body = json!({"metadata": {"uid": pod.metadata.uid, "annotations": {names::RELOADED: text}}});
    let verb = Verb::Merge { body, subresource: None };
    let why = "let its kubelet bring the changed files".to_owned();
    let write = Write { target: pod.metadata.object(names::POD), verb, why };
    plan.tidy(write, workload.object(), &workload.metadata.uid);
}

/// The files of what changed, if they are no more than are asked about.
fn files(seen: &Snapshot, workload: &Workload) -> Option<Vec<Files>> {
    let (mut files, mut bytes) = (vec![], 0);
    for change in &seen.survey.changes {
        let version = seen.versions.get(&change.source).cloned().unwrap_or_default();
        for mount in workload.template.uses.get(&change.source).into_iter().flat_map(|used| &used.mounts) {
            let items: usize =
                mount.items.iter().flatten().map(|(key, path)| key.len() + path.len() + BESIDE_TEXT).sum();
            for place in mount.places.iter() {
                bytes += change.source.name.len() + place.container.len() + place.path.len() + items + BESIDE_TEXT;
                if bytes > QUESTION {
                    return None;
                }
                files.push(Files {
                    source: change.source.clone(),
                    resource_version: version.clone(),
                    container: place.container.to_string(),
                    path: place.path.to_string(),
                    items: mount.items.clone(),
                });
            }
        }
    }
    Some(files)
}

/// Whether pods can read a source anew: from files that follow it.
fn is_hot(workload: &Workload, source: &Source) -> bool {
    workload.template.uses.get(source).is_some_and(|used| !used.fixed && !used.mounts.is_empty())
}

/// How a workload wants to be reloaded.
struct Wish {
    action: Action,
    verify: Option<Verify>,
}

/// `None` for a restart; `Err` where the wish cannot be read.
fn wish(workload: &Workload) -> Option<Result<Wish, String>> {
    let says = |name: &str| workload.annotation(name).map(str::trim).filter(|text| !text.is_empty());
    let action = match says(names::RELOAD_MODE)? {
        "restart" => return None,
        "http" => {
            let place = says(names::RELOAD_HTTP).and_then(place);
            place.map(|(port, path)| Action::Http { port, path }).ok_or_else(|| {
                format!("{} says no port and path: write for example :8080/-/reload", names::RELOAD_HTTP)
            })
        }
        "signal" => Ok(signal(workload, says(names::RELOAD_SIGNAL).unwrap_or("HUP"))),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(format!("{} is {other:?}: write restart, http or signal", names::RELOAD_MODE))
        }
    };
    let verify = says(names::RELOAD_VERIFY).map(|text| {
        verify(text).ok_or_else(|| {
            format!("{} says no place and key: write for example :8080/=cm/web:app.conf", names::RELOAD_VERIFY)
        })
    });
    let both = action.and_then(|action| Ok(Wish { action, verify: verify.transpose()? }));
    Some(both)
}

fn signal(workload: &Workload, text: &str) -> Action {
    let first = || workload.template.containers.first().map(|container| container.name.to_string());
    let (container, signal) = match text.split_once(':') {
        Some((container, signal)) => (container.to_owned(), signal),
        None => (first().unwrap_or_default(), text),
    };
    Action::Signal { container, signal: signal.trim_start_matches("SIG").to_owned() }
}

/// Reads `:8080/path`.
fn place(text: &str) -> Option<(u16, String)> {
    let (port, path) = text.trim_start_matches(':').split_once('/').unwrap_or((text.trim_start_matches(':'), ""));
    Some((port.parse().ok().filter(|port| *port > 0)?, format!("/{path}")))
}

/// Reads `:8080/=cm/web:app.conf`.
fn verify(text: &str) -> Option<Verify> {
    let (at, of) = text.split_once('=')?;
    let (port, path) = place(at)?;
    let (source, key) = of.split_once(':')?;
    let source: Source = source.parse().ok()?;
    // A Secret must not be something that a pod answers with.
    (source.kind == SourceKind::ConfigMap && !key.is_empty()).then(|| Verify {
        port,
        path,
        source,
        key: key.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!(place(":8080/-/reload"), Some((8080, "/-/reload".to_owned())));
        assert_eq!(place("9000"), Some((9000, "/".to_owned())));
        for bad in ["", ":x/", "0/", "99999/"] {
            assert_eq!(place(bad), None, "{bad}");
        }
        let read = verify(":8080/config=cm/web:app.conf").unwrap();
        assert_eq!((read.port, read.path.as_str(), read.key.as_str()), (8080, "/config", "app.conf"));
        for bad in [":8080/", ":8080/=secret/db:password", ":8080/=cm/web", ":8080/=cm/web:"] {
            assert_eq!(verify(bad), None, "{bad}");
        }
    }
}
