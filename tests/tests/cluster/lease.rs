//! Leader election between real processes that are stopped, continued and ended.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use trimtab_testkit::{eventually, shared_cluster, with_namespace};

/// For what has no bound of its own, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lease duration, renew deadline and retry period.
#[derive(Clone, Copy)]
struct Timing {
    lease: Duration,
    deadline: Duration,
    retry: Duration,
}

const QUICK: Timing =
    Timing { lease: Duration::from_secs(6), deadline: Duration::from_secs(4), retry: Duration::from_millis(500) };

/// With a lease so long that only a release lets another in within the test's time.
const LONG: Timing =
    Timing { lease: Duration::from_secs(300), deadline: Duration::from_secs(200), retry: Duration::from_millis(500) };

struct Candidate {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Candidate {
    fn start(namespace: &str, identity: &str, timing: Timing) -> Result<Self> {
        let millis = [timing.lease, timing.deadline, timing.retry].map(|d| d.as_millis().to_string());
        let mut child = Command::new(env!("CARGO_BIN_EXE_leader"))
            .env("KUBECONFIG", std::env::var(trimtab_testkit::KUBECONFIG_ENV)?)
            .args([namespace, identity])
            .args(millis)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { child, said })
    }

    /// Waits for a line that it says from now on.
    async fn says(&mut self, start: &str) -> Result<String> {
        let line = async {
            loop {
                let line = self.said.next_line().await?.context("ended without saying it")?;
                if line.starts_with(start) {
                    return anyhow::Ok(line);
                }
            }
        };
        tokio::time::timeout(PATIENCE, line).await.with_context(|| format!("never said {start:?}"))?
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().context("has ended")?;
        let sent = Command::new("sh").args(["-c", &format!("kill -s {signal} {pid}")]).status().await?;
        ensure!(sent.success(), "cannot send {signal}");
        Ok(())
    }

    async fn ends(&mut self) -> Result<Option<i32>> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("does not end")??;
        Ok(status.code())
    }
}

async fn create_counter(client: &Client, namespace: &str) -> Result<()> {
    let counter = ConfigMap {
        metadata: ObjectMeta { name: Some("counter".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &counter).await?;
    Ok(())
}

async fn counts(client: &Client, namespace: &str) -> Result<BTreeMap<String, u64>> {
    let counter = Api::<ConfigMap>::namespaced(client.clone(), namespace).get("counter").await?;
    counter.data.unwrap_or_default().into_iter().map(|(who, count)| Ok((who, count.parse()?))).collect()
}

async fn lease(client: &Client, namespace: &str) -> Result<(Option<String>, Option<i32>)> {
    let spec = Api::<Lease>::namespaced(client.clone(), namespace).get("leader").await?.spec.unwrap_or_default();
    Ok((spec.holder_identity, spec.lease_transitions))
}

async fn wait_for_more(client: &Client, namespace: &str, who: &str, than: u64) -> Result<()> {
    eventually(&format!("more writes of {who}"), PATIENCE, async || {
        Ok((counts(client, namespace).await?.get(who).copied().unwrap_or_default() > than).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_dying_leader_cannot_write_once_its_lease_could_have_lapsed() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "lease", async |namespace| {
        let (client, namespace) = (namespace.client(), namespace.name().to_owned());
        create_counter(&client, &namespace).await?;
        let mut first = Candidate::start(&namespace, "first", QUICK)?;
        first.says("wrote").await?;
        let mut second = Candidate::start(&namespace, "second", QUICK)?;
        second.says("follows first").await?;

        // Right after a write: the next check of the fence is still to come. See `Fence::check` for the other case.
        first.says("wrote").await?;
        first.signal("STOP").await?;
        let stopped = Instant::now();
        second.says("wrote").await?;
        let taken = stopped.elapsed();
        // The last renewal was at most a retry before the stop; candidates look every 2.2 retries at the latest.
        ensure!(taken < QUICK.lease + QUICK.retry * 3 + Duration::from_secs(3), "taken over after {taken:?}");
        ensure!(taken > QUICK.deadline - QUICK.retry * 2, "taken over after {taken:?}, while it could still write");
        let before = counts(&client, &namespace).await?;

        first.signal("CONT").await?;
        ensure!(first.ends().await? == Some(3), "the former leader must end, and say why");
        wait_for_more(&client, &namespace, "second", before["second"] + 5).await?;
        let after = counts(&client, &namespace).await?;
        ensure!(after["first"] == before["first"], "the former leader wrote: {before:?}, then {after:?}");
        ensure!(lease(&client, &namespace).await? == (Some("second".to_owned()), Some(1)));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_leader_that_ends_lets_the_next_one_in_at_once() -> Result<()> {
    let client = shared_cluster().await?.client().await?;
    with_namespace(&client, "lease", async |namespace| {
        let (client, namespace) = (namespace.client(), namespace.name().to_owned());
        create_counter(&client, &namespace).await?;
        let mut first = Candidate::start(&namespace, "first", LONG)?;
        first.says("wrote").await?;
        let mut second = Candidate::start(&namespace, "second", LONG)?;
        second.says("follows first").await?;
        first.signal("TERM").await?;
        ensure!(first.ends().await? == Some(0));
        let ended = Instant::now();
        let last = counts(&client, &namespace).await?["first"];
        second.says("wrote").await?;
        ensure!(ended.elapsed() < LONG.retry * 3 + Duration::from_secs(3), "taken after {:?}", ended.elapsed());
        ensure!(counts(&client, &namespace).await?["first"] == last);
        ensure!(lease(&client, &namespace).await? == (Some("second".to_owned()), Some(1)));
        Ok(())
    })
    .await
}
