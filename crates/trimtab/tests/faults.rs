//! Faults around writes, questions and the lease, through a whole manager: each from a server that can be made to have it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod stub;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use stub::{Asked, Reply, Widget, added, end_of_list, lines, refusal, serve, widget};
use tokio::sync::mpsc::UnboundedSender;
use trimtab::{
    Controller, ControllerOptions, LeaseOptions, Manager, ManagerError, ManagerOptions, Permission, Selector, Store,
    Watched, Watches,
};
use trimtab_plan::{Answer, Answers, Ask, ObjectRef, Outcome, PatchOp, Plan, Question, StatusWrite, Wake, Write};

/// Does what the name of a widget says.
struct Doer {
    widgets: Store<Widget>,
}

#[derive(Clone, Serialize)]
struct Seen {
    name: String,
    size: u32,
    answers: Answers,
}

impl Controller for Doer {
    const NAME: &'static str = "doer";
    type Key = ObjectRef;
    type Snapshot = Seen;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        vec![]
    }

    fn gather(&self, key: &ObjectRef, answers: &Answers) -> Option<Seen> {
        let size = self.widgets.get("n", &key.name)?.size;
        Some(Seen { name: key.name.clone(), size, answers: answers.clone() })
    }

    fn decide(now: Timestamp, seen: &Seen) -> Plan<()> {
        let mut plan = Plan::new(());
        let own = Widget::KIND.object("n", &seen.name);
        let patch = |value: u32| Write::patch(own.clone(), vec![PatchOp::add("/size", value)], "do it");
        match seen.name.as_str() {
            "repeats" => plan.writes.push(patch(1)),
            "once" if seen.size != 7 => plan.writes.push(patch(7)),
            // As if each decision were news: a loop would be slowed down.
            "writes-on" => {
                plan.writes.push(patch(seen.size + 1));
                plan.wake = Wake::At(now + Duration::from_millis(50));
            }
            "asks" if seen.size < 3 => match seen.answers.get("q") {
                None => plan.asks.push(Ask { id: "q".to_owned(), question: Question::Get(own), timeout_seconds: 1 }),
                Some(Answer::Failed(why)) => plan.because("Answered", why.clone()),
                Some(_) => plan.because("Answered", "with something"),
            },
            _ => {}
        }
        plan
    }

    fn conclude(_: Timestamp, seen: &Seen, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
        let target = Widget::KIND.object("n", &seen.name);
        let status = json!({ "step": { "reached": 1 } });
        let wanted = seen.name == "status" && seen.size == 1;
        wanted.then(|| StatusWrite { target, uid: "status".to_owned(), status, lazy: false })
    }
}

/// A running doer.
struct Running {
    journal: trimtab::journal::Journal,
    metrics: trimtab::metrics::Metrics,
    task: tokio::task::JoinHandle<Result<(), ManagerError>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn why(&self, name: &str) -> String {
        self.journal.why("widget", "n", name).map(|why| why.text(Timestamp::now())).unwrap_or_default()
    }

    async fn says(&self, name: &str, text: &str) -> String {
        until(&format!("{text:?} in why"), || Some(self.why(name)).filter(|why| why.contains(text))).await
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|l| l == line)
    }
}

async fn until<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(got) = get() {
            return got;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn run(client: kube::Client, lease: Option<LeaseOptions>, admin_addr: Option<SocketAddr>) -> Running {
    let mut manager =
        Manager::new(client, ManagerOptions { leader_election: lease, admin_addr, ..ManagerOptions::default() });
    manager.controller(ControllerOptions::default(), |w: &mut Watches<ObjectRef>| {
        let wakes = |widget: &Widget| vec![widget.metadata.object(Widget::KIND)];
        Doer { widgets: w.watch::<Widget>(Selector::all()).wakes(wakes).store() }
    });
    let (journal, metrics) = (manager.journal(), manager.metrics());
    Running { journal, metrics, task: tokio::spawn(manager.run(std::future::pending::<()>())) }
}

type Feed = Arc<Mutex<Option<UnboundedSender<String>>>>;

/// A server with one widget of size 1. Its watch shows what the test feeds; all but watches and reviews is the test's.
async fn server(
    name: &'static str,
    answer: impl Fn(&Asked, &Feed) -> Reply + Send + Sync + 'static,
) -> (kube::Client, Feed) {
    let feed = Feed::default();
    let kept = feed.clone();
    let client = serve(move |asked: &Asked| match asked.method.as_str() {
        "GET" if asked.query.contains("watch=1") => {
            let (send, reply) = lines(&[added(name, 1, 1), end_of_list(1)]);
            *kept.lock().unwrap() = Some(send);
            reply
        }
        "POST" if asked.path.contains("selfsubject") => Reply::Json(201, json!({ "status": { "allowed": true } })),
        _ => answer(asked, &kept),
    })
    .await;
    (client, feed)
}

fn send(feed: &Feed, line: String) {
    feed.lock().unwrap().as_ref().unwrap().send(line).unwrap();
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let tried = times.clone();
    let (client, _feed) = server("once", move |_, _| {
        let mut tried = tried.lock().unwrap();
        tried.push(Instant::now());
        if tried.len() == 1 { Reply::Later(1) } else { Reply::Json(200, widget("once", 2, 7)) }
    })
    .await;
    let running = run(client, None, None);
    running.says("once", "do it: done").await;
    let times = times.lock().unwrap().clone();
    assert!(times.len() == 2 && times[1] - times[0] >= Duration::from_secs(1), "{times:?}");
    assert!(running.counts("rest_client_requests_total{code=\"429\",method=\"PATCH\",host=\"kubernetes\"} 1"));
    assert!(running.counts("controller_runtime_reconcile_errors_total{controller=\"doer\"} 0"), "within one reconcile");
}

#[tokio::test]
async fn a_server_that_asks_for_more_patience_than_a_reconcile_has_is_left_alone() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let tried = times.clone();
    let (client, feed) = server("once", move |_, _| {
        let mut tried = tried.lock().unwrap();
        tried.push(Instant::now());
        if tried.len() == 1 { Reply::Later(4) } else { Reply::Json(200, widget("once", 3, 7)) }
    })
    .await;
    let running = run(client, None, None);
    running.says("once", "TooManyRequests").await;
    // What people change does not bring it forward either.
    send(&feed, added("once", 2, 2));
    running.says("once", "do it: done").await;
    let times = times.lock().unwrap().clone();
    assert!(times.len() == 2 && times[1] - times[0] >= Duration::from_secs(4), "{times:?}");
}

#[tokio::test]
async fn a_status_that_could_not_be_written_is_written_again() {
    let tries = Arc::new(AtomicU64::new(0));
    let tried = tries.clone();
    let (client, _feed) = server("status", move |_, _| match tried.fetch_add(1, Relaxed) {
        0 => Reply::Json(500, refusal(500, "InternalError", "the store is away")),
        _ => {
            let mut stored = widget("status", 2, 1);
            stored["status"] = json!({ "step": { "reached": 1 } });
            Reply::Json(200, stored)
        }
    })
    .await;
    let running = run(client, None, None);
    let why = running.says("status", "status of Widget n/status to say how it stands: done").await;
    assert!(why.contains("the store is away"), "{why}");
    assert!(running.counts("controller_runtime_reconcile_errors_total{controller=\"doer\"} 1"));
    assert!(running.counts("trimtab_pruned_status_writes_total{kind=\"Widget\"} 0"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(tries.load(Relaxed), 2);
}

#[tokio::test]
async fn a_crd_that_drops_a_field_is_told() {
    let (client, _feed) = server("status", |_, _| {
        let mut stored = widget("status", 2, 1);
        stored["status"] = json!({ "step": {} });
        Reply::Json(200, stored)
    })
    .await;
    let running = run(client, None, None);
    running
        .says("status", "done, but the server drops status.step.reached: the CRD widgets.example.dev is older")
        .await;
    assert!(running.counts("trimtab_pruned_status_writes_total{kind=\"Widget\"} 1"));
}

#[tokio::test]
async fn writes_that_repeat_themselves_are_slowed_down_and_named() {
    let tries = Arc::new(AtomicU64::new(0));
    let tried = tries.clone();
    let (client, _feed) = server("repeats", move |_, feed| {
        // Whatever is written, the next version is as the one before: the field is dropped, or set back by others.
        let version = 2 + tried.fetch_add(1, Relaxed);
        send(feed, added("repeats", version, 0));
        Reply::Json(200, widget("repeats", version, 0))
    })
    .await;
    let running = run(client, None, None);
    let why = running.says("repeats", "HotLoop: the same writes are made again and again").await;
    assert_eq!(why.matches("HotLoop").count(), 1, "{why}");
    let before = tries.load(Relaxed);
    assert!((20..=30).contains(&before), "{before} writes before it was noticed");
    assert!(running.counts("trimtab_hot_loops_total{controller=\"doer\"} 1"));
    // A second, two, four: the echo of its own writes does not bring it forward.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let after = tries.load(Relaxed) - before;
    assert!((1..=3).contains(&after), "{after} more writes within 3.5 s");
    assert!(running.counts("trimtab_hot_loops_total{controller=\"doer\"} 1"), "once for each loop");
}

#[tokio::test]
async fn a_question_without_an_answer_is_answered_so_at_its_deadline() {
    let (client, feed) = server("asks", |_, _| Reply::Silence).await;
    let running = run(client, None, None);
    let started = Instant::now();
    running.says("asks", "Answered: no answer within 1 s").await;
    assert!(started.elapsed() >= Duration::from_millis(900));
    assert!(running.counts("rest_client_requests_total{code=\"<error>\",method=\"GET\",host=\"kubernetes\"} 1"));
    assert!(
        running.counts("rest_client_requests_total{code=\"200\",method=\"GET\",host=\"kubernetes\"} 1"),
        "the watch"
    );
    drop(feed);
}

#[tokio::test]
async fn a_question_that_is_no_longer_asked_is_dropped() {
    let (client, feed) = server("asks", |_, _| Reply::Silence).await;
    let running = run(client, None, None);
    until("the question", || Some(()).filter(|()| running.why("asks").contains("wrote     nothing"))).await;
    send(&feed, added("asks", 2, 3));
    running.says("asks", "Widget asks changed").await;
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let why = running.why("asks");
    assert!(!why.contains("an answer") && !why.contains("Answered"), "{why}");
    assert!(running.counts("rest_client_requests_total{code=\"<error>\",method=\"GET\",host=\"kubernetes\"} 1"));
}

/// A lease that is renewed until the test says otherwise.
fn lease(asked: &Asked, version: &AtomicU64, broken: bool) -> Reply {
    match asked.method.as_str() {
        "GET" => Reply::Json(404, refusal(404, "NotFound", "no lease")),
        _ if broken => Reply::Json(500, refusal(500, "InternalError", "the store is away")),
        _ => {
            let mut lease: Value = asked.body.clone();
            lease["metadata"]["resourceVersion"] = json!(version.fetch_add(1, Relaxed).to_string());
            Reply::Json(200, lease)
        }
    }
}

#[tokio::test]
async fn a_manager_that_cannot_renew_its_lease_stops_writing_and_ends() {
    let (version, writes) = (AtomicU64::new(1), Arc::new(AtomicU64::new(0)));
    let (broken, last) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Instant::now())));
    let (counted, breaks, seen) = (writes.clone(), broken.clone(), last.clone());
    let (client, _feed) = server("writes-on", move |asked, feed| {
        if asked.path.contains("/leases") {
            return lease(asked, &version, breaks.load(Relaxed) == 1);
        }
        *seen.lock().unwrap() = Instant::now();
        let n = 2 + counted.fetch_add(1, Relaxed);
        send(feed, added("writes-on", n, n));
        Reply::Json(200, widget("writes-on", n, n))
    })
    .await;
    let options = LeaseOptions {
        lease_duration: Duration::from_millis(1_500),
        renew_deadline: Duration::from_secs(1),
        retry_period: Duration::from_millis(200),
        ..LeaseOptions::new("n", "x")
    };
    let mut running = run(client, Some(options), None);
    until("some writes", || Some(()).filter(|()| writes.load(Relaxed) > 3)).await;
    broken.store(1, Relaxed);
    let since = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(5), &mut running.task).await.unwrap().unwrap();
    assert!(matches!(ended, Err(ManagerError::LeaseLost)), "{ended:?}");
    assert!(since.elapsed() < Duration::from_millis(1_500), "it ended after its lease: {:?}", since.elapsed());
    let last_write = *last.lock().unwrap();
    assert!(last_write < since + Duration::from_millis(1_050), "it wrote when its right was over");
    let written = writes.load(Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(writes.load(Relaxed), written, "it wrote after it had ended");
    assert!(running.counts("leader_election_master_status{name=\"x\"} 0"));
}
