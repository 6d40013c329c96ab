//! `trimtab why`: what a plan waits for, what would open it, who changed what, and what can be done now. The decision is
//! the engine's own, on what the API server has now; here it is only put into words.

use anyhow::Result;
use trimtab_crds::{Change, Phase, Release, mark, names};

use crate::{
    Exit,
    args::{Form, Subject, Why},
    autoscaler,
    connect::connect,
    facts::{self, Facts, Side, Turn},
    paint::{BAD, BOLD, DIM, GOOD, NEW, WARN, clip, columns, out, pad, paint, wrap},
    panel,
    situation::{self, Situation},
    times,
};

const LABEL: usize = 10;

/// Prints why a plan stands where it does.
pub async fn run(options: Why) -> Result<Exit> {
    let to = connect(&options.cluster).await?;
    let plan = match &options.subject {
        Subject::Plan(plan) => plan,
        Subject::Autoscaler(name) => return autoscaler::why::run(&to, name, options.output).await,
    };
    let seen = situation::read(&to, plan).await?;
    out(&match options.output {
        Form::Json => format!("{:#}\n", seen.json()),
        Form::Text => text(&seen, crate::program(), &to.options, columns().unwrap_or(100)),
    });
    Ok(Exit::Done)
}

/// The explanation, wrapped to so many columns.
pub fn text(s: &Situation, program: &str, options: &str, columns: usize) -> String {
    let facts = facts::of(s);
    let mut page = Page { lines: vec![], columns: columns.clamp(40, 120) };
    let target = format!("Deployment {}/{}", s.seen.namespace, s.seen.name);
    page.lines.push(format!("{} · {}", panel::title(s.name(), &facts), paint(DIM, target)));
    page.say("why", &facts.message);
    page.say("opens", &opens(s, &facts));
    change(s, &facts, &mut page);
    page.steps(&facts);
    pods(&facts, &mut page);
    notes(s, &mut page);
    next(s, &facts, &mut page);
    releases(s, &mut page);
    commands(s, &facts, program, options, &mut page);
    page.lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

struct Page {
    lines: Vec<String>,
    columns: usize,
}

impl Page {
    /// A paragraph with a label; nothing if there is nothing to say.
    fn say(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        for (i, line) in wrap(text, self.columns.saturating_sub(LABEL + 2)).into_iter().enumerate() {
            self.row(if i == 0 { label } else { "" }, &line);
        }
    }

    fn row(&mut self, label: &str, text: &str) {
        self.lines.push(format!("  {}{text}", paint(DIM, pad(label, LABEL))));
    }

    fn rows(&mut self, label: &str, rows: impl IntoIterator<Item = String>) {
        for (i, row) in rows.into_iter().enumerate() {
            self.row(if i == 0 { label } else { "" }, &row);
        }
    }

    fn steps(&mut self, facts: &Facts) {
        let one = |step: &facts::StepFact| {
            let sign = match step.turn {
                Turn::Done => paint(GOOD, "✓"),
                Turn::Now => paint(NEW, "▸"),
                Turn::Later => paint(DIM, "·"),
            };
            let words = if step.note.is_empty() { step.words.clone() } else { pad(&step.words, 22) };
            let words = if step.turn == Turn::Now { paint(BOLD, words) } else { words };
            let note = if step.note.is_empty() { String::new() } else { format!(" {}", paint(DIM, &step.note)) };
            format!("{sign} {words}{note}")
        };
        self.rows("steps", facts.steps.iter().map(one));
    }
}

/// What would let it go on.
fn opens(s: &Situation, facts: &Facts) -> String {
    let text = match facts.reason.as_str() {
        "PauseStep" => "the pause ends, or a person promotes",
        "WaitingForPromotion" => "a person: promote, or abort",
        "PausedByRequest" => "a person: resume, promote or abort",
        "FailedAndPaused" => "a person: promote, retry or abort",
        "WaitingForCanary" => "the canary's pods become available, or progressDeadline takes it back",
        "TakenBack" => "another change of the Deployment; or a person: retry, or undo",
        "FirstRollout" => "the Deployment's first rollout is complete",
        "Rolling" | "HandingOver" | "HandedOver" | "Promoting" => "the Deployment has rolled the rest in",
        "TakingBack" | "RollingBack" => "the stable pods are all available again and the new ones are gone",
        "TargetNotFound" | "TargetExpected" => "the Deployment is created",
        "ScaledToZero" => "the Deployment has replicas again; or a person: promote --full, or undo",
        "Waking" => "the Deployment has brought the stable revision up",
        "PausedByPerson"
        | "SecondPlan"
        | "MidRollout"
        | "InvalidPlan"
        | "UnsupportedStrategy"
        | "NameTaken"
        | "StableChanged"
        | "StableLost"
        | "StableGone"
        | "OptedOut" => "a person, as said above",
        _ => return String::new(),
    };
    match (facts.reason.as_str(), facts.wake) {
        ("PauseStep" | "WaitingForCanary", Some(at)) => format!("{text} ({})", times::ahead(s.now, at)),
        _ => text.to_owned(),
    }
}

/// Who changed what.
fn change(s: &Situation, facts: &Facts, page: &mut Page) {
    let status = &facts.status;
    let record = |name: &str| s.releases.iter().find(|r| r.metadata.name.as_deref() == Some(name));
    let (head, release) = if let Some(progress) = &status.release {
        let head = format!("{} by {}, {} ago", progress.name, progress.by, times::span(progress.started_at, s.now));
        (head, record(&progress.name))
    } else if let Some(rejected) = &status.rejected {
        let release = record(&rejected.release);
        let by = release.map_or("unknown", |r| r.spec.by.as_str());
        (format!("{} by {by}, taken back {} ago", rejected.release, times::span(rejected.at, s.now)), release)
    } else {
        let held = s.seen.deployment.as_ref().and_then(|d| d.metadata.annotation(names::HELD));
        match held.filter(|mark| !mark::is_released(mark)) {
            Some(mark) => (format!("held, {mark}"), None),
            None => return,
        }
    };
    page.say("change", &head);
    if let Some(why) = status.release.as_ref().and_then(|progress| progress.skips_steps.as_ref()) {
        page.say("", &format!("without steps: {why}"));
    }
    let changes = release.map(|r| r.spec.changes.as_slice()).unwrap_or_default();
    page.rows("", changes.iter().map(|change| format!("  {}", changed(change))));
}

/// One change: images with their values, others by their place alone.
fn changed(change: &Change) -> String {
    let path = change.path.trim_start_matches("spec.");
    let container = path.strip_prefix("containers[").and_then(|rest| rest.strip_suffix("].image"));
    let place = container.map_or_else(|| path.to_owned(), |container| format!("image of {container}:"));
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{place} {} → {}", paint(DIM, from), paint(NEW, to)),
        (None, Some(to)) => format!("{place} {}", paint(NEW, to)),
        _ => format!("{place} changed"),
    }
}

fn pods(facts: &Facts, page: &mut Page) {
    let side = |label: &str, side: &Side| {
        let count = format!("{} of {} available", side.available, side.asked);
        let image = paint(DIM, panel::short_image(&side.image()));
        format!("{} {}  {count}  {}  {image}", pad(label, 6), panel::dots(side), side.replica_set)
    };
    let both = [("stable", &facts.stable), ("new", &facts.new)];
    let room = page.columns.saturating_sub(LABEL + 2);
    page.rows("pods", both.iter().filter_map(|(label, s)| Some(clip(&side(label, s.as_ref()?), room))));
    let troubled = both.iter().filter_map(|(_, s)| s.as_ref()).flat_map(|s| &s.pods);
    let troubled = troubled.filter_map(|pod| Some(format!("{}: {}", pod.name, paint(BAD, pod.trouble.as_ref()?))));
    page.rows("trouble", troubled.take(5));
}

/// Conditions of the plan that somebody should know of.
fn notes(s: &Situation, page: &mut Page) {
    let wanted = ["Guarded", "Drains", "WeightsExact"];
    let conditions = s.decided.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    for condition in conditions.iter().filter(|c| wanted.contains(&c.type_.as_str()) && c.status == "False") {
        page.say("note", &format!("{} {}", paint(WARN, format!("{}:", condition.type_)), condition.message));
    }
}

/// What is decided next, and when.
fn next(s: &Situation, facts: &Facts, page: &mut Page) {
    // The stored status is the last decision's. What is decided now may be the next step already.
    let decided = s.decided.status.as_ref().map(|status| status.message.as_str()).unwrap_or_default();
    if decided != facts.message {
        page.say("next", decided);
    }
    for write in s.decided.writes.iter().chain(s.decided.housekeeping.iter().map(|chore| &chore.write)) {
        page.say("next", &format!("{}: {}", write.target, write.why));
    }
    match facts.wake {
        Some(at) => page.say("decides", &format!("{}, or at any change", times::ahead(s.now, at))),
        None => page.say("decides", "at any change"),
    }
    if s.status().is_none() {
        let text = "no manager has written this plan's status: is trimtab-manager running?";
        page.say("note", &paint(WARN, text));
    }
}

fn releases(s: &Situation, page: &mut Page) {
    let row = |release: &Release| {
        let name = release.metadata.name.as_deref().unwrap_or_default();
        let (result, message, when) = match &release.status {
            Some(status) => {
                let end = status.finished_at.unwrap_or(status.started_at);
                let told = status.verdict.is_some() || status.skipped_steps.is_some();
                let message = if told { status.message.clone() } else { String::new() };
                (format!("{:?}", status.result), message, format!("{} ago", times::span(end, s.now)))
            }
            None => ("Running".to_owned(), String::new(), String::new()),
        };
        let style = match result.as_str() {
            "Promoted" => GOOD,
            "TakenBack" => BAD,
            _ => WARN,
        };
        let told = if message.is_empty() { String::new() } else { format!(" — {message}") };
        let head = format!("{} {} {}", pad(name, 12), pad(&paint(style, result), 10), pad(&when, 10));
        format!("{head} {}{}", release.spec.summary, paint(DIM, told))
    };
    let columns = page.columns;
    let rows = s.releases.iter().take(3).map(row);
    let rows: Vec<String> = rows.map(|row| clip(&row, columns.saturating_sub(LABEL + 2))).collect();
    page.rows("releases", rows);
}

fn is_held(s: &Situation) -> bool {
    let held = s.seen.deployment.as_deref().map(trimtab_release::held);
    matches!(held, Some(trimtab_release::Held::By { .. }))
}

/// The commands that make sense now.
fn commands(s: &Situation, facts: &Facts, program: &str, options: &str, page: &mut Page) {
    let held_by_failure = facts.reason == "FailedAndPaused";
    let by_request = facts.reason == "PausedByRequest";
    let verbs: &[(&str, &str)] = match facts.phase {
        Phase::Paused if held_by_failure => &[
            ("promote", "go on in spite of it"),
            ("retry", "try the step again"),
            ("abort", "take the new revision back"),
        ],
        Phase::Paused if by_request => {
            &[("resume", "go on"), ("promote --full", "skip the other steps"), ("abort", "take the new revision back")]
        }
        Phase::Paused | Phase::Releasing => &[
            ("promote", "go on to the next step"),
            ("promote --full", "skip the other steps"),
            ("pause", "stop here"),
            ("abort", "take the new revision back"),
        ],
        Phase::Promoting => &[("watch", "see it to its end"), ("abort", "take the new revision back")],
        Phase::TakingBack => &[("watch", "see it to its end")],
        Phase::TakenBack => &[
            ("retry", "try the same change once more"),
            ("undo", "write the stable template back into the Deployment"),
        ],
        Phase::Stable if !facts.status.history.is_empty() => {
            &[("restart", "restart all pods, as a release"), ("undo", "go one revision back")]
        }
        Phase::Stable => &[("restart", "restart all pods, as a release")],
        Phase::Blocked if facts.reason == "MidRollout" => &[("promote --full", "let the change roll")],
        Phase::Waiting if facts.reason == "ScaledToZero" => &[
            ("promote --full", "promote the change untried"),
            ("undo", "write the stable template back into the Deployment"),
        ],
        Phase::Waiting | Phase::Blocked if is_held(s) && facts.status.stable.is_some() => {
            &[("watch", "see what becomes of it"), ("undo", "write the stable template back into the Deployment")]
        }
        Phase::Waiting | Phase::Blocked => &[("watch", "see what becomes of it")],
    };
    let line = |verb: &str| format!("{program} {verb} {}{options}", s.name());
    let room = verbs.iter().map(|(verb, _)| line(verb).chars().count()).max().unwrap_or(0);
    let rows = verbs.iter().map(|(verb, what)| format!("{}  {}", pad(&line(verb), room), paint(DIM, what)));
    page.rows("you can", rows);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{paint::plain, reading::Reading};

    fn deployment(held: Option<&str>, image: &str) -> Value {
        let mut annotations = json!({names::PLAN: "web"});
        if let Some(mark) = held {
            annotations[names::HELD] = json!(mark);
        }
        json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 2, "annotations": annotations},
            "spec": {"replicas": 2, "paused": held.is_some(), "template": template(image)},
            "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
        })
    }

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "web"}},
               "spec": {"containers": [{"name": "web", "image": image, "lifecycle": {"preStop": {}}}]}})
    }

    fn set(name: &str, image: &str, owner: (&str, &str, &str)) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "annotations": {names::CANARY_OF: "web"},
                "ownerReferences": [{"apiVersion": owner.0, "kind": owner.1, "name": "web", "uid": owner.2, "controller": true}]},
            "spec": {"replicas": 1, "template": template(image)}, "status": {"availableReplicas": 1, "replicas": 1},
        })
    }

    fn pod(name: &str, owner: &str, waiting: Option<&str>) -> Value {
        let state = waiting.map_or(json!({"running": {}}), |reason| json!({"waiting": {"reason": reason}}));
        let ready = if waiting.is_none() { "True" } else { "False" };
        json!({
            "metadata": {"name": name, "uid": name, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": owner, "uid": owner, "controller": true}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "web", "state": state, "restartCount": 0}]},
        })
    }

    fn plan(status: &Value) -> Value {
        json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "ReleasePlan",
            "metadata": {"name": "web", "namespace": "shop", "uid": "p", "generation": 1},
            "spec": {"targetRef": {"name": "web"}, "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}},
            "status": status,
        })
    }

    fn stable() -> Value {
        let digest = trimtab_release::template_digest(&template("web:v1"));
        json!({"phase": "Stable", "message": "web:v1 is stable", "target": {"uid": "d"},
               "stable": {"digest": digest, "replicaSet": "web-a"}})
    }

    fn owned() -> Value {
        set("web-a", "web:v1", ("apps/v1", "Deployment", "d"))
    }

    fn check(status: &Value, deployment: Value, sets: &[Value], pods: Vec<Value>, expected: &str) {
        let raw = |value: &Value| serde_json::value::to_raw_value(value).unwrap();
        let all = |values: &[Value]| values.iter().map(raw).collect::<Vec<_>>();
        let plan = plan(status);
        let reading = Reading::from(Some(&raw(&deployment)), &all(sets), &[raw(&plan)], &all(&pods)).unwrap();
        let seen = reading.seen(&names::DEPLOYMENT.object("shop", "web"));
        let (now, plan) = ("2026-01-01T00:00:10Z".parse().unwrap(), serde_json::from_value(plan).unwrap());
        let seen = Situation::of(now, plan, seen, pods, &[]).unwrap();
        assert_eq!(plain(&text(&seen, "trimtab", "", 78)), expected);
    }

    #[test]
    fn a_stable_plan_says_that_nothing_is_under_way() {
        check(
            &stable(),
            deployment(None, "web:v1"),
            &[owned()],
            vec![pod("one", "web-a", None)],
            "web Stable · Deployment shop/web\n\
             \x20 why       web:v1 is stable\n\
             \x20 pods      stable ●  1 of 1 available  web-a  web:v1\n\
             \x20 decides   at any change\n\
             \x20 you can   trimtab restart web  restart all pods, as a release\n",
        );
    }

    #[test]
    fn a_release_says_what_it_waits_for_and_what_is_wrong() {
        let mut status = stable();
        status["phase"] = json!("Releasing");
        status["message"] = json!("step 1/2, setWeight 20: 0 of 1 canary pods are available");
        status["step"] = json!("1/2");
        status["release"] = json!({
            "name": "web-1", "digest": trimtab_release::template_digest(&template("web:v2")), "by": "ann", "stage": "Steps",
            "startedAt": "2026-01-01T00:00:00Z", "stageStartedAt": "2026-01-01T00:00:00Z", "step": 0,
            "stepStartedAt": "2026-01-01T00:00:00Z", "weight": 20,
            "canary": {"replicaSet": "web-b", "replicas": 1},
        });
        check(
            &status,
            deployment(Some("by ann"), "web:v2"),
            &[owned(), set("web-b", "web:v2", ("trimtab.dev/v1alpha1", "ReleasePlan", "p"))],
            vec![pod("one", "web-a", None), pod("two", "web-b", Some("ImagePullBackOff"))],
            "web Releasing · step 1/2 · Deployment shop/web\n\
             \x20 why       step 1/2, setWeight 20: 0 of 1 canary pods are available\n\
             \x20 change    web-1 by ann, 10 s ago\n\
             \x20 steps     ▸ 20%\n\
             \x20           · pause until promoted\n\
             \x20           · promote\n\
             \x20 pods      stable ●  1 of 1 available  web-a  web:v1\n\
             \x20           new    ✗  1 of 1 available  web-b  web:v2\n\
             \x20 trouble   two: container web: ImagePullBackOff\n\
             \x20 next      step 1/2: setWeight 20\n\
             \x20 decides   at any change\n\
             \x20 you can   trimtab promote web         go on to the next step\n\
             \x20           trimtab promote --full web  skip the other steps\n\
             \x20           trimtab pause web           stop here\n\
             \x20           trimtab abort web           take the new revision back\n",
        );
    }
}
