//! What tests of autoscalers need: a feed that answers as Prometheus does, and a record of every size that a Deployment had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Queries with an answer of their own, and when each got it first.
#[derive(Debug, Default)]
struct Own {
    answers: HashMap<String, String>,
    told: HashMap<String, Instant>,
}

/// A server that answers every query of Prometheus' API with one number, for as long as it lives.
#[derive(Debug)]
pub struct Feed {
    answer: Arc<Mutex<String>>,
    own: Arc<Mutex<Own>>,
    asked: Arc<Mutex<usize>>,
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
        let (answer, asked) = (Arc::new(Mutex::new(value.to_owned())), Arc::new(Mutex::new(0)));
        let own = Arc::new(Mutex::new(Own::default()));
        let (told, owned, counted) = (answer.clone(), own.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, told.clone(), owned.clone(), counted.clone()));
            }
        });
        Ok(Self { answer, own, asked, port, task })
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it answers from now on: a number, `NaN`, `none` for no series, `slow` for no answer, `error`.
    pub fn set(&self, value: &str) {
        value.clone_into(&mut self.answer.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it answers to one query from now on.
    pub fn set_for(&self, query: &str, value: &str) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.answers.insert(query.to_owned(), value.to_owned());
        own.told.remove(query);
    }

    /// When a query got its own answer first.
    pub fn told(&self, query: &str) -> Option<Instant> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).told.get(query).copied()
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The query of a request, as far as it is made of plain letters.
fn query_of(request: &[u8]) -> Option<String> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let path = std::str::from_utf8(line).ok()?.split(' ').nth(1)?;
    Some(path.split_once("query=")?.1.split('&').next()?.to_owned())
}

async fn serve(mut stream: TcpStream, answer: Arc<Mutex<String>>, own: Arc<Mutex<Own>>, asked: Arc<Mutex<usize>>) {
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
        let query = query_of(&seen);
        seen.clear();
        *asked.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let mut value = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(query) = query {
            let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = own.answers.get(&query).cloned() {
                own.told.entry(query).or_insert_with(Instant::now);
                value = answer;
            }
        }
        let series = match value.as_str() {
            "slow" => return tokio::time::sleep(std::time::Duration::from_secs(60)).await,
            "none" => String::new(),
            value => format!(r#"{{"metric":{{}},"value":[{},"{value}"]}}"#, jiff::Timestamp::now().as_second()),
        };
        let (code, body) = match value.as_str() {
            "error" => ("500 Internal Server Error", r#"{"status":"error","error":"broken"}"#.to_owned()),
            _ => ("200 OK", format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)),
        };
        let head =
            format!("HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
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

    /// The sizes so far, the one that it began with first.
    pub fn seen(&self) -> Vec<i32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
