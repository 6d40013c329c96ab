//! What harms a reconcile, and what must not be harmed by it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stub;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stub::{Asked, Reply, Seen, added, end_of_list, lines, run, run_within, serve, widget};
use tokio::sync::mpsc::UnboundedSender;

fn seen(name: &str, size: u32) -> Seen {
    Seen { name: name.to_owned(), size: Some(size), unreadable: false }
}

/// A server whose watch does not see its writes until the test says so.
async fn server(first: Vec<String>) -> (kube::Client, Arc<Mutex<Option<UnboundedSender<String>>>>) {
    let feed = Arc::new(Mutex::new(None));
    let kept = feed.clone();
    let client = serve(move |asked: &Asked| match asked.method.as_str() {
        "GET" => {
            let (send, reply) = lines(&first);
            *kept.lock().unwrap() = Some(send);
            reply
        }
        "PATCH" => Reply::Json(200, widget("writes", 100 + asked.body[0]["value"].as_u64().unwrap(), 0)),
        _ => Reply::Json(201, json!({})),
    })
    .await;
    (client, feed)
}

#[tokio::test]
async fn a_stale_read_after_an_own_write_does_not_happen() {
    let (client, feed) = server(vec![added("writes", 1, 8), end_of_list(1)]).await;
    let mut running = run(client, false);
    assert_eq!(running.next().await, seen("writes", 8));
    let send = |line: String| feed.lock().unwrap().as_ref().unwrap().send(line).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Somebody else's change from before the write wakes the key, but the store is still behind the write.
    send(added("writes", 2, 8));
    assert!(running.is_quiet(300).await, "it would decide on the size from before its own write");
    assert!(running.metrics.render().contains("stale_sync_skips_total 1\n"));
    send(added("writes", 109, 9));
    assert_eq!(running.next().await, seen("writes", 9));
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Without an event of the object itself, the clock of the watch will do.
    send(added("other", 110, 1));
    assert_eq!(running.next().await, seen("other", 1));
    send(added("writes", 120, 10));
    assert_eq!(running.next().await, seen("writes", 10));
}

#[tokio::test]
async fn a_panic_harms_no_other() {
    let (client, feed) = server(vec![added("panics", 1, 1), added("calm", 2, 1), end_of_list(2)]).await;
    let mut running = run(client, false);
    assert_eq!((running.next().await, running.next().await), (seen("panics", 1), seen("calm", 1)));
    for version in 3..6 {
        feed.lock().unwrap().as_ref().unwrap().send(added("calm", version, version)).unwrap();
        assert_eq!(running.next().await.name, "calm");
    }
    assert_eq!(running.next().await, seen("panics", 1), "it is tried again");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let why = running.journal.why("widget", "n", "panics").unwrap();
    assert!(why.decisions[0].error.as_ref().unwrap().starts_with("decide panicked: "), "{why:?}");
    assert_eq!(why.decisions[0].times, 2);
    assert!(running.metrics.render().contains("controller_runtime_reconcile_panics_total{controller=\"teller\"} 2\n"));
}

#[tokio::test]
async fn a_decision_that_does_not_end_is_given_up_and_told_and_ends_no_process() {
    let (client, feed) = server(vec![added("endless", 1, 1), end_of_list(1)]).await;
    let timeout = Duration::from_millis(200);
    let mut running = run_within(client, false, timeout);
    assert_eq!(running.next().await, seen("endless", 1));
    let why = || running.journal.why("widget", "n", "endless").map(|why| why.decisions);
    let told = async {
        while why().is_none_or(|decisions| decisions.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(timeout * 2, told).await.expect("the worker waits for it no longer than half of its time");
    let decision = why().unwrap().remove(0);
    assert!(decision.error.as_ref().unwrap().starts_with("decide was not done within its time"), "{decision:?}");
    assert_eq!(decision.because[0].reason, "TookTooLong");
    assert!(running.metrics.oldest_work("teller") < timeout, "nothing is left for liveness to count");
    // Tried again and again it takes no worker away from others, and no process.
    feed.lock().unwrap().as_ref().unwrap().send(added("calm", 2, 1)).unwrap();
    while running.next().await.name != "calm" {}
}

#[tokio::test]
async fn much_is_gathered_apart() {
    let (client, _feed) = server(vec![added("crowded", 1, 1), end_of_list(1)]).await;
    let mut running = run(client, false);
    assert_eq!(running.next().await.name, "apart", "it ran on a thread of the process");
    assert_eq!(running.next().await, seen("crowded", 1));
    assert!(running.is_quiet(50).await);
}

#[tokio::test]
async fn what_others_decide_the_cost_of_is_made_ready_apart() {
    let (client, _feed) = server(vec![added("prepared", 1, 1), end_of_list(1)]).await;
    let mut running = run(client, false);
    assert_eq!(running.next().await.name, "apart", "it ran on a thread of the process");
    assert_eq!(running.next().await, seen("prepared", 1));
    assert!(running.is_quiet(50).await);
}
