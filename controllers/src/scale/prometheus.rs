//! Prometheus, asked directly: one number now, or the history of one. No series, several, and what is not a number are told
//! apart from zero. The servers are whoever writes an autoscaler names, so of an answer no more is read than it may have.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use kube::Config;
use kube::client::ConfigExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use trimtab::{Held, Reader};
use trimtab_crds::Milli;
use trimtab_scale::{Missing, Observation};

use super::lookups::{FOR, Names};
use super::metrics::missing;
use super::shared::TIMEOUT;

/// The most bytes of the answer to a query: one number, and the labels of its series.
pub(super) const NUMBER: usize = 64 << 10;
/// The most bytes of a history: some thousand numbers.
pub(super) const HISTORY: usize = 512 << 10;
/// The most bytes of the head of an answer.
pub(super) const HEAD: usize = 64 << 10;
/// Connections to one server that are kept for the next questions.
const IDLE: usize = 2;
/// For how long they are kept: longer than most autoscalers wait between two decisions.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// To how many servers connections are kept at all, for one namespace to half of them; those to others end with the answer.
pub(super) const KEPT_TO: usize = 256;

type Https = Client<hyper_rustls::HttpsConnector<HttpConnector<Names>>, Empty<Bytes>>;

/// Who asks, and which server.
pub(super) type At<'a> = (&'a str, &'a str);

/// The client of all servers.
#[derive(Default)]
pub(super) struct Servers {
    names: Names,
    client: OnceLock<Result<Https, String>>,
    kept: Mutex<Kept>,
}

/// The servers to which connections are kept.
struct Kept {
    held: Held,
    by_address: HashMap<String, KeptTo>,
}

/// A server to which connections are kept.
struct KeptTo {
    /// For whom: who asked it first.
    namespace: String,
    /// When it was last asked.
    asked: Instant,
}

impl Default for Kept {
    fn default() -> Self {
        Self { held: Held::half_of(KEPT_TO), by_address: HashMap::new() }
    }
}

impl Kept {
    /// Gives up those to which there is no connection any more.
    fn forget(&mut self, now: Instant) {
        for (_, server) in self.by_address.extract_if(|_, to| now.duration_since(to.asked) >= IDLE_FOR) {
            self.held.give_back(&server.namespace);
        }
    }
}

/// What every answer of Prometheus has.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// What a query gives; what `result` is depends on the type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow, default)]
    result_type: Cow<'a, str>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

/// A time in seconds, and a number as text.
#[derive(Deserialize)]
struct Point<'a>(f64, #[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Sample<'a> {
    #[serde(borrow)]
    value: Point<'a>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow, default)]
    values: Vec<Point<'a>>,
}

impl Servers {
    #[cfg(test)]
    pub(super) fn named_by(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// Whether connections to a server are kept once it has been asked for a namespace.
    fn keeps(&self, now: Instant, namespace: &str, address: &str) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = kept.by_address.get_mut(address) {
            to.asked = now;
            return true;
        }
        if !kept.held.may_take(namespace) {
            kept.forget(now);
        }
        let may = kept.held.may_take(namespace);
        if may {
            kept.held.take(namespace);
            kept.by_address.insert(address.to_owned(), KeptTo { namespace: namespace.to_owned(), asked: now });
        }
        may
    }

    fn client(&self) -> Result<&Https, String> {
        let made = self.client.get_or_init(|| {
            let nowhere = Config::new(Uri::from_static("http://localhost"));
            let mut tcp = HttpConnector::new_with_resolver(self.names.clone());
            tcp.enforce_http(false);
            let connector = nowhere.rustls_https_connector_with_connector(tcp).map_err(|error| error.to_string())?;
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(IDLE).pool_idle_timeout(IDLE_FOR);
            Ok(builder.http1_max_buf_size(HEAD).build(connector))
        });
        made.as_ref().map_err(|error| format!("there is no client: {error}"))
    }

    /// Sends a request for a namespace; gives the text of the answer's data.
    async fn ask(&self, (namespace, address): At<'_>, path: &str, most: usize) -> Result<Box<RawValue>, String> {
        let uri: Uri = format!("{}{path}", address.trim_end_matches('/'))
            .parse()
            .map_err(|error| format!("{address:?} is no address: {error}"))?;
        let mut request = Request::get(uri);
        if !self.keeps(Instant::now(), namespace, address) {
            request = request.header(CONNECTION, "close");
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(TIMEOUT, async {
            let response = FOR.scope(namespace.to_owned(), self.client()?.request(request)).await;
            let response =
                response.map_err(|error| format!("{address} does not answer: {:#}", anyhow::Error::from(error)))?;
            let code = response.status();
            match Limited::new(response.into_body(), most).collect().await {
                Ok(body) => Ok((code, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => {
                    Err(format!("{address} answered with more than {} KiB: make the query give one series", most >> 10))
                }
                Err(error) => Err(format!("{address}: the answer breaks off: {error}")),
            }
        });
        let (code, bytes) =
            answer.await.map_err(|_| format!("{address} did not answer within {} s", TIMEOUT.as_secs()))??;
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(&bytes) else {
            return Err(format!("{address} answered {code}, and not as Prometheus does: check the address"));
        };
        if answer.status != "success" {
            let error: String = answer.error.chars().take(300).collect();
            return Err(format!("{address} answered {code}: {error}"));
        }
        answer.data.map(ToOwned::to_owned).ok_or_else(|| format!("{address} answered without data: check the address"))
    }

    /// The number that a query gives now.
    pub(super) async fn now(&self, at: At<'_>, query: &str) -> Observation {
        match self.ask(at, &format!("/api/v1/query?query={}", Reader::encoded(query)), NUMBER).await {
            Ok(data) => one(data.get()),
            Err(why) => missing(Missing::Unreachable, why),
        }
    }

    /// The numbers that a query gave, one for each step, the oldest first; none where there was none.
    pub(super) async fn history(
        &self,
        at: At<'_>,
        query: &str,
        until: Timestamp,
        step_seconds: u32,
        count: u32,
    ) -> Result<Vec<Option<f64>>, String> {
        let (step, end) = (i64::from(step_seconds), until.as_second());
        let start = end - step * i64::from(count.saturating_sub(1));
        let query = Reader::encoded(query);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let data = self.ask(at, &path, HISTORY).await?;
        let read = || {
            let data: Data<'_> = serde_json::from_str(data.get()).ok()?;
            serde_json::from_str::<Vec<Series<'_>>>(data.result?.get()).ok()
        };
        let series = read().ok_or_else(|| "the query gives no history: it must give a series".to_owned())?;
        if series.len() > 1 {
            return Err(format!("the query gives {} series: sum them into one", series.len()));
        }
        let mut values = vec![None; usize::try_from(count).unwrap_or(0)];
        for Point(at, number) in series.first().map(|series| series.values.as_slice()).unwrap_or_default() {
            let slot = usize::try_from((*at as i64 - start).div_euclid(step)).ok();
            if let (Some(slot), Ok(value)) = (slot.and_then(|slot| values.get_mut(slot)), number.parse::<f64>()) {
                *slot = Some(value).filter(|value| value.is_finite());
            }
        }
        Ok(values)
    }
}

/// The one number of an answer's data.
fn one(data: &str) -> Observation {
    let not_a_number = |message: String| missing(Missing::NotANumber, message);
    let Ok(data) = serde_json::from_str::<Data<'_>>(data) else {
        return not_a_number("the query gives no number".to_owned());
    };
    let result = data.result.map(RawValue::get).unwrap_or_default();
    let no_number = || not_a_number("the query gives no number".to_owned());
    let (at, number) = match data.result_type.as_ref() {
        "scalar" => match serde_json::from_str::<Point<'_>>(result) {
            Ok(Point(at, number)) => (at, number),
            Err(_) => return no_number(),
        },
        "vector" => match serde_json::from_str::<Vec<Sample<'_>>>(result) {
            Ok(samples) if samples.is_empty() => {
                let message = "the query gives no series: if that is to mean 0, write `query or vector(0)`";
                return missing(Missing::NoMetrics, message);
            }
            Ok(samples) if samples.len() > 1 => {
                let count = samples.len();
                let message = format!("the query gives {count} series: make it one, for example by sum(...)");
                return missing(Missing::ManySeries, message);
            }
            Ok(mut samples) => match samples.pop() {
                Some(Sample { value: Point(at, number) }) => (at, number),
                None => return no_number(),
            },
            Err(_) => return no_number(),
        },
        other => {
            let kind = if other.is_empty() { "nothing" } else { other };
            let kind: String = kind.chars().take(40).collect();
            return not_a_number(format!("the query gives a {kind}, not one number for now"));
        }
    };
    let Ok(value) = number.parse::<f64>() else { return no_number() };
    let at = Timestamp::from_millisecond((at * 1000.0) as i64).ok();
    match Milli::of(value) {
        Some(value) => Observation::Total { values: vec![value], at },
        None => not_a_number(format!("the query gives {value}")),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use serde_json::{Value, json};

    use super::*;

    fn check(data: &Value, expected: Result<i64, Missing>) {
        let found = match one(&data.to_string()) {
            Observation::Total { values, .. } => Ok(values[0].0),
            Observation::Missing { why, .. } => Err(why),
            Observation::Pods(_) => panic!("pods"),
        };
        assert_eq!(found, expected, "{data}");
    }

    #[test]
    fn connections_are_kept_to_few_servers() {
        let (servers, begin) = (Servers::default(), Instant::now());
        let ask = |second, namespace: &str, number: usize| {
            let address = format!("http://{namespace}-{number}");
            servers.keeps(begin + Duration::from_secs(second), namespace, &address)
        };
        let kept = |second, namespace: &str, to: usize| (0..to).filter(|n| ask(second, namespace, *n)).count();
        assert_eq!(kept(0, "crowd", 300), KEPT_TO / 2);
        assert_eq!((kept(0, "calm", 3), kept(0, "other", 300)), (3, 63), "others have their share");
        // Who asks a server that is kept for another uses the same connections, and whoever asks keeps what they have.
        assert!(servers.keeps(begin, "late", "http://calm-0") && kept(20, "crowd", 300) == KEPT_TO / 2);
        assert_eq!(kept(29, "late", 300), 31);
        // What nobody has asked for longer than connections are kept makes room.
        assert_eq!(kept(40, "late", 300), 64, "what the others had is free");
        assert!(ask(40, "crowd", 0) && !ask(40, "crowd", 299));
    }

    #[test]
    fn one_number_is_told_from_none_and_many() {
        let vector = |result: Value| json!({"resultType": "vector", "result": result});
        check(&json!({"resultType": "scalar", "result": [1.5, "2.5"]}), Ok(2500));
        check(&json!({"result": [1, "2.5"], "resultType": "scalar"}), Ok(2500));
        check(&vector(json!([{"metric": {"a": "b"}, "value": [1, "0"]}])), Ok(0));
        check(&vector(json!([])), Err(Missing::NoMetrics));
        check(&vector(json!([{"value": [1, "1"]}, {"value": [1, "1"]}])), Err(Missing::ManySeries));
        for text in ["NaN", "+Inf", "-Inf", "1e300", "", "x"] {
            check(&vector(json!([{"value": [1, text]}])), Err(Missing::NotANumber));
        }
        check(&json!({"resultType": "matrix", "result": []}), Err(Missing::NotANumber));
        for nothing in [json!({}), json!([]), json!({"resultType": "scalar"}), vector(json!({"a": [[]]}))] {
            check(&nothing, Err(Missing::NotANumber));
        }
    }

    /// What is said of a server that answers this.
    async fn asked(answer: String) -> (Observation, Result<Vec<Option<f64>>, String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(|State(answer): State<String>| async { answer }).with_state(answer);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let servers = Servers::default();
        let now = servers.now(("ns", &address), "up").await;
        let history = servers.history(("ns", &address), "up", Timestamp::from_second(1000).unwrap(), 10, 3).await;
        server.abort();
        (now, history)
    }

    fn why(found: &Observation) -> String {
        match found {
            Observation::Missing { message, .. } => message.clone(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_as_far_as_it_may_go() {
        let data = |data: Value| json!({"status": "success", "data": data}).to_string();
        let number = data(json!({"resultType": "vector", "result": [{"value": [1, "3"]}]}));
        assert!(matches!(asked(number).await.0, Observation::Total { .. }));
        let (long, _) = asked(format!("{{\"status\": \"success\", \"data\": [{}0]}}", "[],".repeat(NUMBER))).await;
        assert!(why(&long).contains("more than 64 KiB"), "{long:?}");
        let points = json!([[980, "1"], [990, "NaN"], [1000, "3"], [2000, "4"]]);
        let (_, history) = asked(data(json!({"resultType": "matrix", "result": [{"values": points}]}))).await;
        assert_eq!(history.unwrap(), [Some(1.0), None, Some(3.0)]);
        let (_, nested) = asked(data(json!({"resultType": "matrix", "result": [[[[]]]]}))).await;
        assert!(nested.unwrap_err().contains("no history"));
        for odd in ["{}", "[", "", "nothing"] {
            assert!(why(&asked(odd.to_owned()).await.0).contains("answered 200"), "{odd}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_told() {
        let found = Servers::default().now(("ns", "http://["), "up").await;
        assert!(why(&found).contains("is no address"), "{found:?}");
        let nobody = Servers::default().now(("ns", "http://127.0.0.1:1"), "up").await;
        assert!(why(&nobody).contains("does not answer"), "{nobody:?}");
    }
}
