//! The smoke test that `helm test` runs, as a program beside a manager: it keeps its promises, and when something is wrong it says
//! so and still leaves nothing behind.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams};
use trimtab_crds::ReleasePlan;
use trimtab_tests::{App, ManagerProcess, Shape, binary, with_app};

/// Runs it; whether it succeeded and what it said.
async fn smoke_test(app: &App, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = tokio::process::Command::new(binary("trimtab-manager")?);
    command.args(["smoke-test", "--pull-policy=Never"]).args(arguments).env("KUBECONFIG", app.kubeconfig());
    if !app.real {
        // Pods that only say that they run do not fail by their configuration.
        command.arg("--abort");
    }
    let out = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("it does not start")?;
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok((out.status.success(), said))
}

/// Nothing that it made is in this namespace.
async fn ensure_clean(app: &App) -> Result<()> {
    let ours = ListParams::default().labels("trimtab.dev/smoke-test");
    let left = [
        app.api::<Deployment>().list_metadata(&ours).await?.items.len(),
        app.api::<ConfigMap>().list_metadata(&ours).await?.items.len(),
        app.api::<ReleasePlan>().list_metadata(&ours).await?.items.len(),
    ];
    ensure!(left == [0; 3], "left behind: {left:?}");
    Ok(())
}

const PROMISES: [&str; 6] = [
    "its changes are held",
    "one pod tries it",
    "the canary's pod is a stable pod now",
    "a bad one is taken back",
    "each reads the good configuration",
    "nothing is left behind",
];

#[tokio::test]
async fn it_keeps_its_promises_in_a_namespace_that_is_there() {
    with_app("smoke", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        let _manager = app.manager()?;
        let namespace = format!("--namespace={}", app.namespace());
        let (kept, said) = smoke_test(&app, &[&namespace, "--image=trimtab.local/sample:v1"]).await?;
        ensure!(kept, "{said}");
        for promise in PROMISES {
            ensure!(said.lines().any(|line| line.starts_with('✓') && line.contains(promise)), "{promise}:\n{said}");
        }
        ensure_clean(&app).await
    })
    .await;
}

#[tokio::test]
async fn it_makes_a_namespace_and_takes_it_away() {
    with_app("smoke-scratch", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        // No manager looks after it, so that the test is one of cleaning up alone.
        let (kept, said) = smoke_test(&app, &["--image=trimtab.local/sample:v1", "--timeout=48s"]).await?;
        ensure!(!kept && said.contains("no manager has looked at the plan"), "{said}");
        let name = said.split_whitespace().find(|word| word.starts_with("trimtab-smoke-")).context("no namespace")?;
        let namespaces: Api<Namespace> = Api::all(app.cluster_client().await?);
        ensure!(namespaces.get_opt(name.trim_end_matches(',')).await?.is_none(), "{name} is still there: {said}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn it_fails_when_its_change_is_not_released() {
    with_app("smoke-broken", Shape { with_plan: false, ..Shape::default() }, |app| async move {
        let namespace = format!("--namespace={}", app.namespace());
        let other = format!("{}-other", app.namespace());
        // A manager that looks after another namespace.
        let _manager = ManagerProcess::start(app.kubeconfig(), &other, None, &[])?;
        let (kept, said) = smoke_test(&app, &[&namespace, "--image=trimtab.local/sample:v1", "--timeout=48s"]).await?;
        ensure!(!kept && said.lines().any(|line| line.starts_with('✗')), "{said}");
        ensure_clean(&app).await
    })
    .await;
}
