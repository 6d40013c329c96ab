//! The proxy before a server of a few lines.

use std::time::Duration;

use futures::AsyncBufReadExt;
use http::StatusCode;
use serde_json::json;

use super::*;

/// Answers with the token that it got; its watch sends a line and stays open.
async fn server() -> PathBuf {
    let app = Router::new().fallback(|request: Request| async move {
        let token = request.headers().get("authorization").and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
        if request.uri().query().is_some_and(|query| query.contains("watch=1")) {
            let first = stream::once(async { Ok::<_, std::io::Error>("{\"type\":\"ADDED\"}\n") });
            return Response::new(Body::from_stream(first.chain(stream::pending())));
        }
        Response::new(Body::from(token))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": server } }],
        "users": [{ "name": "it", "user": { "token": "mine" } }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
    });
    let path = std::env::temp_dir().join(format!("faulty-test-{}", paths::random()));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

async fn start() -> (FaultyServer, kube::Client) {
    let path = server().await;
    let faulty = FaultyServer::start(&path).await.unwrap();
    std::fs::remove_file(path).unwrap();
    let config = Kubeconfig::read_from(faulty.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    (faulty, kube::Client::try_from(config).unwrap())
}

async fn get(client: &kube::Client) -> Result<(StatusCode, String), kube::Error> {
    let response = client.send(http::Request::get("/x").body(kube::client::Body::empty()).unwrap()).await?;
    let status = response.status();
    Ok((status, String::from_utf8(response.into_body().collect_bytes().await?.to_vec()).unwrap()))
}

#[tokio::test]
async fn what_has_no_fault_is_passed_on_with_its_token() {
    let (faulty, client) = start().await;
    assert_eq!(get(&client).await.unwrap(), (StatusCode::OK, "Bearer mine".to_owned()));
    assert_eq!(faulty.calls().iter().map(|call| call.code).collect::<Vec<_>>(), [Some(200)]);
}

#[tokio::test]
async fn silence_lasts_until_it_is_healed() {
    let (faulty, client) = start().await;
    faulty.fault(Fault::Silence, |_| true);
    let asked = get(&client);
    tokio::pin!(asked);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut asked).await.is_err());
    faulty.heal();
    assert_eq!(asked.await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn refusals_and_resets_come_as_asked() {
    let (faulty, client) = start().await;
    faulty.fault(Fault::Refusal { code: 429, retry_after: Some(7) }, |call| call.path == "/x");
    assert_eq!(get(&client).await.unwrap().0, StatusCode::TOO_MANY_REQUESTS);
    faulty.refuse();
    assert!(get(&client).await.is_err());
    faulty.heal();
    assert_eq!(get(&client).await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn a_watch_is_streamed_and_can_be_told_that_it_is_too_old() {
    let (faulty, client) = start().await;
    let watch = async || {
        let request = http::Request::get("/x?watch=1").body(vec![]).unwrap();
        Box::pin(client.request_stream(request).await.unwrap()).lines()
    };
    let mut lines = watch().await;
    assert_eq!(lines.next().await.unwrap().unwrap(), "{\"type\":\"ADDED\"}");
    faulty.fault(Fault::Gone, |call| call.watch);
    assert!(lines.next().await.unwrap().unwrap().contains("410"));
    faulty.heal();
    faulty.fault(Fault::Cut(5), |call| call.watch);
    let mut lines = watch().await;
    assert!(lines.next().await.unwrap().is_err(), "it breaks off within a line");
}
