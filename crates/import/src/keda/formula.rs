//! `advanced.scalingModifiers` as a formula that gives the number of pods: KEDA's gives a value, which its HPA divides by a
//! target and rounds up, and compares with what CPU and memory ask for.

use super::expression::{float, of_metric, translate};
use super::trigger::Triggers;
use crate::autoscaler::quantity;
use crate::fields::Fields;
use crate::remarks::Remarks;

/// What became of the formula.
pub(super) enum Formula {
    /// There is none.
    None,
    /// It is this in CEL.
    Cel(String),
    /// It cannot be said.
    Lost,
}

impl Formula {
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Cel(text) => Some(text),
            Self::None | Self::Lost => None,
        }
    }

    /// Whether it is lost, with a remark on what that means.
    pub(super) fn is_lost(&self, remarks: &mut Remarks) -> bool {
        let lost = matches!(self, Self::Lost);
        if lost {
            remarks.note(
                "spec.advanced.scalingModifiers",
                "without the formula each metric would count by its own threshold: mode is Paused until you have written one",
            );
        }
        lost
    }
}

/// Translates the formula. Triggers that it does not name ask for nothing in KEDA, and are left out.
pub(super) fn read(modifiers: &mut Fields<'_>, triggers: &mut Triggers, remarks: &mut Remarks) -> Formula {
    let formula = modifiers.text("formula");
    let target = modifiers.text("target");
    let activation = modifiers.text("activationTarget");
    let metric_type = modifiers.text("metricType");
    for (name, path) in ["formula", "target", "activationTarget", "metricType"].map(|name| (name, modifiers.path(name)))
    {
        if formula.is_none() && modifiers.get(name).is_some() && name != "formula" {
            remarks.lost(path, "there is no formula, so it says nothing");
        }
    }
    let Some(formula) = formula else { return Formula::None };
    if activation.as_deref().and_then(quantity).is_some_and(|activation| activation.0 != "0") {
        let why = "the workload is active while one of the metrics is above its own activation: set activation on each";
        remarks.lost(modifiers.path("activationTarget"), why);
    }
    let text = match cel(&formula, target.as_deref(), metric_type.as_deref(), triggers) {
        Ok((text, named)) => {
            leave_out(triggers, &named, remarks);
            text
        }
        Err(why) => {
            let how = "write spec.formula, a CEL expression for the number of pods over metrics.NAME.value";
            remarks.lost(modifiers.path("formula"), format!("{why}: {how}"));
            return Formula::Lost;
        }
    };
    if metric_type.as_deref() == Some("Value") {
        let why = "Value: KEDA's HPA multiplies by the pods that are ready, the formula by the size that is set";
        remarks.note(modifiers.path("metricType"), why);
    }
    Formula::Cel(larger(&text, triggers))
}

type Named = std::collections::BTreeSet<String>;

/// The number of pods that the formula asks for, which the autoscaler rounds up, and the triggers that it names.
fn cel(
    formula: &str,
    target: Option<&str>,
    kind: Option<&str>,
    triggers: &Triggers,
) -> Result<(String, Named), String> {
    let (text, named) = translate(formula)?;
    let known = |name: &String| triggers.metrics.iter().any(|m| m.name.as_ref() == Some(name) && !m.is_resource());
    if let Some(name) = named.iter().find(|name| !known(name)) {
        let lost =
            triggers.lost.contains(name) || triggers.crons.iter().any(|cron| cron.trigger.as_ref() == Some(name));
        let what = if lost { "names a trigger that did not become a metric" } else { "names no trigger" };
        return Err(format!("{name} {what}"));
    }
    let target = target.and_then(quantity).and_then(|target| target.float()).filter(|target| *target > 0.0);
    let target = float(target.ok_or("target is missing or not above 0")?);
    let size = match kind {
        None | Some("AverageValue") => "",
        Some("Value") => " * (replicas > 0.0 ? replicas : 1.0)",
        Some(_) => return Err("metricType is neither AverageValue nor Value".to_owned()),
    };
    Ok((format!("({text}) / {target}{size}"), named))
}

/// With what CPU and memory ask for, where that is more.
fn larger(text: &str, triggers: &mut Triggers) -> String {
    let mut larger = String::new();
    let mut taken: Vec<String> = triggers.metrics.iter().filter_map(|metric| metric.name.clone()).collect();
    for (i, metric) in triggers.metrics.iter_mut().enumerate().filter(|(_, metric)| metric.is_resource()) {
        let resource = metric.item.get("resource").or_else(|| metric.item.get("containerResource"));
        let resource = resource.and_then(|resource| resource["name"].as_str()).unwrap_or_default().to_owned();
        let name = match metric.name.clone() {
            Some(name) => name,
            None if taken.contains(&resource) => format!("{resource}_{i}"),
            None => resource,
        };
        metric.call(&name);
        taken.push(name.clone());
        let asked = of_metric(&name, "replicas");
        // KEDA's HPA goes by the others while one is not known, as it is until the first pods have a sample.
        larger.push_str(&format!(".map(pods, has({asked}) && {asked} > pods ? {asked} : pods)"));
    }
    // The list gives the quotient a name.
    if larger.is_empty() { text.to_owned() } else { format!("[{text}]{larger}[0]") }
}

fn leave_out(triggers: &mut Triggers, named: &Named, remarks: &mut Remarks) {
    let mut left: Vec<String> = vec![];
    triggers.metrics.retain(|metric| {
        let keep = metric.is_resource() || metric.name.as_ref().is_some_and(|name| named.contains(name));
        if !keep {
            left.push(metric.name.clone().unwrap_or_default());
        }
        keep
    });
    left.extend(triggers.crons.drain(..).map(|cron| cron.trigger.unwrap_or_default()));
    for name in left {
        let what = if name.is_empty() { "a trigger without a name".to_owned() } else { name };
        let why = "the formula does not name it, so it asks for nothing in KEDA, and is left out";
        remarks.note("spec.triggers", format!("{what}: {why}"));
    }
    // Lost ones were not named either.
    triggers.lost.clear();
}
