//! Permissions are what the controllers need and no more: each controller does all that it can with the role that is derived
//! for it alone, and what the API server recorded is compared with the role. What a user sees of a lack is tested with the
//! manager, see `manager.rs`.

mod audit;
mod config;
mod release;
mod reload;
mod scale;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use trimtab::{ExecError, Grants, Permission, Reader};
use trimtab_controllers::manager::CONTROLLERS;
use trimtab_controllers::permissions::{self, manifests};
use trimtab_crds::names;
use trimtab_testkit::{Cluster, ClusterOptions, apply_crds, eventually};
use trimtab_tests::{App, ManagerProcess, Shape, rights, with_app, with_app_on, workspace};

use audit::{Asked, Right, granted};

const PATIENCE: Duration = Duration::from_secs(120);

/// What is needed and is not asked for by a request of its own: the API server looks for it while it handles another. Each is
/// shown to be needed by [`what_the_audit_log_does_not_show_is_needed_too`].
const UNSEEN: [(&str, &str, &str); 3] = [
    (names::GROUP, "releaseplans/finalizers", "update"),
    ("apps", "deployments/finalizers", "update"),
    ("", "pods/exec", "create"),
];

/// A cluster that is as strict as hardened ones are, with the CRD of Argo Rollouts as well.
async fn strict() -> Result<Cluster> {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let start = || async {
        let options = ClusterOptions { name: "strict".to_owned(), strict: true, ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await?;
        ensure!(cluster.audit_log().is_some(), "this needs a cluster of its own: unset USE_EXISTING_CLUSTER");
        apply_crds(&cluster, &workspace().join("crds")).await?;
        reload::install_rollouts(&cluster).await?;
        Ok(cluster)
    };
    Cluster::connect(CLUSTER.get_or_try_init(start).await?.kubeconfig())
}

/// What a controller does in a namespace of its own, with its own role alone.
struct Trial {
    app: App,
    log: std::path::PathBuf,
    arguments: Vec<String>,
}

impl Trial {
    async fn new(app: App, extra: &[&str]) -> Result<Self> {
        let log = strict().await?.audit_log().context("no audit log")?;
        let lease = format!("--lease-namespace={}", app.namespace());
        let extra: Vec<&str> = extra.iter().copied().chain(["--leader-elect", &lease]).collect();
        let arguments = ManagerProcess::arguments(app.namespace(), &extra);
        Ok(Self { app, log, arguments })
    }

    fn manager(&self) -> Result<ManagerProcess> {
        self.app.manager_exactly(None, &self.arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Waits until all that the controller's own role grants was asked for; what everything together has to use is returned.
    async fn check(&self) -> Result<()> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let (wanted, place) = rights::wanted(self.app.namespace(), &arguments)?;
        let mut declared = granted(&manifests(&wanted, &place)?);
        UNSEEN.iter().for_each(|(group, resource, verb)| {
            declared.remove(&((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()));
        });
        // Events are the framework's: one scenario writes them for all, and says something twice.
        if !self.arguments.iter().any(|one| one.contains("reload")) {
            declared.retain(|(group, ..)| group != "events.k8s.io");
        }
        eventually("everything that is declared to be used", PATIENCE, async || {
            let asked = Asked::read(&self.log, self.app.namespace())?;
            let never: BTreeSet<&Right> = declared.difference(&asked.used).collect();
            ensure!(never.is_empty(), "declared and never used: {never:?}");
            Ok(Some(()))
        })
        .await?;
        let asked = Asked::read(&self.log, self.app.namespace())?;
        ensure!(asked.refused.is_empty(), "refused: {:?}", asked.refused);
        Ok(())
    }
}

/// What was refused is why most scenarios fail.
async fn explained(app: App, run: impl AsyncFnOnce(App) -> Result<()>) -> Result<()> {
    let log = strict().await?.audit_log().context("no audit log")?;
    let namespace = app.namespace().to_owned();
    let Err(error) = run(app).await else { return Ok(()) };
    Err(error.context(format!("refused were: {:?}", Asked::read(&log, &namespace)?.refused)))
}

fn shape(plan: &'static str) -> Shape {
    Shape {
        steps: "[{setWeight: 50}, {pause: {}}]",
        plan,
        with_plan: false,
        replicas: 2,
        max_surge: "1",
        max_unavailable: "0",
        ..Shape::default()
    }
}

#[tokio::test]
async fn releases_use_what_they_declare() {
    with_app_on(strict(), "may-release", shape("historyLimit: 1"), |app| explained(app, release::run)).await;
}

#[tokio::test]
async fn tracked_configuration_uses_what_it_declares() {
    with_app_on(strict(), "may-config", shape(""), |app| explained(app, config::run)).await;
}

#[tokio::test]
async fn reloads_use_what_they_declare() {
    with_app_on(strict(), "may-reload", shape(""), |app| explained(app, reload::run)).await;
}

#[tokio::test]
async fn autoscalers_use_what_they_declare() {
    with_app_on(strict(), "may-scale", shape(""), |app| explained(app, scale::run)).await;
}

/// Everything that a manager may be granted in a namespace, and where.
fn everything(app: &App) -> Result<(permissions::Wanted, permissions::Place)> {
    let arguments = ManagerProcess::arguments(app.namespace(), &["--namespace-selector=trimtab.dev/test"]);
    rights::wanted(app.namespace(), &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A client of an account of this name that may do all of this but for some.
async fn without(app: &App, name: &str, grants: &Grants, but: &Grants) -> Result<Client> {
    let (wanted, place) = everything(app)?;
    let place = permissions::Place { name: format!("{}-{name}", app.namespace()), ..place };
    let mut objects = manifests(&wanted, &place)?;
    // What it may do in its own namespace as well would hide what it may not.
    objects.retain(|object| !object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-own")));
    let role = objects.iter_mut().find(|object| object["kind"] == "Role").context("no role")?;
    role["rules"] = json!(grants.without(but).rules());
    let admin = app.cluster_client().await?;
    rights::apply(&admin, app.namespace(), &objects).await?;
    let config = rights::with_token(&admin, app.kubeconfig(), app.namespace(), &place.name).await?;
    let config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&config)?, &Default::default()).await?;
    Ok(trimtab::client(config)?)
}

/// Each resource with its verbs.
fn by_resource(grants: &Grants) -> Vec<Permission> {
    let mut found: BTreeMap<(&'static str, &'static str), Vec<&'static str>> = BTreeMap::new();
    for (group, resource, verb) in grants.iter() {
        found.entry((group, resource)).or_default().push(verb);
    }
    // The framework takes constants.
    let all = found.into_iter();
    all.map(|((group, resource), verbs)| Permission { group, resource, verbs: Vec::leak(verbs) }).collect()
}

/// Whatever a controller's role lacks, a manager says so at its start, by the very check that is asked here.
#[tokio::test]
async fn whatever_is_taken_away_is_named() {
    with_app("may-less", shape(""), |app| async move {
        let (wanted, _) = everything(&app)?;
        let granted = wanted.grants()?;
        let needs = permissions::by_controller();
        let declared = CONTROLLERS.iter().filter_map(|name| needs.get(name));
        let declared = declared.fold(permissions::always(), |all, one| all.with(&one.rules).with(&one.secrets));
        let declared = by_resource(&declared);
        let namespaces = [app.namespace().to_owned()];
        for (number, permission) in declared.iter().enumerate() {
            let client = without(&app, &format!("less-{number}"), &granted, &Grants::of(&[*permission])).await?;
            eventually("what is missing to be named, and nothing else", PATIENCE, async || {
                let missing = trimtab::permissions::check(client.clone(), &namespaces, &declared).await;
                let found: Vec<_> = missing.iter().map(|one| (one.group, one.resource, one.verbs.clone())).collect();
                let expected = (permission.group, permission.resource, permission.verbs.to_vec());
                ensure!(found == [expected.clone()], "without {expected:?}: {found:?}");
                Ok(Some(()))
            })
            .await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_the_audit_log_does_not_show_is_needed_too() {
    with_app_on(strict(), "may-unseen", shape(""), |app| async move {
        let grants = everything(&app)?.0.grants()?;
        let all = without(&app, "all", &grants, &Grants::default()).await?;
        app.apply(&app.plan_yaml()).await?;
        for (number, (group, resource, verb)) in UNSEEN.into_iter().enumerate() {
            let but = grants.iter().filter(|one| *one == (group, resource, verb)).collect();
            let fewer = without(&app, &format!("unseen-{number}"), &grants, &but).await?;
            eventually(&format!("{verb} {resource} to be needed"), PATIENCE, async || {
                let (with, without) = (attempt(&app, &all, resource).await, attempt(&app, &fewer, resource).await);
                ensure!(!with? && without?, "it is refused with it, or not refused without it");
                Ok(Some(()))
            })
            .await?;
        }
        Ok(())
    })
    .await;
}

/// Does what needs a permission of [`UNSEEN`]; whether the API server refused it.
async fn attempt(app: &App, client: &Client, resource: &str) -> Result<bool> {
    if resource == "pods/exec" {
        let pod = app.pods().await?.into_iter().find_map(|pod| pod.metadata.name).context("no pod")?;
        let pod = names::POD.object(app.namespace(), &pod);
        let reader = Reader::new(client.clone(), trimtab::metrics::Metrics::new());
        let ended = reader.exec(&pod, "web", vec!["true".to_owned()], 10).await;
        return Ok(matches!(ended, Err(ExecError::Forbidden(_))));
    }
    let (kind, uid) = match resource {
        "deployments/finalizers" => (names::DEPLOYMENT, app.deployment().await?.metadata.uid),
        _ => (names::RELEASE_PLAN, app.plan().await?.metadata.uid),
    };
    let labels = json!({"app": "other"});
    let set: Value = json!({
        "metadata": {"name": "owned", "ownerReferences": [{"apiVersion": kind.api_version(), "kind": kind.kind, "name": "web",
            "uid": uid, "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": "trimtab.local/sample:v1"}]}}},
    });
    let sets: kube::Api<ReplicaSet> = kube::Api::namespaced(client.clone(), app.namespace());
    let tried = sets.create(&PostParams { dry_run: true, ..Default::default() }, &serde_json::from_value(set)?).await;
    match tried {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
        Err(error) => Err(error.into()),
    }
}
