//! What people want to know of a workload, taken out of what was read: revisions with their pods, steps with their times.
//! Facts only; how they look is in `panel` and `why`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use trimtab_crds::{Phase, Progress, ReleasePlanStatus, Stage, Step};
use trimtab_plan::Wake;
use trimtab_release::ReplicaSetView;

use crate::{situation::Situation, times};

/// How a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is ready.
    Ready,
    /// It is not ready yet.
    Starting,
    /// It is in trouble.
    Trouble,
    /// It is ending.
    Leaving,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// How it is.
    pub mark: Mark,
    /// Its trouble, in a few words.
    pub trouble: Option<String>,
}

/// A revision with its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its ReplicaSet.
    pub replica_set: String,
    /// Pods asked for.
    pub asked: i32,
    /// Pods available.
    pub available: i32,
    /// Images by container.
    pub images: BTreeMap<String, String>,
    /// Its pods.
    pub pods: Vec<Pod>,
}

impl Side {
    /// Uids of the pods that are not ending.
    pub fn uids(&self) -> Vec<String> {
        self.pods.iter().filter(|p| p.mark != Mark::Leaving).map(|p| p.uid.clone()).collect()
    }

    /// Its images in one text.
    pub fn image(&self) -> String {
        self.images.values().cloned().collect::<Vec<_>>().join(" + ")
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Over.
    Done,
    /// Under way.
    Now,
    /// To come.
    Later,
}

/// What a release goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFact {
    /// In a few words.
    pub words: String,
    /// Where it stands.
    pub turn: Turn,
    /// What it took, or what is left of it.
    pub note: String,
}

/// What people want to know of a workload.
pub struct Facts {
    /// Where it stands, in one word.
    pub phase: Phase,
    /// Where it stands, in a sentence.
    pub message: String,
    /// The code of the decision.
    pub reason: String,
    /// The stable revision.
    pub stable: Option<Side>,
    /// The new one.
    pub new: Option<Side>,
    /// The steps; empty between releases.
    pub steps: Vec<StepFact>,
    /// The status that was used.
    pub status: ReleasePlanStatus,
    /// When it is decided again at the latest.
    pub wake: Option<Timestamp>,
}

/// Takes the facts out of what was read.
pub fn of(s: &Situation) -> Facts {
    let stored = s.status().cloned();
    let status = stored.or_else(|| s.decided.status.clone()).unwrap_or_default();
    let last = s.decided.because.last();
    let progress = status.release.as_ref();
    let stable = status.stable.as_ref().and_then(|r| set(s, &r.replica_set));
    let new =
        progress.and_then(|p| new_set(s, p)).filter(|rs| stable.is_none_or(|st| st.metadata.uid != rs.metadata.uid));
    // Before anything is known to be stable, the pods are still worth seeing.
    let stable = stable.or_else(|| s.seen.replica_sets.iter().map(AsRef::as_ref).max_by_key(|rs| rs.spec.replicas));
    Facts {
        phase: status.phase,
        message: if status.message.is_empty() {
            last.map(|b| b.message.clone()).unwrap_or_default()
        } else {
            status.message.clone()
        },
        reason: last.map(|b| b.reason.to_owned()).unwrap_or_default(),
        stable: stable.map(|rs| side(s, rs)),
        new: new.map(|rs| side(s, rs)),
        steps: progress.map(|p| steps(s, p)).unwrap_or_default(),
        wake: match s.decided.wake {
            Wake::At(at) => Some(at),
            Wake::OnChange => None,
        },
        status,
    }
}

fn set<'a>(s: &'a Situation, name: &str) -> Option<&'a ReplicaSetView> {
    s.seen.replica_sets.iter().map(AsRef::as_ref).find(|rs| rs.metadata.name == name)
}

fn new_set<'a>(s: &'a Situation, progress: &Progress) -> Option<&'a ReplicaSetView> {
    let canary = progress.canary.as_ref().and_then(|canary| set(s, &canary.replica_set));
    canary
        .or_else(|| s.seen.replica_sets.iter().map(AsRef::as_ref).find(|rs| rs.spec.template.digest == progress.digest))
}

fn side(s: &Situation, rs: &ReplicaSetView) -> Side {
    let mut pods: Vec<Pod> = s.pods.iter().filter(|pod| owner(pod) == Some(&rs.metadata.uid)).map(pod).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Side {
        replica_set: rs.metadata.name.clone(),
        asked: rs.spec.replicas,
        available: rs.status.available_replicas,
        images: rs.spec.template.images.clone(),
        pods,
    }
}

fn owner(pod: &Value) -> Option<&str> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|o| o["controller"] == true)?.get("uid")?.as_str()
}

/// Reads a pod as it is stored.
pub fn pod(value: &Value) -> Pod {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let empty = vec![];
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array).unwrap_or(&empty);
    let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let trouble = trouble(value, conditions);
    let mark = if !value.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null) {
        Mark::Leaving
    } else if ready {
        Mark::Ready
    } else if trouble.is_some() {
        Mark::Trouble
    } else {
        Mark::Starting
    };
    Pod { name: text("/metadata/name"), uid: text("/metadata/uid"), mark, trouble }
}

/// What is wrong with a pod: its first container in trouble, or why it is not placed.
fn trouble(value: &Value, conditions: &[Value]) -> Option<String> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let containers = lists.iter().filter_map(|l| value.pointer(l)?.as_array()).flatten();
    let in_trouble = containers.filter_map(|c| {
        let name = c["name"].as_str().unwrap_or_default();
        let restarts = c["restartCount"].as_i64().unwrap_or(0);
        let ended = c.pointer("/state/terminated").or_else(|| c.pointer("/lastState/terminated"));
        let code = ended.and_then(|t| t["exitCode"].as_i64()).filter(|code| *code != 0);
        let waiting = c.pointer("/state/waiting/reason").and_then(Value::as_str);
        let waiting = waiting.filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"));
        let what = waiting.map(str::to_owned).or_else(|| code.map(|_| "crashed".to_owned()))?;
        let mut more = vec![];
        more.extend(code.map(|code| format!("exit code {code}")));
        more.extend((restarts > 0).then(|| format!("restarted {restarts}×")));
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
        Some(format!("container {name}: {what}{more}"))
    });
    let unplaced = conditions.iter().filter(|c| c["type"] == "PodScheduled" && c["status"] == "False");
    let unplaced = unplaced.filter_map(|c| Some(format!("not placed: {}", c["message"].as_str()?)));
    in_trouble.chain(unplaced).next()
}

/// A step in a few words.
pub fn words(step: &Step) -> String {
    if let Some(weight) = step.set_weight {
        return if weight >= 100 { "promote".to_owned() } else { format!("{weight}%") };
    }
    if let Some(scale) = &step.set_canary_scale {
        return match (scale.replicas, scale.weight) {
            (Some(n), _) => format!("{n} pods"),
            (_, Some(percent)) => format!("pods for {percent}%"),
            _ => "pods as weight".to_owned(),
        };
    }
    match step.pause.as_ref().and_then(|pause| pause.duration.as_ref()) {
        Some(duration) => format!("pause {}", duration.0),
        None => "pause until promoted".to_owned(),
    }
}

fn steps(s: &Situation, progress: &Progress) -> Vec<StepFact> {
    let mut all: Vec<(String, Option<&Step>)> =
        s.plan.spec.strategy.canary.steps.iter().map(|step| (words(step), Some(step))).collect();
    if all.last().is_none_or(|(words, _)| words != "promote") {
        all.push(("promote".to_owned(), None));
    }
    let last = all.len() - 1;
    let current = match progress.stage {
        Stage::Steps => usize::try_from(progress.step).unwrap_or(0).min(last),
        Stage::Promoting | Stage::Bypassed => last,
        Stage::TakingBack => usize::try_from(progress.step).unwrap_or(0).min(last),
    };
    let skipped = progress.skips_steps.is_some();
    all.into_iter()
        .enumerate()
        .map(|(i, (words, step))| {
            let turn = if i < current {
                Turn::Done
            } else if i == current {
                Turn::Now
            } else {
                Turn::Later
            };
            let pause = step.and_then(|step| step.pause.as_ref()).and_then(|p| p.duration.as_ref()?.get());
            let note = match (turn, pause, progress.pause_started_at) {
                (Turn::Done, ..) if skipped => "skipped".to_owned(),
                (Turn::Now, Some(length), Some(since)) => since
                    .checked_add(length)
                    .map_or_else(|_| String::new(), |end| format!("{} left", times::left(s.now, end))),
                _ => String::new(),
            };
            StepFact { words, turn, note }
        })
        .collect()
}
