//! What is read of an Autoscaler, whichever version of this program wrote it. What cannot be read of its spec is kept as a sentence, so
//! that it is told and still counts beside others; what cannot be read of its status is left out.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use trimtab_crds::{AutoscalerSpec, AutoscalerStatus, CanaryLoad, ScaleMode, names};
use trimtab_plan::{Kind, Meta, Newer, ObjectRef, Watched, read_what_fits, read_with_rest, unread};

/// An autoscaler.
#[derive(Debug, Clone, Serialize)]
pub struct AutoscalerView {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: AutoscalerSpec,
    /// How it went last.
    pub status: Option<AutoscalerStatus>,
    /// What another version of this program wrote into it.
    #[serde(skip)]
    pub newer: Newer,
    /// Whether its spec is larger than it may be: then nothing of it is kept but what it is about.
    #[serde(skip)]
    pub too_large: bool,
    /// What of its spec cannot be read, and why: another version knows it. Then nothing of it is kept but what it is about.
    #[serde(skip)]
    pub unread: Option<String>,
}

/// The most bytes of an autoscaler's spec as JSON: fifty metrics with a query of a page each.
pub(crate) const SPEC: usize = 128 << 10;

/// How many parts of a status that do not fit are left out one by one.
const MISFITS: usize = 16;

#[derive(Deserialize)]
struct AnyAutoscaler {
    metadata: Meta,
}

impl AutoscalerView {
    /// The Deployment that it scales, if it scales one.
    pub fn deployment(&self) -> Option<ObjectRef> {
        let target = &self.spec.target_ref;
        let is = target.kind == names::DEPLOYMENT.kind && target.api_version.starts_with("apps/");
        is.then(|| names::DEPLOYMENT.object(&self.metadata.namespace, &target.name))
    }

    /// How the canary of what it scales fares, as it was measured last.
    pub fn canary_load(&self) -> Option<&CanaryLoad> {
        self.status.as_ref()?.decision.as_ref()?.canary.as_ref()
    }
}

impl<'de> Deserialize<'de> for AutoscalerView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (AnyAutoscaler { metadata }, object) = read_with_rest(deserializer)?;
        let (mut spec, unread) = match unread::<AutoscalerSpec>("spec", &object["spec"]) {
            Ok(spec) => (spec, None),
            Err(why) => (about(&object["spec"]).map_err(|_| serde::de::Error::custom(&why))?, Some(why)),
        };
        let mut status = status(&object["status"]);
        let too_large = serde_json::to_string(&spec).map_or(0, |text| text.len()) > SPEC;
        if too_large {
            (spec.metrics, spec.schedules, spec.behavior, spec.formula, spec.forecast) =
                (vec![], vec![], None, None, None);
        }
        let newer = match (too_large, &unread) {
            (true, _) => Newer::default(),
            (false, None) => Newer::of(&object, &spec, &status),
            (false, Some(_)) => Newer::of(&json!({"status": object["status"]}), &(), &status),
        };
        shrink(&mut spec, status.as_mut());
        Ok(Self { metadata, spec, status, newer, too_large, unread })
    }
}

/// What a spec is about, where not all of it can be read. One whose mode is not known counts as one that writes: it does by the version
/// that knows it.
fn about(spec: &Value) -> Result<AutoscalerSpec, serde_json::Error> {
    let known = |name: &str, or: Value| {
        let given = spec.get(name).cloned().unwrap_or(or.clone());
        let alone = json!({"targetRef": spec["targetRef"], "maxReplicas": 1, name: given});
        if AutoscalerSpec::deserialize(&alone).is_ok() { given } else { or }
    };
    let (min, max) = (known("minReplicas", json!(1)), known("maxReplicas", json!(1)));
    let mode = known("mode", json!(ScaleMode::Auto));
    AutoscalerSpec::deserialize(
        json!({"targetRef": spec["targetRef"], "minReplicas": min, "maxReplicas": max, "mode": mode}),
    )
}

/// A status without what does not fit. Of the last decision nothing is needed to go on; the history is.
fn status(given: &Value) -> Option<AutoscalerStatus> {
    if given.is_null() {
        return None;
    }
    let without_decision = || {
        let mut given = given.clone();
        _ = given.as_object_mut()?.remove("decision");
        read_what_fits(given, MISFITS)
    };
    read_what_fits(given.clone(), MISFITS).or_else(without_decision)
}

/// Gives back the room that lists have for more. With thousands of autoscalers it is as much as what is in them.
fn shrink(spec: &mut AutoscalerSpec, status: Option<&mut AutoscalerStatus>) {
    spec.metrics.shrink_to_fit();
    spec.schedules.shrink_to_fit();
    let Some(AutoscalerStatus { decision, history, conditions, .. }) = status else { return };
    conditions.shrink_to_fit();
    history.recommendations.shrink_to_fit();
    history.ups.shrink_to_fit();
    history.downs.shrink_to_fit();
    if let Some(decision) = decision {
        decision.metrics.shrink_to_fit();
        decision.stages.shrink_to_fit();
    }
}

impl Watched for AutoscalerView {
    const KIND: Kind = names::AUTOSCALER;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
