//! What autoscalers say of themselves, as metrics: read from their statuses at each scrape, so there is nothing to keep up to
//! date and nothing to forget. Not how well the controller works: that is the framework's.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use trimtab::Store;
use trimtab_crds::AutoscalerStatus;
use trimtab_scale::AutoscalerView;

/// The gauges of all autoscalers.
#[derive(Debug)]
pub(super) struct Gauges(pub Store<AutoscalerView>);

type Value = fn(&AutoscalerView, &AutoscalerStatus) -> Option<i64>;

/// Name, help, and where the value is found.
const GAUGES: [(&str, &str, Value); 7] = [
    ("trimtab_autoscaler_current_replicas", "The size that was found", |_, status| {
        Some(status.current_replicas.into())
    }),
    ("trimtab_autoscaler_desired_replicas", "The size that is wanted, also where it must not be set", |_, status| {
        Some(status.desired_replicas.into())
    }),
    ("trimtab_autoscaler_min_replicas", "The fewest pods, by the spec", |one, _| Some(one.spec.min_replicas.into())),
    ("trimtab_autoscaler_max_replicas", "The most pods, by the spec", |one, _| Some(one.spec.max_replicas.into())),
    ("trimtab_autoscaler_ready", "Whether the size is looked after as asked", |_, status| holds(status, "Ready")),
    ("trimtab_autoscaler_limited", "Whether a limit holds the size", |_, status| holds(status, "ScalingLimited")),
    ("trimtab_autoscaler_last_scale_timestamp_seconds", "When the size was last set", |_, status| {
        status.last_scale_time.map(|at| at.as_second())
    }),
];

fn holds(status: &AutoscalerStatus, condition: &str) -> Option<i64> {
    let found = status.conditions.iter().find(|one| one.type_ == condition)?;
    Some(i64::from(found.status == "True"))
}

fn put(encoder: &mut MetricEncoder<'_>, one: &AutoscalerView, value: i64) -> fmt::Result {
    let labels = [("namespace", one.metadata.namespace.as_str()), ("name", one.metadata.name.as_str())];
    ConstGauge::new(value).encode(encoder.encode_family(&labels)?)
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all: Vec<Arc<AutoscalerView>> = self.0.list();
        if all.is_empty() {
            return Ok(());
        }
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for one in &all {
                if let Some(value) = one.status.as_ref().and_then(|status| value(one, status)) {
                    put(&mut family, one, value)?;
                }
            }
        }
        Ok(())
    }
}
