//! What the demo plays on: the cluster, kubectl, the manager, the requests, and eyes that follow a release. What happens on
//! it is in `story`.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject};
use trimtab_testkit::{Cluster, ClusterOptions, Load, LoadOptions, LoadReport, Nodes, local};

use super::manager::{Manager, Programs};
use crate::{
    args::Reference,
    connect::Connection,
    facts::{self, Facts},
    paint::{BAD, DIM, GOOD, Live, columns, pad, paint},
    panel,
    situation::{self, Situation},
};

/// Namespace of the sample application.
pub const NAMESPACE: &str = "demo";
/// Name of the sample application, its Deployment, Service and plan.
pub const APP: &str = "web";

const PERIOD: Duration = Duration::from_millis(250);
const WINDOW: Duration = Duration::from_secs(3);

/// What the demo plays on.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// The way to it.
    pub to: Connection,
    /// The programs that are started.
    pub programs: Programs,
    /// The manager, while there is one.
    pub manager: Option<Manager>,
    /// Requests to the application, where pods are real.
    pub load: Option<Load>,
    /// What had come back at some moments of the last seconds.
    samples: VecDeque<(Instant, LoadReport)>,
}

/// What a command printed.
pub struct Printed {
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

impl Stage {
    /// Boots a cluster: one that ends with this process, or one that stays, by name.
    pub async fn boot(programs: Programs, nodes: Nodes, keep: Option<&str>) -> Result<Self> {
        let name = keep.unwrap_or("demo").to_owned();
        let options = ClusterOptions { name, nodes, ..ClusterOptions::default() };
        let cluster = match keep {
            Some(_) => local::up(options).await?,
            None => Cluster::start(options).await?,
        };
        let to = Connection::of(cluster.client().await?, NAMESPACE);
        Ok(Self { cluster, to, programs, manager: None, load: None, samples: VecDeque::new() })
    }

    /// The objects of a kind on it.
    pub fn objects<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.to.client.clone(), NAMESPACE, &ApiResource::erase::<K>(&()))
    }

    /// The cluster's own folder, where the demo keeps its files: it goes with the cluster.
    pub fn folder(&self) -> PathBuf {
        self.cluster.kubeconfig().parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Where the manager writes its log.
    pub fn log(&self) -> PathBuf {
        self.folder().join("manager.log")
    }

    /// Starts the manager.
    pub fn start_manager(&mut self) -> Result<()> {
        self.manager = Some(Manager::start(&self.programs, self.cluster.kubeconfig(), &self.log())?);
        Ok(())
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &str) -> Result<Printed> {
        let output = tokio::process::Command::new(self.cluster.kubectl())
            .args(arguments.split_whitespace())
            .current_dir(self.folder())
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.cluster.kubectl().display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let printed = Printed { out: text(&output.stdout), err: text(&output.stderr) };
        if !output.status.success() {
            bail!("kubectl {arguments} failed: {}", printed.err);
        }
        Ok(printed)
    }

    /// Starts asking the application.
    pub async fn start_load(&mut self) -> Result<()> {
        let ip = self.kubectl("get service web -n demo -o jsonpath={.spec.clusterIP}").await?.out;
        let pace = LoadOptions { concurrency: 2, pause: Duration::from_millis(10), ..LoadOptions::default() };
        self.load = Some(Load::with(&format!("http://{ip}/"), pace)?);
        Ok(())
    }

    /// What came back so far.
    pub fn requests(&self) -> Option<LoadReport> {
        self.load.as_ref().map(Load::so_far)
    }

    /// Reads the application as it is now.
    pub async fn look(&self) -> Result<(Situation, Facts)> {
        let seen = situation::read(&self.to, &Reference::Plan(APP.to_owned())).await?;
        let facts = facts::of(&seen);
        Ok((seen, facts))
    }

    /// Shows the release until something is so, and returns what was seen then; an error if it does not come.
    pub async fn follow(
        &mut self,
        what: &str,
        patience: Duration,
        mut until: impl FnMut(&Situation, &Facts) -> bool,
    ) -> Result<(Situation, Facts)> {
        let begun = Instant::now();
        let mut live = Live::new();
        loop {
            if let Some(manager) = &mut self.manager {
                manager.check()?;
            }
            let (seen, facts) = self.look().await?;
            let more = self.requests_line();
            let room = columns().unwrap_or(80).saturating_sub(3);
            let picture = panel::picture(APP, &facts, room, &more).into_iter().map(|line| format!("   {line}"));
            let picture: Vec<String> = picture.collect();
            let clock = format!("   {}", paint(DIM, seen.now.strftime("%H:%M:%S  ")));
            live.show(&picture, &clock, &panel::one_line(&facts));
            if until(&seen, &facts) {
                return Ok((seen, facts));
            }
            if begun.elapsed() > patience {
                bail!("waited {} s in vain for {what}; the plan says: {}", patience.as_secs(), facts.message);
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// How the requests go: all of them, and which versions answered those of the last seconds.
    fn requests_line(&mut self) -> Vec<String> {
        let Some(report) = self.requests() else { return vec![] };
        let now = Instant::now();
        self.samples.push_back((now, report.clone()));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.samples.pop_front();
        }
        let before = self.samples.front().map(|(_, report)| report.clone()).unwrap_or_default();
        vec![requests_line(&before, &report)]
    }

    /// Ends all that was started. A cluster that is kept stays.
    pub async fn down(mut self, keep: bool) -> Result<()> {
        self.load = None;
        if let Some(mut manager) = self.manager.take() {
            let _ = manager.kill().await;
        }
        if keep { Ok(()) } else { self.cluster.down().await }
    }
}

/// All requests, and the versions that answered since a moment.
fn requests_line(before: &LoadReport, now: &LoadReport) -> String {
    let lately = now.ok - before.ok;
    let shares = now.by_version.iter().filter_map(|(version, count)| {
        let count = count - before.by_version.get(version).unwrap_or(&0);
        (count > 0 && lately > 0).then(|| format!("{version} {}%", (count * 100 + lately / 2) / lately))
    });
    let shares = shares.collect::<Vec<_>>().join(", ");
    let failed = match now.failed {
        0 => paint(GOOD, "none failed"),
        failed => paint(BAD, format!("{failed} failed")),
    };
    let lately = if shares.is_empty() { String::new() } else { format!(" · lately {shares}") };
    format!("{} {} answered, {failed}{lately}", pad("requests", 8), now.ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_from_a_moment() {
        let report = |ok, v1, v2| LoadReport {
            ok,
            by_version: [("v1".to_owned(), v1), ("v2".to_owned(), v2)].into(),
            ..LoadReport::default()
        };
        let text = crate::paint::plain(&requests_line(&report(100, 100, 0), &report(200, 180, 20)));
        assert_eq!(text, "requests 200 answered, none failed · lately v1 80%, v2 20%");
    }
}
