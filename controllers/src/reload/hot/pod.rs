//! The pod of a hot reload before and after: whether it is the one that was asked about, and whether it bears the reload. Not what
//! it reads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use trimtab::Reader;
use trimtab_plan::Answer;

use crate::excerpts::{ContainerStatus, Pod};

use super::{Action, End, HotReload, Job, ONE_REQUEST};

/// So long a pod stays as it was before it counts as well. A kubelet tells of a container that ended after a second or two.
const STABLE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);

/// What matters of a pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    ready: bool,
    /// How often each container has been restarted, and whether it runs.
    containers: BTreeMap<String, (i32, bool)>,
}

enum Read {
    Pod(Box<Pod>),
    /// Gone, or another of its name, or ending.
    Gone,
    Failed(String),
}

async fn read(reader: &Reader, asked: &HotReload) -> Read {
    let object = match tokio::time::timeout(ONE_REQUEST, reader.get(&asked.pod())).await {
        Ok(Answer::Object(object)) => object,
        Ok(Answer::NotFound) => return Read::Gone,
        Ok(Answer::Failed(why)) => return Read::Failed(why),
        Err(_) => return Read::Failed(format!("{} could not be read within {ONE_REQUEST:?}", asked.pod())),
    };
    // What serde says of a wrong type may hold a value.
    let Ok(pod) = serde_json::from_value::<Pod>(object) else {
        return Read::Failed(format!("{} is unreadable", asked.pod()));
    };
    let same = pod.metadata.uid.as_deref() == Some(&asked.uid) && pod.metadata.deletion_timestamp.is_none();
    if same { Read::Pod(Box::new(pod)) } else { Read::Gone }
}

/// The pod before anything is done to it.
pub(super) async fn before(reader: &Reader, asked: &HotReload) -> Result<Seen, End> {
    let pod = match read(reader, asked).await {
        Read::Pod(pod) => pod,
        Read::Gone => return Err(End::Changed),
        Read::Failed(why) => return Err(End::Failed(format!("{why}; try again"))),
    };
    // A pod whose sandbox was made anew has another address; the old one may be somebody else's by now.
    let addresses = pod.status.iter().filter_map(|status| status.pod_ips.as_ref()).flatten().map(|ip| &ip.ip);
    if !addresses.chain(pod.status.iter().filter_map(|status| status.pod_ip.as_ref())).any(|ip| *ip == asked.ip) {
        return Err(End::Changed);
    }
    check_process(&pod, asked)?;
    Ok(seen(&pod))
}

/// Whether process 1 is the application's.
pub(super) fn check_process(pod: &Pod, asked: &HotReload) -> Result<(), End> {
    let Action::Signal { container, .. } = &asked.action else { return Ok(()) };
    let spec = &pod.spec;
    let sidecars = spec.init_containers.iter().flatten().map(|c| &c.name);
    if !spec.containers.iter().flatten().map(|c| &c.name).chain(sidecars).any(|name| name == container) {
        return Err(End::Failed(format!("the pod has no container {container:?}: name one that it has")));
    }
    if spec.host_pid == Some(true) || spec.share_process_namespace == Some(true) {
        return Err(End::Failed(
            "the pod's containers share their processes (hostPID or shareProcessNamespace), so process 1 is not the \
             application's: use trimtab.dev/reload-mode: http"
                .to_owned(),
        ));
    }
    Ok(())
}

fn seen(pod: &Pod) -> Seen {
    let Some(status) = &pod.status else { return Seen { ready: false, containers: BTreeMap::new() } };
    let ready = status.is_ready();
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let runs = |c: &ContainerStatus| c.state.as_ref().is_some_and(|state| state.running.is_some());
    Seen { ready, containers: all.map(|c| (c.name.clone(), (c.restart_count, runs(c)))).collect() }
}

/// Waits until the pod has borne its reload for a while.
pub(super) async fn after(job: &Job<'_>, before: &Seen) -> Result<(), End> {
    let failed = |why: String| Err(End::Failed(why));
    let mut well_since: Option<Instant> = None;
    loop {
        let why = match read(job.reader, job.asked).await {
            Read::Gone => return failed("the pod went away after it was told to reload: see its last log".to_owned()),
            Read::Failed(why) => Some(why),
            Read::Pod(pod) => {
                let now = seen(&pod);
                if let Some(name) = ended(before, &now) {
                    return failed(format!(
                        "container {name} ended after it was told to reload: see kubectl logs --namespace {} {} \
                         --container {name} --previous",
                        job.asked.namespace, job.asked.pod
                    ));
                }
                (before.ready && !now.ready)
                    .then(|| "the pod is not Ready since it was told to reload: see its events and its log".to_owned())
            }
        };
        if why.is_some() {
            well_since = None;
        } else if well_since.get_or_insert_with(Instant::now).elapsed() >= STABLE {
            return Ok(());
        }
        if Instant::now() >= job.until {
            let late = || format!("{} s were too short to see whether the pod bears it: ask for more", job.seconds());
            return failed(why.unwrap_or_else(late));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A container that ran and does not, or was started again. One that did not run before says nothing of the reload.
fn ended<'a>(before: &'a Seen, now: &Seen) -> Option<&'a str> {
    let fell =
        |name: &String, restarts: i32| now.containers.get(name).is_none_or(|(again, runs)| *again != restarts || !runs);
    let mut ran = before.containers.iter().filter(|(_, (_, ran))| *ran);
    ran.find(|(name, (restarts, _))| fell(name, *restarts)).map(|(name, _)| name.as_str())
}
