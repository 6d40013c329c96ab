//! The API server cannot be reached, or refuses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use trimtab_testkit::{Call, Fault, FaultyServer};
use trimtab_tests::{App, with_app};

use super::{LEASE, behind, check_end, leader, mid_release, not_ready, ready, replica, shape, two_replicas};

/// How a leader is cut off from its lease.
async fn cut_off(name: &str, fault: impl FnOnce(&FaultyServer)) {
    with_app(name, shape("15s"), |app| async move {
        let server = FaultyServer::start(app.kubeconfig()).await?;
        let (mut first, second) = two_replicas(server.kubeconfig(), &app).await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        let before = leader(&app).holder().await?;
        fault(&server);
        let since = Instant::now();
        // It may write for two thirds of the lease after its last renewal, and ends by itself then.
        let status = first.wait_end(LEASE).await?;
        println!("{name}: ended after {:?}", since.elapsed());
        ensure!(!status.success() && first.log()?.contains("leader lease"), "{status}: {}", first.log()?);
        let took = leader(&app).takeover(&before).await?;
        println!("{name}: taken over {:?} after the cut, {took:?} after the end", since.elapsed());
        ensure!(since.elapsed() < LEASE + Duration::from_millis(4500), "taken over after {:?}", since.elapsed());
        server.heal();
        check_end(&app, &watch).await?;
        // What was on its way is gone with the process, and none was begun when its right was over.
        let writes = server.calls_since(since).into_iter().filter(Call::is_write);
        let late: Vec<Call> = writes.filter(|call| call.at > since + LEASE * 2 / 3 || call.code == Some(200)).collect();
        ensure!(late.is_empty(), "the former leader wrote: {late:?}");
        ready(&second).await
    })
    .await;
}

#[tokio::test]
async fn a_leader_whose_network_is_lost_stops_writing_and_another_goes_on() {
    cut_off("lost-network", |server| server.fault(Fault::Silence, |_| true)).await;
}

#[tokio::test]
async fn a_leader_that_is_refused_every_connection_ends_and_another_goes_on() {
    cut_off("refused", FaultyServer::refuse).await;
}

#[tokio::test]
async fn a_leader_that_cannot_renew_ends_though_all_else_works() {
    let fault = Fault::Refusal { code: 500, retry_after: None };
    cut_off("no-renewal", move |server| server.fault(fault, Call::is_lease)).await;
}

/// As a kubelet would, the only replica is started anew for as long as the network is lost. `OUTAGE_SECONDS` says how long that is.
#[tokio::test]
async fn an_only_replica_goes_on_when_the_network_is_back() {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(12);
    with_app("only-replica", shape("4s"), |app| async move {
        let server = FaultyServer::start(app.kubeconfig()).await?;
        let mut first = replica(server.kubeconfig(), &app)?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        let before = leader(&app).holder().await?;
        server.fault(Fault::Silence, |_| true);
        let lost = Instant::now();
        first.wait_end(LEASE).await?;
        let second = replica(server.kubeconfig(), &app)?;
        tokio::time::sleep(Duration::from_secs(seconds).saturating_sub(lost.elapsed())).await;
        server.heal();
        let took = leader(&app).takeover(&before).await?;
        println!("lost for {seconds} s; led again {took:?} after that");
        check_end(&app, &watch).await?;
        ready(&second).await
    })
    .await;
}

/// A manager without an election, and a fault that lasts so long.
async fn outlasts(app: &App, fault: Fault, lasts: Duration, says: &str) -> Result<FaultyServer> {
    let server = FaultyServer::start(app.kubeconfig()).await?;
    let manager = behind(&server, app)?;
    app.wait_stable("v1").await?;
    let watch = app.watch_pods().await?;
    mid_release(app).await?;
    server.fault(fault, |_| true);
    let since = Instant::now();
    println!("{}", not_ready(&manager, says).await?.lines().find(|line| line.contains("api-server")).unwrap_or("-"));
    tokio::time::sleep(lasts.saturating_sub(since.elapsed())).await;
    server.heal();
    let healed = Instant::now();
    check_end(app, &watch).await?;
    println!("{fault:?}: stable {:?} after it ended", healed.elapsed());
    ready(&manager).await?;
    Ok(server)
}

#[tokio::test]
async fn connections_that_died_without_a_word_are_begun_anew() {
    with_app("dead", shape("4s"), |app| async move {
        outlasts(&app, Fault::Dead, Duration::from_secs(10), "api-server: for").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_release_waits_while_all_answers_are_500() {
    with_app("errors", shape("4s"), |app| async move {
        let fault = Fault::Refusal { code: 500, retry_after: None };
        outlasts(&app, fault, Duration::from_secs(12), "it answers 500").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_for_as_long_as_it_asks() {
    with_app("overload", shape("4s"), |app| async move {
        let (storm, asked) = (Duration::from_secs(20), 5);
        let fault = Fault::Refusal { code: 429, retry_after: Some(asked) };
        let server = outlasts(&app, fault, storm, "asks to be left alone (429)").await?;
        let refused: Vec<Call> = server.calls().into_iter().filter(|call| call.code == Some(429)).collect();
        let writes = refused.iter().filter(|call| call.is_write()).count();
        println!("{} requests were refused, of which {writes} writes", refused.len());
        // One key has something to write; a try every five seconds, for twenty.
        ensure!((2..=5).contains(&writes), "{writes} writes in {storm:?}: {refused:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_other_answer_may_be_an_error() {
    with_app("flaky", shape("4s"), |app| async move {
        let server = FaultyServer::start(app.kubeconfig()).await?;
        let _manager = behind(&server, &app)?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        let is = |remainder: usize| move |call: &Call| !call.watch && call.path.len() % 3 == remainder;
        server.some(50, Fault::Refusal { code: 500, retry_after: None }, is(0));
        server.some(50, Fault::Refusal { code: 503, retry_after: Some(1) }, is(1));
        server.some(50, Fault::Refusal { code: 409, retry_after: None }, |call| call.is_write());
        mid_release(&app).await?;
        check_end(&app, &watch).await
    })
    .await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_made_twice() {
    with_app("lost-answer", shape("4s"), |app| async move {
        let server = FaultyServer::start(app.kubeconfig()).await?;
        let _manager = behind(&server, &app)?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        // The next size of the canary.
        let lost = AtomicBool::new(false);
        server.fault(Fault::LostAnswer, move |call| {
            call.is_write() && call.path.contains("/replicasets/") && !lost.swap(true, Ordering::SeqCst)
        });
        check_end(&app, &watch).await
    })
    .await;
}
