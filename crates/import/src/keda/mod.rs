//! A ScaledObject of KEDA as an `Autoscaler`. KEDA scales with an HPA of its own and from and to zero by itself; here both are
//! one. Where what is left would decide by something else than before, the result is paused, and says so.

mod advanced;
mod cron;
mod elsewhere;
mod expression;
mod formula;
mod prometheus;
mod trigger;

use serde_json::{Map, Value, json};

use crate::autoscaler::{annotations, duration, finish, target};
use crate::fields::Fields;
use crate::remarks::Remarks;
use crate::{Imported, Options, Refused};
use trigger::{Measured, Triggers};

/// KEDA's defaults.
const MOST: i32 = 100;
const COOL_DOWN: i32 = 300;
const POLLING: i32 = 30;

/// Between which sizes KEDA moves a workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: i32,
    pub(super) max: i32,
}

pub(crate) fn convert(object: &Value, options: &Options) -> Result<Imported, Refused> {
    let mut remarks = Remarks::default();
    let mut spec = Fields::new(object.get("spec"), "spec");
    let target = target(&mut spec, Some("Deployment"), &mut remarks)?;
    let most = spec.number("maxReplicaCount", &mut remarks).unwrap_or(MOST).max(1);
    let fewest = spec.number("minReplicaCount", &mut remarks).unwrap_or(0).max(0);
    let bounds = Bounds { min: idle(fewest, &mut spec, &mut remarks), max: most };
    let polling = spec.number("pollingInterval", &mut remarks).filter(|seconds| *seconds > 0);
    let cool_down = spec.number("cooldownPeriod", &mut remarks).filter(|seconds| *seconds >= 0);
    if spec.number("initialCooldownPeriod", &mut remarks).is_some_and(|seconds| seconds > 0) {
        let why = "a new workload goes to zero after coolDown like any other: raise minReplicas to 1 for its beginning";
        remarks.lost("spec.initialCooldownPeriod", why);
    }
    let mut triggers = Triggers::read(object, &mut spec, &mut remarks);
    let mut advanced = spec.part("advanced");
    let formula = formula::read(&mut advanced.part("scalingModifiers"), &mut triggers, &mut remarks);
    let behavior = advanced::behavior(object, &mut advanced, &mut remarks);
    advanced::rest(advanced, &mut remarks);
    let fallback = advanced::fallback(&mut spec, polling.unwrap_or(POLLING), bounds.max, &mut remarks);
    spec.rest(&mut remarks, "this field is not known");
    advanced::handed_over(object, &mut remarks);
    annotations(object, &advanced::ANNOTATIONS, &mut remarks);

    let plan = sizes(&mut triggers, bounds, &mut remarks);
    let unsafe_ = nothing_left(&triggers, &plan, &mut remarks) || formula.is_lost(&mut remarks);
    let mode = match advanced::is_paused(object, &mut remarks) || unsafe_ {
        true => "Paused",
        false if options.recommend => "Recommend",
        false => "Auto",
    };
    let mut out = Map::from_iter([
        ("targetRef".to_owned(), target),
        ("minReplicas".to_owned(), json!(plan.min)),
        ("maxReplicas".to_owned(), json!(bounds.max)),
        ("compat".to_owned(), json!("hpa-v2")),
        ("mode".to_owned(), json!(mode)),
    ]);
    if bounds.min == 0 && !plan.pinned {
        out.insert("coolDown".to_owned(), json!(duration(cool_down.unwrap_or(COOL_DOWN).into())));
    }
    let mut put = |name: &str, value: Option<Value>| out.extend(value.map(|value| (name.to_owned(), value)));
    put("interval", polling.map(|seconds| json!(duration(seconds.into()))));
    put("fallback", fallback);
    put("behavior", behavior);
    put("formula", formula.into_text().map(Value::String));
    let metrics: Vec<Value> = triggers.metrics.into_iter().map(|metric| Value::Object(metric.item)).collect();
    put("metrics", Some(Value::Array(metrics)).filter(|metrics| metrics != &json!([])));
    put("schedules", Some(Value::Array(plan.windows)).filter(|windows| windows != &json!([])));
    finish(object, out, options, remarks)
}

/// The fewest pods, after what an idle workload has.
fn idle(fewest: i32, spec: &mut Fields<'_>, remarks: &mut Remarks) -> i32 {
    let Some(idle) = spec.number("idleReplicaCount", remarks) else { return fewest };
    if idle == 0 && fewest <= 1 {
        // Zero while nothing is active and at least one otherwise: that is what minReplicas 0 means.
        return 0;
    }
    remarks.lost(
        "spec.idleReplicaCount",
        format!(
            "minReplicas is {fewest}, also while nothing is active: with minReplicas: 0 an inactive workload goes to zero, and \
             an active one has as many pods as its metrics ask for, at least 1"
        ),
    );
    fewest
}

/// Which sizes hold when.
struct Sizes {
    min: i32,
    windows: Vec<Value>,
    /// Whether windows alone say when there are no pods, or even how many there are.
    pinned: bool,
}

/// Schedules, and when the workload may go to zero.
fn sizes(triggers: &mut Triggers, bounds: Bounds, remarks: &mut Remarks) -> Sizes {
    let measured = triggers.metrics.iter().any(Measured::tells_activity);
    let whole = triggers.lost.is_empty() && !measured && !triggers.crons.is_empty();
    let only_crons = whole && triggers.metrics.is_empty();
    let pinned = whole && (only_crons || bounds.min == 0);
    let (windows, complete) = cron::windows(&triggers.crons, bounds, only_crons, pinned, remarks);
    let pinned = pinned && complete;
    let mut min = bounds.min;
    if min == 0 && !triggers.lost.is_empty() {
        min = 1;
        remarks.note(
            "spec.minReplicaCount",
            "0 became minReplicas: 1, because a trigger that could start the workload is lost: set it to 0 when the metrics \
             are complete",
        );
    } else if min == 0 && !measured && !pinned {
        min = 1;
        remarks.note("spec.minReplicaCount", "0 became minReplicas: 1: CPU and memory alone never let KEDA go to zero");
    }
    for metric in triggers.metrics.iter_mut().filter(|metric| metric.tells_activity()) {
        let default = (bounds.min == 0).then(|| "0".to_owned());
        if let Some(activation) = metric.activation.clone().or(default) {
            metric.item.insert("activation".to_owned(), json!(activation));
        }
    }
    Sizes { min, windows, pinned }
}

/// Without metrics the Autoscaler would go by 80 % of the CPU, which nobody has asked for.
fn nothing_left(triggers: &Triggers, sizes: &Sizes, remarks: &mut Remarks) -> bool {
    if !triggers.metrics.is_empty() || sizes.pinned {
        return false;
    }
    remarks.note(
        "spec.triggers",
        "no metric is left, and without one the CPU would decide (80 % of what is requested): mode is Paused until you have \
         written metrics",
    );
    true
}
