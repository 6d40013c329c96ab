//! What each metric of a spec is a measure of: which column it is in, and how much of it a pod takes at its target. Not what a
//! decision makes of it.

use std::collections::BTreeMap;

use trimtab_crds::{AutoscalerSpec, MetricSpec, MetricTarget, MetricType, Milli, Quantity, TargetType};

use crate::Feed;

/// Why a spec cannot be tried on a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A metric has no column.
    #[error("no column is called {metric}, as a metric of the autoscaler is: the columns are {columns}")]
    NoColumn {
        /// The metric.
        metric: String,
        /// What the columns are called.
        columns: String,
    },
    /// A metric's target is no number above 0.
    #[error("the target of {0} is no number above 0: see spec.metrics")]
    NoTarget(String),
    /// There is no time in which to try it.
    #[error("nothing lies between {from} and {to}: the rows are from {start} to {end}")]
    NoTime {
        /// The beginning that was asked for.
        from: jiff::Timestamp,
        /// The end that was asked for.
        to: jiff::Timestamp,
        /// The first row.
        start: jiff::Timestamp,
        /// The last row.
        end: jiff::Timestamp,
    },
}

/// The metrics of a spec by their names; those of an autoscaler without metrics too.
pub fn names(spec: &AutoscalerSpec) -> Vec<String> {
    metrics(spec).iter().map(MetricSpec::name).collect()
}

pub(crate) fn metrics(spec: &AutoscalerSpec) -> Vec<MetricSpec> {
    if spec.metrics.is_empty() { vec![MetricSpec::default_cpu()] } else { spec.metrics.clone() }
}

/// How a metric is shared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shared {
    /// The column is the total of all pods, and each pod that serves has a part; what a pod takes at its target.
    ByPods(f64),
    /// The column is the value itself, and the target is a number for each pod.
    Total(f64),
    /// The column is the value itself, and so is the target: pods make no difference to it.
    Fixed(f64),
}

/// A metric and its column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Demand {
    pub name: String,
    pub column: usize,
    pub shared: Shared,
}

impl Demand {
    /// How many pods have this load at their target, while so many serve.
    pub(crate) fn pods(&self, value: f64, serving: usize) -> f64 {
        match self.shared {
            Shared::ByPods(each) | Shared::Total(each) => value / each,
            Shared::Fixed(target) => value / target * serving as f64,
        }
    }
}

/// What the metrics of a spec are measures of.
pub(crate) fn demands(
    spec: &AutoscalerSpec,
    feed: &Feed,
    requests: &BTreeMap<String, Milli>,
) -> Result<Vec<Demand>, Unfit> {
    let one = |metric: &MetricSpec| {
        let name = metric.name();
        let column = feed.columns.iter().position(|column| *column == name);
        let no_column = || Unfit::NoColumn { metric: name.clone(), columns: feed.columns.join(", ") };
        let column = column.ok_or_else(no_column)?;
        let shared = shared(metric, requests).ok_or_else(|| Unfit::NoTarget(name.clone()))?;
        Ok(Demand { name, column, shared })
    };
    metrics(spec).iter().map(one).collect()
}

fn shared(metric: &MetricSpec, requests: &BTreeMap<String, Milli>) -> Option<Shared> {
    let (target, resource) = target(metric)?;
    let each = target.average_value.as_ref();
    Some(match metric.type_ {
        MetricType::Resource | MetricType::ContainerResource | MetricType::Pods => Shared::ByPods(match each {
            Some(each) => positive(each)?,
            None => {
                let percent = target.average_utilization.filter(|percent| *percent > 0)?;
                let request = requests.get(resource?).copied().unwrap_or(REQUEST);
                Some(request.0 as f64 / 1000.0 * f64::from(percent) / 100.0).filter(|each| *each > 0.0)?
            }
        }),
        // An External metric with both targets goes by the average, an Object metric by its type.
        MetricType::Object if target.type_ == TargetType::Value && target.value.is_some() => {
            Shared::Fixed(positive(target.value.as_ref()?)?)
        }
        MetricType::Object | MetricType::External | MetricType::Prometheus => match each {
            Some(each) => Shared::Total(positive(each)?),
            None => Shared::Fixed(positive(target.value.as_ref()?)?),
        },
    })
}

/// What pods request where nothing is said: a whole core, or one of whatever it is.
pub(crate) const REQUEST: Milli = Milli(1000);

/// A metric's target, and the resource that it is of.
pub(crate) fn target(metric: &MetricSpec) -> Option<(&MetricTarget, Option<&str>)> {
    let resource = metric.resource.as_ref().map(|s| (&s.target, Some(s.name.as_str())));
    resource
        .or_else(|| metric.container_resource.as_ref().map(|s| (&s.target, Some(s.name.as_str()))))
        .or_else(|| metric.pods.as_ref().map(|s| (&s.target, None)))
        .or_else(|| metric.object.as_ref().map(|s| (&s.target, None)))
        .or_else(|| metric.external.as_ref().map(|s| (&s.target, None)))
        .or_else(|| metric.prometheus.as_ref().map(|s| (&s.target, None)))
}

fn positive(quantity: &Quantity) -> Option<f64> {
    quantity.milli().map(|milli| milli.0 as f64 / 1000.0).filter(|value| *value > 0.0)
}
