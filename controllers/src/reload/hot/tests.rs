//! A hot reload against a stub of the API server and a pod that is a local HTTP server. Programs in containers need a real node: see
//! `tests/tests/cluster/hot.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use trimtab::metrics::Metrics;

use super::*;

const TEXT: &str = "workers 80\n";

/// A server of this handler, on a port of its own.
async fn serve(router: Router) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// What a stub of a pod does.
#[derive(Default)]
struct Process {
    /// What a POST is answered with.
    status: u16,
    /// So many POSTs until the new value is shown.
    slow: usize,
    posts: AtomicUsize,
    /// What it shows before that.
    old: &'static str,
    /// What becomes of the pod's object once it was told.
    then: Option<Value>,
    pod: Arc<Mutex<Value>>,
}

async fn process(State(process): State<Arc<Process>>, method: Method, uri: Uri) -> Response {
    if method == Method::GET {
        let new = process.posts.load(Ordering::Relaxed) > process.slow;
        return if new { format!("# now\n{TEXT}") } else { process.old.to_owned() }.into_response();
    }
    process.posts.fetch_add(1, Ordering::Relaxed);
    if let Some(then) = &process.then {
        *process.pod.lock().unwrap() = then.clone();
    }
    let status = if uri.path() == "/elsewhere" { 200 } else { process.status };
    (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, "/elsewhere")], "hunter2").into_response()
}

/// What a stub of an API server holds.
async fn object(State(pod): State<Arc<Mutex<Value>>>, uri: Uri) -> Response {
    let held = |text: Value| json!({"metadata": {"resourceVersion": "7"}, "data": {"app.conf": text, "empty": ""}});
    let found = match uri.path() {
        "/api/v1/namespaces/shop/pods/web" => pod.lock().unwrap().clone(),
        "/api/v1/namespaces/shop/configmaps/web" => held(json!(TEXT)),
        "/api/v1/namespaces/shop/secrets/web" => held(json!("aHVudGVyMg==")),
        path if path.ends_with("/exec") => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": "no",
                "reason": "Forbidden", "metadata": {}});
            return (StatusCode::FORBIDDEN, status.to_string()).into_response();
        }
        _ => Value::Null,
    };
    let code = if found.is_null() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    (code, found.to_string()).into_response()
}

fn pod(restarts: i32, ready: bool) -> Value {
    json!({
        "metadata": {"uid": "u", "name": "web"},
        "spec": {"containers": [{"name": "web"}]},
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": "web", "restartCount": restarts, "ready": ready, "image": "", "imageID": "",
                "state": {"running": {}}}]},
    })
}

fn input(port: u16, seconds: u32) -> Value {
    json!({
        "namespace": "shop", "pod": "web", "uid": "u", "ip": "127.0.0.1",
        "action": {"http": {"port": port, "path": "/-/reload"}},
        "verify": {"port": port, "path": "/", "source": "cm/web", "key": "app.conf"},
        "mounts": [{"source": "cm/web", "resourceVersion": "7", "container": "web", "path": "/etc/web", "items": null}],
        "timeoutSeconds": seconds,
    })
}

/// The answer to a question; `change` makes it from the plain one.
async fn ask(mut process_: Process, seconds: u32, change: impl FnOnce(&mut Value)) -> (Answer, usize) {
    let held = Arc::new(Mutex::new(pod(0, true)));
    process_.pod = held.clone();
    let told = Arc::new(process_);
    let port = serve(Router::new().fallback(process).with_state(told.clone())).await;
    let api = serve(Router::new().fallback(object).with_state(held)).await;
    let url = format!("http://127.0.0.1:{api}").parse().unwrap();
    let reader = Reader::new(trimtab::client(kube::Config::new(url)).unwrap(), Metrics::new());
    let mut input = input(port, seconds);
    change(&mut input);
    let answer = answerer().answer(reader, HOT_RELOAD, input).await;
    let shown = format!("{answer:?}");
    // Neither a value nor what a pod answers with.
    assert!(!["workers", "hunter2", "aHVudGVyMg"].iter().any(|value| shown.contains(value)), "{shown}");
    (answer, told.posts.load(Ordering::Relaxed))
}

fn answering(status: u16) -> Process {
    Process { status, ..Process::default() }
}

/// Why it failed.
fn why(answer: &Answer) -> &str {
    match answer {
        Answer::Failed(why) => why,
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_pod_that_shows_the_new_value_is_reloaded() {
    let started = Instant::now();
    let (answer, posts) = ask(answering(204), 20, |_| ()).await;
    let Answer::Object(done) = answer else { panic!("{answer:?}") };
    assert_eq!((&done["reloaded"], posts), (&json!(true), 1));
    assert!(
        done["seconds"].as_u64().unwrap() >= 3 && started.elapsed().as_secs() >= 3,
        "it was not looked at afterwards"
    );
}

#[tokio::test]
async fn a_pod_is_told_again_until_it_shows_the_new_value() {
    let (answer, posts) = ask(Process { slow: 2, ..answering(200) }, 30, |_| ()).await;
    assert!(matches!(&answer, Answer::Object(done) if done["reloaded"] == true), "{answer:?}");
    assert_eq!(posts, 3);
}

#[tokio::test]
async fn an_old_value_that_holds_the_new_one_proves_nothing() {
    let started = Instant::now();
    let (answer, posts) = ask(Process { slow: 99, old: "workers 800", ..answering(204) }, 15, |_| ()).await;
    assert!(matches!(&answer, Answer::Object(done) if done["reloaded"] == true), "{answer:?}");
    // Nobody may look at the files, so the kubelet was given its time.
    assert!(started.elapsed().as_secs() >= 10 && posts > 3, "{posts}");
}

#[tokio::test]
async fn what_a_pod_refuses_has_failed_at_once() {
    let (answer, posts) = ask(answering(500), 30, |_| ()).await;
    assert!(why(&answer).starts_with("POST http://127.0.0.1:"), "{answer:?}");
    assert!(why(&answer).ends_with("/-/reload answered 500 Internal Server Error: see the pod's log"), "{answer:?}");
    assert_eq!(posts, 1);
    let (answer, posts) = ask(answering(307), 30, |_| ()).await;
    assert!(why(&answer).contains("redirects are not followed"), "{answer:?}");
    assert_eq!(posts, 1, "the redirect was followed");
    let (answer, _) = ask(answering(204), 30, |input| input["action"]["http"]["port"] = json!(1)).await;
    assert!(why(&answer).contains("does a container listen on this port"), "{answer:?}");
}

#[tokio::test]
async fn a_value_that_is_never_shown_ends_with_what_was_still_old() {
    let (answer, posts) = ask(Process { slow: 99, ..answering(204) }, 3, |_| ()).await;
    let why = why(&answer);
    assert!(why.starts_with("after 2 s, GET http://127.0.0.1:"), "{why}");
    assert!(why.contains("/ does not show key app.conf of cm/web as it is now: check that"), "{why}");
    assert!(posts >= 2, "{posts}");
}

#[tokio::test]
async fn a_pod_that_does_not_bear_it_has_failed() {
    let then = |then: Value| Process { then: Some(then), ..answering(204) };
    let (answer, _) = ask(then(pod(1, true)), 20, |_| ()).await;
    assert!(why(&answer).starts_with("container web ended after it was told to reload"), "{answer:?}");
    let mut dead = pod(0, true);
    dead["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 2}});
    let (answer, _) = ask(then(dead), 20, |_| ()).await;
    assert!(why(&answer).starts_with("container web ended"), "{answer:?}");
    let (answer, _) = ask(then(pod(0, false)), 2, |_| ()).await;
    assert!(why(&answer).starts_with("the pod is not Ready since it was told to reload"), "{answer:?}");
    let mut ending = pod(0, true);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let (answer, _) = ask(then(ending), 20, |_| ()).await;
    assert!(why(&answer).starts_with("the pod went away"), "{answer:?}");
}

#[tokio::test]
async fn what_is_not_as_it_was_asked_about_is_not_told_anything() {
    for (place, value) in [
        ("/mounts/0/resourceVersion", json!("6")),
        ("/mounts/0/source", json!("cm/gone")),
        ("/uid", json!("another")),
        ("/pod", json!("gone")),
        ("/ip", json!("127.0.0.2")),
    ] {
        let (answer, posts) = ask(answering(204), 5, |input| *input.pointer_mut(place).unwrap() = value).await;
        assert_eq!((answer, posts), (Answer::Object(json!({"changed": true})), 0), "{place}");
    }
}

#[tokio::test]
async fn odd_questions_are_refused_with_what_to_do() {
    let refused = async |says: &str, change: fn(&mut Value)| {
        let (answer, posts) = ask(answering(204), 5, change).await;
        assert!(why(&answer).contains(says), "{answer:?}");
        assert_eq!(posts, 0);
    };
    refused("\"KILL\" is no signal to reload by: use one of HUP, USR1", |input| {
        input["action"] = json!({"signal": {"container": "web", "signal": "KILL"}});
    })
    .await;
    refused("no signal", |input| {
        input["action"] = json!({"signal": {"container": "web", "signal": "HUP 1; rm"}});
    })
    .await;
    refused("no container \"db\"", |input| {
        input["action"] = json!({"signal": {"container": "db", "signal": "HUP"}});
    })
    .await;
    refused("begins with a slash", |input| input["action"]["http"]["path"] = json!("@10.0.0.1/")).await;
    refused("cm/other", |input| input["verify"]["source"] = json!("cm/other")).await;
    refused("no key \"gone\"", |input| input["verify"]["key"] = json!("gone")).await;
    refused("holds no text", |input| input["verify"]["key"] = json!("empty")).await;
    refused("is a Secret", |input| {
        input["verify"]["source"] = json!("secret/web");
        input["mounts"][0]["source"] = json!("secret/web");
    })
    .await;
    refused("no question", |input| input["action"] = json!({"restart": {}})).await;
    refused("the manager may not create pods/exec in shop: grant it", |input| input["verify"] = Value::Null).await;
    refused("is more than 10000 files of the pod", |input| {
        input["verify"] = Value::Null;
        input["mounts"] = vec![input["mounts"][0].clone(); 6_000].into();
    })
    .await;
    refused("is no path of a mount", |input| {
        input["verify"] = Value::Null;
        input["mounts"][0]["path"] = json!("etc");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_much_longer_than_the_value_is_not_read() {
    let long: &'static str = Box::leak("x".repeat(300 << 10).into_boxed_str());
    let (answer, posts) = ask(Process { slow: 99, old: long, ..answering(204) }, 3, |_| ()).await;
    assert!(why(&answer).contains("brings more than 256 KiB: name a path that shows little"), "{answer:?}");
    assert!(posts > 0);
}

#[tokio::test]
async fn pods_of_one_namespace_do_not_hold_all_that_is_held_at_once() {
    let turns = Shares::of_work(AT_ONCE);
    let mut held = vec![];
    for _ in 0..AT_ONCE / 2 {
        held.push(turns.turn("shop").await);
    }
    let api = serve(Router::new().fallback(object).with_state(Arc::new(Mutex::new(pod(0, true))))).await;
    let url = format!("http://127.0.0.1:{api}").parse().unwrap();
    let reader = Reader::new(trimtab::client(kube::Config::new(url)).unwrap(), Metrics::new());
    let mut asked: HotReload = serde_json::from_value(input(1, 5)).unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(50), sources::read(&reader, &asked, &turns)).await;
    assert!(waits.is_err(), "a source is read though the namespace holds its share");
    asked.namespace = "calm".to_owned();
    // There is nothing of that name, which is an answer.
    let answered = tokio::time::timeout(Duration::from_secs(20), sources::read(&reader, &asked, &turns)).await;
    assert!(matches!(answered, Ok(Err(End::Changed))), "another namespace waits");
    held.pop();
    asked.namespace = "shop".to_owned();
    let read = tokio::time::timeout(Duration::from_secs(20), sources::read(&reader, &asked, &turns)).await;
    assert!(matches!(read, Ok(Ok(held)) if held.len() == 1));
}

#[test]
fn a_process_that_is_not_the_applications_gets_no_signal() {
    let mut asked = input(1, 5);
    asked["action"] = json!({"signal": {"container": "web", "signal": "HUP"}});
    let asked: HotReload = serde_json::from_value(asked).unwrap();
    for field in ["hostPID", "shareProcessNamespace"] {
        let mut shared = pod(0, true);
        assert_eq!(pod::check_process(&serde_json::from_value(shared.clone()).unwrap(), &asked), Ok(()));
        shared["spec"][field] = json!(true);
        let refused = pod::check_process(&serde_json::from_value(shared).unwrap(), &asked);
        assert!(matches!(refused, Err(End::Failed(why)) if why.contains("share their processes")), "{field}");
    }
}

#[test]
fn questions_are_written_as_they_are_read() {
    let mut asked = input(8080, 75);
    asked["mounts"][0]["items"] = json!({"app.conf": "conf/app.conf"});
    let read: HotReload = serde_json::from_value(asked.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), asked);
    assert_eq!(http::url("fd00::1", 80, "/"), "http://[fd00::1]:80/");
}
