//! A manager with nothing to do: the API server counts what it is asked for.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::ListParams;
use trimtab_testkit::{eventually, with_namespace};
use trimtab_tests::{Account, Fleet, ManagerProcess, cluster};

const WINDOW: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the account has asked for nothing else for some seconds.
async fn settled(account: &Account) -> Result<()> {
    eventually("the manager to settle", PATIENCE, async || {
        let before = account.requests().await?.rest;
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok((account.requests().await?.rest == before).then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_idle_manager_asks_for_nothing_but_its_lease_and_watches() {
    let run = async {
        let cluster = cluster().await?;
        let client = cluster.client().await?;
        with_namespace(&client, "idle", async |namespace| {
            let account = Account::create(&client, namespace.name(), cluster.kubeconfig()).await?;
            let elects = ["--leader-elect=true"];
            let manager = ManagerProcess::start(account.kubeconfig(), namespace.name(), None, &elects)?;
            let fleet = Fleet::new(client.clone(), namespace.name(), 20);
            fleet.create("v1").await?;
            fleet.wait_stable("v1", PATIENCE).await?;
            // One release each, so that there are records, history and conditions to be tempted by.
            for name in fleet.names() {
                fleet.change(&name, "v2").await?;
            }
            fleet.wait_stable("v2", PATIENCE).await?;
            settled(&account).await?;
            let versions = async || {
                let all = fleet.api::<Deployment>().list(&ListParams::default()).await?;
                anyhow::Ok(all.items.iter().map(|one| (one.name_any(), one.resource_version())).collect::<Vec<_>>())
            };
            let (before, unchanged) = (account.requests().await?, versions().await?);
            tokio::time::sleep(WINDOW).await;
            let after = account.requests().await?;
            // Whether a change would be held is asked once a minute of each.
            let asked = after.questions - before.questions;
            ensure!(asked <= fleet.size() as u64 && versions().await? == unchanged, "asked {asked} times, or wrote");
            ensure!(after.leases > before.leases, "the lease is not renewed, or nothing is counted: {after:?}");
            ensure!(after.rest == before.rest, "from {before:?} to {after:?}; it logged: {}", manager.log()?);
            account.remove().await
        })
        .await
    };
    if let Err(error) = run.await {
        panic!("{error:?}");
    }
}
