//! The endpoints over real sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Journal;

impl WhySource for Journal {
    fn why(&self, kind: &str, ns: &str, name: &str) -> Option<String> {
        (kind == "Rollout" && name == "web").then(|| format!("because {ns}\n"))
    }

    fn why_json(&self, _kind: &str, _ns: &str, name: &str) -> Option<serde_json::Value> {
        (name == "web").then(|| serde_json::json!({ "because": [] }))
    }

    fn keys(&self) -> Vec<String> {
        vec!["Rollout/shop/web".to_owned()]
    }
}

fn admin() -> Admin {
    Admin {
        live: Checks::default(),
        ready: Checks::default(),
        metrics: Metrics::new(),
        why: Some(Arc::new(Journal)),
        version: Version { git_commit: "4f7c19ab20", git_tree_state: "clean", ..Version::number("v0.1.0") },
    }
}

fn local() -> Option<SocketAddr> {
    Some(SocketAddr::from(([127, 0, 0, 1], 0)))
}

async fn all_in_one(admin: Admin) -> (Servers, SocketAddr) {
    let servers = Servers::start(admin, Addresses { admin: local(), metrics: local() }).unwrap();
    let address = servers.admin_address().unwrap();
    (servers, address)
}

/// The status, the head and the body of a GET.
async fn get(address: SocketAddr, path: &str, accept: &str) -> (u16, String, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Counts how often the list of what was decided is made.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl WhySource for Counting {
    fn why(&self, _kind: &str, _ns: &str, _name: &str) -> Option<String> {
        None
    }

    fn keys(&self) -> Vec<String> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        vec!["Rollout/shop/web".to_owned()]
    }
}

/// Whoever reaches the port may ask as often as they like.
#[tokio::test]
async fn the_list_of_what_was_decided_is_made_once_in_a_moment() {
    let counting = Arc::new(Counting::default());
    let (_servers, address) = all_in_one(Admin { why: Some(counting.clone()), ..admin() }).await;
    let began = std::time::Instant::now();
    for _ in 0..40 {
        assert_eq!(get(address, "/debug/why", "*/*").await.2, "Rollout/shop/web\n");
    }
    let moments = began.elapsed().as_millis() / 250 + 1;
    let made = counting.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(made < 40 && (made as u128) <= moments, "{made} in {:?}", began.elapsed());
}

#[tokio::test]
async fn readiness_names_what_fails() {
    let admin = admin();
    let (_servers, address) = all_in_one(admin.clone()).await;
    assert_eq!(get(address, "/readyz", "*/*").await.2, "ok");
    admin.ready.add("store pods", || Ok(()));
    admin.ready.add("watch pods", || Err("silent for 90 s".to_owned()));
    let (status, _, body) = get(address, "/readyz", "*/*").await;
    assert_eq!(status, 503);
    assert_eq!(body, "[+]store pods ok\n[-]watch pods: silent for 90 s\nreadyz check failed\n");
    admin.ready.add("watch pods", || Ok(()));
    let (_, _, body) = get(address, "/readyz?verbose", "*/*").await;
    assert_eq!(body, "[+]store pods ok\n[+]watch pods ok\nreadyz check passed\n");
    assert_eq!(get(address, "/livez", "*/*").await.2, "ok");
    assert_eq!(get(address, "/healthz?verbose=1", "*/*").await.2, "livez check passed\n");
}

#[tokio::test]
async fn metrics_come_in_the_format_that_every_scraper_reads() {
    let (_servers, address) = all_in_one(admin()).await;
    let (status, head, body) = get(address, "/metrics", "*/*").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\nstale_sync_skips_total 0\n"));
}

#[tokio::test]
async fn why_answers_in_text_and_json() {
    let (_servers, address) = all_in_one(admin()).await;
    assert_eq!(get(address, "/debug/why/Rollout/shop/web", "*/*").await.2, "because shop\n");
    assert_eq!(get(address, "/debug/why/Rollout/-/web", "*/*").await.2, "because \n");
    assert_eq!(get(address, "/debug/why/Rollout/web", "*/*").await.2, "because \n");
    assert_eq!(get(address, "/debug/why/Rollout/shop/web", "application/json").await.2, "{\"because\":[]}");
    assert_eq!(get(address, "/debug/why", "*/*").await.2, "Rollout/shop/web\n");
    let (status, _, body) = get(address, "/debug/why/Rollout/shop/other", "*/*").await;
    assert_eq!(status, 404);
    assert!(body.starts_with("nothing is known of Rollout shop/other"));
}

#[tokio::test]
async fn the_version_has_the_shape_of_the_api_server_s() {
    let (_servers, address) = all_in_one(admin()).await;
    let (status, head, body) = get(address, "/version", "*/*").await;
    assert!(status == 200 && head.contains("content-type: application/json"), "{head}");
    let version: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        version,
        serde_json::json!({
            "major": "0",
            "minor": "1",
            "gitVersion": "v0.1.0",
            "gitCommit": "4f7c19ab20",
            "gitTreeState": "clean",
            "compiler": "rustc",
            "platform": Version::number("v0.1.0").platform,
        })
    );
}

#[tokio::test]
async fn a_wrong_path_is_told_the_right_ones() {
    let (_servers, address) = all_in_one(admin()).await;
    let (status, _, body) = get(address, "/metric", "*/*").await;
    assert_eq!(status, 404);
    assert!(body.contains("\n/metrics\n") && body.contains("\n/readyz\n"), "{body}");
}

#[tokio::test]
async fn each_server_can_be_elsewhere_or_nowhere() {
    let other = Some(SocketAddr::from(([127, 0, 0, 2], 0)));
    let servers = Servers::start(admin(), Addresses { admin: local(), metrics: other }).unwrap();
    let (own, metrics) = (servers.admin_address().unwrap(), servers.metrics_address().unwrap());
    assert_eq!(get(own, "/metrics", "*/*").await.0, 404);
    assert_eq!(get(metrics, "/metrics", "*/*").await.0, 200);
    assert_eq!(get(metrics, "/readyz", "*/*").await.0, 404);
    let taken = Servers::start(admin(), Addresses { admin: None, metrics: Some(metrics) });
    assert!(taken.is_err_and(|error| error.to_string() == format!("cannot listen on {metrics}")));
    let none = Servers::start(admin(), Addresses { admin: None, metrics: None }).unwrap();
    assert_eq!((none.admin_address(), none.metrics_address()), (None, None));
}

#[tokio::test]
async fn a_stopped_server_takes_no_more_connections() {
    let (servers, address) = all_in_one(admin()).await;
    // A scraper that keeps its connection must not hold up the end.
    let _open = tokio::net::TcpStream::connect(address).await.unwrap();
    servers.stop(Duration::from_millis(200)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// Sends bytes on a connection and reads until the server closes it; what it said, if it closed it within the time.
async fn said(address: SocketAddr, bytes: &[u8], patience: Duration) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    _ = stream.write_all(bytes).await;
    let mut answer = vec![];
    // A connection that is reset is closed too.
    _ = tokio::time::timeout(patience, stream.read_to_end(&mut answer)).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let listener = serve::listen(local().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let router = routes::router(admin(), routes::Serve { admin: true, metrics: true });
    let (stop, head) = (CancellationToken::new(), Duration::from_millis(300));
    let _ends = stop.clone().drop_guard();
    tokio::spawn(serve::serve(listener, router, stop, head));
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "x".repeat(2 * serve::HEAD_BYTES));
    let patience = Duration::from_secs(20);
    let (long, slow, idle) = tokio::join!(
        said(address, long.as_bytes(), patience),
        said(address, b"GET /metrics HTTP/1.1\r\nx: ", patience),
        said(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", patience)
    );
    assert!(
        long.is_some_and(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 431")),
        "a head that is too long"
    );
    assert!(slow.is_some(), "a head that does not end");
    assert!(idle.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")), "a connection that is not used any more");
}

#[tokio::test]
async fn a_probe_gets_in_however_many_connections_there_are() {
    let (_servers, address) = all_in_one(admin()).await;
    let mut crowd = vec![];
    for _ in 0..serve::CONNECTIONS * 2 {
        crowd.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/livez", "*/*").await.2, "ok");
    // The newest of the crowd are still there, the oldest are not.
    let mut byte = [0];
    let closed = tokio::time::timeout(Duration::from_secs(5), crowd[0].read(&mut byte)).await.unwrap();
    assert!(closed.is_err() || closed.is_ok_and(|count| count == 0));
}
