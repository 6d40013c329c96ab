//! Reloads the configuration of one pod while it runs: waits until its files hold the new data, tells its process, and looks
//! whether the pod bears it. Answers a question beside the reconciles. Not a decision: which pods reload, and what happens
//! after a failure, is up to whoever asks. Nothing of what sources hold is told; files are named by their paths.

mod exec;
mod http;
mod pod;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trimtab::{Answerer, Reader, Shares};
use trimtab_config::Source;
use trimtab_plan::{Answer, ObjectRef};
use trimtab_reload::{Action, Files, HOT_RELOAD, HotReload, JOB_MADE, Verify};

use self::sources::Held;
use super::made;

/// Kept back from the time for waiting, so that the pod can still be told and looked at: at most this, or a third.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// One request to the API server or to the pod.
const ONE_REQUEST: Duration = Duration::from_secs(10);
/// How often it is found out whether the sources are still what was asked about.
const SOURCES_AGAIN: Duration = Duration::from_secs(10);
/// The pause after a look in vain. It grows: a process that is told each time bears only so many reloads.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many sources, files and answers of pods are held at once, whoever asks.
const AT_ONCE: usize = 8;
/// Nobody may ask for more seconds.
const LONGEST: u32 = 900;

/// Why a reload is not done.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The pod or a source is not what was asked about.
    Changed,
    /// Why, and what to do.
    Failed(String),
}

/// A reload under way.
struct Job<'a> {
    reader: &'a Reader,
    asked: &'a HotReload,
    sources: BTreeMap<Source, Held>,
    /// For whatever is large.
    turns: &'a Shares,
    started: Instant,
    /// Until when the files may become new.
    wait_until: Instant,
    /// Until when all has to be over.
    until: Instant,
}

/// The answerer of `hot-reload`, and of `job-made`. Ask with a deadline that is much longer than the question's own, which counts from
/// when the sources are read, and in a pool of its own: an answer takes as long as the kubelet does to renew files, a minute and more.
pub fn answerer() -> Answerer {
    let turns = Shares::of_work(AT_ONCE);
    Answerer::new(move |reader, name, input| {
        let turns = turns.clone();
        async move { answer_to(&reader, name, input, &turns).await }
    })
}

async fn answer_to(reader: &Reader, name: &str, input: Value, turns: &Shares) -> Answer {
    if name == JOB_MADE {
        return made::answer(reader, input).await;
    }
    if name != HOT_RELOAD {
        return Answer::Failed(format!("nothing answers the question {name:?}"));
    }
    match serde_json::from_value::<HotReload>(input) {
        Ok(asked) => answer(reader, &asked, turns).await,
        Err(error) => Answer::Failed(format!("no question: {error}")),
    }
}

async fn answer(reader: &Reader, asked: &HotReload, turns: &Shares) -> Answer {
    match reload(reader, asked, turns).await {
        Ok(seconds) => Answer::Object(json!({"reloaded": true, "seconds": seconds})),
        Err(End::Changed) => Answer::Object(json!({"changed": true})),
        Err(End::Failed(why)) => Answer::Failed(why),
    }
}

/// The seconds that it took.
async fn reload(reader: &Reader, asked: &HotReload, turns: &Shares) -> Result<u64, End> {
    exec::check(&asked.action)?;
    let before = pod::before(reader, asked).await?;
    let sources = sources::read(reader, asked, turns).await?;
    // Behind the turns that this waited for: they say nothing of the pod.
    let started = Instant::now();
    let timeout = Duration::from_secs(u64::from(asked.timeout_seconds.clamp(1, LONGEST)));
    let (until, wait_until) = (started + timeout, started + timeout.saturating_sub(AFTERWARDS.min(timeout / 3)));
    let job = Job { reader, asked, sources, turns, started, wait_until, until };
    match &asked.verify {
        Some(verify) => until_shown(&job, verify).await?,
        None => {
            exec::until_new(&job).await?;
            job.act().await?;
        }
    }
    pod::after(&job, &before).await?;
    Ok(started.elapsed().as_secs())
}

impl Job<'_> {
    fn pod(&self) -> ObjectRef {
        self.asked.pod()
    }

    async fn act(&self) -> Result<(), End> {
        match &self.asked.action {
            Action::Http { port, path } => http::post(&self.asked.ip, *port, path).await.map_err(End::Failed),
            Action::Signal { container, signal } => exec::signal(self, container, signal).await,
        }
    }

    /// Whether it is too late to wait on.
    fn late(&self) -> bool {
        Instant::now() >= self.wait_until
    }

    fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// What is left of the time, for one request.
    fn one_request(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).clamp(Duration::from_secs(1), ONE_REQUEST)
    }
}

/// Pauses between looks, each longer than the one before, and what is worth a look meanwhile.
struct Pauses {
    next: Duration,
    sources_seen: Instant,
}

impl Pauses {
    fn new() -> Self {
        Self { next: FIRST_PAUSE, sources_seen: Instant::now() }
    }

    /// # Errors
    ///
    /// If the sources have changed again: what is waited for will never come.
    async fn pause(&mut self, job: &Job<'_>) -> Result<(), End> {
        let left = job.wait_until.saturating_duration_since(Instant::now());
        tokio::time::sleep(self.next.min(left)).await;
        self.next = (self.next * 3 / 2).min(LONGEST_PAUSE);
        if self.sources_seen.elapsed() >= SOURCES_AGAIN || job.late() {
            self.sources_seen = Instant::now();
            // A server that cannot be asked now says nothing of the sources.
            if let Err(End::Changed) = sources::read(job.reader, job.asked, job.turns).await {
                return Err(End::Changed);
            }
        }
        Ok(())
    }
}

/// Tells the process again and again until it shows the new value: whether its files are new cannot be seen from outside.
///
/// A process that shows the value before it is told has read it already, or what it has read happens to hold it too
/// (`size: 80` holds `size: 8`). Then files decide; where they cannot be looked at, all of the time is waited, as a kubelet has
/// renewed them by its end.
async fn until_shown(job: &Job<'_>, verify: &Verify) -> Result<(), End> {
    let wanted = sources::shown(job, verify)?;
    let (url, mut pauses) = (http::url(&job.asked.ip, verify.port, &verify.path), Pauses::new());
    let look = async || {
        let _turn = job.turns.turn(&job.asked.namespace).await;
        let body = http::get(&job.asked.ip, verify.port, &verify.path, wanted.len()).await?;
        let not_yet = || format!("GET {url} does not show key {} of {} as it is now", verify.key, verify.source);
        sources::contains(&body, wanted).then_some(()).ok_or_else(not_yet)
    };
    let mut proves = true;
    if look().await.is_ok() {
        proves = match exec::until_new(job).await {
            Ok(()) => true,
            Err(End::Failed(_)) if !job.late() => false,
            Err(end) => return Err(end),
        };
    }
    loop {
        job.act().await?;
        let seen = look().await;
        if seen.is_ok() && (proves || job.late()) {
            return Ok(());
        }
        if let (Err(why), true) = (seen, job.late()) {
            return Err(End::Failed(format!(
                "after {} s, {why}: check that this path shows what the process has read and that its file is no subPath \
                 mount, or ask for a longer time",
                job.seconds()
            )));
        }
        pauses.pause(job).await?;
    }
}
