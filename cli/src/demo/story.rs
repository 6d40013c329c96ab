//! The demo's story: an application, a change that is held, a canary, a killed manager, a promotion, and a broken image that
//! is taken back. Each chapter ends with what was promised and whether it was so.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, api::ListParams};
use trimtab_crds::{Phase, Release, ReleaseResult};
use trimtab_release::Held;
use trimtab_testkit::{Nodes, apply_crds, eventually};

use super::{
    configuration,
    narrator::Narrator,
    stage::{APP, NAMESPACE, Stage},
};
use crate::facts::{Facts, Side};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);
const CRDS: [(&str, &str); 8] = [
    ("autoscalers.trimtab.dev.yaml", include_str!("../../../crds/autoscalers.trimtab.dev.yaml")),
    ("configpolicies.trimtab.dev.yaml", include_str!("../../../crds/configpolicies.trimtab.dev.yaml")),
    ("releaseplans.trimtab.dev.yaml", include_str!("../../../crds/releaseplans.trimtab.dev.yaml")),
    ("releases.trimtab.dev.yaml", include_str!("../../../crds/releases.trimtab.dev.yaml")),
    ("policy-hold.yaml", include_str!("../../../crds/policy-hold.yaml")),
    ("policy-held-warning.yaml", include_str!("../../../crds/policy-held-warning.yaml")),
    ("policy-freeze.yaml", include_str!("../../../crds/policy-freeze.yaml")),
    ("policy-copies.yaml", include_str!("../../../crds/policy-copies.yaml")),
];
const MANIFEST: &str = include_str!("web.yaml");

/// Tells all of it.
pub async fn tell(stage: &mut Stage, say: &mut Narrator) -> Result<()> {
    install(stage, say).await?;
    say.breath().await;
    let stable = application(stage, say).await?;
    say.breath().await;
    change(stage, say, &stable).await?;
    say.breath().await;
    let canary = without_trimtab(stage, say).await?;
    say.breath().await;
    let stable = promotion(stage, say, &canary).await?;
    say.breath().await;
    broken(stage, say, &stable).await?;
    say.breath().await;
    configuration::bad(stage, say).await?;
    say.breath().await;
    records(stage, say).await
}

pub(super) fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

fn uids(side: Option<&Side>) -> BTreeSet<String> {
    side.map(Side::uids).unwrap_or_default().into_iter().collect()
}

/// How many of these are still there.
fn kept(before: &BTreeSet<String>, now: &BTreeSet<String>) -> (bool, String) {
    let same = before.intersection(now).count();
    (same == before.len() && same > 0, format!("{same} of {}", before.len()))
}

async fn install(stage: &mut Stage, say: &mut Narrator) -> Result<()> {
    let begun = Instant::now();
    let folder = stage.folder().join("crds");
    std::fs::create_dir_all(&folder)?;
    for (file, text) in CRDS {
        std::fs::write(folder.join(file), text)?;
    }
    say.command("kubectl apply --server-side -f crds/");
    apply_crds(&stage.cluster, &folder).await?;
    let text = "kinds and policies are in force, inside the API server";
    say.promise(true, text, &seconds(begun));
    Ok(())
}

pub(super) async fn run(stage: &Stage, say: &Narrator, arguments: &str) -> Result<super::stage::Printed> {
    say.command(&format!("kubectl {arguments}"));
    let printed = stage.kubectl(arguments).await?;
    say.printed(&printed.out, false);
    say.printed(&printed.err, true);
    Ok(printed)
}

async fn application(stage: &mut Stage, say: &mut Narrator) -> Result<BTreeSet<String>> {
    say.chapter("An application and its plan");
    let file = stage.folder().join("web.yaml");
    std::fs::write(&file, MANIFEST).with_context(|| format!("cannot write {}", file.display()))?;
    say.say("A plain Deployment with 4 pods, a Service, and a ReleasePlan with the steps 20%, pause, 50%, pause.");
    let begun = Instant::now();
    run(stage, say, "apply -f web.yaml").await?;
    say.command("trimtab-manager &");
    stage.start_manager()?;
    let (_, facts) = stage
        .follow("the application to be ready and guarded", PATIENCE, |seen, facts| {
            let all = facts.stable.as_ref().is_some_and(|s| s.available == 4 && s.pods.len() == 4);
            seen.is("Ready") && seen.is("Guarded") && all
        })
        .await?;
    let stable = uids(facts.stable.as_ref());
    say.promise(stable.len() == 4, "4 pods run, and changes of the Deployment are held from now on", &seconds(begun));
    if stage.cluster.nodes() == Nodes::Real {
        stage.start_load().await?;
        eventually("the first answers", Duration::from_secs(30), async || {
            Ok(stage.requests().filter(|report| report.ok > 0).map(|_| ()))
        })
        .await?;
        say.say("From now on the Service is asked again and again, each time over a new connection.");
    } else {
        say.say("The pods are simulated: they say that they run, and nothing does. So no requests are made here.");
    }
    Ok(stable)
}

async fn change(stage: &mut Stage, say: &mut Narrator, stable: &BTreeSet<String>) -> Result<()> {
    say.chapter("Somebody changes the image");
    let printed = run(stage, say, &format!("set image -n {NAMESPACE} deployment/{APP} {APP}={}", image("v2"))).await?;
    let warned = printed.err.contains("held by Trimtab");
    say.promise(warned, "kubectl warns that the change is held", if warned { "1 warning" } else { "no warning" });
    say.breath().await;
    say.say("The API server itself holds the change, and the manager tries it on a few pods at the side:");
    let (_, facts) = stage
        .follow("the canary at 20%", PATIENCE, |_, facts| {
            facts.status.step.as_deref() == Some("2/4") && facts.phase == Phase::Paused && whole(facts.new.as_ref())
        })
        .await?;
    let canary = facts.new.as_ref().map_or(0, |side| side.available);
    let all = facts.stable.as_ref().map_or(0, |side| side.available);
    say.promise(canary == 1 && all == 4, "at 20% one pod in five is new", &format!("{canary} of {}", canary + all));
    let (same, number) = kept(stable, &uids(facts.stable.as_ref()));
    say.promise(same, "no stable pod was touched", &number);
    let by = facts.status.release.as_ref().map(|p| p.by.clone()).unwrap_or_default();
    say.promise(!by.is_empty() && by != "unknown", "the record says who changed it", &by);
    Ok(())
}

pub(super) fn whole(side: Option<&Side>) -> bool {
    side.is_some_and(|s| s.asked > 0 && s.available == s.asked)
}

fn image(tag: &str) -> String {
    format!("trimtab.local/sample:{tag}")
}

async fn without_trimtab(stage: &mut Stage, say: &mut Narrator) -> Result<BTreeSet<String>> {
    say.chapter("The manager is killed, in the middle of it");
    if let Some(mut manager) = stage.manager.take() {
        say.command(&format!("kill -9 {}", manager.id().unwrap_or_default()));
        manager.kill().await?;
    }
    say.say("Nothing of Trimtab runs now. The change stays held, and the Deployment can still be scaled:");
    let begun = Instant::now();
    run(stage, say, &format!("scale -n {NAMESPACE} deployment/{APP} --replicas=5")).await?;
    let (seen, facts) = stage
        .follow("the fifth stable pod", PATIENCE, |_, facts| {
            facts.stable.as_ref().is_some_and(|side| side.asked == 5 && side.available == 5)
        })
        .await?;
    let v1 = facts.stable.as_ref().is_some_and(|side| side.image() == image("v1"));
    say.promise(v1, "a held Deployment scales, on the stable revision", &seconds(begun));
    let deployment = seen.seen.deployment.as_ref();
    let held = deployment.is_some_and(|d| matches!(trimtab_release::held(d), Held::By { .. }));
    let canary = facts.new.as_ref().map_or(0, |side| side.available);
    say.promise(
        held && canary == 1,
        "the change is still held, and its canary still runs",
        &format!("{canary} canary"),
    );
    say.breath().await;
    say.command("trimtab-manager &");
    let begun = Instant::now();
    stage.start_manager()?;
    let (_, facts) = stage
        .follow("the release to go on", PATIENCE, |_, facts| {
            facts.status.step.as_deref() == Some("4/4") && whole(facts.new.as_ref())
        })
        .await?;
    let name = facts.status.release.as_ref().map(|p| p.name.clone()).unwrap_or_default();
    say.promise(name == "web-1", "a new manager goes on where the old one was", &seconds(begun));
    let size = facts.new.as_ref().map_or(0, |side| side.available);
    say.promise(size == 5, "at 50% every other pod is new", &format!("{size} of {}", size + available(&facts)));
    Ok(uids(facts.new.as_ref()))
}

fn available(facts: &Facts) -> i32 {
    facts.stable.as_ref().map_or(0, |side| side.available)
}

async fn promotion(stage: &mut Stage, say: &mut Narrator, canary: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    say.chapter("Promotion");
    say.say("The Deployment takes the canary over as its own, and its old pods go.");
    let (_, facts) = stage
        .follow("the new image to be stable", PATIENCE, |seen, facts| {
            let new = facts.stable.as_ref().is_some_and(|side| side.image() == image("v2"));
            seen.is("Ready") && new
        })
        .await?;
    let stable = uids(facts.stable.as_ref());
    let (same, number) = kept(canary, &stable);
    say.promise(same, "the canary's pods are the stable pods now: none was started twice", &number);
    say.promise(
        stable.len() == 5 && available(&facts) == 5,
        "all pods run the new image",
        &format!("{} of 5", available(&facts)),
    );
    requests(stage, say);
    Ok(stable)
}

/// The promise that no request fails, where requests are made.
pub(super) fn requests(stage: &Stage, say: &mut Narrator) {
    let Some(report) = stage.requests() else { return };
    let all = report.ok + report.failed;
    say.promise(
        report.failed == 0 && report.ok > 0,
        "no request has failed so far",
        &format!("{} of {all}", report.failed),
    );
    for error in report.errors.iter().take(3) {
        say.printed(error, true);
    }
}

async fn broken(stage: &mut Stage, say: &mut Narrator, stable: &BTreeSet<String>) -> Result<()> {
    say.chapter("A broken image");
    run(stage, say, &format!("set image -n {NAMESPACE} deployment/{APP} {APP}={}", image("broken-crash"))).await?;
    let begun = Instant::now();
    let (seen, facts) = stage
        .follow("the broken image to be taken back", PATIENCE, |seen, facts| {
            seen.is("Stalled") && facts.status.rejected.is_some()
        })
        .await?;
    let took = seconds(begun);
    say.promise(facts.phase == Phase::TakenBack, "the broken image is taken back", &took);
    let (same, number) = kept(stable, &uids(facts.stable.as_ref()));
    say.promise(same && available(&facts) == 5, "no stable pod was touched", &number);
    let steps = seen.releases.first().and_then(|r| r.status.as_ref()).map_or(0, |s| s.steps.len());
    say.promise(steps == 1, "it never came beyond the first step", &format!("step {steps} of 4"));
    requests(stage, say);
    say.breath().await;
    say.say("The Deployment still asks for the broken image, as Git may; undo writes the stable template back:");
    say.command(&format!("kubectl trimtab undo {APP} -n {NAMESPACE}"));
    let id = format!("undo:{}", seen.now.as_millisecond());
    crate::verbs::write(&stage.to, APP, &id).await?;
    stage
        .follow("the stable template to be back", PATIENCE, |seen, facts| {
            facts.status.handled_request.as_deref() == Some(&id) && facts.status.undo.is_none() && seen.is("Ready")
        })
        .await?;
    let deployment = stage.objects::<Deployment>().get(APP).await?;
    let spec = &deployment.data["spec"];
    let asks = spec["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let paused = spec["paused"] == true;
    let tag = asks.rsplit(':').next().unwrap_or_default();
    say.promise(asks == image("v2") && !paused, "the Deployment asks for what runs, and nothing is held", tag);
    Ok(())
}

async fn records(stage: &mut Stage, say: &mut Narrator) -> Result<()> {
    say.chapter("What is left");
    let list = "get releases -n demo -o custom-columns=NAME:.metadata.name,RESULT:.status.result,BY:.spec.by,CHANGE:.spec.summary";
    say.command("kubectl get releases -n demo");
    say.printed(&stage.kubectl(list).await?.out, false);
    let api: Api<Release> = Api::namespaced(stage.to.client.clone(), NAMESPACE);
    let results: Vec<Option<ReleaseResult>> =
        api.list(&ListParams::default()).await?.items.into_iter().map(|r| r.status.map(|s| s.result)).collect();
    let (promoted, taken_back) = (Some(ReleaseResult::Promoted), Some(ReleaseResult::TakenBack));
    let good = results == [promoted, taken_back, taken_back];
    say.promise(good, "each release has its record", &format!("{} Releases", results.len()));
    if let Some(load) = stage.load.take() {
        let report = load.stop().await;
        let all = report.ok + report.failed;
        say.promise(
            report.failed == 0,
            "all the while requests went on",
            &format!("{} of {all} failed", report.failed),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_crds_is_installed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let missing: Vec<String> =
            files.filter(|f| f.ends_with(".yaml") && !CRDS.iter().any(|(name, _)| name == f)).collect();
        assert!(missing.is_empty(), "add {missing:?} to CRDS");
    }

    #[test]
    fn a_pod_that_is_gone_breaks_the_promise() {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(kept(&set(&["a", "b"]), &set(&["b", "c"])), (false, "1 of 2".to_owned()));
        assert_eq!(kept(&set(&["a"]), &set(&["a", "c"])), (true, "1 of 1".to_owned()));
        assert!(!kept(&set(&[]), &set(&["a"])).0);
    }
}
