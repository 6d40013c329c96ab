//! When something was first seen, by watches that begin before anything is changed: canary ReplicaSets and finished
//! releases here, and what others look for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use trimtab_crds::{ReleasePlan, names};
use trimtab_tests::{Fleet, is_stable};

/// When something was first seen, by name.
pub type Times = Arc<Mutex<HashMap<String, Instant>>>;

/// Watches for one tag, until it is dropped.
pub struct Sightings {
    canaries: Times,
    finished: Times,
    _watches: JoinSet<()>,
}

impl Sightings {
    /// Begins to watch, and waits until what exists has been seen.
    pub async fn start(fleet: &Fleet, tag: &'static str) -> Result<Self> {
        let (canaries, finished) = (Times::default(), Times::default());
        let mut watches = JoinSet::new();
        let (first, stable) = (canaries.clone(), finished.clone());
        let sets = follow(&mut watches, fleet.api(), move |set: &ReplicaSet, now| {
            if let Some(of) = canary_of(set, tag) {
                note(&first, of, now);
            }
        });
        let plans = follow(&mut watches, fleet.api(), move |plan: &ReleasePlan, now| {
            if is_stable(plan, tag) {
                note(&stable, plan.name_any(), now);
            }
        });
        sets.await?;
        plans.await?;
        Ok(Self { canaries, finished, _watches: watches })
    }

    /// The first canary ReplicaSet of each Deployment.
    pub fn canaries(&self) -> HashMap<String, Instant> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When each plan was first stable.
    pub fn finished(&self) -> HashMap<String, Instant> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The Deployment whose canary with the image of this tag a ReplicaSet is.
fn canary_of(set: &ReplicaSet, tag: &str) -> Option<String> {
    let of = set.annotations().get(names::CANARY_OF)?;
    let pod = set.spec.as_ref()?.template.as_ref()?.spec.as_ref()?;
    (pod.containers.first()?.image.as_ref()? == &Fleet::image(tag)).then(|| of.clone())
}

/// Notes when something was first seen.
pub fn note(times: &Times, name: String, now: Instant) {
    times.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(now);
}

/// Tells of each object as it is seen, with the time. The receiver is told once what exists has been seen.
pub fn follow<K>(
    watches: &mut JoinSet<()>,
    api: Api<K>,
    saw: impl Fn(&K, Instant) + Send + 'static,
) -> oneshot::Receiver<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let (ready, listed) = oneshot::channel();
    let mut ready = Some(ready);
    watches.spawn(async move {
        let mut events = Box::pin(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let now = Instant::now();
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => saw(&object, now),
                Ok(Event::InitDone) => drop(ready.take().map(|ready| ready.send(()))),
                _ => {}
            }
        }
    });
    listed
}
