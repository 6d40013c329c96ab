//! Faults of watches, from a server that can be made to have them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stub;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use stub::{Asked, Reply, Seen, added, deleted, end_of_list, expired, lines, refusal, run, serve, widget};
use tokio::sync::mpsc::UnboundedSender;

fn seen(name: &str, size: Option<u32>) -> Seen {
    Seen { name: name.to_owned(), size, unreadable: false }
}

type Senders = std::sync::Arc<Mutex<Vec<UnboundedSender<String>>>>;

/// Answers each list with the next of these, and each watch with a stream that the test feeds.
async fn lists(answers: Vec<Vec<String>>) -> (kube::Client, Senders) {
    let senders = Senders::default();
    let (fed, listed) = (senders.clone(), AtomicUsize::new(0));
    let client = serve(move |asked: &Asked| {
        if asked.method != "GET" {
            return Reply::Json(201, json!({}));
        }
        let first = match asked.is_list() {
            true => answers[listed.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)].clone(),
            false => vec![],
        };
        let (send, reply) = lines(&first);
        // A list that does not end by a bookmark breaks off; all else stays open.
        if first.is_empty() || first.iter().any(|line| line.contains("initial-events-end")) {
            fed.lock().unwrap().push(send);
        }
        reply
    })
    .await;
    (client, senders)
}

async fn feed(senders: &Senders, line: String) {
    tokio::time::sleep(Duration::from_millis(20)).await;
    senders.lock().unwrap().last().unwrap().send(line).unwrap();
}

#[tokio::test]
async fn a_deletion_during_a_relist_is_seen() {
    let first = vec![added("a", 1, 1), added("b", 2, 1), end_of_list(3)];
    let second = vec![added("a", 1, 1), end_of_list(9)];
    let (client, senders) = lists(vec![first, second]).await;
    let mut running = run(client, false);
    assert_eq!((running.next().await, running.next().await), (seen("a", Some(1)), seen("b", Some(1))));
    feed(&senders, expired()).await;
    assert_eq!(running.next().await, seen("b", None));
    assert!(running.is_quiet(100).await, "what did not change wakes nobody");
    assert_eq!((running.store.len(), running.store.last_seen_resource_version().as_str()), (1, "9"));
}

#[tokio::test]
async fn what_a_relist_brings_came_after_what_the_watch_had_passed() {
    let first = vec![added("a", 1, 1), end_of_list(3)];
    // As a cluster has it that was restored from a backup: `old` was never seen, and is older.
    let second = vec![added("a", 1, 1), added("new", 9, 1), added("old", 2, 1), end_of_list(9)];
    let (client, senders) = lists(vec![first, second]).await;
    let mut running = run(client, false);
    running.next().await;
    feed(&senders, added("b", 5, 1)).await;
    running.next().await;
    feed(&senders, expired()).await;
    running.next().await;
    running.next().await;
    let heard = |name: &str, listed, passed| (name.to_owned(), listed, passed);
    assert_eq!(*running.heard.lock().unwrap(), [heard("b", false, 0), heard("new", true, 5), heard("old", true, 0)]);
}

#[tokio::test]
async fn a_version_that_is_always_too_old_is_no_storm_of_lists() {
    let client = {
        let list = vec![added("a", 1, 1), end_of_list(3), expired()];
        lists(vec![list]).await.0
    };
    let mut running = run(client, false);
    assert_eq!(running.next().await, seen("a", Some(1)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let metrics = running.metrics.render();
    let line = metrics.lines().find(|line| line.starts_with("trimtab_watch_relists_total")).unwrap();
    let relists: u64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    // At once, and after half a second, one and two at most.
    assert!((2..=5).contains(&relists), "{line}");
}

#[tokio::test]
async fn a_watch_that_is_asked_for_patience_waits() {
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let client = serve(move |asked: &Asked| {
        if asked.method != "GET" {
            return Reply::Json(201, json!({}));
        }
        counted.fetch_add(1, Ordering::Relaxed);
        Reply::Later(60)
    })
    .await;
    let running = run(client, false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(running.problems().await.contains("429"), "{}", running.problems().await);
}

#[tokio::test]
async fn a_list_that_breaks_off_deletes_nothing() {
    let whole = vec![added("a", 1, 1), added("b", 2, 1), end_of_list(3)];
    let (client, senders) = lists(vec![whole.clone(), vec![added("a", 1, 1)], whole]).await;
    let mut running = run(client, false);
    running.next().await;
    running.next().await;
    feed(&senders, expired()).await;
    assert!(running.is_quiet(1500).await);
    assert_eq!(running.store.len(), 2);
}

#[tokio::test]
async fn an_object_never_goes_back_in_time() {
    let (client, senders) = lists(vec![vec![added("a", 5, 5), end_of_list(5)]]).await;
    let mut running = run(client, false);
    assert_eq!(running.next().await, seen("a", Some(5)));
    feed(&senders, added("a", 4, 4)).await;
    feed(&senders, added("a", 6, 6)).await;
    assert_eq!(running.next().await, seen("a", Some(6)));
}

#[tokio::test]
async fn a_watch_that_is_closed_goes_on_where_it_was() {
    let (client, senders) = lists(vec![vec![added("a", 5, 5), end_of_list(5)]]).await;
    let mut running = run(client, false);
    assert_eq!(running.next().await, seen("a", Some(5)));
    senders.lock().unwrap().clear();
    let again = || senders.lock().unwrap().is_empty();
    while again() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    feed(&senders, deleted("a", 7)).await;
    assert_eq!(running.next().await, seen("a", None));
    assert!(running.metrics.render().contains("trimtab_watch_relists_total{kind=\"Widget\"} 0\n"));
}

/// A list that ends at version 100, a watch that breaks, and a cluster that has reached this version then; how often was listed.
async fn after_a_break(reached: u64, then: Vec<String>) -> (stub::Running, std::sync::Arc<AtomicUsize>) {
    let listed = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = listed.clone();
    let client = serve(move |asked: &Asked| {
        if asked.is_for_version() {
            let metadata = json!({ "resourceVersion": reached.to_string(), "continue": "more" });
            return Reply::Json(200, json!({ "metadata": metadata, "items": [widget("a", 7, 2)] }));
        }
        let first = match asked.is_list().then(|| counted.fetch_add(1, Ordering::Relaxed)) {
            Some(0) => vec![added("a", 90, 1), added("b", 95, 1), end_of_list(100), "broken\n".to_owned()],
            Some(_) => then.clone(),
            // Taken, whatever the version is that it is from.
            None => vec![],
        };
        let (send, reply) = lines(&first);
        std::mem::forget(send);
        reply
    })
    .await;
    let mut running = run(client, false);
    assert_eq!((running.next().await, running.next().await), (seen("a", Some(1)), seen("b", Some(1))));
    (running, listed)
}

#[tokio::test]
async fn a_cluster_that_was_restored_from_a_backup_is_listed_anew() {
    let (mut running, listed) = after_a_break(50, vec![added("a", 7, 2), end_of_list(50)]).await;
    assert_eq!((running.next().await, running.next().await), (seen("a", Some(2)), seen("b", None)));
    assert_eq!((running.store.len(), running.store.last_seen_resource_version().as_str()), (1, "50"));
    assert_eq!(listed.load(Ordering::Relaxed), 2);
    assert!(running.metrics.render().contains("trimtab_watch_relists_total{kind=\"Widget\"} 1\n"));
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_where_it_was() {
    for reached in [100, 101, 0] {
        let (mut running, listed) = after_a_break(reached, vec![]).await;
        assert!(running.is_quiet(1500).await);
        assert_eq!((running.store.len(), listed.load(Ordering::Relaxed)), (2, 1), "{reached}");
    }
}

#[tokio::test]
async fn an_unreadable_object_stops_nothing() {
    let unreadable = |name: &str| Seen { name: name.to_owned(), size: None, unreadable: true };
    let list = vec![added("bad", 1, "large"), added("good", 2, 2), end_of_list(3)];
    let (client, senders) = lists(vec![list]).await;
    let mut running = run(client, false);
    assert_eq!((running.next().await, running.next().await), (unreadable("bad"), seen("good", Some(2))));
    let error = running.store.unreadable("n", "bad").unwrap().error.clone();
    assert!(error.contains("invalid type: string \"large\""), "{error}");
    feed(&senders, added("good", 4, "huge")).await;
    assert_eq!(running.next().await, unreadable("good"));
    feed(&senders, added("bad", 5, 5)).await;
    assert_eq!(running.next().await, seen("bad", Some(5)));
    feed(&senders, deleted("good", 6)).await;
    assert_eq!(running.next().await, seen("good", None));
    assert!(running.store.unreadable("n", "good").is_none());
}

#[tokio::test]
async fn a_server_without_streamed_lists_is_asked_for_pages() {
    let client = serve(|asked: &Asked| {
        if asked.is_list() {
            return Reply::Json(422, refusal(422, "Invalid", "sendInitialEvents is forbidden for watch"));
        }
        if asked.query.contains("watch=1") {
            let (send, reply) = lines(&[]);
            std::mem::forget(send);
            return reply;
        }
        let page = |items, next| json!({ "metadata": { "resourceVersion": "9", "continue": next }, "items": items });
        match asked.query.contains("continue=more") {
            false => Reply::Json(200, page(vec![widget("a", 1, 1)], "more")),
            true => Reply::Json(200, page(vec![widget("b", 2, 2)], "")),
        }
    })
    .await;
    let mut running = run(client, false);
    assert_eq!((running.next().await, running.next().await), (seen("a", Some(1)), seen("b", Some(2))));
    assert!(running.store.is_synced());
}

#[tokio::test]
async fn a_watch_that_fails_leaves_the_others_running() {
    let client = serve(|asked: &Asked| {
        if asked.path.ends_with("/gadgets") {
            return Reply::Json(403, refusal(403, "Forbidden", "gadgets is forbidden"));
        }
        if asked.method != "GET" {
            return Reply::Json(201, json!({}));
        }
        let (send, reply) = lines(&[added("a", 1, 1), end_of_list(1)]);
        std::mem::forget(send);
        reply
    })
    .await;
    let mut running = run(client, true);
    assert_eq!(running.next().await, seen("a", Some(1)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let problems = running.problems().await;
    assert!(problems.contains("Gadget: not synced: 403 Forbidden: gadgets is forbidden"), "{problems}");
    assert!(!problems.contains("Widget"), "{problems}");
}

#[tokio::test]
async fn two_controllers_share_one_watch() {
    let lists = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = lists.clone();
    let client = serve(move |asked: &Asked| {
        if asked.method != "GET" {
            return Reply::Json(201, json!({}));
        }
        counted.fetch_add(usize::from(asked.path.ends_with("/widgets")), Ordering::Relaxed);
        let (send, reply) = lines(&[added("a", 1, 1), end_of_list(1)]);
        std::mem::forget(send);
        reply
    })
    .await;
    let mut running = run(client, true);
    assert_eq!(running.next().await, seen("a", Some(1)));
    assert!(running.is_quiet(100).await);
    assert_eq!(lists.load(Ordering::Relaxed), 1);
}
