//! What the tests of the way out do and look at.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Ended, binary};

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Runs `trimtab uninstall` for the application's namespace.
pub(crate) async fn uninstall(app: &App, line: &str) -> Result<Ended> {
    let mut arguments: Vec<&str> = vec!["uninstall", "--yes", "-n", app.namespace()];
    // Leases of other tests' managers are none of this namespace's business.
    arguments.extend(["--lease-name", "trimtab-uninstall-test"]);
    arguments.extend(line.split_whitespace());
    run("trimtab", app, &arguments).await
}

/// Runs a program of ours with the cluster's credentials.
pub(crate) async fn run(program: &str, app: &App, arguments: &[&str]) -> Result<Ended> {
    Ended::of(&binary(program)?, app.kubeconfig(), arguments).await
}

/// Runs it and holds it to an exit code and to words that it prints.
pub(crate) async fn check(app: &App, line: &str, code: i32, words: &[&str]) -> Result<Ended> {
    let ended = uninstall(app, line).await?;
    let told = format!("uninstall {line}: exit {}\n--- out\n{}\n--- err\n{}", ended.code, ended.out, ended.err);
    ensure!(ended.code == code, "exit {code} was expected of {told}");
    for word in words {
        ensure!(ended.out.contains(word), "{word:?} was expected of {told}");
    }
    Ok(ended)
}

/// Nothing holds the Deployment, nothing marks it, and no canary stands at its side.
pub(crate) async fn is_free(app: &App) -> Result<()> {
    let deployment = app.deployment().await?;
    let marks: Vec<&String> = deployment.annotations().keys().filter(|name| name.contains("trimtab")).collect();
    ensure!(marks.is_empty(), "marks are left: {marks:?}");
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    ensure!(!paused, "it is paused");
    for rs in app.replica_sets().await? {
        let owner = rs.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        ensure!(owner.is_some_and(|owner| owner.kind == "Deployment"), "{} is owned by {owner:?}", rs.name_any());
        ensure!(!rs.annotations().contains_key("trimtab.dev/plan"), "{} would bring its mark back", rs.name_any());
    }
    Ok(())
}

/// The pods that are not ending, by uid.
pub(crate) async fn pods(app: &App) -> Result<BTreeSet<String>> {
    let living = app.pods().await?.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(living.filter_map(|pod| pod.uid()).collect())
}

/// The Deployment's revision number.
pub(crate) async fn revision(app: &App) -> Result<String> {
    let deployment = app.deployment().await?;
    Ok(deployment.annotations().get("deployment.kubernetes.io/revision").cloned().unwrap_or_default())
}

/// Waits until the Deployment is complete with so many pods of an image.
pub(crate) async fn wait_rolled(app: &App, tag: &str) -> Result<()> {
    app.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    let wanted = usize::try_from(app.shape.replicas)?;
    let image = format!("trimtab.local/sample:{tag}");
    eventually(&format!("{wanted} pods of {image}, and no others"), PATIENCE, async || {
        let all = app.pods().await?;
        let of_image = all.iter().filter(|pod| {
            pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|c| c.image.as_deref() == Some(&image)))
        });
        let of_image = of_image.count();
        if of_image == wanted && all.len() == wanted { Ok(Some(())) } else { bail!("{of_image} of {} pods", all.len()) }
    })
    .await
}

/// ReplicaSets that have pods.
pub(crate) async fn with_pods(app: &App) -> Result<Vec<ReplicaSet>> {
    let has = |rs: &ReplicaSet| rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0) > 0;
    Ok(app.replica_sets().await?.into_iter().filter(has).collect())
}
