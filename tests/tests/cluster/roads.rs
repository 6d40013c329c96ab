//! Every road on which a change of a template can come to a guarded Deployment: each verb of kubectl, exported manifests, subresources.
//! No process of ours runs, so what is shown is what the API server does alone: no road starts a pod of the new template, neither the
//! first time nor when it is taken again. What a manager makes of a held change is tested elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use trimtab_testkit::eventually;
use trimtab_tests::{App, Shape, plain_deployment, with_app};

const PATIENCE: Duration = Duration::from_secs(60);
/// How many roads are taken at once.
const AT_ONCE: usize = 4;

const NEXT_IMAGE: &str = "web=trimtab.local/sample:v3";
const NEXT_IN_A_PATCH: &str = r#"{"spec":{"paused":false,"template":{"spec":{"containers":[{"name":"web","image":"trimtab.local/sample:v3"}]}}}}"#;
const NEXT_IN_A_JSON_PATCH: &str = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"trimtab.local/sample:v3"},
    {"op":"add","path":"/spec/paused","value":false}]"#;

/// What a person writes to release a held change in an emergency.
const RELEASE: &str = r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#;

/// One road: arguments of kubectl, in order. `MANIFEST` is the manifest with the next image, `EXPORTED` what the API server has with the
/// next image, both on standard input; NAME is the Deployment.
struct Road {
    name: &'static str,
    commands: &'static [&'static [&'static str]],
}

const fn road(name: &'static str, commands: &'static [&'static [&'static str]]) -> Road {
    Road { name, commands }
}

const ROADS: &[Road] = &[
    road("set-image", &[&["set", "image", "deployment/NAME", NEXT_IMAGE]]),
    road("set-env", &[&["set", "env", "deployment/NAME", "COLOUR=blue"]]),
    road("set-resources", &[&["set", "resources", "deployment/NAME", "--requests=cpu=1m"]]),
    road("patch", &[&["patch", "deployment/NAME", "-p", NEXT_IN_A_PATCH]]),
    road("patch-json", &[&["patch", "deployment/NAME", "--type=json", "-p", NEXT_IN_A_JSON_PATCH]]),
    road("apply", &[&["apply", "-f", "MANIFEST"]]),
    road(
        "server-side",
        &[&["apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "MANIFEST"]],
    ),
    road("replace", &[&["replace", "-f", "MANIFEST"]]),
    road("exported-replace", &[&["replace", "-f", "EXPORTED"]]),
    road("exported-apply", &[&["apply", "-f", "EXPORTED"]]),
    road("exported-server-side", &[&["apply", "--server-side", "--force-conflicts", "-f", "EXPORTED"]]),
    road(
        "restart-by-annotation",
        &[&[
            "patch",
            "deployment/NAME",
            "-p",
            r#"{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-01-01T00:00:00Z"}}}}}"#,
        ]],
    ),
    road("undo", &[&["rollout", "undo", "deployment/NAME"]]),
    road("restart", &[&["rollout", "restart", "deployment/NAME"]]),
    road("resume", &[&["set", "image", "deployment/NAME", NEXT_IMAGE], &["rollout", "resume", "deployment/NAME"]]),
    road(
        "unguard-first",
        &[&["annotate", "deployment/NAME", "trimtab.dev/plan-"], &["set", "image", "deployment/NAME", NEXT_IMAGE]],
    ),
    road(
        "unmark",
        &[
            &["set", "image", "deployment/NAME", NEXT_IMAGE],
            &["annotate", "deployment/NAME", "trimtab.dev/held-"],
            &["rollout", "resume", "deployment/NAME"],
        ],
    ),
    road("asleep", &[&["scale", "deployment/NAME", "--replicas=0"], &["set", "image", "deployment/NAME", NEXT_IMAGE]]),
    road("resized", &[&["set", "image", "deployment/NAME", NEXT_IMAGE], &["scale", "deployment/NAME", "--replicas=3"]]),
    road("dry-run", &[&["set", "image", "deployment/NAME", NEXT_IMAGE, "--dry-run=server"]]),
    road(
        "status-patch",
        &[
            &[
                "patch",
                "deployment/NAME",
                "--subresource=status",
                "-p",
                r#"{"metadata":{"annotations":{"trimtab.dev/held":"released"}},"spec":{"paused":false}}"#,
            ],
            &["set", "image", "deployment/NAME", NEXT_IMAGE],
            &["patch", "deployment/NAME", "--subresource=scale", "-p", r#"{"spec":{"replicas":3}}"#],
            &["rollout", "resume", "deployment/NAME"],
        ],
    ),
];

/// Roads that are closed once they were taken: kubectl itself refuses a paused Deployment.
const CLOSED_ONCE_HELD: [&str; 2] = ["undo", "restart"];

async fn deployment(app: &App, name: &str) -> Result<Deployment> {
    Ok(app.api::<Deployment>().get(name).await?)
}

/// The ReplicaSets of a Deployment that have pods, once the Deployment's controller has seen its last change.
async fn active(app: &App, name: &str) -> Result<BTreeSet<String>> {
    eventually(&format!("{name} to be seen by its controller"), PATIENCE, async || {
        let seen = deployment(app, name).await?;
        let status = seen.status.clone().unwrap_or_default();
        let wanted = seen.spec.as_ref().and_then(|spec| spec.replicas);
        let there = status.replicas.unwrap_or_default();
        if status.observed_generation != seen.metadata.generation || wanted != Some(there) {
            return Ok(None);
        }
        let of_it = |owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| owner.name == name;
        let all = app.replica_sets().await?.into_iter().filter(|set| set.owner_references().iter().any(of_it));
        let with_pods = all.filter(|set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default() > 0);
        Ok(Some(with_pods.map(|set| set.name_any()).collect()))
    })
    .await
}

async fn take(app: &App, road: &Road, first: bool) -> Result<()> {
    let exported = app.kubectl(&["get", "deployment", road.name, "-o", "yaml", "--show-managed-fields=false"]).await?;
    // What a person does who keeps an export: the identity of the object that was is of no use.
    let drop = |line: &&str| !["resourceVersion:", "uid:", "generation:"].iter().any(|w| line.trim().starts_with(w));
    let exported: Vec<&str> = exported.lines().filter(drop).collect();
    let exported = exported.join("\n").replace("sample:v2", "sample:v3");
    for command in road.commands {
        let words: Vec<String> = command.iter().map(|word| word.replace("NAME", road.name)).collect();
        let words: Vec<&str> = words
            .iter()
            .map(|word| if ["MANIFEST", "EXPORTED"].contains(&word.as_str()) { "-" } else { word })
            .collect();
        let input = match command.last() {
            Some(&"MANIFEST") => plain_deployment(road.name, "v3"),
            Some(&"EXPORTED") => exported.clone(),
            _ => String::new(),
        };
        let said = app.kubectl_with(&words, &input).await;
        let closed = !first && CLOSED_ONCE_HELD.contains(&road.name);
        ensure!(said.is_ok() != closed, "{words:?}: {said:?}");
    }
    Ok(())
}

async fn check(app: &App, road: &Road) -> Result<()> {
    app.apply(&plain_deployment(road.name, "v1")).await?;
    active(app, road.name).await?;
    app.apply(&plain_deployment(road.name, "v2")).await?;
    app.kubectl(&["rollout", "status", &format!("deployment/{}", road.name), "--timeout=60s"]).await?;
    app.kubectl(&["annotate", &format!("deployment/{}", road.name), "trimtab.dev/plan=web"]).await?;
    // A release by hand, so that what the Deployment keeps of one is what manifests are exported with.
    app.kubectl(&["set", "env", &format!("deployment/{}", road.name), "RELEASED=once"]).await?;
    app.kubectl(&["patch", &format!("deployment/{}", road.name), "-p", RELEASE]).await?;
    app.kubectl(&["rollout", "status", &format!("deployment/{}", road.name), "--timeout=60s"]).await?;
    let stable = active(app, road.name).await?;
    ensure!(stable.len() == 1, "not stable before: {stable:?}");
    for turn in ["the first", "the second", "the third"] {
        take(app, road, turn == "the first").await?;
        let now = active(app, road.name).await?;
        ensure!(now.is_subset(&stable), "{}, {turn} time: pods of {now:?} instead of {stable:?}", road.name);
    }
    if road.name != "dry-run" {
        let seen = deployment(app, road.name).await?;
        let mark = seen.annotations().get("trimtab.dev/held").cloned().unwrap_or_default();
        let paused = seen.spec.as_ref().and_then(|spec| spec.paused).unwrap_or_default();
        ensure!(paused && mark.starts_with("by "), "{}: not held: paused {paused}, mark {mark:?}", road.name);
    }
    Ok(())
}

#[tokio::test]
async fn no_road_starts_a_pod_of_a_change_that_nobody_released() {
    with_app("roads", Shape { with_plan: false, replicas: 1, ..Shape::default() }, |app| async move {
        let app = &app;
        stream::iter(ROADS)
            .map(|road| async move { check(app, road).await.with_context(|| format!("the road {}", road.name)) })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    })
    .await;
}
