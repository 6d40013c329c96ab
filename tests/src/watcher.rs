//! Watches the pods of a namespace and keeps what must be judged afterwards: which there ever were, and the fewest that
//! were available at any time. It sees every change, so nothing that happened between two looks is missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::watcher::{self, Event},
};
use tokio::task::JoinHandle;

/// What happened to pods.
#[derive(Debug, Clone, Default)]
pub struct PodHistory {
    /// Every pod that ever was: its image, by uid.
    pub created: BTreeMap<String, String>,
    /// Pods whose deletion was asked for, or that are gone.
    pub ended: BTreeSet<String>,
    /// Available now.
    pub available: BTreeSet<String>,
    /// The fewest available since [`PodWatch::judge_from_now`].
    pub fewest_available: usize,
    /// The most that existed at once since then.
    pub most: usize,
}

impl PodHistory {
    /// How many pods of an image were ever made.
    pub fn created_with(&self, image: &str) -> usize {
        self.created.values().filter(|made| made.ends_with(image)).count()
    }

    /// The pods of an image that live.
    pub fn living(&self, image: &str) -> BTreeSet<String> {
        let of_image = self.created.iter().filter(|(_, made)| made.ends_with(image)).map(|(uid, _)| uid.clone());
        of_image.filter(|uid| !self.ended.contains(uid)).collect()
    }

    fn see(&mut self, pod: &Pod) {
        let Some(uid) = pod.uid() else { return };
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()).and_then(|c| c.image.clone());
        self.created.entry(uid.clone()).or_insert(image.unwrap_or_default());
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let ending = pod.metadata.deletion_timestamp.is_some();
        if ending {
            self.ended.insert(uid.clone());
        }
        if ready && !ending {
            self.available.insert(uid)
        } else {
            self.available.remove(&uid)
        };
        self.judge();
    }

    fn gone(&mut self, pod: &Pod) {
        if let Some(uid) = pod.uid() {
            self.available.remove(&uid);
            self.ended.insert(uid);
            self.judge();
        }
    }

    fn judge(&mut self) {
        self.fewest_available = self.fewest_available.min(self.available.len());
        self.most = self.most.max(self.created.len() - self.ended.len());
    }
}

/// A watch that runs until it is dropped.
pub struct PodWatch {
    history: Arc<Mutex<PodHistory>>,
    task: JoinHandle<()>,
}

impl PodWatch {
    /// Begins to watch.
    pub fn start(pods: Api<Pod>) -> Self {
        let history = Arc::new(Mutex::new(PodHistory::default()));
        let shared = history.clone();
        let task = tokio::spawn(async move {
            let mut events = Box::pin(watcher::watcher(pods, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let mut history = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => history.see(&pod),
                    Ok(Event::Delete(pod)) => history.gone(&pod),
                    _ => {}
                }
            }
        });
        Self { history, task }
    }

    /// From now on the fewest available and the most existing pods count.
    pub fn judge_from_now(&self) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.fewest_available = history.available.len();
        history.most = history.created.len() - history.ended.len();
    }

    /// What happened so far.
    pub fn history(&self) -> PodHistory {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
