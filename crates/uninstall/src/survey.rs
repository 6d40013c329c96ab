//! How one Deployment stands, what becomes of it when nothing is written, and what a person could do. Nothing is decided
//! here.

use trimtab_crds::names;
use trimtab_release::words;

use crate::{
    snapshot::{PAUSED_AT, Scene, Snapshot},
    standing::{CanaryPods, Standing, State},
};

/// How one Deployment stands. `None` where Trimtab has nothing to do with it.
pub fn survey(seen: &Snapshot) -> Option<Standing> {
    let mut standing = Standing { namespace: seen.namespace.clone(), name: seen.name.clone(), ..Standing::default() };
    "Deployment".clone_into(&mut standing.kind);
    standing.canary = seen.canaries().max_by_key(|rs| rs.spec.replicas).map(|rs| CanaryPods {
        replica_set: rs.metadata.name.clone(),
        asked: rs.spec.replicas,
        available: rs.status.available_replicas,
    });
    let Some(scene) = seen.scene() else {
        standing.canary.as_ref()?;
        standing.state = State::CanaryLeft;
        standing.says = "its Deployment is gone, a canary of it is left".to_owned();
        say(None, &mut standing);
        return Some(standing);
    };
    standing.plan = scene.guard().filter(|plan| !plan.is_empty()).map(str::to_owned);
    standing.step = seen.plan.as_ref().and_then(|plan| plan.step.clone());
    standing.by = who(&scene);
    standing.frozen = scene.pins().to_string();
    standing.state = state(&scene);
    let asked = words(&scene.deployment.spec.template);
    standing.says = says(&scene, &standing, &asked);
    standing.asks_for = Some(asked);
    if standing.state == State::Free && standing.frozen.is_empty() {
        return None;
    }
    if standing.state == State::Free {
        standing.state = State::Frozen;
    }
    say(Some(&scene), &mut standing);
    Some(standing)
}

fn who(scene: &Scene<'_>) -> Option<String> {
    let (who, _) = scene.held()?;
    let release = scene.seen.plan.as_ref().and_then(|plan| plan.release.as_ref());
    let by = release.filter(|r| r.digest == scene.digest() && !r.by.is_empty()).map(|release| release.by.clone());
    Some(by.unwrap_or(who))
}

fn state(scene: &Scene<'_>) -> State {
    let meta = &scene.deployment.metadata;
    let canary = scene.seen.canaries().next();
    let ours = scene.asked_for().is_some_and(|rs| rs.spec.replicas > 0);
    let taking_back = scene.found_bad().is_some();
    let rolling = || if scene.complete() { State::Guarded } else { State::Rolling };
    match scene.held() {
        Some(_) if taking_back && (canary.is_some() || ours) => State::TakingBack,
        Some(_) if taking_back => State::TakenBack,
        Some(_) if canary.is_some_and(|rs| rs.spec.template.digest == scene.digest()) => State::Releasing,
        Some(_)
            if canary.is_none() && ours && scene.stable().is_some_and(|s| s.spec.template.digest != scene.digest()) =>
        {
            State::HandedOver
        }
        Some(_) => State::Held,
        None if canary.is_some() => State::CanaryLeft,
        None if scene.is_to_go_back() => State::TakingBack,
        None if meta.annotation(PAUSED_AT).is_some() && scene.deployment.spec.paused => State::PausedForReload,
        None if scene.guarded() && scene.deployment.spec.paused => State::PausedByPerson,
        None if scene.guarded() => rolling(),
        None if scene.guard().is_some() => State::OptedOut,
        None => State::Free,
    }
}

fn says(scene: &Scene<'_>, standing: &Standing, asked: &str) -> String {
    let by = standing.by.as_deref().unwrap_or("somebody");
    let why = scene.found_bad().unwrap_or_default();
    let canary = standing.canary.as_ref().map_or_else(String::new, |canary| {
        format!("{} of {} canary pods are available", canary.available, canary.asked)
    });
    match standing.state {
        State::Held => match (scene.held(), &standing.plan) {
            (Some((_, true)), _) => format!("{asked} waits, changed by {by} after a person had paused the Deployment"),
            (_, None) => format!("{asked} waits, changed by {by}; no plan releases it"),
            _ => format!("{asked} waits, changed by {by}"),
        },
        State::Releasing => {
            let step = standing.step.as_ref().map(|step| format!(" at step {step}")).unwrap_or_default();
            format!("{asked} by {by} is being tried{step}: {canary}")
        }
        State::HandedOver => {
            format!("{asked} by {by} is being promoted: the Deployment has its canary and is still paused")
        }
        State::TakingBack => format!("{asked} is being taken back: {why}"),
        State::TakenBack => format!("{asked} by {by} was taken back ({why}); the Deployment still asks for it"),
        State::Rolling => format!("{asked} rolls by the Deployment's own rules"),
        State::PausedByPerson => format!("{asked}; a person paused the Deployment"),
        State::PausedForReload => "paused for a time after a change of its configuration".to_owned(),
        State::CanaryLeft => format!("a canary is left of a release that is over: {canary}"),
        State::Guarded => format!("{asked} is stable"),
        State::OptedOut => "its changes roll at once".to_owned(),
        _ => "nothing waits".to_owned(),
    }
}

/// What becomes of it, in each way, and what a person could do.
fn say(scene: Option<&Scene<'_>>, s: &mut Standing) {
    s.waits = s.state.waits();
    let (name, ns) = (s.name.clone(), s.namespace.clone());
    let opt_out = format!("kubectl annotate deployment {name} -n {ns} {}= --overwrite", names::PLAN);
    let resume = format!("kubectl rollout resume deployment {name} -n {ns}");
    let person = scene.and_then(Scene::held).is_some_and(|(_, person)| person);
    let by_strategy = "it rolls by the Deployment's own strategy";
    let back = "the Deployment asks for what runs again; no pod restarts";
    let canary = s.canary.as_ref().map(|canary| canary.replica_set.clone());
    let end_canary = canary.map(|rs| format!("kubectl delete replicaset {rs} -n {ns}"));
    let (left, resumed, taken_back, by_hand): (&str, &str, &str, Vec<String>) = match s.state {
        State::Held if person => (
            "it stays held and paused for ever",
            "nothing holds it any more; the person's pause stays",
            back,
            vec![opt_out, resume],
        ),
        State::Held => ("it stays held for ever; its pods go on as they are", by_strategy, back, vec![opt_out, resume]),
        State::Releasing => (
            "it stays held, and its canary stays beside the stable pods; with the CRDs the canary goes",
            "the Deployment takes over the canary pods that are available and rolls the rest in",
            "the canary goes, and the Deployment asks for what runs again",
            end_canary.into_iter().chain([opt_out, resume]).collect(),
        ),
        State::HandedOver => (
            "it stays held between two revisions",
            "the Deployment rolls the rest in",
            "the Deployment rolls back to the stable revision by its own strategy",
            vec![opt_out, resume],
        ),
        State::TakingBack => (
            "it stays between two revisions; with the CRDs its canary would go, whether or not stable is back",
            "it is taken back to its end, and the Deployment asks for the stable revision again",
            "it is taken back to its end, and the Deployment asks for the stable revision again",
            vec![],
        ),
        State::TakenBack => (
            "it stays held for ever; its pods go on as they are",
            "as --take-back: what was found bad is not let go",
            back,
            vec![],
        ),
        State::PausedForReload => ("it stays paused for ever", "it rolls at once", "it rolls at once", vec![resume]),
        State::CanaryLeft => (
            "the canary stays until its plan is deleted",
            "the canary goes as the Deployment's own pods are available",
            "the canary goes as the Deployment's own pods are available",
            end_canary.into_iter().collect(),
        ),
        State::Guarded | State::Rolling | State::PausedByPerson => (
            "as long as the policy trimtab-hold is there, its next change is held for ever",
            "its changes roll at once from now on",
            "its changes roll at once from now on",
            vec![opt_out],
        ),
        _ => ("it stays as it is", "", "", vec![]),
    };
    (s.left_alone, s.resumed, s.taken_back, s.by_hand) =
        (left.to_owned(), resumed.to_owned(), taken_back.to_owned(), by_hand);
    if !s.frozen.is_empty() {
        s.left_alone.push_str("; its pods go on reading the frozen revisions, which go with what names them");
    }
}
