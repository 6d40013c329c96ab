//! Watches that break off, or whose version is always too old.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use trimtab_testkit::{Fault, FaultyServer};
use trimtab_tests::with_app;

use super::{behind, check_end, mid_release, ready, shape};

/// The most watches of one kind that were begun while the fault lasted.
async fn storm(name: &str, fault: Fault) {
    with_app(name, shape("4s"), |app| async move {
        let lasts = Duration::from_secs(10);
        let server = FaultyServer::start(app.kubeconfig()).await?;
        let manager = behind(&server, &app)?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        let since = Instant::now();
        server.fault(fault, |call| call.watch);
        tokio::time::sleep(lasts).await;
        let mut begun: BTreeMap<String, usize> = BTreeMap::new();
        for call in server.calls_since(since).into_iter().filter(|call| call.watch) {
            *begun.entry(call.path).or_default() += 1;
        }
        println!("{name}: {begun:?}");
        ensure!(begun.values().sum::<usize>() > 0, "no watch was disturbed");
        // Each at once, and after half a second, one, two and four; of some kinds there are two watches.
        ensure!(begun.values().all(|times| *times <= 12), "more than 12 within {lasts:?}: {begun:?}");
        server.heal();
        check_end(&app, &watch).await?;
        ready(&manager).await
    })
    .await;
}

#[tokio::test]
async fn a_storm_of_410_is_no_storm_of_lists() {
    storm("gone", Fault::Gone).await;
}

#[tokio::test]
async fn watches_that_break_off_within_an_event_go_on() {
    storm("cut", Fault::Cut(40)).await;
}
