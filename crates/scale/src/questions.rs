//! What is to be found out before a decision: the scale of a target that is not watched, each metric, and the forecast.
//! Questions and the shape of their answers; who asks the servers is the controller.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trimtab_crds::{ForecastSpec, MetricSpec, ScaleTargetRef};
use trimtab_plan::{About, Answer, Answers, Ask, Question};

use crate::beat::digest;
use crate::{ForecastView, Missing, Observation, Scaled};

/// Asks for the scale of a target: [`ScaleQuestion`], answered by a [`FoundScale`].
pub const SCALE: &str = "scale";
/// Asks for a metric: [`MetricQuestion`], answered by an [`Observation`].
pub const METRIC: &str = "metric";
/// Asks for a forecast: [`ForecastQuestion`], answered by a [`ForecastView`].
pub const FORECAST: &str = "forecast";

/// How long a metric may take. What takes longer is unknown for this step.
const TIMEOUT_SECONDS: u32 = 10;
/// For how long an answer is waited for at most, in milliseconds: a little less.
pub(crate) const LONGEST_MS: i64 = 9_500;

/// Whose scale is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleQuestion {
    /// The target.
    pub target: ScaleTargetRef,
    /// Its namespace.
    pub namespace: String,
}

/// The scale of a target, and what its kind is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundScale {
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural.
    pub plural: String,
    /// Its uid.
    pub uid: String,
    /// The version of it that was read.
    pub resource_version: String,
    /// The size that was asked for.
    pub replicas: i32,
    /// The pods that there are.
    pub status_replicas: i32,
    /// Its pods, as the API server's queries take it.
    pub selector: String,
}

/// Which metric is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricQuestion {
    /// The metric.
    pub metric: MetricSpec,
    /// The autoscaler's namespace.
    pub namespace: String,
    /// The pods of the target, as the API server's queries take it.
    pub selector: String,
    /// The step for which it is asked: what was measured in it before is as good.
    pub since: Timestamp,
    /// For how long an answer is waited for, in milliseconds: for half a step. Then it is that nobody answers.
    pub patience_ms: i64,
    /// Whether so many ask in this namespace that the metrics of all its pods are best read at once.
    #[serde(default)]
    pub wide: bool,
}

/// Which forecast is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastQuestion {
    /// The server.
    pub address: String,
    /// The query.
    pub query: String,
    /// What is asked of the forecast.
    pub spec: ForecastSpec,
    /// How far ahead is looked, in seconds.
    pub horizon_seconds: u32,
    /// The end of the history that is used.
    pub until: Timestamp,
    /// The autoscaler's namespace.
    #[serde(default)]
    pub namespace: String,
}

/// What a metric is read from: those that name the same are measured once.
pub fn source(metric: &MetricSpec, namespace: &str, selector: &str) -> String {
    let plain = MetricSpec { stale_after: None, activation: None, name: None, ..metric.clone() };
    let mut value = serde_json::to_value(plain).unwrap_or_default();
    for source in ["resource", "containerResource", "pods", "object", "external", "prometheus"] {
        if let Some(fields) = value.get_mut(source).and_then(Value::as_object_mut) {
            // What it should be has no part in what it is.
            fields.remove("target");
            if source == "prometheus" {
                fields.remove("name");
            }
        }
    }
    let place = if metric.prometheus.is_some() { "" } else { namespace };
    format!("{place}/{}/{value}", if metric.is_of_pods() { selector } else { "" })
}

fn ask(id: String, name: &'static str, input: &impl Serialize, about: Option<About>) -> Ask {
    let input = serde_json::to_value(input).unwrap_or_default();
    Ask { id, question: Question::Custom { name, input, about }, timeout_seconds: TIMEOUT_SECONDS }
}

pub(crate) fn ask_scale(question: &ScaleQuestion, step: i64) -> Ask {
    let ScaleQuestion { target, namespace } = question;
    let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
    let about = About {
        group: group.to_owned(),
        kind: target.kind.clone(),
        namespace: namespace.clone(),
        name: target.name.clone(),
    };
    ask(format!("{SCALE}@{step}"), SCALE, question, Some(about))
}

pub(crate) fn ask_metric(index: usize, question: &MetricQuestion, step: i64) -> Ask {
    let what = digest(&source(&question.metric, &question.namespace, &question.selector));
    ask(format!("{METRIC}{index}:{what:016x}@{step}"), METRIC, question, None)
}

pub(crate) fn ask_forecast(question: &ForecastQuestion, step: i64) -> Ask {
    let what = digest(&format!("{}{}{:?}", question.address, question.query, question.spec));
    ask(format!("{FORECAST}:{what:016x}:{}@{step}", question.horizon_seconds), FORECAST, question, None)
}

/// The last forecast of the same that was made in one of so many steps before, and its question's id. How far ahead it looks
/// may be different: pods take longer or shorter to become ready.
pub(crate) fn forecast_before<'a>(answers: &'a Answers, id: &str, steps: i64) -> Option<(&'a String, ForecastView)> {
    let parts = |id: &'_ str| {
        let (what, step) = id.rsplit_once('@')?;
        Some((what.rsplit_once(':')?.0.to_owned(), step.parse::<i64>().ok()?))
    };
    let (what, step) = parts(id)?;
    let earlier = answers.iter().filter_map(|(other, answer)| {
        let (same, at) = parts(other)?;
        let counts = same == what && other != id && (step.saturating_sub(steps)..=step).contains(&at);
        let Answer::Object(value) = answer else { return None };
        counts.then(|| Some((at, other, ForecastView::deserialize(value).ok()?)))?
    });
    earlier.max_by_key(|(at, ..)| *at).map(|(_, id, view)| (id, view))
}

/// What an answer says of a metric.
pub(crate) fn observation(answer: Option<&Answer>) -> Observation {
    let missing = |why, message: &str| Observation::Missing { why, message: message.to_owned() };
    match answer {
        None => missing(Missing::NotAsked, "there is no answer yet"),
        Some(Answer::NotFound) => missing(Missing::ServerError, "nobody serves it: install what does, or name another"),
        Some(Answer::Failed(why)) => missing(Missing::Unreachable, why),
        Some(Answer::Object(value)) => {
            let read = value.as_str().map_or_else(|| Observation::deserialize(value), serde_json::from_str);
            read.unwrap_or_else(|error| {
                missing(Missing::ServerError, &format!("the answer is not understood: {error}"))
            })
        }
    }
}

/// What an answer says of the future; why it says nothing, if it does not.
pub(crate) fn expectation(answer: &Answer) -> Result<ForecastView, String> {
    match answer {
        Answer::Object(value) => {
            ForecastView::deserialize(value).map_err(|error| format!("the answer is not understood: {error}"))
        }
        Answer::NotFound => Err("nobody makes forecasts".to_owned()),
        Answer::Failed(why) => Err(why.clone()),
    }
}

impl FoundScale {
    /// The target as what is watched is seen.
    pub fn scaled(&self, namespace: &str, name: &str) -> Scaled {
        let metadata = trimtab_plan::Meta {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            ..trimtab_plan::Meta::default()
        };
        Scaled {
            metadata,
            replicas: self.replicas,
            status_replicas: self.status_replicas,
            selector: trimtab_crds::MetricSelector::default(),
            writer: None,
        }
    }
}
