//! Releases: of an image and of configuration, promoted and taken back, with more records than are kept, and after a crash
//! between a copy and the template that names it.

use anyhow::Result;
use trimtab_crds::Phase;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Configured};

use super::{PATIENCE, Trial};

pub async fn run(app: App) -> Result<()> {
    let trial = Trial::new(app.clone(), &["--controllers=release"]).await?;
    let configured = Configured::new(&app, "a").await?;
    let manager = trial.manager()?;
    app.apply(&app.plan_yaml().replace("  strategy:", "  config: {adopt: Now}\n  strategy:")).await?;
    promoted(&app).await?;
    // Taken back: the canary's ReplicaSet goes.
    app.set_image("v2").await?;
    app.wait_phase(Phase::Paused).await?;
    app.request("abort").await?;
    app.wait_phase(Phase::TakenBack).await?;
    app.request("undo").await?;
    app.wait_phase(Phase::Stable).await?;
    // A policy has the live object and its copy looked at.
    let policy = "apiVersion: trimtab.dev/v1alpha1\nkind: ConfigPolicy\nmetadata: {name: short}\nspec:\n  \
                  selector: {names: [web]}\n  rules:\n  - {name: short, keys: [app.conf], cel: \"size(text) < 4\"}\n";
    app.apply(policy).await?;
    configured.set("b").await?;
    promoted(&app).await?;
    configured.set_password("two").await?;
    promoted(&app).await?;
    for kind in ["configmap", "secret"] {
        leave_a_copy(&app, kind, "apps/v1", "Deployment", "web").await?;
    }
    // An undo to what only a record still holds.
    for set in app.replica_sets().await?.into_iter().filter(|set| set.spec.as_ref().and_then(|s| s.replicas) == Some(0))
    {
        app.kubectl(&["delete", "replicaset", &set.metadata.name.unwrap_or_default()]).await?;
    }
    app.request("undo").await?;
    trial.check().await?;
    drop(manager);
    Ok(())
}

async fn promoted(app: &App) -> Result<()> {
    app.wait_phase(Phase::Paused).await?;
    app.request("promote-full").await?;
    app.wait_plan("the release to be over", |plan| {
        plan.status.as_ref().is_some_and(|status| status.phase == Phase::Stable && status.release.is_none())
    })
    .await
    .map(drop)
}

/// Makes a copy that nothing names, as a process leaves one that is killed before it writes the template; waits until it goes.
pub async fn leave_a_copy(app: &App, kind: &str, api_version: &str, owner: &str, name: &str) -> Result<()> {
    let object = format!("{}/{name}", owner.to_lowercase());
    let uid = app.kubectl(&["get", &object, "-o", "jsonpath={.metadata.uid}"]).await?;
    let (source, of) = if kind == "configmap" { ("web", "cm/web") } else { ("db", "secret/db") };
    let kind = if kind == "configmap" { "ConfigMap" } else { "Secret" };
    // Of no data; of a Secret the digest is under a key that nobody has any more.
    let digits = if kind == "ConfigMap" {
        "3f3ed342fc0d9381fcacb75863b513c53a460c8be0c9d6664251c98d11e06797".to_owned()
    } else {
        "0123456789".repeat(7).chars().take(64).collect()
    };
    let (algorithm, suffix) = (if kind == "ConfigMap" { "v1" } else { "k1" }, &digits[..10]);
    app.apply(&format!(
        "apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {source}-{suffix}\n  labels: {{trimtab.dev/config-copy: \"true\"}}\n  \
         annotations: {{trimtab.dev/copy-of: {of}, trimtab.dev/digest: \"{algorithm}:{digits}\"}}\n  ownerReferences:\n  - {{apiVersion: {api_version}, kind: {owner}, name: \
         {name}, uid: {uid}}}\nimmutable: true\n"
    ))
    .await?;
    eventually("the copy that nothing names to go", PATIENCE, async || {
        let left = app.kubectl(&["get", kind, "-o", "name"]).await?;
        Ok((!left.contains(&format!("{source}-{suffix}"))).then_some(()))
    })
    .await
}
