//! An API server of a few lines, for faults that a real one cannot be made to show. Each test says what it answers.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use trimtab::{
    Controller, ControllerOptions, Manager, ManagerOptions, Meta, Permission, Selector, Store, Watched, Watches,
};
use trimtab_plan::{Answers, Kind, ObjectRef, Outcome, Plan, StatusWrite, Write};

/// What a test's server is asked.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

impl Asked {
    pub fn is_list(&self) -> bool {
        self.query.contains("sendInitialEvents")
    }

    /// Whether it is only asked for the version that the cluster has reached.
    pub fn is_for_version(&self) -> bool {
        self.query == "limit=1"
    }
}

/// What it answers.
pub enum Reply {
    Json(u16, Value),
    /// 429, and how many seconds to wait.
    Later(u32),
    /// Nothing, ever.
    Silence,
    /// Lines that the test sends; the stream ends with the sender.
    Lines(mpsc::UnboundedReceiver<String>),
}

/// A stream whose first lines are there already.
pub fn lines(first: &[String]) -> (mpsc::UnboundedSender<String>, Reply) {
    let (send, receive) = mpsc::unbounded_channel();
    first.iter().for_each(|line| send.send(line.clone()).unwrap());
    (send, Reply::Lines(receive))
}

/// A refusal as the API server words it.
pub fn refusal(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message })
}

/// Serves until the test ends.
pub async fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> kube::Client {
    trimtab::client(listen(answer).await).unwrap()
}

/// Serves until its runtime ends; where it is.
pub async fn listen(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> kube::Config {
    let answer = Arc::new(answer);
    let handle = move |request: Request| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let asked = Asked {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            match answer(&asked) {
                Reply::Json(code, value) => {
                    Response::builder().status(code).body(Body::from(value.to_string())).unwrap()
                }
                Reply::Later(seconds) => {
                    let refused = Response::builder().status(429).header("retry-after", seconds.to_string());
                    refused.body(Body::from(refusal(429, "TooManyRequests", "later").to_string())).unwrap()
                }
                Reply::Silence => std::future::pending().await,
                Reply::Lines(lines) => {
                    let stream =
                        futures::stream::unfold(lines, |mut lines| async { Some((lines.recv().await?, lines)) });
                    Response::new(Body::from_stream(stream.map(Ok::<_, std::io::Error>)))
                }
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
    kube::Config::new(url)
}

fn event(what: &str, object: Value) -> String {
    format!("{}\n", json!({ "type": what, "object": object }))
}

pub fn widget(name: &str, version: u64, size: impl Into<Value>) -> Value {
    let metadata =
        json!({ "name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string(), "generation": 1 });
    json!({ "metadata": metadata, "size": size.into() })
}

pub fn added(name: &str, version: u64, size: impl Into<Value>) -> String {
    event("ADDED", widget(name, version, size))
}

pub fn deleted(name: &str, version: u64) -> String {
    event("DELETED", widget(name, version, 0))
}

pub fn end_of_list(version: u64) -> String {
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    let metadata = json!({ "resourceVersion": version.to_string(), "annotations": annotations });
    event("BOOKMARK", json!({ "metadata": metadata }))
}

pub fn expired() -> String {
    event("ERROR", refusal(410, "Expired", "too old resource version"))
}

#[derive(Deserialize)]
pub struct Widget {
    pub metadata: Meta,
    pub size: u32,
}

impl Watched for Widget {
    const KIND: Kind = Kind::namespaced("example.dev", "v1", "Widget", "widgets");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Another kind, of which only names matter.
#[derive(Deserialize)]
pub struct Gadget {
    metadata: Meta,
}

impl Watched for Gadget {
    const KIND: Kind = Kind::namespaced("example.dev", "v1", "Gadget", "gadgets");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What a controller sees of a widget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    pub name: String,
    pub size: Option<u32>,
    pub unreadable: bool,
}

/// Tells what it sees; writes and panics as its test wants.
pub struct Teller {
    pub widgets: Store<Widget>,
    pub tell: mpsc::UnboundedSender<Seen>,
}

impl Controller for Teller {
    const NAME: &'static str = "teller";
    type Key = ObjectRef;
    type Snapshot = Seen;
    type Status = ();

    fn permissions(&self) -> Vec<Permission> {
        vec![]
    }

    fn must_prepare(&self, key: &ObjectRef) -> bool {
        key.name == "prepared"
    }

    fn prepare(&self, _: &ObjectRef) {
        // Where that is done.
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.tell.send(Seen { name, size: None, unreadable: false }).unwrap();
    }

    fn gathers_much(&self, key: &ObjectRef, _: &Answers) -> bool {
        key.name == "crowded"
    }

    fn gather(&self, key: &ObjectRef, _: &Answers) -> Option<Seen> {
        if key.name == "crowded" {
            // Where that is done.
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            self.tell.send(Seen { name, size: None, unreadable: false }).unwrap();
        }
        let size = self.widgets.get("n", &key.name).map(|widget| widget.size);
        let unreadable = self.widgets.unreadable("n", &key.name).is_some();
        let seen = Seen { name: key.name.clone(), size, unreadable };
        self.tell.send(seen.clone()).unwrap();
        (size.is_some() || unreadable).then_some(seen)
    }

    fn is_costly(seen: &Seen) -> bool {
        seen.name == "endless"
    }

    fn late(_: Timestamp, _: &Seen) -> Option<Plan<()>> {
        let mut plan = Plan::new(());
        plan.because("TookTooLong", "the decision was given up");
        Some(plan)
    }

    fn decide(_: Timestamp, seen: &Seen) -> Plan<()> {
        let mut plan = Plan::new(());
        if seen.name == "endless" {
            loop {
                std::thread::park();
            }
        }
        assert_ne!(seen.name, "panics", "as its test wants");
        if seen.name == "writes" && seen.size < Some(10) {
            let ops = vec![trimtab_plan::PatchOp::add("/size", seen.size.unwrap_or(0) + 1)];
            plan.writes.push(Write::patch(Widget::KIND.object("n", "writes"), ops, "grow"));
        }
        plan
    }

    fn conclude(_: Timestamp, _: &Seen, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
        None
    }
}

/// A running teller.
pub struct Running {
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub store: Store<Widget>,
    /// What was heard after the first list: a name, whether a list brought it, and which version the watch had passed.
    pub heard: std::sync::Arc<std::sync::Mutex<Vec<(String, bool, u64)>>>,
    admin: std::net::SocketAddr,
    pub journal: trimtab::journal::Journal,
    pub metrics: trimtab::metrics::Metrics,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    pub async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await.expect("a reconcile").unwrap()
    }

    /// What readiness says.
    pub async fn problems(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    pub async fn is_quiet(&mut self, millis: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(millis), self.seen.recv()).await.is_err()
    }
}

/// Runs a teller, and beside it a controller that watches gadgets.
pub fn run(client: kube::Client, gadgets: bool) -> Running {
    run_within(client, gadgets, ControllerOptions::default().timeout)
}

/// The same with reconciles that may take only so long.
pub fn run_within(client: kube::Client, gadgets: bool, timeout: Duration) -> Running {
    let (tell, seen) = mpsc::unbounded_channel();
    // A port that was free a moment ago.
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut manager = Manager::new(client, ManagerOptions { admin_addr: Some(admin), ..ManagerOptions::default() });
    let mut store = None;
    let options = ControllerOptions { workers: 2, timeout, ..ControllerOptions::default() };
    let heard = std::sync::Arc::<std::sync::Mutex<Vec<_>>>::default();
    let hearing = heard.clone();
    manager.controller(options.clone(), |w: &mut Watches<ObjectRef>| {
        let widgets = w
            .watch::<Widget>(Selector::all())
            .hears(move |heard| {
                hearing.lock().unwrap().push((heard.new.meta().name.clone(), heard.listed, heard.passed));
            })
            .wakes(|widget| vec![widget.meta().object(Widget::KIND)])
            .wakes_unreadable(|meta| vec![meta.object(Widget::KIND)])
            .store();
        store = Some(widgets.clone());
        Teller { widgets, tell }
    });
    if gadgets {
        manager.controller(options, |w: &mut Watches<ObjectRef>| {
            _ = w.watch::<Gadget>(Selector::all()).wakes(|gadget| vec![gadget.meta().object(Gadget::KIND)]).store();
            let widgets = w.watch::<Widget>(Selector::all()).store();
            Teller { widgets, tell: mpsc::unbounded_channel().0 }
        });
    }
    let (journal, metrics) = (manager.journal(), manager.metrics());
    let task = tokio::spawn(async move {
        manager.run(std::future::pending::<()>()).await.unwrap();
    });
    Running { seen, store: store.unwrap(), heard, admin, journal, metrics, task }
}
