//! Answers to what decisions ask: scales, metrics and forecasts, each from its own server. Not what follows from them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use trimtab::{Answerer, Apart, Reader, Shares, Unanswered};
use trimtab_crds::ScaleTargetRef;
use trimtab_forecast::{Series, Settings, forecast};
use trimtab_plan::Answer;
use trimtab_reload::LabelSelector;
use trimtab_scale::questions::{
    FORECAST, ForecastQuestion, FoundScale, METRIC, MetricQuestion, SCALE, ScaleQuestion, source,
};
use trimtab_scale::{ForecastView, Missing, Observation, SELECTOR};

use super::crowds::Crowds;
use super::discovery::{Discovery, Served};
use super::grant::Grant;
use super::metrics::{self, Used, missing};
use super::prometheus::Servers;
use super::shared::{LISTS, OBSERVATIONS, Shared};

/// The steps of the history that a forecast rests on, in seconds, and how much of it is read: three weeks, since a week
/// counts only if there is one to try it on.
const STEP_SECONDS: u32 = 300;
const HISTORY_SECONDS: u32 = 21 * 24 * 3600;
const SEASONS: [u32; 2] = [24 * 3600, 7 * 24 * 3600];

/// The name under which the API server's own turns are counted: what it passes on to is behind it.
const API_SERVER: &str = "metrics";

/// Questions to servers of metrics at a time, of one namespace half of them.
pub(super) const TURNS: usize = 64;
/// Forecasts at a time, of one namespace half of them.
pub(super) const FORECASTS: usize = 4;
/// The most bytes of a scale.
const ONE_SCALE: usize = 256 << 10;

struct Sources {
    discovery: Discovery,
    servers: Servers,
    observations: Shared<Arc<Observation>>,
    lists: Shared<Arc<Result<Used, Unanswered>>>,
    crowds: Crowds,
    /// Lists that are looked at.
    parsing: Apart,
    forecasts: Apart,
}

impl Default for Sources {
    fn default() -> Self {
        let turns = Shares::of_work(TURNS);
        Self {
            discovery: Discovery::default(),
            servers: Servers::default(),
            observations: Shared::in_turns(turns.clone(), OBSERVATIONS, |found| metrics::taken(found)),
            lists: Shared::in_turns(turns, LISTS, |found| Used::taken(found)),
            crowds: Crowds::default(),
            parsing: Apart::new(metrics::APART),
            forecasts: Apart::new(FORECASTS),
        }
    }
}

/// Answers the controller's questions.
pub fn answerer() -> Answerer {
    let sources = Arc::new(Sources::default());
    Answerer::new(move |reader, name, input| {
        let sources = sources.clone();
        async move { sources.answer(&reader, name, input).await }
    })
}

impl Sources {
    async fn answer(&self, reader: &Reader, name: &str, input: Value) -> Answer {
        match name {
            SCALE => match ScaleQuestion::deserialize(&input) {
                Ok(question) => self.scale(reader, &question).await,
                Err(error) => Answer::Failed(error.to_string()),
            },
            METRIC => match MetricQuestion::deserialize(&input) {
                Ok(question) => {
                    let patience = Duration::from_millis(u64::try_from(question.patience_ms).unwrap_or(0));
                    let found = tokio::time::timeout(patience, self.metric(reader, &question)).await;
                    let found = found.unwrap_or_else(|_| {
                        let message = format!("no answer within {} ms", question.patience_ms);
                        Arc::new(missing(Missing::Unreachable, message))
                    });
                    // As text: a tree of values takes several times as much, for each pod.
                    let text = serde_json::to_string(&*found);
                    text.map_or_else(|e| Answer::Failed(e.to_string()), |text| Answer::Object(Value::String(text)))
                }
                Err(error) => Answer::Failed(error.to_string()),
            },
            FORECAST => match ForecastQuestion::deserialize(&input) {
                Ok(question) => self.forecast(&question).await,
                Err(error) => Answer::Failed(error.to_string()),
            },
            other => Answer::Failed(format!("nothing answers {other:?}")),
        }
    }

    async fn scale(&self, reader: &Reader, question: &ScaleQuestion) -> Answer {
        let target = &question.target;
        let served = match self.discovery.kind(reader, &target.api_version, &target.kind).await {
            Ok(served) => served,
            Err(why) => return Answer::Failed(why),
        };
        if let Some(why) = refused(&served, target) {
            return Answer::Failed(why);
        }
        let path = format!("{}/{}/scale", served.path(&question.namespace), Reader::encoded(&target.name));
        let scale = match reader.get_path::<OneScale>(&path, ONE_SCALE).await {
            Ok(scale) => scale,
            Err(Unanswered::Failed(why) | Unanswered::TooLong(why)) => {
                return Answer::Failed(Grant::scale(&served.group, &served.plural).explain(why));
            }
            Err(Unanswered::NotFound) => return Answer::NotFound,
        };
        // One that cannot be read is none. One that is too long is not read.
        let selector = Some(scale.status.selector);
        let selector = selector.filter(|text| text.len() > SELECTOR || text.parse::<LabelSelector>().is_ok());
        let found = FoundScale {
            group: served.group,
            version: served.version,
            kind: target.kind.clone(),
            plural: served.plural,
            uid: scale.metadata.uid,
            resource_version: scale.metadata.resource_version,
            replicas: scale.spec.replicas,
            status_replicas: scale.status.replicas,
            selector: selector.unwrap_or_default(),
        };
        Answer::Object(json!(found))
    }

    /// What a metric is. Each is measured once in a step, however many ask.
    async fn metric(&self, reader: &Reader, question: &MetricQuestion) -> Arc<Observation> {
        let metric = &question.metric;
        if metric.resource.is_some() || metric.container_resource.is_some() {
            return Arc::new(self.resource(reader, question).await);
        }
        let id = source(metric, &question.namespace, &question.selector);
        let server = metric.prometheus.as_ref().map_or(API_SERVER, |source| source.address.as_str());
        let measure = || async {
            let (namespace, discovery) = (&question.namespace, &self.discovery);
            Arc::new(match (&metric.pods, &metric.object, &metric.external, &metric.prometheus) {
                (Some(source), ..) => metrics::of_pods(reader, discovery, question, &source.metric).await,
                (_, Some(source), ..) => metrics::of_object(reader, discovery, namespace, source).await,
                (_, _, Some(source), _) => metrics::external(reader, discovery, namespace, &source.metric).await,
                (.., Some(source)) => self.servers.now((namespace, &source.address), &source.query).await,
                _ => missing(Missing::ServerError, "the metric names no source"),
            })
        };
        self.observations.get(&id, question.since, (server, &question.namespace), measure).await
    }

    async fn resource(&self, reader: &Reader, question: &MetricQuestion) -> Observation {
        let (list, wide) = self
            .crowds
            .read(question, trimtab::clock::now(), |path, wide| async move {
                let measure =
                    || async { Arc::new(Used::read(reader, &path, wide, (&self.parsing, &question.namespace)).await) };
                self.lists.get(&path, question.since, (API_SERVER, &question.namespace), measure).await
            })
            .await;
        if !wide {
            return metrics::resource(&list, &question.metric, |_| true);
        }
        let Ok(selector) = question.selector.parse::<LabelSelector>() else {
            return missing(Missing::ServerError, "the target's selector is not understood");
        };
        metrics::resource(&list, &question.metric, |labels| selector.matches(labels))
    }

    /// What is expected of a query. The work is some hundredths of a second, on a thread of its own, and so is the history that it
    /// takes: both in the turn of its namespace.
    async fn forecast(&self, question: &ForecastQuestion) -> Answer {
        let own = question.spec.seasons.iter().filter_map(|season| u32::try_from(season.get()?.as_secs()).ok());
        let mut seasons: Vec<u32> = own.collect();
        if seasons.is_empty() {
            seasons = SEASONS.to_vec();
        }
        let slot = self.forecasts.slot(&question.namespace).await;
        let count = HISTORY_SECONDS / STEP_SECONDS;
        let (at, query) = ((question.namespace.as_str(), question.address.as_str()), &question.query);
        let values = match self.servers.history(at, query, question.until, STEP_SECONDS, count).await {
            Ok(values) => values,
            Err(why) => return Answer::Failed(why),
        };
        // Before the first sample there was nothing to measure: that is no gap.
        let values: Vec<Option<f64>> = values.into_iter().skip_while(Option::is_none).collect();
        let series = Series { end: question.until, step_seconds: STEP_SECONDS, values };
        let settings = Settings {
            season_seconds: seasons,
            horizon_seconds: question.horizon_seconds,
            quantile: f64::from(question.spec.percentile) / 100.0,
        };
        let worked = slot.run(move || forecast(&series, &settings)).await;
        match worked {
            Ok(found) => {
                let (peak, reason) = (found.peak, found.state.code().to_owned());
                Answer::Object(json!(ForecastView { peak, reason, message: found.message }))
            }
            Err(error) => Answer::Failed(format!("the forecast failed: {error}")),
        }
    }
}

/// Why objects of a kind cannot be scaled by an autoscaler of a namespace, if they cannot.
fn refused(served: &Served, target: &ScaleTargetRef) -> Option<String> {
    let (kind, version) = (&target.kind, &target.api_version);
    if !served.namespaced {
        return Some(format!(
            "{kind} of {version} is of the whole cluster: an Autoscaler sets sizes in its own namespace only; name another target"
        ));
    }
    (!served.has_scale).then(|| format!("{kind} of {version} has no scale subresource: it cannot be scaled"))
}

/// What is read of a scale.
#[derive(Deserialize)]
struct OneScale {
    metadata: ScaleMeta,
    #[serde(default)]
    spec: ScaleSpec,
    #[serde(default)]
    status: ScaleStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScaleMeta {
    uid: String,
    resource_version: String,
}

#[derive(Default, Deserialize)]
struct ScaleSpec {
    #[serde(default)]
    replicas: i32,
}

#[derive(Default, Deserialize)]
struct ScaleStatus {
    #[serde(default)]
    replicas: i32,
    #[serde(default)]
    selector: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_scale_and_a_namespace_is_a_target() {
        let check = |namespaced, has_scale, expected: Option<&str>| {
            let served = Served {
                group: "example.com".to_owned(),
                version: "v1".to_owned(),
                plural: "fleets".to_owned(),
                namespaced,
                has_scale,
            };
            let target = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "all"});
            let found = refused(&served, &serde_json::from_value(target).unwrap());
            assert!(
                found.as_deref().map_or(expected.is_none(), |why| why.contains(expected.unwrap_or("?"))),
                "{found:?}"
            );
        };
        check(true, true, None);
        check(true, false, Some("has no scale subresource"));
        check(false, true, Some("Fleet of example.com/v1 is of the whole cluster"));
    }
}
