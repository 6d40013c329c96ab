//! The triggers of a ScaledObject: which become metrics, which schedules, and which are lost. Not what they say together.

use serde_json::{Map, Value, json};

use super::cron::Cron;
use super::{elsewhere, prometheus};
use crate::fields::Fields;
use crate::metric;
use crate::remarks::Remarks;

/// A metric that a trigger became.
pub(super) struct Measured {
    /// What a formula calls it.
    pub(super) name: Option<String>,
    /// The item of `metrics`.
    pub(super) item: Map<String, Value>,
    /// Above which value the workload is active, where the trigger says so.
    pub(super) activation: Option<String>,
}

impl Measured {
    /// Whether it can tell an active workload from an inactive one. CPU and memory cannot: without pods there is none.
    pub(super) fn tells_activity(&self) -> bool {
        !self.is_resource()
    }

    /// Whether it is CPU or memory.
    pub(super) fn is_resource(&self) -> bool {
        self.item.contains_key("resource") || self.item.contains_key("containerResource")
    }

    /// Gives it a name that a formula can use.
    pub(super) fn call(&mut self, name: &str) {
        self.name = Some(name.to_owned());
        self.item.insert("name".to_owned(), json!(name));
    }
}

/// What became of the triggers.
#[derive(Default)]
pub(super) struct Triggers {
    /// Metrics, in the order of their triggers.
    pub(super) metrics: Vec<Measured>,
    /// Schedules.
    pub(super) crons: Vec<Cron>,
    /// Names (empty without one) of those that are lost.
    pub(super) lost: Vec<String>,
}

impl Triggers {
    pub(super) fn read(object: &Value, spec: &mut Fields<'_>, remarks: &mut Remarks) -> Self {
        let mut all = Self::default();
        for (i, trigger) in spec.items("triggers").iter().enumerate() {
            let mut fields = Fields::new(Some(trigger), format!("spec.triggers[{i}]"));
            let name = fields.text("name");
            if !all.add(i, object, &mut fields, name.as_deref(), remarks) {
                all.lost.push(name.unwrap_or_default());
            }
            fields.rest(remarks, "this field is not known");
        }
        all
    }

    /// Adds a trigger. False if it is lost; why is in the remarks.
    fn add(
        &mut self,
        index: usize,
        object: &Value,
        fields: &mut Fields<'_>,
        name: Option<&str>,
        remarks: &mut Remarks,
    ) -> bool {
        let kind = fields.text("type").unwrap_or_default();
        if fields.flag("useCachedMetrics") == Some(true) {
            let why = "a metric is asked for once in an interval here, and for all that depend on it: nothing to set";
            remarks.note(fields.path("useCachedMetrics"), why);
        }
        let metric_type = fields.text("metricType");
        let mut metadata = fields.part("metadata");
        let measured = match kind.as_str() {
            "cpu" | "memory" => {
                fields.get("authenticationRef");
                resource(&kind, metric_type, metadata, remarks)
            }
            "prometheus" => {
                if fields.get("authenticationRef").is_some() {
                    remarks.lost(fields.path("authenticationRef"), prometheus::AUTHENTICATION);
                }
                prometheus::read(index, name, metric_type, metadata, remarks)
            }
            "cron" => {
                fields.get("authenticationRef");
                let cron = Cron::read(index, name, &mut metadata, remarks);
                metadata.rest(remarks, "a cron trigger has no such field");
                let is = cron.is_some();
                self.crons.extend(cron);
                return is;
            }
            _ => {
                fields.get("authenticationRef");
                remarks.lost(fields.path("type"), elsewhere::advice(&kind, index, object));
                return false;
            }
        };
        let is = measured.is_some();
        self.metrics.extend(measured.map(|mut measured| {
            name.into_iter().for_each(|name| measured.call(name));
            measured
        }));
        is
    }
}

/// CPU or memory of the pods, or of one container of each.
fn resource(
    kind: &str,
    metric_type: Option<String>,
    mut metadata: Fields<'_>,
    remarks: &mut Remarks,
) -> Option<Measured> {
    let of = metadata.text("type").or(metric_type);
    let value = metadata.text("value");
    let container = metadata.text("containerName");
    let path = metadata.path("value");
    metadata.rest(remarks, "a cpu or memory trigger has no such field");
    let target = match (of.as_deref(), value.as_deref()) {
        (Some("Utilization"), Some(value)) => match value.trim().parse::<i32>() {
            Ok(percent) if percent > 0 => json!({"type": "Utilization", "averageUtilization": percent}),
            _ => {
                remarks.lost(path, "it is not a percentage above 0: the metric is left out");
                return None;
            }
        },
        (Some("AverageValue"), Some(value)) => json!({"type": "AverageValue", "averageValue": value}),
        _ => {
            let why = "metricType (Utilization or AverageValue) and value are both needed: the metric is left out";
            remarks.lost(path, why);
            return None;
        }
    };
    let written = match container {
        Some(container) => json!({"type": "ContainerResource",
            "containerResource": {"name": kind, "container": container, "target": target}}),
        None => json!({"type": "Resource", "resource": {"name": kind, "target": target}}),
    };
    let item = metric::metric(&written, &path, remarks)?;
    Some(Measured { name: None, item, activation: None })
}
