//! When canary ReplicaSets and finished releases were first seen, by watches that begin before anything is changed.

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

type Times = Arc<Mutex<HashMap<String, Instant>>>;

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
        let sets = follow(&mut watches, fleet.api(), canaries.clone(), move |set: &ReplicaSet| {
            let of = set.annotations().get(names::CANARY_OF)?;
            let pod = set.spec.as_ref()?.template.as_ref()?.spec.as_ref()?;
            (pod.containers.first()?.image.as_ref()? == &Fleet::image(tag)).then(|| of.clone())
        });
        let plans = follow(&mut watches, fleet.api(), finished.clone(), move |plan: &ReleasePlan| {
            is_stable(plan, tag).then(|| plan.name_any())
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

/// Notes when an object first is what is looked for, under the name that `is` gives.
fn follow<K>(
    watches: &mut JoinSet<()>,
    api: Api<K>,
    times: Times,
    is: impl Fn(&K) -> Option<String> + Send + 'static,
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
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    if let Some(name) = is(&object) {
                        times.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(now);
                    }
                }
                Ok(Event::InitDone) => drop(ready.take().map(|ready| ready.send(()))),
                _ => {}
            }
        }
    });
    listed
}
