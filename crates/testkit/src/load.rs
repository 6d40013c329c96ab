//! A steady stream of HTTP requests against an address of a local cluster, and a count of what came back. Not a benchmark: it asks whether
//! anything fails, not how fast it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many different error messages a report keeps.
const MESSAGES: usize = 10;

/// How the requests are made.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// How many requests are under way at a time.
    pub concurrency: usize,
    /// Whether a connection is used again. Without, every request meets the Service's choice of a pod anew.
    pub keep_alive: bool,
    /// How long each of them rests between two requests.
    pub pause: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// When it ends even if nobody stops it.
    pub at_most: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            keep_alive: false,
            pause: Duration::from_millis(5),
            timeout: Duration::from_secs(5),
            at_most: Duration::from_secs(600),
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Answers with a status of 2xx.
    pub ok: u64,
    /// Everything else: other statuses, refused and broken connections, no answer in time.
    pub failed: u64,
    /// The first different reasons of what failed.
    pub errors: Vec<String>,
    /// How many answers each version of the application gave, by the `version` of its JSON.
    pub by_version: BTreeMap<String, u64>,
}

/// Requests under way. They end with `stop`, or when this value is dropped.
#[derive(Debug)]
pub struct Load {
    report: Arc<Mutex<LoadReport>>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

impl Load {
    /// Starts asking for the URL with so many requests at a time, each over a connection of its own.
    pub fn start(url: &str, concurrency: usize) -> Result<Load> {
        Self::with(url, LoadOptions { concurrency, ..Default::default() })
    }

    /// The same with every choice.
    pub fn with(url: &str, options: LoadOptions) -> Result<Load> {
        let target = Arc::new(Target::parse(url)?);
        let report = Arc::new(Mutex::new(LoadReport::default()));
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for _ in 0..options.concurrency {
            workers.spawn(work(target.clone(), options.clone(), report.clone(), stopped.clone()));
        }
        Ok(Load { report, stop, workers })
    }

    /// What has come back so far.
    pub fn so_far(&self) -> LoadReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the requests under way end, and returns the whole count.
    pub async fn stop(mut self) -> LoadReport {
        let _ = self.stop.send(true);
        while self.workers.join_next().await.is_some() {}
        self.so_far()
    }
}

struct Target {
    address: String,
    request: [Vec<u8>; 2],
}

impl Target {
    fn parse(url: &str) -> Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "`{url}` is not plain http, which is all that this client speaks");
        let host = uri.host().with_context(|| format!("`{url}` has no host"))?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let request = |connection| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: trimtab-load\r\nConnection: {connection}\r\n\r\n"
            )
            .into_bytes()
        };
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(Self { address, request: [request("close"), request("keep-alive")] })
    }
}

async fn work(
    target: Arc<Target>,
    options: LoadOptions,
    report: Arc<Mutex<LoadReport>>,
    mut stopped: watch::Receiver<bool>,
) {
    let end = Instant::now() + options.at_most;
    let mut connection = None;
    while Instant::now() < end && !*stopped.borrow() {
        let answer = tokio::time::timeout(options.timeout, ask(&target, &mut connection, options.keep_alive)).await;
        let answer = answer.unwrap_or_else(|_| {
            connection = None;
            bail!("no answer in {:?}", options.timeout)
        });
        count(&report, answer);
        tokio::select! {
            () = tokio::time::sleep(options.pause) => {}
            _ = stopped.changed() => {}
        }
    }
}

fn count(report: &Mutex<LoadReport>, answer: Result<Answer>) {
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    let error = match answer {
        Ok(answer) if (200..300).contains(&answer.status) => {
            report.ok += 1;
            if let Some(version) = version(&answer.body) {
                *report.by_version.entry(version).or_default() += 1;
            }
            return;
        }
        Ok(answer) => format!("status {}", answer.status),
        Err(e) => format!("{e:#}"),
    };
    report.failed += 1;
    if report.errors.len() < MESSAGES && !report.errors.contains(&error) {
        report.errors.push(error);
    }
}

fn version(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(json.get("version")?.as_str()?.to_owned())
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// One request. A used connection that the server has closed in the meantime is replaced, as every HTTP client does.
async fn ask(target: &Target, kept: &mut Option<TcpStream>, keep_alive: bool) -> Result<Answer> {
    let request = &target.request[usize::from(keep_alive)];
    if let Some(mut used) = kept.take() {
        let sent = used.write_all(request).await.is_ok();
        let first = if sent { read_some(&mut used, &mut Vec::new()).await.ok().flatten() } else { None };
        if let Some(begun) = first {
            return receive(used, begun, kept, keep_alive).await;
        }
    }
    let mut fresh = TcpStream::connect(&target.address).await.context("cannot connect")?;
    fresh.set_nodelay(true)?;
    fresh.write_all(request).await.context("cannot send")?;
    receive(fresh, Vec::new(), kept, keep_alive).await
}

/// The next bytes appended to those that are there; nothing at the end of the stream.
async fn read_some(stream: &mut TcpStream, begun: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    let mut buffer = std::mem::take(begun);
    let n = stream.read_buf(&mut buffer).await?;
    Ok((n > 0).then_some(buffer))
}

async fn receive(
    mut stream: TcpStream,
    mut text: Vec<u8>,
    kept: &mut Option<TcpStream>,
    keep_alive: bool,
) -> Result<Answer> {
    loop {
        if let Some((answer, reusable)) = parse(&text)? {
            if reusable && keep_alive {
                *kept = Some(stream);
            }
            return Ok(answer);
        }
        match read_some(&mut stream, &mut text).await.context("the connection broke within an answer")? {
            Some(more) => text = more,
            None => bail!("the connection was closed before the answer's end"),
        }
    }
}

/// The answer once all of it is there, and whether the connection can be used again.
fn parse(text: &[u8]) -> Result<Option<(Answer, bool)>> {
    let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&text[..end]).context("the answer's head is no text")?;
    let body = &text[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let status = status.with_context(|| format!("no status in the answer's first line: {head}"))?;
    let (mut length, mut chunked, mut close) = (None, false, false);
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_ascii_lowercase());
        match name.as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "transfer-encoding" => chunked = value.contains("chunked"),
            "connection" => close = value.contains("close"),
            _ => {}
        }
    }
    let complete = if chunked { body.ends_with(b"0\r\n\r\n") } else { body.len() >= length.unwrap_or(0) };
    Ok(complete.then(|| (Answer { status, body: body.to_vec() }, !close)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn serve(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers.into_iter().cycle() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn good_answers_failures_and_versions_are_told_apart() {
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"version\":\"v1\"}";
        let url = serve(vec![good, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", ""]).await;
        let load = Load::start(&url, 1).unwrap();
        crate::eventually("some answers", Duration::from_secs(10), async || {
            Ok((load.so_far().failed >= 4).then_some(()))
        })
        .await
        .unwrap();
        let report = load.stop().await;
        assert!(report.ok >= 2);
        assert_eq!(report.by_version.get("v1"), Some(&report.ok));
        assert_eq!(report.errors, ["status 500", "the connection was closed before the answer's end"]);
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_is_replaced() {
        let url = serve(vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
        let load = Load::with(&url, LoadOptions { concurrency: 1, keep_alive: true, ..Default::default() }).unwrap();
        crate::eventually("three answers", Duration::from_secs(10), async || Ok((load.so_far().ok >= 3).then_some(())))
            .await
            .unwrap();
        assert_eq!(load.stop().await.failed, 0);
    }
}
