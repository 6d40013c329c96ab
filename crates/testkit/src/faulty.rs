//! An API server that has faults: a proxy between a program under test and a real API server. It passes everything on, with
//! the program's own token, until it is told what not to, and it counts what it is asked. Watches are streamed.
//!
//! Not a stand-in for an API server: what is passed on is answered by the real one. It speaks plain HTTP to the program, and
//! carries no upgraded connections (`exec`, `port-forward`).

mod connection;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::{StreamExt, stream};
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use trimtab_parts::paths;

use crate::certs;
use connection::Gate;
use rules::Rules;
pub use rules::{Call, Fault};

/// A proxy with faults. It ends when this value is dropped.
pub struct FaultyServer {
    shared: Arc<Shared>,
    gate: Arc<watch::Sender<connection::State>>,
    kubeconfig: PathBuf,
    serving: JoinHandle<()>,
}

struct Shared {
    upstream: kube::Client,
    rules: watch::Sender<Rules>,
    calls: Mutex<Vec<Call>>,
}

impl FaultyServer {
    /// Starts one before the API server of a kubeconfig. Requests are made with the token of that kubeconfig; without one, with
    /// its certificate.
    ///
    /// # Errors
    ///
    /// If the kubeconfig cannot be read, or makes no client.
    pub async fn start(kubeconfig: &Path) -> Result<FaultyServer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
        let address = listener.local_addr()?;
        let config = Kubeconfig::read_from(kubeconfig)?;
        let upstream = upstream(config.clone()).await?;
        let path = std::env::temp_dir().join(format!("faulty-{}.kubeconfig", paths::random()));
        certs::write_secret(&path, &through(config, &format!("http://{address}"))?)?;
        let shared =
            Arc::new(Shared { upstream, rules: watch::Sender::new(Rules::default()), calls: Mutex::default() });
        let gate = Arc::new(watch::Sender::new(connection::State::default()));
        let answering = shared.clone();
        let app = Router::new().fallback(move |request| answer(answering.clone(), request));
        let listener = Gate { listener, state: gate.subscribe() };
        // It ends with its listener, which never does.
        let serving = tokio::spawn(async move { _ = axum::serve(listener, app).await });
        Ok(Self { shared, gate, kubeconfig: path, serving })
    }

    /// A kubeconfig that goes through it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// From now on, what the closure picks has this fault; the fault that was set first goes first.
    pub fn fault(&self, fault: Fault, which: impl Fn(&Call) -> bool + Send + Sync + 'static) {
        self.some(100, fault, which);
    }

    /// The same for so many in a hundred of them, evenly.
    pub fn some(&self, percent: u8, fault: Fault, which: impl Fn(&Call) -> bool + Send + Sync + 'static) {
        self.shared.rules.send_modify(|rules| rules.add(percent, fault, which));
    }

    /// From now on nothing has a fault. What was held by [`Fault::Silence`] goes on.
    pub fn heal(&self) {
        self.shared.rules.send_replace(Rules::default());
        self.gate.send_modify(|state| state.refuse = false);
    }

    /// Resets all connections, and, until it is healed, those that are begun.
    pub fn refuse(&self) {
        self.gate.send_modify(|state| {
            state.refuse = true;
            state.resets += 1;
        });
    }

    /// Resets all connections, once.
    pub fn reset(&self) {
        self.gate.send_modify(|state| state.resets += 1);
    }

    /// What it was asked so far, by when it began.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was asked since a moment.
    pub fn calls_since(&self, since: Instant) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.at >= since).collect()
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.serving.abort();
        // A file that is gone already is as good.
        _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// A client that sends what it is given as it is, or with the kubeconfig's certificate where that has no token.
async fn upstream(config: Kubeconfig) -> Result<kube::Client> {
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    if config.auth_info.token.is_some() || config.auth_info.token_file.is_some() {
        config.auth_info = AuthInfo::default();
    }
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// The kubeconfig with another address. A certificate would not be asked for.
fn through(mut config: Kubeconfig, address: &str) -> Result<String> {
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        cluster.server = Some(address.to_owned());
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    for user in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        user.client_certificate = None;
        user.client_certificate_data = None;
        user.client_key = None;
        user.client_key_data = None;
    }
    // JSON is YAML.
    Ok(serde_json::to_string(&config)?)
}

impl Shared {
    fn note(&self, call: &Call) -> usize {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call.clone());
        calls.len() - 1
    }

    fn answered(&self, number: usize, code: u16) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.get_mut(number) {
            call.code = Some(code);
        }
    }

    /// Passes a request on.
    async fn pass(&self, parts: http::request::Parts, body: Bytes) -> Result<Response> {
        let mut request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        for name in [http::header::HOST, http::header::CONNECTION, http::header::CONTENT_LENGTH] {
            request.headers_mut().remove(name);
        }
        let mut response = self.upstream.send(request).await?.map(Body::new);
        for name in [http::header::CONNECTION, http::header::TRANSFER_ENCODING] {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }
}

async fn answer(shared: Arc<Shared>, request: Request) -> Response {
    let call = Call::of(&request);
    let number = shared.note(&call);
    let (parts, body) = request.into_parts();
    let passed = async {
        let body = axum::body::to_bytes(body, 1 << 24).await?;
        let mut rules = shared.rules.subscribe();
        loop {
            let fault = rules.borrow_and_update().fault(&call);
            match fault {
                None | Some(Fault::Cut(_) | Fault::Gone) => break,
                // An error would be the end of the server.
                Some(Fault::Silence) => _ = rules.changed().await,
                Some(Fault::Dead) => std::future::pending().await,
                Some(Fault::Refusal { code, retry_after }) => return Ok(refusal(code, retry_after)),
                Some(Fault::Delay(delay)) => {
                    tokio::time::sleep(delay).await;
                    break;
                }
                Some(Fault::LostAnswer) => {
                    // A task of its own: the caller may give up, the request arrives all the same.
                    let (shared, parts) = (shared.clone(), parts.clone());
                    tokio::spawn(async move {
                        if let Ok(response) = shared.pass(parts, body).await {
                            shared.answered(number, response.status().as_u16());
                        }
                    });
                    return std::future::pending().await;
                }
            }
        }
        shared.pass(parts, body).await
    };
    let response = match passed.await {
        Ok(response) => response,
        Err(error) => {
            let text = format!("the proxy got no answer: {error:#}");
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
            response
        }
    };
    shared.answered(number, response.status().as_u16());
    if call.watch && response.status().is_success() { watched(&shared, call, response) } else { response }
}

/// A refusal as the API server words it.
fn refusal(code: u16, retry_after: Option<u32>) -> Response {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": match code { 401 => "Unauthorized", 409 => "Conflict", 410 => "Expired", 429 => "TooManyRequests", _ => "InternalError" },
        "message": "a fault on purpose",
    });
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        headers.insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A watch's answer, with the faults that are set while it streams.
fn watched(shared: &Shared, call: Call, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let state = (body.into_data_stream(), shared.rules.subscribe(), call, None);
    let frames = stream::unfold(state, |(mut body, mut rules, call, mut kept)| async move {
        loop {
            let fault = rules.borrow_and_update().fault(&call);
            match (fault, kept.take()) {
                (Some(Fault::Dead), _) => return std::future::pending().await,
                (Some(Fault::Silence), held) => {
                    kept = held;
                    _ = rules.changed().await;
                }
                (Some(Fault::Gone), _) => return Some((Ok(Bytes::from_static(GONE)), (body, rules, call, None))),
                (Some(Fault::Cut(bytes)), Some(frame)) => {
                    let frame: Bytes = frame;
                    if bytes > 0 && frame.len() > bytes {
                        return Some((Ok(frame.slice(..bytes)), (body, rules, call, Some(Bytes::new()))));
                    }
                    // What was sent before has to be on its way: a connection that breaks takes along what is not.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return Some((Err(std::io::Error::other("cut on purpose")), (body, rules, call, None)));
                }
                (_, Some(frame)) => return Some((Ok(frame), (body, rules, call, None))),
                (_, None) => {
                    let next = tokio::select! {
                        next = body.next() => next?,
                        _ = rules.changed() => continue,
                    };
                    match next {
                        Ok(frame) => kept = Some(frame),
                        Err(error) => return Some((Err(std::io::Error::other(error)), (body, rules, call, None))),
                    }
                }
            }
        }
    });
    // What it streams after the word that all is gone, nobody reads.
    Response::from_parts(parts, Body::from_stream(frames))
}

/// How the API server says within a watch that its version is too old.
const GONE: &[u8] =
    b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\
    \"code\":410,\"reason\":\"Expired\",\"message\":\"too old resource version: on purpose\"}}\n";

#[cfg(test)]
mod tests;
