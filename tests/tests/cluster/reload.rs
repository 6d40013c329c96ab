//! Reloads on a real cluster: workloads without a plan restart once for a change of what they read, and never for nothing.
//! Each test asserts the templates that the API server has and the pods that were made.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use trimtab_testkit::eventually;
use trimtab_tests::{App, PodWatch, Reading, Reloads, Shape, with_app};

const PATIENCE: Duration = Duration::from_secs(90);
const VARIABLE: &str = "STAKATER_WEB_CONFIGMAP";

fn shape() -> Shape {
    Shape { replicas: 1, with_plan: false, ..Shape::default() }
}

/// SHA-1 of `VALUE=a` and so on: what Reloader notes of ConfigMap `web`.
fn digest_of(value: &str) -> &'static str {
    match value {
        "a" => "a06ad586e57ce393ffb540b8239d90d126f825b3",
        "b" => "5bfc06431598f174247ce975a634e1f228ad1f8d",
        _ => "",
    }
}

fn made_since(watch: &PodWatch, before: &BTreeSet<String>) -> usize {
    watch.history().created.keys().filter(|uid| !before.contains(*uid)).count()
}

#[tokio::test]
async fn a_switch_from_reloader_restarts_nothing_and_then_every_kind_is_reloaded() {
    with_app("switch", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let hash = digest_of("a");
        let by_variable = |kind| Reading {
            env: format!("{{name: {VARIABLE}, value: {hash}}}, {{name: OTHER, value: x}}"),
            ..Reading::deployment(&kind_name(kind)).of(kind)
        };
        let note = format!(
            "reloader.stakater.com/last-reloaded-from: '{{\"type\":\"CONFIGMAP\",\"name\":\"web\",\"namespace\":\"{}\",\"hash\":\"{hash}\",\
             \"containerRefs\":[\"web\"],\"observedAt\":1700000000}}'",
            app.namespace()
        );
        let noted = Reading { template: note, ..Reading::deployment("noted") };
        let untouched = Reading::deployment("untouched");
        let stranger = Reading::deployment("stranger").annotated("");
        let all = [by_variable("Deployment"), by_variable("StatefulSet"), by_variable("DaemonSet"), noted, untouched, stranger];
        reloads.make(&all).await?;
        let objects = ["deployment/of-deployment", "statefulset/of-statefulset", "daemonset/of-daemonset", "deployment/noted", "deployment/untouched"];
        let (watch, before) = reloads.watch().await?;
        let mut templates = vec![];
        for object in objects {
            templates.push(reloads.template(object).await?);
        }
        let _manager = reloads.manager(&[]).await?;
        for (object, template) in objects.iter().zip(&templates) {
            reloads.noted(object).await?;
            ensure!(reloads.template(object).await? == *template, "{object} was touched");
        }
        ensure!(made_since(&watch, &before) == 0, "the switch restarted pods");
        // And from now on, what changes restarts them.
        reloads.set("web", "b").await?;
        for object in objects {
            reloads.wait_variable(object, VARIABLE, Some(digest_of("b"))).await?;
        }
        for (kind, name) in [("deployment", "of-deployment"), ("statefulset", "of-statefulset"), ("daemonset", "of-daemonset")] {
            reloads.settled(kind, name).await?;
            ensure!(reloads.variable(&format!("{kind}/{name}"), "OTHER").await?.as_deref() == Some("x"), "{name} lost a variable");
        }
        ensure!(reloads.restarts("stranger").await? == 0, "one that did not ask was reloaded");
        let password = "STAKATER_DB_SECRET";
        reloads.set_password("two").await?;
        let noted = eventually("the Secret to be noted", PATIENCE, async || reloads.variable(objects[0], password).await).await?;
        // 40 digits as Reloader's, but not SHA-1 of the password: that could be guessed.
        ensure!(noted.len() == 40 && noted != "1c3c5946f4c05f3b1d0c1ec784d46b6e0d3ee8ec", "{noted}");
        Ok(())
    })
    .await;
}

fn kind_name(kind: &str) -> String {
    format!("of-{}", kind.to_lowercase())
}

#[tokio::test]
async fn what_changed_while_nobody_watched_restarts_once_and_what_did_not_causes_no_write() {
    with_app("missed", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[Reading::deployment("own").annotated("trimtab.dev/reload: auto")]).await?;
        let manager = reloads.manager(&[]).await?;
        let first = reloads.noted("deployment/own").await?;
        manager.kill()?;
        let (watch, before) = reloads.watch().await?;
        let version = reloads.get("deployment/own").await?["metadata"]["resourceVersion"].clone();
        // Nothing changed: a new manager writes nothing.
        let second = reloads.manager(&[]).await?;
        why(&second, &app, "own", "UpToDate").await?;
        ensure!(reloads.get("deployment/own").await?["metadata"]["resourceVersion"] == version, "it wrote something");
        second.kill()?;
        // Changed twice, and the Secret too, while nobody watched: one restart.
        reloads.set("web", "b").await?;
        reloads.set("web", "c").await?;
        reloads.set_password("two").await?;
        let third = reloads.manager(&[]).await?;
        reloads.noted_anew("deployment/own", &first).await?;
        reloads.settled("deployment", "own").await?;
        why(&third, &app, "own", "UpToDate").await?;
        ensure!(reloads.restarts("own").await? == 1, "more than one restart");
        ensure!(made_since(&watch, &before) == 2, "{} pods were made", made_since(&watch, &before));
        Ok(())
    })
    .await;
}

async fn why(manager: &trimtab_tests::ManagerProcess, app: &App, name: &str, reason: &str) -> Result<()> {
    let path = format!("/debug/why/deployment/{}/{name}", app.namespace());
    eventually(&format!("{name} to be {reason}"), PATIENCE, async || {
        let (_, text) = manager.get(&path).await?;
        ensure!(text.contains(reason), "{text}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn changes_within_the_quiet_period_are_one_patch_and_pods_that_have_them_are_left_alone() {
    with_app("fresh", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[Reading::deployment("own").annotated("trimtab.dev/reload: auto")]).await?;
        // Each call of kubectl takes seconds on a machine that is busy: they are made at once, and are not late.
        let _manager = reloads.manager(&["--config-quiet-period=4s"]).await?;
        let first = reloads.noted("deployment/own").await?;
        tokio::try_join!(reloads.set("web", "b"), reloads.set_password("two"))?;
        let second = reloads.noted_anew("deployment/own", &first).await?;
        reloads.settled("deployment", "own").await?;
        ensure!(reloads.restarts("own").await? == 1, "two patches for one change");
        // A change, and pods made after it before anybody acted on it: nothing to do.
        drop(_manager);
        reloads.set("web", "c").await?;
        tokio::time::sleep(Duration::from_millis(2100)).await;
        app.kubectl(&["delete", "pods", "--all", "--wait=true"]).await?;
        reloads.settled("deployment", "own").await?;
        let (watch, before) = reloads.watch().await?;
        let _manager = reloads.manager(&[]).await?;
        reloads.noted_anew("deployment/own", &second).await?;
        ensure!(reloads.restarts("own").await? == 1, "pods that had the change were restarted");
        ensure!(made_since(&watch, &before) == 0, "pods that had the change were made anew");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn no_more_workloads_restart_at_once_than_may_and_in_their_order() {
    with_app("waves", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let named = |n: usize, after: &str| Reading {
            replicas: 1,
            spec: "minReadySeconds: 1".to_owned(),
            ..Reading::deployment(&format!("app-{n}")).annotated(&format!("trimtab.dev/reload: auto{after}"))
        };
        let mut all: Vec<Reading> = (1..6).map(|n| named(n, "")).collect();
        all.push(named(0, ", trimtab.dev/reload-after: \"deployment/app-4,deploy/app-5\""));
        reloads.make(&all).await?;
        let _manager = reloads.manager(&["--reload-max-per-source=2"]).await?;
        let names: Vec<String> = (0..6).map(|n| format!("deployment/app-{n}")).collect();
        for name in &names {
            reloads.noted(name).await?;
        }
        reloads.set("web", "b").await?;
        let mut most = 0;
        eventually("all to be restarted", PATIENCE, async || {
            let list = reloads.get("deployments").await?;
            let items = list["items"].as_array().context("no list")?;
            let done = |d: &&serde_json::Value| {
                let (s, wanted) = (&d["status"], 1);
                s["observedGeneration"] == d["metadata"]["generation"]
                    && s["updatedReplicas"] == wanted
                    && s["availableReplicas"] == wanted
                    && s["replicas"] == wanted
            };
            let begun = |d: &&serde_json::Value| {
                !d["spec"]["template"]["metadata"]["annotations"]["trimtab.dev/reloaded"].is_null()
            };
            let rolling = items.iter().filter(begun).filter(|d| !done(d)).count();
            most = most.max(rolling);
            ensure!(rolling <= 2, "{rolling} at once");
            let of = |name: &str| items.iter().find(|d| d["metadata"]["name"] == name).context("gone");
            let (first, before) = (of("app-0")?, [of("app-4")?, of("app-5")?]);
            ensure!(!begun(&first) || before.iter().all(done), "app-0 did not wait");
            let begun = items.iter().filter(begun).count();
            ensure!(begun == 6, "{begun} were restarted");
            Ok(Some(()))
        })
        .await?;
        ensure!(most > 0, "nothing was seen");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wave_that_fails_is_the_last_and_says_so() {
    with_app("halted", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let named = |n: usize| Reading {
            replicas: 1,
            spec: "progressDeadlineSeconds: 3\nminReadySeconds: 1".to_owned(),
            ..Reading::deployment(&format!("app-{n}")).annotated("trimtab.dev/reload: auto")
        };
        reloads.make(&[named(1), named(2), named(3)]).await?;
        let _manager = reloads.manager(&["--reload-max-per-source=1"]).await?;
        for n in 1..4 {
            reloads.noted(&format!("deployment/app-{n}")).await?;
        }
        // No new pod can be made: the first to be restarted does not become available.
        app.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: \"3\"}}\n").await?;
        eventually("the quota to count", PATIENCE, async || {
            Ok((reloads.get("resourcequota/none").await?["status"]["used"]["pods"] == "3").then_some(()))
        })
        .await?;
        reloads.set("web", "b").await?;
        let condition = |object: serde_json::Value| -> Option<(String, String)> {
            let conditions = object["status"]["conditions"].as_array()?.clone();
            let blocked = conditions.into_iter().find(|c| c["type"] == "ReloadBlocked" && c["status"] == "True")?;
            Some((blocked["reason"].as_str()?.to_owned(), blocked["message"].as_str()?.to_owned()))
        };
        // Whichever was seen first to want the change was restarted: the others name it.
        let (first, others) = eventually("the wave to be halted", PATIENCE, async || {
            let mut halted = Vec::new();
            let mut begun = Vec::new();
            for name in ["app-1", "app-2", "app-3"] {
                match condition(reloads.get(&format!("deployment/{name}")).await?) {
                    Some(condition) => halted.push((name, condition)),
                    None => begun.push(name),
                }
            }
            Ok((halted.len() == 2).then(|| (begun[0], halted)))
        })
        .await?;
        ensure!(reloads.restarts(first).await? == 1, "{first} is not told that it waits, but has not been restarted");
        for (name, (reason, message)) in others {
            let names_it = message.contains(&format!("deployment/{first}"));
            ensure!(reason == "WaveFailed" && names_it, "{name}: {reason}: {message}");
            ensure!(reloads.restarts(name).await? == 0, "{name} was restarted after {first} had failed");
        }
        // Once the first can go on, so can the others.
        app.kubectl(&["delete", "resourcequota/none"]).await?;
        // Kubernetes tries again later and later; a change of the ReplicaSet has it try at once.
        app.kubectl(&["annotate", "replicasets", "--all", "quota=gone"]).await?;
        for n in 1..4 {
            wait_restarts(&reloads, &format!("app-{n}"), 1).await?;
        }
        eventually("nothing to be in the way", PATIENCE, async || {
            let mut blocked = 0;
            for n in 1..4 {
                blocked += usize::from(condition(reloads.get(&format!("deployment/app-{n}")).await?).is_some());
            }
            Ok((blocked == 0).then_some(()))
        })
        .await
    })
    .await;
}

async fn wait_restarts(reloads: &Reloads, deployment: &str, times: usize) -> Result<()> {
    eventually(&format!("{deployment} to be restarted"), PATIENCE, async || {
        let is = reloads.restarts(deployment).await?;
        ensure!(is == times, "{is} times");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn two_writers_that_fight_restart_a_workload_three_times_at_most() {
    with_app("fight", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        reloads.make(&[Reading::deployment("own").annotated("trimtab.dev/reload: auto")]).await?;
        let _manager = reloads.manager(&[]).await?;
        reloads.noted("deployment/own").await?;
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        let mut turn = 0;
        while tokio::time::Instant::now() < until {
            turn += 1;
            let (manager, value) =
                if turn % 2 == 0 { ("--field-manager=one", "b") } else { ("--field-manager=two", "c") };
            let patch = format!(r#"{{"stringData": {{"password": "{value}{turn}"}}}}"#);
            app.kubectl(&["patch", "secret/db", manager, "-p", &patch]).await?;
        }
        ensure!(turn > 20, "only {turn} changes");
        let times = reloads.restarts("own").await?;
        ensure!((1..=3).contains(&times), "restarted {times} times");
        let text = reloads.get("deployment/own").await?["status"]["conditions"].to_string();
        ensure!(text.contains("Flapping") && text.contains("one and two are changing it in turn"), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn jobs_are_made_anew_and_cron_jobs_run_once_for_a_change() {
    with_app("jobs", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let suspended = Reading { spec: "suspend: true".to_owned(), ..Reading::deployment("sleeping").of("CronJob") };
        let native = Reading::deployment("native").of("CronJob").annotated("trimtab.dev/reload: auto");
        reloads
            .make(&[
                Reading::deployment("once").of("Job"),
                Reading::deployment("nightly").of("CronJob"),
                suspended,
                native,
            ])
            .await?;
        let _manager = reloads.manager(&[]).await?;
        for object in ["job/once", "cronjob/nightly", "cronjob/sleeping", "cronjob/native"] {
            reloads.noted(object).await?;
        }
        let old = reloads.get("job/once").await?["metadata"]["uid"].clone();
        reloads.set("web", "b").await?;
        eventually("the Job to be made anew", PATIENCE, async || {
            let job = app.api::<Job>().get_opt("once").await?.filter(|job| old != *job.uid().unwrap_or_default());
            Ok(job.filter(|job| job.metadata.deletion_timestamp.is_none()))
        })
        .await?;
        let jobs = eventually("a run of the CronJob", PATIENCE, async || {
            let jobs = app.api::<Job>().list(&ListParams::default()).await?.items;
            let owned: Vec<Job> = jobs.into_iter().filter(|job| !job.owner_references().is_empty()).collect();
            Ok((!owned.is_empty()).then_some(owned))
        })
        .await?;
        ensure!(
            jobs.len() == 1 && jobs[0].name_any().starts_with("nightly-"),
            "{:?}",
            jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );
        eventually("nothing to be kept of the Job", PATIENCE, async || {
            let kept =
                app.kubectl(&["get", "controllerrevisions", "-l", "trimtab.dev/reloaded-job", "-o", "name"]).await?;
            Ok(kept.trim().is_empty().then_some(()))
        })
        .await?;
        // Once each, and no more.
        ensure!(app.api::<Job>().list(&ListParams::default()).await?.items.len() == 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pause_after_a_change_ends_also_when_reloader_began_it() {
    with_app("paused", shape(), |app| async move {
        let reloads = Reloads::new(&app).await?;
        let pause = "reloader.stakater.com/auto: \"true\", deployment.reloader.stakater.com/pause-period: 3s";
        let left = format!("{pause}, deployment.reloader.stakater.com/paused-at: \"2026-01-01T00:00:00Z\"");
        reloads.make(&[Reading::deployment("own").annotated(pause)]).await?;
        app.apply(&Reading { spec: "paused: true".to_owned(), ..Reading::deployment("left").annotated(&left) }.yaml())
            .await?;
        let _manager = reloads.manager(&[]).await?;
        reloads.settled("deployment", "left").await?;
        reloads.noted("deployment/own").await?;
        reloads.set("web", "b").await?;
        reloads.wait_variable("deployment/own", VARIABLE, Some(digest_of("b"))).await?;
        ensure!(reloads.get("deployment/own").await?["spec"]["paused"] == true, "it was not paused");
        eventually("the pause to end", PATIENCE, async || {
            let own = reloads.get("deployment/own").await?;
            let noted = &own["metadata"]["annotations"]["deployment.reloader.stakater.com/paused-at"];
            Ok((own["spec"]["paused"].is_null() && noted.is_null()).then_some(()))
        })
        .await?;
        reloads.settled("deployment", "own").await
    })
    .await;
}
