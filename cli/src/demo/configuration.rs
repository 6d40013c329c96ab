//! The demo's chapter about configuration: a bad ConfigMap is tried on the canary alone and taken back, and a stable pod
//! that comes back in the middle of it reads what it was made for.

use std::time::Instant;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use trimtab_config::Source;
use trimtab_crds::Phase;
use trimtab_testkit::{Nodes, eventually};

use super::narrator::Narrator;
use super::stage::{APP, NAMESPACE, Stage};
use super::story::{PATIENCE, requests, run, seconds, whole};
use crate::config;

/// What everybody reads so far, and what the bad one says instead.
const GOOD: &str = "timeout: 5s";
const BAD: &str = "timeout: crash";
const MANIFEST: &str = include_str!("bad-config.yaml");

/// Tells it.
pub(super) async fn bad(stage: &mut Stage, say: &mut Narrator) -> Result<()> {
    say.chapter("A bad configuration");
    say.say("The pods read ConfigMap web. Since the first release each revision of them has a copy of its own.");
    std::fs::write(stage.folder().join("bad-config.yaml"), MANIFEST)?;
    run(stage, say, "apply -f bad-config.yaml").await?;
    let real = stage.cluster.nodes() == Nodes::Real;
    let (_, facts) = stage
        .follow("the canary with the new configuration", PATIENCE, |_, facts| {
            let tried = facts.new.as_ref().is_some_and(|side| side.asked > 0);
            facts.status.rejected.is_some() || tried && (real || whole(facts.new.as_ref()))
        })
        .await?;
    let canary = facts.new.as_ref().map_or(0, |side| side.asked);
    say.promise(canary == 1, "a changed ConfigMap is a release, and one pod tries it", &format!("{canary} canary"));
    say.say("In the middle of it a stable pod goes, as when its node is drained:");
    let pods = stage.objects::<Pod>();
    let name = facts.stable.as_ref().and_then(|side| side.pods.first()).map(|pod| pod.name.clone());
    let name = name.context("there is no stable pod")?;
    run(stage, say, &format!("delete pod -n {NAMESPACE} --wait=false {name}")).await?;
    if !real {
        say.say("Simulated pods read nothing, so a person has to find out:");
        say.command(&format!("kubectl trimtab abort {APP} -n {NAMESPACE}"));
        crate::verbs::write(&stage.to, APP, "abort:configuration").await?;
    }
    let begun = Instant::now();
    let (_, facts) = stage
        .follow("the bad configuration to be taken back, and all stable pods", PATIENCE, |seen, facts| {
            let stable = facts.stable.as_ref().is_some_and(|side| side.available == 5);
            seen.is("Stalled") && facts.status.rejected.is_some() && stable
        })
        .await?;
    say.promise(facts.phase == Phase::TakenBack, "the bad configuration is taken back", &seconds(begun));
    let (good, all) = reading(stage, &pods).await?;
    let text = "every pod reads the good one, also the one that came back";
    say.promise(good == all && all == 5, text, &format!("{good} of {all}"));
    requests(stage, say);
    say.breath().await;
    history(stage, say).await
}

/// How many pods read the good configuration, of all.
async fn reading(stage: &Stage, pods: &Api<DynamicObject>) -> Result<(usize, usize)> {
    let maps = stage.objects::<ConfigMap>();
    eventually("the old pods to be gone", PATIENCE, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        anyhow::ensure!(all.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()), "one is ending");
        let mut good = 0;
        for pod in &all {
            let mut volumes = pod.data["spec"]["volumes"].as_array().into_iter().flatten();
            let name = volumes.find_map(|volume| volume["configMap"]["name"].as_str());
            let name = name.with_context(|| format!("pod {} reads no ConfigMap", pod.name_any()))?;
            let map = maps.get(name).await?;
            good += usize::from(map.data["data"]["app.conf"].as_str().is_some_and(|text| text.contains(GOOD)));
        }
        Ok(Some((good, all.len())))
    })
    .await
}

async fn history(stage: &mut Stage, say: &mut Narrator) -> Result<()> {
    let source = Source::config_map(APP);
    say.command(&format!("kubectl trimtab config history cm/{APP} -n {NAMESPACE}"));
    say.printed(config::history_text(&stage.to, &source).await?.trim_end(), false);
    say.command(&format!("kubectl trimtab config diff cm/{APP} -n {NAMESPACE}"));
    let diff = config::diff_text(&stage.to, &source, None, None).await?;
    say.printed(diff.trim_end(), false);
    let shown = crate::paint::plain(&diff);
    let says = shown.contains(&format!("-{GOOD}")) && shown.contains(&format!("+{BAD}"));
    say.promise(says, "history and diff tell what is live and what runs", "cm/web");
    Ok(())
}
