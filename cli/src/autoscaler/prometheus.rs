//! What a Prometheus server has of an autoscaler's metrics in a time: each metric's own query, asked as a range, in pieces
//! that the server answers. Reads only, and nothing else of its API.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config, client::Body};
use serde::Deserialize;
use trimtab_backtest::{Feed, Row};
use trimtab_crds::{AutoscalerSpec, MetricSpec};

/// So many points of a series a server gives in one answer.
const POINTS: i64 = 11_000;
/// For one answer.
const TIME: Duration = Duration::from_secs(120);
/// More is no series of numbers any more.
const MOST: i64 = 5_000_000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The first sample.
    pub from: Timestamp,
    /// No sample is later.
    pub to: Timestamp,
    /// How far samples are apart.
    pub step: SignedDuration,
}

/// Asks a server for every metric of an autoscaler.
pub async fn fetch(address: &str, spec: &AutoscalerSpec, range: Range) -> Result<Feed> {
    let others: Vec<String> = spec.metrics.iter().filter(|m| m.prometheus.is_none()).map(MetricSpec::name).collect();
    if spec.metrics.is_empty() || !others.is_empty() {
        let what = if others.is_empty() { "cpu, which it measures by default,".to_owned() } else { others.join(", ") };
        bail!(
            "{what} has no query of its own for Prometheus: write what was measured into a file, and give --metrics FILE"
        );
    }
    let (from, to, step) = (range.from.as_second(), range.to.as_second(), range.step.as_secs().max(1));
    let points = (to - from) / step + 1;
    if !(2..=MOST).contains(&points) {
        bail!("from {} to {} is {points} samples: see --from, --to and --step", range.from, range.to);
    }
    let client = client(address)?;
    let mut columns = vec![];
    for metric in spec.metrics.iter().filter_map(|metric| metric.prometheus.as_ref()) {
        let mut column = vec![None; usize::try_from(points)?];
        let mut first = 0;
        while first < points {
            let last = (first + POINTS - 1).min(points - 1);
            let asked = Asked { query: &metric.query, start: from + first * step, end: from + last * step, step };
            let samples = ask(&client, address, &asked).await.with_context(|| format!("metric {}", metric.name))?;
            for (time, value) in samples {
                let index = ((time - from as f64) / step as f64).round();
                let place = if index >= 0.0 { column.get_mut(index as usize) } else { None };
                if let Some(place) = place {
                    *place = value;
                }
            }
            first = last + 1;
        }
        columns.push(column);
    }
    if columns.iter().all(|column| column.iter().all(Option::is_none)) {
        bail!("{address} has no sample from {} to {}: see its retention, --from and --to", range.from, range.to);
    }
    let row = |n: i64| {
        let at = Timestamp::from_second(from + n * step)?;
        let values = columns.iter().map(|column| column.get(usize::try_from(n).ok()?).copied().flatten());
        Ok(Row { at, values: values.collect() })
    };
    let rows: Result<Vec<Row>> = (0..points).map(row).collect();
    Ok(Feed::new(trimtab_backtest::names(spec), rows?)?)
}

fn client(address: &str) -> Result<Client> {
    let uri: http::Uri = address
        .parse()
        .ok()
        .filter(|uri: &http::Uri| uri.host().is_some())
        .with_context(|| format!("{address:?} is no address: write it as http://prometheus.monitoring:9090"))?;
    let mut config = Config::new(uri);
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(TIME);
    Client::try_from(config).context("no client can be made")
}

struct Asked<'a> {
    query: &'a str,
    start: i64,
    end: i64,
    step: i64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

/// One answer: the samples of the one series that it has.
async fn ask(client: &Client, address: &str, asked: &Asked<'_>) -> Result<Vec<(f64, Option<f64>)>> {
    let Asked { query, start, end, step } = asked;
    let path = format!("/api/v1/query_range?query={}&start={start}&end={end}&step={step}", encode(query));
    let request = http::Request::get(path).body(Body::empty())?;
    let unreachable = |error: kube::Error| {
        let error = anyhow::Error::new(error);
        anyhow!(
            "cannot reach Prometheus at {address}: {}: see whether it is up, or forward a port to it",
            error.root_cause()
        )
    };
    let response = client.send(request).await.map_err(unreachable)?;
    let status = response.status();
    let body = response.into_body().collect_bytes().await.map_err(unreachable)?;
    let answer: Option<Answer> = serde_json::from_slice(&body).ok();
    let said = answer.as_ref().map(|answer| answer.error.clone()).filter(|error| !error.is_empty());
    if let Some(said) = said {
        bail!("Prometheus says {said:?} of the query {query}");
    }
    let data = answer.and_then(|answer| answer.data).filter(|_| status.is_success());
    let data = data.with_context(|| {
        format!("{address} answered {status} and nothing that Prometheus would say: name the address above /api/v1")
    })?;
    match <[Series; 1]>::try_from(data.result) {
        Ok([series]) => Ok(series.values.into_iter().map(|(time, value)| (time, number(&value))).collect()),
        Err(series) if series.is_empty() => Ok(vec![]),
        Err(series) => bail!("the query {query} gives {} series and not one: put sum(…) around it", series.len()),
    }
}

/// NaN and the infinities are no sample.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// A text as it may stand in the query of a URL.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each request with what it is told to, and notes what it was asked.
    async fn server(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/prom", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 8192];
                let read = stream.read(&mut request).await.unwrap();
                let line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap().to_owned();
                let (status, body) = answer(&line);
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        (address, task)
    }

    fn spec() -> AutoscalerSpec {
        serde_json::from_value(json!({"targetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 9, "metrics": [
            {"type": "Prometheus", "prometheus": {"name": "rps", "address": "http://p:9090", "query": "sum(rate(x[1m]))",
             "target": {"type": "AverageValue", "averageValue": "10"}}}]}))
        .unwrap()
    }

    fn range(seconds: i64) -> Range {
        let at = |second| Timestamp::from_second(second).unwrap();
        Range { from: at(1_000_000), to: at(1_000_000 + seconds), step: SignedDuration::from_secs(15) }
    }

    fn parameter(line: &str, name: &str) -> i64 {
        let rest = line.split(&format!("{name}=")).nth(1).unwrap();
        rest.split(['&', ' ']).next().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_long_time_is_asked_for_in_pieces() {
        let (address, task) = server(|line| {
            assert!(
                line.starts_with("GET /prom/api/v1/query_range?query=sum%28rate%28x%5B1m%5D%29%29&start="),
                "{line}"
            );
            let (start, end) = (parameter(line, "start"), parameter(line, "end"));
            assert!((end - start) / 15 < POINTS, "{line}");
            let values: Vec<_> = (start..=end).step_by(15).map(|at| json!([at, format!("{}", at % 100)])).collect();
            (
                200,
                json!({"status": "success", "data": {"resultType": "matrix", "result": [{"values": values}]}})
                    .to_string(),
            )
        })
        .await;
        let feed = fetch(&address, &spec(), range(15 * 25_000)).await.unwrap();
        assert_eq!((feed.columns.as_slice(), feed.len()), (["rps".to_owned()].as_slice(), 25_001));
        assert_eq!((feed.start(), feed.end()), (range(0).from, range(15 * 25_000).to));
        task.abort();
    }

    async fn fails(status: u16, body: &str, expected: &str) {
        let body = body.to_owned();
        let (address, task) = server(move |_| (status, body.clone())).await;
        let error = fetch(&address, &spec(), range(60)).await.unwrap_err();
        let text = format!("{error:#}").replace(&address, "URL");
        assert!(text.contains(expected), "{text}");
        task.abort();
    }

    #[tokio::test]
    async fn what_a_server_cannot_answer_is_told() {
        fails(400, r#"{"status":"error","error":"parse error"}"#, "metric rps: Prometheus says \"parse error\"").await;
        fails(404, "nothing here", "URL answered 404 Not Found and nothing that Prometheus would say").await;
        let two = r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[]},{"values":[]}]}}"#;
        fails(200, two, "gives 2 series and not one: put sum(…) around it").await;
        let none = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        fails(200, none, "URL has no sample from 1970-01-12T13:46:40Z").await;
        let nothing = fetch("http://127.0.0.1:1", &spec(), range(60)).await.unwrap_err();
        assert!(format!("{nothing:#}").contains("cannot reach Prometheus at http://127.0.0.1:1"), "{nothing:#}");
    }

    #[tokio::test]
    async fn other_metrics_need_a_file() {
        let mut spec = spec();
        spec.metrics.push(MetricSpec::default_cpu());
        let error = fetch("http://127.0.0.1:1", &spec, range(60)).await.unwrap_err().to_string();
        assert!(error.starts_with("cpu has no query of its own for Prometheus"), "{error}");
    }
}
