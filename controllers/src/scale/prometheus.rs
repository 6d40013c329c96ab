//! Prometheus, asked directly: one number now, or the history of one. No series, several, and what is not a number are told
//! apart from zero.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::Request;
use jiff::Timestamp;
use kube::client::Body;
use kube::{Client, Config};
use serde_json::Value;
use trimtab::Reader;
use trimtab_crds::Milli;
use trimtab_scale::{Missing, Observation};

use super::metrics::missing;
use super::shared::TIMEOUT;

/// The most bytes of an answer: a query that gives more is not one for an autoscaler.
const MOST: usize = 4 << 20;
/// The most servers that are remembered.
const SERVERS: usize = 200;

/// Clients by address.
#[derive(Default)]
pub(super) struct Servers {
    clients: Mutex<HashMap<String, Client>>,
}

impl Servers {
    fn client(&self, address: &str) -> Result<Client, String> {
        let mut all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = all.get(address) {
            return Ok(client.clone());
        }
        let uri =
            address.trim_end_matches('/').parse().map_err(|error| format!("{address:?} is no address: {error}"))?;
        let mut config = Config::new(uri);
        (config.connect_timeout, config.read_timeout) = (Some(TIMEOUT), Some(TIMEOUT));
        let client = Client::try_from(config).map_err(|error| format!("{address}: {error}"))?;
        if all.len() >= SERVERS {
            all.clear();
        }
        all.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    /// Sends a request and reads the answer's data.
    async fn ask(&self, address: &str, path: &str) -> Result<Value, String> {
        let client = self.client(address)?;
        let request = Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(TIMEOUT, async {
            let response = client.send(request).await.map_err(|error| format!("{address} does not answer: {error}"))?;
            let code = response.status();
            let body = http_body_util::Limited::new(response.into_body(), MOST);
            let bytes = http_body_util::BodyExt::collect(body).await;
            let bytes = bytes.map_err(|error| format!("{address}: the answer breaks off or is too long: {error}"))?;
            Ok::<_, String>((code, bytes.to_bytes()))
        });
        let (code, bytes) =
            answer.await.map_err(|_| format!("{address} did not answer within {} s", TIMEOUT.as_secs()))??;
        let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
            return Err(format!("{address} answered {code}, and not as Prometheus does: check the address"));
        };
        if value["status"] != "success" {
            let error: String = value["error"].as_str().unwrap_or_default().chars().take(300).collect();
            return Err(format!("{address} answered {code}: {error}"));
        }
        Ok(value["data"].take())
    }

    /// The number that a query gives now.
    pub(super) async fn now(&self, address: &str, query: &str) -> Observation {
        match self.ask(address, &format!("/api/v1/query?query={}", Reader::encoded(query))).await {
            Ok(data) => one(&data),
            Err(why) => missing(Missing::Unreachable, why),
        }
    }

    /// The numbers that a query gave, one for each step, the oldest first; none where there was none.
    pub(super) async fn history(
        &self,
        address: &str,
        query: &str,
        until: Timestamp,
        step_seconds: u32,
        count: u32,
    ) -> Result<Vec<Option<f64>>, String> {
        let (step, end) = (i64::from(step_seconds), until.as_second());
        let start = end - step * i64::from(count.saturating_sub(1));
        let query = Reader::encoded(query);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let data = self.ask(address, &path).await?;
        let series = data["result"].as_array().map(Vec::as_slice).unwrap_or_default();
        if series.len() > 1 {
            return Err(format!("the query gives {} series: sum them into one", series.len()));
        }
        let mut values = vec![None; usize::try_from(count).unwrap_or(0)];
        for point in series.first().and_then(|series| series["values"].as_array()).into_iter().flatten() {
            let at = point[0].as_f64().unwrap_or_default() as i64;
            let slot = usize::try_from((at - start).div_euclid(step)).ok().and_then(|slot| values.get_mut(slot));
            if let (Some(slot), Some(value)) = (slot, number(&point[1])) {
                *slot = Some(value).filter(|value| value.is_finite());
            }
        }
        Ok(values)
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_str()?.parse().ok()
}

/// The one number of an answer.
fn one(data: &Value) -> Observation {
    let result = &data["result"];
    let point = match data["resultType"].as_str() {
        Some("scalar") => result,
        Some("vector") => match result.as_array().map(Vec::as_slice).unwrap_or_default() {
            [] => {
                let message = "the query gives no series: if that is to mean 0, write `query or vector(0)`";
                return missing(Missing::NoMetrics, message);
            }
            [one] => &one["value"],
            many => {
                let message = format!("the query gives {} series: make it one, for example by sum(...)", many.len());
                return missing(Missing::ManySeries, message);
            }
        },
        other => {
            let kind = other.unwrap_or("nothing");
            return missing(Missing::NotANumber, format!("the query gives a {kind}, not one number for now"));
        }
    };
    let Some(value) = number(&point[1]) else { return missing(Missing::NotANumber, "the query gives no number") };
    let at = point[0].as_f64().and_then(|at| Timestamp::from_millisecond((at * 1000.0) as i64).ok());
    match Milli::of(value) {
        Some(value) => Observation::Total { values: vec![value], at },
        None => missing(Missing::NotANumber, format!("the query gives {value}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(data: &Value, expected: Result<i64, Missing>) {
        let found = match one(data) {
            Observation::Total { values, .. } => Ok(values[0].0),
            Observation::Missing { why, .. } => Err(why),
            Observation::Pods(_) => panic!("pods"),
        };
        assert_eq!(found, expected, "{data}");
    }

    #[test]
    fn one_number_is_told_from_none_and_many() {
        let vector = |result: Value| json!({"resultType": "vector", "result": result});
        check(&json!({"resultType": "scalar", "result": [1.5, "2.5"]}), Ok(2500));
        check(&vector(json!([{"value": [1, "0"]}])), Ok(0));
        check(&vector(json!([])), Err(Missing::NoMetrics));
        check(&vector(json!([{"value": [1, "1"]}, {"value": [1, "1"]}])), Err(Missing::ManySeries));
        for text in ["NaN", "+Inf", "-Inf", "1e300"] {
            check(&vector(json!([{"value": [1, text]}])), Err(Missing::NotANumber));
        }
        check(&json!({"resultType": "matrix", "result": []}), Err(Missing::NotANumber));
    }
}
