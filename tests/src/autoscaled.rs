//! What tests of autoscalers need: a feed that answers as Prometheus does, and a record of every size that a Deployment had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use trimtab_testkit::eventually;

/// Queries with an answer of their own, and when each got it first.
#[derive(Debug, Default)]
struct Own {
    answers: HashMap<String, String>,
    told: HashMap<String, Instant>,
}

/// A past in which every day was the same: a rush of one hour, and little else.
#[derive(Debug, Clone, Copy)]
pub struct Rush {
    /// When it begins, in seconds since 1970; and at the same time of every day before.
    pub begins: i64,
    /// What there is in that hour.
    pub high: f64,
    /// What there is else.
    pub low: f64,
}

impl Rush {
    fn at(self, second: i64) -> f64 {
        if (second - self.begins).rem_euclid(24 * 3600) < 3600 { self.high } else { self.low }
    }
}

/// What a feed answers, and what it was asked.
#[derive(Debug, Default)]
struct Known {
    answer: Mutex<String>,
    own: Mutex<Own>,
    past: Mutex<Option<Rush>>,
    asked: Mutex<usize>,
}

/// A server that answers every query of Prometheus' API with one number, for as long as it lives.
#[derive(Debug)]
pub struct Feed {
    known: Arc<Known>,
    port: u16,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts one that answers with this number.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn start(value: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the feed")?;
        let port = listener.local_addr()?.port();
        let known = Arc::new(Known { answer: Mutex::new(value.to_owned()), ..Known::default() });
        let told = known.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, told.clone()));
            }
        });
        Ok(Self { known, port, task })
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it answers from now on: a number, `NaN`, `none` for no series, `slow` for no answer, `error`.
    pub fn set(&self, value: &str) {
        value.clone_into(&mut self.known.answer.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it answers to one query from now on.
    pub fn set_for(&self, query: &str, value: &str) {
        let mut own = self.known.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.answers.insert(query.to_owned(), value.to_owned());
        own.told.remove(query);
    }

    /// What it tells of the past from now on; before, nothing.
    pub fn set_past(&self, past: Rush) {
        *self.known.past.lock().unwrap_or_else(PoisonError::into_inner) = Some(past);
    }

    /// When a query got its own answer first.
    pub fn told(&self, query: &str) -> Option<Instant> {
        self.known.own.lock().unwrap_or_else(PoisonError::into_inner).told.get(query).copied()
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        *self.known.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A parameter of a request, as far as it is made of plain letters.
fn parameter(request: &[u8], name: &str) -> Option<String> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let path = std::str::from_utf8(line).ok()?.split(' ').nth(1)?;
    let value = path.split_once('?')?.1.split('&').find_map(|one| one.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.to_owned())
}

/// The answer about the past, if that is what is asked for.
fn past(request: &[u8], rush: Option<Rush>) -> Option<String> {
    let [start, end, step] = ["start", "end", "step"].map(|name| parameter(request, name)?.parse::<i64>().ok());
    let (start, end, step) = (start?, end?, usize::try_from(step?).ok().filter(|step| *step > 0)?);
    let values: Vec<_> =
        rush.iter().flat_map(|rush| (start..=end).step_by(step).map(|at| (at, rush.at(at).to_string()))).collect();
    let series = if values.is_empty() { json!([]) } else { json!([{ "metric": {}, "values": values }]) };
    Some(json!({ "status": "success", "data": { "resultType": "matrix", "result": series } }).to_string())
}

async fn serve(mut stream: TcpStream, known: Arc<Known>) {
    let mut seen = vec![];
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        seen.extend_from_slice(&buffer[..read]);
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        let request = std::mem::take(&mut seen);
        *known.asked.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let rush = *known.past.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, body) = match past(&request, rush) {
            Some(body) => ("200 OK", body),
            None => match now(&request, &known) {
                Some(answer) => answer,
                None => return tokio::time::sleep(std::time::Duration::from_secs(60)).await,
            },
        };
        let head =
            format!("HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The answer about now; none from a feed that is slow.
fn now(request: &[u8], known: &Known) -> Option<(&'static str, String)> {
    let mut value = known.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(query) = parameter(request, "query") {
        let mut own = known.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = own.answers.get(&query).cloned() {
            own.told.entry(query).or_insert_with(Instant::now);
            value = answer;
        }
    }
    let result = match value.as_str() {
        "slow" => return None,
        "error" => {
            return Some(("500 Internal Server Error", json!({ "status": "error", "error": "broken" }).to_string()));
        }
        "none" => json!([]),
        value => json!([{ "metric": {}, "value": [jiff::Timestamp::now().as_second(), value] }]),
    };
    let data = json!({ "resultType": "vector", "result": result });
    Some(("200 OK", json!({ "status": "success", "data": data }).to_string()))
}

/// Every size that was asked of a Deployment since this began, without repetitions.
#[derive(Debug)]
pub struct Sizes {
    seen: Arc<Mutex<Vec<i32>>>,
    task: JoinHandle<()>,
}

impl Sizes {
    /// Begins to record.
    pub fn watch(deployments: Api<Deployment>, name: &str) -> Self {
        let seen = Arc::new(Mutex::new(vec![]));
        let (noted, name) = (seen.clone(), format!("metadata.name={name}"));
        let task = tokio::spawn(async move {
            let changes = watcher(deployments, watcher::Config::default().fields(&name)).default_backoff();
            let _ended = changes
                .applied_objects()
                .try_for_each(|deployment| {
                    let size = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
                    let mut all = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    if all.last() != Some(&size) {
                        all.push(size);
                    }
                    futures::future::ready(Ok(()))
                })
                .await;
        });
        Self { seen, task }
    }

    /// The sizes up to one that the Deployment has now, the one that it began with first: what others have read already may not have
    /// come here yet.
    ///
    /// # Errors
    ///
    /// If that size does not come.
    pub async fn up_to(&self, last: i32) -> Result<Vec<i32>> {
        eventually("the size to be seen", Duration::from_secs(10), async || {
            let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ensure!(all.last() == Some(&last), "so far {all:?}");
            Ok(Some(all))
        })
        .await
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
