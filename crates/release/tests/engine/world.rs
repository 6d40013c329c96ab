//! Worlds that tests begin with, and what must hold at the end of every one.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::{Phase, ReleasePlanStatus, Stage, names};
use trimtab_plan::Wake;

use crate::health::{self, Health};
use crate::model::{Cluster, Cut, REPLICA_SETS, WEB};

/// A Deployment with its plan.
#[derive(Clone, Debug)]
pub struct Setup {
    pub replicas: i32,
    /// maxSurge and maxUnavailable.
    pub limits: (Value, Value),
    pub steps: Value,
    pub history: i32,
}

impl Setup {
    pub fn new(replicas: i32, surge: Value, unavailable: Value, steps: Value) -> Self {
        Self { replicas, limits: (surge, unavailable), steps, history: 10 }
    }

    /// Image `app:1` runs and is stable, and the plan guards it.
    pub fn stable(&self) -> Cluster {
        let mut cluster = Cluster::new();
        cluster.deploy(self.replicas, self.limits.clone(), "app:1");
        cluster.edit(|d| d["spec"]["revisionHistoryLimit"] = json!(self.history));
        // What is held at 0 replicas has tests of its own.
        let asleep = if self.replicas == 0 { "Promote" } else { "Hold" };
        cluster.plan(WEB, json!({"strategy": {"canary": {"steps": self.steps}}, "whileScaledToZero": asleep}));
        cluster.settle().unwrap();
        assert_eq!(cluster.status().unwrap().phase, Phase::Stable);
        cluster
    }

    /// Two earlier revisions have been stable: `app:0`, then `app:1`.
    pub fn with_history(&self) -> Cluster {
        self.with_history_of("app:0", "app:1")
    }

    /// Two revisions have been stable, one after the other.
    pub fn with_history_of(&self, first: &str, second: &str) -> Cluster {
        let mut cluster = Cluster::new();
        cluster.deploy(self.replicas, self.limits.clone(), first);
        cluster.edit(|d| d["spec"]["revisionHistoryLimit"] = json!(self.history));
        cluster.plan(WEB, json!({"strategy": {"canary": {"steps": []}}, "whileScaledToZero": "Promote"}));
        cluster.settle().unwrap();
        cluster.set_image(second);
        cluster.settle().unwrap();
        assert_eq!(cluster.status().unwrap().phase, Phase::Stable);
        let steps = self.steps.clone();
        cluster.edit_plan(|plan| {
            plan["spec"]["strategy"]["canary"]["steps"] = steps;
            plan["spec"]["whileScaledToZero"] = json!("Hold");
        });
        cluster.settle().unwrap();
        cluster
    }
}

/// A plan of four pods that asks a person after its first step.
pub fn four_with(steps: Value) -> Setup {
    Setup::new(4, json!(1), json!(0), steps)
}

/// Half of the pods, then a person is asked.
pub fn half() -> Value {
    json!([{"setWeight": 50}, {"pause": {}}])
}

/// Where it ends, and which images the pods have then.
pub fn check_ends(cluster: &mut Cluster, phase: Phase, images: &[(&str, usize)]) {
    let status = check_end(cluster).unwrap();
    assert_eq!(status.phase, phase, "{}", status.message);
    let wanted: Vec<(String, usize)> = images.iter().map(|(image, n)| ((*image).to_owned(), *n)).collect();
    assert_eq!(cluster.images().into_iter().collect::<Vec<_>>(), wanted);
    check_faults(cluster).unwrap();
}

pub fn setups() -> impl Strategy<Value = Setup> {
    let limits = prop::sample::select(vec![
        (json!(1), json!(0)),
        (json!(0), json!(1)),
        (json!("25%"), json!("25%")),
        (json!(2), json!(1)),
        (json!("100%"), json!(0)),
        (json!(0), json!("50%")),
        (json!(3), json!("10%")),
    ]);
    (0..8i32, limits, steps(), prop::sample::select(vec![0, 1, 10]))
        .prop_map(|(replicas, limits, steps, history)| Setup { replicas, limits, steps, history })
}

pub fn steps() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!([]),
        json!([{"setWeight": 20}]),
        json!([{"setWeight": 20}, {"pause": {"duration": "20s"}}, {"setWeight": 50}, {"pause": {"duration": "1m"}}]),
        json!([{"setWeight": 50}, {"pause": {}}]),
        json!([{"pause": {"duration": "10s"}}, {"setWeight": 100}]),
        json!([{"setCanaryScale": {"replicas": 3}}, {"setWeight": 10}, {"pause": {"duration": "30s"}},
               {"setCanaryScale": {"matchTrafficWeight": true}}, {"setWeight": 75}]),
        json!([{"setWeight": 99}, {"pause": {"duration": "30s"}}]),
        json!([{"setCanaryScale": {"weight": 60}}, {"pause": {}}, {"setWeight": 80}]),
        json!([{"setWeight": 100}]),
    ])
}

/// Settles, and checks what must hold then.
pub fn check_end(cluster: &mut Cluster) -> Result<ReleasePlanStatus, String> {
    let last = cluster.settle()?;
    check_faults(cluster)?;
    if last.wake != Wake::OnChange {
        return Err("it does not rest".to_owned());
    }
    check_rest(cluster)?;
    let Some(status) = cluster.status() else {
        check_without_plan(cluster)?;
        return Ok(ReleasePlanStatus::default());
    };
    check_lasting(cluster, &status)?;
    if cluster.deployment().is_none() {
        // One that was made again is the younger of two plans.
        let second = status.phase == Phase::Blocked && status.message.contains("delete one of the two plans");
        return match cluster.canaries().as_slice() {
            [] if second || (status.phase == Phase::Waiting && !status.message.is_empty()) => Ok(status),
            left => Err(format!("without its Deployment: {left:?} left, {}", brief(&status))),
        };
    }
    check_status(cluster, &status)?;
    Ok(status)
}

pub fn check_faults(cluster: &Cluster) -> Result<(), String> {
    if cluster.watch.faults.is_empty() { Ok(()) } else { Err(format!("{:#?}", cluster.watch.faults)) }
}

/// Where nothing goes on, deciding again changes nothing, now and later.
pub fn check_rest(cluster: &mut Cluster) -> Result<(), String> {
    for seconds in [0, 1, 3600, 86_400] {
        let now: Timestamp = cluster.now + jiff::SignedDuration::from_secs(seconds);
        let seen = cluster.snapshot();
        let mut copy = cluster.clone();
        let again = copy.act(now, &seen, Cut::No, |_, _| {});
        if again.moved() || again.idle > 0 {
            return Err(format!("{seconds} s later it does something: {again:#?}"));
        }
    }
    Ok(())
}

fn check_without_plan(cluster: &mut Cluster) -> Result<(), String> {
    let again = cluster.reconcile();
    let opted_out = cluster.annotation(names::PLAN).is_none();
    let explained = again.plan.notices.iter().any(|notice| notice.reason == "HeldWithoutPlan");
    match (cluster.deployment().is_some(), cluster.held()) {
        (false, _) => Ok(()),
        // Somebody has opted out and has yet to resume it.
        (true, true) if cluster.annotation(names::PLAN) == Some("") && cluster.paused() => Ok(()),
        (true, true) if explained || opted_out => Ok(()),
        (true, false) if opted_out => Ok(()),
        state => Err(format!("a Deployment without a plan is left {state:?}: {:?}", cluster.deployment())),
    }
}

/// Without pods, and the Deployment has had it.
fn is_kept_aside(cluster: &Cluster, name: &str) -> bool {
    let rs = cluster.get(REPLICA_SETS, name).unwrap();
    rs["spec"]["replicas"] == json!(0) && rs["metadata"]["annotations"][names::REVISION].is_string()
}

/// What stays as it is does not say that something goes on: whoever waits for it would wait for ever. So read the tools that wait.
pub fn check_lasting(cluster: &Cluster, status: &ReleasePlanStatus) -> Result<(), String> {
    let reason = condition(status, "Ready").map(|ready| ready.reason.clone()).unwrap_or_default();
    if condition(status, "Reconciling").is_some_and(|c| c.status == "True") {
        return Err(format!("rests and says that it goes on ({reason}): {}", brief(status)));
    }
    let generation = cluster.plan_of_web().and_then(|plan| plan["metadata"]["generation"].as_i64()).unwrap_or_default();
    let read = health::kstatus(generation, status);
    let expected = match status.phase {
        Phase::Stable => Health::Current,
        Phase::TakenBack | Phase::Blocked => Health::Failed,
        _ if reason == "ScaledToZero" && status.release.is_none() => Health::Current,
        _ if ["OptedOut", "TargetNotFound", "PausedByPerson", "FailedAndPaused", "FirstRolloutStalled"]
            .contains(&reason.as_str()) =>
        {
            Health::Failed
        }
        _ => Health::InProgress,
    };
    let paused = status.phase == Phase::Stable && reason == "PausedByPerson";
    if read == expected || paused {
        Ok(())
    } else {
        Err(format!("{read:?} instead of {expected:?}: {}", brief(status)))
    }
}

fn condition<'s>(status: &'s ReleasePlanStatus, type_: &str) -> Option<&'s trimtab_plan::Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

fn check_status(cluster: &mut Cluster, status: &ReleasePlanStatus) -> Result<(), String> {
    let stage = status.release.as_ref().map(|release| release.stage);
    let image = cluster.image().to_owned();
    let crashes = cluster.pods.iter().any(|pod| pod.crashing);
    let broken = image.contains("crash") || image.contains("hang") || crashes;
    let resting = match status.phase {
        Phase::Stable | Phase::TakenBack => stage.is_none(),
        Phase::Blocked => {
            stage.is_none()
                || status.message.contains("template that works")
                || (stage == Some(Stage::Bypassed) && broken)
                // Stable does not work, or what somebody released past the plan: the canary is all that serves.
                || (status.message.contains("taking back gets nowhere")
                    && (!stable_works(cluster, status) || (broken && !cluster.paused())))
        }
        Phase::Waiting => stage.is_none() || (cluster.paused() && !cluster.held()),
        Phase::Paused => stage == Some(Stage::Steps),
        Phase::Promoting | Phase::TakingBack | Phase::Releasing => false,
    };
    if !resting || status.message.is_empty() {
        return Err(format!("rests at {}", brief(status)));
    }
    let mut canaries = cluster.canaries();
    if cluster.held() && cluster.replicas() == 0 {
        // Revisions of the history are kept aside while the Deployment sleeps, so that stable comes up first.
        canaries.retain(|name| !is_kept_aside(cluster, name));
    }
    if stage.is_none() && !canaries.is_empty() {
        return Err(format!("left over: {canaries:?} in {}", brief(status)));
    }
    let guarded = cluster.annotation(names::PLAN).is_some_and(|plan| !plan.is_empty());
    if guarded && cluster.held() && status.phase == Phase::Stable {
        return Err(format!("held and forgotten: {}", brief(status)));
    }
    if status.phase == Phase::Stable && guarded {
        check_pods(cluster, &image)?;
    }
    if status.phase == Phase::TakenBack && !cluster.held() {
        return Err("taken back but not held".to_owned());
    }
    Ok(())
}

/// Whether pods of the stable revision can become available.
fn stable_works(cluster: &Cluster, status: &ReleasePlanStatus) -> bool {
    let name = status.stable.as_ref().map(|stable| stable.replica_set.as_str()).unwrap_or_default();
    let Some(rs) = cluster.get(REPLICA_SETS, name) else { return false };
    let image = rs["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    !image.contains("crash") && !image.contains("hang")
}

/// The Deployment runs nothing but pods of this image, all of them available.
pub fn check_pods(cluster: &Cluster, image: &str) -> Result<(), String> {
    let wanted = usize::try_from(cluster.replicas()).unwrap();
    let right = cluster.pods.iter().filter(|pod| pod.image == image && pod.ready_since.is_some()).count();
    if right == wanted && cluster.pods.len() == wanted {
        return Ok(());
    }
    // A person's own pause, and broken pods, are nobody else's fault.
    if cluster.paused() || image.contains("crash") || image.contains("hang") {
        return Ok(());
    }
    Err(format!("{:?} where {wanted} of {image} are asked for", cluster.images()))
}

/// Replicas of each ReplicaSet, by name.
pub fn sizes(cluster: &Cluster) -> Vec<(String, i32)> {
    cluster
        .list(REPLICA_SETS)
        .map(|rs| {
            (rs["metadata"]["name"].to_string(), i32::try_from(rs["spec"]["replicas"].as_i64().unwrap()).unwrap())
        })
        .collect()
}

/// A status in one line.
pub fn brief(status: &ReleasePlanStatus) -> String {
    let stage = status.release.as_ref().map(|release| (release.stage, release.step, release.verdict.clone()));
    format!("{:?}: {} (stable {:?}, {stage:?}, undo {:?})", status.phase, status.message, status.stable, status.undo)
}
