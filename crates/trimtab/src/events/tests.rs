//! The recorder against a server that remembers what it was sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::Value;
use trimtab_plan::{Kind, Severity};

use super::*;

type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

/// Answers creations with the object and patches with `404`: every event expires at once.
async fn serve(State(requests): State<Requests>, method: Method, uri: Uri, body: String) -> impl IntoResponse {
    let body: Value = serde_json::from_str(&body).unwrap();
    requests.lock().unwrap().push((method.clone(), uri.path().to_owned(), body.clone()));
    if method == Method::POST {
        return (StatusCode::CREATED, body.to_string());
    }
    let status =
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound" });
    (StatusCode::NOT_FOUND, status.to_string())
}

async fn server() -> (Client, Requests) {
    let requests = Requests::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let router = Router::new().fallback(serve).with_state(requests.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (crate::client(kube::Config::new(url)).unwrap(), requests)
}

fn notice(note: &str) -> Notice {
    Notice {
        about: Kind::namespaced("apps", "v1", "Deployment", "deployments").object("shop", "web"),
        uid: "u".to_owned(),
        severity: Severity::Normal,
        reason: "Promoted",
        action: "Promote",
        note: note.to_owned(),
    }
}

#[tokio::test]
async fn repeats_become_a_series_and_an_expired_event_is_created_again() {
    let (client, requests) = server().await;
    let (recorder, publisher) = Recorder::start(client, "me", Fence::open(), Metrics::new());
    for _ in 0..3 {
        recorder.notice("rollout", notice("to 20 %"));
    }
    publisher.flush(Duration::from_secs(10)).await;
    let requests = requests.lock().unwrap();
    let methods: Vec<&str> = requests.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "POST"]);
    assert_eq!(requests[0].1, "/apis/events.k8s.io/v1/namespaces/shop/events");
    assert!(requests[0].2.get("series").is_none());
    assert_eq!(requests[1].2["series"]["count"], 3);
    assert_eq!(requests[2].2["series"]["count"], 3);
    assert_ne!(requests[0].2["metadata"]["name"], requests[2].2["metadata"]["name"]);
}

#[tokio::test]
async fn behind_a_closed_fence_nothing_is_written() {
    let (client, requests) = server().await;
    let metrics = Metrics::new();
    let (recorder, publisher) = Recorder::start(client, "me", Fence::closed(), metrics.clone());
    recorder.notice("rollout", notice("x"));
    publisher.flush(Duration::from_secs(10)).await;
    assert!(requests.lock().unwrap().is_empty());
    assert!(metrics.render().contains("trimtab_events_dropped_total 1\n"));
}

#[tokio::test]
async fn too_many_notices_of_a_namespace_are_dropped_and_others_are_written() {
    let (client, requests) = server().await;
    let metrics = Metrics::new();
    let (recorder, publisher) = Recorder::start(client, "me", Fence::open(), metrics.clone());
    // The publisher cannot run before this task gives way.
    for n in 0..MOST_WAITING {
        recorder.notice("rollout", Notice { uid: n.to_string(), ..notice("x") });
    }
    assert!(metrics.render().contains(&format!("trimtab_events_dropped_total {}\n", MOST_WAITING / 4)));
    let mut calm = notice("x");
    calm.about.namespace = "calm".to_owned();
    recorder.notice("rollout", calm);
    // What was said before takes no place.
    (0..MOST_WAITING).for_each(|_| recorder.notice("rollout", Notice { uid: "1".to_owned(), ..notice("x") }));
    assert!(metrics.render().contains(&format!("trimtab_events_dropped_total {}\n", MOST_WAITING / 4)));
    publisher.flush(Duration::from_secs(60)).await;
    let requests = requests.lock().unwrap();
    assert!(requests.iter().any(|(_, path, _)| path == "/apis/events.k8s.io/v1/namespaces/calm/events"));
}
