//! The two HTTP requests that a hot reload sends to a pod: a POST that tells its process, a GET that shows what it reads. Not a
//! client for anything else: no TLS, no redirects, no second try, and nothing of a body in an error.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// For one request and its answer.
const TIME: Duration = Duration::from_secs(10);
/// The most that is read of an answer: a ConfigMap holds at most 1 MiB.
const MOST: usize = 1280 << 10;
/// So much may stand around the value that is looked for.
const AROUND: usize = 256 << 10;

/// A request as people write it.
pub(super) fn url(ip: &str, port: u16, path: &str) -> String {
    match ip.parse::<IpAddr>() {
        Ok(ip) => format!("http://{}{path}", SocketAddr::new(ip, port)),
        Err(_) => format!("http://{ip}:{port}{path}"),
    }
}

/// Sends a POST without a body; what is answered with it is not read.
pub(super) async fn post(ip: &str, port: u16, path: &str) -> Result<(), String> {
    let request = Request::post(path);
    timed(&format!("POST {}", url(ip, port, path)), async { send(ip, port, request).await.map(drop) }).await
}

/// What a GET brings, where a value of so many bytes is looked for.
pub(super) async fn get(ip: &str, port: u16, path: &str, value: usize) -> Result<Bytes, String> {
    let most = value.saturating_add(AROUND).min(MOST);
    let read = async {
        let response = send(ip, port, Request::get(path)).await?;
        let body = Limited::new(response.into_body(), most).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => format!("brings more than {} KiB: name a path that shows little beside the value", most >> 10),
            None => format!("broke off: {error}"),
        })
    };
    timed(&format!("GET {}", url(ip, port, path)), read).await
}

async fn timed<T>(what: &str, request: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(TIME, request).await {
        Ok(done) => done.map_err(|error| format!("{what} {error}")),
        Err(_) => Err(format!("{what} was not answered within {} s: see the pod's log", TIME.as_secs())),
    }
}

async fn send(ip: &str, port: u16, request: http::request::Builder) -> Result<Response<Incoming>, String> {
    let ip: IpAddr = ip.parse().map_err(|_| "has no address: the pod has no IP yet".to_owned())?;
    let address = SocketAddr::new(ip, port);
    let request = request.header(HOST, address.to_string()).header(USER_AGENT, "trimtab-manager");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("cannot be sent: {error}"))?;
    let stream = TcpStream::connect(address).await.map_err(|error| {
        format!("failed: {error}: does a container listen on this port, and may the manager reach it (NetworkPolicy)?")
    })?;
    let failed = |error: hyper::Error| format!("failed: {error}: is this an HTTP port without TLS?");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends by itself once the answer is dropped.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        Ok(response)
    } else if status.is_redirection() {
        Err(format!("answered {status}: redirects are not followed, name the path that it leads to"))
    } else {
        Err(format!("answered {status}: see the pod's log"))
    }
}
